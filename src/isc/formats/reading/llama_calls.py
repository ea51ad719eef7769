"""Llama 3's tool calls: `{"name": ..., "parameters": {...}}`, or `name.call(key="text")` for built-in tools.

A JSON call has no marker, or `<|python_tag|>`; a built-in one has that marker and quotes nothing inside its texts: what
cannot be told apart is a key with `"` in it, and a text that itself has `", key="`, where the reading that has more
arguments is taken.
"""

from __future__ import annotations

import re
from typing import Final

from isc._json import decode_json
from isc.errors import ConversationError
from isc.formats.reading.scanners import CallReading, find_special, json_call, spelling
from isc.formats.reading.values import JsonText, past_values
from isc.formats.segments import arguments_object, arguments_written
from isc.types import Json, ParsedToolCall, Sampled, Span, ToolCall

_ARGUMENTS: Final = "parameters"
_JSON_CALL_BEGINS: Final = re.compile(
    r'\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"parameters"\s*:'
)
_BUILT_IN: Final = re.compile(r"\s*([^\s(]+)\.call\((.*)\)\s*", re.DOTALL)
_ARGUMENT: Final = re.compile(r'([^"]*?)="(.*?)"(?:, (?=[^"]*=")|\Z)', re.DOTALL)


def json_call_text(call: ToolCall) -> str:
    """Return a call as JSON."""
    return f'{{"name": "{call.name}", "{_ARGUMENTS}": {arguments_written(call)}}}'


def built_in_text(call: ToolCall, path: str) -> str:
    """Return a call of a built-in tool. Refuse an argument that is no text; its error is placed under `path`."""
    arguments = arguments_object(call)
    for key, value in arguments.items():
        if not isinstance(value, str):
            raise ConversationError(f"{path}.{key}", f"must be a string: {call.name} is a built-in tool", value)
    return f"{call.name}.call(" + ", ".join(f'{key}="{value}"' for key, value in arguments.items()) + ")"


def begins_call(content: str) -> bool:
    """Return whether a turn without a marker is a call.

    It begins as a rendered one, or is an object of the same keys.
    """
    if _JSON_CALL_BEGINS.match(content):
        return True
    try:
        value = decode_json(content)
    except ValueError:
        return False
    return isinstance(value, dict) and "name" in value and _ARGUMENTS in value


def json_call_of(raw: str, span: Span) -> ParsedToolCall:
    """Read a JSON call."""
    return _parsed(raw, json_call(raw, _ARGUMENTS), span)


def json_end(sampled: Sampled, position: int, marker: str) -> int:
    """Find the next call's marker. A marker in a string of the JSON that begins here is text of that string."""
    end = find_special(sampled, position, marker)
    text = sampled.segments[position].text if position < end else ""
    if not text.lstrip().startswith("{"):
        return end
    return past_values(sampled.segments, position, end, (marker,), (), JsonText())


def marked_call(sampled: Sampled, position: int, marker: str) -> tuple[int, ParsedToolCall]:
    """Read the call whose marker stands at `position`. The call ends at the next marker, or with the turn."""
    end = json_end(sampled, position + 1, marker)
    raw = spelling(sampled.segments[position + 1 : end])
    span = (sampled.starts[position], sampled.starts[end])
    return end, json_call_of(raw, span) if raw.lstrip().startswith("{") else _parsed(raw, built_in_call(raw), span)


def built_in_call(raw: str) -> CallReading:
    """Read `name.call(key="text", key="text")`.

    >>> built_in_call('brave_search.call(query="the "best" cats")')
    ('ok', 'brave_search', {'query': 'the "best" cats'})
    """
    match = _BUILT_IN.fullmatch(raw)
    if match is None:
        return "malformed_structure", None, None
    name, text = match.groups()
    arguments: dict[str, Json] = {}
    position = count = 0
    while position < len(text):
        argument = _ARGUMENT.match(text, position)
        if argument is None:
            return "malformed_structure", name, None
        position, count = argument.end(), count + 1
        arguments[argument[1]] = argument[2]
    return ("malformed_structure", name, None) if len(arguments) < count else ("ok", name, arguments)


def _parsed(raw: str, reading: CallReading, span: Span) -> ParsedToolCall:
    status, name, arguments = reading
    return ParsedToolCall(raw, name, arguments, span, status)
