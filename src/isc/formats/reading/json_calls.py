"""Calls as JSON: an object that says name and arguments, a list of them, or a name and then the JSON of its arguments.

`<tool_call>{...}</tool_call>`, `[TOOL_CALLS] [{...}, {...}]`, `<|START_ACTION|>[...]<|END_ACTION|>`, bare `{...}`;
`[TOOL_CALLS]name[ARGS]{...}`, Kimi's and DeepSeek's sections. Nothing but the markers differs, and those are fields.

A call is read forward from its opener. It ends after its value, at its closer. Where that is not so it ends at the
first closer or opener that no string holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from isc._json import decode_json
from isc.formats.reading.coded import ANY_CODE, IDENTITY, Coded, encoded, marker_pattern
from isc.formats.reading.grammars import Attempt, Begins, last_mark, text_begins
from isc.formats.reading.json_values import Value, after_space, value_at
from isc.formats.reading.scanners import CallReading
from isc.types import Json, ToolSpec

NAME_KEYS: Final = ("name", "tool_name", "function_name", "tool", "function", "action")
ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "input", "kwargs", "tool_input", "action_input", "params")
_BETWEEN: Final = re.compile(r"[\s,;]*+")
_JSON: Final = re.compile(r"\s*+[{\[]")
_BRACKET: Final = re.compile(r"[{\[]")
_NAME_CHARACTER: Final = re.compile(rf"[^\s{ANY_CODE}]")
_CODE: Final = re.compile(f"[{ANY_CODE}]")
_NATIVE_ID: Final = re.compile(r"\s*functions\.(.+):[0-9]+\s*", re.DOTALL)
_TWICE: Final[CallReading] = ("malformed_structure", None, None)
_SHORT_ID: Final = re.compile(r"\s*(?:functions\.)?(.+?)(?::[0-9]*)?\s*", re.DOTALL)


class JsonCalls(Struct, frozen=True, cache_hash=True):
    """Calls between two markers, the second or both "" where there are none: `opener` {...} `closer`.

    `separator`: what stands between a name and its arguments, None where the name is in the JSON. `lead`: what stands
    before that name. `keyed`: the JSON is `{name: arguments}`. `keys`: the keys that arguments may have beside `name`
    (none: any usual one, arguments may be given as JSON text, and calls in a list). `echoes`: the name is said once
    more before the opener. `native`: the name is a call's id, `functions.name:number`. `breaks`: specials that end a
    call that was not closed. `id_key`: the key of a call's id in its object, "" where there is none.
    """

    opener: str
    closer: str
    marks: tuple[str, ...] = ()
    separator: str | None = None
    keyed: bool = False
    echoes: bool = False
    native: bool = False
    lead: str = ""
    keys: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    id_key: str = ""

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "json" if self.separator is None else "named_json"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the special that the opener begins with."""
        return tuple(mark for mark in self.marks if self.opener.startswith(mark))

    @property
    def begins(self) -> Begins:
        """Return what the opener begins with, or the brackets that a call without one begins with."""
        if not self.opener:
            return Begins(front=_BRACKET)
        texts = text_begins(self.opener, self.marks)
        return Begins(
            texts, names=self.echoes, anywhere=not texts and not self.enders, closers=last_mark(self.closer, self.marks)
        )

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""
        attempts: list[Attempt] = []
        position = 0
        while (opened := self._opened(turn.text, position)) is not None:
            start, inside = opened
            block = (
                self._listed(turn, start, inside)
                if self.separator is None
                else [self._named(turn, start, inside, tools)]
            )
            attempts += block
            position = max(block[-1].end, inside)
            if not self.opener and position == inside:
                break
        return attempts

    def _opened(self, text: str, position: int) -> tuple[int, int] | None:
        """Find the next block of calls: where the block and its inside begin."""
        if not self.opener:
            bare = _JSON.match(text, position)
            return None if bare is None or not self._begins(text, bare.end() - 1) else (bare.end() - 1, bare.end() - 1)
        opener = patterns_of(self).opener.search(text, position)
        if opener is None:
            return None
        start = opener.start()
        while self.echoes and start > position and _NAME_CHARACTER.match(text[start - 1]):
            start -= 1
        return start, opener.end()

    def _begins(self, text: str, position: int) -> bool:
        """Return whether the text here is a call without an opener."""
        value = value_at(text, position).value
        items = value if isinstance(value, list) else [value]
        return bool(items) and all(_is_call(item) for item in items)

    def _listed(self, turn: Coded, start: int, inside: int) -> list[Attempt]:
        """Read the calls after an opener, each an object or all in lists."""
        text = turn.text
        items: list[_Item] = []
        position = inside
        value = Value("broken", inside)
        while (bracket := _JSON.match(text, _after(_BETWEEN, text, position))) is not None:
            place = bracket.end() - 1
            value = value_at(text, place)
            if value.state != "whole":
                break
            items += self._items(turn.spelled(place, value.end), place, value.end)
            position = value.end
        if value.state == "open":
            return [self._open(turn, start, inside)]
        close = self._close(text, position)
        if not items or close is None:
            return self._broken(turn, start, inside, items, max(value.end, position))
        return _shared(items, start, close[1], whole=(inside, close[0]))

    def _close(self, text: str, position: int) -> tuple[int, int] | None:
        """Return the place of the closer that stands here. Without a closer the call ends here."""
        if not self.closer:
            return position, position
        closer = patterns_of(self).closer.match(text, after_space(text, position))
        if closer is None:
            return None
        return closer.end() - 1 if _CODE.match(text, closer.end() - 1) else closer.start(), closer.end()

    def _open(self, turn: Coded, start: int, inside: int) -> Attempt:
        """Return one attempt with a string open to the end of the turn.

        It holds every marker but a closer that is last.
        """
        text = turn.text.rstrip()
        closer = _last_mark(encoded(self.closer, turn.marks))
        closed = bool(closer) and text.endswith(closer) and len(text) - len(closer) >= inside
        stop = len(text) - len(closer) if closed else len(turn.text)
        return Attempt(start, len(turn.text), (inside, stop), ("invalid_json", None, None), closed=closed)

    def _edge(self, turn: Coded, start: int, inside: int, broken: int) -> Attempt:
        """Return an attempt of which nothing is read, up to its closer, else unclosed up to the next opener or the end.

        `broken` is where its JSON stops being such: no marker before that ends it, unless a string may have held one.
        """
        text, edges = turn.text, patterns_of(self).edge
        edge = edges.search(text, broken)
        if '"' in text[broken : edge.start() if edge else len(text)]:
            edge = edges.search(text, inside)
        stop = edge.start() if edge else len(text)
        closed = edge is not None and edge.lastgroup == "close"
        end = edge.end() if edge and closed else stop
        return Attempt(start, end, (inside, stop), ("invalid_json", None, None), closed=closed)

    def _broken(self, turn: Coded, start: int, inside: int, items: Sequence[_Item], broken: int) -> list[Attempt]:
        """Return the calls between an opener and what ends them, or one attempt where there is none."""
        attempt = self._edge(turn, start, inside, broken)
        stop = attempt.inside[1]
        if items and items[0].start >= inside and not turn.text[items[-1].end : stop].strip(" \t\r\n,;"):
            closed = attempt.closed or not self.closer
            return [one._replace(closed=closed) for one in _shared(items, start, attempt.end, attempt.inside)]
        is_value = not items and self._is_value(turn.spelled(inside, stop))
        return [attempt._replace(reading=("malformed_structure", None, None))] if is_value else [attempt]

    def _is_value(self, raw: str) -> bool:
        """Return whether a text is JSON, if not of a call."""
        try:
            decode_json(raw)
        except ValueError:
            return False
        return True

    def _items(self, raw: str, start: int, end: int) -> Iterator[_Item]:
        """Yield the calls of one value: an object, or a list of them."""
        if self.keys:
            yield _Item(start, end, strict_reading(raw, self.keys))
            return
        try:
            value = decode_json(raw)
        except ValueError:
            yield _Item(start, end, ("invalid_json", None, None))
            return
        twice = _says_twice(raw, (*NAME_KEYS, *ARGUMENT_KEYS, self.id_key))
        for number, item in enumerate(value if isinstance(value, list) and value else [value]):
            reading = keyed_call(item) if self.keyed else json_call_of(item)
            yield _Item(start, end, _TWICE if number in twice else reading, self._id_of(item))

    def _id_of(self, item: object) -> str | None:
        """Return the id that a call's object says, if it is a text."""
        said = item.get(self.id_key) if self.id_key and isinstance(item, dict) else None
        return said if isinstance(said, str) else None

    def _named(self, turn: Coded, start: int, inside: int, tools: Sequence[ToolSpec]) -> Attempt:
        """Read a name, its separator, and the JSON of its arguments."""
        text = turn.text
        head = patterns_of(self).head.match(text, inside)
        if head is None:
            return self._headless(turn, start, inside, tools)
        identity, name = self.identity_of(turn.spelled(*head.span("name")), head, tools)
        place = after_space(text, head.end())
        value = value_at(text, place)
        if value.state != "whole":
            rest = (
                self._open(turn, start, inside) if value.state == "open" else self._edge(turn, start, inside, value.end)
            )
            return rest._replace(reading=("invalid_json", name or None, None), identity=identity)
        reading = _named_reading(name, turn.spelled(place, value.end))
        close = self._close(text, value.end)
        if close is not None:
            return Attempt(start, close[1], (inside, close[0]), reading, identity=identity)
        rest = self._edge(turn, start, inside, value.end)
        closer = encoded(self.closer, turn.marks)
        if not closer.lstrip().startswith(text[value.end : rest.inside[1]].strip()):
            reading = "invalid_json", name or None, None
        elif rest.closed and reading[0] == "ok":  # by its last mark alone
            reading = "malformed_structure", name, None
        return rest._replace(reading=reading, identity=identity)

    def _headless(self, turn: Coded, start: int, inside: int, tools: Sequence[ToolSpec]) -> Attempt:
        """Return an attempt that has no arguments, with its name as far as that can be told."""
        attempt = self._edge(turn, start, inside, inside)
        head = patterns_of(self).name.match(turn.text, inside, attempt.inside[1])
        identity, name = self.identity_of(turn.spelled(*head.span("name")), None, tools) if head else (None, "")
        return attempt._replace(reading=("malformed_structure", name or None, None), identity=identity)

    def identity_of(self, said: str, head: re.Match[str] | None, tools: Sequence[ToolSpec]) -> tuple[str | None, str]:
        """Return a call's id and its name. A native id names an offered function even where it is cut short."""
        if not self.native:
            return head.groupdict().get("identity") if head else None, said.strip()
        native = _NATIVE_ID.fullmatch(said)
        short = _SHORT_ID.fullmatch(said) if native is None else None
        name = native[1] if native else ""
        if short is not None and any(tool.name == short[1] for tool in tools):
            name = short[1]
        return said or None, name


