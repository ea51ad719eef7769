"""Calls of tags, told while they are sampled: the JSON that the pairs of key and value amount to.

A value whose schema says that it is a text, or whose tag does, is told as it comes; any other at its end, since its
kind is known there. What follows a value's tag tells whether that ends it: until then the tag waits. A call that is not
spelled as it is rendered is told at its closer, as it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec.structs import replace

from isc._json import json_text
from isc.formats.reading.coded import ANY_CODE, decoded
from isc.formats.reading.scanners import declared_types
from isc.formats.reading.tagged_calls import TaggedCalls, tag_patterns, tags_of
from isc.formats.reading.telling import LONGEST_HEAD, GrammarTeller, Named, OpenCall, Told, appended, beginnings
from isc.types import Json, ToolSpec

_CODE: Final = re.compile(f"[{ANY_CODE}]")


class _Key(NamedTuple):
    """The key of a value and where that begins."""

    key: str
    start: int
    is_text: bool


class TaggedTeller(GrammarTeller[TaggedCalls], frozen=True):
    """Tells calls of a grammar while they are sampled."""

    def told(self, call: OpenCall, piece: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on with a control token's character, or with text that goes on from the text before it."""
        text = call.text + piece
        if call.stage == "value":
            return self._value(replace(call, text=""), text, tools)
        if call.stage == "loose" or len(text) > LONGEST_HEAD:
            closes = piece == tags_of(self.grammar).end[-1:]
            return Told(replace(call, stage="closed" if closes else "loose", text=""))
        if call.stage == "head":
            return self._head(call, text, tools)
        return self._between(call, text, tools) if call.stage == "pairs" else Told(call)

    def _head(self, call: OpenCall, text: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on before the end of the name."""
        patterns = tag_patterns(self.grammar)
        start = patterns.start.match(text)
        if start is None:
            return Told(replace(call, text=text))
        inside = start.end()
        loose = patterns.loose.head.match(text, inside)
        name = decoded(loose["name"], self.marks) if loose is not None else ""
        end = loose.end() if loose is not None else inside
        if patterns.exact is not None:
            gap = patterns.exact.gap.match(text, inside)
            exact = patterns.exact.head.match(text, gap.end()) if gap is not None else None
            if loose is None or exact is None:
                return self._waits(call, text, inside)
            name, end = (name, exact.end()) if exact["name"] == loose["name"] else ("", end)
        elif loose is None or end == len(text):
            return self._waits(call, text, inside)
        if not name or name != name.strip():
            return Told(replace(call, stage="loose", text=""))
        begun = replace(call, stage="pairs", is_started=True, name=name)
        return self._between(begun, text[end:], tools)._replace(named=Named(name, None))

    def _waits(self, call: OpenCall, text: str, start: int = 0) -> Told:
        """Return a call of which a part may go on. A mark that is none of the part's ends it."""
        tags = tags_of(self.grammar)
        own = set(_CODE.findall(tags.lead + tags.head + tags.before + tags.middle + (tags.text or "")))
        others = set(_CODE.findall(text, start)) - own
        if not others:
            return Told(replace(call, text=text))
        closes = text.endswith(tags.end[-1:])
        return Told(replace(call, stage="closed" if closes else "loose", text=""))

    def _between(self, call: OpenCall, text: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on before a value begins."""
        pair = self._key(text)
        if pair is None:
            return self._waits(call, text)
        key = decoded(pair.key, self.marks)
        is_text = pair.is_text or declared_types(self._schema(call, key, tools)) == {"string"}
        if self.grammar.middle_of_text is not None:
            is_text = pair.is_text
        said = f"{', ' if call.told_pairs else '{'}{json_text(key)}: {chr(34) if is_text else ''}"
        begun = replace(call, stage="value", text="", key=key, is_text=is_text, told_pairs=True)
        told = self._value(begun, text[pair.start :], tools)
        return told._replace(text=said + told.text)

    def _key(self, text: str) -> _Key | None:
        """Return the key that a text begins with, where its value has begun whatever follows."""
        patterns = tag_patterns(self.grammar)
        loose = patterns.loose.pair.match(text)
        exact = patterns.exact.pair.match(text) if patterns.exact is not None else loose
        if loose is None or exact is None or exact["key"] != loose["key"] or exact.end() != loose.end():
            return None
        return _Key(exact["key"], exact.end(), exact.lastgroup == "text")

    def _schema(self, call: OpenCall, key: str, tools: Sequence[ToolSpec]) -> Json:
        declared = next((tool.parameters.get("properties") for tool in tools if tool.name == call.name), None)
        return declared.get(key) if isinstance(declared, Mapping) else None

    def _value(self, call: OpenCall, text: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on inside a value."""
        end = _ends(self.grammar).search(text)
        if end is None or end.lastgroup == "half":
            cut = len(text) if end is None else end.start()
            if len(text) - cut > LONGEST_HEAD:
                return self._left(call, text[:cut], text)
            if not call.is_text:
                return Told(replace(call, text=text[cut:], waiting=appended(call.waiting, text[:cut])))
            return Told(replace(call, text=text[cut:]), None, self._quoted(text[:cut]))
        if end.lastgroup != "pair":
            return self._left(call, text[: end.start()], text)
        if call.is_text:
            said = self._quoted(text[: end.start()]) + '"'
        else:
            raw = decoded("".join((*call.waiting, text[: end.start()])), self.marks)
            said = json_text(self.grammar.value_of(raw, self._schema(call, call.key, tools))[1])
        told = self._between(replace(call, stage="pairs", waiting=(), text=""), text[end.end() :], tools)
        return told._replace(text=said + told.text)

    def _left(self, call: OpenCall, value: str, text: str) -> Told:
        """Return a call whose value may have ended. Told is the value before, the rest at the closer of the call."""
        closes = text.endswith(tags_of(self.grammar).end[-1:])
        left = replace(call, stage="closed" if closes else "loose", text="", waiting=())
        return Told(left, None, self._quoted(value) if call.is_text else "")

    def _quoted(self, text: str) -> str:
        """Return a part of a text as JSON spells it inside of quotes."""
        return json_text(decoded(text, self.marks))[1:-1]


def is_told(grammar: TaggedCalls) -> bool:
    """Return whether calls can be told: control tokens begin and end them, and no other tag, or values too."""
    tags = tags_of(grammar)
    after = tags.after.strip()
    is_marked = bool(_CODE.fullmatch(after)) or tag_patterns(grammar).exact is not None
    return bool(grammar.enders) and bool(_CODE.match(tags.end[-1:])) and is_marked


@lru_cache(maxsize=256)
def _ends(grammar: TaggedCalls) -> re.Pattern[str]:
    """Return a pattern for what ends a value: `pair` for certain, `left` if the call is read so, `half` if more comes.

    A closer of the call in an open value is text of it, should anything follow.
    """
    tags = tags_of(grammar)
    after, closer = tags.after.strip(), re.escape(tags.end[-1:])
    blank = tags.after[: len(tags.after) - len(tags.after.lstrip())]
    before = f"(?:{re.escape(blank)})?+" if blank else ""
    half = rf"{closer}\s*+\Z" + (rf"|{beginnings(blank)}\Z" if blank else "")
    if _CODE.match(after):
        return re.compile(rf"(?P<pair>{before}{re.escape(after)})|(?P<half>{half})")
    pair, tail, escaped = tags.before, tags.tail.strip(), re.escape(after)
    more = "|".join(rf"{beginnings(tag)}\Z" for tag in dict.fromkeys((pair.strip(), tail)))
    half += rf"|{before}{escaped}\s*+(?:\Z|{more})|{before}{beginnings(after)}\Z"
    left = rf"{before}{escaped}\s*+(?:{re.escape(tail)}|{re.escape(pair.strip())}|[{ANY_CODE}])"
    return re.compile(rf"(?P<pair>{re.escape(tags.after)}(?={re.escape(pair)}))|(?P<left>{left})|(?P<half>{half})")
