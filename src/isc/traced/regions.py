"""Find the turn in which text was written. Zero-length marks around loop iterations tell the place of each run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from isc.traced.origins import BODY, TEMPLATE, Run, place_of
from isc.traced.strings import Traced, runs_of


class Mark(str):
    """A place in what is written, without length."""

    __slots__ = ("kind", "message")
    kind: str
    message: int | None

    def __str__(self) -> str:
        return self


def _mark(kind: str, message: int | None = None) -> Mark:
    mark = str.__new__(Mark)
    mark.kind, mark.message = kind, message
    return mark


LEAVE: Final = _mark("leave")
"""Where an iteration ends."""
TAIL: Final = _mark("tail")
"""Where no turn follows."""
GENERATION: Final = _mark("generation")
"""Where a `{% generation %}` block begins."""


@lru_cache(maxsize=4096)
def enter(message: int | None) -> Mark:
    """Return the mark of an iteration's begin, over this message or over anything else."""
    return _mark("enter", message)


def assembled(parts: Iterable[str]) -> tuple[list[Run], int | None, list[int]]:
    """Assemble the runs of a render, each with its place.

    Return also the runs at which the tail and generation blocks begin.
    """
    runs: list[Run] = []
    tail: int | None = None
    generated: list[int] = []
    open_regions: list[tuple[int, int | None]] = []
    for part in parts:
        if type(part) is not Mark:
            runs += part._runs if type(part) is Traced else runs_of(part)
        elif part.kind == "enter":
            open_regions.append((len(runs), part.message))
        elif part.kind == "tail":
            tail = len(runs)
        elif part.kind == "generation":
            generated.append(len(runs))
        elif open_regions:
            start, message = open_regions.pop()
            if message is not None:
                settle(runs, start, message)
    for start, message in reversed(open_regions):
        if message is not None:
            settle(runs, start, message)
    return runs, tail, generated


def run_count(parts: Iterable[str]) -> int:
    """Count the runs that `assembled` makes of these, and the marks."""
    return sum([len(part._runs) if type(part) is Traced else 1 for part in parts])


def settle(runs: list[Run], start: int, message: int) -> None:
    """Give the runs from `start` on to a message's turn.

    Loops may be nested. An inner iteration over message j does not steal text from the outer turn of message i, once i
    has printed some of its own content ("firm").
    """
    count, firm = len(runs), False
    for position in range(start, count):
        origin = runs[position][1]
        if origin is not TEMPLATE and origin.kind is BODY and origin.message == message:
            firm = True
            break
    here = place_of(message, firm)
    for position in range(start, count):
        length, origin, place = runs[position]
        if place is None or not place.firm:
            runs[position] = (length, origin, here)