class _Item(NamedTuple):
    """A call's object: its place, what was read of it, and its id."""

    start: int
    end: int
    reading: CallReading
    identity: str | None = None


def _shared(items: Sequence[_Item], start: int, end: int, whole: tuple[int, int]) -> list[Attempt]:
    """Return calls that share a block. Markers belong to the first and the last; one alone has all that is inside."""
    if len(items) == 1:
        return [Attempt(start, end, whole, items[0].reading, identity=items[0].identity)]
    places = [start, *(item.start for item in items[1:])]
    return [
        Attempt(place, max(until, place), (item.start, item.end), item.reading, identity=item.identity)
        for place, until, item in zip(places, [*places[1:], end], items, strict=True)
    ]


class Patterns(Struct, frozen=True):
    """The markers of a grammar, coded: `edge` is what ends a call that is torn."""

    opener: re.Pattern[str]
    closer: re.Pattern[str]
    head: re.Pattern[str]
    name: re.Pattern[str]
    edge: re.Pattern[str]


@lru_cache(maxsize=256)
def patterns_of(grammar: JsonCalls) -> Patterns:
    """Return the patterns of a grammar's markers."""
    marks = grammar.marks
    opener, closer, lead = (marker_pattern(text, marks) for text in (grammar.opener, grammar.closer, grammar.lead))
    separator = marker_pattern(grammar.separator or "", marks, named=True)
    between = encoded(grammar.separator or "", marks)
    if IDENTITY in between and _CODE.match(between[-1:]):  # models leave out the id that history has
        separator = f"(?:{separator}|{between[-1]})"
    others = "" if _CODE.match(between) else "\n" if between.strip() else "{}\n"
    end = re.escape(_last_mark(encoded(grammar.closer, marks)))
    opens = "|".join(
        pattern for pattern in (opener, *(marker_pattern(mark, marks) for mark in grammar.breaks)) if pattern
    )
    edges = [f"(?P<{name}>{pattern})" for name, pattern in (("close", end), ("open", opens)) if pattern]
    loose = re.sub(rf"[^{ANY_CODE}]+", f"[^\n{ANY_CODE}]*+", encoded(grammar.lead, marks))
    return Patterns(
        re.compile(opener),
        re.compile(closer),
        re.compile(rf"{lead}(?P<name>[^{others}{ANY_CODE}]*?){separator}"),
        re.compile(rf"{loose}(?P<name>[^{'' if grammar.native else others or '{}'}{ANY_CODE}]*+)"),
        re.compile("|".join(edges) or r"\Z"),
    )


