"""Calls as `<invoke name="...">` with `<parameter name="...">` tags that are text, several between two specials.

Nothing is quoted, so a tag counts by where it stands, not by how it is spelled. What cannot be told apart is a name or
key with `">` in it, and a value that itself has `</parameter>` and what may follow one, each on a line: there the
reading that has more parameters and calls is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from isc._json import json_text
from isc.formats.reading.scanners import CallReading, Pairs, find_special, known, spelling, unquoted_call
from isc.formats.reading.values import Tagged, past_values
from isc.formats.segments import arguments_object, body, is_special, scaffold
from isc.types import ParsedToolCall, Sampled, Segment, ToolCall, ToolSpec

INVOKE: Final = ('<invoke name="', "</invoke>")
"""The tags that calls begin and end with: `calls_of_block` finds them as segments of their own."""

_OPEN, _CLOSE = INVOKE
_NAME: Final = '((?:(?!">).)*+)">'
_HEAD: Final = re.compile(f"{_OPEN}{_NAME}\n", re.DOTALL)
_PARAMETER: Final = re.compile(
    f'<parameter name="{_NAME}(.*?)</parameter>\n(?=<parameter name="|{_CLOSE}\n(?:{_OPEN}|\\Z))', re.DOTALL
)
_END: Final = re.compile(f"{_CLOSE}\n(?={_OPEN}|\\Z)")
_LOOSE_HEAD: Final = re.compile(rf'{_OPEN}([^">]*)">\s*')
_LOOSE_PARAMETER: Final = re.compile(
    rf'<parameter name="{_NAME}(.*?)</parameter>\s*+(?=<parameter name="|\Z)', re.DOTALL
)


VALUES: Final = partial(
    Tagged, pattern=re.compile(r'(?P<open><parameter name=")|(?P<close></parameter>(?=\s*+(?:<parameter name="|\Z)))')
)
"""Follows the parameters of calls, in which markers are text; `INVOKE` tags are segments of their own."""


class _Invoke(NamedTuple):
    """A call in a text: its first character, the one after its last, its name, its arguments if they can be read."""

    start: int
    end: int
    name: str | None
    pairs: Pairs | None


def invokes(calls: Sequence[ToolCall]) -> Iterator[Segment]:
    """Yield calls as they stand between the specials, texts as they are and other values as JSON."""
    yield scaffold("\n")
    for call in calls:
        yield from (scaffold(_OPEN), body(call.name), scaffold('">\n'))
        for key, value in arguments_object(call).items():
            yield from (scaffold('<parameter name="'), body(f"{key}"), scaffold('">'))
            yield from (body(value if isinstance(value, str) else json_text(value)), scaffold("</parameter>\n"))
        yield scaffold(f"{_CLOSE}\n")


def calls_of_block(
    sampled: Sampled, position: int, markers: tuple[str, str], tools: Sequence[ToolSpec]
) -> tuple[int, tuple[ParsedToolCall, ...]]:
    """Read the calls of a block whose opener stands at `position`. A block that cannot be read is one call.

    A call's span holds the tokens that its own tags touch. Where the second special is missing, all are unclosed.
    """
    first = find_special(sampled, position + 1, *markers)
    end = past_values(sampled.segments, position + 1, first, markers[:1], markers[1:], VALUES())
    closed = end < len(sampled.segments) and is_special(sampled.segments[end], markers[1])
    after = end + 1 if closed else end
    inside = sampled.segments[position + 1 : end]
    text = spelling(inside)
    places = {place: position + 1 + k for k, place in enumerate(accumulate((len(s.text) for s in inside), initial=0))}
    calls: list[ParsedToolCall] = []
    for invoke in _as_rendered(text) or _as_written(text):
        reading = unquoted_call(invoke.name, invoke.pairs, tools)
        span = sampled.span(places[invoke.start], places[invoke.end])
        calls.append(_call(text[invoke.start : invoke.end], reading, span, closed=closed))
    if not calls:
        calls.append(_call(text, ("malformed_structure", None, None), sampled.span(position, after), closed=closed))
    return after, tuple(known(call, tools) for call in calls)


def _call(raw: str, reading: CallReading, span: tuple[int, int], *, closed: bool) -> ParsedToolCall:
    status, name, arguments = reading
    return ParsedToolCall(raw, name, arguments, span, status if closed else "unclosed_block")


def _as_rendered(text: str) -> list[_Invoke] | None:
    """Read calls exactly as they are rendered. Then every tag but those of their own lines is somebody's text."""
    invokes: list[_Invoke] = []
    position = 1
    while text.startswith("\n") and position < len(text):
        start, pairs = position, []
        head = _HEAD.match(text, position)
        if head is None:
            return None
        position = head.end()
        while pair := _PARAMETER.match(text, position):
            pairs.append((pair[1], pair[2]))
            position = pair.end()
        end = _END.match(text, position)
        if end is None:
            return None
        position = end.end()
        invokes.append(_Invoke(start, position - 1, head[1], pairs))
    return invokes


def _as_written(text: str) -> Iterator[_Invoke]:
    """Yield calls whose line breaks are not where a render has them. Each opener begins one, up to the next."""
    starts = [opener.start() for opener in re.finditer(re.escape(_OPEN), text)]
    clean = not starts or not text[: starts[0]].strip()
    for start, end in pairwise([*starts, len(text)]):
        head = _LOOSE_HEAD.match(text, start, end)
        close = text.rfind(_CLOSE, start, end)
        stop = end if close < 0 else close + len(_CLOSE)
        pairs = None
        if clean and head is not None and head.end() <= close and not text[stop:end].strip():
            pairs = _loose_pairs(text[head.end() : close])
        yield _Invoke(start, stop, head[1] if head else None, pairs)


def _loose_pairs(text: str) -> Pairs | None:
    """Return the parameters of a call, if the call holds nothing else."""
    pairs: list[tuple[str, str]] = []
    position = 0
    while pair := _LOOSE_PARAMETER.match(text, position):
        pairs.append((pair[1], pair[2]))
        position = pair.end()
    return pairs if position == len(text) else None
