"""Calls whose arguments each stand between two tags that hold control tokens, told while they are sampled: DSML, K3.

A tag's control token tells it from text, so a value ends at the first tag that ends one, and each says whether it is a
text. Such a text is told as it comes, any other value at its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from isc._json import json_text
from isc.formats.reading.coded import decoded
from isc.formats.reading.scanners import unquoted
from isc.formats.reading.telling import LONGEST_HEAD, Named, OpenCall, Told, appended, beginnings
from isc.types import ToolSpec


class Key(NamedTuple):
    """The key of an argument, None where its tag says none, and whether its value is a text."""

    key: str | None
    is_text: bool


class PairTeller(Struct, frozen=True):
    """Tells calls while they are sampled, by patterns that match from where a part begins and only where it has ended.

    `head`: what begins a call, with its name, which `name_of` finds in the match. `pair`: what begins a value, `key_of`
    the same. `end`: the tag that ends a value, where what follows is `surely`. `closer`: the tag that ends a call,
    `last` its text. `breaks`: texts after which nobody knows where the value at hand ends. All are coded.
    """

    marks: tuple[str, ...]
    openers: tuple[str, ...]
    lead: str
    head: re.Pattern[str]
    pair: re.Pattern[str]
    end: str
    closer: re.Pattern[str]
    last: str
    name_of: Callable[[re.Match[str]], str | None]
    key_of: Callable[[re.Match[str]], Key]
    surely: str = ""
    breaks: tuple[str, ...] = ()

    def told(self, call: OpenCall, piece: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on with a control token's character, or with text that goes on from the text before it."""
        del tools  # a value says its kind
        text = call.text + piece
        if call.stage == "head":
            return self._head(call, text)
        if call.stage == "pairs":
            return self._between(call, text)
        return self._value(call, text) if call.stage == "value" else Told(call)

    def _head(self, call: OpenCall, text: str) -> Told:
        """Go on before the end of the name."""
        head = self.head.match(text)
        if head is None:
            return _waits(call, text)
        name = self.name_of(head)
        if not name:
            return Told(call.lost())
        begun = replace(call, stage="pairs", is_started=True, name=name)
        return self._between(begun, text[head.end() :])._replace(named=Named(name, None))

    def _between(self, call: OpenCall, text: str) -> Told:
        """Go on before a value begins. What follows a call's closer is left in its text."""
        closer = self.closer.match(text)
        if closer is not None:
            return Told(replace(call, stage="closed", text=text[closer.end() :]))
        pair = self.pair.match(text)
        if pair is None:
            return _waits(call, text)
        key, is_text = self.key_of(pair)
        if key is None:
            return Told(call.lost())
        said = f"{', ' if call.told_pairs else '{'}{json_text(key)}: {chr(34) if is_text else ''}"
        begun = replace(call, stage="value", text="", is_text=is_text, told_pairs=True)
        told = self._value(begun, text[pair.end() :])
        return told._replace(text=said + told.text)

    def _value(self, call: OpenCall, text: str) -> Told:
        """Go on inside a value."""
        end = _ends(self.end, self.surely, self.last, self.breaks).search(text)
        if end is not None and end.lastgroup == "break":
            return Told(call.lost(), None, self._quoted(text[: end.start()]) if call.is_text else "")
        if end is None or end.lastgroup == "half":
            cut = len(text) if end is None else end.start()
            if len(text) - cut > LONGEST_HEAD:
                return Told(call.lost())
            if not call.is_text:
                return Told(replace(call, text=text[cut:], waiting=appended(call.waiting, text[:cut])))
            return Told(replace(call, text=text[cut:]), None, self._quoted(text[:cut]))
        if call.is_text:
            said = self._quoted(text[: end.start()]) + '"'
        else:
            said = json_text(unquoted(decoded("".join((*call.waiting, text[: end.start()])), self.marks)))
        told = self._between(replace(call, stage="pairs", waiting=()), text[end.end() :])
        return told._replace(text=said + told.text)

    def _quoted(self, text: str) -> str:
        """Return a part of a text as JSON spells it inside of quotes."""
        return json_text(decoded(text, self.marks))[1:-1]


def _waits(call: OpenCall, text: str) -> Told:
    return Told(replace(call, text=text) if len(text) <= LONGEST_HEAD else call.lost())


@lru_cache(maxsize=64)
def _ends(end: str, surely: str, last: str, breaks: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for what ends a value, or may end it where nothing follows.

    The last tag of a call is text of a value that has not ended, should anything follow.
    """
    half = "|".join((*(rf"{beginnings(tag)}\Z" for tag in (end, last, *breaks)), rf"{re.escape(last)}\s*+\Z"))
    waits = f"{half}|{re.escape(end)}" if surely else half
    broken = "|".join(map(re.escape, breaks)) or r"(?!)"
    return re.compile(rf"(?P<end>{re.escape(end)}{surely})|(?P<break>{broken})|(?P<half>{waits})")
