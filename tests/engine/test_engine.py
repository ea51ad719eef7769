"""Episodes against a real engine: what the trainer computes on the final ids is what the sampler reported."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

import isc
from engine import incumbent
from engine.episodes import RENDERERS, Played, play_all, vocabulary
from engine.model import LONGEST, TinyModel
from engine.server import Engine, served
from isc.client import Generation, ProtocolName, StreamEvent, TokensSampled, TurnFinished, connect, generate, stream
from isc.conversation.rollout import SampledTokens

TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def played() -> list[Played]:
    return play_all()


@pytest.fixture(scope="session")
def trainer() -> TinyModel:
    """The same weights in another object: it shares no cache with the sampler."""
    return TinyModel(len(vocabulary()))


def samples(one: Played) -> tuple[SampledTokens, ...]:
    """All there is to train on of an episode."""
    return (one.episode, *one.episode.abandoned)


def distances(trainer: TinyModel, sample: SampledTokens) -> list[float]:
    """How far the trainer's log-probability of each trained token is from the one its sampler reported."""
    columns = zip(trainer.scores(sample.token_ids), sample.logprobs, sample.loss_mask, strict=True)
    pairs = [(ours, reported) for ours, reported, trained in columns if trained]
    assert all(reported is not None for _, reported in pairs)
    return [abs(ours - reported) for ours, reported in pairs if reported is not None]


def test_the_trainer_sees_what_the_sampler_saw(played: list[Played], trainer: TinyModel) -> None:
    found = [distance for one in played for sample in samples(one) for distance in distances(trainer, sample)]
    assert len(found) == sum(len(turn.completion_ids) for one in played for turn in one.turns)
    assert len(found) > 5_000
    assert max(found) <= TOLERANCE


def test_a_shifted_id_would_be_noticed(played: list[Played], trainer: TinyModel) -> None:
    """The tolerance tells contexts apart: one other id early in the prompt moves log-probabilities far beyond it."""
    episode = played[0].episode
    ids = (episode.token_ids[1], *episode.token_ids[1:])
    scored = zip(trainer.scores(ids), episode.logprobs, episode.loss_mask, strict=True)
    far = [abs(ours - (reported or 0.0)) > TOLERANCE for ours, reported, trained in scored if trained]
    assert sum(far) > 0.9 * len(far)


def test_every_prompt_begins_with_all_that_was_before(played: list[Played]) -> None:
    for one in played:
        refused = {point.turn for point in one.episode.rerenders}
        for place, (turn, following) in enumerate(zip(one.turns, one.turns[1:], strict=False)):
            seen = turn.prompt_ids + turn.completion_ids
            assert place in refused or following.prompt_ids[: len(seen)] == seen
        last = one.turns[-1]
        assert one.episode.token_ids == last.prompt_ids + last.completion_ids


def test_the_episodes_are_worth_the_name(played: list[Played]) -> None:
    calls = [call for one in played for turn in one.turns for call in turn.response.tool_calls]
    statuses = Counter(call.status for call in calls)
    assert len(played) >= 50
    assert {one.protocol for one in played} == {"vllm", "sglang"}
    assert statuses.keys() == {
        "ok", "invalid_json", "unclosed_block", "missing_name", "malformed_structure", "unknown_tool",
    }  # fmt: skip
    assert statuses.total() - statuses["ok"] > 0.25 * statuses.total()
    assert {turn.finish_reason for one in played for turn in one.turns} == {"stop", "length", "tool_calls"}
    reasons = {point.reason for one in played for point in one.episode.rerenders}
    assert reasons == {"retention", "reasoning_stopped"}
    assert any(not one.episode.rerenders for one in played)


def test_rendering_every_prompt_anew_breaks(played: list[Played], trainer: TinyModel, reference: Path) -> None:
    """The same episodes by `apply_chat_template`: ids that were seen or sampled are rewritten."""
    turns = [turn for turn in incumbent.followed(played, reference) if turn.kind != "a user message"]
    broken = [turn for turn in turns if turn.fate != "kept"]
    assert len(turns) > 100
    assert {turn.fate for turn in broken} == {"other ids", "other text"}
    assert len(broken) > 0.5 * len(turns)
    assert not any(turn.refused for turn in turns), "isc appends tool results whatever was sampled"
    found = list(incumbent.tokens(played, reference, trainer.scores))
    assert sum(one.absent for one in found) > 0
    assert max(distance for one in found for distance in one.moved) > 1_000 * TOLERANCE


