"""Find the token at which ownership changes within one encoded text, and whether the change falls inside that token.

In byte-level vocabularies the bytes of a unit's tokens concatenate to the unit (as normalized), so a boundary is found
by adding up token lengths, from either end to the longest piece. Other vocabularies are asked for the characters of
each token.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, groupby, islice
from operator import eq, itemgetter

from msgspec import Struct

from isc.encoding._owners import better
from isc.encoding.base import Encoder
from isc.types import Span

_MARKS = 64  # that are looked at one by one: Unicode's stream-safe texts have 30 in a row at most, and time is squared
_FEW = 8  # pieces that are not worth looking for neighbours of one owner


class RunStarts(Struct, frozen=True):
    """The tokens at which runs start, and the owner of each run. Of several starts at one token the last holds.

    They are two lists, since hundreds of pairs would set off the garbage collector.
    """

    tokens: list[int]
    owners: list[int]

    def add_inside(self, token: int, owner: int) -> None:
        """Add the start of an owner that begins inside of a token: with the token if it is the better one of two."""
        tokens, owners = self.tokens, self.owners
        if tokens[-1] > token:  # of those that begin inside of this token the last goes on behind it
            tokens.pop()
            owners.pop()
        tokens.append(token if better(owners[-1], owner) == owner else token + 1)
        owners.append(owner)


def add_run_starts(
    starts: RunStarts,
    text: str,
    pieces: Sequence[str],
    owners: list[int],
    ids: Sequence[int],
    span: Span,
    encoder: Encoder,
) -> None:
    """Add the run starts of a text of several pieces, each with its owner, whose ids are this span of the ids.

    A token across a boundary goes to the body owner if there is one, of two bodies to the one that a message says
    itself, else to the first.
    """
    if len(pieces) > _FEW and any(map(eq, owners, islice(owners, 1, None))):
        pieces, owners = _by_owner(pieces, owners)
    lengths = encoder.byte_lengths
    sizes = list(map(len, pieces))
    if lengths is not None and not text.isascii() and not _longest_alone(pieces, sizes):
        sizes, owners = _sizes_in_bytes(text, pieces, owners, encoder)
    starts.tokens.append(span[0])
    starts.owners.append(owners[0])
    if lengths is not None:
        _add_by_lengths(starts, sizes, owners, ids, span, lengths)
    else:
        _add_by_offsets(starts, sizes, owners, encoder.encode_with_offsets(text)[1])


def _by_owner(pieces: Sequence[str], owners: Sequence[int]) -> tuple[list[str], list[int]]:
    """Put together neighbours of one owner."""
    groups = [
        (owner, "".join([piece for piece, _ in group]))
        for owner, group in groupby(zip(pieces, owners, strict=True), itemgetter(1))
    ]
    return [text for _, text in groups], [owner for owner, _ in groups]


def _longest_alone(pieces: Sequence[str], sizes: Sequence[int]) -> bool:
    """Return whether none but the longest piece has other characters than ASCII, and it composes with nothing.

    The others have as many bytes as characters then, and nobody asks for those of the longest.
    """
    longest = sizes.index(max(sizes))
    return not joins(pieces[longest][0]) and all(
        piece.isascii() for place, piece in enumerate(pieces) if place != longest
    )


def _add_by_lengths(
    starts: RunStarts, sizes: list[int], owners: list[int], ids: Sequence[int], span: Span, lengths: Sequence[int]
) -> None:
    """Add the run starts behind the first, found from either end to the longest piece, whose tokens are passed over."""
    tokens, best, longest = starts.tokens, starts.owners, sizes.index(max(sizes))
    token, end = span
    position = boundary = place = 0
    while place < longest:
        boundary += sizes[place]
        place += 1
        while position < boundary and token < end:
            position += lengths[ids[token]]
            token += 1
        if position == boundary:
            tokens.append(token)
            best.append(owners[place])
        else:
            starts.add_inside(token - 1, owners[place])
    for last, inside in _places_behind(sizes, longest, ids, span, lengths):
        place += 1
        if inside:
            starts.add_inside(last, owners[place])
        else:
            tokens.append(last)
            best.append(owners[place])


def _places_behind(
    sizes: list[int], longest: int, ids: Sequence[int], span: Span, lengths: Sequence[int]
) -> list[tuple[int, bool]]:
    """Return the token at which each piece behind the longest begins, and whether it begins inside of that token."""
    places: list[tuple[int, bool]] = []
    begin, token = span
    position = boundary = 0  # counted from the end
    place = len(sizes) - 1
    while place > longest:
        boundary += sizes[place]
        place -= 1
        while position < boundary and token > begin:
            token -= 1
            position += lengths[ids[token]]
        places.append((token, position != boundary))
    places.reverse()
    return places


def _add_by_offsets(starts: RunStarts, sizes: Sequence[int], owners: Sequence[int], offsets: Sequence[Span]) -> None:
    """Add the run starts behind the first, by the characters of each token."""
    begin = starts.tokens[-1]
    ends = list(accumulate((end for _, end in offsets), max))
    for boundary, owner in zip(accumulate(sizes), owners[1:], strict=False):
        token = bisect_right(ends, boundary)
        if token < len(offsets) and offsets[token][0] < boundary:
            starts.add_inside(begin + token, owner)
        else:
            starts.tokens.append(begin + token)
            starts.owners.append(owner)


def _sizes_in_bytes(
    text: str, pieces: Sequence[str], owners: list[int], encoder: Encoder
) -> tuple[list[int], list[int]]:
    """Count the bytes of each piece as normalized.

    Characters that compose across a boundary become a piece of their own, with the body's owner.
    """
    if encoder.normalize(text) == text:
        return [len(piece.encode()) for piece in pieces], owners
    sizes: list[int] = []
    owners_of_sizes: list[int] = []
    start = 0
    for end, owner in _composed(text, list(accumulate(map(len, pieces))), owners):
        sizes.append(len(encoder.normalize(text[start:end]).encode()))
        owners_of_sizes.append(owner)
        start = end
    return sizes, owners_of_sizes


def _composed(text: str, ends: Sequence[int], owners: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the end and the owner of each piece that normalizes independently of the others.

    `ends` are those of the pieces that owners have.
    """
    start = place = 0
    for low, high in (*_compositions(text, ends), (len(text), len(text))):
        while place < len(ends) and ends[place] <= low:
            if ends[place] > start:
                yield ends[place], owners[place]
            start = max(start, ends[place])
            place += 1
        if low < high:
            if low > start:
                yield low, owners[place]
            best = owners[place]
            while ends[place] < high:
                place += 1
                best = better(best, owners[place])
            yield high, best
            start = high