def _last_mark(closer: str) -> str:
    """Return the control token that a coded marker ends with, or all of a marker that is text."""
    return closer[-1] if _CODE.match(closer[-1:]) else closer


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _named_reading(name: str, raw: str) -> CallReading:
    try:
        arguments: Json = decode_json(raw)
    except ValueError:
        return "invalid_json", name or None, None
    if not isinstance(arguments, dict):
        return "malformed_structure", name or None, None
    return ("ok", name, arguments) if name else ("missing_name", None, arguments)


class _Repeated(dict[str, object]):
    """An object of which a key is given twice."""


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    kept = dict(pairs)
    return kept if len(kept) == len(pairs) else _Repeated(pairs)


_PAIRS: Final = json.JSONDecoder(object_pairs_hook=_pairs)


def _says_twice(raw: str, keys: Sequence[str]) -> frozenset[int]:
    """Return which calls of a value say a key twice: nobody can tell which of the two is meant.

    >>> _says_twice('[{"name": "f"}, {"name": "f", "name": "g"}]', ("name",))
    frozenset({1})
    """
    if "\\u" not in raw and all(raw.count(f'"{key}"') < 2 for key in keys):
        return frozenset()
    try:
        value = _PAIRS.decode(raw)
    except RecursionError:  # as deep as can be read at all
        return frozenset()
    items = value if isinstance(value, list) else [value]
    return frozenset(number for number, item in enumerate(items) if isinstance(item, _Repeated))


