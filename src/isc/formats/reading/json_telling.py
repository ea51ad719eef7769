"""Calls as JSON, told while they are sampled: the text of the arguments is the very text that was sampled.

A call's name is certain where its separator stands, or where its object has said it before its arguments. An object
that says them in another order, or its arguments as text, is told as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from isc._json import decode_json
from isc.formats.reading.coded import ANY_CODE, decoded, encoded
from isc.formats.reading.json_calls import JsonCalls, patterns_of
from isc.formats.reading.json_values import after_space
from isc.formats.reading.telling import LONGEST_HEAD, GrammarTeller, Named, OpenCall, Told
from isc.formats.reading.values import INSIDE_OBJECT, NOT_BEGUN, JsonState, JsonText
from isc.types import ToolSpec

_STRING: Final = r'"(?:[^"\\]|\\.)*+"'
_SCALAR: Final = rf'(?:{_STRING}|[^\s{{}}\[\],"]++)'
_FIELD: Final = rf"{_STRING}\s*+:\s*+{_SCALAR}\s*+"
_BETWEEN: Final = re.compile(r"[\s,;]*+")
_CODE: Final = re.compile(f"[{ANY_CODE}]")


class JsonTeller(GrammarTeller[JsonCalls], frozen=True):
    """Tells calls of a grammar while they are sampled."""

    def told(self, call: OpenCall, piece: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on with a control token's character, or with text that goes on from the text before it."""
        if call.stage == "head":
            return self._head(replace(call, text=call.text + piece), tools)
        if call.stage == "arguments":
            return self._arguments(call, piece)
        if call.stage in ("rest", "whole"):
            return Told(self._past_value(call, piece))
        return Told(self._tail(replace(call, text=call.text + piece)) if call.stage == "tail" else call)

    def _head(self, call: OpenCall, tools: Sequence[ToolSpec]) -> Told:
        """Go on before the arguments. A text that is no head is the head of no call that is as it should be."""
        opener = patterns_of(self.grammar).opener.match(call.text)
        if opener is None:
            return Told(call if len(call.text) <= LONGEST_HEAD else call.lost())
        if self.grammar.separator is None:
            return self._object_head(call, opener.end())
        return self._named_head(call, opener.end(), tools)

    def _named_head(self, call: OpenCall, inside: int, tools: Sequence[ToolSpec]) -> Told:
        """Go on before the separator that follows a name."""
        head = patterns_of(self.grammar).head.match(call.text, inside)
        if head is None:
            between = "".join(encoded(text or "", self.marks) for text in self._before_arguments)
            is_torn = set(_CODE.findall(call.text, inside)) - set(_CODE.findall(between))
            return Told(call.lost() if is_torn or len(call.text) > LONGEST_HEAD else call)
        place = after_space(call.text, head.end())
        if place == len(call.text) and not _CODE.match(call.text, head.end() - 1):
            return Told(call)  # the separator may go on
        name = None if call.is_started else self._named(call, head, tools)
        call = replace(call, is_started=True)
        if place == len(call.text):
            return Told(call if len(call.text) <= LONGEST_HEAD else call.lost(), name)
        if call.text[place] != "{":
            return Told(call.lost(), name)
        return self._arguments(replace(call, stage="arguments", text=""), call.text[place:])._replace(named=name)

    @property
    def _before_arguments(self) -> tuple[str | None, ...]:
        return self.grammar.lead, self.grammar.separator

    def _named(self, call: OpenCall, head: re.Match[str], tools: Sequence[ToolSpec]) -> Named:
        said = decoded(call.text[slice(*head.span("name"))], self.marks)
        identity, name = self.grammar.identity_of(said, head, tools)
        return Named(name or None, identity)

    def _object_head(self, call: OpenCall, inside: int) -> Told:
        """Go on before the arguments of a call's object."""
        start = _BETWEEN.match(call.text, inside).end()  # type: ignore[union-attr]
        scan = JsonText()
        end = start + scan.read(call.text[start:])
        head = _heads(self.grammar).match(call.text, start)
        named = None if head is None or call.is_started else self._said(head)
        if head is not None and (call.is_started or named is not None):
            call = replace(call, is_started=True, in_list=bool(head["list"]))
            place = head.end("opened")
            if place > 0:
                rest = call.text[place - 1 :]
                return self._arguments(replace(call, stage="arguments", text=""), rest)._replace(named=named)
        if scan.is_broken or (not scan.is_open and _CODE.search(call.text, inside)):
            return Told(call.lost(), named)
        if scan.is_whole:
            return Told(self._tail(replace(call, stage="tail", text=call.text[end:])), named)
        if len(call.text) > LONGEST_HEAD:
            return Told(replace(call, stage="whole", text="", json=scan.state), named)
        return Told(call, named)

    def _said(self, head: re.Match[str]) -> Named | None:
        """Return the name and id that an object has said. None where it may say another yet."""
        key = self.grammar.id_key
        said = f'"name": {head["name"]}' if self.grammar.keyed else head["fields"].rstrip().rstrip(",")
        try:
            fields = decode_json(f"{{{decoded(said, self.marks)}}}")
        except ValueError:
            return None
        name, identity = fields.get("name"), fields.get(key) if key else None
        is_said = isinstance(name, str) and name and (not key or isinstance(identity, str))
        return Named(name, identity) if is_said else None

    def _arguments(self, call: OpenCall, piece: str) -> Told:
        """Go on inside the arguments. The closer in an open string is part of it where anything follows."""
        value, said = JsonText(call.json), call.text + piece
        if _CODE.match(piece) and not value.is_open:
            return Told(call.lost())
        waits = self._closer_in(said)
        end = value.read(said[:waits])
        if value.is_broken or len(said) - waits > LONGEST_HEAD:
            return Told(call.lost())
        text = decoded(said[:end], self.marks)
        call = replace(call, text=said[waits:], json=value.state)
        if not value.is_whole:
            return Told(call, None, text)
        if self.grammar.separator is not None:
            return Told(self._tail(replace(call, stage="tail", text=said[end:])), None, text)
        return Told(self._past_value(replace(call, stage="rest", text="", json=INSIDE_OBJECT), said[end:]), None, text)

    def _closer_in(self, said: str) -> int:
        """Return where in a string the closer stands that only white space follows: it may be the end of the call."""
        closer = encoded(self.grammar.closer, self.marks)[-1:]
        place = said.rfind(closer) if _CODE.match(closer) else -1
        return place if place >= 0 and not said[place + 1 :].strip() else len(said)

    def _past_value(self, call: OpenCall, piece: str) -> OpenCall:
        """Go on to the end of the JSON around or in place of the arguments."""
        value = JsonText(call.json)
        if _CODE.match(piece) and not value.is_open:
            return call.lost()
        end = value.read(piece)
        if value.is_broken:
            return call.lost()
        if not value.is_whole:
            return replace(call, json=value.state)
        if call.in_list:
            return self._past_value(replace(call, in_list=False, json=_IN_LIST), piece[end:])
        return self._tail(replace(call, stage="tail", text=piece[end:]))

    def _tail(self, call: OpenCall) -> OpenCall:
        """Go on after the JSON of a call, up to its closer."""
        text, closer = call.text, encoded(self.grammar.closer, self.marks)
        if not closer and self.grammar.separator is not None:
            return replace(call, stage="closed", text="")
        if self.grammar.separator is None:
            place = _BETWEEN.match(text).end()  # type: ignore[union-attr]
            if text[place : place + 1] in ("{", "["):  # another call before the closer
                return self._past_value(replace(call, stage="whole", text="", json=NOT_BEGUN), text[place:])
        if not _CODE.search(text):
            return call if len(text) <= LONGEST_HEAD else call.lost()
        found = patterns_of(self.grammar).closer.match(text, after_space(text, 0)) if closer else None
        is_closed = found is not None and found.end() == len(text) and bool(_CODE.match(closer[-1:]))
        return replace(call, stage="closed", text="") if is_closed else call.lost()


_IN_LIST: Final = JsonState(stack=0b11, expected="comma or end")


@lru_cache(maxsize=256)
def _heads(grammar: JsonCalls) -> re.Pattern[str]:
    r"""Return a pattern for the object of a call up to its arguments: fields that are no objects, and the first brace.

    >>> _heads(JsonCalls("", "", keys=("arguments",))).match('{"name": "f", "arguments": {')["fields"]
    '"name": "f", '
    """
    if grammar.keyed:
        return re.compile(rf"(?P<list>\[\s*+)?\{{\s*+(?P<name>{_STRING})\s*+:\s*+(?:(?P<opened>\{{))?")
    keys = f'"{grammar.keys[0] if grammar.keys else "arguments"}"'  # which counts where others are given too
    in_list = r"(?P<list>\[\s*+)?" if not grammar.keys else "(?P<list>)"
    fields = rf"(?P<fields>(?:(?!{keys}){_FIELD}(?:,\s*+|(?=[,}}]|\Z)))*+)"
    return re.compile(rf"{in_list}\{{\s*+{fields}(?:{keys}\s*+:\s*+(?P<opened>\{{))?")