def _compositions(text: str, ends: Sequence[int]) -> list[Span]:
    """Return the characters that compose across the ends of pieces: those of one composition are one span."""
    spans: list[Span] = []
    for boundary in ends[:-1]:
        low, high = _composition(text, boundary)
        if low < high and spans and low < spans[-1][1]:
            spans[-1] = (min(low, spans[-1][0]), max(high, spans[-1][1]))
        elif low < high:
            spans.append((low, high))
    return spans


def _composition(text: str, boundary: int) -> Span:
    """Return the characters around a boundary that compose with, or change places with, each other, if there are."""
    low = high = boundary
    while high < len(text) and joins(text[high]):
        high += 1
    if high == boundary:
        return boundary, boundary
    while low > 0:
        low -= 1
        if not joins(text[low]):
            break
    given = text[low:high]
    composed = _nfc(given)

    def is_apart(place: int) -> bool:
        return _nfc(given[: place - low]) + _nfc(given[place - low :]) == composed

    if is_apart(boundary):
        return boundary, boundary
    if high - low > _MARKS:
        return low, high
    before = filter(is_apart, range(boundary - 1, low, -1))
    behind = filter(is_apart, range(boundary + 1, high))
    return next(before, low), next(behind, high)


_nfc = partial(unicodedata.normalize, "NFC")


def joins(character: str) -> bool:
    """Return whether a character may compose with, or be reordered among, those before it."""
    return character >= "\u0300" and (
        unicodedata.category(character) in ("Mn", "Mc", "Me") or "\u1160" <= character <= "\u11ff"
    )
