"""`isc build`: what lines become, what becomes of bad ones, on one process and on many."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

import msgspec
import pytest
from pyarrow import parquet

import isc
from command_line import CHAT, EXAMPLE, NOT_JSON, UNTRAINED, files_in, rows, run, write_many
from isc.build import samples, workers
from isc.build.compression import compression_of, unpacked
from isc.build.recognition import recognized
from isc.build.samples import Batch, Loss, RoleTally, Settings, Tally, batches, build_batch, parse_loss
from isc.build.sources import read_batches
from isc.cli import Exit, main
from isc.conversation.columns import SETS
from isc.conversation.lengths import Turns
from isc.encoding.encoders import embedded
from isc.errors import EncoderError, OptionError
from isc.formats.qwen3 import Qwen3
from isc.types import Role

ASSISTANT = Settings(Loss(True))
NOT_UTF_8 = b'[{"role": "user", "content": "\xff"}]\n'
BAD = {
    NOT_JSON: "not JSON",
    NOT_UTF_8: "not JSON",
    UNTRAINED: "no token would be trained on",
    b"7\n": "a conversation is",
    b'{"tools": []}\n': "a conversation is",
    b'{"messages": 1}\n': "messages must be a list",
    b'{"messages": [{"role": "user"}], "tools": 1}\n': "tools must be a list",
    b"[]\n": "an empty conversation",
    b'[{"role": "robot", "content": "hi"}]\n': "messages[0].role",
    b'[{"messages": [{"role": "user", "content": "hi"}]}]\n': "one a line",
    b'[{"role": "user", "content": "\\ud800"}]\n': "surrogate",
    b'[{"role": "user", "content": "hi", "score": NaN}]\n': "messages[0].score",
    b"[" * 5000 + b"\n": "nested too deeply",
}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_many(tmp_path / "many.jsonl")


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("assistant", Loss(True)),
        ("tool-bodies", Loss(False, ("tool",))),
        ("user-bodies + assistant+user-bodies", Loss(True, ("user",))),
        ("tool-bodies+developer-bodies", Loss(False, ("developer", "tool"))),
        (
            "assistant:tool_call+assistant:content+tool-bodies",
            Loss(True, ("tool",), (("assistant", ("content", "tool_call")),)),
        ),
        ("assistant+assistant:content", Loss(True)),
        ("tool:tool_result", Loss(False, ("tool",), (("tool", ("tool_result",)),))),
        ("tool-bodies+all", Loss(True, tuple(role for role in get_args(Role) if role != "assistant"), whole=True)),
    ],
)
def test_loss_terms_are_joined_by_plus(text: str, loss: Loss) -> None:
    assert parse_loss(text) == loss
    assert parse_loss(str(loss)) == loss


@pytest.mark.parametrize(
    "text", ["", "assistant+", "tools", "assistant-bodies", "assistant,tool-bodies", "assistant:text", "robot:content"]
)
def test_an_unknown_loss_term_is_an_error_that_lists_the_terms(text: str) -> None:
    with pytest.raises(OptionError, match="assistant, system-bodies, developer-bodies, user-bodies, tool-bodies"):
        parse_loss(text)


@pytest.mark.parametrize(
    ("term", "near"),
    [
        ("asistant", "assistant"),
        ("tools", "tool-bodies"),
        ("user", "user-bodies"),
        ("assistant:contnet", "assistant:content"),
    ],
)
def test_a_misspelled_loss_term_is_told_the_nearest(term: str, near: str) -> None:
    with pytest.raises(OptionError, match=f"{term!r} is no term; did you mean {near!r}"):
        parse_loss(term)


def test_without_a_loss_the_assistant_is_trained_on(tmp_path: Path) -> None:
    assert main(["build", str(EXAMPLE), "-o", str(tmp_path / "a.jsonl"), "--family", "qwen3"]) == Exit.OK
    assert run(EXAMPLE, tmp_path / "b.jsonl") == Exit.OK
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_all_trains_on_every_token_but_those_of_messages_that_are_left_out(tmp_path: Path, small: isc.Renderer) -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a", "weight": 0}, *json.loads(CHAT)]
    (tmp_path / "in.jsonl").write_text(f"{CHAT.decode()}{json.dumps(chat)}")
    (tmp_path / "split.jsonl").write_text(json.dumps({"prompt": chat[:1], "completion": json.loads(CHAT)[1:]}))
    files = tmp_path / "in.jsonl", str(tmp_path / "split.jsonl")
    assert run(files[0], tmp_path / "out.jsonl", files[1], "--columns", "attribution", loss="all") == Exit.OK
    whole, flagged, completed = rows(tmp_path / "out.jsonl")
    assert all(cast("list[bool]", whole["loss_mask"]))
    owners = cast("list[int]", flagged["message_indices"])
    assert flagged["loss_mask"] == [owner != 1 for owner in owners]
    assert completed["loss_mask"] == [owner == 1 for owner in cast("list[int]", completed["message_indices"])]


def test_rows_are_the_library_s_training_samples(tmp_path: Path, small: isc.Renderer) -> None:
    output = tmp_path / "new" / "out.jsonl"
    assert run(EXAMPLE, output, "--columns", "attribution", loss="assistant+tool-bodies") == 0
    for line, row in zip(EXAMPLE.read_bytes().splitlines(), rows(output), strict=True):
        given = json.loads(line)
        sample = isc.build_training_sample(small, given["messages"], given.get("tools"), content_sft_roles={"tool"})
        rendered = sample.rendered
        assert row == {
            "input_ids": list(sample.token_ids),
            "loss_mask": list(sample.loss_mask),
            "message_indices": list(rendered.message_indices),
            "is_content": list(rendered.is_content),
            "sampled_mask": list(rendered.sampled_mask),
            "message_roles": list(rendered.message_roles),
            "length": len(sample.token_ids),
        }
    assert files_in(output.parent) == {"out.jsonl"}


def test_a_packed_output_holds_what_a_plain_one_holds_in_half_the_bytes(tmp_path: Path, many: Path) -> None:
    """In as many members as there were batches; their bytes depend on nothing but the rows."""
    assert run(many, tmp_path / "plain.jsonl") == 1
    plain = (tmp_path / "plain.jsonl").read_bytes()
    for ending, magic in (("gz", b"\x1f\x8b\x08"), ("zst", b"\x28\xb5\x2f\xfd")):
        for name, processes in (("a", "1"), ("b", "2")):
            assert run(many, tmp_path / ending / f"{name}.jsonl.{ending}", "--workers", processes) == 1
        place = tmp_path / ending / f"a.jsonl.{ending}"
        packed = place.read_bytes()
        assert packed == place.with_name(f"b.jsonl.{ending}").read_bytes()
        assert packed.count(magic) > 3
        assert len(packed) < len(plain) / 2
        with place.open("rb") as stream:
            assert unpacked(stream, compression_of(place)).read() == plain
        found = read_batches(recognized(str(place), "messages"))  # a file of samples is an input like any other
        assert b"".join(row for batch in found for row in batch.lines) == plain
        for beside in (".meta.json", ".rejects.jsonl"):
            assert place.with_name(f"a{beside}").read_bytes() == (tmp_path / f"plain{beside}").read_bytes()


def test_an_output_says_by_its_name_what_it_is(tmp_path: Path, many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out", "out.json", "out.gz", "out.json.gz", "out.parquet.gz"):
        assert run(many, tmp_path / name) == 2
        assert "must end in .jsonl, .jsonl.gz, .jsonl.zst or .parquet" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), *(("--columns", name) for name in SETS), ("--keep", "note,nothing")])
def test_parquet_holds_what_jsonl_holds(tmp_path: Path, many: Path, more: tuple[str, ...]) -> None:
    assert run(many, tmp_path / "a.jsonl", *more) == 1
    assert run(many, tmp_path / "b.parquet", *more) == 1
    assert parquet.read_table(str(tmp_path / "b.parquet")).to_pylist() == rows(tmp_path / "a.jsonl")
    assert (tmp_path / "a.rejects.jsonl").read_bytes() == (tmp_path / "b.rejects.jsonl").read_bytes()
    assert files_in(tmp_path) == {"a.jsonl", "b.parquet", "a.rejects.jsonl", "b.rejects.jsonl"}


@pytest.mark.parametrize("loss", ["user-bodies", "tool-bodies", "assistant"])
def test_a_loss_without_assistant_trains_on_bodies_alone(small: isc.Renderer, loss: str) -> None:
    for line in EXAMPLE.read_bytes().splitlines():
        found = build_batch(small, Settings(parse_loss(loss)), False, Batch(1, (line,)))
        for role, tally in found.tally.roles.items():
            trains = loss.startswith(role)
            assert tally.trained == (tally.body if trains else 0)
            assert tally.tokens >= tally.body


@pytest.mark.parametrize("turns", ["together", "each"])
def test_a_loss_of_parts_trains_on_what_the_library_trains_on(small: isc.Renderer, turns: Turns) -> None:
    loss = parse_loss("assistant:content+assistant:close+tool-bodies")
    for line in EXAMPLE.read_bytes().splitlines():
        given = json.loads(line)
        asked = (small, given["messages"], given.get("tools"), None, {"tool"})
        samples = (
            isc.build_training_samples(*asked, parts=loss.by_role)
            if turns == "each"
            else (isc.build_training_sample(*asked, parts=loss.by_role),)
        )
        built = build_batch(small, Settings(loss, columns="mask", turns=turns), False, Batch(1, (line,)))
        masks = [json.loads(row)["loss_mask"] for row in built.rows.splitlines()]
        assert masks == [list(sample.loss_mask) for sample in samples]
        assert all(map(any, masks))
        whole = isc.build_training_sample(*asked)
        assert turns == "each" or sum(masks[0]) <= whole.trainable_tokens


def test_the_tally_counts_every_token_once(small: isc.Renderer) -> None:
    lines = EXAMPLE.read_bytes().splitlines()
    found = build_batch(small, Settings(parse_loss("assistant+tool-bodies")), False, Batch(1, tuple(lines)))
    decoded = [json.loads(line) for line in found.rows.splitlines()]
    assert sum(tally.tokens for tally in found.tally.roles.values()) == sum(len(row["input_ids"]) for row in decoded)
    assert sum(tally.trained for tally in found.tally.roles.values()) == sum(
        label != -100 for row in decoded for label in row["labels"]
    )
    one = Tally(1, 2, {"user": RoleTally(3, 2, 1)})
    assert one + Tally(1, 0, {"tool": RoleTally(1)}) + one == Tally(
        3, 4, {"user": RoleTally(6, 4, 2), "tool": RoleTally(1)}
    )


@pytest.mark.parametrize("line", BAD, ids=BAD.values())
def test_a_bad_line_is_rejected_with_its_reason(small: isc.Renderer, line: bytes) -> None:
    found = build_batch(small, ASSISTANT, False, Batch(7, (CHAT, b"  \n", line, CHAT)))
    assert (found.tally.samples, found.tally.rejected, found.lines) == (2, 1, 4)
    assert (found.rejected[0].line, found.rejected[0].original) == (9, line)
    assert BAD[line] in found.rejected[0].reason
    assert "internal" not in found.rejected[0].reason


def test_rejected_lines_are_reported_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join((CHAT, NOT_UTF_8, b"\r\n", UNTRAINED.replace(b"\n", b"\r\n"), CHAT.rstrip())))
    assert run(source, tmp_path / "out.jsonl", "--rejects", str(tmp_path / "bad.jsonl")) == 1
    assert len(rows(tmp_path / "out.jsonl")) == 2
    first, second = rows(tmp_path / "bad.jsonl")
    assert (first["line"], second["line"]) == (2, 4)
    assert base64.b64decode(str(first["original_base64"])) == NOT_UTF_8.rstrip()
    assert second["original"] == UNTRAINED.decode().rstrip()
    assert "trained on" in str(second["reason"])
    errors = capsys.readouterr().err
    assert f"{source}:2: not JSON" in errors
    assert f"{source}:4: no token" in errors


def test_many_rejected_lines_do_not_flood_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(NOT_JSON * 500 + CHAT)
    assert run(source, tmp_path / "out.jsonl") == 1
    assert len(capsys.readouterr().err.splitlines()) <= 25
    assert len(rows(tmp_path / "out.rejects.jsonl")) == 500


def test_an_unforeseen_error_costs_one_line_and_is_named(small: isc.Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(samples, "build_training_sample", broken)
    found = build_batch(small, ASSISTANT, False, Batch(1, (CHAT,)))
    assert found.rejected[0].reason == "internal error: ZeroDivisionError: oh"


def test_a_vocabulary_without_the_specials_is_no_line_s_fault() -> None:
    renderer = isc.create_renderer(embedded(()), Qwen3())
    with pytest.raises(EncoderError, match="im_start"):
        build_batch(renderer, ASSISTANT, False, Batch(1, (CHAT,)))


def test_too_many_tokens_are_rejected_not_cut(tmp_path: Path) -> None:
    assert run(EXAMPLE, tmp_path / "out.jsonl", "--max-tokens", "400") == 1
    assert all(len(str(row["input_ids"]).split(",")) <= 400 for row in rows(tmp_path / "out.jsonl"))
    rejected = rows(tmp_path / "out.rejects.jsonl")
    assert len(rejected) + len(rows(tmp_path / "out.jsonl")) == 14
    assert "more than max_tokens = 400" in str(rejected[0]["reason"])


@pytest.mark.parametrize("content", [b"", b"\n\n", NOT_JSON * 3])
def test_without_a_sample_there_is_no_output(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(content)
    for output in ("out.jsonl", "out.parquet"):
        assert run(source, tmp_path / output, "--overwrite") == 2
    assert files_in(tmp_path) == ({"out.rejects.jsonl"} if content.strip() else set())


def test_batches_are_whole_lines_and_read_no_further_than_needed() -> None:
    read = 0

    def lines() -> Iterator[tuple[int, bytes]]:
        nonlocal read
        for number in range(100):
            read += 1
            yield read, b"x" * number + b"\n"

    found = batches(lines(), 5, 60)
    assert next(found).first == 5
    assert read < 15
    following = list(found)
    assert following[-1].first + len(following[-1].lines) == 105
    assert all(sum(map(len, batch.lines[:-1])) < 60 for batch in following)


def many_batches() -> Sequence[Batch]:
    lines = EXAMPLE.read_bytes().splitlines(keepends=True) * 4
    lines[20] = NOT_JSON
    return list(batches(enumerate(lines, 1), 1, 2000))


def test_workers_keep_the_order(small: isc.Renderer) -> None:
    alone = list(workers.built(many_batches(), small, ASSISTANT))
    together = list(workers.built(many_batches(), small, ASSISTANT, workers=3))
    assert len(alone) > 20
    assert together == alone


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (3,)


def test_a_worker_that_dies_is_an_error_not_a_hang(small: isc.Renderer) -> None:
    renderer = msgspec.structs.replace(small, encoder=Deadly())
    with pytest.raises(workers.WorkerError, match="a worker process died"):
        list(workers.built(many_batches(), renderer, ASSISTANT, workers=2))
