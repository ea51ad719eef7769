"""Assistant turns under law 4: from where sampling starts up to and including the stop, all is body of that message.

A turn ends at the first special after what it says that ends turns. Where the format leaves that to the next turn, the
special that stands there is sampled, whoever wrote it: a declared stop, or any where turns have no close of their own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from msgspec import Struct

from isc.traced.pieces import Pieces
from isc.traced.sampling import Start
from isc.types import UNOWNED


class Closing(Struct, frozen=True):
    """The end of turns: by a special of their own, or by one of the specials that begin the next turn.

    `turn_close` is None in the second case, which `by_next` says is known; `closers` are all specials that end turns,
    `stop_tokens` those at which sampling stops. `ends` are those that end anybody's message, or a part of it.
    """

    turn_close: str | None = None
    closers: frozenset[str] = frozenset()
    stop_tokens: tuple[str, ...] = ()
    by_next: bool = False
    ends: frozenset[str] = frozenset()


def edges_of(starts: Mapping[int, Start], prompt_start: int) -> list[int]:
    """Return the characters at which something begins or ends to be sampled, or to close a turn, in ascending order."""
    edges = {prompt_start, *[start.position for start in starts.values()]}
    for start in starts.values():
        if start.closing:
            edges |= {start.turn, start.turn + start.closing}
    return sorted(edges)


def mark_sampled_turns(pieces: Pieces, starts: Mapping[int, Start], closing: Closing, prompt_start: int) -> None:
    """Mark what each assistant turn samples as its body.

    Args:
        pieces: The conversation with owners, cut at `edges_of` the same starts.
        starts: Where sampling of each assistant message starts.
        closing: How turns end.
        prompt_start: The character at which a generation prompt begins that no turn follows.
    """
    begins = list(accumulate(map(len, pieces.texts), initial=0))
    _give_back(pieces, starts, begins)
    places = sorted((start.position, owner) for owner, start in starts.items())
    bounds = [bisect_left(begins, position) for position, _ in places]
    # a turn that the next one's marker closes is closed by that of the generation prompt too
    bounds.append(min(bisect_left(begins, prompt_start) + closing.by_next, len(pieces.texts)))
    sampled = [
        (owner, part)
        for (_, owner), (first, limit) in zip(places, pairwise(bounds), strict=True)
        for part in _sampled_parts(pieces, owner, (first, max(first, limit)), closing)
    ]
    for owner, (begin, end) in sampled:
        is_next = closing.by_next and pieces.specials[end - 1] and pieces.owners[end - 1] != owner
        if is_next and pieces.parts is not None:
            pieces.parts[end - 1] = "close"
        pieces.owners[begin:end] = [owner] * (end - begin)
        pieces.bodies[begin:end] = [True] * (end - begin)


def _give_back(pieces: Pieces, starts: Mapping[int, Start], begins: Sequence[int]) -> None:
    """Give the turn before what closes it, where a template writes that at the beginning of the next turn."""
    for start in starts.values():
        if not start.closing:
            continue
        first, end = (bisect_left(begins, edge) for edge in (start.turn, start.turn + start.closing))
        before = pieces.owners[first - 1] if first else UNOWNED
        for number in range(first, end):
            if not pieces.bodies[number] and pieces.owners[number] != UNOWNED:
                pieces.owners[number] = before
                if pieces.parts is not None and pieces.specials[number]:
                    pieces.parts[number] = "close"


def _sampled_parts(pieces: Pieces, owner: int, bounds: tuple[int, int], closing: Closing) -> Iterator[tuple[int, int]]:
    """Yield the parts of a turn that are sampled: one, unless another message has text inside of the turn."""
    start, limit = bounds
    while start < limit:
        said, foreign = _said(pieces, owner, start, limit)
        end = _end_of_sampling(pieces, owner, (said, foreign), closing)
        if end > start:
            yield start, end
        done = max(foreign, end)
        if owner not in pieces.owners[done:limit]:
            return
        start = pieces.owners.index(owner, done)
        if not any(pieces.bodies[k] and pieces.owners[k] == owner for k in range(start, limit)):
            return


def _said(pieces: Pieces, owner: int, start: int, limit: int) -> tuple[int, int]:
    """Return the end of a message's content from a piece on, and the start of another message's before the limit."""
    end = start
    owners = pieces.owners
    for number, body in enumerate(pieces.bodies[start:limit], start):
        if body:
            if owners[number] != owner:
                return end, number
            end = number + 1
    return end, limit


def _end_of_sampling(pieces: Pieces, owner: int, bounds: tuple[int, int], closing: Closing) -> int:
    """Return the end of sampling: after the first stop behind a turn's content, else after its close or the turn.

    The bounds are the end of what it says, and where another message says something.
    """
    end, limit = bounds
    closed = None
    for number in range(end, limit):
        text, special = pieces.texts[number], pieces.specials[number]
        if pieces.owners[number] == owner:
            end = number + 1
            if special and text in closing.stop_tokens:
                return end
            if special and text in closing.closers and closed is None:
                closed = end
        elif special:
            stops = closing.by_next or text in closing.stop_tokens
            return number + 1 if stops and closed is None else closed or end
        elif not text.isspace():
            break
    return closed or end
