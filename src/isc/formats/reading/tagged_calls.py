"""Calls as a name and pairs of key and value between texts that quote nothing: XML, `<arg_key>`, `<invoke>`, DSML.

Every such format is the same sentence with other words: opener, name, then key and value between three texts for each
argument, closer. Tags count by where they stand:

- A control token that closes a value ends it. A tag that is text ends it where another pair or the call's close
  follows; any marker before that is text of the value, control tokens too.
- A call ends at the first closer, or unclosed at the next opener, that no value holds. It is then read as it is
  rendered, to the last line break; if it is not rendered so, with white space around tags as it may be.
- A value that holds the head of another pair, and no end of it, lacks its own end: that call is `malformed_structure`.

What cannot be told apart is a key with a tag in it, and a value that itself has what ends one and what follows that:
there the reading that has more pairs is taken.
"""

from __future__ import annotations

import ast
import os.path
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from isc._json import json_text
from isc.formats.reading.coded import ANY_CODE, Coded, encoded, marker_pattern
from isc.formats.reading.grammars import Attempt, Begins, last_mark, text_begins
from isc.formats.reading.scanners import CallReading, argument, unquoted
from isc.types import CallStatus, Json, Span, ToolSpec

_DEEPEST: Final = 100
_CODE: Final = re.compile(f"[{ANY_CODE}]")
_TAG_END: Final = re.compile(rf"(?<=[>{ANY_CODE}])(?=[<{ANY_CODE}])")
_FIRST_CHARACTER: Final = re.compile(rf"\\[^\w\s]|[<{ANY_CODE}\w]")
_FIRST_TAG: Final = re.compile(rf"<[^<>]+>|[{ANY_CODE}]")
_LAST_TAG: Final = re.compile(rf"(?:<[^<>]+>|[{ANY_CODE}])\Z")
_WORDS: Final = {"True": "true", "False": "false", "None": "null"}
_BROKEN: Final[CallReading] = ("malformed_structure", None, None)


