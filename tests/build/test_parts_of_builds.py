"""A build in parts: what its files hold, and that it goes on by part, in any order. What builds them is no cluster."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterable
from pathlib import Path

import msgspec
import pytest
from pyarrow import parquet

from command_line import CHAT, EXAMPLE, NOT_JSON, rows, run, write_many
from isc.build import cluster
from isc.build.parts import BuiltPart, Part, PartWork, cut
from isc.build.samples import Batch
from isc.build.workers import WorkerError
from isc.cli import parts
from isc.errors import OptionError

COMMAND = ("--engine", "ray")


class Engine:
    """Builds parts in this process, the last first; can end after some, as a cluster that is lost."""

    def __init__(self) -> None:
        self.ends_after: int | None = None
        self.built: list[int] = []

    def __call__(
        self, pending: Iterable[Part], work: PartWork, workers: int | None = None
    ) -> Generator[BuiltPart, None, None]:
        assert workers in (None, 2)
        for part in reversed(list(pending)):
            if len(self.built) == self.ends_after:
                raise WorkerError("part 7: its worker died at 6 tries")
            self.built.append(part.number)
            yield work(part)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """In place of Ray, with parts of a few lines."""
    made = Engine()
    monkeypatch.setattr(cluster, "require", lambda: None)
    monkeypatch.setattr(cluster, "built_parts", made)
    monkeypatch.setattr(parts, "cut", lambda groups: cut(groups, 9000))
    return made


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_many(tmp_path / "many.jsonl")


def samples_of(place: Path, split: str = "") -> list[dict[str, object]]:
    files = sorted(place.glob(f"part-*{split}.parquet"))
    return [row for file in files for row in parquet.read_table(str(file)).to_pylist()]


def rejected_in(place: Path) -> list[dict[str, object]]:
    return [row for file in sorted(place.glob("part-*.rejects.jsonl")) for row in rows(file)]


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}


def test_parts_hold_what_one_file_holds(
    tmp_path: Path, many: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(many, tmp_path / "whole.parquet") == 1
    summary = capsys.readouterr().out.splitlines()
    assert run(many, tmp_path / "parts", *COMMAND, "--workers", "2") == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1:] == summary[1:]
    assert printed.out.splitlines()[0].split(": ")[1] == summary[0].split(": ")[1]
    assert "many.jsonl:10: not JSON" in printed.err
    assert len(engine.built) > 5
    assert samples_of(tmp_path / "parts") == parquet.read_table(str(tmp_path / "whole.parquet")).to_pylist()
    assert rejected_in(tmp_path / "parts") == rows(tmp_path / "whole.rejects.jsonl")


def test_the_summary_counts_all_parts(tmp_path: Path, many: Path, engine: Engine) -> None:
    assert run(many, tmp_path / "parts", *COMMAND) == 1
    summary = msgspec.json.decode((tmp_path / "parts" / "summary.json").read_bytes(), type=parts.Summary)
    samples = samples_of(tmp_path / "parts")
    assert summary.parts == len(engine.built)
    assert summary.lines == len(many.read_bytes().splitlines())
    assert (summary.tally.samples, summary.tally.rejected) == (len(samples), 2)
    assert sum(role.tokens for role in summary.tally.roles.values()) == sum(
        int(str(sample["length"])) for sample in samples
    )


def test_a_build_that_lost_its_cluster_goes_on_by_part(
    tmp_path: Path, many: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(many, tmp_path / "whole", *COMMAND) == 1
    count, engine.built = len(engine.built), []
    engine.ends_after = 3
    assert run(many, tmp_path / "parts", *COMMAND) == 2
    assert "stopped with 3 parts done; --resume goes on" in capsys.readouterr().err
    assert not (tmp_path / "parts" / "summary.json").exists()
    assert len(list((tmp_path / "parts").glob("part-*.parquet"))) == 3
    assert run(many, tmp_path / "parts", *COMMAND) == 2
    assert "pass --resume to go on" in capsys.readouterr().err
    engine.ends_after = None
    assert run(many, tmp_path / "parts", *COMMAND, "--resume") == 1
    assert sorted(engine.built) == list(range(count)), "no part is built twice"
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_what_was_written_of_a_part_without_a_note_is_written_anew(tmp_path: Path, many: Path, engine: Engine) -> None:
    assert run(many, tmp_path / "parts", *COMMAND) == 1
    whole, engine.built = contents(tmp_path / "parts"), []
    (tmp_path / "parts" / ".state" / "part-00002.json").unlink()
    (tmp_path / "parts" / ".state" / "part-00003.json").write_bytes(b'{"digest"')
    (tmp_path / "parts" / "part-00002.parquet").write_bytes(b"half of")
    assert run(many, tmp_path / "parts", *COMMAND, "--resume") == 1
    assert sorted(engine.built) == [2, 3]
    assert contents(tmp_path / "parts") == whole


def test_an_input_that_was_added_to_is_built_on(tmp_path: Path, many: Path, engine: Engine) -> None:
    assert run(many, tmp_path / "parts", *COMMAND) == 1
    count, engine.built = len(engine.built), []
    with many.open("ab") as stream:
        stream.write(EXAMPLE.read_bytes() * 2)
    assert run(many, tmp_path / "parts", *COMMAND, "--resume") == 1
    assert min(engine.built) >= count - 1, "the last part may have been a short one"
    assert run(many, tmp_path / "whole.parquet") == 1
    assert samples_of(tmp_path / "parts") == parquet.read_table(str(tmp_path / "whole.parquet")).to_pylist()


def test_a_shorter_input_leaves_no_part_behind(tmp_path: Path, many: Path, engine: Engine) -> None:
    assert run(many, tmp_path / "parts", *COMMAND) == 1
    many.write_bytes(EXAMPLE.read_bytes())
    assert run(many, tmp_path / "parts", *COMMAND, "--resume") == 0
    assert run(many, tmp_path / "whole.parquet") == 0
    assert samples_of(tmp_path / "parts") == parquet.read_table(str(tmp_path / "whole.parquet")).to_pylist()
    assert rejected_in(tmp_path / "parts") == []


def test_strict_stops_at_the_bad_line_and_goes_on_once_it_is_mended(
    tmp_path: Path, many: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(many, tmp_path / "parts", *COMMAND, "--strict") == 1
    assert "--strict: stopped at a bad line" in capsys.readouterr().err
    assert rejected_in(tmp_path / "parts") == []
    lines = many.read_bytes().splitlines(keepends=True)
    lines[9] = lines[50] = CHAT
    many.write_bytes(b"".join(lines))
    assert run(many, tmp_path / "parts", *COMMAND, "--strict", "--resume") == 0
    assert run(many, tmp_path / "whole.parquet") == 0
    assert samples_of(tmp_path / "parts") == parquet.read_table(str(tmp_path / "whole.parquet")).to_pylist()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--resume", "--max-tokens", "9"), "the interrupted build had max_tokens"),
        (("--resume", "--overwrite"), "pass one of them"),
        ((), "a build in parts is there"),
        (("--overwrite", "--shards", "3"), "a file for every 16 MB of input, which are its shards"),
        (("--overwrite", "--shard-size", "1MB"), "leave --shards and --shard-size out"),
        (("--overwrite", "--rejects", "{parts}/part-1.jsonl"), "give another name"),
        (("--overwrite", "--report", "{parts}/summary.json"), "give another name"),
        (("--overwrite", "--rejects", "{many}"), "must be different files"),
        (("--overwrite", "--report", "{parts}"), "is a directory"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, many: Path, engine: Engine, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], told: str
) -> None:
    assert run(many, tmp_path / "parts", *COMMAND) == 1
    before = contents(tmp_path / "parts")
    places = {"parts": str(tmp_path / "parts"), "many": str(many)}
    assert run(many, tmp_path / "parts", *COMMAND, *(one.format(**places) for one in more)) == 2
    assert told in capsys.readouterr().err
    assert contents(tmp_path / "parts") == before


def test_what_is_made_of_all_parts_is_that_of_one_file(
    tmp_path: Path, many: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Splits, one file of rejects and a report, also where the cluster was lost in between."""
    split = ("--split", "train=0.6,val=0.4")

    def asked(name: str) -> list[str]:
        return [*split, "--rejects", str(tmp_path / f"{name}.bad.jsonl"), "--report", str(tmp_path / f"{name}.html")]

    assert run(many, tmp_path / "one.parquet", *asked("one")) == 1
    engine.ends_after = 3
    assert run(many, tmp_path / "parts", *COMMAND, *asked("parts")) == 2
    assert not list(tmp_path.glob("parts.*")), "nothing is made of some parts"
    engine.ends_after = None
    capsys.readouterr()
    assert run(many, tmp_path / "parts", *COMMAND, *asked("parts"), "--resume") == 1
    told = capsys.readouterr().out
    for name in ("train", "val"):
        whole = parquet.read_table(str(tmp_path / f"one-{name}.parquet"))
        assert samples_of(tmp_path / "parts", f"-{name}") == whole.to_pylist()
        assert f"{tmp_path / 'parts'}/part-*-{name}.parquet: {whole.num_rows} rows" in told
    assert len(samples_of(tmp_path / "parts")) == 82
    assert rows(tmp_path / "parts.bad.jsonl") == rows(tmp_path / "one.bad.jsonl") == rejected_in(tmp_path / "parts")
    assert report_of(tmp_path / "parts.html") == report_of(tmp_path / "one.html")
    assert run(many, tmp_path / "more", *COMMAND, *asked("parts")) == 2
    assert "parts.bad.jsonl exists already" in capsys.readouterr().err


