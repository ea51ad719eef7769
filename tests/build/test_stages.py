"""`isc.stages.ToSamples`: batches of any kind become the library's samples; how it is pickled, what it refuses."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pyarrow
import pytest

import isc
from command_line import EXAMPLE, rows, run
from isc.build import stages
from isc.build.stages import StageError, ToSamples
from isc.conversation.columns import SETS, ColumnSet
from isc.conversation.lengths import TooLong, Turns
from isc.errors import Error, OptionError
from tokenizer_files import qwen3_file

LINES: list[dict[str, Any]] = [json.loads(line) for line in EXAMPLE.read_text().splitlines()]
TALK: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
UNTRAINED = TALK[:1]
ROWS: dict[str, list[object]] = {"messages": [TALK, UNTRAINED, TALK], "id": [7, 8, 9]}
NAMES = ["input_ids", "labels", "length"]


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    """The directory of a model."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "tokenizer.json").write_text(qwen3_file())
    stages._loaded.cache_clear()
    yield place
    stages._loaded.cache_clear()


def wanted(renderer: isc.Renderer, which: ColumnSet) -> list[dict[str, object]]:
    """The library's own samples as JSON has them."""
    samples = [
        isc.build_training_sample(renderer, line["messages"], line.get("tools"), content_sft_roles={"tool"})
        for line in LINES
    ]
    return [json.loads(msgspec.json.encode(sample.columns(which))) for sample in samples]


def examples() -> dict[str, list[object]]:
    return {"messages": [line["messages"] for line in LINES], "tools": [line.get("tools") for line in LINES]}


def plain(columns: dict[str, list[object]]) -> list[dict[str, object]]:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.loads(json.dumps(rows))  # type: ignore[no-any-return]


@pytest.mark.parametrize("which", SETS)
def test_columns_become_the_samples_of_the_library(small: isc.Renderer, which: ColumnSet) -> None:
    stage = ToSamples(small, "assistant+tool-bodies", which, on_error="raise")
    assert plain(stage(examples())) == wanted(small, which)


@pytest.mark.parametrize("which", SETS)
def test_tables_become_the_same_samples(small: isc.Renderer, which: ColumnSet) -> None:
    """Arrow has one type for all rows of a column: arguments of calls are text here, and contents are no lists."""
    talks = [as_arrow(line["messages"]) for line in LINES]
    talks = [talk for talk in talks if not any(isinstance(message["content"], list) for message in talk)]
    assert len(talks) > 10
    table = pyarrow.Table.from_pylist([{"messages": talk} for talk in talks])
    stage = ToSamples(small, "assistant+tool-bodies", which, on_error="raise")
    columns = stage({"messages": talks})
    assert stage(table).to_pylist() == plain(columns)
    assert stage(table).schema == stage.schema
    (batch,) = stage.over(table.to_batches())
    assert isinstance(batch, pyarrow.RecordBatch)
    assert batch.to_pylist() == plain(columns)