class TaggedCalls(Struct, frozen=True, cache_hash=True):
    """`opener` name `head` then for each argument `before` key `middle` value `after`, then `closer`.

    `middle_of_text`: what stands between a key and a value that is text, where other values have another `middle`.
    `python`: whether values are spelled as Python does (`None`, `{'a': 1}`), not as JSON. `block`: the control tokens
    around calls in a row. `marked`: whether the control tokens that opener and closer hold make an attempt of whatever
    stands between them; the others need all of the opener.
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
    block: tuple[str, str] | None = None
    marked: bool = False

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "tagged"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the special that the opener begins with."""
        first = self.block[0] if self.block is not None else self.opener
        return tuple(mark for mark in self.marks if first.startswith(mark))

    @property
    def begins(self) -> Begins:
        """Return what an opener begins with, and what follows its control token, which may be missing."""
        marker = self.opener if self.block is None else self.block[0]
        texts = text_begins(marker, self.marks)
        for mark in self.enders if self.marked and self.block is None else ():
            texts += text_begins(marker.removeprefix(mark), self.marks)
        closers = last_mark(self.closer if self.block is None else self.block[1], self.marks)
        return Begins(texts, anywhere=not texts and not self.enders, closers=closers)

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""
        patterns, text = tag_patterns(self), turn.text
        attempts: list[Attempt] = []
        begins = _begin(text, 0, patterns)
        extents = _Extents(text, begins[1], patterns) if begins else None
        while begins is not None and extents is not None:
            extent = extents.of(begins[1])
            block = self._block(turn, begins, extent, tools)
            if begins[0] < begins[1] or block[0].reading[0] != "malformed_structure":
                attempts += block
            begins = _begin(text, max(extent.end, begins[1]), patterns)
        return attempts

    def _block(self, turn: Coded, begins: Span, extent: _Extent, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Read the call between two markers, or the calls of a block. What cannot be read is one attempt."""
        patterns, inside = tag_patterns(self), (begins[1], extent.stop)
        calls = list(
            _as_rendered(turn.text, inside, patterns)
            or _as_written(turn.text, inside, patterns, is_closed=extent.closed)
        )
        if self.block is None or not calls:
            reading = self._reading(turn, calls[0], tools) if calls else _BROKEN
            return [Attempt(begins[0], extent.end, inside, reading, closed=extent.closed)]
        edges = [begins[0], *(call.end for call in calls[:-1]), extent.end]
        return [
            Attempt(start, end, call.own, self._reading(turn, call, tools), closed=extent.closed, own=call.own)
            for call, start, end in zip(calls, edges, edges[1:], strict=False)
        ]

    def _reading(self, turn: Coded, call: _Call, tools: Sequence[ToolSpec]) -> CallReading:
        name = turn.spelled(*call.name) if call.name else None
        if call.pairs is None:
            return "malformed_structure", name and (name.strip() or None), None
        pairs = [one for pair in call.pairs for one in _ended(turn.text, pair, tag_patterns(self))]
        declared = next((tool.parameters.get("properties") for tool in tools if tool.name == name), None)
        properties = declared if isinstance(declared, Mapping) else {}
        arguments: dict[str, Json] = {}
        statuses: set[CallStatus] = set()
        for pair in pairs:
            key, text = turn.spelled(*pair.key), turn.spelled(*pair.value)
            status, value = ("ok", text) if pair.is_text else self.value_of(text, properties.get(key))
            if key in arguments:
                return "malformed_structure", name or None, None
            arguments[key] = value
            statuses.add(status)
        if call.is_torn or len(pairs) > len(call.pairs):
            return "malformed_structure", name or None, arguments
        if not name:
            return "missing_name", None, arguments
        return "invalid_json" if "invalid_json" in statuses else "ok", name, arguments

    def value_of(self, text: str, schema: Json) -> tuple[CallStatus, Json]:
        """Read a value under its schema. In a format of Python's literals, one of those is read as its value."""
        if self.middle_of_text is not None:
            value = unquoted(text)
            return ("invalid_json", text) if isinstance(value, str) else ("ok", value)
        status, value = argument(text, schema)
        if self.python and isinstance(value, str):
            literal = unquoted(_literal(text), schema)
            return (status, value) if isinstance(literal, str) else ("ok", literal)
        return status, value


def _literal(text: str) -> str:
    """Return the JSON text of a Python literal other than a string or a number, or other text as it is."""
    if text[:1] not in ("[", "{") or max(text.count(bracket) for bracket in "[{(") > _DEEPEST:
        return _WORDS.get(text, text)
    try:
        value: Json = ast.literal_eval(text)
        return json_text(value) if isinstance(value, (dict, list)) else text
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def _begin(text: str, position: int, patterns: TagPatterns) -> Span | None:
    """Return the place of the next opener: an empty one of a call whose opener is missing, but not its closer."""
    start = patterns.start.search(text, position)
    if patterns.bare is not None:
        close = patterns.close.search(text, position, start.start() if start else len(text))
        bare = patterns.bare.search(text, position, close.start()) if close else None
        if bare is not None:
            return bare.start(), bare.start()
    return start.span() if start else None


class _Pair(NamedTuple):
    """The places of a key and its value."""

    key: Span
    value: Span
    is_text: bool


class _Call(NamedTuple):
    """A call in a text: its place, that of its name, its pairs if they can be made out.

    `is_torn`: whether the last value lacks its end, and ends with the call.
    """

    own: Span
    name: Span | None
    pairs: list[_Pair] | None
    is_torn: bool = False

    @property
    def end(self) -> int:
        """Return where the call ends."""
        return self.own[1]


def _ended(text: str, pair: _Pair, patterns: TagPatterns) -> Iterator[_Pair]:
    """Yield a pair, or the pairs that its value holds if that has the heads of others and no end of any."""
    position, stop = pair.value
    head = patterns.another.search(text, position, stop) if text.find(patterns.tag, position, stop) >= 0 else None
    if head is None or patterns.after.search(text, position, stop):
        yield pair
        return
    while head is not None:
        yield pair._replace(value=(position, _without_space(text, position, head.start())))
        named = patterns.loose.pair.match(text, head.start(), stop)
        if named is None:
            return
        position = named.end()
        pair = _Pair(named.span("key"), (position, stop), named.lastgroup == "text")
        head = patterns.another.search(text, position, stop)
    yield pair


def _without_space(text: str, start: int, stop: int) -> int:
    """Return where a value that lacks its end ends: before white space."""
    return start + len(text[start:stop].rstrip())


class _Extent(NamedTuple):
    """Where a call's inside stops, where the call ends, whether by its closer."""

    stop: int
    end: int
    closed: bool


class _Extents:
    """Where calls end in a text. Its tags are looked up once, for all calls."""

    __slots__ = ("_events", "_last_shut", "_patterns", "_places", "_starts", "_sure", "_text")

    def __init__(self, text: str, position: int, patterns: TagPatterns) -> None:
        self._text, self._patterns = text, patterns
        self._events = [(event.lastgroup, *event.span()) for event in patterns.event.finditer(text, position)]
        self._places = [start for _, start, _ in self._events]
        self._last_shut = max((start for kind, start, _ in self._events if kind == "shut"), default=-1)
        self._starts = [start for kind, start, _ in self._events if kind == "again"]
        sure = patterns.sure
        self._sure = [] if sure is None else [match.start() for match in sure.finditer(text, position)]

    def of(self, inside: int) -> _Extent:
        """Return the extent of the call whose inside begins here."""
        is_open, first = False, None
        for number in range(bisect_left(self._places, inside), len(self._events)):
            kind, start, end = self._events[number]
            if kind == "open":
                is_open = True
                if start > self._last_shut:
                    break
            elif kind == "shut":
                is_open = is_open and self._goes_on(start)
            elif not is_open:
                return _extent(kind, start, end)
            first = number if first is None and kind in ("close", "again") else first
        return self._left_open(inside, first) if is_open else _Extent(len(self._text), len(self._text), closed=False)

    def _goes_on(self, start: int) -> bool:
        """Return whether a value goes on past a tag that may end it: where all tags are text, to a surer one."""
        if self._patterns.sure is None:
            return False
        later, opener = _next(self._sure, start), _next(self._starts, start)
        return later is not None and later != start and (opener is None or later < opener)

    def _left_open(self, inside: int, first: int | None) -> _Extent:
        """Return the extent of a call with a value that nothing ends.

        It holds all that follows but a closer that is last. Where all tags are text, the first closer or opener ends
        the call: no token tells that it stands in a value.
        """
        text = self._text
        if self._patterns.sure is not None:
            if first is None:
                first = next((k for k in range(bisect_left(self._places, inside), len(self._events))
                              if self._events[k][0] in ("close", "again")), None)  # fmt: skip
            return _Extent(len(text), len(text), closed=False) if first is None else _extent(*self._events[first])
        last = self._events[-1] if self._events else None
        if last is not None and last[0] == "close" and last[1] >= inside and not text[last[2] :].strip():
            return _Extent(last[1], len(text), closed=True)
        return _Extent(len(text), len(text), closed=False)


def _extent(kind: str | None, start: int, end: int) -> _Extent:
    closed = kind == "close"
    return _Extent(start, end if closed else start, closed)


def _next(places: Sequence[int], start: int) -> int | None:
    index = bisect_left(places, start)
    return places[index] if index < len(places) else None


def _as_rendered(text: str, inside: Span, patterns: TagPatterns) -> list[_Call] | None:
    """Read calls exactly as they are rendered. Then every tag but those of their own lines is somebody's text."""
    exact, (position, stop) = patterns.exact, inside
    gap = exact.gap.match(text, position, stop) if exact is not None else None
    if exact is None or gap is None:
        return None
    calls: list[_Call] = []
    position = gap.end()
    while position < stop:
        head = exact.head.match(text, position, stop)
        end, pairs = _pairs(text, head.end(), stop, exact) if head is not None else (stop, [])
        closer = exact.closer.match(text, end, stop)
        if head is None or closer is None:
            return None
        calls.append(_Call((position, closer.end("tag")), head.span("name"), pairs))
        position = closer.end()
    return calls


def _as_written(text: str, inside: Span, patterns: TagPatterns, *, is_closed: bool) -> Iterator[_Call]:
    """Yield calls whose white space is not where a render has it. In a block each opener begins one, up to the next."""
    loose, (start, stop) = patterns.loose, inside
    starts = [start]
    if loose.opener is not None:
        starts = [opener.start() for opener in loose.opener.finditer(text, start, stop)]
    is_clean = not starts or not text[start : starts[0]].strip()
    for begin, end in zip(starts, [*starts[1:], stop], strict=False):
        yield _written(text, (begin, end), patterns, is_clean=is_clean, is_closed=is_closed)


def _written(text: str, inside: Span, patterns: TagPatterns, *, is_clean: bool, is_closed: bool) -> _Call:
    """Read one call. Its last closer ends it; where it lacks that, or holds anything else, it has no pairs."""
    loose, (start, stop) = patterns.loose, inside
    closers = [closer.span() for closer in loose.closer.finditer(text, start, stop)] or [(stop, stop)]
    close, after = closers[-1]
    head = loose.head.match(text, start, close)
    pairs: list[_Pair] | None = None
    if head is not None and is_clean and (close < after or not loose.needs_closer) and not text[after:stop].strip():
        position, pairs = _pairs(text, head.end(), close, loose)
        torn = loose.pair.match(text, position, close)
        if torn is not None and is_closed and not patterns.edge.search(text, torn.end(), close):
            value = torn.end(), _without_space(text, torn.end(), close)
            pairs.append(_Pair(torn.span("key"), value, torn.lastgroup == "text"))
            return _Call((start, after), head.span("name"), pairs, is_torn=True)
        pairs = None if text[position:close].strip() else pairs
    named = head or loose.name.match(text, start, stop)
    return _Call((start, after), named.span("name") if named else None, pairs)


def _pairs(text: str, position: int, stop: int, words: _Words) -> tuple[int, list[_Pair]]:
    """Read pairs from here on, and return where they end."""
    pairs: list[_Pair] = []
    while pair := words.pair.match(text, position, stop):
        end = words.value_end.search(text, pair.end(), stop)
        if end is None:
            break
        is_text = pair.lastgroup == "text"
        pairs.append(_Pair(pair.span("key"), (pair.end(), end.start()), is_text))
        position = end.end()
    return position, pairs


class _Words(Struct, frozen=True):
    """Patterns for the parts of a call, either exactly as rendered or with any white space around tags."""

    gap: re.Pattern[str]
    opener: re.Pattern[str] | None
    head: re.Pattern[str]
    name: re.Pattern[str]
    pair: re.Pattern[str]
    value_end: re.Pattern[str]
    closer: re.Pattern[str]
    needs_closer: bool


class TagPatterns(Struct, frozen=True):
    """`bare`: what a call without its opener begins with. `event`: what opens and shuts values, begins and ends calls.

    `sure`: what surely shuts a value, in text. `another`: the head of a pair where one may stand, which begins with
    `tag`. `after`: the end of a value, wherever. `edge`: what begins or ends a call.
    """

    start: re.Pattern[str]
    close: re.Pattern[str]
    bare: re.Pattern[str] | None
    event: re.Pattern[str]
    sure: re.Pattern[str] | None
    tag: str
    edge: re.Pattern[str]
    another: re.Pattern[str]
    after: re.Pattern[str]
    loose: _Words
    exact: _Words | None


class Tags(NamedTuple):
    """A grammar's markers, coded: what begins a call or a block, what is around the name, what ends the call."""

    start: str
    end: str
    gap: str
    lead: str
    head: str
    before: str
    middle: str
    text: str | None
    after: str
    tail: str
    is_block: bool


@lru_cache(maxsize=256)
def tags_of(grammar: TaggedCalls) -> Tags:
    """Return the markers of a grammar, coded."""

    def code(text: str) -> str:
        return encoded(text, grammar.marks)

    opener, closer = code(grammar.opener), code(grammar.closer)
    start, gap, lead, tail, end = opener, "", "", "", closer
    if grammar.block is not None:
        first, end = map(code, grammar.block)
        start, gap, lead, tail = first.rstrip(), first[len(first.rstrip()) :], opener, closer
    elif grammar.marked and _CODE.match(opener) and _CODE.match(closer[-1:]):
        start, lead, tail, end = opener[0], opener[1:], closer[:-1], closer[-1]
    text = None if grammar.middle_of_text is None else code(grammar.middle_of_text)
    head, before, middle, after = map(code, (grammar.head, grammar.before, grammar.middle, grammar.after))
    return Tags(start, end, gap, lead, head, before, middle, text, after, tail, grammar.block is not None)


@lru_cache(maxsize=256)
def tag_patterns(grammar: TaggedCalls) -> TagPatterns:
    """Return the patterns of a grammar's markers."""
    words = tags_of(grammar)
    start, end, before, after = (_loose(part.strip()) for part in (words.start, words.end, words.before, words.after))
    pair = _pair_pattern(words, exact=False)
    tag = _LAST_TAG.search(words.middle.rstrip())
    following = before if tag is None else re.sub(r"\?P<\w+>", "?:", pair)
    is_text = not (_CODE.search(words.end) or _CODE.search(words.after))
    others = [following, end, *((f"[{ANY_CODE}]", r"\Z") if not is_text else ())]
    others += [_loose(part.strip()) for part in (words.tail, words.lead if words.is_block else "") if part.strip()]
    shut = after if _CODE.search(words.after) else rf"{after}(?=\s*+(?:{'|'.join(others)}))"
    opens = before if tag is None else _loose(tag.group())
    middles = "|".join(_loose(middle.strip()) for middle in (words.middle, words.text) if middle is not None)
    another = following if tag is not None else rf"(?<=\n){before}[^<>\n{ANY_CODE}]+?(?:{middles})"
    sure = rf"{after}(?=\s*+(?:{following}|{end}\s*+(?:{start}|\Z)))"
    return TagPatterns(
        re.compile(start),
        re.compile(end),
        re.compile(rf"(?m:^)[ \t]*+{_loose(words.lead.strip())}")
        if words.lead.strip() and not words.is_block
        else None,
        _either({"open": opens, "shut": shut, "close": end, "again": start}),
        re.compile(sure) if is_text else None,
        _TAG_END.sub(" ", words.before.strip()).split()[0],
        re.compile(f"{start}|{end}"),
        re.compile(another),
        re.compile(after),
        _loose_words(words, following),
        None if is_text or _CODE.search(words.after) else _exact_words(words),
    )


def _either(patterns: Mapping[str, str]) -> re.Pattern[str]:
    """Return a pattern for any of these, in groups of their names. A set of first characters makes a search fast."""
    firsts = [match[0] for pattern in patterns.values() if (match := _FIRST_CHARACTER.match(pattern))]
    if len(firsts) < len(patterns):
        return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in patterns.items()))
    pairs = zip(firsts, patterns.items(), strict=True)
    parts = [f"(?P<{name}>(?<={first}){pattern[len(first) :]})" for first, (name, pattern) in pairs]
    return re.compile(f"[{''.join(dict.fromkeys(firsts))}](?:{'|'.join(parts)})")


