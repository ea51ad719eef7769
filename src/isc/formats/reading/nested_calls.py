"""Calls whose arguments are elements in elements, each tag behind a mark: MiniMax-M3.

A tag is text behind a control token, so no text of a value is taken for one. What a call holds is a tree: objects have
an element a key, lists an element `item` for each item, and all else is text, read by its schema. Without one a text is
the JSON of a value where it is that of another than a text, and an element that holds nothing is an empty text.

- An element ends at its own closer. Closers of a call and of a block also end what was left open inside; that call is
  `malformed_structure`.
- An element that has both text and elements is text if its schema says so, else the call is malformed.
- What a schema tells apart: an empty list, an empty object and null from an empty text; an object whose only key is
  `item` from a list.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final, NamedTuple

from msgspec import Struct

from isc.formats.reading.coded import ANY_CODE, Coded, encoded
from isc.formats.reading.grammars import Attempt, Begins
from isc.formats.reading.scanners import CallReading, argument, declared_types
from isc.types import CallStatus, Json, Sampled, Span, ToolSpec

ITEM: Final = "item"
"""The tag of what a list holds."""

DEEPEST: Final = 60
_NOWHERE: Final = Sampled((), (0,))
_EMPTY: Final[Mapping[str, Json]] = {"array": [], "object": {}, "null": None}
_BROKEN: Final[tuple[CallStatus, Json]] = ("malformed_structure", None)


class NestedCalls(Struct, frozen=True, cache_hash=True):
    """`mark` stands before every tag; `block` brackets calls in a row, `call` one of them, which has a name.

    `marks`: the mark, and the other control tokens of the format, which are part of no tag however they are spelled.
    """

    mark: str
    block: str
    call: str
    marks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "nested"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the mark of tags."""
        return (self.mark,)

    @property
    def begins(self) -> Begins:
        """Return nothing: every call begins with the mark."""
        return Begins()

    def argument(self, call: tuple[str, str], inside: str, marks: tuple[str, ...], tools: Sequence[ToolSpec]) -> Json:
        """Read what one element holds, coded, of a function and a key.

        Raises:
            LookupError: It cannot be read.
        """
        (name, key), mark = call, encoded(self.mark, marks)
        text = f'{mark}<{self.call} name="{name}">{mark}<{key}>{inside}{mark}</{key}>{mark}</{self.call}>'
        turn = Coded(f"{mark}<{self.block}>{text}{mark}</{self.block}>", _NOWHERE, 0, (0,), marks)
        return (self.attempts(turn, tools)[0].reading[2] or {})[key]

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""
        tree = _Tree(turn, self)
        attempts: list[Attempt] = []
        position = 0
        while (block := tree.block_from(position)) is not None:
            attempts += _attempts(tree, block, tools)
            position = block.after
        return attempts


class _Tag(NamedTuple):
    """A tag with its mark; `call` is the name of the function where the tag opens a call."""

    start: int
    end: int
    name: str
    opens: bool
    call: str | None = None


class _Block(NamedTuple):
    """The tags of a block: the first inside, the one behind the last, and where to go on. `span` is its text."""

    first: int
    stop: int
    after: int
    span: Span
    inside: Span
    closed: bool


class _Call(NamedTuple):
    """A call by its first tag and its last, which is None where it lacks its end."""

    opener: int
    closer: int | None


