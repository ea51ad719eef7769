"""What a turn of some shape adds to a stream: its texts, its specials, and where its parts meet, counted once."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from isc.encoding._owners import PART_NUMBERS
from isc.formats._parts import Frame, Planned, Shape, plan_of


class Filled(Struct, frozen=True):
    """A text that fields fill, or of several parts.

    Attributes:
        number: How many texts are before it.
        written: Its pieces, "" where a field stands.
        fields: The place of each such piece, and that of the field in the turn.
        parts: The number of the part of each piece.
    """

    number: int
    written: tuple[str, ...]
    fields: tuple[tuple[int, int], ...]
    parts: tuple[int, ...]


class Layout(Struct, frozen=True):
    """What becomes of what a message samples, numbered from the place where it begins.

    Attributes:
        texts: The text before each special, and the last where one follows them; "" where fields fill it.
        specials: The specials.
        filled: The texts that fields fill.
        changes: Where the part is another than before, as `Stream.changes` has it; without the beginning.
        parts: The number of the part of each change.
        first: The number of the part that it begins with.
        last: The number of the part that it ends with.
    """

    texts: tuple[str, ...]
    specials: tuple[str, ...]
    filled: tuple[Filled, ...]
    changes: tuple[int, ...]
    parts: tuple[int, ...]
    first: int
    last: int


@lru_cache(maxsize=512)
def layout_of(shape: Shape, frame: Frame) -> Layout | None:
    """Return the layout of turns of this shape, or None where no plan says it."""
    plan = plan_of(shape, frame)
    if plan is None:
        return None
    texts: list[str] = []
    specials: list[str] = []
    filled: list[Filled] = []
    changes: list[tuple[int, int]] = []
    before = plan[0].parts[0]
    for planned in plan:
        numbers = [PART_NUMBERS[part] for part in planned.parts]
        if planned.parts[0] != before or (len(numbers) > 1 and planned is not plan[0]):
            changes.append((2 * len(specials) + (planned.special != ""), numbers[0]))
        before = planned.parts[-1]
        if planned.special:
            texts += [""] * (len(specials) + 1 - len(texts))
            specials.append(planned.special)
        elif len(planned.pieces) == 1 and planned.pieces[0][0]:
            texts.append(planned.pieces[0][0])
        else:
            filled.append(_filled(planned, len(specials), numbers))
            texts.append("")
    places, parts = tuple(place for place, _ in changes), tuple(part for _, part in changes)
    first, last = PART_NUMBERS[plan[0].parts[0]], PART_NUMBERS[before]
    return Layout(tuple(texts), tuple(specials), tuple(filled), places, parts, first, last)


def _filled(planned: Planned, number: int, parts: list[int]) -> Filled:
    written = tuple(text for text, _ in planned.pieces)
    fields = tuple((place, field) for place, (text, field) in enumerate(planned.pieces) if not text)
    return Filled(number, written, fields, tuple(parts))
