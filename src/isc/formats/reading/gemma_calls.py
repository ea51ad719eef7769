"""Gemma's calls: `call:name{key:<|"|>text<|"|>,number:3,deep:{a:[1,null]}}`, texts between a quote token.

A text ends at the next quote token, so it holds every other marker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from isc.formats.reading.coded import ANY_CODE, Coded, encoded, marker_pattern
from isc.formats.reading.grammars import Attempt, Begins, last_mark, text_begins
from isc.formats.reading.scanners import CallReading
from isc.types import Json, ToolSpec

HEAD: Final = re.compile(rf"\s*+call:(?P<name>[^\s{{{ANY_CODE}]++)\s*+(?=\{{)")
KEY: Final = re.compile(rf"\s*+([^:{{}}\[\],{ANY_CODE}]++):")
WORD: Final = re.compile(rf"[^,{{}}\[\]\s{ANY_CODE}]++")
_SPACE: Final = re.compile(r"\s*+")
_WORDS: Final[dict[str, Json]] = {
    "true": True,
    "false": False,
    "null": None,
    "None": None,
    "True": True,
    "False": False,
}
_NUMBER: Final = re.compile(r"-?\d{1,300}(\.\d+)?([eE][+-]?\d{1,3})?")
DEEPEST: Final = 60


class GemmaCalls(Struct, frozen=True, cache_hash=True):
    """Calls between two markers; `quote` stands before and after each text."""

    opener: str
    closer: str
    quote: str
    marks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "gemma"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the special that the opener begins with."""
        return tuple(mark for mark in self.marks if self.opener.startswith(mark))

    @property
    def begins(self) -> Begins:
        """Return what the opener begins with."""
        return Begins(text_begins(self.opener, self.marks), closers=last_mark(self.closer, self.marks))

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""
        del tools  # values have types of their own
        opener, closer, edge = gemma_patterns(self)
        attempts: list[Attempt] = []
        position = 0
        while begins := opener.search(turn.text, position):
            reading, after = self._call(turn, begins.end())
            close = closer.match(turn.text, after) if reading[0] == "ok" else None
            if close is not None:
                attempts.append(Attempt(begins.start(), close.end(), (begins.end(), after), reading))
            else:
                until = edge.search(turn.text, max(after, begins.end()))
                closed = until is not None and until.lastgroup == "close"
                stop = until.start() if until else len(turn.text)
                whole = reading[0] == "ok" and not turn.text[after:stop].strip()
                broken: CallReading = reading if whole else ("malformed_structure", reading[1], None)
                end = until.end() if until and closed else stop
                attempts.append(Attempt(begins.start(), end, (begins.end(), stop), broken, closed))
            position = max(attempts[-1].end, begins.end())
        return attempts

    def _call(self, turn: Coded, position: int) -> tuple[CallReading, int]:
        """Read a call's name and object, and return where the call ends."""
        head = HEAD.match(turn.text, position)
        if head is None:
            return ("malformed_structure", None, None), position
        reader = _Reader(turn, encoded(self.quote, turn.marks), head.end())
        try:
            value = reader.value(0)
        except _NoValueError:
            return ("malformed_structure", head["name"], None), reader.position
        assert isinstance(value, dict)  # a brace stands there
        return ("ok", head["name"], value), past_space(turn.text, reader.position)


class _NoValueError(Exception):
    """There is no value where one should be."""


class _Reader:
    """Reads a value from a place on."""

    __slots__ = ("_quote", "_turn", "position")

    def __init__(self, turn: Coded, quote: str, position: int) -> None:
        self._turn, self._quote, self.position = turn, quote, position

    def value(self, depth: int) -> Json:
        """Read the value that begins here."""
        text = self._turn.text
        self.position = past_space(text, self.position)
        if depth > DEEPEST:
            raise _NoValueError
        if text.startswith(self._quote, self.position):
            return self._text()
        if text.startswith(("{", "["), self.position):
            return self._object(depth) if text[self.position] == "{" else self._list(depth)
        word = WORD.match(text, self.position)
        if word is None:
            raise _NoValueError
        self.position = word.end()
        return scalar(word.group())

    def _text(self) -> str:
        start = self.position + len(self._quote)
        end = self._turn.text.find(self._quote, start)
        if end < 0:
            self.position = len(self._turn.text)
            raise _NoValueError
        self.position = end + len(self._quote)
        return self._turn.spelled(start, end)

    def _object(self, depth: int) -> Json:
        fields: dict[str, Json] = {}
        self.position += 1
        while not self._closes("}"):
            key = self._key()
            fields[key] = self.value(depth + 1)
            self._comma("}")
        return fields

    def _list(self, depth: int) -> Json:
        items: list[Json] = []
        self.position += 1
        while not self._closes("]"):
            items.append(self.value(depth + 1))
            self._comma("]")
        return items

    def _key(self) -> str:
        self.position = past_space(self._turn.text, self.position)
        if self._turn.text.startswith(self._quote, self.position):
            key, colon = self._text(), self._turn.text.startswith(":", self.position)
            self.position += 1
        else:
            match = KEY.match(self._turn.text, self.position)
            key, colon = (match[1], True) if match else ("", False)
            self.position = match.end() if match else self.position
        if not colon:
            raise _NoValueError
        return key

    def _closes(self, bracket: str) -> bool:
        self.position = past_space(self._turn.text, self.position)
        closes = self._turn.text.startswith(bracket, self.position)
        self.position += closes
        return closes

    def _comma(self, bracket: str) -> None:
        self.position = past_space(self._turn.text, self.position)
        if self._turn.text.startswith(",", self.position):
            self.position += 1
        elif not self._turn.text.startswith(bracket, self.position):
            raise _NoValueError


def scalar(word: str) -> Json:
    """Return the value of a word that stands in no quotes: a text where it is no other.

    >>> scalar("3"), scalar("null"), scalar("blue")
    (3, None, 'blue')
    """
    if word in _WORDS:
        return _WORDS[word]
    number = _NUMBER.fullmatch(word)
    if number is None:
        return word
    return float(word) if number[1] or number[2] else int(word)


def past_space(text: str, position: int) -> int:
    """Return the place of the next character that is no white space."""
    blank = _SPACE.match(text, position)
    return blank.end() if blank else position


@lru_cache(maxsize=256)
def gemma_patterns(grammar: GemmaCalls) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a grammar's opener, of its closer, and of either."""
    opener, closer = (marker_pattern(text, grammar.marks) for text in (grammar.opener, grammar.closer))
    return re.compile(opener), re.compile(closer), re.compile(f"(?P<close>{closer})|(?P<open>{opener})")
