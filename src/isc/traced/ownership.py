"""From what a template wrote to owned segments (laws 2, 3 and 7): specials found, every piece given its owner.

Specials are looked for in the template's own wording only. Text belongs to the message in whose turn it was written.
Outside of all turns it belongs to the caller's leading system message, to the one message whose body stands between two
turn closes, or to nobody.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, takewhile
from typing import TypeAlias

from msgspec import Struct

from isc.formats.segments import MEDIA_TOKENS, specials_pattern
from isc.traced.origins import BODY, NAME, TEMPLATE, TOOLS, Kind, Origin, Place, Run, unknown
from isc.traced.pieces import Pieces, divided
from isc.traced.rendering import Written
from isc.types import UNOWNED, BodyPart, Segment

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
    message, `closers` are the specials that end turns, `ends` those that end messages, `bos` begins a text,
    `prompt_start` is the character at which the generation prompt begins. `speaker` is the first message that is no
    system message, `sampled_from` the character at which it is sampled, if it is. At `edges`, ascending characters,
    text is cut, since something else begins there.
    """

    find: Find
    closers: frozenset[str]
    ends: frozenset[str]
    bos: str
    opening_owner: int
    last: int
    prompt_start: int
    speaker: int
    sampled_from: int
    edges: Sequence[int] = ()


class _Cut(Struct, frozen=True):
    """A text cut into pieces, as lists side by side. `origins` and `places` tell of each what its run does."""

    starts: list[int]
    texts: list[str]
    specials: list[bool]
    origins: list[Origin]
    places: list[Place | None]


_END: Run = (0, unknown("end"), None)


def owned_pieces(written: Written, layout: Layout, *, parts: bool = False) -> Pieces:
    """Return the text in pieces with owners. The sampled text of assistants is not yet body.

    `parts`: whether what messages say has the part of its field.
    """
    cut = _cut(written, layout)
    owners = _owners(cut, layout, written.tail)
    if any(run[1] is TOOLS for run in written.runs):
        _give_tools(cut, owners, layout)
    _give_defaults(cut, owners, layout)
    bodies = _bodies(cut, owners)
    pieces = Pieces(cut.texts, cut.specials, owners, bodies, _parts(cut, bodies) if parts else None)
    return _separated(pieces, layout.closers)


def _bodies(cut: _Cut, owners: list[int]) -> list[bool]:
    """Return which pieces are body, and give those to the message that they are the body of."""
    bodies = [False] * len(owners)
    for number, origin in enumerate(cut.origins):
        if origin is TEMPLATE:
            continue
        if origin.kind is BODY:
            owners[number], bodies[number] = origin.message, True
        elif origin.kind is NAME:
            bodies[number] = owners[number] == origin.message
    if not MEDIA_TOKENS.isdisjoint(cut.texts):
        for number, text in enumerate(cut.texts):
            if text in MEDIA_TOKENS and cut.specials[number]:
                bodies[number] = cut.places[number] is not None and owners[number] != UNOWNED
    return bodies


def _parts(cut: _Cut, bodies: Sequence[bool]) -> list[BodyPart | None]:
    """Return the part of each piece that a message says: that of its field, content where no field is known."""
    parts: list[BodyPart | None] = []
    for text, special, origin, body in zip(cut.texts, cut.specials, cut.origins, bodies, strict=True):
        media: BodyPart | None = "media" if body and special and text in MEDIA_TOKENS else None
        said = body and origin is not TEMPLATE
        parts.append(origin.part or "content" if said else media)
    return parts