REFUSALS: dict[str, tuple[int, dict[str, float]]] = {
    "are more than": (LONGEST, {"max_tokens": 16}),
    "at temperature 1 only": (10, {"temperature": 0.0}),
}
"""What the engine says, and the length of the prompt and the parameters it says it to."""


@pytest.mark.parametrize("protocol", ["vllm", "sglang", "completions"])
@pytest.mark.parametrize("problem", REFUSALS)
def test_what_the_engine_cannot_do_it_refuses(protocol: ProtocolName, problem: str) -> None:
    length, params = REFUSALS[problem]
    with pytest.raises(isc.errors.EngineRefusedError) as refused:
        ask([5] * length, protocol, params)
    assert problem in refused.value.excerpt


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("protocol", ["vllm", "sglang", "completions"])
def test_the_engine_tells_how_long_prompts_may_be(protocol: ProtocolName, old: bool) -> None:
    with pytest.raises(isc.errors.OverlongPromptError, match=str(LONGEST)):
        ask([5] * (LONGEST + 1), protocol, {}, old=old)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", ["auto", "vllm", "sglang", "completions"])
def test_every_protocol_tells_the_same_turn(
    protocol: ProtocolName, stream: bool, old: bool, trainer: TinyModel
) -> None:
    """Engines of one seed sample one turn, whichever way they are asked; the trainer finds its log-probabilities."""
    prompt = [*range(20, 60)]
    found = ask(prompt, protocol, {"max_tokens": 48}, stream=stream, old=old)
    known = ask(prompt, "vllm", {"max_tokens": 48})
    assert len(found.completion_ids) > 8
    assert found.completion_ids == known.completion_ids
    assert found.completion_logprobs == known.completion_logprobs
    ours = trainer.scores((*found.prompt_ids, *found.completion_ids))[len(prompt) :]
    assert max(abs(a - b) for a, b in zip(ours, found.completion_logprobs, strict=True)) <= TOLERANCE


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("protocol", ["vllm", "sglang", "completions"])
def test_a_stream_tells_the_same_turn_token_by_token(protocol: ProtocolName, old: bool) -> None:
    prompt, params = [*range(20, 60)], dict[str, float](max_tokens=48)

    async def told(url: str) -> list[StreamEvent]:
        async with connect(url) as http:
            options: dict[str, Any] = {"protocol": protocol, "sampling_params": params}
            return [event async for event in stream(http, RENDERERS["Qwen3"], prompt_ids=prompt, **options)]

    with served(Engine(TinyModel(len(vocabulary())), vocabulary(), 0, old=old)) as url:
        *events, last = asyncio.run(told(url))
    known = ask(prompt, protocol, params, old=old)
    assert isinstance(last, TurnFinished)
    assert replace(last.generation, request_id="") == replace(known, request_id="")
    pairs = [(event.token_ids, event.logprobs) for event in events if isinstance(event, TokensSampled)]
    columns = zip(known.completion_ids, known.completion_logprobs, strict=True)
    assert pairs == [((token_id,), (logprob,)) for token_id, logprob in columns]


def ask(
    prompt_ids: list[int],
    protocol: ProtocolName,
    params: dict[str, float],
    *,
    stream: bool = False,
    old: bool = False,
) -> Generation:
    """Have a new engine answer a prompt."""

    async def asked(url: str) -> Generation:
        async with connect(url) as http:
            renderer = RENDERERS["Qwen3"]
            options = {"protocol": protocol, "sampling_params": params, "stream": stream}
            return await generate(http, renderer, prompt_ids=prompt_ids, **options)  # type: ignore[arg-type]

    with served(Engine(TinyModel(len(vocabulary())), vocabulary(), 0, old=old)) as url:
        return asyncio.run(asked(url))


def test_an_unknown_path_is_not_found() -> None:
    with served(Engine(TinyModel(len(vocabulary())), vocabulary(), 0)) as url:
        assert httpx.get(f"{url}/v1/chat/completions").status_code == 404
        assert httpx.get(f"{url}/v1/completions").status_code == 405
        assert httpx.post(f"{url}/generate", json={"input_ids": "5"}).status_code == 422
