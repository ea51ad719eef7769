"""From what a template wrote to owned segments (laws 2, 3 and 7): specials found, every piece given its owner.

Specials are looked for in the template's own wording only. Text belongs to the message in whose turn it was written.
Outside of all turns it belongs to the caller's leading system message, to the one message whose body stands between two
turn closes, or to nobody.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise, takewhile
from typing import TypeAlias

from msgspec import Struct, structs

from isc.formats.segments import MEDIA_TOKENS, joined, specials_pattern
from isc.traced.origins import BODY, NAME, TEMPLATE, TOOLS, Kind, Origin, Place, Run, Runs, cut, unknown
from isc.traced.rendering import Written
from isc.types import UNOWNED, Segment

Find: TypeAlias = Callable[[str, tuple[int, ...]], tuple[tuple[str, bool, int], ...]]
"""From a text and the lengths of its runs to its pieces: text, whether it is a special, and the run it begins in."""


@lru_cache(maxsize=64)
def finder(specials: tuple[str, ...]) -> Find:
    """Return a function that cuts a template's wording at its specials.

    The wording recurs, so the last 4096 cuts are kept.
    """
    pattern = specials_pattern(specials)

    @lru_cache(maxsize=4096)
    def find(text: str, lengths: tuple[int, ...]) -> tuple[tuple[str, bool, int], ...]:
        ends = list(accumulate(lengths))
        position = 0
        pieces: list[tuple[str, bool, int]] = []
        for start, end in [*(match.span() for match in pattern.finditer(text)), (len(text), len(text))]:
            while position < start:
                run = bisect_right(ends, position)
                stop = min(start, ends[run])
                pieces.append((text[position:stop], False, run))
                position = stop
            if start < end:
                pieces.append((text[start:end], True, bisect_right(ends, start)))
                position = end
        return tuple(pieces)

    return find


def cut_at_specials(text: str, find: Find) -> list[Segment]:
    """Return a template's own wording as segments."""
    return [Segment(piece, "special" if special else "text") for piece, special, _ in find(text, (len(text),))]


class Layout(Struct, frozen=True):
    """The format of a conversation, as far as ownership needs it.

    `find` finds the specials of a text, `opening_owner` owns what stands before the first turn, `last` is the last
    message, `closers` are the specials that end turns, `bos` begins a text, `prompt_start` is the character at which
    the generation prompt begins.
    """

    find: Find
    closers: frozenset[str]
    bos: str
    opening_owner: int
    last: int
    prompt_start: int


class _Piece(Struct, frozen=True, gc=False):
    start: int
    text: str
    special: bool
    origin: Origin
    place: Place | None


_END: Run = (0, unknown("end"), None)


def owned_segments(written: Written, layout: Layout) -> list[Segment]:
    """Return the text as segments with owners. The sampled text of assistants is not yet body."""
    pieces = _pieces(written, layout)
    owners = _owners(pieces, layout, written.tail)
    if any(run[1] is TOOLS for run in written.runs):
        _give_tools(pieces, owners, layout)
    _give_defaults(pieces, owners, layout)
    return joined(_separated(list(map(_segment, pieces, owners)), layout.closers))


def _segment(piece: _Piece, owner: int) -> Segment:
    text, origin = piece.text, piece.origin
    if piece.special:
        shown = text in MEDIA_TOKENS and piece.place is not None and owner != UNOWNED
        return Segment(text, "special", shown, owner)
    if origin is TEMPLATE:
        return Segment(text, "text", False, owner)
    if origin.kind is BODY:
        return Segment(text, "text", True, origin.message)
    return Segment(text, "text", origin.kind is NAME and owner == origin.message, owner)


def _pieces(written: Written, layout: Layout) -> list[_Piece]:
    """Yield the runs of a text. The template's wording is cut at specials, and a run is cut where the prompt begins."""
    text, find = written.text, layout.find
    pieces: list[_Piece] = []
    position = start = 0
    lengths: list[int] = []
    places: list[Place | None] = []
    runs = written.runs if layout.prompt_start >= len(text) else _cut_once(written.runs, layout.prompt_start, len(text))
    for length, origin, place in (*runs, _END):
        if origin is TEMPLATE:
            lengths.append(length)
            places.append(place)
            position += length
            continue
        if lengths:
            for piece, special, run in find(text[start:position], tuple(lengths)):
                pieces.append(_Piece(start, piece, special, TEMPLATE, places[run]))
                start += len(piece)
            lengths, places = [], []
        start = position + length
        pieces.append(_Piece(position, text[position:start], False, origin, place))
        position = start
    pieces.pop()
    return pieces


def _cut_once(runs: Runs, place: int, length: int) -> Iterator[Run]:
    """Yield the runs of so many characters, one of them cut at this character."""
    return chain.from_iterable(cut(runs, pairwise((0, place, length))))


def _owners(pieces: Sequence[_Piece], layout: Layout, tail: int) -> list[int]:
    """Return the owner of each piece that is scaffold: by its place, or by the pieces around it."""
    owners: list[int] = []
    stretch: list[_Piece] = []
    outside = layout.opening_owner
    turns = (piece.place.message for piece in reversed(pieces) if piece.place is not None)
    layout = structs.replace(layout, last=next(turns, layout.last))  # a message that is hoisted has no turn
    after = takewhile(lambda piece: piece.start >= tail, reversed(pieces))
    if any(piece.origin.kind is BODY for piece in after):
        tail = len(pieces[-1].text) + pieces[-1].start  # turns are gathered first and written at the end
    prompt_start, opening_owner = layout.prompt_start, layout.opening_owner
    for piece in pieces:
        place, before_prompt = piece.place, piece.start < prompt_start
        if place is None and before_prompt:
            stretch.append(piece)
            continue
        if stretch:
            outside = _unplaced(stretch, layout, tail, outside, owners)
            stretch = []
        if place is None or not before_prompt:
            owners.append(UNOWNED)
        else:
            message = place.message
            owners.append(message)
            outside = outside if message == opening_owner else UNOWNED
    if stretch:
        _unplaced(stretch, layout, tail, outside, owners)
    return owners


