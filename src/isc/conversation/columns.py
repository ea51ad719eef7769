"""A training sample as the columns that trainers read: one table says which columns each set has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from isc._later import Later
from isc._options import checked
from isc.types import Span

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from isc.conversation.training import TrainingSample
else:
    numpy = NDArray = TrainingSample = Later

ColumnSet: TypeAlias = Literal["labels", "trl", "mask", "spans", "shifted", "attribution"]
"""A set of columns; `docs/columns.md` says which trainer reads which."""

Column: TypeAlias = int | tuple[int, ...] | tuple[bool, ...] | tuple[str, ...] | tuple[Span, ...]

IGNORED: Final = -100
"""The label of a token that is not trained on, as PyTorch's cross entropy and the trainers built on it have it."""


def columns_of(sample: TrainingSample, which: ColumnSet = "labels", ignore_index: int = IGNORED) -> dict[str, Column]:
    """Return a sample as columns.

    Args:
        sample: The sample.
        which: All sets have `length`, the number of `input_ids`.

            - `"labels"`: `input_ids` and `labels`, which TRL 1.16, the Trainer of transformers and LLaMA-Factory
              read.
            - `"trl"`: the masks `completion_mask` and `assistant_masks` of TRL, as 0 and 1.
            - `"mask"`: `loss_mask`.
            - `"spans"`: `loss_spans`, half-open ranges of tokens.
            - `"shifted"`: `input_ids` without the last; `target_ids`, `loss_mask` and `position_ids` of the targets, as
              prime-rl batches them.
            - `"attribution"`: `loss_mask` and every token's owner.
        ignore_index: The label of a token that is not trained on.

    Raises:
        OptionError: There is no such set.
    """
    checked("columns", which, ColumnSet, "TrainingSample")
    columns = {name: _COLUMNS[name](sample) for name in SETS[which]}
    if "labels" in columns and ignore_index != IGNORED:
        columns["labels"] = labels_of(sample, ignore_index)
    if which == "shifted":
        columns["input_ids"], columns["loss_mask"] = sample.token_ids[:-1], sample.loss_mask[1:]
        columns["length"] = max(len(sample.token_ids) - 1, 0)
    return columns


class SampleArrays(NamedTuple):
    """A sample as numpy arrays of one length: `input_ids` and `labels` of int64, `loss_mask` of bool."""

    input_ids: NDArray[numpy.int64]
    labels: NDArray[numpy.int64]
    loss_mask: NDArray[numpy.bool_]


def arrays_of(sample: TrainingSample) -> SampleArrays:
    """Return a sample as numpy arrays, the mask built span by span."""
    import numpy

    ids = sample.rendered.to_numpy().token_ids
    mask = numpy.zeros(len(ids), bool)
    for start, end in sample.loss_spans:
        mask[start:end] = True
    return SampleArrays(ids, numpy.where(mask, ids, IGNORED), mask)


def labels_of(sample: TrainingSample, ignore_index: int = IGNORED) -> tuple[int, ...]:
    """Return the ids, with `ignore_index` for every token that is not trained on."""
    labels = [ignore_index] * len(sample.token_ids)
    for start, end in sample.loss_spans:
        labels[start:end] = sample.token_ids[start:end]
    return tuple(labels)


def _numbers(sample: TrainingSample) -> tuple[int, ...]:
    """Return the loss mask as 0 and 1, as TRL writes its masks."""
    return tuple(map(int, sample.loss_mask))


_COLUMNS: Final[Mapping[str, Callable[[TrainingSample], Column]]] = {
    "input_ids": lambda sample: sample.token_ids,
    "labels": lambda sample: sample.labels,
    "loss_mask": lambda sample: sample.loss_mask,
    "completion_mask": _numbers,
    "assistant_masks": _numbers,
    "loss_spans": lambda sample: sample.loss_spans,
    "target_ids": lambda sample: sample.token_ids[1:],
    "position_ids": lambda sample: tuple(range(len(sample.token_ids) - 1)),
    "message_indices": lambda sample: sample.rendered.message_indices,
    "is_content": lambda sample: sample.rendered.is_content,
    "sampled_mask": lambda sample: sample.rendered.sampled_mask,
    "message_roles": lambda sample: sample.rendered.message_roles,
    "length": lambda sample: len(sample.token_ids),
}

SETS: Final[Mapping[ColumnSet, tuple[str, ...]]] = {
    "labels": ("input_ids", "labels", "length"),
    "trl": ("input_ids", "completion_mask", "assistant_masks", "length"),
    "mask": ("input_ids", "loss_mask", "length"),
    "spans": ("input_ids", "loss_spans", "length"),
    "shifted": ("input_ids", "target_ids", "loss_mask", "position_ids", "length"),
    "attribution": (
        *("input_ids", "loss_mask", "message_indices", "is_content", "sampled_mask", "message_roles", "length"),
    ),
}
"""The names of the columns of each set, in their order."""
