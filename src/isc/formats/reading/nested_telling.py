"""Calls of elements in elements, told while they are sampled: the JSON that they amount to.

An argument whose schema says that it is a text is told as it comes; any other at its end, since what its first element
is shows whether it holds a text, a list or an object. Calls share a block, whose closer ends all of them: the first is
told as it comes, the others there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec.structs import replace

from isc._json import json_text
from isc.formats.reading.coded import ANY_CODE, decoded, encoded
from isc.formats.reading.nested_calls import DEEPEST, NestedCalls
from isc.formats.reading.scanners import declared_types
from isc.formats.reading.telling import LONGEST_HEAD, GrammarTeller, Named, OpenCall, Told, appended, beginnings
from isc.types import Json, ToolSpec


class NestedTeller(GrammarTeller[NestedCalls], frozen=True):
    """Tells calls of a grammar while they are sampled."""

    @property
    def _mark(self) -> str:
        return encoded(self.grammar.mark, self.marks)

    def told(self, call: OpenCall, piece: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on with a control token's character, or with text that goes on from the text before it."""
        text = call.text + piece
        if call.stage == "head":
            return self._head(call, text, tools)
        if call.stage == "pairs":
            return self._between(call, text, tools)
        if call.stage == "value":
            return self._value(replace(call, text=""), text, tools)
        return self._loose(call, text) if call.stage == "loose" else Told(call)

    def _head(self, call: OpenCall, text: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on before the end of the name: the last quote and bracket before the next mark."""
        head = _head_pattern(self.grammar, self._mark).match(text)
        if head is None:
            return _waits(call, text)
        if not head["name"] or head["more"].strip():
            return Told(call.lost())
        begun = replace(call, stage="pairs", is_started=True, name=head["name"])
        return self._between(begun, text[head.end() :], tools)._replace(named=Named(head["name"], None))

    def _between(self, call: OpenCall, text: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on before an element, or the end of the call."""
        mark, said = self._mark, text.lstrip()
        tag = _tag_pattern(mark).match(said)
        if tag is None:
            return _waits(call, text)
        key = tag["name"]
        if key == f"/{self.grammar.call}":
            return self._loose(replace(call, stage="loose"), said[tag.end() :])
        is_key = key and key[0] != "/" and key not in (self.grammar.block, self.grammar.call)
        if not is_key or key.startswith(f"{self.grammar.call} name="):
            return Told(call.lost())
        is_text = declared_types(_schema(call.name, key, tools)) == {"string"}
        before = f"{', ' if call.told_pairs else '{'}{json_text(key)}: {chr(34) if is_text else ''}"
        begun = replace(call, stage="value", text="", key=key, is_text=is_text, told_pairs=True, opened=())
        told = self._value(begun, said[tag.end() :], tools)
        return told._replace(text=before + told.text)

    def _value(self, call: OpenCall, text: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on inside an element. Elements of its own name may be inside."""
        for tag in _element_pattern(self._mark, call.key).finditer(text):
            if tag.lastgroup == "half":
                return self._goes_on(call, text[: tag.start()], text[tag.start() :])
            if tag.lastgroup == "end" and not call.opened:
                return self._ended(call, text[: tag.start()], text[tag.end() :], tools)
            call = replace(call, opened=call.opened[1:] if tag.lastgroup == "end" else (*call.opened, call.key))
            if len(call.opened) > DEEPEST:
                return Told(call.lost())
        return self._goes_on(call, text, "")

    def _goes_on(self, call: OpenCall, value: str, waits: str) -> Told:
        """Return a call whose element holds this much more; what waits may be a tag of its name."""
        if call.is_text:
            return Told(replace(call, text=waits), None, self._quoted(value))
        return Told(replace(call, text=waits, waiting=appended(call.waiting, value)))

    def _ended(self, call: OpenCall, value: str, rest: str, tools: Sequence[ToolSpec]) -> Told:
        """Return a call whose element has ended."""
        if call.is_text:
            said = self._quoted(value) + '"'
        else:
            inside = "".join((*call.waiting, value))
            try:
                said = json_text(self.grammar.argument((call.name, call.key), inside, self.marks, tools))
            except LookupError:
                return Told(call.lost())
        told = self._between(replace(call, stage="pairs", waiting=()), rest, tools)
        return told._replace(text=said + told.text)

    def _loose(self, call: OpenCall, text: str) -> Told:
        """Go on after the first call, up to the end of its block."""
        end = f"{self._mark}</{self.grammar.block}>"
        if end in text:
            return Told(replace(call, stage="closed", text=""))
        return Told(replace(call, text=text[-len(end) :]))

    def _quoted(self, text: str) -> str:
        """Return a part of a text as JSON spells it inside of quotes."""
        return json_text(decoded(text, self.marks))[1:-1]


def _waits(call: OpenCall, text: str) -> Told:
    return Told(replace(call, text=text) if len(text) <= LONGEST_HEAD else call.lost())


def _schema(name: str, key: str, tools: Sequence[ToolSpec]) -> Json:
    declared = next((tool.parameters.get("properties") for tool in tools if tool.name == name), None)
    return declared.get(key) if isinstance(declared, Mapping) else None


@lru_cache(maxsize=64)
def _head_pattern(grammar: NestedCalls, mark: str) -> re.Pattern[str]:
    """Return a pattern for what begins a block and its first call, where the next mark stands behind it."""
    block, name = rf"{mark}<{grammar.block}>\s*+", f'{mark}<{grammar.call} name="(?P<name>[^{ANY_CODE}]*)">'
    return re.compile(f"{block}{name}(?P<more>[^{ANY_CODE}]*+)(?=[{ANY_CODE}])")


@lru_cache(maxsize=64)
def _tag_pattern(mark: str) -> re.Pattern[str]:
    return re.compile(f"{mark}<(?P<name>[^>{ANY_CODE}]*+)>")


@lru_cache(maxsize=1024)
def _element_pattern(mark: str, key: str) -> re.Pattern[str]:
    """Return a pattern for the tags of one name, or what may become one where nothing follows."""
    opener, closer = f"{mark}<{key}>", f"{mark}</{key}>"
    half = rf"(?:{beginnings(opener)}|{beginnings(closer)})\Z"
    return re.compile(f"(?P<end>{re.escape(closer)})|(?P<again>{re.escape(opener)})|(?P<half>{half})")
