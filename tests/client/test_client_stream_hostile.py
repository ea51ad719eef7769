"""Servers that mean harm and stream: what they cost is bounded, and what they say is shown without secrets."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

import isc
from isc.client import Retries, StreamEvent, TurnFinished, connect, stream
from isc.errors import ClientError, EngineAbortedError, EngineTimeoutError, MalformedResponseError
from raw_servers import bomb, raw_server, whole
from streamed_answers import WAYS, Body, engine_in_memory, sse
from streamed_calls import IDS, PROMPT, begun, collect, events_of, ids_told, sample_of

MEGABYTE = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
KEY = "sk-key-of-mine"
Bytes = Callable[[str], AsyncIterator[bytes]]


def streaming(pieces: Bytes, requests: list[bytes]) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """A response that is these pieces, made from the name of the request, until who asked goes away."""

    async def send(writer: asyncio.StreamWriter) -> None:
        lines = requests[-1].decode("latin-1").split("\r\n")
        name = next(line.partition(": ")[2] for line in lines if line.lower().startswith("x-request-id"))
        writer.write(HEAD)
        async for piece in pieces(name):
            writer.write(piece)
            await writer.drain()

    return send


def outcome(renderer: isc.Renderer, pieces: Bytes, **options: Any) -> tuple[list[StreamEvent], ClientError]:  # noqa: ANN401
    """What a stream of such a server told, and the error that it ended in."""

    async def run() -> tuple[list[StreamEvent], ClientError]:
        told, requests = list[StreamEvent](), list[bytes]()
        asked: dict[str, Any] = {"prompt_ids": PROMPT, "max_prompt_len": 9, "protocol": "vllm"}
        asked |= {"retries": Retries(attempts=1, timeout=20), **options}
        async with raw_server(streaming(pieces, requests), requests) as url, connect(url, KEY) as client:
            async with asyncio.timeout(30):
                with pytest.raises(ClientError) as raised:
                    await collect(stream(client, renderer, **asked), told)
        return told, raised.value

    return asyncio.run(run())


def token(name: str, token_id: int) -> bytes:
    entry = {"token_id": token_id, "logprob": -0.5}
    choice = {"token_ids": [token_id], "logprobs": {"content": [entry]}}
    return sse({"request_id": name, "choices": [choice]})


async def one_line(name: str) -> AsyncIterator[bytes]:
    """An event without an end, after a sound one."""
    yield token(name, 72) + b"data: "
    while True:
        yield b"x" * 0x10000


async def many_lines(name: str) -> AsyncIterator[bytes]:
    yield token(name, 72)
    while True:
        yield b"data: \n" * 0x2000


async def tokens(name: str) -> AsyncIterator[bytes]:
    while True:
        yield token(name, 72) * 200


@pytest.mark.parametrize("pieces", [one_line, many_lines])
def test_an_event_without_an_end(pieces: Bytes, small: isc.Renderer) -> None:
    tracemalloc.start()
    told, error = outcome(small, pieces, max_response_bytes=MEGABYTE // 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, MalformedResponseError)
    assert f"an event of more than {MEGABYTE // 4} bytes" in str(error)
    assert error.partial is not None
    assert ids_told(told)[0] == error.partial.completion_ids == (72,)
    assert peak < 8 * MEGABYTE


def test_tokens_without_an_end(small: isc.Renderer) -> None:
    told, error = outcome(small, tokens, max_response_bytes=64 * 1000)
    assert isinstance(error, MalformedResponseError)
    assert "more than 1000 ids" in str(error)
    assert "max_response_bytes" in str(error)
    assert error.partial is not None
    assert ids_told(told)[0] == error.partial.completion_ids == (72,) * 1000


@pytest.mark.parametrize("piece", [b": waiting\n\n", b"data: {}\n\n", b"\n", b"data: [DONE]\n\ndata: 7\n\n"])
def test_a_stream_that_says_nothing_for_ever(piece: bytes, small: isc.Renderer) -> None:
    async def pieces(name: str) -> AsyncIterator[bytes]:
        yield token(name, 72)
        while True:
            yield piece * 100
            await asyncio.sleep(0.001)

    start = time.monotonic()
    _, error = outcome(small, pieces, retries=Retries(attempts=3, timeout=0.3))
    assert isinstance(error, EngineTimeoutError)
    assert error.attempts == 1
    assert time.monotonic() - start < 5


def test_a_stream_that_is_a_bomb(small: isc.Renderer) -> None:
    async def run() -> None:
        send = whole(bomb(1), "200 OK", b"Content-Encoding: gzip")
        async with raw_server(send) as url, connect(url) as client:
            with pytest.raises(MalformedResponseError, match="compressed"):
                await events_of(client, small, protocol="vllm")

    asyncio.run(run())


def test_names_without_an_end_are_not_kept(small: isc.Renderer) -> None:
    """An event may have a name that isc did not give; the first is kept, and one that proves whose the stream is."""

    async def pieces(name: str) -> AsyncIterator[bytes]:
        yield token("x", 72) + token(name, 72)
        for number in range(2000):
            yield token(f"{number}-{'x' * 500}", 72)

    _, error = outcome(small, pieces)
    assert isinstance(error, EngineAbortedError)
    assert error.partial is not None
    assert error.partial.request_id == error.request_id
    assert len(error.partial.completion_ids) == 2002


def test_secrets_are_not_shown(small: isc.Renderer) -> None:
    """Where the server sends the key back: as an error, as a field, in what is no JSON; and no error is long."""
    for data in (
        msgspec.json.encode({"error": {"message": f"no such key: {KEY} " + "x" * 10**6}}),
        msgspec.json.encode({"choices": [{"logprobs": {"content": [{"token": KEY, "logprob": -1}]}}]}),
        f'{{"choices": [{{"finish_reason": {KEY}'.encode(),
        msgspec.json.encode({"choices": [{"index": KEY}]}),
    ):

        async def pieces(name: str, data: bytes = data) -> AsyncIterator[bytes]:
            yield token(name, 72) + b"data: " + data + b"\n\n"

        _, error = outcome(small, pieces)
        assert error.partial is not None
        assert KEY not in str(error) + repr(error)
        assert len(str(error)) < 1500


def test_what_sglang_tells_again_is_not_kept(small: isc.Renderer) -> None:
    """The bound is of what is kept: the bytes of the stream are forty times as many."""
    way, count = WAYS["sglang"], 400
    sample = sample_of((72,) * count)
    sizes: list[int] = []

    def answer(received: Any) -> Body:  # noqa: ANN401 - a request
        body = way.body(received, sample)
        sizes.append(len(body))
        return Body([body])

    events = asyncio.run(events_of(engine_in_memory(answer), small, protocol="sglang", max_response_bytes=40_000))
    assert isinstance(events[-1], TurnFinished)
    assert len(ids_told(events)[0]) == count
    assert sizes[0] > 40 * 40_000


def test_a_body_is_read_no_further_than_its_first_error(small: isc.Renderer) -> None:
    """The engine is told to stop at the event that cannot be trusted, not at the end of the stream."""
    way, bodies = WAYS["vllm"], list[Body]()

    def answer(received: Any) -> Body:  # noqa: ANN401 - a request
        bodies.append(Body([begun(way, received), b"data: nothing\n\n", *[token(received.name, 72)] * 100]))
        return bodies[-1]

    with pytest.raises(MalformedResponseError) as raised:
        asyncio.run(events_of(engine_in_memory(answer), small, protocol="vllm"))
    assert raised.value.partial is not None
    assert raised.value.partial.completion_ids == IDS[:2]
    assert (bodies[0].sent, bodies[0].is_closed) == (2, True)