def test_a_part_without_a_row_of_a_split_has_no_file_of_it(tmp_path: Path, many: Path, engine: Engine) -> None:
    many.write_bytes(CHAT * 3)
    assert run(many, tmp_path / "parts", *COMMAND, "--split", "train=0.5,val=0.5") == 0
    (kept,) = (tmp_path / "parts").glob("part-*.parquet")
    assert parquet.read_table(str(kept)).num_rows == 3


def report_of(page: Path) -> object:
    """What a report shows, but for its title."""
    (block,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)
    return {name: value for name, value in json.loads(block).items() if name != "title"}


def test_the_output_is_a_directory(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("precious")
    for name, told in (
        ("out.parquet", "it is a directory"),
        ("out.jsonl", "it is a directory"),
        ("taken", "is a file"),
    ):
        assert run(EXAMPLE, tmp_path / name, *COMMAND) == 2
        assert told in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "precious"


def test_a_build_of_another_input_overwrites_all_of_the_old(tmp_path: Path, many: Path, engine: Engine) -> None:
    assert run(many, tmp_path / "parts", *COMMAND) == 1
    assert run(EXAMPLE, tmp_path / "parts", *COMMAND, "--overwrite") == 0
    assert len(samples_of(tmp_path / "parts")) == 14
    assert rejected_in(tmp_path / "parts") == []


def test_nothing_to_build_is_said(tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_bytes(NOT_JSON)
    assert run(tmp_path / "in.jsonl", tmp_path / "parts", *COMMAND) == 2
    assert "became a sample" in capsys.readouterr().err
    assert json.loads((tmp_path / "parts" / "summary.json").read_bytes())["tally"]["rejected"] == 1


def test_ray_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r'pip install "isc\[ray\]"'):
        cluster.require()


def test_the_same_lines_are_the_same_parts() -> None:
    groups = [Batch(1 + 2 * k, (b"x" * 10, b"%d" % k)) for k in range(20)]
    first, second = list(cut(groups, 50)), list(cut(iter(groups), 50))
    assert first == second
    assert [part.number for part in first] == list(range(len(first)))
    assert [batch for part in first for batch in part.batches] == groups
    assert len({part.digest for part in first}) == len(first) > 3
