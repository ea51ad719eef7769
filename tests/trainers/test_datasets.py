"""`isc.stages.ToSamples` in `datasets`: one process or two, streamed, and an unchanged map that is not done again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dill  # type: ignore[import-untyped]
import pytest
from datasets import Dataset, load_dataset

import isc
from tokenizer_files import qwen3_file

TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
BAD = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    (place / "tokenizer.json").write_text(qwen3_file())
    return place


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty conversations of different lengths, every third with nothing to train on."""
    place = tmp_path_factory.mktemp("source") / "in.jsonl"
    talks = [TALK * (1 + number % 4) if number % 3 else TALK[:1] for number in range(3 * BAD)]
    place.write_text("".join(json.dumps({"messages": talk, "id": k}) + "\n" for k, talk in enumerate(talks)))
    return place


def rows_of(place: Path) -> Dataset:
    return load_dataset("json", data_files=str(place), split="train", cache_dir=str(place.parent / "cache"))


def expected(model: Path, source: Path) -> list[tuple[int, ...] | None]:
    """The library's own labels, None where it refuses a conversation."""
    renderer = isc.load(model, "qwen3")
    samples = [
        isc.build_training_sample(renderer, json.loads(line)["messages"]) for line in source.read_text().splitlines()
    ]
    return [sample.labels if sample.loss_spans else None for sample in samples]


def labels(rows: Any) -> list[tuple[int, ...] | None]:  # noqa: ANN401
    return [None if row["labels"] is None else tuple(row["labels"]) for row in rows]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("form", [None, "arrow"])
def test_a_map_gives_the_samples_of_the_library(model: Path, source: Path, processes: int, form: str | None) -> None:
    stage = isc.stages.ToSamples(model, family="qwen3")
    stage({"messages": [TALK]})  # what is loaded here, forked processes do not need
    rows = rows_of(source).with_format(form)
    mapped = rows.map(stage, batched=True, batch_size=7, num_proc=processes, load_from_cache_file=False)
    rows = mapped.with_format(None)
    assert labels(rows) == expected(model, source)
    assert sum(reason is not None for reason in rows["error"]) == BAD
    if form is None:
        assert rows["id"] == list(range(3 * BAD))


def test_rows_can_be_lost_where_no_other_column_is_kept(model: Path, source: Path) -> None:
    rows = rows_of(source)
    stage = isc.stages.ToSamples(model, family="qwen3", on_error="skip", keep=("id",))
    mapped = rows.map(stage, batched=True, remove_columns=rows.column_names)
    assert set(mapped.column_names) == {"input_ids", "labels", "length", "id"}
    assert labels(mapped) == [row for row in expected(model, source) if row is not None]
    assert mapped["id"] == [number for number in range(3 * BAD) if number % 3]


def test_a_stream_gives_the_same(model: Path, source: Path) -> None:
    stage = isc.stages.ToSamples(model, family="qwen3")
    stream = load_dataset("json", data_files=str(source), split="train", streaming=True)
    assert labels(stream.map(stage, batched=True, batch_size=7)) == expected(model, source)


FINGERPRINT = """
import sys, isc
from datasets import Dataset
from datasets.fingerprint import Hasher
stage = isc.stages.ToSamples(sys.argv[1], family="qwen3", options={"enable_thinking": False})
rows = Dataset.from_list([{"messages": [{"role": "assistant", "content": "hello"}]}])
if len(sys.argv) > 2:
    stage({"messages": []})  # what is loaded is not hashed
print(Hasher.hash(stage), rows.map(stage, batched=True)._fingerprint)
"""


def test_processes_give_a_map_the_same_fingerprint(model: Path) -> None:
    """So that a second run takes the first one's result."""
    told = [
        subprocess.run([sys.executable, "-c", FINGERPRINT, str(model), *more], capture_output=True, check=True).stdout
        for more in ((), ("called",))
    ]
    assert told[0] == told[1]
    assert len(told[0].split()) == 2


def test_an_unchanged_map_is_not_done_again(model: Path, source: Path) -> None:
    rows = rows_of(source)
    (first,) = rows.map(isc.stages.ToSamples(model, family="qwen3"), batched=True).cache_files
    (second,) = rows.map(isc.stages.ToSamples(str(model), family="qwen3"), batched=True).cache_files
    (other,) = rows.map(isc.stages.ToSamples(model, "tool-bodies", family="qwen3"), batched=True).cache_files
    assert first == second != other


@pytest.mark.parametrize("pickled", [dill.dumps, lambda value: dill.dumps(value, recurse=True)])
def test_dill_takes_no_module_of_an_editable_installation_along(model: Path, pickled: Any) -> None:  # noqa: ANN401
    """It pickles what is outside of site-packages by content, where a module is reached."""
    stage = isc.stages.ToSamples(model, family=isc.Qwen3(enable_thinking=False))
    assert len(pickled(stage)) < 1000
