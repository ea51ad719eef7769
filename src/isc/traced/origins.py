"""The origin of text and the turn it was written in, as runs of characters that share both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from isc.types import UNOWNED, BodyPart


class Kind(Enum):
    """The part that a piece of text plays in the conversation."""

    TEMPLATE = "template"
    """The template's own wording: the only text in which specials are looked for."""
    BODY = "body"
    """A message's content."""
    NAME = "name"
    """Name or id of a message's tool call: body in its own turn, scaffold where another turn refers to it."""
    DATA = "data"
    """Other caller data: names, ids, template arguments."""
    TOOLS = "tools"
    """Tool schemas."""
    UNKNOWN = "unknown"
    """Caller data after an operation that lost track of it."""


class Origin(NamedTuple):
    """The source of characters: `message` for body and names, `operation` for the one that lost track.

    `part` is that of the field of the message, None where the field is not known.
    """

    kind: Kind
    message: int = UNOWNED
    operation: str = ""
    part: BodyPart | None = None


class Place(NamedTuple):
    """The turn that characters were written in. `firm`: that turn is known to have printed content of its own."""

    message: int
    firm: bool


Run: TypeAlias = tuple[int, Origin, Place | None]
"""So many characters of one origin and place."""
Runs: TypeAlias = tuple[Run, ...]

BODY: Final = Kind.BODY
NAME: Final = Kind.NAME
TEMPLATE: Final = Origin(Kind.TEMPLATE)
TOOLS: Final = Origin(Kind.TOOLS)
DATA: Final = Origin(Kind.DATA)


@lru_cache(maxsize=4096)
def of_message(kind: Kind, message: int, part: BodyPart | None = None) -> Origin:
    """Return the origin of something a message holds."""
    return Origin(kind, message, "", part)


@lru_cache(maxsize=256)
def unknown(operation: str) -> Origin:
    """Return the origin of a text that an operation lost track of."""
    return Origin(Kind.UNKNOWN, UNOWNED, operation)


@lru_cache(maxsize=4096)
def place_of(message: int, firm: bool) -> Place:
    """Return a place, shared by all its runs."""
    return Place(message, firm)


def merged(runs: Iterable[Run]) -> list[Run]:
    """Merge neighbouring runs of one origin and place, and leave out empty ones."""
    # `_runs.merge` for runs of three, whose origins and places are shared objects: by way of pairs it takes 3 times as
    # long (measured), and every text of a render passes here. A property holds both to the same.
    joined: list[Run] = []
    for run in runs:
        if not run[0]:
            continue
        if joined and joined[-1][1] is run[1] and joined[-1][2] is run[2]:
            joined[-1] = (joined[-1][0] + run[0], run[1], run[2])
        else:
            joined.append(run)
    return joined


def cut(runs: Runs, spans: Iterable[tuple[int, int]]) -> Iterator[Runs]:
    """Yield the runs of each of these ascending, non-overlapping spans of characters, in one pass over the runs."""
    # `_runs.cut_at` for spans with gaps between them: by way of pairs it takes 1.6 times as long (measured).
    position, current = 0, 0
    for start, stop in spans:
        while current < len(runs) and position + runs[current][0] <= start:
            position += runs[current][0]
            current += 1
        piece: list[Run] = []
        place, run = position, current
        while run < len(runs) and place < stop:
            length, origin, owner = runs[run]
            first, last = max(start, place), min(stop, place + length)
            if first < last:
                piece.append((last - first, origin, owner))
            place += length
            run += 1
        yield tuple(piece)


def sole(runs: Sequence[Run]) -> Origin | None:
    """Return the one origin of all runs, or None where there are several or none.

    Of several fields of a message it is the message's, without a part.
    """
    if not runs:
        return None
    origin = runs[0][1]
    if all(run[1] is origin or run[1] == origin for run in runs):
        return origin
    if origin.part is None or any(run[1][:2] != origin[:2] for run in runs):
        return None
    return of_message(origin.kind, origin.message)
