"""Assistant turns under law 4: from where sampling starts up to and including the stop, all is body of that message.

A turn ends at the first special after what it says that ends turns. Where the format leaves that to the next turn, the
special that stands there is sampled, whoever wrote it: a declared stop, or any where turns have no close of their own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby, pairwise

from msgspec import Struct

from isc.formats.segments import joined
from isc.traced.sampling import Start
from isc.types import UNOWNED, Segment


class Closing(Struct, frozen=True):
    """The end of turns: by a special of their own, or by one of the specials that begin the next turn.

    `turn_close` is None in the second case, which `by_next` says is known; `closers` are all specials that end turns,
    `stop_tokens` those at which sampling stops.
    """

    turn_close: str | None = None
    closers: frozenset[str] = frozenset()
    stop_tokens: tuple[str, ...] = ()
    by_next: bool = False


def with_sampled_turns(
    segments: Sequence[Segment], starts: Mapping[int, Start], closing: Closing, prompt_start: int
) -> list[Segment]:
    """Mark what each assistant turn samples as its body.

    Args:
        segments: The conversation as owned segments.
        starts: Where sampling of each assistant message starts.
        closing: How turns end.
        prompt_start: The character at which a generation prompt begins that no turn follows.
    """
    places = sorted((start.position, owner) for owner, start in starts.items())
    edges = {prompt_start, *(position for position, _ in places)}
    for start in starts.values():
        edges |= {start.turn, start.turn + start.closing} if start.closing else set()
    pieces, begins = _cut_at(segments, sorted(edges))
    _give_back(pieces, starts, begins)
    bounds = [bisect_left(begins, position) for position, _ in places]
    # a turn that the next one's marker closes is closed by that of the generation prompt too
    bounds.append(min(bisect_left(begins, prompt_start) + closing.by_next, len(pieces)))
    marked: list[Segment] = []
    done = 0
    for (_, owner), (first, limit) in zip(places, pairwise(bounds), strict=True):
        for begin, end in _sampled_parts(pieces, owner, (first, max(first, limit)), closing):
            marked += pieces[done:begin]
            marked += _as_body(pieces[begin:end], owner)
            done = end
    marked += pieces[done:]
    return joined(marked) if len(pieces) > len(segments) else marked


def _cut_at(segments: Sequence[Segment], edges: Sequence[int]) -> tuple[list[Segment], list[int]]:
    """Cut segments at these ascending characters, and return where each begins. A special is never cut."""
    # no `_runs.cut_at`: segments hold texts, not lengths, and the few that are cut are found without a walk over all
    begins = [0, *accumulate([len(segment.text) for segment in segments])]
    pieces: list[Segment] = []
    done = 0
    known = set(begins)
    for number, inside in groupby((e for e in edges if e not in known), lambda edge: bisect_right(begins, edge) - 1):
        if number >= len(segments) or segments[number].kind == "special":
            continue
        segment, start = segments[number], begins[number]
        bounds = [0, *(edge - start for edge in inside), len(segment.text)]
        pieces += segments[done:number]
        pieces += [
            Segment(segment.text[first:end], "text", segment.body, segment.message) for first, end in pairwise(bounds)
        ]
        done = number + 1
    pieces += segments[done:]
    return pieces, begins if not done else [0, *accumulate([len(piece.text) for piece in pieces])]


def _give_back(pieces: list[Segment], starts: Mapping[int, Start], begins: Sequence[int]) -> None:
    """Give the turn before what closes it, where a template writes that at the beginning of the next turn."""
    for start in starts.values():
        if not start.closing:
            continue
        first, end = (bisect_left(begins, edge) for edge in (start.turn, start.turn + start.closing))
        before = pieces[first - 1].message if first else UNOWNED
        for number in range(first, end):
            piece = pieces[number]
            if not piece.body:
                pieces[number] = Segment(piece.text, piece.kind, False, before)


def _sampled_parts(
    pieces: Sequence[Segment], owner: int, bounds: tuple[int, int], closing: Closing
) -> Iterator[tuple[int, int]]:
    """Yield the parts of a turn that are sampled: one, unless another message has text inside of the turn."""
    start, limit = bounds
    while start < limit:
        said, foreign = _said(pieces, owner, start, limit)
        end = _end_of_sampling(pieces, owner, (said, foreign), closing)
        if end > start:
            yield start, end
        start = next((k for k in range(max(foreign, end), limit) if pieces[k].message == owner), limit)
        if not any(pieces[k].body and pieces[k].message == owner for k in range(start, limit)):
            return


def _said(pieces: Sequence[Segment], owner: int, start: int, limit: int) -> tuple[int, int]:
    """Return the end of a message's content from a piece on, and the start of another message's before the limit."""
    end = start
    for number in range(start, limit):
        piece = pieces[number]
        if piece.body:
            if piece.message != owner:
                return end, number
            end = number + 1
    return end, limit


def _end_of_sampling(pieces: Sequence[Segment], owner: int, bounds: tuple[int, int], closing: Closing) -> int:
    """Return the end of sampling: after the first stop behind a turn's content, else after its close or the turn.

    The bounds are the end of what it says, and where another message says something.
    """
    end, limit = bounds
    closed = None
    for number in range(end, limit):
        piece = pieces[number]
        if piece.message == owner:
            end = number + 1
            if piece.kind == "special" and piece.text in closing.stop_tokens:
                return end
            if piece.kind == "special" and piece.text in closing.closers and closed is None:
                closed = end
        elif piece.kind == "special":
            stops = closing.by_next or piece.text in closing.stop_tokens
            return number + 1 if stops and closed is None else closed or end
        elif not piece.text.isspace():
            break
    return closed or end


def _as_body(pieces: Sequence[Segment], owner: int) -> Iterator[Segment]:
    """Yield the pieces as a message's body, texts between specials as one."""
    texts: list[str] = []
    for piece in pieces:
        if piece.kind == "text":
            texts.append(piece.text)
            continue
        if texts:
            yield Segment("".join(texts), "text", True, owner)
            texts = []
        yield Segment(piece.text, "special", True, owner)
    if texts:
        yield Segment("".join(texts), "text", True, owner)
