"""`generate` by a client that has `post` alone, and with a renderer of the caller's own."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any

import httpx
import openai
import pytest

import isc
from engine_server import engine, healthy
from isc.compat import (
    FamilyRenderer,
    MalformedGenerateResponseError,
    OverlongPromptError,
    ParsedResponse,
    ParsedToolCall,
    RenderedTokens,
    generate,
)
from isc.errors import OptionError

HELLO = [{"role": "user", "content": "hi"}]
PICTURE = "data:image/png;base64,aW1hZ2U="
NUMBERS = count()
ENTRIES = [{"token": "token_id:7", "logprob": -0.5}, {"token_id": 8, "logprob": 0.0}]


class Own:
    """A renderer of a caller's own."""

    supports_process_multimodal = True

    def __init__(self, *calls: ParsedToolCall) -> None:
        self.calls = calls
        self.rendered: list[dict[str, Any]] = []
        self.parsed: list[Any] = []

    def render(self, messages: Any, **options: Any) -> RenderedTokens:  # noqa: ANN401
        self.rendered.append({"messages": messages, **options})
        return RenderedTokens(token_ids=[1, 2, 3])

    def get_stop_token_ids(self) -> list[int]:
        return [9]

    def parse_response(self, token_ids: list[int], **options: Any) -> ParsedResponse:  # noqa: ANN401
        self.parsed.append((token_ids, options))
        return ParsedResponse("said", "thought", list(self.calls))


class Posting:
    """A client that has `post`, and `get` where a limit is told."""

    def __init__(self, limit: int | None = None, **changes: Any) -> None:  # noqa: ANN401
        self.base_url = f"http://engine-{next(NUMBERS)}/v1/"  # the limit of an address is asked for once a process
        self.choice = {"token_ids": [7, 8], "logprobs": {"content": ENTRIES}, "finish_reason": "stop"}
        self.answer = {"request_id": "their-own", "choices": [self.choice], **changes}
        self.limit = limit
        self.asked: list[str] = []
        self.sent: list[tuple[str, Any, Any]] = []

    async def get(self, path: str, *, cast_to: object) -> dict[str, Any]:
        self.asked.append(path)
        if self.limit is None:
            raise ConnectionError
        return {"data": ["odd", {"id": "other", "max_model_len": 1}, {"id": "m", "max_model_len": self.limit}]}

    async def post(self, path: str, *, cast_to: type, body: Any, options: Any = None) -> Any:  # noqa: ANN401
        self.sent.append((path, body, options))
        return cast_to(200, content=json.dumps(self.answer).encode())


