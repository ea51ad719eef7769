"""The longest prompt is asked for once an engine, however many calls need it; what went wrong is not remembered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import isc
from engine_server import Engine, Received, Reply, engine, healthy, json_reply
from isc.client import Generation, Retries, connect, generate
from isc.errors import EngineUnavailableError, MalformedResponseError, OverlongPromptError

ONCE = Retries(attempts=1)
MODELS = "/v1/models"


def telling(models: object, status: int = 200, delay: float = 0.0) -> Any:  # noqa: ANN401 - an Answer
    """An engine that says this of its models."""

    def answer(received: Received) -> Reply:
        return json_reply(models, status=status, delay=delay) if received.path == MODELS else healthy(received)

    return answer


def asked(renderer: isc.Renderer, answer: Any, calls: int, model: str | None = "m") -> tuple[list[Any], Engine]:  # noqa: ANN401
    """What so many calls at a time came to."""

    async def run() -> tuple[list[Any], Engine]:
        async with engine(answer) as server, connect(server.url) as client:
            each = [generate(client, renderer, prompt_ids=[5, 6, 7], model=model, retries=ONCE) for _ in range(calls)]
            return await asyncio.gather(*each, return_exceptions=True), server

    return asyncio.run(run())


def test_calls_at_a_time_ask_once(small: isc.Renderer) -> None:
    found, server = asked(small, telling({"data": [{"id": "m", "max_model_len": 9}]}, delay=0.1), 50)
    assert {type(one) for one in found} == {Generation}
    assert server.count(MODELS) == 1


def test_calls_one_after_another_ask_once(small: isc.Renderer) -> None:
    async def run() -> int:
        async with engine() as server, connect(server.url) as client:
            for _ in range(3):
                await generate(client, small, prompt_ids=[5], model="m")
            return server.count(MODELS)

    assert asyncio.run(run()) == 1


def test_a_failure_is_shared_but_not_kept(small: isc.Renderer) -> None:
    async def run() -> None:
        down = True
        models = {"data": [{"id": "m", "max_model_len": 2}]}

        def answer(received: Received) -> Reply:
            return (
                json_reply(models, status=503 if down else 200, delay=0.1)
                if received.path == MODELS
                else healthy(received)
            )

        async with engine(answer) as server, connect(server.url) as client:
            calls = [generate(client, small, prompt_ids=[5, 6, 7], model="m", retries=ONCE) for _ in range(20)]
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(one) for one in found} == {EngineUnavailableError}
            assert server.count(MODELS) == 1
            down = False
            with pytest.raises(OverlongPromptError):
                await generate(client, small, prompt_ids=[5, 6, 7], model="m", retries=ONCE)

    asyncio.run(run())


def test_who_asks_may_be_cancelled_while_others_wait(small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine(telling({"data": []}, delay=0.3)) as server, connect(server.url) as client:
            first = asyncio.create_task(generate(client, small, prompt_ids=[5], model="m"))
            second = asyncio.create_task(generate(client, small, prompt_ids=[5], model="m"))
            while not server.requests:
                await asyncio.sleep(0.01)
            first.cancel()
            assert (await second).prompt_ids == (5,)
            assert first.cancelled()
            assert server.count(MODELS) == 1

    asyncio.run(run())


TOLD: dict[str, tuple[object, str | None, bool]] = {
    "the model's": ({"data": [{"id": "other", "max_model_len": 9}, {"id": "m", "max_model_len": 2}]}, "m", True),
    "another's": ({"data": [{"id": "other", "max_model_len": 2}]}, "m", False),
    "its base's": (
        {"data": [{"id": "m", "max_model_len": None, "parent": "b"}, {"id": "b", "max_model_len": 2}]}, "m", True
    ),
    "the only one's": ({"data": [{"id": "other", "max_model_len": 2}]}, None, True),
    "nothing": ({}, "m", False),
}  # fmt: skip


@pytest.mark.parametrize(("models", "model", "overlong"), TOLD.values(), ids=TOLD)
def test_what_engines_tell(models: object, model: str | None, overlong: bool, small: isc.Renderer) -> None:
    found, _ = asked(small, telling(models), 1, model)
    assert isinstance(found[0], OverlongPromptError if overlong else Generation)


def test_an_engine_without_models_is_not_asked_again(small: isc.Renderer) -> None:
    async def run() -> int:
        async with engine(telling({}, status=404)) as server, connect(server.url) as client:
            for _ in range(3):
                await generate(client, small, prompt_ids=[5])
            return server.count(MODELS)

    assert asyncio.run(run()) == 1


def test_models_that_cannot_be_read_are_told(small: isc.Renderer) -> None:
    found, server = asked(small, telling({"data": [{"id": "m", "max_model_len": "many"}]}), 1)
    assert isinstance(found[0], MalformedResponseError)
    assert found[0].path == "data[0].max_model_len"
    assert server.generates == []
