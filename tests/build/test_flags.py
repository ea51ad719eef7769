"""Flags in the data, the columns that trainers read, and messages that a format drops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

import isc
from command_line import CHAT, rows, run
from isc.build.samples import Batch, Loss, Settings, Tally, build_batch
from isc.conversation.flags import FLAGS
from isc.traced.template import TracedTemplate

OFF = [
    ("weight", 0),
    ("training", False),
    ("trainable", False),
    ("train", False),
    ("step_loss_mask", 0),
    ("loss", False),
]
TALK: list[dict[str, object]] = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "first answer"},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "second answer"},
]
DROPS_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def flagged(key: str, value: object) -> list[dict[str, object]]:
    return [*TALK[:1], {**TALK[1], key: value}, *TALK[2:]]


def test_the_table_of_flags_is_the_one_tested() -> None:
    assert set(FLAGS) == {key for key, _ in OFF}


@pytest.mark.parametrize(("key", "value"), OFF)
def test_a_flag_leaves_its_turn_untrained_and_the_ids_as_they_are(small: isc.Renderer, key: str, value: object) -> None:
    whole = isc.build_training_sample(small, TALK)
    partly = isc.build_training_sample(small, flagged(key, value))
    assert partly.token_ids == whole.token_ids
    trained = [small.encoder.decode_bytes(whole.token_ids[start:end]) for start, end in partly.loss_spans]
    assert trained == [b"<think>\n\n</think>\n\nsecond answer<|im_end|>"]


@pytest.mark.parametrize(("key", "value"), OFF)
def test_a_flag_that_is_on_or_null_changes_nothing(small: isc.Renderer, key: str, value: object) -> None:
    whole = isc.build_training_sample(small, TALK)
    assert isc.build_training_sample(small, flagged(key, True if value is False else 1)) == whole
    assert isc.build_training_sample(small, flagged(key, None)) == whole


@pytest.mark.parametrize("value", [0.5, "no", -1, [0]])
def test_a_flag_that_is_neither_is_an_error_that_names_it(small: isc.Renderer, value: object) -> None:
    with pytest.raises(isc.ConversationError, match=r"messages\[1\]\.weight: must be 0, 1, false or true"):
        isc.build_training_sample(small, flagged("weight", value))


def test_the_summary_counts_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"messages": flagged(key, value)} for key, value in OFF for _ in range(2)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "left untrained by a flag of the data (messages): loss 2, step_loss_mask 2, train 2" in printed


def test_labels_are_the_ids_that_are_trained_and_minus_one_hundred(tmp_path: Path, small: isc.Renderer) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(TALK) + "\n")
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 0
    (row,) = rows(tmp_path / "out.jsonl")
    sample = isc.build_training_sample(small, TALK)
    assert set(row) == {"input_ids", "labels", "length"}
    assert row["labels"] == [
        token if trained else -100 for token, trained in zip(sample.token_ids, sample.loss_mask, strict=True)
    ]
    assert list(sample.labels) == row["labels"]
    assert run(tmp_path / "in.jsonl", tmp_path / "mask.jsonl", "--columns", "mask") == 0
    assert rows(tmp_path / "mask.jsonl") == [
        {"input_ids": row["input_ids"], "loss_mask": list(sample.loss_mask), "length": row["length"]}
    ]


def test_messages_that_a_format_drops_are_counted_and_refused_under_strict() -> None:
    specials = ("<|im_start|>", "<|im_end|>")
    family = TracedTemplate(DROPS_SYSTEM, specials=specials)
    renderer = isc.create_renderer(isc.encoders.embedded(specials), family)
    talk: list[dict[str, object]] = [{"role": "system", "content": "be brief"}, *TALK]
    assert renderer.render(talk).unrendered_messages == (0,)
    assert renderer.render(TALK).unrendered_messages == ()
    line = json.dumps(talk).encode() + b"\n"
    built = build_batch(renderer, Settings(Loss(True)), False, Batch(1, (line, line)))
    assert (built.tally.samples, built.tally.unrendered) == (2, {"system": 2})
    refused = build_batch(renderer, Settings(Loss(True)), True, Batch(1, (line, line)))
    assert [entry.reason for entry in refused.rejected] == [
        "messages[0]: this format renders nothing of this system message; leave it out"
    ]
    assert Tally(unrendered={"system": 1}) + Tally(unrendered={"system": 2}) == Tally(unrendered={"system": 3})


THOUGHT = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
ASKED = [{"role": "user", "content": "a?"}, THOUGHT, {"role": "user", "content": "b?"}, THOUGHT]


def test_rows_carry_fields_of_the_input_along(tmp_path: Path) -> None:
    line = {"messages": ASKED, "id": 7, "source": {"of": "x"}, "more": 1}
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    assert run(tmp_path / "in.jsonl", tmp_path / "a.jsonl", "--keep", "id,source,none") == 0
    (row,) = rows(tmp_path / "a.jsonl")
    assert (row["id"], row["source"], row["none"], "more" in row) == (7, {"of": "x"}, None, False)
    assert run(tmp_path / "in.jsonl", tmp_path / "b.parquet", "--keep", "id,source,none") == 0
    (row,) = parquet.read_table(str(tmp_path / "b.parquet")).to_pylist()
    assert (row["id"], row["source"], row["none"]) == ("7", '{"of":"x"}', None)


def test_a_field_that_no_row_has_is_told_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        "".join(f'{{"messages": {CHAT.decode().strip()}, "{name}": 1}}\n' for name in ("source", "other"))
    )
    assert run(source, tmp_path / "out.jsonl", "--keep", "sorce,other") == 0
    printed = capsys.readouterr().out
    assert "no row has the field 'sorce' that --keep names; did you mean 'source'?" in printed
    assert "'other'" not in printed


def test_a_field_with_the_name_of_a_column_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": ASKED}) + "\n")
    assert run(tmp_path / "in.jsonl", tmp_path / "a.jsonl", "--keep", "length") == 2
    assert "--keep length: the samples have a column of that name already" in capsys.readouterr().err


def test_each_turn_can_stand_behind_the_prompt_it_answered(
    tmp_path: Path, small: isc.Renderer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": ASKED, "id": 3}) + "\n")
    assert run(tmp_path / "in.jsonl", tmp_path / "a.jsonl", "--turns", "each", "--keep", "id") == 0
    assert "2 samples from 1 lines" in capsys.readouterr().out
    samples = isc.build_training_samples(small, ASKED)
    assert [(row["input_ids"], row["labels"]) for row in rows(tmp_path / "a.jsonl")] == [
        (list(sample.token_ids), list(sample.labels)) for sample in samples
    ]
    assert [row["id"] for row in rows(tmp_path / "a.jsonl")] == [3, 3]


def test_turns_that_the_options_would_not_ask_for_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": ASKED}) + "\n")
    told = ("--turns", "each", "--option", "enable_thinking=false")
    assert run(tmp_path / "in.jsonl", tmp_path / "a.jsonl", *told) == 0
    assert "behind a prompt that these options never give (turns): 2" in capsys.readouterr().out
    assert run(tmp_path / "in.jsonl", tmp_path / "b.jsonl", *told, "--strict") == 1
    assert "assistant messages 1, 3" in capsys.readouterr().err
