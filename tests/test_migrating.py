"""docs/migrating.md: its Python runs, against an engine over sockets, and the names in its diffs are there."""

from __future__ import annotations

import asyncio
import importlib
import re
from pathlib import Path
from typing import Any

import openai
import pytest

import isc
from engine_server import Received, Reply, engine, generating, json_reply, vllm_response
from isc.compat import create_renderer
from isc.compat.configs import Qwen3RendererConfig
from isc.formats.qwen3 import Qwen3

TURNS = ('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>', "It is noon.<|im_end|>")
TOOLS = [{"type": "function", "function": {"name": "now", "description": "", "parameters": {}}}]
CHAT = [{"role": "user", "content": "What time is it?"}]


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "migrating.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def names(page: str) -> dict[str, Any]:
    """What the page's trainer defines; the block before it is the file called renderers.py."""
    install, trainer = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "install()" in install
    found: dict[str, Any] = {"__name__": "trainer"}
    exec(compile(trainer, "docs/migrating.md", "exec", dont_inherit=True), found)
    return found


def test_the_configuration_is_read_as_before(names: dict[str, Any]) -> None:
    trainer = names["TrainerConfig"].model_validate({"renderer": {"name": "qwen3", "enable_thinking": False}})
    assert trainer.renderer == Qwen3RendererConfig(enable_thinking=False)


def test_the_loop_runs(names: dict[str, Any]) -> None:
    encoder = isc.encoders.embedded(Qwen3.specials)
    renderer = create_renderer(encoder, Qwen3RendererConfig())
    spoken = [renderer.renderer.render([{"role": "user", "content": text}], body_specials="parse") for text in TURNS]
    said = [[t for t, body in zip(one.token_ids, one.is_content, strict=True) if body] for one in spoken]

    def answer(received: Received) -> Reply:
        return json_reply(vllm_response(received, said[received.number - 1]))

    async def rolled() -> list[dict[str, Any]]:
        async with engine(generating(answer)) as server:
            client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k")
            found: list[dict[str, Any]] = await names["rollout"](client, renderer, CHAT, TOOLS)
            return found

    first, second = asyncio.run(rolled())
    assert (first["finish_reason"], second["content"]) == ("tool_calls", "It is noon.")
    assert second["prompt_ids"][: len(first["prompt_ids"]) + len(said[0])] == first["prompt_ids"] + said[0]
    assert second["prompt_attribution"].message_roles == ["tool"]


def test_a_supervised_sample_trains_on_results_and_turns(names: dict[str, Any]) -> None:
    renderer = create_renderer(isc.encoders.embedded(Qwen3.specials), Qwen3RendererConfig())
    chat = [*CHAT, {"role": "tool", "content": "12:00"}, {"role": "assistant", "content": "Noon."}]
    mask, rendered = names["supervised"](renderer, chat), renderer.render(chat)
    assert mask == [
        content and owner > 0 for content, owner in zip(rendered.is_content, rendered.message_indices, strict=True)
    ]


def test_every_name_in_the_diff_is_where_it_says(page: str) -> None:
    imports = re.findall(r"^\+from (isc[\w.]*) import (.*)$", page, re.MULTILINE)
    assert len(imports) == 3
    for module, imported in imports:
        for name in imported.split(", "):
            assert hasattr(importlib.import_module(module), name)