def ask(client: object, renderer: Any = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    given: dict[str, Any] = {"messages": HELLO, "model": "m", "renderer": renderer or Own(), **options}
    return asyncio.run(generate(client=client, **given))


def test_what_is_posted_and_what_comes_back() -> None:
    client, renderer = Posting(usage={"total_tokens": 5}), Own(ParsedToolCall("raw", "now", {}))
    tools = [{"type": "function", "function": {"name": "now"}}]
    found = ask(client, renderer, tools=tools, cache_salt="s", priority=2, extra_headers={"X-A": "b"})
    [(path, body, options)] = client.sent
    assert path == f"{client.base_url.removesuffix('/v1/')}/inference/v1/generate"
    assert options == {"headers": {"X-A": "b"}}
    params = {"logprobs": 1, "stop_token_ids": [9], "skip_special_tokens": False}
    expected = {"token_ids": [1, 2, 3], "model": "m", "cache_salt": "s", "priority": 2, "sampling_params": params}
    assert body == expected
    assert renderer.rendered == [{"messages": HELLO, "tools": tools, "add_generation_prompt": True}]
    assert renderer.parsed == [([7, 8], {"tools": tools, "prompt_ids": [1, 2, 3]})]
    assert (found["completion_ids"], found["completion_logprobs"]) == ([7, 8], [-0.5, 0.0])
    assert (found["content"], found["reasoning_content"], found["finish_reason"]) == ("said", "thought", "tool_calls")
    assert (found["request_id"], found["usage"]) == ("their-own", {"total_tokens": 5})


def test_ids_with_what_they_came_from_are_handed_on() -> None:
    renderer, attribution = Own(), RenderedTokens(token_ids=[4, 5])
    found = ask(Posting(), renderer, prompt_ids=(4, 5), prompt_attribution=attribution)
    assert renderer.rendered == []
    assert found["prompt_ids"] == [4, 5]
    assert found["prompt_attribution"] is attribution


def test_isc_renderers_and_own_clients_go_together(small: isc.Renderer) -> None:
    found = ask(Posting(), FamilyRenderer.of(small))
    assert found["prompt_ids"] == [*small.render_ids(HELLO, add_generation_prompt=True)]


def test_a_renderer_of_ones_own_asks_a_real_engine() -> None:
    async def asked() -> dict[str, Any]:
        async with engine(healthy) as server:
            client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
            renderer: Any = Own()
            options: dict[str, Any] = {"max_prompt_len": 9, "extra_headers": {"X-Request-Id": "named-by-the-caller"}}
            return await generate(client=client, renderer=renderer, messages=HELLO, model="m", **options)

    found = asyncio.run(asked())
    assert (found["prompt_ids"], found["content"]) == ([1, 2, 3], "said")
    assert len(found["completion_ids"]) == len(found["completion_logprobs"]) > 0


def test_the_limit_is_asked_once_and_holds() -> None:
    client = Posting(limit=2)
    for _ in range(2):
        with pytest.raises(OverlongPromptError) as error:
            ask(client)
        assert (error.value.prompt_len, error.value.max_prompt_len) == (3, 2)
    assert client.asked == ["/models"]
    assert client.sent == []
    assert ask(client, max_prompt_len=3)["prompt_ids"] == [1, 2, 3]


def test_an_engine_that_tells_no_limit_is_asked_to_generate() -> None:
    client = Posting()
    assert [ask(client)["content"], ask(client)["content"]] == ["said", "said"]
    assert client.asked == ["/models"]


def test_images_are_sent_as_they_are() -> None:
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]
    ranges = {"image": [{"offset": 1, "length": 2}]}
    client, renderer = Posting(prompt_token_ids=[1, 2, 2, 3], mm_placeholders=ranges), Own()
    found = ask(client, renderer, messages=messages, process_multimodal=False)
    body = client.sent[0][1]
    assert body["content_parts"] == [{"type": "image_url", "url": PICTURE}]
    assert body["return_token_ids"] is True
    assert renderer.rendered[0]["process_multimodal"] is False
    assert (found["prompt_ids"], found["renderer_prompt_ids"]) == ([1, 2, 2, 3], [1, 2, 3])
    assert found["mm_placeholders"] == ranges
    with pytest.raises(MalformedGenerateResponseError, match="prompt_token_ids"):
        ask(Posting(mm_placeholders=ranges), messages=messages, process_multimodal=False)


def entry(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"choices": [{"token_ids": [7], "logprobs": {"content": [{"token": "token_id:7", **fields}]}}]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no choice": ({"choices": []}, "choices"),
    "no ids": ({"choices": [{"logprobs": {"content": []}}]}, "token_ids"),
    "ids that are none": ({"choices": [{"token_ids": [True]}]}, "token_ids"),
    "no logprobs": ({"choices": [{"token_ids": [7]}]}, r"logprobs must be an object"),
    "fewer logprobs": ({"choices": [{"token_ids": [7], "logprobs": {"content": []}}]}, r"\(1\).*\(0\)"),
    "another token": (entry(token="token_id:8", logprob=-1.0), r"\[0\]\.token must be 'token_id:7'"),
    "a text": (entry(logprob="-1"), "must be a number"),
    "a truth value": (entry(logprob=True), "must be a number"),
    "no number": (entry(logprob=float("nan")), "must be finite"),
    "a number beyond floats": (entry(logprob=-(10**400)), "must be finite"),
    "the number for nothing": (entry(logprob=-9999.0), "sampling evidence"),
    "above zero": (entry(logprob=0.5), "above one"),
}


@pytest.mark.parametrize(("answer", "problem"), WRONG.values(), ids=WRONG)
def test_an_answer_without_evidence_is_refused(answer: dict[str, Any], problem: str) -> None:
    renderer = Own()
    with pytest.raises(MalformedGenerateResponseError, match=problem):
        ask(Posting(**answer), renderer)
    assert renderer.parsed == []


def test_what_a_renderer_or_a_client_cannot_do_is_said(small: isc.Renderer) -> None:
    class Poor(Own):
        supports_tools = False
        supports_process_multimodal = False

    with pytest.raises(OptionError, match="Poor does not support tools"):
        ask(Posting(), Poor(), tools=[{"type": "function", "function": {"name": "now"}}])
    with pytest.raises(OptionError, match="process_multimodal=False: Poor"):
        ask(Posting(), Poor(), process_multimodal=False)
    with pytest.raises(OptionError, match="not an HTTP client"):
        ask(httpx.AsyncClient(base_url="http://engine"))
    with pytest.raises(OptionError, match=r"client is a builtins\.object"):
        ask(object(), FamilyRenderer.of(small))
