"""What is shown of each kind of value, and that characters spread over tokens are told where they are complete."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from isc.viewer.texts import completed_characters
from isc.viewer.views import views_of

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def test_a_render_says_nothing_of_training(small: isc.Renderer) -> None:
    rendered = small.render(CHAT)
    (view,) = views_of(rendered)
    assert (view.rendered, view.trained, view.logprobs) == (rendered, None, None)


def test_a_sample_has_its_loss_spans(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(small, CHAT)
    (view,) = views_of(sample)
    assert view.trained == sample.loss_spans


def test_a_step_is_trained_on_where_the_model_sampled_its_completion(small: isc.Renderer) -> None:
    result = {"role": "tool", "content": "1"}
    step = isc.build_trajectory_step(small, [*CHAT, result], [CHAT[1], result, CHAT[1]])
    assert any(step.rendered.sampled_mask[: step.prompt_length]), "the prompt holds an answer, which is not trained on"
    (view,) = views_of(step)
    assert view.trained is not None
    positions = [position for start, end in view.trained for position in range(start, end)]
    assert positions == [at + step.prompt_length for at, sampled in enumerate(step.completion_mask) if sampled]


def test_an_episode_comes_with_each_sequence_that_it_gave_up(small: isc.Renderer) -> None:
    encoder = small.encoder
    thought = [
        encoder.specials["<think>"],
        *next(iter(encoder.encode_batch(["Let me see."]))),
        encoder.specials["</think>"],
        *next(iter(encoder.encode_batch(["Yes."]))),
        small.get_stop_token_ids()[0],
    ]
    rollout = isc.rollout.Rollout.start(small, CHAT[:1]).after_completion(thought, [-0.5] * len(thought))
    rollout = rollout.after_messages([{"role": "user", "content": "sure?"}]).after_completion([7], [-2.0])
    episode = rollout.finish()
    assert episode.rerenders, "Qwen3 drops earlier reasoning"
    last, abandoned = views_of(rollout)
    assert last.rendered == episode.rendered
    assert last.notes
    assert last.logprobs == episode.logprobs
    assert abandoned.rendered == episode.abandoned[0].rendered
    assert abandoned.trained == episode.abandoned[0].loss_spans


def test_log_probabilities_that_nobody_told_are_not_shown(small: isc.Renderer) -> None:
    (view,) = views_of(isc.rollout.Rollout.start(small, CHAT[:1]).after_completion([7]))
    assert view.logprobs is None


def test_what_cannot_be_shown_is_refused_by_name() -> None:
    with pytest.raises(isc.errors.OptionError, match="not 'text'"):
        views_of("text")  # type: ignore[arg-type]


@given(st.text(max_size=20), st.lists(st.integers(0, 60), max_size=30))
def test_a_character_is_told_by_the_token_with_its_last_byte(text: str, cuts: list[int]) -> None:
    whole = text.encode("utf-8", "ignore")
    ends = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:end] for start, end in pairwise(ends)]
    expected: dict[int, str] = {}
    position = 0
    for character in whole.decode():
        last = position + len(character.encode()) - 1
        token = next(at for at, end in enumerate(ends[1:]) if last < end)
        if position < ends[token]:
            expected[token] = character
        position = last + 1
    assert completed_characters(pieces) == expected
