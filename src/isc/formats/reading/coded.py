"""A turn as one string in which each control token of a grammar is one character, so that patterns tell it from text.

The characters are lone surrogates, which no decoded text has. A control token that the grammar does not know is text,
by its spelling: so is every marker inside a value.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Final

from msgspec import Struct

from isc.formats.reading.text_markers import tokens_touched
from isc.formats.segments import specials_pattern
from isc.types import Sampled, Span

_FIRST: Final = 0xD800
MOST_MARKS: Final = 0x800
NAME: Final = "\x01"
"""Stands in a marker for the name of the function, said once more."""
IDENTITY: Final = "\x02"
"""Stands in a marker for the id of the call."""
NUMBER: Final = "\x03"
"""Stands in a marker for a number."""
ANY_CODE: Final = "\ud800-\udfff"
_CODE: Final = re.compile(f"[{ANY_CODE}]")
_HOLES: Final = {NAME: f"[^\\s{ANY_CODE}]*+", IDENTITY: f"[^\\s{{\\[(<{ANY_CODE}]*+", NUMBER: r"\d++"}
_GROUPS: Final = {IDENTITY: f"(?P<identity>{_HOLES[IDENTITY]})", NUMBER: f"(?P<number>{_HOLES[NUMBER]})"}
_PART: Final = re.compile(f"([{NAME}{IDENTITY}{NUMBER}])|(\\s+)|([^\\s{NAME}{IDENTITY}{NUMBER}]+)")


class Coded(Struct, frozen=True):
    """A turn's text from `position` on; `places[k]` is where the k-th segment of it starts."""

    text: str
    sampled: Sampled
    position: int
    places: tuple[int, ...]
    marks: tuple[str, ...]

    def spelled(self, start: int, end: int) -> str:
        """Return a part of the text, control tokens by their spelling."""
        return decoded(self.text[start:end], self.marks)

    def after(self, place: int) -> Coded:
        """Return the turn without what stands before a place of the text."""
        return Coded(self.text[place:], self.sampled, self.position, tuple(k - place for k in self.places), self.marks)

    def spans(self, ranges: Sequence[Span]) -> list[Span]:
        """Return the tokens that each part of the text touches, at least one."""
        ends = [place for start, end in ranges for place in (start, max(end - 1, start))]
        tokens = self._tokens(ends)
        return [(first[0], max(last[1], first[0] + 1)) for first, last in zip(tokens[::2], tokens[1::2], strict=True)]

    def _tokens(self, characters: Sequence[int]) -> list[Span]:
        """Return the tokens of each character. Characters of one text are looked up together."""
        inside: dict[int, list[int]] = {}
        for number, place in enumerate(characters):
            inside.setdefault(min(bisect_right(self.places, place) - 1, len(self.places) - 2), []).append(number)
        tokens: dict[int, Span] = {}
        for index, numbers in inside.items():
            segment = self.position + index
            if self.sampled.segments[segment].kind == "special":
                tokens |= dict.fromkeys(numbers, self.sampled.span(segment, segment + 1))
                continue
            last = len(self.sampled.segments[segment].text) - 1
            offsets = [min(characters[number] - self.places[index], last) for number in numbers]
            if last > 0 and {0, last}.issuperset(offsets):
                touched = [_outermost(self.sampled, segment, at_end=offset > 0) for offset in offsets]
            else:
                touched = list(tokens_touched(self.sampled, segment, [(offset, offset + 1) for offset in offsets]))
            tokens |= dict(zip(numbers, touched, strict=True))
        return [tokens[number] for number in range(len(characters))]


def _outermost(sampled: Sampled, segment: int, *, at_end: bool) -> Span:
    """Return the first or last token of a text segment that says something, without a look at the others."""
    first, after = sampled.span(segment, segment + 1)
    if sampled.token_bytes is None:
        return first, after
    places = range(after - 1, first - 1, -1) if at_end else range(first, after)
    place = next((place for place in places if sampled.token_bytes(place)), places[0])
    return place, place + 1


def coded(sampled: Sampled, position: int, marks: Sequence[str]) -> Coded:
    """Code a turn from a segment on as one string, these specials as characters.

    >>> from isc.types import Segment
    >>> turn = Sampled((Segment("a"), Segment("<b>", "special"), Segment("<b>")), (0, 1, 2, 3))
    >>> len(coded(turn, 0, ("<b>",)).text)
    5
    """
    codes = {text: chr(_FIRST + k) for k, text in enumerate(marks)}
    texts = [codes.get(s.text, s.text) if s.kind == "special" else s.text for s in sampled.segments[position:]]
    return Coded("".join(texts), sampled, position, tuple(accumulate(map(len, texts), initial=0)), tuple(marks))


def decoded(text: str, marks: Sequence[str]) -> str:
    """Replace the characters of control tokens by their spelling."""
    if not marks or text.isascii():
        return text
    for code in set(_CODE.findall(text)):
        text = text.replace(code, marks[ord(code) - _FIRST])
    return text


def encoded(marker: str, marks: Sequence[str]) -> str:
    """Replace the control tokens of a marker by their characters."""
    pieces = specials_pattern(tuple(marks)).split(marker) if marks else [marker]
    return "".join(chr(_FIRST + marks.index(piece)) if k % 2 else piece for k, piece in enumerate(pieces))


def marks_of(texts: Iterable[str], specials: Sequence[str]) -> tuple[str, ...]:
    """Return the specials that these markers hold, in order."""
    pattern = specials_pattern(tuple(specials))
    return tuple(dict.fromkeys(mark for text in texts for mark in pattern.findall(text)))


def marker_pattern(marker: str, marks: Sequence[str], *, tight: bool = False, named: bool = False) -> str:
    """Return a pattern for a marker, spelled. White space in the marker may be missing or be more.

    `tight`: a value stands beside the marker, which keeps any more white space. `named` names the groups `identity` and
    `number` of what stands in the holes.

    >>> re.fullmatch(marker_pattern("a >", ()), "a>") is not None
    True
    """
    pieces = re.split(f"([{ANY_CODE}])", encoded(marker, marks))
    return "".join(piece if k % 2 else _text_pattern(piece, tight=tight, named=named) for k, piece in enumerate(pieces))


def _text_pattern(text: str, *, tight: bool, named: bool) -> str:
    blank: Callable[[str], str] = (lambda white: f"(?:{re.escape(white)})?+") if tight else (lambda _: r"\s*+")
    holes = _HOLES | _GROUPS if named else _HOLES
    return "".join(
        holes[hole] if hole else blank(white) if white else re.escape(words)
        for hole, white, words in _PART.findall(text)
    )
