"""Samples for training, stop tokens and steps of a trajectory, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import renderers

import isc.compat
from cases import Case
from isc.formats.catalogue import family_name
from peers.sides import SHARED, Sides, conversations, sides

OPTIONS: dict[str, dict[str, Any]] = {
    "all that is sampled": {},
    "assistants": {"role_to_mask": lambda message: message["role"] == "assistant"},
    "users, who sample nothing": {"role_to_mask": lambda message: message["role"] == "user"},
    "tool results besides": {"content_sft_roles": {"tool", "user"}},
    "content of assistants though they are not picked": {
        "content_sft_roles": {"assistant"},
        "role_to_mask": lambda message: False,
    },
}


def equal_columns(both: Sides, messages: Sequence[Mapping[str, Any]], tools: Any) -> bool:  # noqa: ANN401
    """Whether there is nothing that samples could inherit."""
    try:
        ours, theirs = (side.render([*messages], tools=tools) for side in (both.parsing, both.theirs))
    except ValueError:  # a role that renderers refuses
        return False
    names = ("token_ids", "sampled_mask", "is_content")
    return all(getattr(ours, name) == getattr(theirs, name) for name in names)


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_equal_renders_make_equal_samples(case: Case, reference: Path) -> None:
    both = sides(case, reference)
    count = 0
    for seed, (given, tools) in conversations(case, 60):
        messages = [*given]
        if not equal_columns(both, messages, tools):
            continue
        count += 1
        mask = [(seed + place) % 2 for place in range(len(messages))]
        for options in (*OPTIONS.values(), {"message_loss_mask": mask}):
            ours = isc.compat.build_training_sample(both.parsing, messages, tools=tools, **options)
            theirs = renderers.build_training_sample(both.theirs, messages, tools=tools, **options)
            assert (ours.token_ids, ours.loss_mask) == (theirs.token_ids, theirs.loss_mask), options
    assert count > 0


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_isc_stops_where_renderers_stops(case: Case, reference: Path) -> None:
    """And at the token that ends a text, which renderers leaves out for some formats."""
    both = sides(case, reference)
    ours, theirs = both.ours.get_stop_token_ids(), both.theirs.get_stop_token_ids()
    assert ours[0] == theirs[0]
    more = family_name(case.family) in ("kimi-k2", "kimi-k2.5", "gpt-oss", "nemotron-3")
    assert set(ours) > set(theirs) if more else set(ours) == set(theirs)


def test_a_step_has_the_same_ids_where_a_turn_is_rendered_as_it_is_sampled(reference: Path) -> None:
    """What follows the turn close is marked as sampled by renderers, which splits where two renders part."""
    both = sides(next(case for case in SHARED if case.name == "qwen3-vl"), reference)
    prompt, completion = [{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello"}]
    ours = isc.compat.build_trajectory_step(both.ours, prompt, completion)
    theirs = renderers.build_trajectory_step(both.theirs, [*prompt], [*completion])
    assert ours.keys() == theirs.keys()
    assert ours["prompt_ids"] == theirs["prompt_ids"]
    assert ours["prompt_mask"] == theirs["prompt_mask"]
    assert [*ours["completion_ids"], 198] == theirs["completion_ids"]
    assert ours["completion_mask"] == theirs["completion_mask"][:-1]
