"""The columns that trainers read: each set written down by hand for one small sample."""

from __future__ import annotations

import numpy
import pytest

import isc
from golden_conversations import assistant, user
from isc.conversation.columns import SETS, Column, ColumnSet
from isc.encoding.encoders import VocabularyEncoder
from isc.rendered import RenderedTokens, Run

SAMPLE = isc.TrainingSample(
    RenderedTokens(
        (7, 8, 9, 10, 11),
        (Run(2, 0, False), Run(2, 1, True), Run(1, -1, False)),
        ("user", "assistant"),
        (None, None),
    ),
    ((2, 4),),
)

BY_HAND: dict[ColumnSet, dict[str, Column]] = {
    "labels": {"input_ids": (7, 8, 9, 10, 11), "labels": (-100, -100, 9, 10, -100), "length": 5},
    "trl": {
        "input_ids": (7, 8, 9, 10, 11),
        "completion_mask": (0, 0, 1, 1, 0),
        "assistant_masks": (0, 0, 1, 1, 0),
        "length": 5,
    },
    "mask": {"input_ids": (7, 8, 9, 10, 11), "loss_mask": (False, False, True, True, False), "length": 5},
    "spans": {"input_ids": (7, 8, 9, 10, 11), "loss_spans": ((2, 4),), "length": 5},
    "shifted": {
        "input_ids": (7, 8, 9, 10),
        "target_ids": (8, 9, 10, 11),
        "loss_mask": (False, True, True, False),
        "position_ids": (0, 1, 2, 3),
        "length": 4,
    },
    "attribution": {
        "input_ids": (7, 8, 9, 10, 11),
        "loss_mask": (False, False, True, True, False),
        "message_indices": (0, 0, 1, 1, -1),
        "is_content": (False, False, True, True, False),
        "sampled_mask": (False, False, True, True, False),
        "message_roles": ("user", "assistant"),
        "length": 5,
    },
}


@pytest.mark.parametrize("which", BY_HAND)
def test_a_set_has_these_columns(which: ColumnSet) -> None:
    columns = SAMPLE.columns(which)
    assert columns == BY_HAND[which]
    assert tuple(columns) == SETS[which]


def test_every_set_is_written_down() -> None:
    assert set(BY_HAND) == set(SETS)


def test_another_index_is_ignored_where_a_trainer_has_one() -> None:
    assert SAMPLE.columns("labels", ignore_index=-1)["labels"] == (-1, -1, 9, 10, -1)


def test_a_set_that_does_not_exist_is_refused() -> None:
    with pytest.raises(isc.OptionError, match=r"columns='label' is none of .*did you mean 'labels'"):
        SAMPLE.columns("label")  # type: ignore[arg-type]


def test_arrays_equal_the_tuples(small: isc.Renderer) -> None:
    assert isinstance(small.encoder, VocabularyEncoder)
    sample = isc.build_training_sample(small, [user("a" * 50), assistant("b c d", reasoning="e")] * 3)
    arrays, tokens = sample.to_numpy(), sample.rendered.to_numpy()
    assert arrays.labels.tolist() == list(sample.labels)
    assert arrays.loss_mask.tolist() == list(sample.loss_mask)
    assert tokens.token_ids.tolist() == list(sample.token_ids)
    assert tokens.message_indices.tolist() == list(sample.rendered.message_indices)
    assert tokens.is_content.tolist() == list(sample.rendered.is_content)
    assert tokens.sampled_mask.tolist() == list(sample.rendered.sampled_mask)
    assert [array.dtype for array in (*arrays, *tokens)] == [
        numpy.dtype(name) for name in ("int64", "int64", "bool", "int64", "int32", "bool", "bool")
    ]


def test_an_empty_render_has_empty_arrays() -> None:
    assert [len(array) for array in RenderedTokens((), ()).to_numpy()] == [0, 0, 0, 0]
