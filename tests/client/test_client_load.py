"""500 calls at a time against an engine with every fault; a loop that goes on while long prompts are rendered."""

from __future__ import annotations

import asyncio
import gc

import pytest

import isc
from client_load import conversation, engine_apart, load, worst_tick
from isc.client import connect, generate

CALLS = 500
LONG = 128_000  # tokens
TICK = 0.020  # seconds
ROUNDS = 30  # at most, until one is good: other processes of a busy machine are not the matter
AT_A_TIME = 5


def test_every_call_ends_in_its_own_turn_or_a_typed_error(small: isc.Renderer) -> None:
    tally = asyncio.run(load(small, CALLS, seed=1, share=0.45))
    assert tally.outcomes.total() == CALLS
    assert tally.untyped == []
    assert tally.strangers == 0
    assert tally.left_over == 0
    assert tally.outcomes["Generation"] > CALLS / 2
    assert tally.outcomes["MalformedResponseError"] > CALLS / 50
    assert tally.requests > CALLS * 1.2


def test_calls_to_an_engine_without_a_fault_all_succeed(small: isc.Renderer) -> None:
    tally = asyncio.run(load(small, CALLS, seed=2, share=0.0))
    assert dict(tally.outcomes) == {"Generation": CALLS}
    assert (tally.strangers, tally.requests) == (0, CALLS)


@pytest.mark.parametrize("vocabulary", ["small", "qwen3"])
def test_long_prompts_do_not_hold_up_the_loop(vocabulary: str, request: pytest.FixtureRequest) -> None:
    renderer: isc.Renderer = request.getfixturevalue(vocabulary)

    assert len(renderer.render(conversation(0, 470, 200))) >= LONG

    async def late(url: str, number: int) -> float:
        conversations = [conversation(10 * number + k, 470, 200) for k in range(AT_A_TIME)]
        gc.collect()  # what made the conversations is not what is measured
        async with connect(url) as client:
            calls = [generate(client, renderer, messages=each, max_prompt_len=10**7) for each in conversations]
            return await worst_tick(calls)

    with engine_apart() as url:
        rounds = (asyncio.run(late(url, number)) for number in range(ROUNDS))
        assert any(seconds < TICK for seconds in rounds)