def as_arrow(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the arguments of their calls as JSON, as OpenAI gives them."""
    turned = json.loads(json.dumps(messages))
    for message in turned:
        for call in message.get("tool_calls") or ():
            function = call.get("function", call)
            if not isinstance(function["arguments"], str):
                function["arguments"] = json.dumps(function["arguments"])
    return turned  # type: ignore[no-any-return]


def test_columns_of_numpy_are_read_as_lists(small: isc.Renderer) -> None:
    talks = numpy.empty(2, object)
    for place in range(2):
        talks[place] = numpy.array(TALK, object)
    batch: Any = {"messages": talks, "id": numpy.array([1, 2])}
    stage = ToSamples(small, keep=("id",))
    assert stage(batch) == stage({"messages": [TALK, TALK], "id": [1, 2]})


def test_a_row_without_a_sample_is_a_row_of_nulls_with_its_reason(small: isc.Renderer) -> None:
    stage = ToSamples(small, keep=("id",))
    columns = stage(ROWS)
    assert list(columns) == [*NAMES, "error", "id"]
    assert columns["id"] == [7, 8, 9]
    assert [length is None for length in columns["length"]] == [False, True, False]
    assert columns["error"][0] is None
    assert "no token would be trained on" in str(columns["error"][1])
    assert stage(pyarrow.Table.from_pylist(plain(ROWS))).to_pylist() == plain(columns)


def test_a_row_without_a_sample_can_be_skipped(small: isc.Renderer) -> None:
    stage = ToSamples(small, on_error="skip", keep=("id",))
    columns = stage(ROWS)
    assert list(columns) == [*NAMES, "id"]
    assert columns["id"] == [7, 9]
    assert stage(pyarrow.Table.from_pylist(plain(ROWS))).column("id").to_pylist() == [7, 9]


def test_a_row_without_a_sample_can_be_an_error(small: isc.Renderer) -> None:
    with pytest.raises(StageError, match=r"row 1 of the batch: no token would be trained on"):
        ToSamples(small, on_error="raise")(ROWS)


@pytest.mark.parametrize("on_error", ["column", "skip"])
def test_batches_of_which_nothing_is_left_have_the_same_columns(small: isc.Renderer, on_error: stages.OnError) -> None:
    stage = ToSamples(small, on_error=on_error, keep=("id",))
    names = [*stage.schema.names, "id"]
    empty = pyarrow.Table.from_pylist(plain(ROWS)[:0], schema=pyarrow.Table.from_pylist(plain(ROWS)).schema)
    assert stage(empty).column_names == names
    assert [batch.schema.names for batch in stage.over(empty.combine_chunks().to_batches())] in ([], [names])
    assert list(stage({"messages": [], "id": []})) == names
    one = stage.over(pyarrow.Table.from_pylist([{"messages": UNTRAINED, "id": 8}]).to_batches())
    assert [batch.schema.names for batch in one] == [names]


def test_a_conversation_of_several_samples_keeps_its_columns(small: isc.Renderer) -> None:
    thought = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    asked = [{"role": "user", "content": "a?"}, thought, {"role": "user", "content": "b?"}, thought]
    columns = ToSamples(small, turns="each", keep=("id",))({"messages": [TALK, asked], "id": ["one", "two"]})
    assert columns["id"] == ["one", "two", "two"]
    samples = isc.build_training_samples(small, asked)
    assert columns["input_ids"][1:] == [sample.token_ids for sample in samples]


@pytest.mark.parametrize("too_long", ["reject", "truncate-left-turns", "truncate-right", "split"])
@pytest.mark.parametrize("turns", ["together", "each"])
def test_samples_that_are_too_long_are_those_of_a_build(
    tmp_path: Path, small: isc.Renderer, too_long: TooLong, turns: Turns
) -> None:
    """The same options give the same rows, shortened, split or rejected, packed or not."""
    more = ("--max-tokens", "400", "--too-long", too_long, "--turns", turns, "--keep", "id")
    lines = [{**line, "id": number} for number, line in enumerate(LINES)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    batch: dict[str, list[object]] = {**examples(), "id": [*range(len(LINES))]}
    for pack in (None, 900):
        asked = more if pack is None else (*more, "--pack", str(pack), "--overwrite")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("isc.cli.running.batch_bytes", lambda _: 1 << 30)
            assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", *asked) in (0, 1)
        stage = ToSamples(
            small, on_error="skip", keep=("id",), turns=turns, max_tokens=400, too_long=too_long, pack=pack
        )
        assert plain(stage(batch)) == rows(tmp_path / "out.jsonl")


def test_packs_of_a_table_carry_lists_and_rows_without_a_sample_follow(small: isc.Renderer) -> None:
    stage = ToSamples(small, pack=64, keep=("id",))
    columns = stage(ROWS)
    length = len(isc.build_training_sample(small, TALK).token_ids)
    assert columns["seq_lengths"] == [(length, length), None]
    assert columns["id"] == [[7, 9], [8]]
    assert [reason is None for reason in columns["error"]] == [True, False]
    table = stage(pyarrow.Table.from_pylist(plain(ROWS)))
    assert table.to_pylist() == plain(columns)
    assert table.schema.names == [*stage.schema.names, "id"]
    empty = stage(pyarrow.Table.from_pylist([], schema=pyarrow.Table.from_pylist(plain(ROWS)).schema))
    assert empty.schema == table.schema


def test_a_stage_is_small_and_loads_its_model_when_it_is_called(model: Path) -> None:
    stage = ToSamples(model, family="qwen3", options={"enable_thinking": False})
    pickled = pickle.dumps(stage)
    assert len(pickled) < 600
    copy = pickle.loads(pickled)
    assert stages._loaded.cache_info().currsize == 0
    assert copy == stage
    assert copy(ROWS) == stage(ROWS)
    assert stages._loaded.cache_info().misses == 1
    renderer = isc.load(model, "qwen3", enable_thinking=False)
    assert stage(ROWS)["input_ids"][0] == isc.build_training_sample(renderer, TALK).token_ids
    assert pickle.dumps(stage) == pickled, "what was loaded has no part in it"


def test_every_process_pickles_a_stage_alike(model: Path) -> None:
    code = (
        "import sys, pickle, hashlib, isc\n"
        "stage = isc.stages.ToSamples(sys.argv[1], family=isc.Qwen3(), options={'enable_thinking': False})\n"
        "print(hashlib.sha256(pickle.dumps(stage)).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(model)]
    hashes = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(hashes) == 1


def test_other_files_are_another_stage_and_are_refused_by_the_old(model: Path) -> None:
    stage = ToSamples(str(model), family="qwen3")
    (model / "tokenizer.json").write_text(qwen3_file("<|more|>"))
    assert ToSamples(str(model), family="qwen3") != stage
    with pytest.raises(StageError, match="holds other files here"):
        stage(ROWS)


def test_another_version_is_refused(small: isc.Renderer) -> None:
    with pytest.raises(StageError, match=r"made with isc 0\.0\.1, and this process has isc"):
        ToSamples(small, made_with="0.0.1")(ROWS)


def test_rows_of_other_forms_are_read(small: isc.Renderer) -> None:
    alpaca: dict[str, list[object]] = {"instruction": ["hi"], "input": [""], "output": ["hello"]}
    shared: dict[str, list[object]] = {
        "conversations": [[{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]]
    }
    expected = ToSamples(small, on_error="raise")({"messages": [TALK]})
    assert ToSamples(small, on_error="raise")(alpaca) == expected
    assert ToSamples(small, on_error="raise", form="sharegpt")(shared) == expected
    assert "alpaca" in str(ToSamples(small, form="sharegpt")(alpaca)["error"][0])


def test_keys_that_arrow_padded_can_be_dropped(small: isc.Renderer) -> None:
    def called(**arguments: object) -> list[dict[str, Any]]:
        call = {"type": "function", "function": {"name": "find", "arguments": arguments}}
        return [TALK[0], {"role": "assistant", "content": "", "tool_calls": [call]}]

    padded = ToSamples(small, drop_null=True)({"messages": [called(path="a", query=None)]})
    assert padded == ToSamples(small)({"messages": [called(path="a")]})


def test_the_day_can_be_told() -> None:
    family = isc.GptOss()
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family)
    columns = ToSamples(renderer, date="2025-12-24", on_error="raise")({"messages": [TALK]})
    ids: Any = columns["input_ids"][0]
    assert b"Current date: 2025-12-24" in renderer.encoder.decode_bytes(ids)


@pytest.mark.parametrize(
    ("choices", "problem"),
    [
        ({"loss": "assistent"}, "is no term"),
        ({"columns": "label"}, "did you mean 'labels'"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"turns": "all"}, "turns='all'"),
        ({"max_tokens": 9, "too_long": "truncate"}, "did you mean 'truncate-"),
        ({"too_long": "split"}, "ToSamples: too_long=split: say of how many tokens, with max_tokens or pack"),
        ({"pack": 9, "max_tokens": 10}, "ToSamples: max_tokens=10 does not fit in pack=9"),
        ({"pack": 0}, "pack=0"),
        ({"pack": 9, "keep": ("position_ids",)}, "keep='position_ids'"),
        ({"keep": ("length",)}, "keep='length'"),
        ({"keep": ("error",)}, "keep='error'"),
        ({"family": "qwen3"}, "a Renderer has its own family"),
        ({"options": {"enable_thinking": False}}, "a Renderer has its own family"),
        ({"revision": "main"}, "a Renderer has its own family"),
    ],
)
def test_choices_are_checked_where_they_are_made(small: isc.Renderer, choices: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        ToSamples(small, **choices)


@pytest.mark.parametrize("batch", [[TALK], "messages", 7, {"messages": "hi"}, {"messages": 7}])
def test_a_batch_of_another_kind_is_refused(small: isc.Renderer, batch: dict[str, list[object]]) -> None:
    with pytest.raises(OptionError, match=r"ToSamples: a (batch|column) is"):
        ToSamples(small)(batch)


def test_a_column_that_is_not_there_cannot_be_kept(small: isc.Renderer) -> None:
    for batch in ({"messages": [TALK]}, pyarrow.Table.from_pylist([{"messages": TALK}])):
        with pytest.raises(OptionError, match="keep='id' is no column of the batch, which has messages"):
            ToSamples(small, keep=("id",))(batch)


def test_a_model_that_is_not_there_is_told_at_the_first_call(tmp_path: Path) -> None:
    stage = ToSamples(tmp_path / "nowhere", family="qwen3")
    with pytest.raises(Error, match="is not a directory"):
        stage(ROWS)
