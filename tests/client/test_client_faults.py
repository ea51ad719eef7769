"""Engines that fail: what is tried again, for how long, and what the caller is told. Cancelling."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TypeAlias

import pytest
from openai import AsyncOpenAI

import isc
from engine_server import GENERATE, Answer, Engine, Received, Reply, engine, generating, healthy, json_reply, sampled
from isc.client import Generation, Retries, connect, generate
from isc.errors import (
    ClientError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MalformedResponseError,
    OptionError,
    OverlongPromptError,
)

QUICK = Retries(attempts=3, timeout=5, total=20, pause=0.01, longest_pause=0.02)
Outcome: TypeAlias = Generation | BaseException


def outcome(
    renderer: isc.Renderer, answer: Answer, retries: Retries = QUICK, prompt_ids: Sequence[int] = (5, 6)
) -> tuple[Outcome, Engine]:
    """What a call came to, and the engine it asked."""

    async def run() -> tuple[Outcome, Engine]:
        async with engine(answer) as server, connect(server.url) as client:
            call = generate(client, renderer, prompt_ids=prompt_ids, retries=retries)
            found = await asyncio.gather(call, return_exceptions=True)
            return found[0], server

    return asyncio.run(run())


def at_first(*replies: Reply) -> Answer:
    """An engine that answers the first requests to generate so, and then as it should."""
    return generating(lambda got: replies[got.number - 1] if got.number <= len(replies) else healthy(got))


DROPPED = Reply(b"{}", sent=0)
HALF_HEAD = Reply(b"{}", sent=20)
HALF_BODY = Reply(b'{"request_id": "1", "choices": [', length=5000)
BROKEN = json_reply({"error": {"message": "out of blocks", "type": "internal", "code": 500}}, status=500)
BUSY = Reply(b"busy", 429, {"Retry-After": "0"})
SLOW = Reply(b"{}", delay=60)
IMPATIENT = Retries(attempts=3, timeout=0.3, total=20, pause=0.01)

FAULTS = {
    "dropped": (DROPPED, "connection was lost"),
    "half a head": (HALF_HEAD, "connection was lost"),
    "half a body": (HALF_BODY, "connection was lost"),
    "500": (BROKEN, "status 500: out of blocks"),
    "502": (Reply(b"<html>", 502), "status 502: <html>"),
    "503": (json_reply({"detail": "loading"}, status=503), "status 503: loading"),
    "429": (BUSY, "status 429: busy"),
}


@pytest.mark.parametrize(("reply", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_is_not_seen(reply: Reply, problem: str, small: isc.Renderer) -> None:
    found, server = outcome(small, at_first(reply, reply))
    assert isinstance(found, Generation)
    assert found.completion_ids == tuple(sampled([5, 6])[0])
    assert server.count(GENERATE) == 3


@pytest.mark.parametrize(("reply", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_stays_is_told(reply: Reply, problem: str, small: isc.Renderer) -> None:
    found, server = outcome(small, generating(lambda _: reply))
    assert isinstance(found, EngineUnavailableError)
    assert problem in found.problem
    assert (found.attempts, found.status) == (3, None if reply.status == 200 else reply.status)
    assert server.count(GENERATE) == 3
    assert "tried 3 times" in str(found)


def test_a_slow_answer_is_given_up_and_asked_for_again(small: isc.Renderer) -> None:
    found, server = outcome(small, at_first(SLOW), IMPATIENT)
    assert isinstance(found, Generation)
    assert (server.count(GENERATE), server.abandoned) == (2, 1)


def test_an_engine_that_never_answers(small: isc.Renderer) -> None:
    found, server = outcome(small, generating(lambda _: SLOW), IMPATIENT)
    assert isinstance(found, EngineTimeoutError)
    assert (found.attempts, server.count(GENERATE)) == (3, 3)


def test_attempts_have_names_of_their_own(small: isc.Renderer) -> None:
    _, server = outcome(small, at_first(DROPPED, BUSY))
    names = [request.name for request in server.generates]
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]


def test_the_answer_to_an_earlier_attempt_is_not_taken(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        if received.number == 1:
            return BROKEN
        earlier = {**received.headers, "x-request-id": received.name.removesuffix("-2")}
        return healthy(received._replace(headers=earlier))

    found, _ = outcome(small, generating(answer))
    assert isinstance(found, MalformedResponseError)
    assert found.path == "request_id"


@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 422, 307])
def test_a_refusal_is_final(status: int, small: isc.Renderer) -> None:
    reply = json_reply({"error": {"message": "no such model"}}, status=status)
    found, server = outcome(small, generating(lambda _: reply))
    assert isinstance(found, EngineRefusedError)
    assert (found.status, found.excerpt, server.count(GENERATE)) == (status, "no such model", 1)
    assert str(status) in str(found)
    assert "no such model" in str(found)


def test_garbage_is_not_asked_for_again(small: isc.Renderer) -> None:
    found, server = outcome(small, generating(lambda _: Reply(b'{"choices": [}')))
    assert isinstance(found, MalformedResponseError)
    assert server.count(GENERATE) == 1


@pytest.mark.parametrize(("reply", "attempts"), [(DROPPED, 1), (HALF_BODY, 1), (BROKEN, 1), (BUSY, 3)])
def test_what_may_have_been_begun_is_not_repeated_where_that_matters(
    reply: Reply, attempts: int, small: isc.Renderer
) -> None:
    careful = Retries(attempts=3, pause=0.01, longest_pause=0.02, idempotent=False)
    _, server = outcome(small, generating(lambda _: reply), careful)
    assert server.count(GENERATE) == attempts


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(form: str, small: isc.Renderer) -> None:
    def busy(_: Received) -> Reply:
        date = format_datetime(
            datetime.now(UTC) + timedelta(seconds=2), usegmt=True
        )  # whole seconds: 1 to 2 s from now
        return Reply(b"busy", 429, {"Retry-After": "1" if form == "seconds" else date})

    start = time.monotonic()
    found, _ = outcome(small, generating(lambda got: busy(got) if got.number == 1 else healthy(got)))
    assert isinstance(found, Generation)
    assert time.monotonic() - start >= 0.95


def test_a_retry_after_beyond_the_time_allowed_fails_at_once(small: isc.Renderer) -> None:
    start = time.monotonic()
    found, server = outcome(small, generating(lambda _: Reply(b"", 503, {"Retry-After": "3600"})))
    assert isinstance(found, EngineUnavailableError)
    assert (found.attempts, server.count(GENERATE)) == (1, 1)
    assert time.monotonic() - start < 5


def test_all_attempts_together_are_bounded_by_time(small: isc.Renderer) -> None:
    start = time.monotonic()
    found, _ = outcome(small, generating(lambda _: SLOW), Retries(attempts=1000, timeout=0.2, total=0.7, pause=0))
    assert isinstance(found, EngineTimeoutError)
    assert 0.5 < time.monotonic() - start < 3


def test_an_engine_that_is_not_there(small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine() as server:
            gone = server.url
        async with connect(gone) as client:
            with pytest.raises(EngineUnavailableError, match="cannot be reached") as raised:
                await generate(client, small, prompt_ids=[5], max_prompt_len=9, retries=QUICK)
        assert raised.value.attempts == 3

    asyncio.run(run())


def test_a_client_that_was_closed(small: isc.Renderer) -> None:
    async def run() -> None:
        client = connect("http://127.0.0.1:9")
        await client.aclose()
        with pytest.raises(EngineUnavailableError, match="client is closed"):
            await generate(client, small, prompt_ids=[5], max_prompt_len=9, retries=QUICK)

    asyncio.run(run())


def test_a_client_that_is_closed_while_it_is_used(small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine(generating(lambda _: SLOW)) as server:
            client = connect(server.url)
            calls = [asyncio.create_task(generate(client, small, prompt_ids=[k], retries=QUICK)) for k in range(20)]
            while len(server.generates) < len(calls):
                await asyncio.sleep(0.01)
            await client.aclose()
            found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
            assert {type(one) for one in found} == {EngineUnavailableError}

    asyncio.run(run())


@pytest.mark.parametrize("reply", [DROPPED, HALF_HEAD, HALF_BODY, BROKEN, BUSY, SLOW], ids=lambda reply: reply.status)
def test_faults_seen_through_an_openai_client(reply: Reply, small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine(at_first(reply)) as server, AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
            found = await generate(client, small, prompt_ids=[5], retries=IMPATIENT)
            assert found.completion_ids == tuple(sampled([5])[0])
            assert server.count(GENERATE) == 2

    asyncio.run(run())


@pytest.mark.parametrize("make", [lambda: Retries(attempts=0), lambda: Retries(timeout=0), lambda: Retries(pause=-1)])
def test_retries_that_cannot_be(make: Callable[[], Retries]) -> None:
    with pytest.raises(OptionError):
        make()


def test_pauses_double_up_to_the_longest_and_differ() -> None:
    upper = Retries(pause=1, longest_pause=5, jitter=lambda: 1.0)
    assert [upper.backoff(attempt) for attempt in (1, 2, 3, 4, 2000)] == [1, 2, 4, 5, 5]
    assert Retries(pause=1, longest_pause=5, jitter=lambda: 0.0).backoff(2) == 1


@pytest.mark.parametrize("when", ["waiting for the engine", "pausing", "asking for the limit"])
def test_cancelling_cancels(when: str, small: isc.Renderer) -> None:
    answers: dict[str, Answer] = {
        "waiting for the engine": generating(lambda _: SLOW),
        "pausing": generating(lambda _: Reply(b"", 429, {"Retry-After": "60"})),
        "asking for the limit": lambda _: SLOW,
    }

    async def run() -> None:
        async with engine(answers[when]) as server, connect(server.url) as client:
            call = asyncio.create_task(generate(client, small, prompt_ids=[5]))
            while not (server.generates if when != "asking for the limit" else server.requests):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            call.cancel()
            start = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert time.monotonic() - start < 1
            await asyncio.sleep(0.05)
            assert server.abandoned == (when != "pausing")
            assert asyncio.all_tasks() - server.connections == {asyncio.current_task()}

    asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [
        OverlongPromptError(9, 8, "the engine"),
        EngineUnavailableError("http://a", "isc-1", "gone", 3, 500),
        EngineTimeoutError("http://a", "isc-1", "late", 2),
        EngineRefusedError("http://a", "isc-1", "refused", 400, "no"),
        MalformedResponseError("http://a", "isc-1", "choices", "there are 2", 2),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes(error: ClientError | OverlongPromptError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))
