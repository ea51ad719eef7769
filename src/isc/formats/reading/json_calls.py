"""Calls as JSON: an object that says name and arguments, a list of them, or a name and then the JSON of its arguments.

`<tool_call>{...}</tool_call>`, `[TOOL_CALLS] [{...}, {...}]`, `<|START_ACTION|>[...]<|END_ACTION|>`, bare `{...}`;
`[TOOL_CALLS]name[ARGS]{...}`, Kimi's and DeepSeek's sections. Nothing but the markers differs, and those are fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from isc._json import decode_json
from isc.formats.reading.coded import ANY_CODE, Coded, encoded, marker_pattern
from isc.formats.reading.grammars import Attempt
from isc.formats.reading.scanners import CallReading
from isc.types import Json, ToolSpec

NAME_KEYS: Final = ("name", "tool_name", "function_name", "tool", "function", "action")
ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "input", "kwargs", "tool_input", "action_input", "params")
_DECODER: Final = json.JSONDecoder()
_WINDOW: Final = 2_048
_CUT: Final = 16  # characters of a word, a number or an escape that may lack its end
_BETWEEN: Final = re.compile(r"[\s,;]*+")
_JSON: Final = re.compile(r"\s*+[{\[]")
_NAME_CHARACTER: Final = re.compile(rf"[^\s{ANY_CODE}]")


class JsonCalls(Struct, frozen=True, cache_hash=True):
    """Calls between two markers, the second or both "" where there are none: `opener` {...} `closer`.

    `separator`: what stands between a name and its arguments, None where the name is in the JSON. `keyed`: the JSON is
    `{name: arguments}`. `echoes`: the name is said once more before the opener. `native`: a call's id is
    `functions.name:number`.
    """

    opener: str
    closer: str
    marks: tuple[str, ...] = ()
    separator: str | None = None
    keyed: bool = False
    echoes: bool = False
    native: bool = False

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "json" if self.separator is None else "named_json"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the special that the opener begins with."""
        return tuple(mark for mark in self.marks if self.opener.startswith(mark))

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""
        del tools  # JSON has types of its own
        attempts: list[Attempt] = []
        position = 0
        while (opened := self._opened(turn.text, position)) is not None:
            start, inside = opened
            block = self._block(turn, start, inside)
            position = max(block[-1].end, inside) if block else inside
            if not block and not self.opener:
                break
            attempts += block
        return attempts

    def _opened(self, text: str, position: int) -> tuple[int, int] | None:
        """Find the next block of calls: where the block and its inside begin."""
        if not self.opener:
            bare = _JSON.match(text, position)
            return None if bare is None or not self._begins(text, bare.end() - 1) else (bare.end() - 1, bare.end() - 1)
        opener = _patterns(self).opener.search(text, position)
        if opener is None:
            return None
        start = opener.start()
        while self.echoes and start > position and _NAME_CHARACTER.match(text[start - 1]):
            start -= 1
        return start, opener.end()

    def _begins(self, text: str, position: int) -> bool:
        """Return whether the text here is a call without an opener."""
        value = _raw(text, position)
        items = value[0] if value and isinstance(value[0], list) else [value[0]] if value else []
        return bool(items) and all(_is_call(item) for item in items)

    def _block(self, turn: Coded, start: int, inside: int) -> list[Attempt]:
        """Read the calls after an opener."""
        if self.separator is not None:
            return [self._named(turn, start, inside)]
        items: list[tuple[int, int, CallReading]] = []
        position = inside
        while (bracket := _JSON.match(turn.text, _after(_BETWEEN, turn.text, position))) is not None:
            value = _raw(turn.text, bracket.end() - 1)
            if value is None:
                break
            if value[1] < 0:
                return [self._open(turn, start, inside)]
            place = bracket.end() - 1
            items += [(place, value[1], one) for one in self._readings(turn.spelled(place, value[1]))]
            position = value[1]
        end = self._closed(turn.text, position)
        if not items or end is None:
            return [self._broken(turn, start, inside, items)]
        places = [start, *(place for place, _, _ in items[1:])]
        ends = [*places[1:], end]
        return [
            Attempt(place, max(until, place), (inner, stop), reading)
            for place, until, (inner, stop, reading) in zip(places, ends, items, strict=True)
        ]

    def _closed(self, text: str, position: int) -> int | None:
        """Return the end of the closer that stands here. Without a closer the call ends here."""
        if not self.closer:
            return position
        closer = _patterns(self).closer.match(text, _after(_SPACE, text, position))
        return closer.end() if closer else None

    def _open(self, turn: Coded, start: int, inside: int) -> Attempt:
        """Return one attempt with a string open to the end of the turn.

        It holds every marker but a closer that is last.
        """
        text = turn.text.rstrip()
        closer = encoded(self.closer, turn.marks)
        closed = bool(closer) and text.endswith(closer) and len(text) - len(closer) >= inside
        stop = len(text) - len(closer) if closed else len(turn.text)
        return Attempt(start, len(turn.text), (inside, stop), ("invalid_json", None, None), closed=closed)

    def _broken(self, turn: Coded, start: int, inside: int, items: Sequence[tuple[int, int, CallReading]]) -> Attempt:
        """Return one attempt up to its closer, or unclosed up to the next opener or the end."""
        text = turn.text
        edge = _patterns(self).edge.search(text, inside)
        if edge is None and items:
            whole = turn.spelled(inside, len(text)).strip() == turn.spelled(*items[0][:2])
            reading = items[0][2] if whole else ("invalid_json", None, None)
            return Attempt(start, len(text), (inside, len(text)), reading, closed=not self.closer)
        stop = edge.start() if edge else len(text)
        closed = edge is not None and edge.lastgroup == "close"
        end = edge.end() if edge and closed else stop
        return Attempt(start, end, (inside, stop), ("invalid_json", None, None), closed=closed)

    def _readings(self, raw: str) -> Iterator[CallReading]:
        try:
            value = decode_json(raw)
        except ValueError:
            yield "invalid_json", None, None
            return
        for item in value if isinstance(value, list) and value else [value]:
            yield keyed_call(item) if self.keyed else json_call_of(item)

    def _named(self, turn: Coded, start: int, inside: int) -> Attempt:
        """Read a name, its separator, and the JSON of its arguments."""
        text = turn.text
        head = _patterns(self).head.match(text, inside)
        if head is None:
            return self._broken(turn, start, inside, ())
        name = head["name"].strip()
        value = _raw(text, _after(_SPACE, text, head.end()))
        identity = f"functions.{name}:{head['number']}" if self.native else head.groupdict().get("identity")
        if value is None or value[1] < 0:
            broken = self._broken(turn, start, inside, ()) if value is None else self._open(turn, start, inside)
            return broken._replace(reading=("invalid_json", name or None, None), identity=identity)
        end = self._closed(text, value[1])
        reading = _named_reading(name, turn.spelled(_after(_SPACE, text, head.end()), value[1]))
        if end is None:
            rest = self._broken(turn, start, inside, ())
            whole = text[value[1] : rest.inside[1]].strip() == ""
            return rest._replace(reading=reading if whole else ("invalid_json", name, None), identity=identity)
        return Attempt(start, end, (inside, value[1]), reading, identity=identity)