def _loose_words(words: Tags, following: str) -> _Words:
    head, lead, tail, before = (_loose(part.strip()) for part in (words.head, words.lead, words.tail, words.before))
    after = _after_pattern(words.after)
    ends = "" if _CODE.search(words.after) else rf"(?=\s*+(?:{following}|\Z))"
    stops = "|".join(part for part in (head, before, tail, _loose(words.after.strip())) if part)
    name = rf"(?P<name>(?:(?!{stops})[^\n{ANY_CODE}])*?)"
    whole = rf"\s*+{lead}\s*+{name}\s*+" + (head or rf"(?=\s*+(?:{before}|\Z))")
    return _Words(
        re.compile(""),
        re.compile(lead) if words.is_block else None,
        re.compile(whole),
        re.compile(whole if head else rf"\s*+{lead}(?P<name>[^\n{ANY_CODE}]*+)"),
        re.compile(rf"\s*+{_pair_pattern(words, exact=False)}"),
        re.compile(after + ends),
        re.compile(tail or r"(?!)"),
        bool(tail),
    )


def _exact_words(words: Tags) -> _Words:
    gap, lead, head, before, after = map(re.escape, (words.gap, words.lead, words.head, words.before, words.after))
    tail = words.tail.rstrip()
    next_call = rf"(?=\Z|{lead})" if words.is_block else r"\Z"
    closer = f"(?P<tag>{re.escape(tail)}){re.escape(words.tail[len(tail) :])}{next_call}"
    name = rf"(?P<name>(?:(?!{_stops(words, words.head)})[^{ANY_CODE}])*+)"
    return _Words(
        re.compile(gap),
        None,
        re.compile(f"{lead}{name}{head}"),
        re.compile("(?!)"),
        re.compile(_pair_pattern(words, exact=True)),
        re.compile(f"{after}(?={before}|{closer.replace('?P<tag>', '?:')})"),
        re.compile(closer),
        needs_closer=True,
    )


