"""Scanners that families share: (sampled, position) -> (position, value). Markers are specials by id, never text.

Nothing here raises, whatever was sampled; every attempted call is kept with a status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from isc.jsontext import decode_json
from isc.segments import is_special
from isc.types import CallStatus, Json, ParsedResponse, ParsedToolCall, Reasoning, Sampled, Segment, ToolSpec

CallReading: TypeAlias = tuple[CallStatus, str | None, Mapping[str, Json] | None]
"""Status, name and arguments, as far as they could be read."""


def spelling(segments: Sequence[Segment]) -> str:
    """Segments as text, specials by their spelling."""
    return "".join(segment.text for segment in segments)


def find_special(sampled: Sampled, position: int, *texts: str) -> int:
    """Where the next of these specials stands, or the end."""
    segments = sampled.segments
    return next((k for k in range(position, len(segments)) if is_special(segments[k], *texts)), len(segments))


def until(sampled: Sampled, stop_tokens: Sequence[str]) -> Sampled:
    """What was sampled before the first stop token."""
    end = find_special(sampled, 0, *stop_tokens)
    return Sampled(sampled.segments[:end], sampled.starts[: end + 1], sampled.reasoning_open, sampled.token_bytes)


def reasoning_start(segments: Sequence[Segment], opener: str) -> int | None:
    """Where reasoning starts: after an opener that only white space precedes; None where there is none."""
    for position, segment in enumerate(segments):
        if is_special(segment, opener):
            return position + 1
        if segment.kind == "special" or segment.text.strip():
            return None
    return None


def reasoning(sampled: Sampled, position: int, markers: Reasoning) -> tuple[int, tuple[str | None, bool]]:
    """Reasoning at the start of a turn and whether it was brought to an end; None where none was opened.

    Only an initial opener, or one the prompt left open, opens it; its first closer ends it, and so does an ender, which
    is not used up.
    """
    start = position
    if not sampled.reasoning_open:
        found = reasoning_start(sampled.segments[position:], markers.opener)
        if found is None:
            return position, (None, True)
        start += found
    end = find_special(sampled, start, markers.closer, *markers.enders)
    text = spelling(sampled.segments[start:end])
    if end == len(sampled.segments):
        return end, (text, False)
    after = end + 1 if is_special(sampled.segments[end], markers.closer) else end
    return after, (text, True)


def tool_call(
    sampled: Sampled, position: int, opener: str, closer: str, read: Callable[[str], CallReading]
) -> tuple[int, ParsedToolCall]:
    """The call whose opener stands at `position`: up to its closer, or unclosed up to the next opener or the end."""
    end = find_special(sampled, position + 1, opener, closer)
    closed = end < len(sampled.segments) and is_special(sampled.segments[end], closer)
    after = end + 1 if closed else end
    raw = spelling(sampled.segments[position + 1 : end])
    status, name, arguments = read(raw)
    span = (sampled.starts[position], sampled.starts[after])
    return after, ParsedToolCall(raw, name, arguments, span, status if closed else "unclosed_block")


def bracketed_turn(
    sampled: Sampled,
    markers: Reasoning | None,
    call_markers: tuple[str, str],
    read: Callable[[str], CallReading],
    tools: Sequence[ToolSpec],
) -> ParsedResponse:
    """A turn of the common shape: reasoning, content, then calls between two specials, each on a line of its own."""
    position, thought, complete = 0, None, True
    if markers is not None:
        position, (thought, complete) = reasoning(sampled, 0, markers)
    pieces = [""]
    calls: list[ParsedToolCall] = []
    while position < len(sampled.segments):
        if is_special(sampled.segments[position], call_markers[0]):
            position, call = tool_call(sampled, position, *call_markers, read)
            calls.append(known(call, tools))
            pieces.append("")
        else:
            pieces[-1] += sampled.segments[position].text
            position += 1
    content = pieces[0].removesuffix("\n") if calls else pieces[0]
    content += "".join(piece for piece in pieces[1:] if piece.strip())
    if thought is not None:
        thought = thought.strip("\n")
        content = content.lstrip("\n") or ("\n" if calls and len(pieces[0]) > len("\n\n") else "")
    return ParsedResponse(content, thought, tuple(calls), complete)


def known(call: ParsedToolCall, tools: Sequence[ToolSpec]) -> ParsedToolCall:
    """The call, marked where it names none of the offered tools."""
    if call.status != "ok" or not tools or call.name in {tool.name for tool in tools}:
        return call
    return ParsedToolCall(call.raw, call.name, call.arguments, call.token_span, "unknown_tool", call.id)


def json_call(raw: str) -> CallReading:
    """Read `{"name": ..., "arguments": {...}}`.

    >>> json_call('{"name": "now", "arguments": {}}')
    ('ok', 'now', {})
    >>> json_call('{"name": "now", "arguments": 3}')
    ('malformed_structure', 'now', None)
    """
    try:
        value = decode_json(raw)
    except ValueError:
        return "invalid_json", None, None
    if not isinstance(value, dict):
        return "malformed_structure", None, None
    name, arguments = value.get("name"), value.get("arguments")
    arguments = arguments if isinstance(arguments, dict) else None
    if name is None or name == "":
        return "missing_name", None, arguments
    if not isinstance(name, str):
        return "malformed_structure", None, arguments
    return ("malformed_structure" if arguments is None else "ok"), name, arguments