class _Tree:
    """The tags of a turn, each with its partner. All are paired once, whatever is read of them."""

    __slots__ = ("_blocks", "_ends", "_grammar", "_unpaired", "partners", "tags", "turn")

    def __init__(self, turn: Coded, grammar: NestedCalls) -> None:
        self.turn, self._grammar = turn, grammar
        pattern = _pattern(encoded(grammar.mark, turn.marks), grammar.call)
        self.tags = [_tag(match, grammar.call) for match in pattern.finditer(turn.text)]
        self.partners = _partners(self.tags, (grammar.block, grammar.call))
        self._unpaired = list(accumulate((partner is None for partner in self.partners), initial=0))
        blocks = [k for k, tag in enumerate(self.tags) if tag.name == grammar.block]
        self._blocks = [k for k in blocks if self.tags[k].opens]
        self._ends = [k for k in blocks if not self.tags[k].opens and self.partners[k] is None]

    def is_whole(self, call: _Call) -> bool:
        """Return whether all that a call opens inside it closes, and nothing else."""
        return call.closer is not None and self._unpaired[call.closer] == self._unpaired[call.opener]

    def block_from(self, position: int) -> _Block | None:
        """Return the next block. Calls before a closer that has no opener are one."""
        for k in range(position, len(self.tags)):
            tag = self.tags[k]
            if tag.call is not None:
                end, following = _next(self._ends, k), _next(self._blocks, k)
                if end is not None and (following is None or end < following):
                    return self._block(tag.start, tag.start, k, end)
            elif tag.opens and tag.name == self._grammar.block:
                end = self.partners[k]
                return self._cut_off(k) if end is None else self._block(tag.start, tag.end, k + 1, end)
        return None

    def _block(self, start: int, inside: int, first: int, end: int) -> _Block:
        closer = self.tags[end]
        return _Block(first, end, end + 1, (start, closer.end), (inside, closer.start), closed=True)

    def _cut_off(self, opener: int) -> _Block:
        """Return a block that lacks its closer: it goes on to the next one."""
        tag, following = self.tags[opener], _next(self._blocks, opener)
        stop = len(self.tags) if following is None else following
        place = len(self.turn.text) if following is None else self.tags[following].start
        return _Block(opener + 1, stop, stop, (tag.start, place), (tag.end, place), closed=False)

    def calls(self, block: _Block) -> Iterator[_Call]:
        """Yield the calls of a block. One that lacks its end goes on to the next."""
        position = block.first
        while position < block.stop:
            end = self.partners[position]
            if self.tags[position].call is not None:
                is_closed = end is not None and position < end < block.stop
                yield _Call(position, end if is_closed else None)
                position = end if is_closed and end is not None else position
            position += 1


def _attempts(tree: _Tree, block: _Block, tools: Sequence[ToolSpec]) -> Iterator[Attempt]:
    """Yield the calls of a block, or all of it where it has none. Text that stands beside a call spoils that call."""
    text, tags = tree.turn.text, tree.tags
    calls = list(tree.calls(block))
    if not calls:
        yield Attempt(*block.span, block.inside, ("malformed_structure", None, None), closed=block.closed)
        return
    starts = [block.inside[0], *(tags[call.opener].start for call in calls[1:]), block.inside[1]]
    edges = [block.span[0], *starts[1:-1], block.span[1]]
    for number, call in enumerate(calls):
        start, stop = starts[number], starts[number + 1]
        end = stop if call.closer is None else tags[call.closer].end
        own = (tags[call.opener].start, end)
        is_clean = not (text[start : own[0]].strip() or text[end:stop].strip())
        reading = _reading(tree, call, tools, is_whole=is_clean and tree.is_whole(call))
        inside = own if is_clean else (start, stop)
        yield Attempt(edges[number], edges[number + 1], inside, reading, closed=block.closed, own=own)


def _reading(tree: _Tree, call: _Call, tools: Sequence[ToolSpec], *, is_whole: bool) -> CallReading:
    name = tree.tags[call.opener].call or None
    declared = next((tool.parameters.get("properties") for tool in tools if tool.name == name), None)
    if is_whole and call.closer is not None:
        status, arguments = _arguments(tree, call.opener, call.closer, {"type": "object", "properties": declared})
        if isinstance(arguments, dict):
            return (status, name, arguments) if name else ("missing_name", None, arguments)
    return "malformed_structure", name, None


