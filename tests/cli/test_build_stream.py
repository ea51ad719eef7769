"""`isc build -o -`: rows on standard output and all else on standard error; and what a failed build leaves behind."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import CHAT, EXAMPLE, NOT_JSON, files_in, rows, run
from isc.cli import Exit, main

FAMILY = ("--family", "qwen3")


def test_standard_output_gets_the_rows_and_nothing_else(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(EXAMPLE, tmp_path / "out.jsonl") == Exit.OK
    capsysbinary.readouterr()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(EXAMPLE, Path("-")) == Exit.OK
    captured = capsysbinary.readouterr()
    assert captured.out == (tmp_path / "out.jsonl").read_bytes()
    assert b"standard output: 14 samples from 14 lines, loss assistant" in captured.err
    assert not list(Path().iterdir())


def test_rejected_lines_are_kept_where_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, rejects = tmp_path / "in.jsonl", tmp_path / "bad.jsonl"
    source.write_bytes(CHAT + NOT_JSON + CHAT)
    assert run(source, Path("-")) == Exit.REJECTED
    captured = capsys.readouterr()
    assert captured.out.count("input_ids") == 2
    assert "in.jsonl:2: not JSON" in captured.err
    assert "1 line was rejected\n" in captured.err
    assert files_in(tmp_path) == set()
    assert run(source, Path("-"), "--rejects", str(rejects)) == Exit.REJECTED
    assert [row["line"] for row in rows(rejects)] == [2]
    assert run(source, Path("-"), "--strict") == Exit.REJECTED
    assert "--resume" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [["--report", "x.html"], ["--shards", "2"], ["--split", "a=1"], ["--resume"], ["--engine", "ray"]]
)
def test_what_needs_a_file_is_refused(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(EXAMPLE), "-o", "-", *FAMILY, *more]) == Exit.FAILED
    captured = capsys.readouterr()
    assert f"{more[0]}" in captured.err
    assert "needs a file to write" in captured.err
    assert captured.out == ""


def test_a_reader_that_leaves_a_build_gets_no_traceback(root: Path) -> None:
    many = "for k in $(seq 40); do cat examples/conversations.jsonl; done"
    line = f"{many} | {sys.executable} -m isc build - -o - --family qwen3 | head -c 10; exit ${{PIPESTATUS[1]}}"
    done = subprocess.run(["bash", "-c", line], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.BROKEN_PIPE
    assert done.stdout == '{"input_id'
    assert "Traceback" not in done.stderr
    assert "Pipe" not in done.stderr


def long_file() -> bytes:
    """A packed file of 200 conversations, which packs badly."""
    draw = random.Random(0)
    texts = (draw.randbytes(1500).hex() for _ in range(200))
    said = ([{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in texts)
    return gzip.compress("\n".join(map(json.dumps, said)).encode())


def cut_short(place: Path) -> None:
    """A packed file of which the end is missing."""
    place.write_bytes(long_file()[:-20000])


def not_there(place: Path) -> None:
    place.unlink(missing_ok=True)


def bad(place: Path) -> None:
    place.write_bytes(gzip.compress(NOT_JSON * 3))


def good(place: Path) -> None:
    place.write_bytes(gzip.compress(CHAT * 3))


FAILURES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a file that is not there": (not_there, []),
    "a file that ends too early": (cut_short, []),
    "lines of which none is a conversation": (
        bad,
        ["--report", "{new}.html"],
    ),  # a report of nothing but rejected lines
    "another form of rows": (good, ["--format", "alpaca", "--report", "{new}.html"]),
    "a column of that name": (good, ["--columns", "attribution", "--keep", "loss_mask"]),
    "an option that is none": (good, ["--turns", "eech"]),
    "a loss that is none": (good, ["--loss", "asistant"]),
    "a loss that trains on nothing": (good, ["--loss", "tool-bodies"]),
    "too few tokens": (good, ["--max-tokens", "3"]),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_build_leaves_nothing_in_the_way_of_the_next(name: str, tmp_path: Path) -> None:
    make, options = FAILURES[name]
    source, target = tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl"
    make(source)
    assert run(source, target, *(option.format(new=tmp_path / "out") for option in options)) == Exit.FAILED
    assert not target.exists()
    good(source)
    assert run(source, target, "--report", str(tmp_path / "out.html")) == Exit.OK
    assert len(rows(target)) == 3
    assert files_in(tmp_path) == {"in.jsonl.gz", "out.jsonl", "out.html"}


def test_a_build_whose_input_failed_can_still_be_resumed(tmp_path: Path) -> None:
    source, target = tmp_path / "in.json", tmp_path / "out.jsonl"
    conversations = gzip.decompress(long_file()).splitlines()
    source.write_bytes(b"[" + b",".join(conversations[:150]) + b", nonsense")
    assert run(source, target) == Exit.FAILED
    assert (tmp_path / "out.jsonl.state.json").exists()
    source.write_bytes(b"[" + b",".join(conversations) + b"]")
    assert run(source, target, "--resume") == Exit.OK
    assert len(rows(target)) == 200


def test_a_page_of_somebody_else_is_not_written_over_by_a_report(tmp_path: Path) -> None:
    source, target, page = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "mine.html"
    source.write_bytes(CHAT)
    page.write_text("<!doctype html>mine")
    assert run(source, target, "--report", str(page)) == Exit.FAILED
    assert page.read_text() == "<!doctype html>mine"


def test_rejects_of_a_file_that_is_there_are_not_written_over(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(CHAT)
    (tmp_path / "mine.jsonl").write_text("mine")
    assert run(source, target, "--rejects", str(tmp_path / "mine.jsonl")) == Exit.FAILED
    assert (tmp_path / "mine.jsonl").read_text() == "mine"
