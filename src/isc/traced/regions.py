"""In whose turn text was written: zero-length marks around loop iterations become places of the runs between them."""

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
    found = str.__new__(Mark)
    found.kind, found.message = kind, message
    return found


LEAVE: Final = _mark("leave")
"""Where an iteration ends."""
TAIL: Final = _mark("tail")
"""Where no turn follows."""
GENERATION: Final = _mark("generation")
"""Where a `{% generation %}` block begins."""


@lru_cache(maxsize=4096)
def enter(message: int | None) -> Mark:
    """Where an iteration begins, over this message or over anything else."""
    return _mark("enter", message)


def assembled(parts: Iterable[str]) -> tuple[list[Run], int | None, list[int]]:
    """The runs of what was written, each with its place; at which run the tail begins, and generation blocks do."""
    runs: list[Run] = []
    tail: int | None = None
    generated: list[int] = []
    open_regions: list[tuple[int, int | None]] = []
    for part in parts:
        kind = type(part)
        if kind is str:
            if part:
                runs.append((len(part), TEMPLATE, None))
        elif kind is Traced:
            runs += part._runs  # type: ignore[attr-defined]
        elif type(part) is not Mark:
            runs += runs_of(part)
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


def settle(runs: list[Run], start: int, message: int) -> None:
    """Runs from `start` on were written in a message's turn.

    The turn is firm if the message itself says something there; what was written inside a firm turn of another message
    stays in it, so a look at another message does not take its reader's text away.
    """
    firm = False
    for position in range(start, len(runs)):
        origin = runs[position][1]
        if origin is not TEMPLATE and origin.kind is BODY and origin.message == message:
            firm = True
            break
    here = place_of(message, firm)
    for position in range(start, len(runs)):
        length, origin, place = runs[position]
        if place is None or not place.firm:
            runs[position] = (length, origin, here)
