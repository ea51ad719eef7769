"""Streamed calls of an engine in memory, for tests: what was told, and what they came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import isc
from engine_server import Received
from isc.client import Retries, StreamEvent, TokensSampled, TurnFinished, generate, stream
from isc.errors import (
    ClientError,
)
from streamed_answers import Body, Sample, Way, engine_in_memory, sse

PROMPT = (5, 6)
ONCE = Retries(attempts=1, timeout=5, total=9)
IDS = (72, 105, 33, 7)


def sample_of(token_ids: tuple[int, ...], sizes: tuple[int, ...] = (), reason: str | None = "stop") -> Sample:
    """Ids as a stream: in events of these sizes, or each in its own."""
    logprobs = [-0.125 * (place % 7) for place in range(len(token_ids))]
    return Sample(token_ids, logprobs, sizes or (1,) * len(token_ids), reason)


async def collect(events: AsyncIterator[StreamEvent], told: list[StreamEvent]) -> None:
    """Take all events; those before an error are kept."""
    async for event in events:
        told.append(event)  # noqa: PERF401 - a comprehension would lose them all


async def events_of(client: object, renderer: isc.Renderer, **options: Any) -> list[StreamEvent]:  # noqa: ANN401
    """All that a stream tells."""
    asked: dict[str, Any] = {"prompt_ids": PROMPT, "max_prompt_len": 99, "retries": ONCE, **options}
    return [event async for event in stream(client, renderer, **asked)]


def ids_told(events: list[StreamEvent]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Ids and log probabilities of all events together."""
    told = [event for event in events if isinstance(event, TokensSampled)]
    assert all(event.token_ids for event in told)
    return (
        tuple(token_id for event in told for token_id in event.token_ids),
        tuple(logprob for event in told for logprob in event.logprobs),
    )


def begun(way: Way, received: Received, count: int = 2) -> bytes:
    """The first events of a stream of four tokens."""
    events = way.events(received, sample_of(IDS, reason=None))
    return b"".join(map(sse, events[:count]))


def outcome(renderer: isc.Renderer, way: Way, body: Callable[[Received], Body], **options: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """What a stream told, the error that it ended in, and that of `generate` for the same answer."""

    async def run() -> tuple[Any, Any, Any]:
        client, told = engine_in_memory(body), list[StreamEvent]()
        asked: dict[str, Any] = {"prompt_ids": PROMPT, "max_prompt_len": 99, "retries": ONCE, **options}
        asked["protocol"] = way.protocol
        with pytest.raises(ClientError) as raised:
            await collect(stream(client, renderer, **asked), told)
        with pytest.raises(ClientError) as other:
            await generate(client, renderer, stream=True, **asked)
        return told, raised.value, other.value

    return asyncio.run(run())


def check(told: list[StreamEvent], error: ClientError, other: ClientError, count: int = 2) -> None:
    """The partial completion is what was told, of the stream as of `generate`."""
    assert type(error) is type(other)
    for one in (error, other):
        partial = one.partial
        assert partial is not None
        assert (partial.prompt_ids, partial.completion_ids) == (PROMPT, IDS[:count])
        assert one.request_id in partial.request_id
    assert error.partial is not None
    assert ids_told(told) == (error.partial.completion_ids, error.partial.completion_logprobs)
    assert not any(isinstance(event, TurnFinished) for event in told)
