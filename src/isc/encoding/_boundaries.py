"""Find the token at which ownership changes within one encoded text, and whether the change falls inside that token.

In byte-level vocabularies the bytes of a unit's tokens concatenate to the unit (as normalized), so a boundary is found
by adding up token lengths, from either end to the longest segment. Other vocabularies are asked for the characters of
each token.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from isc.encoding.base import Encoder
from isc.types import WRITTEN_PARTS, Owner, Segment, Span


def better(first: Owner, second: Owner) -> Owner:
    """Return the owner that is body, of two bodies the one that a message says itself, of equals the first."""
    if second[1] != first[1]:
        return second if second[1] else first
    return second if first[2] in WRITTEN_PARTS and second[2] not in WRITTEN_PARTS else first


RunStart = tuple[int, Owner]
"""A token at which a run starts, and the owner of the run. Of several starts at one token the last holds."""


def run_starts(
    unit: Sequence[Segment], text: str, ids: Sequence[int], encoder: Encoder, *, parts: bool = False
) -> list[RunStart]:
    """Return the run starts of one unit. `parts`: whether the parts of bodies are told apart.

    A token across a boundary goes to the body owner if there is one, of two bodies to the one that a message says
    itself, else to the first.
    """
    owners: list[Owner] = [(segment.message, segment.body, segment.part if parts else None) for segment in unit]
    if owners.count(owners[0]) == len(owners):
        return [(0, owners[0])]
    lengths = encoder.byte_lengths
    if lengths is None:
        _, offsets = encoder.encode_with_offsets(text)
        return _starts_by_offsets([len(segment.text) for segment in unit], owners, offsets)
    if text.isascii():
        return _starts_by_lengths([len(segment.text) for segment in unit], owners, ids, lengths)
    sizes, owners = _sizes_in_bytes(unit, text, owners, encoder)
    return _starts_by_lengths(sizes, owners, ids, lengths)


def _starts_by_lengths(
    sizes: Sequence[int], owners: Sequence[Owner], ids: Sequence[int], lengths: Sequence[int]
) -> list[RunStart]:
    """Return the run starts, found from either end to the longest segment, whose own tokens are passed over."""
    starts = [(0, owners[0])]
    longest = sizes.index(max(sizes))
    token = position = boundary = place = 0
    count = len(ids)
    for size in sizes[:longest]:
        boundary += size
        place += 1
        while token < count and (end := position + lengths[ids[token]]) <= boundary:
            position = end
            token += 1
        _add_start(starts, token, owners[place], inside=position != boundary)
    for token, inside in _places_behind(sizes[:longest:-1], ids, lengths):
        place += 1
        _add_start(starts, token, owners[place], inside=inside)
    return starts


def _places_behind(sizes: Sequence[int], ids: Sequence[int], lengths: Sequence[int]) -> list[tuple[int, bool]]:
    """Return the token at which each of the last segments begins, and whether it begins inside of that token.

    `sizes` has the last segment first.
    """
    places: list[tuple[int, bool]] = []
    position = boundary = 0  # counted from the end
    count = len(ids)
    for size in sizes:
        boundary += size
        while count and position < boundary:
            count -= 1
            position += lengths[ids[count]]
        places.append((count, position != boundary))
    places.reverse()
    return places


def _starts_by_offsets(sizes: Sequence[int], owners: Sequence[Owner], offsets: Sequence[Span]) -> list[RunStart]:
    """Return the run starts, by the characters of each token."""
    starts = [(0, owners[0])]
    ends = list(accumulate((end for _, end in offsets), max))
    for boundary, owner in zip(accumulate(sizes), owners[1:], strict=False):
        token = bisect_right(ends, boundary)
        _add_start(starts, token, owner, inside=token < len(offsets) and offsets[token][0] < boundary)
    return starts


def _add_start(starts: list[RunStart], token: int, owner: Owner, *, inside: bool) -> None:
    """Add the start of an owner that begins with a token, or inside of it."""
    if not inside:
        starts.append((token, owner))
        return
    if starts[-1][0] > token:  # this token has a boundary inside already
        starts.pop()
    last = starts[-1][1]
    best = better(last, owner)
    if best is not last:
        starts.append((token, best))
    starts.append((token + 1, owner))


def _sizes_in_bytes(
    unit: Sequence[Segment], text: str, owners: list[Owner], encoder: Encoder
) -> tuple[list[int], list[Owner]]:
    """Count the bytes of each segment as normalized.

    Characters that compose across a boundary become a segment of their own, with the body's owner.
    """
    normalized = encoder.normalize(text)
    if normalized == text:
        return [len(segment.text.encode()) for segment in unit], owners
    sizes: list[int] = []
    owners_of_sizes: list[Owner] = []
    start = 0
    for end, owner in _composed(unit, text, owners):
        sizes.append(len(encoder.normalize(text[start:end]).encode()))
        owners_of_sizes.append(owner)
        start = end
    return sizes, owners_of_sizes


def _composed(unit: Sequence[Segment], text: str, owners: Sequence[Owner]) -> Iterator[tuple[int, Owner]]:
    """Yield the end and the owner of each piece that normalizes independently of the others."""
    start = boundary = 0
    for position, segment in enumerate(unit[:-1]):
        boundary += len(segment.text)
        low, high = _composition(text, boundary)
        if low < high:
            owner = better(owners[position], owners[position + 1])
            if low > start:
                yield low, owners[position]
            if high > start:
                yield high, owner
            start = max(high, start)
        elif boundary > start:
            yield boundary, owners[position]
            start = boundary
    if len(text) > start:
        yield len(text), owners[-1]


def _composition(text: str, boundary: int) -> Span:
    """Return the characters around a boundary that may compose with each other. Empty where none do."""
    low = high = boundary
    while high < len(text) and joins(text[high]):
        high += 1
    if high == boundary:
        return boundary, boundary
    while low > 0:
        low -= 1
        if not joins(text[low]):
            break
    composed = unicodedata.normalize("NFC", text[low:high])
    apart = unicodedata.normalize("NFC", text[low:boundary]) + unicodedata.normalize("NFC", text[boundary:high])
    return (boundary, boundary) if composed == apart else (low, high)


def joins(character: str) -> bool:
    """Return whether a character may compose with, or be reordered among, those before it."""
    return character >= "\u0300" and (
        unicodedata.category(character) in ("Mn", "Mc", "Me") or "\u1160" <= character <= "\u11ff"
    )
