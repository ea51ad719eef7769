"""Markers that are text for a model's tokenizer: found in what was sampled, with the tokens they touch.

Once cut out (`cut_markers`), a marker is a segment like a special, and the scanners of `scanners` do for it. Whether a
spelled marker is meant as one is for the format to say: nothing here can tell a quoted tag from a tag.
"""

from __future__ import annotations

import re
from bisect import bisect_right
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
_ENDS = rf"\s*+(?:{_NEXT_PAIR}|{_END_CALL}\s*+(?:{_CALL}|\Z))"  # what follows a value in a render
_MAY_END = rf"\s*+(?:{_NEXT_PAIR}|{_END_CALL})"
_TO_END = (  # past a close that other text follows, but then not past a call's opener
    f"(?:[^{_END_VALUE}]|{_END_VALUE}(?!{_MAY_END}))*+"
    f"(?:{_END_VALUE}(?!{_ENDS})(?:[^{_END_VALUE}{_CALL}]|{_END_VALUE}(?!{_ENDS}))*+)?"
)
_HEAD = re.compile(f"{_CALL}({_NAME})")
_PAIR = re.compile(rf"{_KEY}({_NAME}){_END_KEY}\s*+{_VALUE}({_TO_END}){_END_VALUE}\s*+")
_CALL_END = re.compile(f"[{_CALL}{_END_CALL}]|\\Z")


def cut_markers(sampled: Sampled, markers: tuple[str, ...]) -> Sampled:
    """Sampled segments with these markers, where text spells them, as segments that scanners take for specials.

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
        spans += _touched(sampled, index, list(zip([0, *ends], ends, strict=False)))
    starts, ends = ([span[side] for span in spans] for side in (0, 1))
    return replace(sampled, segments=tuple(segments), starts=(*starts, sampled.starts[-1]), ends=tuple(ends))


def _touched(sampled: Sampled, index: int, places: Sequence[Span]) -> Iterator[Span]:
    """The tokens that pieces of text segment `index` touch; all of the segment's where its bytes are not known."""
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
    """For each character of a decoded text, where its bytes end.

    U+FFFD in a text does not tell how many bytes it was: these are then counted by decoding one byte at a time.
    """
    if text.isascii():
        return range(1, len(text) + 1)
    if _REPLACEMENT not in text:
        return list(accumulate(len(character.encode()) for character in text))
    decoder = getincrementaldecoder("utf-8")("replace")
    ends: list[int] = []
    for position in range(len(data)):
        found = decoder.decode(data[position : position + 1])
        if found:  # what comes with a byte that shows it to be broken ended before that byte
            end = position + 1 - len(decoder.getstate()[0])
            ends += [end - 1] * (len(found) - 1) + [end]
    return ends + [len(data)] * (len(text) - len(ends))


def calls_of_pairs(
    sampled: Sampled, position: int, tags: Sequence[str], tools: Sequence[ToolSpec]
) -> tuple[list[str], tuple[ParsedToolCall, ...]]:
    """The text before, between and after calls that spell a name, then keys and values between tags, and these calls.

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
    while (start := text.find(_CALL, end)) >= 0:
        pieces.append(text[end:start].translate(spellings))
        end, closed, name, pairs = _call_of_pairs(text, start)
        values = None if pairs is None else [(key, value.translate(spellings)) for key, value in pairs]
        status, found, arguments = unquoted_call(name.strip(), values, tools)
        raw = text[start + 1 : end - closed].translate(spellings)
        span = sampled.span(places[start], places[end])
        call = ParsedToolCall(raw, found, arguments, span, status if closed else "unclosed_block")
        calls.append(known(call, tools))
    return [*pieces, text[end:].translate(spellings)], tuple(calls)


def _call_of_pairs(text: str, start: int) -> tuple[int, bool, str, Pairs | None]:
    """Where the call at `start` ends, whether by a closer, its name and its pairs."""
    end, name, pairs = _pairs(text, start)
    if text[end : end + 1] == _END_CALL:
        return end + 1, True, name, pairs
    found = _CALL_END.search(text, start + 1)
    assert found is not None  # the end of the text is one
    alone = text[start : found.start()] + _END_CALL
    end, name, pairs = _pairs(alone, 0)
    closed = found.group() == _END_CALL
    return found.end() if closed else found.start(), closed, name, pairs if end == len(alone) - 1 else None


def _pairs(text: str, start: int) -> tuple[int, str, Pairs]:
    """Name and pairs after an opener, and where they end."""
    head = _HEAD.match(text, start)
    assert head is not None
    end, pairs = head.end(), []
    while pair := _PAIR.match(text, end):
        pairs.append((pair[1], pair[2]))
        end = pair.end()
    return end, head[1], pairs
