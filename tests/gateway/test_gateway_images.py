"""Images of agents: shown to the engine as they came, each in its place, in every dialect; and recorded."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from PIL import Image

import isc
from gateway_running import Running, running, saying
from gateway_sessions import SEARCH, ids_of, user
from isc.gateway import GatewayClient

CALLED = '<tool_call>\n{"name": "search", "arguments": {"q": "cats"}}\n</tool_call><|im_end|>'
SAID = (CALLED, "Two.<|im_end|>", "Three.<|im_end|>")
Play = Callable[[Running], None]


def picture(color: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


TEAL, RED = picture("teal"), picture("red")


def with_chat(gateway: Running) -> None:
    asked = openai.OpenAI(base_url=gateway.base(), api_key="x", max_retries=0).chat.completions

    def part(content: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{content}"}}

    history: list[Any] = [user([part(TEAL), {"type": "text", "text": "Find it"}])]  # type: ignore[arg-type]
    for _ in SAID:
        message = asked.create(model="m", messages=history, tools=SEARCH).choices[0].message  # type: ignore[arg-type]
        history.append(message.model_dump(exclude_none=True))
        calls = history[-1].get("tool_calls") or []
        result = [{"role": "tool", "tool_call_id": call["id"], "content": [part(RED)]} for call in calls]
        history += result or [user("And now?")]


def with_messages(gateway: Running) -> None:
    base = gateway.base().removesuffix("/v1")
    asked = anthropic.Anthropic(base_url=base, api_key="x", max_retries=0).messages

    def part(content: str) -> dict[str, Any]:
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": content}}

    tools: Any = [{"name": "search", "input_schema": {"type": "object", "properties": {}}}]
    history: list[Any] = [user([part(TEAL), {"type": "text", "text": "Find it"}])]  # type: ignore[arg-type]
    for _ in SAID:
        answer = asked.create(model="m", max_tokens=500, messages=history, tools=tools)
        blocks = [block.model_dump(exclude_none=True) for block in answer.content]
        history.append({"role": "assistant", "content": blocks})
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": [part(RED)]}
            for block in blocks
            if block["type"] == "tool_use"
        ]
        history.append({"role": "user", "content": results or "And now?"})


def with_items(gateway: Running) -> None:
    asked = openai.OpenAI(base_url=gateway.base(), api_key="x", max_retries=0).responses

    def part(content: str) -> dict[str, Any]:
        return {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{content}"}

    tools: Any = [{"type": "function", **SEARCH[0]["function"]}]
    given: Any = [user([part(TEAL), {"type": "input_text", "text": "Find it"}])]  # type: ignore[arg-type]
    before: Any = None
    for _ in SAID:
        named = {} if before is None else {"previous_response_id": before}
        answer = asked.create(model="m", input=given, tools=tools, **named)
        calls = [item for item in answer.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": one.call_id, "output": [part(RED)]} for one in calls]
        given, before = results or [user("And now?")], answer.id


@pytest.mark.parametrize("play", [with_chat, with_messages, with_items])
def test_images_reach_the_engine_and_the_sample(tmp_path: Path, vision: isc.Renderer, play: Play) -> None:
    with running(tmp_path / "runs.sqlite", saying(*SAID), renderer=vision) as gateway:
        play(gateway)
        requests = gateway.engines[0].generates
        with GatewayClient(gateway.url) as trainer:
            tree, (rewarded,) = trainer.session("run-1"), trainer.samples("run-1").samples
    assert [turn.origin.continued for turn in tree.turns] == ["rendered", "extended", "extended"]
    shown = [[part["url"].partition(",")[2] for part in request.body["content_parts"]] for request in requests]
    assert shown == [[TEAL], [TEAL, RED], [TEAL, RED]]
    sample = rewarded.sample
    assert list(sample.token_ids) == [*requests[-1].prompt_ids, *ids_of(vision, SAID[-1])]
    media = sample.rendered.multi_modal_data
    assert media is not None
    pad = vision.encoder.specials["<|image_pad|>"]
    places = [range(one.offset, one.offset + one.length) for one in media.placeholders["image"]]
    assert [k for k, id_ in enumerate(sample.token_ids) if id_ == pad] == [k for place in places for k in place]
    assert len(set(media.hashes["image"])) == len(places) == 2


def test_a_session_with_images_goes_on_after_a_restart(tmp_path: Path, vision: isc.Renderer) -> None:
    url = f"data:image/png;base64,{TEAL}"
    first = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    answer, continued = {"role": "assistant", "content": "Two."}, []
    for messages in (first, [*first, answer, user("?")]):
        with running(tmp_path / "runs.sqlite", saying(SAID[1]), renderer=vision) as gateway:
            continued.append(gateway.chat(messages).headers["x-isc-continued"])
            (request,) = gateway.engines[0].generates
        assert request.body["content_parts"] == [{"type": "image_url", "url": url}]
    assert continued == ["rendered", "extended"]
