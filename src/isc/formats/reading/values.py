"""Open values: whether a marker stands inside a value of a call, where it is text and ends nothing.

A sampler that quotes a marker samples its token, so a JSON string or an `<arg_value>` may hold the very specials that
bracket the call. What is fed to a value's reader is the call's text, piece by piece, in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from isc.formats.segments import is_special
from isc.types import Segment

_STRING_REST: Final = re.compile(r'(?:[^"\\]|\\.)*+', re.DOTALL)
_TOKEN: Final = re.compile(r'[ \t\r\n]*+([{}\[\]:,"]|[^ \t\r\n{}\[\]:,"]++|\Z)')
_WORD: Final = re.compile(r'[^ \t\r\n{}\[\]:,"]*+')
_BRACKETS: Final = ("{", "[")


class Value(Protocol):
    """The text of a call, followed as it grows."""

    @property
    def is_open(self) -> bool:
        """Return whether a value is open that holds whatever comes."""

    @property
    def is_broken(self) -> bool:
        """Return whether the text is none of this format's. Nothing can be said of such a text."""

    def feed(self, segment: Segment) -> None:
        """Go on with this piece."""


Values: TypeAlias = Callable[[], Value]
"""What follows the text of one call, made anew for each."""


class JsonState(NamedTuple):
    """How far the JSON text of an object or a list was followed.

    `is_open`: inside a string. `is_broken`: no such text goes on so. `is_escaped`: after a backslash. `is_word`: at the
    end of a word or number that may go on. `stack`: the brackets that are open, as bits after a first 1, a list being
    1: a number is copied with the state, however deep. `expected`: what comes next.
    """

    is_open: bool = False
    is_broken: bool = False
    is_escaped: bool = False
    is_word: bool = False
    stack: int = 1
    expected: str = "value"


NOT_BEGUN: Final = JsonState()
INSIDE_OBJECT: Final = JsonState(stack=0b10, expected="comma or end")
"""After a value of an object that is nobody's value."""


class JsonText:
    """The JSON text of an object or a list: open inside a string, broken where no such text goes on so."""

    __slots__ = ("_escaped", "_expected", "_is_word", "_stack", "is_broken", "is_open")

    def __init__(self, state: JsonState = NOT_BEGUN) -> None:
        self.is_open, self.is_broken, self._escaped, self._is_word, self._stack, self._expected = state

    @property
    def state(self) -> JsonState:
        """Return how far it was followed."""
        return JsonState(self.is_open, self.is_broken, self._escaped, self._is_word, self._stack, self._expected)

    @property
    def is_whole(self) -> bool:
        """Return whether the value has ended."""
        return self._expected == "nothing" and not self.is_broken

    def feed(self, segment: Segment) -> None:
        """Go on with this piece."""
        self._is_word = self._is_word and segment.kind == "text"
        self.read(segment.text)

    def read(self, text: str) -> int:
        """Go on with this text, and return where in it the value ends. Text after that is not looked at."""
        position = 0
        if self._escaped and text:
            position, self._escaped = 1, False
        if self._is_word and text:
            position = _WORD.match(text).end()  # type: ignore[union-attr]
            self._is_word = position == len(text)
        while position < len(text) and not self.is_broken and (self.is_open or self._expected != "nothing"):
            position = self._string(text, position) if self.is_open else self._token(text, position)
        return position

    def _string(self, text: str, position: int) -> int:
        """Skip the rest of an open string."""
        rest = _STRING_REST.match(text, position)
        end = rest.end() if rest else position
        if text[end : end + 1] == '"':
            self.is_open = False
            self._said()
        else:
            self._escaped = end < len(text)  # the text ends with a backslash
        return min(end + 1, len(text))

    def _token(self, text: str, position: int) -> int:
        """Read one token outside of strings."""
        token = _TOKEN.match(text, position)
        assert token is not None  # every character begins one
        found, expected = token[1], self._expected
        if found == '"':
            self.is_open = True
            self.is_broken = self._stack == 1 or expected in ("colon", "comma or end")
        elif found in _BRACKETS:
            self.is_broken = expected not in ("value", "value or end")
            self._stack = self._stack << 1 | (found == "[")
            self._expected = "key or end" if found == "{" else "value or end"
        elif found in ("}", "]"):
            self._close(found)
        elif found == ":":
            self.is_broken = expected != "colon"
            self._expected = "value"
        elif found == ",":
            self._next()
        elif found:
            self.is_broken = expected not in ("value", "value or end")
            self._is_word = token.end() == len(text)
            self._said()
        return token.end()

    def _close(self, closer: str) -> None:
        may_end = self._expected in ("comma or end", "key or end", "value or end")
        self.is_broken = not (may_end and self._stack > 1 and self._stack & 1 == (closer == "]"))
        self._stack = self._stack >> 1 or 1
        self._said()

    def _next(self) -> None:
        self.is_broken = self._expected != "comma or end"
        self._expected = "key" if self._stack > 1 and not self._stack & 1 else "value"

    def _said(self) -> None:
        """Note that a value or a key is complete."""
        in_object = self._stack > 1 and not self._stack & 1
        if self._expected in ("key", "key or end") and not self.is_broken and in_object:
            self._expected = "colon"
        else:
            self._expected = "comma or end" if self._stack > 1 else "nothing"


def past_values(
    segments: Sequence[Segment], start: int, end: int, openers: Sequence[str], closers: Sequence[str], value: Value
) -> int:
    """Return the place of the first marker that no value holds.

    Args:
        segments: A turn.
        start: Where the call's text begins.
        end: The first marker after it.
        openers: Spellings of the specials that begin another call.
        closers: Spellings of those that end this one.
        value: Follows the call's text.

    Returns:
        That place. Where a value is open to the end of the turn, the end, or the closer that is last of all; `end`
        itself where the text is none of the format's, so that no value can be made out.
    """
    position, found, markers = start, end, (*openers, *closers)
    while True:
        for segment in segments[position:found]:
            value.feed(segment)
            if value.is_broken:
                return end
        if not value.is_open:
            return found
        if found == len(segments):
            is_last = is_special(segments[position], *closers) and _is_blank(segments[position + 1 :])
            return position if is_last else found
        position = found
        found = next(
            (k for k in range(position + 1, len(segments)) if is_special(segments[k], *markers)), len(segments)
        )


def _is_blank(segments: Sequence[Segment]) -> bool:
    return all(segment.kind == "text" and not segment.text.strip() for segment in segments)
