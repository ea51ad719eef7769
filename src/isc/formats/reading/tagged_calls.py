"""Calls as a name and pairs of key and value between texts that quote nothing: XML, `<arg_key>`, `<invoke>`, DSML.

Every such format is the same sentence with other words: opener, name, then key and value between three texts for each
argument, closer. A value ends where a pair closes that another pair, or the call's close, follows; any marker before
that is text of the value.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from isc._json import json_text
from isc.formats.reading.coded import ANY_CODE, Coded, marker_pattern
from isc.formats.reading.grammars import Attempt
from isc.formats.reading.scanners import CallReading, argument, unquoted
from isc.types import CallStatus, Json, ToolSpec

_SPACE: Final = re.compile(r"\s*+")
_DEEPEST: Final = 100


class TaggedCalls(Struct, frozen=True, cache_hash=True):
    """`opener` name `head` then for each argument `before` key `middle` value `after`, then `closer`.

    `middle_of_text`: what stands between a key and a value that is text, where other values have another `middle`.
    `python`: whether values are spelled as Python does (`None`, `{'a': 1}`), not as JSON.
    """

    opener: str
    closer: str
    head: str
    before: str
    middle: str
    after: str
    marks: tuple[str, ...] = ()
    middle_of_text: str | None = None
    python: bool = False

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "tagged"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the special that the opener begins with."""
        return tuple(mark for mark in self.marks if self.opener.startswith(mark))

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""
        patterns, text = _patterns(self), turn.text
        ends = [match.start() for match in patterns.value_end.finditer(text)]
        attempts: list[Attempt] = []
        position = 0
        while opener := patterns.opener.search(text, position):
            attempts.append(self._attempt(turn, opener.start(), opener.end(), ends, tools))
            position = max(attempts[-1].end, opener.end())
        return attempts

    def _attempt(self, turn: Coded, start: int, inside: int, ends: Sequence[int], tools: Sequence[ToolSpec]) -> Attempt:
        patterns, text = _patterns(self), turn.text
        head = patterns.head.match(text, inside)
        name = turn.spelled(*head.span("name")).strip() if head else None
        position, pairs, broken = head.end() if head else inside, [], head is None
        while pair := patterns.pair.match(text, position):
            index = bisect_left(ends, pair.end())
            if index == len(ends):
                return Attempt(start, len(text), (inside, len(text)), _unread(name), closed=False)
            is_text = self.middle_of_text is not None and pair["text"] is not None
            pairs.append((turn.spelled(*pair.span("key")), turn.spelled(pair.end(), ends[index]), is_text))
            close = patterns.after.match(text, ends[index])
            position = close.end() if close else ends[index]
        closer = patterns.closer.match(text, _blank(text, position))
        if closer is not None and not broken:
            return Attempt(start, closer.end(), (inside, closer.start()), self._reading(name, pairs, tools))
        edge = patterns.edge.search(text, inside)
        stop = edge.start() if edge else len(text)
        closed = edge is not None and edge.lastgroup == "close"
        whole = not broken and _blank(text, position) == stop
        reading = self._reading(name, pairs, tools) if whole else _unread(name)
        return Attempt(start, edge.end() if edge and closed else stop, (inside, stop), reading, closed=closed)

    def _reading(
        self, name: str | None, pairs: Sequence[tuple[str, str, bool]], tools: Sequence[ToolSpec]
    ) -> CallReading:
        declared = next((tool.parameters.get("properties") for tool in tools if tool.name == name), None)
        properties = declared if isinstance(declared, Mapping) else {}
        arguments: dict[str, Json] = {}
        statuses: set[CallStatus] = set()
        for key, text, is_text in pairs:
            status, value = ("ok", text) if is_text else self._value(text, properties.get(key))
            if key in arguments:
                return "malformed_structure", name or None, None
            arguments[key] = value
            statuses.add(status)
        if not name:
            return "missing_name", None, arguments
        return "invalid_json" if "invalid_json" in statuses else "ok", name, arguments

    def _value(self, text: str, schema: Json) -> tuple[CallStatus, Json]:
        """Read a value under its schema. In a format of Python's literals, one of those is read as its value."""
        if self.python and isinstance(unquoted(text, schema), str):
            value = unquoted(_literal(text), schema)
            if not isinstance(value, str):
                return "ok", value
        if self.middle_of_text is not None:
            value = unquoted(text)
            return ("invalid_json", text) if isinstance(value, str) else ("ok", value)
        return argument(text, schema)


def _literal(text: str) -> str:
    """Return the JSON text of a Python literal other than a string or a number, or other text as it is."""
    if text[:1] not in "[{(TFN" or max(text.count(bracket) for bracket in "[{(") > _DEEPEST:
        return text
    try:
        value: Json = ast.literal_eval(text)
        return json_text(value) if isinstance(value, (dict, list, bool)) or value is None else text
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def _unread(name: str | None) -> CallReading:
    return "malformed_structure", name or None, None


def _blank(text: str, position: int) -> int:
    blank = _SPACE.match(text, position)
    return blank.end() if blank else position


class _Patterns(Struct, frozen=True):
    opener: re.Pattern[str]
    head: re.Pattern[str]
    pair: re.Pattern[str]
    after: re.Pattern[str]
    value_end: re.Pattern[str]
    closer: re.Pattern[str]
    edge: re.Pattern[str]


@lru_cache(maxsize=256)
def _patterns(grammar: TaggedCalls) -> _Patterns:
    def loose(text: str) -> str:
        return marker_pattern(text, grammar.marks)

    opener, closer, head, before = map(loose, (grammar.opener, grammar.closer, grammar.head, grammar.before.strip()))
    middle, after = (marker_pattern(text, grammar.marks, tight=True) for text in (grammar.middle, grammar.after))
    text = marker_pattern(grammar.middle_of_text or "", grammar.marks, tight=True)
    middles = middle if grammar.middle_of_text is None else f"(?:(?P<text>{text})|{middle})"
    return _Patterns(
        re.compile(opener),
        re.compile(rf"(?P<name>[^<>{{}}\n{ANY_CODE}]*?)\s*+(?:{head}\s*+)?(?=\s*(?:{before}|{closer}|\Z))"),
        re.compile(rf"\s*+{before}(?P<key>[^\n{ANY_CODE}]*?){middles}"),
        re.compile(after),
        re.compile(rf"{after}(?=\s*+(?:{before}|{closer}))"),
        re.compile(closer),
        re.compile(f"(?P<close>{closer})|(?P<open>{opener})"),
    )
