"""`isc show` of what `isc build` wrote: the tokens again, with what the columns tell of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import isc
from command_line import EXAMPLE, run
from isc.build.saved import sample_of_row, saved_row
from isc.cli import Exit, main
from isc.conversation.columns import SETS, ColumnSet
from tokenizer_files import qwen3_file

pytestmark = pytest.mark.usefixtures("eighty_columns")
CHATS = [json.loads(line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
@pytest.mark.parametrize("which", SETS)
def test_a_row_is_the_sample_it_was_made_of(
    tmp_path: Path, small: isc.Renderer, which: ColumnSet, ending: str, output: Callable[..., str]
) -> None:
    place = tmp_path / f"out.{ending}"
    assert run(EXAMPLE, place, "--columns", which) == 0
    wanted = isc.build_training_sample(small, CHATS[2]["messages"], CHATS[2].get("tools"))
    sample = sample_of_row(saved_row(place, 3))
    assert sample.token_ids == wanted.token_ids
    assert sample.loss_spans == wanted.loss_spans
    assert (sample.rendered.runs == wanted.rendered.runs) == (which == "attribution")
    text = output("show", place, "--line", 3)
    assert f"{wanted.trainable_tokens:,} of {len(wanted.token_ids):,} tokens are trained on" in text
    assert ("do not tell whose tokens are" in text) == (which != "attribution")
    assert ("2 assistant" in text) == (which == "attribution")


def test_a_file_that_is_cut_off_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows before the damage can be shown; behind it nothing is guessed."""
    place = tmp_path / "out.jsonl.gz"
    assert run(EXAMPLE, place) == 0
    place.write_bytes(place.read_bytes()[:-40])
    assert main(["show", str(place)]) == Exit.OK
    assert main(["show", str(place), "--line", "14"]) == Exit.FAILED
    assert f"{place}: cannot be read" in capsys.readouterr().err


def test_a_pack_says_what_is_in_it_and_ids_can_be_listed(tmp_path: Path, output: Callable[..., str]) -> None:
    assert run(EXAMPLE, tmp_path / "out.parquet", "--pack", "2048", "--columns", "attribution") == 0
    row = saved_row(tmp_path / "out.parquet", 1)
    text = output("show", tmp_path / "out.parquet", "--ids")
    assert f"packed of {len(row['seq_lengths'])} samples of {row['seq_lengths'][0]}, " in text
    assert f" {row['input_ids'][-1]} " in text.splitlines()[-1]


def test_the_vocabulary_is_the_one_that_the_samples_name(
    tmp_path: Path, output: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model", "other"):
        (tmp_path / name).mkdir()
        text = qwen3_file() if name == "model" else qwen3_file().replace('"version"', ' "version"', 1)
        (tmp_path / name / "tokenizer.json").write_text(text, encoding="utf-8")
    place = tmp_path / "out.parquet"
    more = ("--model", str(tmp_path / "model"))
    assert run(EXAMPLE, place, *more) == 0
    assert f"ids are of {tmp_path / 'model'}" in " ".join(output("show", place).split())
    assert main(["show", str(place), "--model", str(tmp_path / "other"), "--family", "qwen3"]) == Exit.FAILED
    assert "is another vocabulary" in capsys.readouterr().err


def test_what_a_sample_needs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ids.jsonl").write_text('{"input_ids": [1, 2]}\n')
    assert main(["show", str(tmp_path / "ids.jsonl"), "--family", "qwen3"]) == Exit.FAILED
    assert "needs the columns input_ids and one of labels" in capsys.readouterr().err
    assert run(EXAMPLE, tmp_path / "out.jsonl") == 0
    assert main(["show", str(tmp_path / "out.jsonl"), "--line", "99"]) == Exit.FAILED
    assert "has no sample in row 99" in capsys.readouterr().err


def test_a_sample_becomes_a_page(tmp_path: Path) -> None:
    assert run(EXAMPLE, tmp_path / "out.parquet", "--columns", "attribution") == 0
    assert main(["show", str(tmp_path / "out.parquet"), "--html", str(tmp_path / "page.html")]) == Exit.OK
    assert "out.parquet:1" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_conversations_of_a_table_are_shown_too(
    tmp_path: Path, output: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    talk = [{"from": "human", "value": "good morning"}, {"from": "gpt", "value": "hello"}]
    parquet.write_table(pyarrow.Table.from_pylist([{"conversations": talk}] * 2), str(tmp_path / "in.parquet"))
    text = output("show", tmp_path / "in.parquet", "--line", 2, "--family", "qwen3")
    assert f"{tmp_path / 'in.parquet'}:2asqwen3" in "".join(text.split())
    assert main(["show", str(tmp_path / "in.parquet"), "--line", "3", "--family", "qwen3"]) == Exit.FAILED
    assert "the last one is on line 2" in capsys.readouterr().err
