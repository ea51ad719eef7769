"""Markers that are text for a model's tokenizer: found in what was sampled, with the tokens they touch.

Once cut out (`cut_markers`), a marker is a segment like a special, and the scanners of `scanners` do for it. Whether a
spelled marker is meant as one is for the format to say: nothing here can tell a quoted tag from a tag.
"""

from __future__ import annotations

from bisect import bisect_right
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from itertools import accumulate

from msgspec.structs import replace

from isc.formats.segments import special, specials_pattern
from isc.types import Sampled, Segment, Span

_REPLACEMENT = "\ufffd"


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
