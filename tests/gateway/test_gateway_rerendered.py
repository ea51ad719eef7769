"""What a proxy of text trains on: the history that an agent keeps, rendered anew by the model's own template.

The same episode, side by side: isc's sample has every id that was sampled, and the re-rendered one has others.
"""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import openai

from gateway_running import running, saying
from gateway_sessions import QWEN, SEARCH, ids_of, user
from isc.gateway import GatewayClient
from tokenizer_files import qwen3_file, transformers_tokenizer

SAID = (
    '<think>\nWhere?\n</think>\n\nI look.\n\n<tool_call>\n{"name": "search", "arguments": {"q": "cats"}}\n</tool_call>',
    '<think>\nNone.\n</think>\n\n<tool_call>\n{"name":"search","arguments":{"limit":1e1,"q":"kittens"}}\n</tool_call>',
    '<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "search", "arguments": {"q": "dogs"\n</tool_call>',
    '<think>\nCut off.\n</think>\n\n<tool_call>\n{"name": "search", "arguments": {"q": "d\\u00f6gs"}}\n</tool_call>',
    "<think>\nTwo.\n</think>\n\n Two dogs. ",
)
SAMPLED = [ids_of(QWEN, f"{text}<|im_end|>") for text in SAID]


def kept(base: str) -> list[dict[str, Any]]:
    """The episode as an agent with OpenAI's SDK keeps it."""
    asked = openai.OpenAI(base_url=base, api_key="x", max_retries=0).chat.completions
    history: list[Any] = [user("Find cats")]
    for _ in SAID:
        message = asked.create(model="m", messages=history, tools=SEARCH).choices[0].message  # type: ignore[arg-type]
        history.append(message.model_dump(exclude_none=True))
        calls = history[-1].get("tool_calls") or []
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "[]"} for call in calls]
        history += results or [user("Go on")]
    return history[:-1]


def rerendered(history: list[dict[str, Any]], template: str, *, generation: bool = False) -> list[int]:
    """The ids that a trainer gets of the messages, by the model's template and the same vocabulary."""
    plain = json.loads(json.dumps(history))
    for message in plain:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    ids = transformers_tokenizer(qwen3_file()).apply_chat_template(
        plain, tools=SEARCH, chat_template=template, add_generation_prompt=generation, return_dict=False
    )
    assert isinstance(ids, list)
    return ids


def others(sampled: list[int], ids: list[int]) -> int:
    """How many of the sampled ids do not stand in these, in their order."""
    matching = SequenceMatcher(None, sampled, ids, autojunk=False).get_matching_blocks()
    return len(sampled) - sum(block.size for block in matching)


def test_an_episode_rendered_anew_has_other_ids(tmp_path: Path, reference: Path) -> None:
    template = (reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja").read_text(encoding="utf-8")
    with running(tmp_path / "runs.sqlite", saying(*(f"{text}<|im_end|>" for text in SAID))) as gateway:
        history = kept(gateway.base())
        with GatewayClient(gateway.url) as trainer:
            (rewarded,) = trainer.samples("run-1").samples
        first = gateway.engines[0].generates[0].prompt_ids
    assert list(first) == rerendered(history[:1], template, generation=True)  # both begin alike
    sample = rewarded.sample
    trained = [id_ for id_, counts in zip(sample.token_ids, sample.loss_mask, strict=True) if counts]
    assert trained == [id_ for ids in SAMPLED for id_ in ids]
    without = [{name: value for name, value in one.items() if name != "reasoning_content"} for one in history]
    changed = others(trained, rerendered(history, template)), others(trained, rerendered(without, template))
    assert (len(trained), *changed) == (143, 28, 39)  # the figures of docs/gateway.md
