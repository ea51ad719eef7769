"""An episode as an agent keeps it, and its history rendered anew by the model's own template."""

from __future__ import annotations

import json
from difflib import SequenceMatcher
from typing import Any

import openai

from gateway_sessions import QWEN, SEARCH, ids_of, user
from tokenizer_files import qwen3_file, transformers_tokenizer

SAID = (
    '<think>\nWhere?\n</think>\n\nI look.\n\n<tool_call>\n{"name": "search", "arguments": {"q": "cats"}}\n</tool_call>',
    '<think>\nNone.\n</think>\n\n<tool_call>\n{"name":"search","arguments":{"limit":1e1,"q":"kittens"}}\n</tool_call>',
    '<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "search", "arguments": {"q": "dogs"\n</tool_call>',
    '<think>\nCut off.\n</think>\n\n<tool_call>\n{"name": "search", "arguments": {"q": "d\\u00f6gs"}}\n</tool_call>',
    "<think>\nTwo.\n</think>\n\n Two dogs. ",
)
SAMPLED = [ids_of(QWEN, f"{text}<|im_end|>") for text in SAID]


def kept(base: str, *, reasoning: bool = True) -> list[dict[str, Any]]:
    """The episode as an agent with OpenAI's SDK keeps it, with or without reasoning."""
    asked = openai.OpenAI(base_url=base, api_key="x", max_retries=0).chat.completions
    history: list[Any] = [user("Find cats")]
    for _ in SAID:
        message = asked.create(model="m", messages=history, tools=SEARCH).choices[0].message  # type: ignore[arg-type]
        history.append(message.model_dump(exclude_none=True, exclude=None if reasoning else {"reasoning_content"}))
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