def _unplaced(stretch: Sequence[_Piece], layout: Layout, tail: int, outside: int, owners: list[int]) -> int:
    """Assign owners to text that the template writes outside its message loop.

    A block between two turn closes that contains the body of exactly one message belongs to that message. Anything else
    belongs to `outside`, the opening's owner until another message's body is written. Return `outside` as it is then.
    """
    for block in _blocks(stretch, layout):
        said = {piece.origin.message for piece in block if piece.origin.kind is BODY}
        if block[0].start >= tail and not said:
            owners += [layout.last] * len(block)
            continue
        for piece in block:
            if piece.origin.kind is BODY and piece.origin.message != layout.opening_owner:
                outside = UNOWNED
            owners.append(next(iter(said)) if len(said) == 1 else outside)
    return outside


def _blocks(stretch: Sequence[_Piece], layout: Layout) -> Iterator[list[_Piece]]:
    """Yield blocks of pieces up to and with each turn close. A special that begins the text is a block of its own."""
    block: list[_Piece] = []
    for piece in stretch:
        block.append(piece)
        if piece.special and (piece.text in layout.closers or (piece.text == layout.bos and piece.start == 0)):
            yield block
            block = []
    if block:
        yield block


def _give_tools(pieces: Sequence[_Piece], owners: list[int], layout: Layout) -> None:
    """Give tools to the message whose turn holds them. In a turn of their own they belong to nobody (law 2).

    A turn that says nothing of a message is the leading system message's only where that has no other. What begins a
    text before the special that opens such a turn is no part of it.
    """
    schema = next((place for place, piece in enumerate(pieces) if piece.origin.kind is Kind.TOOLS), None)
    if schema is None or pieces[schema].place is not None:
        return
    turn = _turn_around(pieces, schema, layout)
    said = {pieces[place].origin.message for place in turn if pieces[place].origin.kind is BODY}
    start, owner = turn.start, next(iter(said), UNOWNED)
    others = (piece for place, piece in enumerate(pieces) if place not in turn)
    if len(said) > 1 or (not said and not any(_is_of(piece, layout.opening_owner) for piece in others)):
        return
    if not said and not start:
        start += max(0, sum(1 for _ in takewhile(lambda piece: piece.special, pieces[:schema])) - 1)
    owners[start : turn.stop] = [owner] * (turn.stop - start)


def _turn_around(pieces: Sequence[_Piece], place: int, layout: Layout) -> range:
    """Return the pieces around one: between turn closes, or between the turns of messages."""
    start, stop = place, place + 1
    while start and not _ends_turn(pieces[start - 1], layout):
        start -= 1
    while stop < len(pieces) and not _begins_turn(pieces[stop], layout) and pieces[stop].start < layout.prompt_start:
        stop += 1
        if _ends_turn(pieces[stop - 1], layout):
            break
    return range(start, stop)


def _ends_turn(piece: _Piece, layout: Layout) -> bool:
    begins_text = piece.text == layout.bos and piece.start == 0
    return _begins_turn(piece, layout) or (piece.special and (piece.text in layout.closers or begins_text))


def _begins_turn(piece: _Piece, layout: Layout) -> bool:
    """Return whether a piece was written in another message's turn, or is a special of the leading system message's."""
    return piece.place is not None and (piece.special or piece.place.message != layout.opening_owner)


def _is_of(piece: _Piece, message: int) -> bool:
    """Return whether a piece stands in the turn of a message, or is part of its body."""
    said = piece.origin.kind is BODY and piece.origin.message == message
    return said or (piece.place is not None and piece.place.message == message)


def _give_defaults(pieces: Sequence[_Piece], owners: list[int], layout: Layout) -> None:
    """Give the opening a turn in the template's words that the first message's iteration writes before its own turn."""
    if layout.opening_owner == 0 or 0 not in owners:
        return
    start = owners.index(0)
    turn = takewhile(lambda place: owners[place] == 0, range(start, len(pieces)))
    closes = [place for place in turn if pieces[place].special and pieces[place].text in layout.closers]
    if len(closes) < 2 or any(pieces[place].origin is not TEMPLATE for place in range(start, closes[0])):
        return
    owners[start : closes[0] + 1] = [layout.opening_owner] * (closes[0] + 1 - start)


def _separated(segments: list[Segment], closers: frozenset[str]) -> list[Segment]:
    """Give white space after a turn close to the turn that was closed."""
    spaced = [
        position
        for position, (closed, segment) in enumerate(pairwise(segments), 1)
        if closed.kind == "special" and closed.text in closers and _is_space_of_next(segment, closed.message)
    ]
    separated: list[Segment] = []
    done = 0
    for position in spaced:
        segment = segments[position]
        rest = segment.text.lstrip()
        separated += segments[done:position]
        space = segment.text[: len(segment.text) - len(rest)]
        separated.append(Segment(space, "text", False, segments[position - 1].message))
        if rest:
            separated.append(Segment(rest, "text", False, segment.message))
        done = position + 1
    return separated + segments[done:]


def _is_space_of_next(segment: Segment, closed: int) -> bool:
    foreign = segment.message not in (closed, UNOWNED)
    return foreign and segment.kind == "text" and not segment.body and segment.text[:1].isspace()