class _Patterns(Struct, frozen=True):
    opener: re.Pattern[str]
    closer: re.Pattern[str]
    head: re.Pattern[str]
    edge: re.Pattern[str]


_SPACE: Final = re.compile(r"\s*+")


@lru_cache(maxsize=256)
def _patterns(grammar: JsonCalls) -> _Patterns:
    opener, closer = (marker_pattern(text, grammar.marks) for text in (grammar.opener, grammar.closer))
    separator = marker_pattern(grammar.separator or "", grammar.marks, named=True)
    head = rf"(?P<name>[^{{}}\n{ANY_CODE}]*?){separator}"
    edges = [f"(?P<{name}>{pattern})" for name, pattern in (("close", closer), ("open", opener)) if pattern]
    edge = "|".join(edges) or r"\Z"
    return _Patterns(re.compile(opener), re.compile(closer), re.compile(head), re.compile(edge))


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _raw(text: str, position: int) -> tuple[object, int] | None:
    """Decode the JSON value that begins here, and return where it ends. A string that nothing closes ends at -1.

    What is looked at grows while it ends too early: an error costs what is before it in the text it is told of.
    """
    window = _WINDOW
    while True:
        part = text[position : position + window]
        whole = position + window >= len(text)
        try:
            value, end = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            is_open = error.msg.startswith("Unterminated string")
            if whole or not (is_open or error.pos >= len(part) - _CUT):
                return (None, -1) if is_open else None
        except (ValueError, RecursionError):
            return None
        else:
            return value, position + end
        window *= 2


def _named_reading(name: str, raw: str) -> CallReading:
    try:
        arguments: Json = decode_json(raw)
    except ValueError:
        return "invalid_json", name or None, None
    if not isinstance(arguments, dict):
        return "malformed_structure", name or None, None
    return ("ok", name, arguments) if name else ("missing_name", None, arguments)


def _is_call(item: object) -> bool:
    """Return whether a JSON value has a name and arguments, and is no other object."""
    status, _, arguments = json_call_of(item)
    return status == "ok" and arguments is not None


def json_call_of(item: object) -> CallReading:
    """Read a call from a JSON value, by any of the keys that formats use.

    >>> json_call_of({"tool_name": "now", "parameters": {}})
    ('ok', 'now', {})
    >>> json_call_of({"type": "function", "function": {"name": "now", "arguments": "{}"}})
    ('ok', 'now', {})
    """
    if not isinstance(item, dict):
        return "malformed_structure", None, None
    if isinstance(item.get("function"), dict):
        return json_call_of(item["function"])
    name = next((item[key] for key in NAME_KEYS if key in item), None)
    arguments = _arguments(next((item[key] for key in ARGUMENT_KEYS if key in item), None))
    if name is None or name == "":
        return "missing_name", None, arguments
    if not isinstance(name, str):
        return "malformed_structure", None, arguments
    return ("malformed_structure" if arguments is None else "ok"), name, arguments


def keyed_call(item: object) -> CallReading:
    """Read `{name: arguments}`.

    >>> keyed_call({"now": {}})
    ('ok', 'now', {})
    """
    if not isinstance(item, dict) or len(item) != 1:
        return "malformed_structure", None, None
    ((name, value),) = item.items()
    arguments = _arguments(value)
    return ("malformed_structure" if arguments is None else "ok"), name, arguments


def _arguments(value: object) -> Mapping[str, Json] | None:
    """Return arguments that are given as an object or as its JSON text."""
    if isinstance(value, str):
        try:
            value = decode_json(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None