def _cut(written: Written, layout: Layout) -> _Cut:
    """Cut a text at the ends of its runs and at edges, and the template's wording at specials."""
    text, find = written.text, layout.find
    cut = _Cut([], [], [], [], [])
    texts, specials, origins, places = cut.texts, cut.specials, cut.origins, cut.places
    position = start = 0
    lengths: list[int] = []
    turns: list[Place | None] = []
    for length, origin, place in (*_split_at(written.runs, layout.edges), _END):
        if origin is TEMPLATE:
            lengths.append(length)
            turns.append(place)
            position += length
            continue
        if lengths:
            for piece, special, run in find(text[start:position], tuple(lengths)):
                texts.append(piece)
                specials.append(special)
                origins.append(TEMPLATE)
                places.append(turns[run])
            lengths, turns = [], []
        start = position + length
        texts.append(text[position:start])
        specials.append(False)
        origins.append(origin)
        places.append(place)
        position = start
    for column in (texts, specials, origins, places):
        column.pop()
    cut.starts.extend(accumulate(map(len, texts), initial=0))
    return cut


def _split_at(runs: Sequence[Run], edges: Sequence[int]) -> Iterator[Run]:
    """Yield the runs, cut at these ascending characters."""
    waiting = iter(edges)
    edge = next(waiting, None)
    position = 0
    for run in runs:
        start, end = position, position + run[0]
        while edge is not None and edge < end:
            if edge > position:
                yield (edge - position, run[1], run[2])
                position = edge
            edge = next(waiting, None)
        yield run if position == start else (end - position, run[1], run[2])
        position = end


def _owners(cut: _Cut, layout: Layout, tail: int) -> list[int]:
    """Return the owner of each piece that is scaffold: by its place, or by the pieces around it."""
    count = len(cut.texts)
    asked = bisect_left(cut.starts, layout.prompt_start, 0, count)  # the prompt is nobody's
    owners = [UNOWNED if place is None else place.message for place in cut.places]
    owners[asked:] = [UNOWNED] * (count - asked)
    unplaced = [number for number in range(asked) if cut.places[number] is None]
    if not unplaced:
        return owners
    last = next((place.message for place in reversed(cut.places) if place is not None), layout.last)
    after = bisect_left(cut.starts, tail, 0, count)
    if any(origin.kind is BODY for origin in cut.origins[after:]):
        after = count  # turns are gathered first and written at the end
    foreign = (number for number in range(asked) if cut.places[number] and owners[number] != layout.opening_owner)
    opening_ends = next(foreign, count)
    outside = layout.opening_owner
    for first, end in _stretches(unplaced):
        outside = UNOWNED if first > opening_ends else outside
        outside = _give_unplaced(cut, owners, layout, (first, end, after, last, outside))
    return owners