def _stops(words: Tags, end: str) -> str:
    """Return a pattern for what no name or key holds: its end, and tags unless it is in quotes."""
    tags = () if end.lstrip().startswith('"') else (words.before.strip(), words.after.strip(), words.tail.strip())
    return "|".join([re.escape(end), *(_loose(tag) for tag in tags if tag)])


def _pair_pattern(words: Tags, *, exact: bool) -> str:
    """Return a pattern for `before` key `middle`, the end of which is where the value begins."""
    before, middle, stop = re.escape(words.before), re.escape(words.middle), words.middle
    if not exact:
        before, middle = _loose(words.before.strip()), _middle_pattern(words.middle)
        first = _FIRST_TAG.match(words.middle)
        stop = first.group() if first else words.middle.strip()
    if words.text is not None:
        middle = f"(?:(?P<text>{_middle_pattern(words.text)})|{middle})"
        stop = os.path.commonprefix([words.text, words.middle]) or stop
    return rf"{before}(?P<key>(?:(?!{_stops(words, stop)})[^{ANY_CODE}])*+){middle}"


def _loose(coded: str) -> str:
    """Return a pattern for a coded marker, any white space between its tags."""
    return marker_pattern(_TAG_END.sub(" ", coded), ())


def _middle_pattern(middle: str) -> str:
    """Return a pattern for a marker that a value follows: white space at its end is the value's, but for its own."""
    tags = middle.rstrip()
    blank = middle[len(tags) :]
    return _loose(tags) + (f"(?:{re.escape(blank)})?+" if blank else "")


def _after_pattern(after: str) -> str:
    """Return a pattern for a marker that stands after a value, likewise."""
    tags = after.lstrip()
    blank = after[: len(after) - len(tags)]
    return (f"(?:{re.escape(blank)})?+" if blank else "") + _loose(tags.rstrip()) + r"\s*+"
