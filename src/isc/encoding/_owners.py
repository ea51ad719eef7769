"""Owners as whole numbers: a render has a thousand, and as many tuples would set off the garbage collector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from isc._parts import PARTS
from isc.types import UNOWNED, WRITTEN_PARTS, BodyPart

BODY: Final = 32
"""What is added for a body, and the number of its part to that."""

MESSAGE: Final = 2 * BODY
"""How far the owners of a message are from those of the next; a message's scaffold is the first of its own."""

PART_NUMBERS: Final[Mapping[BodyPart | None, int]] = {part: number for number, part in enumerate((None, *PARTS))}
"""The number of each part, all below that of a body."""

KINDS: Final[tuple[tuple[bool, BodyPart | None], ...]] = tuple(
    (body, part) for body in (False, True) for part in (*PART_NUMBERS, *[None] * (BODY - len(PART_NUMBERS)))
)
"""Whether an owner is body, and its part, by what remains of it without the message."""

NOBODY: Final = MESSAGE * (UNOWNED - 1)
"""The owner of no token: of what stands before the first."""

_WRITTEN: Final = frozenset(PART_NUMBERS[part] for part in WRITTEN_PARTS)


def better(first: int, second: int) -> int:
    """Return the owner that is body, of two bodies the one that a message says itself, of equals the first.

    >>> better(MESSAGE * 3, MESSAGE * 2 + BODY) == MESSAGE * 2 + BODY
    True
    """
    if (first ^ second) & BODY:
        return second if second & BODY else first
    return second if first % BODY in _WRITTEN and second % BODY not in _WRITTEN else first


def sampler_of(message: int, sampling: frozenset[int], *, body: bool) -> int:
    """Return the message that samples a text, or nobody. Texts of two samplers are encoded apart."""
    return message if body and message in sampling else UNOWNED
