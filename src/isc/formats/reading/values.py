"""Open values: whether a marker stands inside a value of a call, where it is text and ends nothing.

A sampler that quotes a marker samples its token, so a JSON string or an `<arg_value>` may hold the very specials that
bracket the call. What is fed to a value's reader is the call's text, piece by piece, in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from isc.formats.segments import is_special
from isc.types import Segment

_STRING_REST: Final = re.compile(r'(?:[^"\\]|\\.)*+', re.DOTALL)
_TOKEN: Final = re.compile(r'[ \t\r\n]*+([{}\[\]:,"]|[^ \t\r\n{}\[\]:,"]++|\Z)')
_CLOSERS: Final = {"{": "}", "[": "]"}


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


class JsonText:
    """The JSON text of an object or a list: open inside a string, broken where no such text goes on so."""

    __slots__ = ("_escaped", "_expected", "_stack", "is_broken", "is_open")

    def __init__(self) -> None:
        self.is_open = self.is_broken = self._escaped = False
        self._stack: list[str] = []
        self._expected = "value"

    def feed(self, segment: Segment) -> None:
        """Go on with this piece."""
        text, position = segment.text, 0
        if self._escaped and text:
            position, self._escaped = 1, False
        while not self.is_broken and position < len(text):
            position = self._string(text, position) if self.is_open else self._token(text, position)

    def _string(self, text: str, position: int) -> int:
        """Skip the rest of an open string."""
        rest = _STRING_REST.match(text, position)
        end = rest.end() if rest else position
        if text[end : end + 1] == '"':
            self.is_open = False
            self._said()
        else:
            self._escaped = end < len(text)  # the text ends with a backslash
        return end + 1

    def _token(self, text: str, position: int) -> int:
        """Read one token outside of strings. Text after a whole value is not looked at."""
        if self._expected == "nothing":
            return len(text)
        token = _TOKEN.match(text, position)
        assert token is not None  # every character begins one
        found, expected = token[1], self._expected
        if found == '"':
            self.is_open = True
            self.is_broken = not self._stack or expected in ("colon", "comma or end")
        elif found in _CLOSERS:
            self.is_broken = expected not in ("value", "value or end")
            self._stack.append(found)
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
            self._said()
        return token.end()

    def _close(self, closer: str) -> None:
        may_end = self._expected in ("comma or end", "key or end", "value or end")
        self.is_broken = not (may_end and self._stack and _CLOSERS[self._stack.pop()] == closer)
        self._said()

    def _next(self) -> None:
        self.is_broken = self._expected != "comma or end"
        self._expected = "key" if self._stack and self._stack[-1] == "{" else "value"

    def _said(self) -> None:
        """Note that a value or a key is complete."""
        if self._expected in ("key", "key or end") and not self.is_broken and self._stack[-1:] == ["{"]:
            self._expected = "colon"
        else:
            self._expected = "comma or end" if self._stack else "nothing"


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
