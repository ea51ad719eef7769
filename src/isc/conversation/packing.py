"""Several samples in one row of a given length, without a sample being cut: best fit, the longest first."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import cast

from isc.conversation.columns import IGNORED, Column, ColumnSet
from isc.conversation.training import TrainingSample
from isc.errors import OptionError
from isc.types import Span

PACK_COLUMNS = ("position_ids", "seq_lengths")
"""What a row of several samples has beside their columns: positions that begin anew with each, and their lengths."""

_MASKS = ("labels", "loss_mask", "completion_mask", "assistant_masks")


def pack(lengths: Sequence[int], capacity: int) -> tuple[tuple[int, ...], ...]:
    """Put lengths into packs of a capacity: the longest first, each where it leaves the least room.

    Args:
        lengths: The lengths.
        capacity: The most that the lengths of a pack may add up to.

    Returns:
        The packs, as ascending indices of `lengths`, in the order of their first.

    Raises:
        OptionError: A length is more than the capacity.

    >>> pack([5, 6, 3, 2, 4], 10)
    ((0, 2, 3), (1, 4))
    """
    packs: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # room and number of each pack, ascending
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        length = lengths[index]
        if length > capacity:
            raise OptionError(f"a sample of {length} tokens fits in no pack of {capacity}; shorten or leave it out")
        place = bisect_left(rooms, (length, 0))
        room, number = rooms.pop(place) if place < len(rooms) else (capacity, len(packs))
        if number == len(packs):
            packs.append([])
        packs[number].append(index)
        insort(rooms, (room - length, number))
    return tuple(sorted(tuple(sorted(one)) for one in packs))


def pack_samples(
    samples: Sequence[TrainingSample], length: int, which: ColumnSet = "labels"
) -> tuple[dict[str, Column], ...]:
    """Return samples packed into rows of at most `length` tokens.

    Args:
        samples: The samples; none is longer.
        length: The most tokens of a row.
        which: The set of columns, see `isc.TrainingSample.columns`.

    Returns:
        Rows of these columns one behind the other, and `position_ids`, which begin anew with each sample, and
        `seq_lengths`, as TRL's collator reads them. The first token of a sample is not trained on: nothing of its own
        stands before it.

    Raises:
        OptionError: A sample is longer, or there is no such set.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> sample = isc.build_training_sample(renderer, [{"role": "assistant", "content": "hi"}])
    >>> (row,) = isc.pack_samples([sample, sample], 64)
    >>> row["seq_lengths"] == (len(sample.token_ids),) * 2
    True
    """
    rows = [sample.columns(which) for sample in samples]
    packs = pack([cast(int, row["length"]) for row in rows], length)
    return tuple(packed_row([rows[index] for index in one]) for one in packs)


def packed_row(rows: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """Return the rows of samples, of one set of columns, as one row."""
    lengths = [cast(int, row["length"]) for row in rows]
    packed: dict[str, Column] = {name: _joined(name, rows, lengths) for name in rows[0]}
    packed["position_ids"] = tuple(chain.from_iterable(map(range, lengths)))
    packed["seq_lengths"] = tuple(lengths)
    return packed


def _joined(name: str, rows: Sequence[Mapping[str, Column]], lengths: Sequence[int]) -> Column:
    if name == "length":
        return sum(lengths)
    columns = [cast("tuple[int, ...]", row[name]) for row in rows]
    if name == "loss_spans":
        return tuple(chain.from_iterable(map(_moved, (row[name] for row in rows), accumulate(lengths, initial=0))))
    if name == "message_indices":
        firsts = accumulate((len(cast("tuple[str, ...]", row["message_roles"])) for row in rows), initial=0)
        moved = (
            tuple(index + first if index >= 0 else index for index in column)
            for column, first in zip(columns, firsts, strict=False)
        )
        return tuple(chain.from_iterable(moved))
    if name in _MASKS and "target_ids" not in rows[0]:
        nothing = IGNORED if name == "labels" else type(columns[0][0])(0) if columns[0] else 0
        columns = [(nothing, *column[1:]) if column else column for column in columns]
    return tuple(chain.from_iterable(columns))


def _moved(column: Column, first: int) -> tuple[Span, ...]:
    """Return the spans of a sample as those of a row in which it begins at token `first`."""
    spans = ((max(start, 1) + first, end + first) for start, end in cast("tuple[Span, ...]", column))
    return tuple((start, end) for start, end in spans if start < end)
