"""Rows of a build as samples again: ids, what is trained on, and whose they are where the columns tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

from isc.build import arrow, tables
from isc.build.compression import compression_of, split_name, unpacked
from isc.build.conversations import InputError, decoded
from isc.build.samples import ENDINGS
from isc.build.sources import BROKEN
from isc.conversation.columns import IGNORED
from isc.conversation.training import TrainingSample
from isc.rendered import RenderedTokens
from isc.types import UNOWNED, Span

_MASKS = ("loss_mask", "completion_mask", "assistant_masks")
_OWNERS = ("message_indices", "is_content", "message_roles")
_TOLD_BY = ("labels", *_MASKS, "loss_spans")


def is_of_samples(path: Path) -> bool:
    """Return whether a file holds samples: rows with `input_ids`."""
    if split_name(path)[1] not in ENDINGS or not path.is_file():
        return False
    try:
        return "input_ids" in saved_row(path, 1)
    except InputError:  # whoever reads it as conversations says what is wrong
        return False


def saved_row(path: Path, number: int) -> Mapping[str, Any]:
    """Return a row of a file of samples by its number, from 1.

    Raises:
        InputError: There is no such row, it is no JSON object, or the file is damaged.
    """
    try:
        with path.open("rb") as stream:
            row = _row(path, stream, number)
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(row, Mapping):
        raise InputError(f"{path} has no sample in row {number}")
    return row


def _row(path: Path, stream: BinaryIO, number: int) -> object:
    """Return the value of a row, None where there is none."""
    if path.suffix == ".parquet":
        arrow.require(f"{path}: parquet")
        found = next(tables.parquet_rows(stream, number - 1), None)
        return found[0].slice(found[1], 1).to_pylist()[0] if found is not None else None
    line = next(islice(unpacked(stream, compression_of(path)), number - 1, None), b"")
    return decoded(line) if line.strip() else None


def sample_of_row(row: Mapping[str, Any]) -> TrainingSample:
    """Return the sample that a row holds.

    Its owners are those of the columns that `--columns attribution` writes. Without these, what is trained on is the
    body of one message, and all else is nobody's: `tells_owners` says which it is.

    Raises:
        InputError: The row lacks a column; says which are needed.

    >>> sample_of_row({"input_ids": [5, 6], "labels": [-100, 6]}).loss_spans
    ((1, 2),)
    """
    if "input_ids" not in row or not any(name in row for name in _TOLD_BY):
        needed = f"input_ids and one of {', '.join(_TOLD_BY)}"
        raise InputError(f"a sample needs the columns {needed} (the row has {', '.join(map(str, row))})")
    ids, mask = list(row["input_ids"]), _trained(row)
    if row.get("target_ids"):  # of the last token there is no target: it is one itself
        ids, mask = [*ids, row["target_ids"][-1]], [False, *mask]
    if tells_owners(row):
        rendered = RenderedTokens.from_columns(ids, *(row[name] for name in _OWNERS))
    else:
        owners = [0 if trained else UNOWNED for trained in mask]
        rendered = RenderedTokens.from_columns(ids, owners, mask, ("assistant",))
    return TrainingSample(rendered, _spans(mask))


def tells_owners(row: Mapping[str, Any]) -> bool:
    """Return whether the columns of a row tell whose the tokens are."""
    return all(name in row for name in _OWNERS)


def _trained(row: Mapping[str, Any]) -> list[bool]:
    """Return for each token whether it is trained on, by whichever column tells it."""
    if "labels" in row:
        return [label != IGNORED for label in row["labels"]]
    if "loss_spans" in row:
        mask = [False] * len(row["input_ids"])
        for start, end in row["loss_spans"]:
            mask[start:end] = [True] * (end - start)
        return mask
    return list(map(bool, row[next(name for name in _MASKS if name in row)]))


def _spans(mask: Sequence[bool]) -> tuple[Span, ...]:
    padded = (False, *mask, False)
    edges = [place for place, (before, after) in enumerate(pairwise(padded)) if before != after]
    return tuple(zip(edges[::2], edges[1::2], strict=True))
