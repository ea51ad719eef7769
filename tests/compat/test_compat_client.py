"""`isc.compat.client` on its own. Beside the client of `renderers` it is tested in tests/peers."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import httpx
import openai
import pytest

import isc
from engine_server import Answer, Received, engine, generating, healthy, json_reply, vllm_response
from isc.compat import FamilyRenderer, MalformedGenerateResponseError, OverlongPromptError, generate
from isc.compat.client import _retries
from isc.errors import EngineRefusedError, OptionError

HELLO = [{"role": "user", "content": "hi"}]


def ask(
    renderer: isc.Renderer,
    answer: Answer = healthy,
    *,
    plain: bool = False,
    **options: Any,  # noqa: ANN401
) -> tuple[dict[str, Any], list[Received]]:
    """A call by an openai client, or an httpx client; and the requests it makes."""

    async def asked() -> tuple[dict[str, Any], list[Received]]:
        async with engine(answer) as server, httpx.AsyncClient(base_url=server.url) as http:
            whole = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=1)
            given = {"client": http if plain else whole, "renderer": FamilyRenderer.of(renderer), "model": "m"}
            found = await generate(**{**given, "messages": HELLO, **options})
            return found, server.generates

    return asyncio.run(asked())


def test_the_result_is_a_dict_of_lists(small: isc.Renderer) -> None:
    found, [sent] = ask(small)
    prompt = small.render(HELLO, add_generation_prompt=True)
    assert found["prompt_ids"] == [*prompt.token_ids] == sent.prompt_ids
    assert found["prompt_attribution"].to_isc() == prompt
    assert len(found["completion_ids"]) == len(found["completion_logprobs"]) == found["usage"]["completion_tokens"]
    assert (found["finish_reason"], found["tool_calls"], found["reasoning_complete"]) == ("stop", [], True)
    none = {name for name, value in found.items() if value is None}
    assert none == {
        "renderer_prompt_ids", "mm_placeholders", "reasoning_content", "routed_experts", "sampling_mask",
        "multi_modal_data",
    }  # fmt: skip


def test_what_the_trainer_relies_on_cannot_be_overruled(small: isc.Renderer) -> None:
    params = {"logprobs": 9, "stop_token_ids": [1], "skip_special_tokens": True, "max_tokens": 7}
    _, [sent] = ask(small, sampling_params=params)
    assert sent.body["sampling_params"] == {
        "logprobs": 1,
        "stop_token_ids": [*small.get_stop_token_ids()],
        "skip_special_tokens": False,
        "max_tokens": 7,
    }


def test_routes_and_masks_are_kept_as_they_came(small: isc.Renderer) -> None:
    routes = {"data": "AAA=", "shape": [1, 1, 2], "start": 0}
    extra: dict[str, Any] = {"routed_experts": routes, "sampling_mask": [[1, 2]]}

    def answer(received: Received) -> Any:  # noqa: ANN401 - a reply
        response = vllm_response(received)
        response["choices"][0].update(extra)
        return json_reply(response)

    found, _ = ask(small, generating(answer))
    assert found["routed_experts"] == {**routes, "data": memoryview(b"AAA=")}
    assert found["sampling_mask"] == extra["sampling_mask"]


def test_an_httpx_client_gets_the_errors_of_isc(small: isc.Renderer) -> None:
    refusing = generating(lambda _: json_reply({"error": {"message": "no"}}, status=400))
    with pytest.raises(EngineRefusedError, match="no"):
        ask(small, refusing, plain=True)
    with pytest.raises(openai.BadRequestError, match="no"):
        ask(small, refusing)


def test_errors_of_the_prompt_and_of_the_answer(small: isc.Renderer) -> None:
    with pytest.raises(OverlongPromptError) as overlong:
        ask(small, max_prompt_len=3)
    assert (overlong.value.prompt_len, overlong.value.max_prompt_len) == (9, 3)
    with pytest.raises(MalformedGenerateResponseError, match="choices"):
        ask(small, generating(lambda _: json_reply({})))


@pytest.mark.parametrize("options", [{"process_multimodal": False}, {"multi_modal_data": {"mm_hashes": {}}}])
def test_media_are_refused(small: isc.Renderer, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="no media"):
        ask(small, **options)


CLIENTS: dict[str, tuple[Any, tuple[int, float]]] = {
    "openai": (openai.AsyncOpenAI(api_key="k", max_retries=2, timeout=7.5), (3, 7.5)),
    "openai without a limit": (openai.AsyncOpenAI(api_key="k", max_retries=0, timeout=None), (1, math.inf)),
    "openai, limits of each phase": (openai.AsyncOpenAI(api_key="k", timeout=openai.Timeout(5, read=60)), (3, 60)),
    "httpx": (httpx.AsyncClient(timeout=None), (1, math.inf)),
}
"""Clients, and how often and how long a call may try."""


@pytest.mark.parametrize(("client", "expected"), CLIENTS.values(), ids=CLIENTS)
def test_a_call_may_try_as_often_and_as_long_as_its_client(client: object, expected: tuple[int, float]) -> None:
    retries = _retries(client)
    assert (retries.attempts, retries.timeout) == expected
