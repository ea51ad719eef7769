"""Kimi's values and their references: every template, every option.

The tokenizer sorts tools by key and, from K2.5 on, declares them in TypeScript; those declarations are isc's own here:
what they must be is tested by the worked examples of FORMAT.md. A call without an id has the native one, counted
through the conversation. The thinking model has the think markers of K2.5's tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import isc
from cases import Case
from isc.formats._kimi_typescript import declarations
from isc.formats.kimi_k2 import KimiK2
from isc.formats.kimi_k2_5 import KimiK25
from isc.testing import Conversation
from references import Adaptation, Preparation, arguments_as_objects, none_as_empty, parts_joined


def tools_sorted(conversation: Conversation) -> tuple[Conversation, Mapping[str, Any]]:
    """Every object of the tools sorted by key."""
    messages, tools = conversation
    return (messages, tools and json.loads(json.dumps(tools, sort_keys=True))), {}


def ids_native(conversation: Conversation) -> tuple[Conversation, Mapping[str, Any]]:
    """Tools sorted, and an id for every call."""
    (messages, tools), _ = tools_sorted(conversation)
    numbers = count()
    named = [
        {**message, "tool_calls": [_with_id(call, next(numbers)) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]
    return (named, tools), {}


def _with_id(call: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    return {"id": f"functions.{call['function']['name']}:{number}", **call}


def tools_declared(conversation: Conversation) -> tuple[Conversation, Mapping[str, Any]]:
    """Tools sorted and declared, and an id for every call."""
    prepared, _ = ids_native(conversation)
    try:
        return prepared, {"tools_ts_str": declarations(prepared[1] or ())}
    except ValueError:
        return prepared, {}


def _case(
    name: str,
    family: isc.Family,
    template: str,
    tokenizer: str,
    prepare: Preparation,
    adaptations: tuple[Adaptation, ...] = (),
    options: Mapping[str, bool] = {},
    *,
    images: bool = False,
) -> Case:
    template = f"moonshotai--Kimi-{template}.jinja"
    return Case(
        name,
        family,
        template,
        tokenizer,
        options,
        prepare=prepare,
        adaptations=adaptations,
        images=images,
    )


def _newer(name: str, family: isc.Family, template: str, *, images: bool = False, **options: bool) -> Case:
    return _case(name, family, template, "kimi-k2.5", tools_declared, options=options, images=images)


_K25, _K26 = "K2.5/chat_template", "K2.6/chat_template.backport-miles"

CASES = (
    _case("kimi-k2", KimiK2(), "K2-Instruct/chat_template.reconstructed", "kimi-k2", ids_native),
    _case(
        "kimi-k2-2025-07",
        KimiK2(variant="instruct_2025_07"),
        "K2-Instruct/chat_template.rev-2025-07",
        "kimi-k2",
        tools_sorted,
        (parts_joined, none_as_empty, arguments_as_objects),
    ),
    _case("kimi-k2-thinking", KimiK2(variant="thinking"), "K2-Thinking/chat_template", "kimi-k2.5", ids_native),
    _newer("kimi-k2.5", KimiK25(), _K25),
    _newer("kimi-k2.5-images", KimiK25(), _K25, images=True),
    _newer("kimi-k2.5-thinking", KimiK25(), _K25, thinking=True),
    _newer("kimi-k2.5-no-thinking", KimiK25(thinking=False), _K25, thinking=False),
    _newer("kimi-k2.6", KimiK25(variant="k2.6"), _K26),
    _newer("kimi-k2.6-no-thinking", KimiK25(thinking=False, variant="k2.6"), _K26, thinking=False),
    _newer(
        "kimi-k2.6-all-thinking",
        KimiK25(preserve_thinking=True, variant="k2.6"),
        _K26,
        preserve_thinking=True,
    ),
    _newer(
        "kimi-k2.6-all-thinking-but-no-more",
        KimiK25(thinking=False, preserve_thinking=True, variant="k2.6"),
        _K26,
        thinking=False,
        preserve_thinking=True,
    ),
)
