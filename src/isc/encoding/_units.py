"""Streams before they are encoded: cut into stretches, searched for spelled specials, white space given to specials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Literal

from msgspec.structs import replace

from isc._runs import cut_at
from isc.encoding.base import Prefix
from isc.errors import SpecialInBodyError
from isc.formats.segments import specials_pattern
from isc.types import UNOWNED, Segment, Segments, Span

_WHITE_SPACE = " \t\n\r\x0b\x0c\x85\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


Piece = Segment | list[Segment]
"""A special or a lone text, or several texts that are encoded together."""


def stretches(
    segments: Segments, sampling: frozenset[int], prefix: Prefix | None = None, after: Segment | None = None
) -> tuple[list[Piece], list[str]]:
    """What is encoded together, texts up to a special or to where sampling starts or stops, and the texts of these.

    `prefix` is put before what is a text of its own, given what stands before the stream (`after`).
    """
    pieces: list[Piece] = []
    open_text = False  # whether the last piece is text that may go on
    sampled_by = UNOWNED
    before = after
    for segment in segments:
        if segment.kind == "special":
            open_text = False
            before = segment
            pieces.append(segment)
        elif segment.text:
            sampler = segment.message if segment.body and segment.message in sampling else UNOWNED
            if open_text and sampler == sampled_by:
                last = pieces[-1]
                if isinstance(last, list):
                    last.append(segment)
                else:
                    pieces[-1] = [last, segment]
            else:
                open_text = True
                sampled_by = sampler
                own = segment if prefix is None else prefix.before(segment, before)
                before = segment
                pieces.append(own)
    return pieces, [_text(piece) for piece in pieces if isinstance(piece, list) or piece.kind == "text"]


def _text(piece: Piece) -> str:
    """The text of a piece, put together at once: thousands of segments may be one."""
    return "".join([segment.text for segment in piece]) if isinstance(piece, list) else piece.text


def scanned(
    segments: Segments, specials: tuple[str, ...], sampling: frozenset[int], *, reject: bool
) -> Iterator[Segment]:
    """The stream with specials that text spells made specials, or refused."""
    pattern = specials_pattern(specials)
    for piece in stretches(segments, sampling)[0]:
        stretch = [piece] if isinstance(piece, Segment) else piece
        matches = list(pattern.finditer("".join(s.text for s in stretch))) if stretch[0].kind == "text" else []
        if matches and reject:
            _refuse(stretch, matches[0].start(), matches[0].group())
        yield from _cut_out(stretch, [match.span() for match in matches]) if matches else stretch


def _refuse(stretch: Sequence[Segment], place: int, text: str) -> None:
    _, ((_, owner), *_) = cut_at(_lengths(stretch), (place,))
    message = owner.message
    path = f"messages[{message}]" if message != UNOWNED else "tools"
    raise SpecialInBodyError(path, 'spells a control token; use body_specials="text" to render it as plain text', text)


def _cut_out(stretch: Sequence[Segment], spans: Sequence[Span]) -> Iterator[Segment]:
    """A stretch with these characters made specials of the best owner they touch."""
    text = "".join(segment.text for segment in stretch)
    position = 0
    for number, touched in enumerate(cut_at(_lengths(stretch), chain.from_iterable(spans))):
        in_span = bool(number % 2)
        if in_span:
            best = next((owner for _, owner in touched if owner.body), touched[0][1])
            touched = [(sum(length for length, _ in touched), best)]  # noqa: PLW2901 - one special of one owner
        for length, owner in touched:
            kind: Literal["text", "special"] = "special" if in_span else "text"
            yield Segment(text[position : position + length], kind, owner.body, owner.message)
            position += length


def _lengths(stretch: Sequence[Segment]) -> list[tuple[int, Segment]]:
    """The characters of each segment."""
    return [(len(segment.text), segment) for segment in stretch]


def absorbed(
    segments: Segments, strips: Mapping[str, tuple[bool, bool]], after: Segment | None = None
) -> Iterator[Segment]:
    """The stream without the white space that its specials swallow; a special that swallows body becomes body.

    What stands before the stream (`after`) swallows too.
    """
    items = [*(() if after is None else (after,)), *segments]
    for position, segment in enumerate(items):
        left, right = strips.get(segment.text, (False, False)) if segment.kind == "special" else (False, False)
        swallowed = [
            *(_trim(items, position - 1, -1) if left else ()),
            *(_trim(items, position + 1, 1) if right else ()),
        ]
        body = next((owner for owner in swallowed if owner.body), None)
        if body is not None and not segment.body:
            items[position] = replace(segment, body=True, message=body.message)
    return iter(items if after is None else items[1:])


def _trim(items: list[Segment], position: int, step: int) -> Iterator[Segment]:
    """Take white space off the texts next to a special, in place; yields those that lost some."""
    while 0 <= position < len(items) and items[position].kind == "text":
        segment = items[position]
        kept = segment.text.rstrip(_WHITE_SPACE) if step < 0 else segment.text.lstrip(_WHITE_SPACE)
        if kept != segment.text:
            yield segment
            items[position] = Segment(kept, "text", segment.body, segment.message)
        if kept:
            return
        position += step
