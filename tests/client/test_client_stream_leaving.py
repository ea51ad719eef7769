"""Attempts at a stream, the time it may take, and leaving it: the engine sees that at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import httpx
import pytest

import isc
from engine_server import Received, Reply, engine, generating
from isc.client import Retries, StreamEvent, TokensSampled, connect, generate, stream
from isc.errors import (
    EngineRefusedError,
    EngineUnavailableError,
    OptionError,
    OverlongPromptError,
)
from streamed_answers import WAYS, Body, Way, cut, engine_in_memory
from streamed_calls import IDS, PROMPT, begun, collect, events_of, ids_told, sample_of


def answered(way: Way, *beginnings: Callable[[Received], Body]) -> Callable[[Received], Body]:
    """An engine that answers so at first, and then as it should."""

    def answer(received: Received) -> Body:
        if received.number <= len(beginnings):
            return beginnings[received.number - 1](received)
        return Body([way.body(received, sample_of(IDS))])

    return answer


def test_attempts_end_with_the_first_id(small: isc.Renderer) -> None:
    way, retries = WAYS["vllm"], Retries(attempts=3, pause=0)

    def silent(_: Received) -> Body:
        return Body([b": waiting\n\n", httpx.ReadError("gone")])

    def speaking(received: Received) -> Body:
        return Body([begun(way, received), httpx.ReadError("gone")])

    client = engine_in_memory(answered(way, silent, silent))
    found = asyncio.run(events_of(client, small, protocol="vllm", retries=retries))
    assert ids_told(found)[0] == IDS

    told: list[StreamEvent] = []

    client = engine_in_memory(answered(way, silent, speaking))
    events = stream(client, small, prompt_ids=PROMPT, max_prompt_len=9, protocol="vllm", retries=retries)
    with pytest.raises(EngineUnavailableError) as raised:
        asyncio.run(collect(events, told))
    assert raised.value.attempts == 2
    assert raised.value.partial is not None
    assert ids_told(told)[0] == IDS[:2] == raised.value.partial.completion_ids


def test_generate_tries_again_what_it_told_nobody(small: isc.Renderer) -> None:
    way = WAYS["vllm"]
    broken = lambda got: Body([begun(way, got), httpx.ReadError("gone")])  # noqa: E731
    call = generate(
        engine_in_memory(answered(way, broken)), small,
        prompt_ids=PROMPT, max_prompt_len=9, protocol="vllm", stream=True, retries=Retries(pause=0),
    )  # fmt: skip
    assert asyncio.run(call).completion_ids == IDS


def test_refusals_are_those_of_generate(small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine(lambda _: Reply(b'{"detail": "Not Found"}', 404)) as server, connect(server.url) as client:
            with pytest.raises(EngineRefusedError, match="--enable-scale-out"):
                await events_of(client, small, protocol="vllm")
            with pytest.raises(OverlongPromptError):
                await events_of(client, small, protocol="vllm", max_prompt_len=1)

    asyncio.run(run())


def test_arguments_are_checked_at_the_call(small: isc.Renderer) -> None:
    with pytest.raises(OptionError):
        stream(connect("http://engine"), small, prompt_ids=[5], protocol="grpc")  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        stream(connect("http://engine"), small, prompt_ids=[5], sampling_params={"n": 2})


def test_the_time_of_who_reads_is_not_the_engines(small: isc.Renderer) -> None:
    way = WAYS["vllm"]

    async def run() -> int:
        body = lambda got: Body([*cut(way.body(got, sample_of(IDS)), [*range(0, 4000, 40)])])  # noqa: E731
        count, retries = 0, Retries(attempts=1, timeout=0.2)
        events = stream(
            engine_in_memory(body), small, prompt_ids=PROMPT, max_prompt_len=9, protocol="vllm", retries=retries
        )
        async for event in events:
            count += isinstance(event, TokensSampled)
            await asyncio.sleep(0.1)
        return count

    assert asyncio.run(run()) == len(IDS)


def hanging(way: Way, received: Received) -> Reply:
    """Two tokens, and then an engine that goes on sampling."""
    return Reply(begun(way, received), length=10**6, hang=30)


async def closed(events: AsyncGenerator[StreamEvent, None]) -> None:
    await anext(events)
    await events.aclose()


async def left(events: AsyncGenerator[StreamEvent, None]) -> None:
    async with aclosing(events):
        async for _ in events:
            break


async def forgotten(events: AsyncGenerator[StreamEvent, None]) -> None:
    async for _ in events:
        break


async def failed(events: AsyncGenerator[StreamEvent, None]) -> None:
    async with aclosing(events):
        async for _ in events:
            raise ZeroDivisionError


async def cancelled(events: AsyncGenerator[StreamEvent, None]) -> None:
    told: list[StreamEvent] = []
    task = asyncio.create_task(collect(events, told))
    while not told:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def timed_out(events: AsyncGenerator[StreamEvent, None]) -> None:
    async with asyncio.timeout(0.3):
        await collect(events, [])


@pytest.mark.parametrize("way", ["vllm", "sglang", "completions"])
@pytest.mark.parametrize("leave", [closed, left, forgotten, failed, cancelled, timed_out])
def test_leaving_a_stream_closes_its_connection(
    leave: Callable[[AsyncGenerator[StreamEvent, None]], Awaitable[None]], way: str, small: isc.Renderer
) -> None:
    """The engine sees it at once. All leave after a first token, which is told while the answer is under way."""

    async def run() -> None:
        async with engine(generating(lambda got: hanging(WAYS[way], got))) as server, connect(server.url) as client:
            protocol: Any = WAYS[way].protocol
            with suppress(ZeroDivisionError, TimeoutError):
                await leave(stream(client, small, prompt_ids=PROMPT, max_prompt_len=9, protocol=protocol))
            async with asyncio.timeout(5):
                # the iterators inside of httpx are closed by tasks that asyncio starts when Python collects them
                while not server.abandoned or asyncio.all_tasks() - server.connections != {asyncio.current_task()}:
                    await asyncio.sleep(0.01)
            assert (server.abandoned, len(server.generates)) == (1, 1)

    asyncio.run(run())


@pytest.mark.parametrize("leave", [closed, left, failed, cancelled, timed_out])
def test_a_stream_that_was_left_is_closed_by_then(
    leave: Callable[[AsyncGenerator[StreamEvent, None]], Awaitable[None]], small: isc.Renderer
) -> None:
    """Not when Python collects it."""
    way, bodies = WAYS["vllm"], list[Body]()

    def answer(received: Received) -> Body:
        bodies.append(Body([begun(way, received), 9.0]))
        return bodies[-1]

    async def run() -> bool:
        with suppress(ZeroDivisionError, TimeoutError):
            await leave(stream(engine_in_memory(answer), small, prompt_ids=PROMPT, max_prompt_len=9, protocol="vllm"))
        return bodies[0].is_closed

    assert asyncio.run(run())


def test_a_body_is_closed_after_the_last_event(small: isc.Renderer) -> None:
    way, bodies = WAYS["vllm"], list[Body]()

    def answer(received: Received) -> Body:
        bodies.append(Body([way.body(received, sample_of(IDS))]))
        return bodies[-1]

    asyncio.run(events_of(engine_in_memory(answer), small, protocol="vllm"))
    assert [body.is_closed for body in bodies] == [True]
