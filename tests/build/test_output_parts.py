"""Splits, shards and packs of a build: nothing is lost or doubled, and how samples were made is told beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyarrow import parquet

import isc
from command_line import CHAT, EXAMPLE, NOT_JSON, interrupting, rows, run, write_many
from isc.build.metadata import Metadata, read_metadata, siblings
from isc.build.sources import batch_bytes
from isc.cli import running


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Conversations of which each has a number."""
    lines = [json.loads(line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines() * 5]
    place = tmp_path / "many.jsonl"
    for number, line in enumerate(lines):
        line["id"] = number
        line["messages"][-1]["content"] = f"{line['messages'][-1]['content']} {number % 50}"
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


def read(place: Path) -> list[dict[str, Any]]:
    if place.suffix != ".parquet":
        return rows(place)
    return [{**row, "id": json.loads(str(row["id"]))} for row in parquet.read_table(str(place)).to_pylist()]


def outputs(place: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of the output's parts, by the part's name."""
    stem, _, ending = place.name.partition(".")
    found = sorted(place.parent.glob(f"{stem}-*.{ending}"))
    return {path.name[len(stem) + 1 : -len(ending) - 1]: read(path) for path in found}


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
@pytest.mark.parametrize(
    "more",
    [("--split", "train=0.8,val=0.2"), ("--shards", "3"), ("--shard-size", "60KB"),
     ("--split", "train=0.8,val=0.2", "--shards", "2"), ("--split", "train=0.8,val=0.2", "--shard-size", "60KB")],
)  # fmt: skip
def test_parts_have_every_row_once_also_after_an_interruption(
    tmp_path: Path, many: Path, name: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ending = name.removeprefix("out")
    more = tuple("6KB" if one == "60KB" and ending == ".jsonl.gz" else one for one in more)
    assert run(many, tmp_path / f"plain{ending}", "--keep", "id") == 0
    wanted = {row["id"]: row for row in read(tmp_path / f"plain{ending}")}
    assert run(many, tmp_path / "whole" / name, "--keep", "id", *more) == 0
    parts = outputs(tmp_path / "whole" / name)
    found = [row for part in parts.values() for row in part]
    assert {row["id"]: row for row in found} == wanted
    assert len(found) == len(wanted)
    assert len(parts) > 1
    told = capsys.readouterr().out
    for part, content in parts.items():
        assert f"{tmp_path / 'whole' / 'out'}-{part}{ending}: {len(content)} rows" in told
    for after in (3, 4, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "closing", interrupting(after))
            assert run(many, tmp_path / "again" / name, "--keep", "id", *more, "--resume") == 130
    assert run(many, tmp_path / "again" / name, "--keep", "id", *more, "--resume") == 0
    whole, again = ({path.name: path.read_bytes() for path in (tmp_path / d).iterdir()} for d in ("whole", "again"))
    assert again == whole


def test_a_split_keeps_duplicates_together_and_is_that_of_the_library(tmp_path: Path, many: Path) -> None:
    assert run(many, tmp_path / "out.jsonl", "--keep", "id", "--split", "train=0.5,val=0.5") == 0
    conversations = [json.loads(line)["messages"] for line in many.read_text().splitlines()]
    parts = outputs(tmp_path / "out.jsonl")
    assert set(parts) == {"train", "val"}
    for name, content in parts.items():
        assert {isc.split_of(conversations[row["id"]], {"train": 0.5, "val": 0.5}) for row in content} == {name}


def test_shards_are_filled_in_turn_and_shards_of_a_size_are_of_that_size(tmp_path: Path, many: Path) -> None:
    assert run(many, tmp_path / "a.jsonl", "--shards", "4", "--keep", "id") == 0
    parts = outputs(tmp_path / "a.jsonl")
    assert list(parts) == [f"{number:05}-of-00004" for number in range(4)]
    assert [[row["id"] % 4 for row in part] for part in parts.values()] == [
        [number] * len(part) for number, part in enumerate(parts.values())
    ]
    assert run(many, tmp_path / "b.jsonl", "--shard-size", "50KB") == 0
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("b-*.jsonl"))]
    assert len(sizes) > 3
    assert all(50_000 <= size < 90_000 for size in sizes[:-1])


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_pack_has_every_sample_once_and_is_full(
    tmp_path: Path, many: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--pack", "2048", "--keep", "id", "--split", "train=0.8,val=0.2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isc.build.sources._MOST_PACKED", 20_000)
        assert run(many, tmp_path / name, *more) == 0
        for after in (2, 3):
            patch.setattr(running, "closing", interrupting(after))
            assert run(many, tmp_path / "again" / name, *more, "--resume") == 130
        patch.undo()
        patch.setattr("isc.build.sources._MOST_PACKED", 20_000)
        assert run(many, tmp_path / "again" / name, *more, "--resume") == 0
    assert "% full" in capsys.readouterr().out
    assert run(many, tmp_path / "plain.jsonl", "--keep", "id") == 0
    wanted = {row["id"]: row for row in read(tmp_path / "plain.jsonl")}
    for part, content in outputs(tmp_path / name).items():
        for row in content:
            assert row["length"] == len(row["input_ids"]) == len(row["labels"]) <= 2048
            first = 0
            for identity, length in zip(row["id"], row["seq_lengths"], strict=True):
                sample = wanted.pop(identity)
                assert row["input_ids"][first : first + length] == sample["input_ids"]
                assert row["labels"][first + 1 : first + length] == sample["labels"][1:]
                assert row["position_ids"][first : first + length] == list(range(length))
                first += length
        again = (tmp_path / "again" / name).with_stem(f"out-{part}")
        assert again.read_bytes() == (tmp_path / name).with_stem(f"out-{part}").read_bytes()
    assert wanted == {}


def test_packs_of_a_strict_build_are_those_of_one_in_one_go(tmp_path: Path) -> None:
    many = write_many(tmp_path / "many.jsonl")
    lines = many.read_bytes().splitlines(keepends=True)
    assert run(many, tmp_path / "out.jsonl", "--pack", "2048", "--strict") == 1
    lines[9] = lines[50] = CHAT
    many.write_bytes(b"".join(lines))
    assert run(many, tmp_path / "out.jsonl", "--pack", "2048", "--strict", "--resume") == 0
    assert run(many, tmp_path / "whole.jsonl", "--pack", "2048") == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_window_of_packs_is_bounded() -> None:
    assert batch_bytes(None) < batch_bytes(4096) < batch_bytes(16_384) <= batch_bytes(1 << 20) == 8 << 20


@pytest.mark.parametrize("turns", ["together", "each"])
@pytest.mark.parametrize(
    ("too_long", "said"),
    [("truncate-left-turns", "messages and"), ("truncate-right", "of them trained on"), ("split", "split (--too-long")],
)
def test_what_is_too_long_is_shortened_as_asked_and_what_is_lost_is_said(
    tmp_path: Path, turns: str, too_long: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    thought = {"role": "assistant", "content": "Yes. " * 20, "reasoning_content": "Hm. " * 30}
    chat = [message for k in range(5) for message in ({"role": "user", "content": f"{k}?"}, thought)]
    (tmp_path / "in.jsonl").write_text(json.dumps({"messages": chat, "id": 0}) + "\n")
    more = ("--max-tokens", "230", "--turns", turns)
    assert run(tmp_path / "in.jsonl", tmp_path / "rejected.jsonl", *more) == 2
    capsys.readouterr()
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", *more, "--too-long", too_long) == 0
    told = " ".join(capsys.readouterr().out.split())
    found = rows(tmp_path / "out.jsonl")
    assert all(int(str(row["length"])) <= 230 for row in found)
    assert said in told
    assert "of more than 230 tokens" in told
    assert len(found) == {("each", "split"): 5, ("each", "truncate-left-turns"): 5, ("each", "truncate-right"): 5}.get(
        (turns, too_long), len(found)
    ), "each turn is trained on in a sample of its own"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--shards", "2", "--shard-size", "1MB"), "pass one of them"),
        (("--pack", "100", "--max-tokens", "200"), "--max-tokens 200 does not fit in --pack 100"),
        (("--too-long", "split"), "say of how many tokens"),
        (("--split", "train=0.9"), "must add up to 1"),
        (("--split", "train"), "is no split"),
        (("--split", "a=0.5,a=0.5"), "is no split"),
        (("--shard-size", "many"), "is no size"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, more: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(EXAMPLE, tmp_path / "out.jsonl", *more) == 2
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_parts_are_overwritten_together_and_only_if_asked(
    tmp_path: Path, many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(many, tmp_path / "out.jsonl", "--shards", "4") == 0
    (tmp_path / "out-notes.jsonl").write_text("mine")
    assert run(many, tmp_path / "out.jsonl", "--shards", "2") == 2
    assert "out-00000-of-00004.jsonl exists already" in capsys.readouterr().err
    assert run(tmp_path / "out-00001-of-00004.jsonl", tmp_path / "out.jsonl", "--shards", "2", "--overwrite") == 2
    assert "must be different files" in capsys.readouterr().err
    assert run(many, tmp_path / "out.jsonl", "--shards", "2", "--overwrite") == 0
    assert sorted(path.name for path in tmp_path.glob("out-*")) == [
        *("out-00000-of-00002.jsonl", "out-00000-of-00002.meta.json"),
        *("out-00001-of-00002.jsonl", "out-00001-of-00002.meta.json"),
        "out-notes.jsonl",
    ]


def test_a_build_that_fails_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(NOT_JSON)
    more = ("--split", "train=0.5,val=0.5", "--shards", "2")
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", *more, "--strict") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    (tmp_path / "in.jsonl").write_text('{"text": "hi"}\n')
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", *more) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    (tmp_path / "in.jsonl").write_bytes(CHAT)
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", *more) == 0


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_samples_say_what_they_were_made_of(tmp_path: Path, many: Path, name: str) -> None:
    more = ("--option", "enable_thinking=false", "--keep", "id", "--columns", "spans")
    assert run(many, tmp_path / name, *more, loss="assistant+tool-bodies") == 0
    found = read_metadata(tmp_path / name)
    assert found is not None
    assert (found.isc, found.family, found.loss) == (
        isc.__version__,
        "qwen3 enable_thinking=false",
        "assistant+tool-bodies",
    )
    assert found.columns == ("input_ids", "loss_spans", "length", "id")
    assert found.counts.samples == len(read(tmp_path / name)) == 70
    assert json.loads(found.family_digest)["enable_thinking"] is False
    raw = (
        parquet.read_metadata(str(tmp_path / name)).metadata or {}
        if name.endswith("t")
        else {b"isc": (tmp_path / "out.meta.json").read_bytes()}
    )
    assert msgspec.json.decode(raw[b"isc"], type=Metadata) == found


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_shards_that_differ_are_not_mixed(
    tmp_path: Path, many: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / f"part-1.{ending}", tmp_path / f"part-2.{ending}"
    assert run(many, first) == 0
    for more, problem in (
        (
            ("--columns", "spans"),
            "columns = ('input_ids', 'labels', 'length'), not ('input_ids',",
        ),
        (("--max-tokens", "4000"), "max_tokens = None, not 4000"),
        (("--option", "enable_thinking=false"), "family = qwen3, not qwen3 enable_thinking=false"),
    ):
        assert run(many, second, *more) == 2
        assert f"{first} is of the same set by its name and has {problem}" in capsys.readouterr().err
        assert not second.exists()
    assert run(many, second) == 0
    assert run(many, tmp_path / f"other.{ending}", "--columns", "spans") == 0
    assert run(many, first, "--overwrite", "--columns", "spans") == 2, "its sibling is still there"


def test_numbers_in_words_make_no_set(tmp_path: Path) -> None:
    for name in ("qwen2.jsonl", "part-1.jsonl", "part-2.jsonl", "part-02-of-3.jsonl", "part-2.parquet"):
        (tmp_path / name).touch()
    assert siblings(tmp_path / "qwen3.jsonl") == []
    assert [path.name for path in siblings(tmp_path / "part-1.jsonl")] == ["part-2.jsonl"]
    assert siblings(tmp_path / "nowhere" / "part-1.jsonl") == []
