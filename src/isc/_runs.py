"""Sequences as runs: lengths with what holds for each. Nothing else is known here, so everything may use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

_Key = TypeVar("_Key")


def merge(runs: Iterable[tuple[int, _Key]]) -> list[tuple[int, _Key]]:
    """Put neighbours with equal keys together, and leave out runs of no length.

    >>> merge([(2, "a"), (0, "b"), (1, "a"), (3, "c")])
    [(3, 'a'), (3, 'c')]
    """
    merged: list[tuple[int, _Key]] = []
    total = 0
    last: _Key | None = None
    for length, key in runs:
        if not length:
            continue
        if total and key == last:
            total += length
            merged[-1] = (total, key)
        else:
            total, last = length, key
            merged.append((length, key))
    return merged


def cut_at(runs: Iterable[tuple[int, _Key]], positions: Iterable[int]) -> Iterator[list[tuple[int, _Key]]]:
    """Cut runs at ascending positions.

    Args:
        runs: The runs; none is empty.
        positions: Where to cut, between 0 and the length of all runs.

    Returns:
        The runs before the first position, then those between neighbouring positions, then those after the last; empty
        where nothing lies between.

    >>> list(cut_at([(3, "a"), (2, "b")], [1, 1, 4]))
    [[(1, 'a')], [], [(2, 'a'), (1, 'b')], [(1, 'b')]]
    """
    waiting = iter(runs)
    run = next(waiting, None)
    start = 0
    for position in positions:
        piece: list[tuple[int, _Key]] = []
        while start < position and run is not None:
            length, key = run
            taken = min(length, position - start)
            piece.append((taken, key))
            start += taken
            run = (length - taken, key) if taken < length else next(waiting, None)
        yield piece
    yield [*([] if run is None else [run]), *waiting]


def shared(first: Sequence[object], second: Sequence[object]) -> int:
    """Count the leading items that two sequences share.

    >>> shared([1, 2, 3], [1, 2, 4, 5])
    2
    """
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(first), len(second)))
