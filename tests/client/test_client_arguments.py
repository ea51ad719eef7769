"""What `isc.client.generate` refuses before anything is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import httpx
import pytest

import isc
from client_calls import HELLO, sent
from engine_server import GENERATE, Received, Reply, engine, healthy, json_reply
from isc.client import connect, generate
from isc.errors import OptionError, OverlongPromptError


@pytest.mark.parametrize(("protocol", "path"), [("vllm", GENERATE), ("sglang", "/generate")])
def test_an_overlong_prompt_is_never_sent(protocol: str, path: str, small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        limits = {"context_length": 8, "data": [{"id": "m", "max_model_len": 8}]}
        return json_reply(limits) if received.method == "GET" else healthy(received)

    async def run() -> int:
        async with engine(answer) as server, connect(server.url) as client:
            fits = await generate(client, small, prompt_ids=range(8), model="m", protocol=protocol)  # type: ignore[arg-type]
            assert len(fits.prompt_ids) == 8
            with pytest.raises(OverlongPromptError, match="9 tokens") as raised:
                await generate(client, small, prompt_ids=range(9), model="m", protocol=protocol)  # type: ignore[arg-type]
            assert (raised.value.length, raised.value.limit) == (9, 8)
            return server.count(path)

    assert asyncio.run(run()) == 1


def test_a_limit_of_the_caller_is_kept_and_the_engine_not_asked(small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine() as server, connect(server.url) as client:
            with pytest.raises(OverlongPromptError, match="max_prompt_len"):
                await generate(client, small, prompt_ids=[5, 6], max_prompt_len=1)
            assert server.requests == []

    asyncio.run(run())


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "nothing to ask"),
    "both": ({"messages": HELLO, "prompt_ids": [5]}, "not both"),
    "no tokens": ({"prompt_ids": []}, "no tokens"),
    "a float": ({"prompt_ids": [5.0]}, "whole number, not 5.0"),
    "a negative id": ({"prompt_ids": [-1]}, "-1"),
    "other attribution": (
        {"prompt_ids": [5], "prompt_attribution": isc.RenderedTokens((6,), (isc.Run(1, -1, False),))},
        "other ids",
    ),
    "two turns": ({"prompt_ids": [5], "sampling_params": {"n": 2}}, "sampling_params.n is 2"),
    "specials skipped": ({"prompt_ids": [5], "sampling_params": {"skip_special_tokens": True}}, "skip_special_tokens"),
    "no logprobs": ({"prompt_ids": [5], "sampling_params": {"logprobs": None}}, "logprobs is None"),
    "not a number": ({"prompt_ids": [5], "sampling_params": {"temperature": float("nan")}}, "temperature"),
    "extra that is no JSON": ({"prompt_ids": [5], "extra_body": {"a": [float("inf")]}}, "extra_body"),
    "features that are no JSON": ({"prompt_ids": [5], "features": {"a": object()}}, "no JSON form"),
    "logprobs that are true": ({"prompt_ids": [5], "sampling_params": {"logprobs": True}}, "logprobs is True"),
    "a field twice": ({"prompt_ids": [5], "extra_body": {"token_ids": [6]}}, "'token_ids'"),
    "vLLM's field": ({"prompt_ids": [5], "protocol": "sglang", "cache_salt": "a"}, "cache_salt"),
    "another protocol": ({"prompt_ids": [5], "protocol": "tgi"}, "protocol='tgi' is none of 'auto', 'vllm'"),
}


@pytest.mark.parametrize(("arguments", "problem"), WRONG.values(), ids=WRONG)
def test_arguments_that_cannot_be_honoured(arguments: dict[str, Any], problem: str, small: isc.Renderer) -> None:
    with pytest.raises(OptionError, match=problem):
        sent(small, **arguments)


@pytest.mark.parametrize("client", ["http://127.0.0.1:1", None, httpx.Client(base_url="http://a")])
def test_another_kind_of_client_is_refused(client: object, small: isc.Renderer) -> None:
    with pytest.raises(OptionError, match=r"isc\.client\.connect"):
        asyncio.run(generate(client, small, prompt_ids=[5]))


def test_a_client_without_a_base_url_is_refused(small: isc.Renderer) -> None:
    with pytest.raises(OptionError, match="base_url"):
        asyncio.run(generate(httpx.AsyncClient(), small, prompt_ids=[5]))


def test_an_engine_by_https() -> None:
    client = connect("https://engine/v1")
    assert str(client.base_url) == "https://engine/v1/"
    asyncio.run(client.aclose())
    assert client.is_closed


def test_a_url_without_http(small: isc.Renderer) -> None:
    with pytest.raises(OptionError, match="cannot be asked"):
        asyncio.run(generate(connect("engine:8000"), small, prompt_ids=[5]))


def test_without_httpx_the_way_out_is_told() -> None:
    code = "import sys; sys.modules['httpx'] = None; import isc; isc.client.connect('http://a')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "isc[client]"' in run.stderr


@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_ids_may_be_an_array(array: str, small: isc.Renderer) -> None:
    module = pytest.importorskip(array)
    make = module.array if array == "numpy" else module.tensor
    generation, _ = sent(small, prompt_ids=make([5, 6, 7]))
    assert generation.prompt_ids == (5, 6, 7)
