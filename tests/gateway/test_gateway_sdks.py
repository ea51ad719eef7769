"""The SDKs of two dialects, unmodified, over real HTTP: an episode of calls becomes one sample of the very ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from gateway_running import Running, running, saying
from gateway_sessions import CALL, QWEN, SEARCH, ids_of, user
from isc.gateway import GatewayClient

LOOK = f"<think>\nCats.\n</think>\n\nI look.\n\n{CALL}<|im_end|>"
BROKEN = "Again.<tool_call>\n{oops\n</tool_call><|im_end|>"
FOUND = "<think>\nTwo.\n</think>\n\nTwo cats.<|im_end|>"
TORN = '<tool_call>\n{"name": "search", "arguments": {"q": "ca</tool_call><|im_end|>'
SAID = [LOOK, BROKEN, TORN, LOOK.replace("cats", "dogs"), FOUND]
FUNCTION = SEARCH[0]["function"]
Play = Callable[[Running, bool], int]


def with_anthropic(gateway: Running, stream: bool) -> int:
    """Play the episode as an agent with Anthropic's SDK does; return how many calls it saw."""
    asked = anthropic.Anthropic(base_url=gateway.base().removesuffix("/v1"), api_key="x", max_retries=0).messages
    tools: Any = [{"name": FUNCTION["name"], "input_schema": FUNCTION["parameters"]}]
    history: list[Any] = [user("Find cats")]
    calls = 0
    for _ in SAID:
        options: dict[str, Any] = {"model": "m", "max_tokens": 500, "messages": history, "tools": tools}
        if stream:
            with asked.stream(**options) as events:
                message: Any = events.get_final_message()
        else:
            message = asked.create(**options)
        history.append(
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}
        )
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "[]"}
            for block in message.content
            if block.type == "tool_use"
        ]
        calls += len(results)
        history.append({"role": "user", "content": results or "Go on"})
    return calls


def with_items(gateway: Running, stream: bool, *, named: bool = False) -> int:
    """The same by OpenAI's responses: every item sent back, or the answer named that came before."""
    asked = openai.OpenAI(base_url=gateway.base(), api_key="x", max_retries=0).responses
    tools: Any = [{"type": "function", **FUNCTION}]
    given: list[Any] = [user("Find cats")]
    before: str | None = None
    calls = 0
    for _ in SAID:
        options: dict[str, Any] = {
            "model": "m", "input": given, "tools": tools, "instructions": "Be brief.", "previous_response_id": before,
        }  # fmt: skip
        if stream:
            with asked.stream(**{name: value for name, value in options.items() if value is not None}) as events:
                answer: Any = events.get_final_response()
        else:
            answer = asked.create(**options)
        items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
        for item in items:
            for part in item.get("content", ()):
                part.pop("parsed", None)
        results: list[Any] = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "[]"}
            for item in items
            if item["type"] == "function_call"
        ]
        calls += len(results)
        new = results or [user("Go on")]
        given, before = (new, answer.id) if named else ([*given, *items, *new], None)
    return calls


def with_names(gateway: Running, stream: bool) -> int:
    return with_items(gateway, stream, named=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("play", [with_anthropic, with_items, with_names])
def test_an_episode_is_one_sample_of_the_very_ids(tmp_path: Path, play: Play, stream: bool) -> None:
    with running(tmp_path / "runs.sqlite", saying(*SAID)) as gateway:
        # a torn call of OpenAI's is told while it comes; Anthropic's only where its tool takes it that it may be torn
        assert play(gateway, stream) == 2 + (stream and play is not with_anthropic)
        with GatewayClient(gateway.url) as trainer:
            tree, (rewarded,) = trainer.session("run-1"), trainer.samples("run-1").samples
        prompts = [request.prompt_ids for request in gateway.engines[0].generates]
    assert [turn.origin.continued for turn in tree.turns] == ["rendered", *["extended"] * 4]
    assert {turn.delivery for turn in tree.turns} == {"sent"}
    sample = rewarded.sample
    assert list(sample.token_ids) == [*prompts[-1], *ids_of(QWEN, SAID[-1])]
    for prompt, text in zip(prompts, SAID, strict=True):
        seen = [*prompt, *ids_of(QWEN, text)]
        assert list(sample.token_ids[: len(seen)]) == seen


def test_a_call_reaches_every_sdk_in_pieces(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying(LOOK)) as gateway:
        openai_asked = openai.OpenAI(base_url=gateway.base(), api_key="x", max_retries=0)
        anthropic_asked = anthropic.Anthropic(base_url=gateway.base().removesuffix("/v1"), api_key="x", max_retries=0)
        given: Any = [user("Find cats")]
        function: Any = {"type": "function", **FUNCTION}
        tool: Any = {"name": FUNCTION["name"], "input_schema": FUNCTION["parameters"], "eager_input_streaming": True}
        with openai_asked.chat.completions.stream(model="m", messages=given, tools=SEARCH) as chunks:  # type: ignore[arg-type]
            chat = [one.arguments_delta for one in chunks if one.type == "tool_calls.function.arguments.delta"]
        with openai_asked.responses.stream(model="m", input=given, tools=[function]) as items:
            response = [one.delta for one in items if one.type == "response.function_call_arguments.delta"]
        with anthropic_asked.messages.stream(model="m", max_tokens=500, messages=given, tools=[tool]) as blocks:
            message = [one.partial_json for one in blocks if one.type == "input_json"]
    for deltas in (chat, response, message):
        assert "".join(deltas) == '{"q": "cats", "limit": 3}'
        assert len(deltas) > 3


def test_prompts_are_counted(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying(FOUND)) as gateway:
        sdk = anthropic.Anthropic(base_url=gateway.base().removesuffix("/v1"), api_key="x", max_retries=0)
        count = sdk.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hi"}])
        items = openai.OpenAI(base_url=gateway.base(), api_key="x", max_retries=0).responses.input_tokens
        assert items.count(model="m", input="hi").input_tokens == count.input_tokens
        assert gateway.get("").status_code == 404  # counting makes no turn
    assert count.input_tokens == len(QWEN.render([user("hi")], add_generation_prompt=True))


def test_refusals_have_the_dialects_form(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying(FOUND)) as gateway:
        sdk = anthropic.Anthropic(base_url=gateway.base().removesuffix("/v1"), api_key="x", max_retries=0)
        with pytest.raises(anthropic.BadRequestError, match=r"no tool is offered"):
            sdk.messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}], tool_choice={"type": "any"}
            )
        with pytest.raises(anthropic.NotFoundError, match="there is no model 'other'"):
            sdk.messages.create(model="other", max_tokens=9, messages=[{"role": "user", "content": "x"}])
        responses = openai.OpenAI(base_url=gateway.base(), api_key="x", max_retries=0).responses
        with pytest.raises(openai.NotFoundError, match="there is no answer 'nobody'"):
            responses.create(model="m", input="x", previous_response_id="resp_nobody")
        with pytest.raises(openai.BadRequestError) as error:
            responses.create(model="m", input="x", reasoning={"effort": "high"})
        assert error.value.param == "reasoning.effort"
        wrong = httpx.post(f"{gateway.base()}/messages", content=b"{", timeout=30)
        assert json.loads(wrong.content)["error"]["type"] == "invalid_request_error"