def _is_call(item: object) -> bool:
    """Return whether a JSON value has a name and arguments, and is no other object."""
    status, _, arguments = json_call_of(item)
    return status == "ok" and arguments is not None


def strict_reading(raw: str, keys: Sequence[str]) -> CallReading:
    """Read a call from the JSON text of an object, see `strict_call`. One that says a key twice is malformed.

    >>> strict_reading('{"name": "now", "args": {}}', ("args",))
    ('ok', 'now', {})
    >>> strict_reading('{"name": "now", "name": "then", "args": {}}', ("args",))
    ('malformed_structure', None, None)
    """
    try:
        value = decode_json(raw)
    except ValueError:
        return "invalid_json", None, None
    return _TWICE if _says_twice(raw, ("name", *keys)) else strict_call(value, keys)


def strict_call(item: object, keys: Sequence[str]) -> CallReading:
    """Read a call from an object with a `name` and, by one of these keys, an object of arguments.

    >>> strict_call({"name": "now", "arguments": {}}, ("arguments",))
    ('ok', 'now', {})
    >>> strict_call({"name": "now", "arguments": 3}, ("arguments",))
    ('malformed_structure', 'now', None)
    """
    if not isinstance(item, dict):
        return "malformed_structure", None, None
    name = item.get("name")
    given = next((item[key] for key in keys if key in item), None)
    arguments = given if isinstance(given, dict) else None
    if name is None or name == "":
        return "missing_name", None, arguments
    if not isinstance(name, str):
        return "malformed_structure", None, arguments
    return ("malformed_structure" if arguments is None else "ok"), name, arguments


def json_call_of(item: object) -> CallReading:
    """Read a call from a JSON value, by any of the keys that formats use.

    >>> json_call_of({"tool_name": "now", "parameters": {}})
    ('ok', 'now', {})
    >>> json_call_of({"type": "function", "function": {"name": "now", "arguments": "{}"}})
    ('ok', 'now', {})
    """
    if not isinstance(item, dict):
        return "malformed_structure", None, None
    if isinstance(item.get("function"), dict) and "name" not in item:
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
