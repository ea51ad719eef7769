"""Markers that are text for a model's tokenizer: found in what was sampled, with the tokens they touch.

Once cut out (`cut_markers`), a marker is a segment like a special, and the scanners of `scanners` do for it. Whether a
spelled marker is meant as one is for the format to say: nothing here can tell a quoted tag from a tag.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from itertools import accumulate

from msgspec.structs import replace

from isc.formats.reading.scanners import Pairs, known, unquoted_call
from isc.formats.segments import special, specials_pattern
from isc.types import ParsedToolCall, Sampled, Segment, Span, ToolSpec

_REPLACEMENT = "\ufffd"

_CODES = "\ud800\ud801\ud802\ud803\ud804\ud805"
"""What stands for a marker where text is searched: lone surrogates, which no decoded text has."""

_CALL, _END_CALL, _KEY, _END_KEY, _VALUE, _END_VALUE = tuple(_CODES)
_NAME = f"[^{_CODES}]*+"
_NEXT_PAIR = rf"{_KEY}{_NAME}{_END_KEY}\s*+{_VALUE}"
_ENDS = re.compile(rf"{_END_VALUE}(?=\s*+(?:{_NEXT_PAIR}|{_END_CALL}\s*+(?:{_CALL}|\Z)))")  # as in a render
_MAY_END = re.compile(rf"{_END_VALUE}(?=\s*+(?:{_NEXT_PAIR}|{_END_CALL}))")
_HEAD = re.compile(f"{_CALL}({_NAME})")
_PAIR_HEAD = re.compile(rf"{_KEY}({_NAME}){_END_KEY}\s*+{_VALUE}")
_BLANK = re.compile(r"\s*+")
_CALL_END = re.compile(f"[{_CALL}{_END_CALL}]|\\Z")


def cut_markers(sampled: Sampled, markers: tuple[str, ...]) -> Sampled:
    """Cut sampled text at these markers. Scanners then take each spelled marker for a special.

    Args:
        sampled: What was sampled, as `unfold` gives it.
        markers: Spellings of which none is empty; of two that match at a place the longer is taken.

    Returns:
        Segments of which neighbours may share a token: `span` gives every token that a segment touches.

    >>> sampled = Sampled((Segment("say <b>"),), (0, 3), token_bytes=(b"say ", b"<", b"b>").__getitem__)
    >>> cut = cut_markers(sampled, ("<b>",))
    >>> [(segment.text, segment.kind) for segment in cut.segments], cut.span(1, 2)
    ([('say ', 'text'), ('<b>', 'special')], (1, 3))
    """
    pattern = specials_pattern(markers)
    segments: list[Segment] = []
    spans: list[Span] = []
    for index, segment in enumerate(sampled.segments):
        if segment.kind == "special" or not pattern.search(segment.text):
            segments.append(segment)
            spans.append(sampled.span(index, index + 1))
            continue
        pieces = list(filter(None, pattern.split(segment.text)))
        segments += [special(piece) if piece in markers else Segment(piece) for piece in pieces]
        ends = list(accumulate(map(len, pieces)))
        spans += tokens_touched(sampled, index, list(zip([0, *ends], ends, strict=False)))
    starts, ends = ([span[side] for span in spans] for side in (0, 1))
    return replace(sampled, segments=tuple(segments), starts=(*starts, sampled.starts[-1]), ends=tuple(ends))


def tokens_touched(sampled: Sampled, index: int, places: Sequence[Span]) -> Iterator[Span]:
    """Yield the tokens that pieces of text segment `index` touch. Unknown bytes: all tokens of the segment."""
    first, last = sampled.span(index, index + 1)
    if sampled.token_bytes is None:
        yield from ((first, last) for _ in places)
        return
    tokens = [sampled.token_bytes(position) for position in range(first, last)]
    token_ends = list(accumulate(map(len, tokens)))
    byte_ends = _byte_ends(sampled.segments[index].text, b"".join(tokens))
    for start, end in places:
        from_byte, to_byte = (byte_ends[start - 1] if start else 0), byte_ends[end - 1]
        begin, stop = first + bisect_right(token_ends, from_byte), first + bisect_right(token_ends, to_byte - 1) + 1
        yield min(begin, last - 1), min(stop, last)  # tokens may say less alone than together


def _byte_ends(text: str, data: bytes) -> Sequence[int]:
    """Return the end of each character of a decoded text, in bytes.

    U+FFFD in a text does not tell how many bytes it was: these are then counted by decoding one byte at a time.
    """
    if text.isascii():
        return range(1, len(text) + 1)
    if _REPLACEMENT not in text:
        return list(accumulate(len(character.encode()) for character in text))
    decoder = getincrementaldecoder("utf-8")("replace")
    ends: list[int] = []
    for position in range(len(data)):
        characters = decoder.decode(data[position : position + 1])
        if characters:  # what comes with a byte that shows it to be broken ended before that byte
            end = position + 1 - len(decoder.getstate()[0])
            ends += [end - 1] * (len(characters) - 1) + [end]
    return ends + [len(data)] * (len(text) - len(ends))


def calls_of_pairs(
    sampled: Sampled, position: int, tags: Sequence[str], tools: Sequence[ToolSpec]
) -> tuple[list[str], tuple[ParsedToolCall, ...]]:
    """Read calls that spell a name, then keys and values between tags. Return the texts around them, and the calls.

    No tag is quoted, so one counts where a render has it. A value ends where another pair begins after it, or the call
    closes and the next call or the end follows; any other tag in it is the value's. A call that is not so is read up to
    its closer, or unclosed up to the next opener or the end.

    Args:
        sampled: What was sampled, with markers that are text cut out.
        position: The segment to begin at.
        tags: Call, key and value, each opener and closer.
        tools: The tools offered, which declare the types of values.
    """
    codes = dict(zip(tags, _CODES, strict=True))
    spellings = str.maketrans(dict(zip(_CODES, tags, strict=True)))
    coded = [codes.get(s.text, s.text) if s.kind == "special" else s.text for s in sampled.segments[position:]]
    text = "".join(coded)
    places = {place: position + k for k, place in enumerate(accumulate(map(len, coded), initial=0))}
    pieces: list[str] = []
    calls: list[ParsedToolCall] = []
    end = 0
    ends = _Ends(text)
    while (start := text.find(_CALL, end)) >= 0:
        pieces.append(text[end:start].translate(spellings))
        end, closed, name, pairs = _call_of_pairs(text, start, ends)
        values = None if pairs is None else [(key, value.translate(spellings)) for key, value in pairs]
        status, read_name, arguments = unquoted_call(name.strip(), values, tools)
        raw = text[start + 1 : end - closed].translate(spellings)
        span = sampled.span(places[start], places[end])
        call = ParsedToolCall(raw, read_name, arguments, span, status if closed else "unclosed_block")
        calls.append(known(call, tools))
    return [*pieces, text[end:].translate(spellings)], tuple(calls)


class _Ends:
    """The ends of values in a text, found once for all of its calls."""

    __slots__ = ("_calls", "_ends", "_may_end", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends = [match.start() for match in _ENDS.finditer(text)]
        self._may_end = [match.start() for match in _MAY_END.finditer(text)]
        self._calls = [match.start() for match in re.finditer(_CALL, text)]

    def after(self, start: int, limit: int, *, alone: bool) -> int | None:
        """Return the end of a value that starts here.

        A close that other text follows is passed, a call's opener then is not.

        `alone`: a call ends at the limit, so a close that stands last before it ends a value too.
        """
        last = self._last_before(start, limit) if alone else None
        end = self._next(self._may_end, start, limit, last)
        if end is None:
            return None
        later = self._next(self._ends, end, limit, last)
        opener = _next_of(self._calls, end)
        return end if later is None or (opener is not None and opener < later) else later

    def _last_before(self, start: int, limit: int) -> int | None:
        """Find the close with nothing but white space between it and the limit."""
        place = self._text.rfind(_END_VALUE, start, limit)
        return place if place >= 0 and not self._text[place + 1 : limit].strip() else None

    def _next(self, places: Sequence[int], start: int, limit: int, last: int | None) -> int | None:
        place = _next_of(places, start)
        return last if place is None or place >= limit else place


def _next_of(places: Sequence[int], start: int) -> int | None:
    index = bisect_left(places, start)
    return places[index] if index < len(places) else None


def _call_of_pairs(text: str, start: int, ends: _Ends) -> tuple[int, bool, str, Pairs | None]:
    """Read the call at `start`. Return its end, whether a closer ends it, its name and its pairs."""
    end, name, pairs = _pairs(text, start, len(text), ends, alone=False)
    if text[end : end + 1] == _END_CALL:
        return end + 1, True, name, pairs
    close = _CALL_END.search(text, start + 1)
    assert close is not None  # the end of the text is one
    closed = close.group() == _END_CALL
    end, name, pairs = _pairs(text, start, close.start(), ends, alone=True)
    return close.end() if closed else close.start(), closed, name, pairs if end == close.start() else None


def _pairs(text: str, start: int, limit: int, ends: _Ends, *, alone: bool) -> tuple[int, str, Pairs]:
    """Read name and pairs after an opener. Return where they end first."""
    head = _HEAD.match(text, start)
    assert head is not None
    end, pairs = head.end(), []
    while pair := _PAIR_HEAD.match(text, end, limit):
        close = ends.after(pair.end(), limit, alone=alone)
        if close is None:
            break
        pairs.append((pair[1], text[pair.end() : close]))
        blank = _BLANK.match(text, close + 1, limit)
        end = blank.end() if blank else close + 1
    return end, head[1], pairs