class _Element:
    """An element that is open: its key, its schema, where it begins, and what it holds so far."""

    __slots__ = ("has_text", "held", "key", "schema", "start", "status")

    def __init__(self, key: str, schema: Json, start: int) -> None:
        self.key, self.schema, self.start = key, schema, start
        self.held: list[tuple[str, Json]] = []
        self.has_text = False
        self.status: CallStatus = "ok"

    def value(self, turn: Coded, end: int) -> tuple[CallStatus, Json]:
        """Return the element's value: text under its schema, a list or an object."""
        types = declared_types(self.schema)
        if not self.held or types == {"string"}:
            return _text(turn.spelled(self.start, end), self.schema)
        keys = [key for key, _ in self.held]
        if self.has_text or self.status == "malformed_structure":
            return _BROKEN
        if set(keys) == {ITEM} and ("array" in types or "object" not in types):
            return self.status, [value for _, value in self.held]
        return (self.status, dict(self.held)) if len(set(keys)) == len(keys) else _BROKEN

    def take(self, key: str, status: CallStatus, value: Json) -> None:
        """Add what an element inside holds."""
        self.held.append((key, value))
        self.status = status if status == "malformed_structure" or self.status == "ok" else self.status


def _arguments(tree: _Tree, opener: int, closer: int, schema: Json) -> tuple[CallStatus, Json]:
    """Read the elements of a call, all of which are closed. White space between elements says nothing."""
    turn, at = tree.turn, tree.tags[opener].end
    whole = _Element("", schema, at)
    elements = [whole]
    for tag in tree.tags[opener + 1 : closer + 1]:
        element, text = elements[-1], turn.text[at : tag.start]
        if tag.opens or element.held or element is whole:
            element.has_text |= bool(text.strip()) or tag.call is not None
        if tag.opens:
            if len(elements) > DEEPEST:
                return _BROKEN
            elements.append(_Element(tag.name, _schema_inside(element.schema, tag.name), tag.end))
        elif element is not whole:
            elements.pop()
            elements[-1].take(element.key, *element.value(turn, tag.start))
        at = tag.end
    if whole.held or whole.has_text:
        return whole.value(turn, at)
    return "ok", {}


def _text(text: str, schema: Json) -> tuple[CallStatus, Json]:
    """Read the value of an element without others in it."""
    types = declared_types(schema)
    if not text.strip() and "string" not in types:
        for kind, value in _EMPTY.items():
            if kind in types:
                return "ok", value.copy() if isinstance(value, (list, dict)) else value
    return argument(text, schema)


def _schema_inside(schema: Json, key: str, depth: int = 0) -> Json:
    """Return the schema of what stands under a key, or of an item, where a schema tells."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return None
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        return properties[key]
    for told in ("items", "additionalProperties"):
        if isinstance(schema.get(told), Mapping) and (key == ITEM) == (told == "items"):
            return schema[told]
    for kind in ("anyOf", "oneOf"):
        alternatives = schema.get(kind)
        for alternative in alternatives if isinstance(alternatives, (list, tuple)) else ():
            inside = _schema_inside(alternative, key, depth + 1)
            if inside is not None:
                return inside
    return None


def _partners(tags: Sequence[_Tag], strong: tuple[str, ...]) -> list[int | None]:
    """Return the partner of each tag. A closer of one of these names also ends whatever is open inside it."""
    partners: list[int | None] = [None] * len(tags)
    opened: list[int] = []
    count = dict.fromkeys(strong, 0)
    for k, tag in enumerate(tags):
        if tag.opens:
            opened.append(k)
            count[tag.name] = count.get(tag.name, 0) + 1
        elif count.get(tag.name) and (tag.name in strong or tags[opened[-1]].name == tag.name):
            while tags[opened[-1]].name != tag.name:
                count[tags[opened.pop()].name] -= 1
            partner = opened.pop()
            count[tag.name] -= 1
            partners[k], partners[partner] = partner, k
    return partners


def _tag(match: re.Match[str], call: str) -> _Tag:
    start, end = match.span()
    if match["called"] is not None:
        return _Tag(start, end, call, True, match["called"])
    return _Tag(start, end, match["name"], not match["closes"])


def _next(places: Sequence[int], place: int) -> int | None:
    """Return the first of these places behind one."""
    index = bisect_left(places, place + 1)
    return places[index] if index < len(places) else None


@lru_cache(maxsize=64)
def _pattern(mark: str, call: str) -> re.Pattern[str]:
    named = f'{re.escape(call)} name="(?P<called>[^{ANY_CODE}]*)"'
    return re.compile(f"{mark}<(?:{named}|(?P<closes>/?)(?P<name>[^>{ANY_CODE}]*))>")
