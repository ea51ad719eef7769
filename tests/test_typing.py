"""The types as a caller's type checker sees them: what it must accept, and what it must reject line by line."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parent.parent
ACCEPTS = "tests/typing/accepts.py"
REJECTS = "tests/typing/rejects.py"
_REPORTED = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")
_MARKED = re.compile(r"# error: (?P<code>[a-z-]+)$")


@cache
def _reported() -> dict[str, set[tuple[int, str]]]:
    """Errors by file: line and code. One run for both files: the imports are read once."""
    found: dict[str, set[tuple[int, str]]] = {ACCEPTS: set(), REJECTS: set()}
    arguments = ["--config-file", str(ROOT / "mypy.ini"), "--strict", "--hide-error-context", "--no-pretty"]
    limit = sys.getrecursionlimit()
    try:
        output, problems, _ = api.run([*arguments, *(str(ROOT / file) for file in found)])
    finally:
        sys.setrecursionlimit(limit)  # mypy raises it, and other tests in this process nest as deep as it allows
    assert problems == ""
    for line in output.splitlines():
        matched = _REPORTED.match(line)
        if matched:
            file = Path(matched["file"]).resolve().relative_to(ROOT).as_posix()
            found.setdefault(file, set()).add((int(matched["line"]), matched["code"]))
    return found


def _marked() -> set[tuple[int, str]]:
    lines = enumerate((ROOT / REJECTS).read_text(encoding="utf-8").splitlines(), 1)
    return {(number, matched["code"]) for number, line in lines if (matched := _MARKED.search(line))}


def test_strict_mypy_accepts_a_caller_that_uses_isc_rightly() -> None:
    assert _reported()[ACCEPTS] == set()


def test_strict_mypy_rejects_every_misuse() -> None:
    assert _marked() - _reported()[REJECTS] == set()


def test_strict_mypy_rejects_nothing_but_the_misuses() -> None:
    assert _reported()[REJECTS] - _marked() == set()


def test_strict_mypy_finds_no_error_in_isc_itself_on_the_way() -> None:
    assert _reported().keys() == {ACCEPTS, REJECTS}
