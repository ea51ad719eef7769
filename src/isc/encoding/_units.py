"""Prepare a segment stream for encoding.

The `body_specials` policy is applied to units, texts that are encoded in one piece, and specials with `lstrip` or
`rstrip` swallow white space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Literal

from msgspec.structs import replace

from isc._runs import cut_at
from isc.encoding._owners import sampler_of
from isc.errors import SpecialInBodyError
from isc.formats.segments import specials_pattern
from isc.types import UNOWNED, Segment, Segments, Span

_WHITE_SPACE = " \t\n\r\x0b\x0c\x85\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def units(segments: Segments, sampling: frozenset[int]) -> Iterator[list[Segment]]:
    """Yield specials one by one, and neighbouring texts that are encoded together, as `read_stream` has them."""
    unit: list[Segment] = []
    sampled_by = UNOWNED
    for segment in segments:
        sampler = sampler_of(segment.message, sampling, body=segment.body)
        if unit and (segment.kind == "special" or sampler != sampled_by):
            yield unit
            unit = []
        if segment.kind == "special":
            yield [segment]
        elif segment.text:
            sampled_by = sampler
            unit.append(segment)
    if unit:
        yield unit


def scanned(
    segments: Segments, specials: tuple[str, ...], sampling: frozenset[int], *, reject: bool
) -> Iterator[Segment]:
    """Yield the stream with spelled specials made specials. `reject`: raise for a spelled special."""
    pattern = specials_pattern(specials)
    for unit in units(segments, sampling):
        matches = list(pattern.finditer("".join(s.text for s in unit))) if unit[0].kind == "text" else []
        if matches and reject:
            _refuse(unit, matches[0].start(), matches[0].group())
        yield from _cut_out(unit, [match.span() for match in matches]) if matches else unit


def _refuse(unit: Sequence[Segment], place: int, text: str) -> None:
    _, ((_, owner), *_) = cut_at(_lengths(unit), (place,))
    message = owner.message
    path = f"messages[{message}]" if message != UNOWNED else "tools"
    raise SpecialInBodyError(path, 'spells a control token; use body_specials="text" to render it as plain text', text)


def _cut_out(unit: Sequence[Segment], spans: Sequence[Span]) -> Iterator[Segment]:
    """Cut a unit at these spans. Each span becomes a special of the best owner it touches."""
    text = "".join(segment.text for segment in unit)
    position = 0
    for number, touched in enumerate(cut_at(_lengths(unit), chain.from_iterable(spans))):
        in_span = bool(number % 2)
        if in_span:
            best = next((owner for _, owner in touched if owner.body), touched[0][1])
            touched = [(sum(length for length, _ in touched), best)]  # noqa: PLW2901 - one special of one owner
        for length, owner in touched:
            kind: Literal["text", "special"] = "special" if in_span else "text"
            yield Segment(text[position : position + length], kind, owner.body, owner.message, part=owner.part)
            position += length


def _lengths(unit: Sequence[Segment]) -> list[tuple[int, Segment]]:
    """Return each segment with the number of its characters."""
    return [(len(segment.text), segment) for segment in unit]


def absorbed(
    segments: Segments, strips: Mapping[str, tuple[bool, bool]], after: Segment | None = None
) -> Iterator[Segment]:
    """Return the stream without the white space that specials swallow. A special that swallows body becomes body.

    The segment before the stream (`after`) swallows too.
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
            items[position] = replace(segment, body=True, message=body.message, part=body.part)
    return iter(items if after is None else items[1:])


def _trim(items: list[Segment], position: int, step: int) -> Iterator[Segment]:
    """Take white space off the texts next to a special, in place. Yield the texts that lost some."""
    while 0 <= position < len(items) and items[position].kind == "text":
        segment = items[position]
        kept = segment.text.rstrip(_WHITE_SPACE) if step < 0 else segment.text.lstrip(_WHITE_SPACE)
        if kept != segment.text:
            yield segment
            items[position] = Segment(kept, "text", segment.body, segment.message, part=segment.part)
        if kept:
            return
        position += step
