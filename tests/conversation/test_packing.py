"""Packs: as a slow best fit would make them, and rows in which every sample is found again as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from isc.conversation.columns import IGNORED, SETS, ColumnSet
from isc.conversation.packing import pack, packed_row


def slowly(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best fit, the longest first, by looking at every pack."""
    packs: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        rooms = [(capacity - sum(lengths[k] for k in one), number) for number, one in enumerate(packs)]
        fitting = [room for room in rooms if room[0] >= lengths[index]]
        if fitting:
            packs[min(fitting)[1]].append(index)
        else:
            packs.append([index])
    return sorted(sorted(one) for one in packs)


@given(st.lists(st.integers(0, 20), max_size=40), st.integers(20, 40))
def test_packs_are_those_of_a_slow_best_fit(lengths: list[int], capacity: int) -> None:
    assert [list(one) for one in pack(lengths, capacity)] == slowly(lengths, capacity)


def test_many_lengths_are_packed_tightly_and_soon() -> None:
    lengths = [17 + (k * 7919) % 1000 for k in range(50_000)]
    packs = pack(lengths, 4096)
    assert sum(map(len, packs)) == len(lengths)
    assert len(packs) <= 1.01 * sum(lengths) / 4096 + 1


def test_a_sample_that_fits_in_no_pack_is_refused() -> None:
    with pytest.raises(isc.OptionError, match="a sample of 9 tokens fits in no pack of 8"):
        pack([3, 9], 8)


def chat(number: int) -> list[dict[str, str]]:
    head = [] if number % 3 == 0 else [{"role": "user", "content": "again " * number}]
    return [*head, {"role": "assistant", "content": f"answer {number}"}, {"role": "user", "content": "x"}]


@pytest.mark.parametrize("which", SETS)
def test_every_sample_stands_in_a_row_as_it_is_by_itself(small: isc.Renderer, which: ColumnSet) -> None:
    samples = [isc.build_training_sample(small, chat(number)) for number in range(12)]
    alone: list[dict[str, Any]] = [dict(sample.columns(which)) for sample in samples]
    found: list[dict[str, Any]] = []
    for row in isc.pack_samples(samples, 64, which):
        assert sum(row["seq_lengths"]) == row["length"] == len(row["input_ids"]) <= 64  # type: ignore[arg-type]
        found += unpacked(row)
    for one in alone:
        one["position_ids"] = tuple(range(one["length"]))
        for name in {"labels", "loss_mask", "completion_mask", "assistant_masks"} & one.keys() - {"target_ids"}:
            if which != "shifted":
                one[name] = (IGNORED if name == "labels" else False, *one[name][1:])
        if "loss_spans" in one:
            one["loss_spans"] = tuple((max(start, 1), end) for start, end in one["loss_spans"])
        one.pop("message_roles", None)
    assert sorted(found, key=str) == sorted(alone, key=str)


def unpacked(row: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """The samples of a row, cut by `seq_lengths`, as trainers cut it."""
    samples: list[dict[str, Any]] = []
    first = 0
    owners = -1
    for length in row["seq_lengths"]:
        end = first + length
        sample: dict[str, Any] = {}
        for name, column in row.items():
            if name == "loss_spans":
                sample[name] = tuple((a - first, b - first) for a, b in column if first <= a < end)
            elif name not in ("seq_lengths", "length", "message_roles"):
                sample[name] = column[first:end]
        if "message_indices" in sample:
            least = min(index for index in sample["message_indices"] if index >= 0)
            assert least > owners
            owners = max(sample["message_indices"])
            sample["message_indices"] = tuple(k - least if k >= 0 else k for k in sample["message_indices"])
        sample["length"] = length
        samples.append({name: sample[name] for name in row if name in sample})
        first = end
    return samples


def test_the_first_token_of_a_sample_is_not_trained_on_in_a_row() -> None:
    """What stands before it is another sample's."""
    rows: list[dict[str, Any]] = [
        {"input_ids": (5, 6), "labels": (5, 6), "loss_mask": (True, True), "loss_spans": ((0, 2),), "length": 2},
        {"input_ids": (7,), "labels": (7,), "loss_mask": (True,), "loss_spans": ((0, 1),), "length": 1},
    ]
    row = packed_row(rows)
    assert row["labels"] == (IGNORED, 6, IGNORED)
    assert row["loss_mask"] == (False, True, False)
    assert row["loss_spans"] == ((1, 2),)
    assert row["position_ids"] == (0, 1, 0)
