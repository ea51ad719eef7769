"""Turns that come to nothing tell what was sampled until then: aborts, streams cut off, streams that take too long."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import msgspec
import pytest

import isc
from engine_server import Received, Reply, engine, generating, sampled, usage
from isc.client import Retries, connect, generate
from isc.errors import (
    ClientError,
    EngineAbortedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MalformedResponseError,
    OptionError,
    PartialCompletion,
)
from streamed_answers import WAYS, Sample, sse

PROMPT = (5, 6)
IDS = tuple(sampled(PROMPT, 6)[0])
LOGPROBS = tuple(sampled(PROMPT, 6)[1])
ONCE = Retries(attempts=1, timeout=5, total=9)
IMPATIENT = Retries(attempts=1, timeout=0.3, total=9)


WAY = {name: WAYS[name] for name in ("vllm", "completions", "sglang")}


def stream(received: Received, protocol: str, count: int, reason: str | None = None) -> bytes:
    """The first events of a stream of six tokens, of which the last says why it is the last."""
    sample = Sample(IDS[:count], LOGPROBS[:count], (1,) * count, reason)
    return b"".join(map(sse, WAY[protocol].events(received, sample)))


def failure(renderer: isc.Renderer, protocol: str, answer: Any, retries: Retries = ONCE) -> ClientError:  # noqa: ANN401
    """What a streamed call comes to."""

    async def run() -> object:
        async with engine(generating(answer)) as server, connect(server.url) as client:
            options: dict[str, Any] = {"protocol": protocol, "stream": True, "retries": retries, "max_prompt_len": 9}
            call = generate(client, renderer, prompt_ids=PROMPT, **options)
            return (await asyncio.gather(call, return_exceptions=True))[0]

    found = asyncio.run(run())
    assert isinstance(found, ClientError), found
    return found


def check(partial: PartialCompletion | None, count: int, name: str) -> None:
    assert partial is not None
    assert partial == PartialCompletion(PROMPT, IDS[:count], LOGPROBS[:count], partial.request_id)
    assert name in partial.request_id


@pytest.mark.parametrize("protocol", WAY)
def test_a_stream_that_takes_too_long(protocol: str, small: isc.Renderer) -> None:
    found = failure(small, protocol, lambda got: Reply(stream(got, protocol, 4), length=10**6, hang=30), IMPATIENT)
    assert isinstance(found, EngineTimeoutError)
    check(found.partial, 4, found.request_id)


@pytest.mark.parametrize("protocol", WAY)
@pytest.mark.parametrize("cut", [0, 30])
def test_a_stream_whose_connection_is_lost(cut: int, protocol: str, small: isc.Renderer) -> None:
    """Also amid an event, which then does not count."""

    def answer(received: Received) -> Reply:
        body = stream(received, protocol, 4)
        return Reply(body[: len(body) - cut], length=10**6)

    found = failure(small, protocol, answer)
    assert isinstance(found, EngineUnavailableError)
    check(found.partial, 3 if cut else 4, found.request_id)


@pytest.mark.parametrize("protocol", WAY)
@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"])
def test_a_stream_that_just_ends(end: bytes, protocol: str, small: isc.Renderer) -> None:
    """HTTP is none the wiser: nothing says that the turn came to its end, so it did not."""
    found = failure(small, protocol, lambda got: Reply(stream(got, protocol, 4) + end))
    assert isinstance(found, EngineAbortedError)
    assert "ended before the completion did" in str(found)
    check(found.partial, 4, found.request_id)


@pytest.mark.parametrize("protocol", WAY)
def test_a_stream_that_is_aborted(protocol: str, small: isc.Renderer) -> None:
    found = failure(small, protocol, lambda got: Reply(stream(got, protocol, 4, "abort")))
    assert isinstance(found, EngineAbortedError)
    check(found.partial, 4, found.request_id)


@pytest.mark.parametrize("protocol", WAY)
def test_a_stream_with_an_error(protocol: str, small: isc.Renderer) -> None:
    error = b'data: {"error": {"message": "engine is dead", "type": "internal", "code": 500}}\n\ndata: [DONE]\n\n'
    found = failure(small, protocol, lambda got: Reply(stream(got, protocol, 2) + error))
    assert isinstance(found, EngineAbortedError)
    assert "engine is dead" in str(found)
    check(found.partial, 2, found.request_id)


@pytest.mark.parametrize("protocol", WAY)
def test_before_the_first_token_there_is_nothing(protocol: str, small: isc.Renderer) -> None:
    found = failure(small, protocol, lambda _: Reply(b": waiting\n\n", length=10**6, hang=30), IMPATIENT)
    assert isinstance(found, EngineTimeoutError)
    assert found.partial is None


def test_what_cannot_be_trusted_is_not_told(small: isc.Renderer) -> None:
    """Another request's stream, and one with a log probability that is none."""

    def renamed(received: Received) -> Reply:
        return Reply(stream(received, "vllm", 4).replace(received.name.encode(), b"isc-" + b"0" * 32), length=10**6)

    def missing(received: Received) -> Reply:
        return Reply(stream(received, "vllm", 4).replace(str(LOGPROBS[2]).encode(), b"-9999.0"), length=10**6)

    for answer, sound in ((renamed, 0), (missing, 2)):
        found = failure(small, "vllm", answer)
        assert isinstance(found, MalformedResponseError)
        assert (found.partial.completion_ids if found.partial else ()) == IDS[:sound]


