"""Gemma's calls, told while they are sampled: the JSON that their objects amount to.

A text between quotes is told as it comes, so are brackets and keys; any other value is told at its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from isc._json import json_text
from isc.formats.reading.coded import ANY_CODE, decoded, encoded
from isc.formats.reading.gemma_calls import DEEPEST, HEAD, KEY, WORD, GemmaCalls, gemma_patterns, past_space, scalar
from isc.formats.reading.telling import LONGEST_HEAD, GrammarTeller, Named, OpenCall, Told
from isc.types import ToolSpec

_NO_KEY: Final = re.compile(rf"[{{}}\[\],{ANY_CODE}]")
_ENDS: Final = {"}": "{", "]": "["}


class _Moved(NamedTuple):
    """A call that went on to a place of the text, and the JSON that was said there."""

    call: OpenCall
    place: int
    said: str = ""


class _Quote(NamedTuple):
    """The character of the quote, and the control tokens by theirs."""

    code: str
    marks: tuple[str, ...]

    def said(self, text: str) -> str:
        """Return a part of a text as JSON spells it inside of quotes."""
        return json_text(decoded(text, self.marks))[1:-1]


class GemmaTeller(GrammarTeller[GemmaCalls], frozen=True):
    """Tells calls of a grammar while they are sampled."""

    def told(self, call: OpenCall, piece: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on with a control token's character, or with text that goes on from the text before it."""
        del tools  # values have types of their own
        text = call.text + piece
        if call.stage == "head":
            return self._head(call, text)
        if call.stage == "arguments":
            return self._arguments(replace(call, text=""), text)
        return self._tail(call, text) if call.stage == "tail" else Told(call)

    def _head(self, call: OpenCall, text: str) -> Told:
        """Go on before the brace that follows the name."""
        opener = gemma_patterns(self.grammar)[0].match(text)
        head = HEAD.match(text, opener.end()) if opener is not None else None
        if head is None:
            return _waits(call, text)
        begun = replace(call, stage="arguments", text="", is_started=True, key="value", opened=())
        return self._arguments(begun, text[head.end() :])._replace(named=Named(head["name"], None))

    def _arguments(self, call: OpenCall, text: str) -> Told:
        """Go on inside the object."""
        said: list[str] = []
        place, quote = 0, _Quote(encoded(self.grammar.quote, self.marks), self.marks)
        while place < len(text) and call.stage == "arguments":
            moved = _STEPS[call.key](call, text, place, quote)
            if moved is None:
                return _waits(call, text[place:])._replace(text="".join(said))
            call, place = moved.call, moved.place
            said.append(moved.said)
        told = self._tail(call, text[place:]) if call.stage == "tail" else Told(call)
        return told._replace(text="".join(said))

    def _tail(self, call: OpenCall, text: str) -> Told:
        """Go on after the object, up to the closer."""
        place = len(text) - len(text.lstrip())
        if place == len(text):
            return _waits(call, text)
        is_closed = gemma_patterns(self.grammar)[1].match(text, place) is not None
        return Told(replace(call, stage="closed", text="") if is_closed else call.lost())


def _waits(call: OpenCall, text: str) -> Told:
    return Told(replace(call, text=text) if len(text) <= LONGEST_HEAD else call.lost())


def _key(call: OpenCall, text: str, place: int, quote: _Quote) -> _Moved | None:
    """Go on before a key, or the end of its object."""
    start = past_space(text, place)
    if text[start : start + 1] == "}":
        return _closed(call, start + 1, "}")
    if start == len(text):
        return None
    if text.startswith(quote.code, start):
        return _Moved(replace(call, key="text of key"), start + len(quote.code), f'{_comma(call)}"')
    key = KEY.match(text, start)
    if key is None:
        return _Moved(call.lost(), start) if _NO_KEY.search(text, start) else None
    return _Moved(_after_comma(call, "value"), key.end(), f"{_comma(call)}{json_text(key[1])}: ")


def _text_of_key(call: OpenCall, text: str, place: int, quote: _Quote) -> _Moved | None:
    """Go on inside of a key in quotes. A colon follows it."""
    end = text.find(quote.code, place)
    if end < 0:
        return _Moved(call, len(text), quote.said(text[place:]))
    colon = end + len(quote.code)
    if end > place:
        return _Moved(call, end, quote.said(text[place:end]))
    if colon == len(text):
        return None
    return _Moved(_after_comma(call, "value"), colon + 1, '": ') if text[colon] == ":" else _Moved(call.lost(), end)


def _value(call: OpenCall, text: str, place: int, quote: _Quote) -> _Moved | None:
    """Go on before a value, or the end of its list."""
    start = past_space(text, place)
    first, comma = text[start : start + 1], _comma(call) if call.key == "item" else ""
    if not first:
        return None
    if first == "]" and call.key == "item":
        return _closed(call, start + 1, "]")
    if len(call.opened) > DEEPEST:
        return _Moved(call.lost(), start)
    if first in ("{", "["):
        inside = _after_comma(call, "key" if first == "{" else "item")
        return _Moved(replace(inside, opened=(*inside.opened, first)), start + 1, f"{comma}{first}")
    if text.startswith(quote.code, start):
        return _Moved(_after_comma(call, "text"), start + len(quote.code), f'{comma}"')
    word = WORD.match(text, start)
    if word is None:
        return _Moved(call.lost(), start)
    if word.end() == len(text):
        return None
    return _Moved(_after_comma(call, "comma"), word.end(), f"{comma}{json_text(scalar(word.group()))}")


def _text(call: OpenCall, text: str, place: int, quote: _Quote) -> _Moved:
    """Go on inside of a text."""
    end = text.find(quote.code, place)
    if end < 0:
        return _Moved(call, len(text), quote.said(text[place:]))
    return _Moved(replace(call, key="comma"), end + len(quote.code), quote.said(text[place:end]) + '"')


def _separator(call: OpenCall, text: str, place: int, quote: _Quote) -> _Moved | None:
    """Go on after a value."""
    del quote
    start = past_space(text, place)
    found, bracket = text[start : start + 1], call.opened[-1][0]
    if not found:
        return None
    if found == ",":
        return _Moved(replace(call, key="key" if bracket == "{" else "item"), start + 1)
    return _closed(call, start + 1, found) if _ENDS.get(found) == bracket else _Moved(call.lost(), start)


_STEPS: Final[Mapping[str, Callable[[OpenCall, str, int, _Quote], _Moved | None]]] = {
    "key": _key,
    "text of key": _text_of_key,
    "value": _value,
    "item": _value,
    "text": _text,
    "comma": _separator,
}
"""How a call goes on, by what is expected next."""


def _closed(call: OpenCall, place: int, bracket: str) -> _Moved:
    opened = call.opened[:-1]
    stage = call.stage if opened else "tail"
    return _Moved(replace(call, stage=stage, key="comma", opened=opened), place, bracket)


def _comma(call: OpenCall) -> str:
    """Return what stands before the next key or item."""
    return ", " if call.opened and call.opened[-1].endswith(",") else ""


def _after_comma(call: OpenCall, key: str) -> OpenCall:
    """Return a call in whose innermost bracket something stands."""
    if not call.opened:
        return replace(call, key=key)
    *outer, inner = call.opened
    return replace(call, key=key, opened=(*outer, f"{inner[0]},"))
