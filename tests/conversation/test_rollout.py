"""Rollouts: ids are appended as they were given, every sampled token is trained on once, re-renders are told."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from golden_conversations import TOOLS, assistant, tool, user
from isc.conversation.rollout import Episode, Rollout, SampledTokens, assistant_message
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.errors import RolloutError
from isc.formats.qwen3 import Qwen3
from spelled_ids import ids_of

ASK = [user("go")]
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>'
THOUGHT = "<think>\nr\n</think>\n\n"
PIECES = (
    CALL,
    THOUGHT,
    THOUGHT,
    "text",
    "\n",
    '<tool_call>{"name": 3',
    "<|im_end|>",
    "<|endoftext|>",
    "</think>",
    " e\u0301",
)

Turn: TypeAlias = tuple[tuple[int, ...], tuple[float, ...], list[dict[str, Any]]]
"""What was sampled, its log-probabilities, and the messages that follow."""


def sampled_turn(renderer: isc.Renderer, dice: random.Random) -> Turn:
    """A completion of random ids, well-formed pieces and cut-off pieces, and what comes after it."""
    ids: list[int] = []
    for _ in range(dice.randint(0, 4)):
        if dice.random() < 0.5:
            ids += [dice.randrange(len(renderer.encoder.specials) + 7000) for _ in range(dice.randint(1, 5))]
        else:
            piece = ids_of(renderer, dice.choice(PIECES))
            ids += piece[: dice.randint(1, len(piece))] if dice.random() < 0.2 else piece
    logprobs = tuple(-dice.random() * 9 for _ in ids)
    follows = [tool("12:00"), tool("\n e\u0301"), user("and?"), assistant("no", reasoning="x")]
    weights = (8, 4, 2, 1)
    return tuple(ids), logprobs, dice.choices(follows, weights, k=dice.randint(1, 3))


def played(renderer: isc.Renderer, turns: Sequence[Turn]) -> list[Rollout]:
    """Every state of an episode, its last completion unanswered."""
    states = [Rollout.start(renderer, ASK, TOOLS)]
    for turn, (ids, logprobs, _) in enumerate(turns):
        if turn:
            states.append(states[-1].after_messages(turns[turn - 1][2]))
        states.append(states[-1].after_completion(ids, logprobs))
    return states


@cache
def small_renderer(name: str) -> isc.Renderer:
    family = FAMILIES[name]
    return isc.Renderer(family, embedded(family.specials), "all" if name == "all" else None)


FAMILIES: dict[str, isc.Family] = {
    "hybrid": Qwen3(),
    "all": Qwen3(),
    "keeps": Qwen3(variant="instruct_2507"),
    "thinking": Qwen3(variant="thinking_2507"),
    "closed by the next role": isc.Glm45(),
}
EPISODES = st.tuples(st.integers(1, 6), st.integers(0, 2**32)).map(lambda drawn: (drawn[0], random.Random(drawn[1])))


def check_episode(renderer: isc.Renderer, count: int, dice: random.Random) -> None:
    """All that is promised of an episode, checked on its states."""
    turns = [sampled_turn(renderer, dice) for _ in range(count)]
    states = played(renderer, turns)
    prompts = [state for state in states if state.completion is None]
    episode = states[-1].finish()
    refused = [
        turn
        for turn, (state, (ids, _, new)) in enumerate(zip(prompts[:-1], turns, strict=False))
        if isinstance(renderer.plan_bridge(state.prompt_ids, ids, new, TOOLS), isc.Refusal)
    ]
    assert [point.turn for point in episode.rerenders] == refused
    for turn, (state, (ids, _, _)) in enumerate(zip(prompts, turns, strict=True)):
        following = prompts[turn + 1].prompt_ids if turn + 1 < count else episode.token_ids
        if turn not in refused:
            assert following[: len(state.prompt_ids) + len(ids)] == state.prompt_ids + ids
    check_every_token_is_trained_on_once(episode, turns)
    assert len(episode.messages) == len(episode.rendered.message_roles)
    if not refused:
        assert all(said for said, mask in zip(episode.rendered.sampled_mask, episode.loss_mask, strict=True) if mask)


def check_every_token_is_trained_on_once(episode: Episode, turns: Sequence[Turn]) -> None:
    """The episode and what it abandoned hold each sampled token once, with the log-probability it was sampled with."""
    wanted = sorted(
        (token, logprob) for ids, logprobs, _ in turns for token, logprob in zip(ids, logprobs, strict=True)
    )
    samples = (episode, *(point.abandoned for point in episode.rerenders))
    assert sorted(pair for sample in samples for pair in trained(sample)) == wanted
    assert sum(sample.trainable_tokens for sample in (episode, *episode.abandoned)) == len(wanted)


def trained(sample: SampledTokens) -> list[tuple[int, float]]:
    """The trained tokens with their log-probabilities; all must have one, and columns be aligned."""
    assert len(sample.logprobs) == len(sample.loss_mask) == len(sample.token_ids)
    assert all(start < end for start, end in sample.loss_spans)
    columns = zip(sample.token_ids, sample.logprobs, sample.loss_mask, strict=True)
    pairs = [(token, logprob) for token, logprob, mask in columns if mask]
    assert all(logprob is not None for _, logprob in pairs)
    return [(token, logprob) for token, logprob in pairs if logprob is not None]


@pytest.mark.parametrize("name", FAMILIES)
@given(drawn=EPISODES)
def test_episodes_of_random_completions(name: str, drawn: tuple[int, random.Random]) -> None:
    check_episode(small_renderer(name), *drawn)


@given(drawn=EPISODES)
def test_episodes_on_the_vocabulary_of_qwen3(
    real_encoder: Callable[[str], VocabularyEncoder], drawn: tuple[int, random.Random]
) -> None:
    check_episode(isc.create_renderer(real_encoder("qwen3"), Qwen3()), *drawn)


def test_tool_turns_only_append(small: isc.Renderer) -> None:
    turns: list[Turn] = [(ids_of(small, THOUGHT + CALL), (-1.0,) * len(ids_of(small, THOUGHT + CALL)), [tool("1")])] * 5
    episode = played(small, turns)[-1].finish()
    assert episode.rerenders == ()
    assert episode.rendered.message_roles == ("user", *("assistant", "tool") * 4, "assistant")
    assert episode.loss_mask == episode.rendered.sampled_mask
    assert episode.token_ids[episode.loss_spans[0][0] : episode.loss_spans[0][1]] == turns[0][0]


def test_a_user_turn_that_drops_reasoning_sets_it_aside(small: isc.Renderer) -> None:
    first, second = ids_of(small, THOUGHT + "four<|im_end|>"), ids_of(small, "six<|im_end|>")
    asked = Rollout.start(small, ASK)
    again = asked.after_completion(first, [-1.0] * len(first)).after_messages([user("and?")])
    episode = again.after_completion(second, [-2.0] * len(second)).finish()
    (point,) = episode.rerenders
    assert (point.turn, point.reason, point.kept) == (0, "retention", len(asked.prompt_ids))
    assert again.prompt_ids == small.render_ids([*ASK, assistant("four"), user("and?")], None, True)
    assert point.abandoned.token_ids == asked.prompt_ids + first
    assert point.lost == len(first)
    assert episode.trainable_tokens == len(second)
    assert trained(episode.abandoned[0]) == [(token, -1.0) for token in first]


def test_what_a_fresh_render_shares_with_what_was_sampled_stays_trained_on() -> None:
    renderer = isc.Renderer(Qwen3(variant="instruct_2507"), embedded(Qwen3().specials), "tool_cycle")
    said = ids_of(renderer, "four<|im_end|>")
    rollout = Rollout.start(renderer, ASK).after_completion(said, [-1.0] * len(said)).after_messages([user("and?")])
    episode = rollout.finish()
    assert [(point.reason, point.lost) for point in episode.rerenders] == [("retention", 0)]
    assert episode.abandoned == ()
    assert trained(episode) == [(token, -1.0) for token in said]


def test_a_turn_given_in_the_models_place_is_not_trained_on(small: isc.Renderer) -> None:
    said = ids_of(small, "four<|im_end|>")
    rollout = Rollout.start(small, ASK).after_completion(said, [-1.0] * len(said))
    episode = rollout.after_messages([assistant("five"), tool("ok")]).finish()
    assert [point.reason for point in episode.rerenders] == ["assistant_message"]
    assert trained(episode) == [(token, -1.0) for token in said]
    assert episode.rendered.message_roles == ("user", "assistant", "assistant", "tool")


def test_examples_in_the_prompt_are_not_trained_on(small: isc.Renderer) -> None:
    episode = Rollout.start(small, [user("a"), assistant("b"), user("c")]).after_completion([7, 8]).finish()
    assert sum(episode.rendered.sampled_mask) > episode.trainable_tokens == 2
    assert set(episode.logprobs) == {None}, "a sampler that reports nothing is believed"


def test_the_response_is_what_the_environment_acts_on(small: isc.Renderer) -> None:
    rollout = Rollout.start(small, ASK, TOOLS).after_completion(ids_of(small, THOUGHT + CALL))
    assert [(call.name, call.status) for call in rollout.response.tool_calls] == [("now", "ok")]
    assert rollout.response.reasoning_content == "r"


def test_reasoning_that_the_prompt_opened_is_read_as_such() -> None:
    renderer = small_renderer("thinking")
    rollout = Rollout.start(renderer, ASK).after_completion(ids_of(renderer, "r\n</think>\n\nfour<|im_end|>"))
    assert (rollout.response.reasoning_content, rollout.response.content) == ("r", "four")


def test_results_may_name_calls_by_ids_that_the_model_never_saw(small: isc.Renderer) -> None:
    rollout = Rollout.start(small, ASK, TOOLS).after_completion(ids_of(small, CALL))
    results = [tool("12:00", "chosen-by-the-environment"), assistant("so")]
    assert rollout.after_messages(results).rerenders[0].reason == "assistant_message"
    assert rollout.after_messages(results[:1]).rerenders == ()


@pytest.mark.parametrize(
    ("said", "content", "calls"),
    [
        (CALL, "", ["now"]),
        ("so\n" + CALL, "so", ["now"]),
        ('<tool_call>{"name": "now"</tool_call>', '<tool_call>{"name": "now"</tool_call>', []),
        ('a\n<tool_call>{"name"', 'a\n<tool_call>{"name"', []),
        ("<tool_call>[]</tool_call>\n" + CALL, "<tool_call>[]</tool_call>", ["now"]),
        ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>', "", ["rm"]),
    ],
)
def test_attempts_that_are_no_calls_are_kept_as_text(
    small: isc.Renderer, said: str, content: str, calls: list[str]
) -> None:
    ids = ids_of(small, said)
    message = assistant_message(small.encoder, ids, small.parse_response(ids, TOOLS))
    assert message.content == content
    assert [call.name for call in message.tool_calls] == calls


def test_states_are_values_that_can_be_branched(small: isc.Renderer) -> None:
    start = Rollout.start(small, ASK)
    one, two = start.after_completion([5]), start.after_completion([6])
    assert start.completion is None
    assert one.finish().token_ids[:-1] == two.finish().token_ids[:-1] == start.prompt_ids
    assert pickle.loads(pickle.dumps(one.finish())) == one.finish()
    assert msgspec.json.decode(msgspec.json.encode(one.finish()), type=Episode) == one.finish()


@pytest.mark.parametrize(
    ("logprobs", "problem"),
    [([-1.0], "1 values for 2 completion_ids"), ([-1.0, math.nan], "nan is no"), ([-math.inf, 0.0], "-inf is no")],
)
def test_logprobs_must_be_numbers_one_a_token(small: isc.Renderer, logprobs: list[float], problem: str) -> None:
    with pytest.raises(isc.OptionError, match=problem):
        Rollout.start(small, ASK).after_completion([5, 6], logprobs)


def test_a_step_out_of_turn_says_which_comes_next(small: isc.Renderer) -> None:
    start = Rollout.start(small, ASK)
    with pytest.raises(RolloutError, match="sample one for prompt_ids"):
        start.after_messages([tool("1")])
    with pytest.raises(RolloutError, match="no completion to be read"):
        _ = start.response
    with pytest.raises(RolloutError, match="give what came after it to after_messages, or finish"):
        start.after_completion([5]).after_completion([6])
    with pytest.raises(isc.ConversationError, match="new_messages"):
        start.after_completion([5]).after_messages([])
    with pytest.raises(isc.ConversationError, match=r"new_messages\[0\].role"):
        start.after_completion([5]).after_messages([{"role": "bot"}])


def test_a_prompt_nothing_answered_is_an_end_too(small: isc.Renderer) -> None:
    start = Rollout.start(small, ASK)
    assert start.finish().token_ids == start.prompt_ids
    assert start.finish().trainable_tokens == 0
    cut = start.after_completion([5], [-1.0]).after_messages([tool("1")]).finish()
    assert trained(cut) == [(5, -1.0)]
    assert cut.messages[-1] == isc.ToolMessage("1")