def test_a_stream_of_something_else_is_malformed(small: isc.Renderer) -> None:
    for body in (b'data: {"choices": [\n\n', b'data: {"choices": 7}\n\n', b"data: nothing\n\n"):
        found = failure(small, "vllm", lambda _, body=body: Reply(body))
        assert isinstance(found, MalformedResponseError)


@pytest.mark.parametrize("protocol", WAY)
def test_a_whole_stream_is_a_turn_and_tries_again_until_it_is(protocol: str, small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        if received.number == 1:
            return Reply(stream(received, protocol, 2), length=10**6)
        counted = {"choices": [], "usage": usage(received, IDS)}
        tail = b"" if protocol == "sglang" else b"data: " + msgspec.json.encode(counted) + b"\n\n"
        return Reply(stream(received, protocol, 6, "stop") + tail + b"data: [DONE]\n\n")

    async def run() -> isc.client.Generation:
        async with engine(generating(answer)) as server, connect(server.url) as client:
            retries = Retries(attempts=2, pause=0)
            options: dict[str, Any] = {"protocol": protocol, "stream": True, "retries": retries, "max_prompt_len": 9}
            return await generate(client, small, prompt_ids=PROMPT, **options)

    found = asyncio.run(run())
    assert (found.completion_ids, found.completion_logprobs, found.finish_reason) == (IDS, LOGPROBS, "stop")


def test_a_rollout_goes_on_from_a_partial_turn(small: isc.Renderer) -> None:
    """What a partial turn is good for: its ids are the end of the next prompt."""
    found = failure(small, "vllm", lambda got: Reply(stream(got, "vllm", 4, "abort")))
    assert isinstance(found, EngineAbortedError)
    partial = found.partial
    assert partial is not None

    async def resumed() -> isc.client.Generation:
        async with engine() as server, connect(server.url) as client:
            ids = partial.prompt_ids + partial.completion_ids
            return await generate(client, small, prompt_ids=ids)

    assert asyncio.run(resumed()).prompt_ids == PROMPT + IDS[:4]


def test_other_fields_are_not_kept_of_a_stream(small: isc.Renderer) -> None:
    with pytest.raises(OptionError, match="exclude each other"):
        asyncio.run(generate(connect("http://engine"), small, prompt_ids=[5], stream=True, keep=["routed_experts"]))


@pytest.mark.parametrize(
    "error",
    [
        EngineAbortedError("http://a", "isc-1", "gone", PartialCompletion((5,), (7,), (-0.5,), "isc-1")),
        EngineTimeoutError("http://a", "isc-1", "late", 2, PartialCompletion((5,), (7,), (-0.5,), "isc-1")),
        EngineUnavailableError("http://a", "isc-1", "lost", 2, None, PartialCompletion((5,), (7,), (-0.5,), "isc-1")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_partial_turn_travels_with_its_error(error: ClientError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))
