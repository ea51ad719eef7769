"""Llama 3's tool calls: `{"name": ..., "parameters": {...}}`, or `name.call(key="text")` for built-in tools.

A JSON call has no marker, or `<|python_tag|>`; a built-in one has that marker and quotes nothing inside its texts: what
cannot be told apart is a key with `"` in it, and a text that itself has `", key="`, where the reading that has more
arguments is taken. Models also say `arguments`, put `;` between calls, and a call on a line after text: that last is
one only if it names an offered tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from isc._json import decode_json
from isc.errors import ConversationError
from isc.formats.reading.coded import Coded, encoded
from isc.formats.reading.grammars import Attempt, Begins
from isc.formats.reading.json_calls import strict_reading
from isc.formats.reading.json_values import after_space, value_at
from isc.formats.reading.scanners import CallReading
from isc.formats.segments import arguments_object, arguments_written, body, scaffold
from isc.types import Json, Segment, Span, ToolCall, ToolSpec

ARGUMENT_KEYS: Final = ("parameters", "arguments")
"""What a call names its arguments. The first counts where an object has both."""
JSON_CALL_BEGINS: Final = re.compile(
    r'\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"(?:[^"\\]|\\.)*+"\s*,\s*"(?:parameters|arguments)"\s*:'
)
_LINE: Final = re.compile(r"^\s*+(?=\{)", re.MULTILINE)
_SEPARATOR: Final = re.compile(r"\s*;\s*(?=\{)")
_BUILT_IN: Final = re.compile(r"\s*([^\s(]+)\.call\((.*)\)\s*", re.DOTALL)
_ARGUMENT: Final = re.compile(r'([^"]*?)="(.*?)"(?:, (?=[^"]*=")|\Z)', re.DOTALL)


class LlamaCalls(Struct, frozen=True, cache_hash=True):
    """Calls after `marker`, or without it at the front or the end of a turn."""

    marker: str = "<|python_tag|>"

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "llama"

    @property
    def marks(self) -> tuple[str, ...]:
        """Return the marker."""
        return (self.marker,)

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the marker."""
        return (self.marker,)

    @property
    def begins(self) -> Begins:
        """Return the bracket: a call without the marker is a turn's first object, or a line's that is offered."""
        return Begins(("{",), in_text="front")

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls, in order: those that a turn begins with, then each that a marker begins.

        Of a turn without a marker they are those on its last line too.
        """
        mark, attempts = encoded(self.marker, self.marks), list[Attempt]()
        start = _end(turn.text, 0, mark)
        if start == len(turn.text):
            return _bare(turn, tools)
        front = after_space(turn.text, 0)
        if JSON_CALL_BEGINS.match(turn.text, front, start):
            attempts += _attempts(turn, (front, start), (front, start))
        while start < len(turn.text):
            end = _end(turn.text, start + 1, mark)
            attempts += _marked(turn, start, end)
            start = end
        return attempts


def _end(text: str, position: int, mark: str) -> int:
    """Return the place of the next marker, or the end. A marker in a string of JSON that begins here is text of it."""
    place = after_space(text, position)
    value = value_at(text, place) if text.startswith("{", place) else None
    if value is not None and value.state == "open":
        return len(text)
    end = text.find(mark, position if value is None or value.state == "broken" else value.end)
    return len(text) if end < 0 else end


def _marked(turn: Coded, start: int, end: int) -> list[Attempt]:
    raw = turn.spelled(start + 1, end)
    if raw.lstrip().startswith("{"):
        return _attempts(turn, (start, end), (start + 1, end))
    return [Attempt(start, end, (start + 1, end), built_in_call(raw))]


def _bare(turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
    """Read a turn that begins as a call does, else one that ends with calls of offered tools on a line of their own."""
    text = turn.text
    front, end = after_space(text, 0), len(text.rstrip())
    if begins_call(text[front:end]):
        return _attempts(turn, (front, end), (front, end))
    offered = {tool.name for tool in tools}
    line = _LINE.search(text, front, end) if offered else None
    while line is not None:
        value = value_at(text, line.end())
        if value.state == "whole":
            attempts = _attempts(turn, (line.end(), end), (line.end(), end))
            if all(attempt.reading[0] == "ok" and attempt.reading[1] in offered for attempt in attempts):
                return attempts
        line = _LINE.search(text, max(value.end, line.end() + 1), end)
    return []


def _attempts(turn: Coded, whole: Span, inside: Span) -> list[Attempt]:
    """Read calls with `;` between them, or one that is whatever it is."""
    places: list[Span] = []
    position = start = after_space(turn.text, inside[0])
    while (value := value_at(turn.text, position)).state == "whole":
        places.append((position, value.end))
        separator = _SEPARATOR.match(turn.text, value.end, inside[1])
        if separator is None:
            break
        position = separator.end()
    if len(places) < 2 or turn.text[places[-1][1] : inside[1]].strip():
        return [Attempt(*whole, inside, _reading(turn.spelled(start, inside[1])))]
    edges = [whole[0], *(end for _, end in places[:-1]), whole[1]]
    return [
        Attempt(first, last, place, _reading(turn.spelled(*place)), own=None if first == whole[0] else place)
        for first, last, place in zip(edges, edges[1:], places, strict=False)
    ]


def _reading(raw: str) -> CallReading:
    return strict_reading(raw, ARGUMENT_KEYS)


def json_call_text(call: ToolCall) -> tuple[Segment, ...]:
    """Return a call as JSON."""
    name, arguments = body(call.name, "tool_name"), body(arguments_written(call), "tool_arguments")
    return scaffold('{"name": "'), name, scaffold(f'", "{ARGUMENT_KEYS[0]}": '), arguments, scaffold("}")


def built_in_call_text(call: ToolCall, path: str) -> Iterator[Segment]:
    """Yield a call of a built-in tool. Refuse an argument that is no text; its error is placed under `path`."""
    arguments = arguments_object(call)
    for key, value in arguments.items():
        if not isinstance(value, str):
            raise ConversationError(f"{path}.{key}", f"must be a string: {call.name} is a built-in tool", value)
    yield from (body(call.name, "tool_name"), scaffold(".call("))
    for position, (key, value) in enumerate(arguments.items()):
        yield from (scaffold(", " if position else ""), body(key, "tool_arguments"), scaffold('="'))
        yield from (body(str(value), "tool_arguments"), scaffold('"'))
    yield scaffold(")")


def begins_call(content: str) -> bool:
    """Return whether a turn without a marker is a call.

    It begins as a rendered one, or is an object of the same keys.
    """
    if JSON_CALL_BEGINS.match(content):
        return True
    try:
        value = decode_json(content)
    except ValueError:
        return False
    return isinstance(value, dict) and "name" in value and any(key in value for key in ARGUMENT_KEYS)


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
