"""What `isc.client.generate` sends and returns, over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI

import isc
from client_calls import HELLO, Sent, sent
from engine_server import (
    GENERATE,
    Received,
    Reply,
    engine,
    generating,
    json_reply,
    sampled,
    sglang_response,
    vllm_response,
)
from isc.client import Generation, Usage, connect, generate
from isc.errors import EngineRefusedError
from isc.formats.segments import spelled

WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def body(renderer: isc.Renderer, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - of generate
    """The request to generate."""
    return sent(renderer, **arguments)[1][-1].body


def text_ids(renderer: isc.Renderer, text: str) -> list[int]:
    """A completion: text with Qwen's specials, closed."""
    segments = spelled(f"{text}<|im_end|>", renderer.family.specials)
    return [*isc.fold(segments, renderer.encoder).token_ids]


def test_a_conversation_is_rendered_sent_and_answered(small: isc.Renderer) -> None:
    rendered = small.render(HELLO, add_generation_prompt=True)
    found, requests = sent(small, messages=HELLO, model="m")
    ids, logprobs = sampled(rendered.token_ids)
    assert found.prompt_ids == rendered.token_ids == tuple(requests[-1].prompt_ids)
    assert found.completion_ids == tuple(ids)
    assert found.completion_logprobs == tuple(logprobs)
    assert found.prompt_attribution == rendered
    assert found.usage == Usage(len(rendered), len(ids))
    assert found.usage.total_tokens == len(rendered) + len(ids)
    assert found.request_id == f"generate-tokens-{requests[-1].name}"


def test_what_vllm_is_sent(small: isc.Renderer) -> None:
    features: Mapping[str, Any] = {"mm_hashes": {"image": ["a"]}, "mm_placeholders": {}, "kwargs_data": None}
    found = body(
        small,
        prompt_ids=[5, 6],
        model="m",
        sampling_params={"max_tokens": 9, "temperature": 0.5},
        cache_salt="salt",
        priority=3,
        features=features,
        extra_body={"kv_transfer_params": {"a": 1}},
    )
    assert found.pop("request_id").startswith("isc-")
    stops = [*small.get_stop_token_ids()]
    params = {"max_tokens": 9, "temperature": 0.5, "stop_token_ids": stops, "logprobs": 1, "skip_special_tokens": False}
    assert found == {
        "model": "m",
        "token_ids": [5, 6],
        "sampling_params": params,
        "cache_salt": "salt",
        "priority": 3,
        "features": features,
        "kv_transfer_params": {"a": 1},
    }


def test_what_sglang_is_sent(small: isc.Renderer) -> None:
    found = body(small, prompt_ids=[5, 6], sampling_params={"max_tokens": 9, "logprobs": 1}, protocol="sglang")
    assert found.pop("rid").startswith("isc-")
    stops = [*small.get_stop_token_ids()]
    params = {"max_new_tokens": 9, "stop_token_ids": stops, "no_stop_trim": True, "skip_special_tokens": False}
    assert found == {
        "input_ids": [5, 6],
        "sampling_params": params,
        "return_logprob": True,
        "logprob_start_len": -1,
    }


def test_a_structural_tag_goes_by_sglangs_name(small: isc.Renderer) -> None:
    held = {"structured_outputs": {"structural_tag": "{}"}}
    found = body(small, prompt_ids=[5], sampling_params=held, protocol="sglang")["sampling_params"]
    assert (found["structural_tag"], "structured_outputs" in found) == ("{}", False)
    with pytest.raises(isc.OptionError, match="structured_outputs"):
        body(small, prompt_ids=[5], sampling_params={"structured_outputs": {"json": {}}}, protocol="sglang")


def test_sglang_answers(small: isc.Renderer) -> None:
    found, requests = sent(small, messages=HELLO, protocol="sglang")
    ids, logprobs = sampled(found.prompt_ids)
    assert (found.completion_ids, found.completion_logprobs) == (tuple(ids), tuple(logprobs))
    assert (found.finish_reason, found.request_id) == ("stop", requests[-1].name)