def _stretches(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the stretches of consecutive numbers in an ascending sequence."""
    first = before = numbers[0]
    for number in numbers[1:]:
        if number != before + 1:
            yield first, before + 1
            first = number
        before = number
    yield first, before + 1


def _give_unplaced(cut: _Cut, owners: list[int], layout: Layout, stretch: tuple[int, int, int, int, int]) -> int:
    """Assign owners to text that the template writes outside its message loop, from one piece up to another.

    A block between two turn closes that contains the body of exactly one message belongs to that message. What says
    nothing from piece `after` on belongs to the `last` message with a turn. Anything else belongs to `outside`, the
    opening's owner until another message's body is written. Return `outside` as it is then.
    """
    first, end, after, last, outside = stretch
    for start, stop in _blocks(cut, layout, first, end):
        said = {origin.message for origin in cut.origins[start:stop] if origin.kind is BODY}
        if start >= after and not said:
            owners[start:stop] = [last] * (stop - start)
            continue
        for number in range(start, stop):
            if cut.origins[number].kind is BODY and cut.origins[number].message != layout.opening_owner:
                outside = UNOWNED
            owners[number] = next(iter(said)) if len(said) == 1 else outside
    return outside


def _blocks(cut: _Cut, layout: Layout, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield blocks of pieces up to and with each turn close. A special that begins the text is a block of its own."""
    start = first
    for number in range(first, end):
        if cut.specials[number] and _ends_block(cut, layout, number):
            yield start, number + 1
            start = number + 1
    if start < end:
        yield start, end


def _ends_block(cut: _Cut, layout: Layout, number: int) -> bool:
    text = cut.texts[number]
    return text in layout.closers or (text == layout.bos and cut.starts[number] == 0)


def _give_tools(cut: _Cut, owners: list[int], layout: Layout) -> None:
    """Give tools to the message whose turn holds them. In a turn of their own they belong to nobody (law 2).

    A turn that says nothing of a message is the leading system message's only where that has no other. What begins a
    text before the special that opens such a turn is no part of it.
    """
    schema = next((number for number, origin in enumerate(cut.origins) if origin.kind is Kind.TOOLS), None)
    if schema is None or cut.places[schema] is not None:
        return
    turn = _turn_around(cut, schema, layout)
    said = {origin.message for origin in cut.origins[turn.start : turn.stop] if origin.kind is BODY}
    start, owner = turn.start, next(iter(said), UNOWNED)
    others = (number for number in range(len(cut.texts)) if number not in turn)
    if len(said) > 1 or (not said and not any(_is_of(cut, number, layout.opening_owner) for number in others)):
        return
    if not said and not start:
        start += max(0, sum(1 for _ in takewhile(bool, cut.specials[:schema])) - 1)
    owners[start : turn.stop] = [owner] * (turn.stop - start)


def _turn_around(cut: _Cut, number: int, layout: Layout) -> range:
    """Return the pieces around one: between turn closes, or between the turns of messages."""
    start, stop = number, number + 1
    while start and not _ends_turn(cut, start - 1, layout):
        start -= 1
    while stop < len(cut.texts) and not _begins_turn(cut, stop, layout) and cut.starts[stop] < layout.prompt_start:
        stop += 1
        if _ends_turn(cut, stop - 1, layout):
            break
    return range(start, stop)


def _ends_turn(cut: _Cut, number: int, layout: Layout) -> bool:
    begins_text = cut.texts[number] == layout.bos and cut.starts[number] == 0
    closes = cut.specials[number] and cut.texts[number] in layout.closers
    return closes or begins_text or _begins_turn(cut, number, layout)


def _begins_turn(cut: _Cut, number: int, layout: Layout) -> bool:
    """Return whether a piece was written in another message's turn, or is a special of the leading system message's."""
    place = cut.places[number]
    return place is not None and (cut.specials[number] or place.message != layout.opening_owner)


def _is_of(cut: _Cut, number: int, message: int) -> bool:
    """Return whether a piece stands in the turn of a message, or is part of its body."""
    origin, place = cut.origins[number], cut.places[number]
    return (origin.kind is BODY and origin.message == message) or (place is not None and place.message == message)


def _give_defaults(cut: _Cut, owners: list[int], layout: Layout) -> None:
    """Give nobody a message in the template's words that the first speaker's iteration writes before its own."""
    if layout.speaker not in owners:
        return
    start = owners.index(layout.speaker)
    turn = takewhile(lambda number: owners[number] == layout.speaker, range(start, len(owners)))
    ends = [number for number in turn if cut.specials[number] and cut.texts[number] in layout.ends]
    if len(ends) < 2 or any(origin is not TEMPLATE for origin in cut.origins[start : ends[0]]):
        return
    if cut.starts[ends[0] + 1] <= layout.sampled_from:
        owners[start : ends[0] + 1] = [UNOWNED] * (ends[0] + 1 - start)


def _separated(pieces: Pieces, closers: frozenset[str]) -> Pieces:
    """Give white space after a turn close to the turn that was closed."""
    edges: list[tuple[int, int]] = []
    owned = list(pieces.owners)
    for number, text in enumerate(pieces.texts[:-1]):
        if text not in closers or not pieces.specials[number]:
            continue
        following, closed = pieces.texts[number + 1], owned[number]
        if not pieces.is_scaffold(number + 1) or owned[number + 1] in (closed, UNOWNED) or not following[:1].isspace():
            continue
        space = len(following) - len(following.lstrip())
        if space < len(following):
            edges.append((number + 1, space))
        pieces.owners[number + 1] = closed
    if not edges:
        return pieces
    parted = divided(pieces, edges)
    for count, (number, _) in enumerate(edges):
        parted.owners[number + count + 1] = owned[number]
    return parted
