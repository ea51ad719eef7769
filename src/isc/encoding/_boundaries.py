"""Where seams fall: the token at which the attribution of a stretch changes, and whether inside it.

Byte-level vocabularies need no offsets: the bytes of a stretch's tokens concatenate to the stretch (as normalized), so
adding up token lengths from the nearer end finds a seam. Others are asked for the characters of each token.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from isc.encoding.base import Encoder
from isc.types import Owner, Segment, Span

_WALK = 24  # tokens looked at one by one from either end of a stretch before all its lengths are added up


def better(first: Owner, second: Owner) -> Owner:
    """Body before scaffold, else the earlier."""
    return second if second[1] and not first[1] else first


Place = tuple[int, bool]
"""Where a seam falls: on a token, and whether inside it."""

Mark = tuple[int, Owner]
"""The token at which an attribution begins; where several begin at one, the last of them holds."""


def attributions(stretch: Sequence[Segment], text: str, ids: Sequence[int], encoder: Encoder) -> list[Mark]:
    """Where along a stretch's tokens attributions begin: a token that a seam is inside of has the best it touches."""
    owners = [(segment.message, segment.body) for segment in stretch]
    if owners.count(owners[0]) == len(owners):
        return [(0, owners[0])]
    owners, places = _seams(stretch, text, ids, owners, encoder)
    marks: list[Mark] = [(0, owners[0])]
    for seam, (token, inside) in enumerate(places, 1):
        if not inside:
            marks.append((token, owners[seam]))
            continue
        if marks[-1][0] > token:  # this token has a seam inside already
            marks.pop()
        marks += [(token, better(marks[-1][1], owners[seam])), (token + 1, owners[seam])]
    return marks


def _seams(
    stretch: Sequence[Segment], text: str, ids: Sequence[int], owners: list[Owner], encoder: Encoder
) -> tuple[list[Owner], list[Place]]:
    """Attributions along a stretch as its bytes are counted, and the place of the seam between each and the next."""
    lengths = encoder.byte_lengths
    if lengths is None:
        _, offsets = encoder.encode_with_offsets(text)
        return owners, list(_places_by_offsets([len(segment.text) for segment in stretch], offsets))
    if text.isascii():
        return owners, _places_by_lengths([len(segment.text) for segment in stretch], ids, lengths)
    sizes, owners = _sizes_in_bytes(stretch, text, owners, encoder)
    return owners, _places_by_lengths(sizes, ids, lengths)


def _places_by_lengths(sizes: Sequence[int], ids: Sequence[int], lengths: Sequence[int]) -> list[Place]:
    """The place of each seam, found from the nearer end."""
    total = sum(sizes)
    ends: list[int] | None = None
    places: list[Place] = []
    seam = 0
    for size in sizes[:-1]:
        seam += size
        place = _walk(seam, ids, lengths) if 2 * seam < total else _walk_back(total - seam, ids, lengths)
        if place is None:
            ends = ends or list(accumulate(map(lengths.__getitem__, ids)))
            token = bisect_right(ends, seam)
            place = token, seam != (ends[token - 1] if token else 0)
        places.append(place)
    return places


def _walk(seam: int, ids: Sequence[int], lengths: Sequence[int]) -> Place | None:
    position = 0
    for token, token_id in enumerate(ids[:_WALK]):
        if position == seam:
            return token, False
        position += lengths[token_id]
        if position > seam:
            return token, True
    return None


def _walk_back(distance: int, ids: Sequence[int], lengths: Sequence[int]) -> Place | None:
    position = 0
    last = len(ids)
    for token in range(last, max(last - _WALK, 0), -1):
        if position == distance:
            return token, False
        position += lengths[ids[token - 1]]
        if position > distance:
            return token - 1, True
    return None


def _places_by_offsets(sizes: Sequence[int], offsets: Sequence[Span]) -> Iterator[Place]:
    """Seams from the characters each token came from."""
    ends = list(accumulate((end for _, end in offsets), max))
    for seam in list(accumulate(sizes))[:-1]:
        token = bisect_right(ends, seam)
        yield token, token < len(offsets) and offsets[token][0] < seam


def _sizes_in_bytes(
    stretch: Sequence[Segment], text: str, owners: list[Owner], encoder: Encoder
) -> tuple[list[int], list[Owner]]:
    """Bytes of each segment as normalized; a composition across a seam becomes a segment of its own, the body's."""
    normalized = encoder.normalize(text)
    if normalized == text:
        return [len(segment.text.encode()) for segment in stretch], owners
    sizes: list[int] = []
    found: list[Owner] = []
    start = 0
    for end, owner in _composed(stretch, text, owners):
        sizes.append(len(encoder.normalize(text[start:end]).encode()))
        found.append(owner)
        start = end
    return sizes, found


def _composed(stretch: Sequence[Segment], text: str, owners: Sequence[Owner]) -> Iterator[tuple[int, Owner]]:
    """Ends of pieces that normalize independently of each other, with their owners."""
    start = seam = 0
    for position, segment in enumerate(stretch[:-1]):
        seam += len(segment.text)
        low, high = _composition(text, seam)
        if low < high:
            owner = better(owners[position], owners[position + 1])
            if low > start:
                yield low, owners[position]
            if high > start:
                yield high, owner
            start = max(high, start)
        elif seam > start:
            yield seam, owners[position]
            start = seam
    if len(text) > start:
        yield len(text), owners[-1]


def _composition(text: str, seam: int) -> Span:
    """The characters around a seam that may compose with each other: empty where the seam is clean."""
    low = high = seam
    while high < len(text) and joins(text[high]):
        high += 1
    if high == seam:
        return seam, seam
    while low > 0:
        low -= 1
        if not joins(text[low]):
            break
    composed = unicodedata.normalize("NFC", text[low:high])
    apart = unicodedata.normalize("NFC", text[low:seam]) + unicodedata.normalize("NFC", text[seam:high])
    return (seam, seam) if composed == apart else (low, high)


def joins(character: str) -> bool:
    """Whether a character may compose with, or be reordered among, those before it."""
    return character >= "\u0300" and (
        unicodedata.category(character) in ("Mn", "Mc", "Me") or "\u1160" <= character <= "\u11ff"
    )