def test_sglang_without_output_ids(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        return json_reply({**sglang_response(received), "output_ids": None})

    found, _ = sent(small, generating(answer), prompt_ids=[5], protocol="sglang")
    assert found.completion_ids == tuple(sampled([5])[0])


def test_stop_token_ids_of_the_caller_are_kept(small: isc.Renderer) -> None:
    assert body(small, prompt_ids=[5], sampling_params={"stop_token_ids": [7]})["sampling_params"][
        "stop_token_ids"
    ] == [7]


TURNS: dict[str, tuple[str, str, str, str | None, str]] = {
    "text": ("Hello.", "stop", "Hello.", None, "stop"),
    "reasoning": ("<think>\nHm.\n</think>\n\nHello.", "stop", "Hello.", "Hm.", "stop"),
    "a call": ('<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>', "stop", "", None, "tool_calls"),
    "an unknown call": ('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', "stop", "", None, "tool_calls"),
    "not a call": ("<tool_call>\nweather\n</tool_call>", "stop", "", None, "stop"),
    "cut off after a call": (
        '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>', "length", "", None, "length"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason", "content", "reasoning", "finish"), TURNS.values(), ids=TURNS)
def test_turns_are_parsed(
    text: str, reason: str, content: str, reasoning: str | None, finish: str, small: isc.Renderer
) -> None:
    def answer(received: Received) -> Reply:
        return json_reply(vllm_response(received, text_ids(small, text), reason))

    found, _ = sent(small, generating(answer), messages=HELLO, tools=WEATHER)
    assert (found.content, found.reasoning_content, found.finish_reason) == (content, reasoning, finish)
    assert len(found.tool_calls) == text.count("<tool_call>")
    assert found.reasoning_complete


def test_reasoning_that_was_cut_off(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        return json_reply(vllm_response(received, text_ids(small, "<think>\nHm")[:-1], "length"))

    found, _ = sent(small, generating(answer), messages=HELLO)
    assert (found.reasoning_content, found.reasoning_complete) == ("Hm", False)


def test_a_bridge_keeps_its_attribution(small: isc.Renderer) -> None:
    first, _ = sent(small, messages=HELLO)
    assert first.prompt_attribution is not None
    bridge = small.extend(first.prompt_attribution, first.completion_ids, [{"role": "tool", "content": "4"}])
    assert bridge is not None
    second, requests = sent(small, prompt_ids=bridge.token_ids, prompt_attribution=bridge)
    assert second.prompt_attribution == bridge
    assert tuple(requests[-1].prompt_ids) == second.prompt_ids == bridge.token_ids


def test_ids_alone_have_no_attribution(small: isc.Renderer) -> None:
    assert sent(small, prompt_ids=[5, 6])[0].prompt_attribution is None


def test_media_of_the_prompt_are_handed_on(small: isc.Renderer) -> None:
    media = isc.MultiModalData({"image": ("a",)}, {"image": (isc.PlaceholderRange(0, 1),)})
    attribution = isc.RenderedTokens((5,), (isc.Run(1, 0, True),), ("user",), (None,), media)
    assert sent(small, prompt_attribution=attribution)[0].multi_modal_data == media


def test_further_fields_are_kept_where_asked_for(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        response = vllm_response(received)
        response["choices"][0]["routed_experts"] = "AAEC"
        return json_reply({**response, "prompt_logprobs": [None, 1.5]})

    found, _ = sent(small, generating(answer), prompt_ids=[5], keep=["routed_experts", "prompt_logprobs", "other"])
    assert found.extra == {"routed_experts": "AAEC", "prompt_logprobs": [None, 1.5]}
    assert sent(small, generating(answer), prompt_ids=[5])[0].extra == {}


def test_a_generation_comes_back_from_json_equal(small: isc.Renderer) -> None:
    found, _ = sent(small, messages=HELLO)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Generation) == found


def test_an_openai_client_is_taken(small: isc.Renderer) -> None:
    async def run() -> Sent:
        async with engine() as server, AsyncOpenAI(base_url=f"{server.url}/v1", api_key="key") as client:
            return await generate(client, small, messages=HELLO, model="m"), server.requests

    found, requests = asyncio.run(run())
    assert found.completion_ids == tuple(sampled(found.prompt_ids)[0])
    assert [(request.method, request.path) for request in requests] == [
        ("GET", GENERATE), ("GET", "/v1/models"), ("POST", GENERATE),
    ]  # fmt: skip
    assert requests[-1].headers["authorization"] == "Bearer key"


def test_headers_of_the_caller_are_sent(small: isc.Renderer) -> None:
    async def run() -> Sent:
        async with engine() as server, connect(f"{server.url}/v1/", api_key="key") as client:
            extra = {"X-Session-Id": "7"}
            return await generate(client, small, prompt_ids=[5], extra_headers=extra), server.requests

    headers = asyncio.run(run())[1][-1].headers
    assert (headers["x-session-id"], headers["authorization"]) == ("7", "Bearer key")


def test_an_engine_without_the_endpoint(small: isc.Renderer) -> None:
    def answer(_: Received) -> Reply:
        return json_reply({"detail": "Not Found"}, status=404)

    with pytest.raises(EngineRefusedError, match="sglang") as raised:
        sent(small, answer, prompt_ids=[5])
    assert (raised.value.status, raised.value.excerpt) == (404, "Not Found")


def test_media_of_a_prompt_are_told_by_their_hashes(vision: isc.Renderer) -> None:
    shown = [{"role": "user", "content": [{"type": "image", "hash": "9f86", "width": 64, "height": 48}]}]
    start = vision.render(shown).token_ids.index(vision.encoder.specials["<|image_pad|>"])
    found = body(vision, messages=shown)
    assert found["features"] == {
        "mm_hashes": {"image": ["9f86"]},
        "mm_placeholders": {"image": [{"offset": start, "length": 70}]},
        "kwargs_data": None,
    }
    generation, _ = sent(vision, messages=shown)
    assert generation.multi_modal_data == vision.render(shown, add_generation_prompt=True).multi_modal_data
    with pytest.raises(isc.OptionError, match="pass them to SGLang as extra_body"):
        body(vision, messages=shown, protocol="sglang")
    told = body(vision, messages=shown, protocol="sglang", extra_body={"image_data": ["cat.png"]})
    assert told["image_data"] == ["cat.png"]
