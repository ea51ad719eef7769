"""Which protocol an engine speaks is looked up once, and nothing is sampled for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
import pytest

import isc
from client_calls import HELLO, sent
from engine_server import (
    COMPLETIONS,
    GENERATE,
    RESPONSES,
    SGLANG,
    Answer,
    Received,
    Reply,
    engine,
    healthy,
    json_reply,
    only,
    sampled,
)
from isc.client import Retries, connect, generate
from isc.errors import EngineRefusedError, EngineUnavailableError, OptionError

ONCE = Retries(attempts=1)
MODELS, SERVER = "/v1/models", "/server_info"

ENGINES: dict[str, tuple[Sequence[str], str]] = {
    "vLLM, started for scale-out": ((GENERATE, COMPLETIONS, MODELS), GENERATE),
    "vLLM": ((COMPLETIONS, MODELS), COMPLETIONS),
    "SGLang": ((SGLANG, COMPLETIONS, MODELS, SERVER), SGLANG),
}
"""The endpoints of engines, and the one that is asked."""


@pytest.mark.parametrize(("paths", "asked"), ENGINES.values(), ids=ENGINES)
def test_the_endpoint_is_found(paths: Sequence[str], asked: str, small: isc.Renderer) -> None:
    found, requests = sent(small, only(*paths), messages=HELLO)
    assert found.completion_ids == tuple(sampled(found.prompt_ids)[0])
    assert [request.path for request in requests if request.method == "POST"] == [asked]
    assert [*RESPONSES][: len([1 for request in requests if request.probes])][-1] == asked


def test_calls_at_a_time_and_one_after_another_look_once(small: isc.Renderer) -> None:
    async def run() -> list[str]:
        def slow(received: Received) -> Reply:
            reply = only(COMPLETIONS)(received)
            return Reply(reply.body, reply.status, delay=0.05) if received.probes else reply

        async with engine(slow) as server, connect(server.url) as client:
            calls = [generate(client, small, prompt_ids=[k]) for k in range(20)]
            await asyncio.gather(*calls)
            await generate(client, small, prompt_ids=[5])
            assert server.count(COMPLETIONS) == 21
            return server.probes

    assert asyncio.run(run()) == [GENERATE, SGLANG, COMPLETIONS]


def test_what_was_found_belongs_to_the_connection(small: isc.Renderer) -> None:
    """Another client looks anew, and another server by the same client too."""

    async def run() -> None:
        async with engine(only(SGLANG)) as first, engine(only(COMPLETIONS)) as second:
            for _ in range(2):
                async with connect(first.url) as client:
                    await generate(client, small, prompt_ids=[5])
            assert first.probes == [GENERATE, SGLANG] * 2
            async with httpx.AsyncClient(base_url=first.url) as client:
                await generate(client, small, prompt_ids=[5])
                client.base_url = httpx.URL(second.url)
                await generate(client, small, prompt_ids=[5])
            assert second.count(COMPLETIONS) == 1

    asyncio.run(run())


@pytest.mark.parametrize("protocol", ["vllm", "sglang", "completions"])
def test_who_names_the_protocol_has_nothing_looked_up(protocol: str, small: isc.Renderer) -> None:
    _, requests = sent(small, prompt_ids=[5], protocol=protocol)
    assert not any(request.probes for request in requests)


def test_an_engine_with_none_of_them(small: isc.Renderer) -> None:
    with pytest.raises(EngineRefusedError) as raised:
        sent(small, only(MODELS), prompt_ids=[5])
    assert raised.value.status == 404
    for hint in ("--enable-scale-out", "sglang", "completions", "base URL"):
        assert hint in str(raised.value)


REFUSALS: dict[str, tuple[Answer, type[Exception]]] = {
    "no key": (lambda _: json_reply({"error": "who are you"}, status=401), EngineRefusedError),
    "a wrong key": (lambda _: json_reply({"error": "not you"}, status=403), EngineRefusedError),
    "not up yet": (lambda _: json_reply({"detail": "loading"}, status=503), EngineUnavailableError),
}


@pytest.mark.parametrize(("answer", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_a_failure_to_look_is_told_and_not_kept(answer: Answer, kind: type[Exception], small: isc.Renderer) -> None:
    async def run() -> None:
        refusing = True

        def turning(received: Received) -> Reply:
            return answer(received) if refusing else healthy(received)

        async with engine(turning) as server, connect(server.url) as client:
            with pytest.raises(kind):
                await generate(client, small, prompt_ids=[5], retries=ONCE)
            refusing = False
            assert (await generate(client, small, prompt_ids=[5], retries=ONCE)).prompt_ids == (5,)

    asyncio.run(run())


def test_an_engine_that_was_started_again_in_another_way(small: isc.Renderer) -> None:
    """The call that finds the endpoint gone fails, and the next one looks anew."""

    async def run() -> None:
        paths = [GENERATE]

        def answer(received: Received) -> Reply:
            return only(*paths)(received)

        async with engine(answer) as server, connect(server.url) as client:
            await generate(client, small, prompt_ids=[5], retries=ONCE)
            paths[:] = [COMPLETIONS]
            with pytest.raises(EngineRefusedError, match="--enable-scale-out"):
                await generate(client, small, prompt_ids=[5], retries=ONCE)
            assert (await generate(client, small, prompt_ids=[5], retries=ONCE)).prompt_ids == (5,)

    asyncio.run(run())


@pytest.mark.parametrize("status", [405, 422, 400, 200])
def test_whatever_is_no_404_is_an_endpoint(status: int, small: isc.Renderer) -> None:
    """Servers differ in what they say to GET where they take POST alone."""

    def answer(received: Received) -> Reply:
        if received.probes and received.path == SGLANG:
            return json_reply({"detail": "Use POST"}, status=status)
        return only(SGLANG)(received)

    assert sent(small, answer, prompt_ids=[5])[1][-1].path == SGLANG


@pytest.mark.parametrize(
    ("field", "value"), [("features", {"mm_hashes": {}}), ("content_parts", [{"type": "image_url"}])]
)
def test_media_need_the_endpoint_that_takes_them(field: str, value: object, small: isc.Renderer) -> None:
    with pytest.raises(OptionError, match=f"{field} is a field of vLLM's /inference/v1/generate"):
        sent(small, only(COMPLETIONS), prompt_ids=[5], **{field: value})


def test_a_prompt_beyond_the_limit_of_the_caller_is_not_looked_up(small: isc.Renderer) -> None:
    async def run() -> int:
        async with engine() as server, connect(server.url) as client:
            with pytest.raises(isc.errors.OverlongPromptError):
                await generate(client, small, prompt_ids=[5, 6], max_prompt_len=1)
            return len(server.requests)

    assert asyncio.run(run()) == 0
