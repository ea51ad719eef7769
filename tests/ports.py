"""llama.cpp's ports of the encoders that models ship as Python: a second witness, rendered by plain Jinja.

Where a port and a FORMAT.md differ, the FORMAT.md is right. Each difference is a literal case in the tests of the
family; here conversations are made to have none of them, and then the texts are the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

import isc
from isc.testing import Conversation, Shape, Writer

Message = dict[str, Any]
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}


def port_text(path: Path, conversation: Conversation, *, asks: bool, **options: object) -> str:
    """What a port renders."""
    messages, tools = conversation
    variables = {"messages": messages, "tools": tools, "add_generation_prompt": asks, **options}
    return _compiled(path).render(bos_token="<｜begin▁of▁sentence｜>", **variables)


@lru_cache(maxsize=8)
def _compiled(path: Path) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **layout: json.dumps(value, **{"ensure_ascii": False, **layout})
    environment.filters["from_json"] = json.loads
    environment.globals["raise_exception"] = _raise
    return environment.from_string(path.read_text(encoding="utf-8"))


def _raise(message: str) -> str:
    raise ValueError(message)


def family_text(family: isc.Family, conversation: Conversation, *, asks: bool) -> str:
    """What a family renders."""
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family)
    return "".join(segment.text for segment in renderer.segments(*conversation, asks))


def written(shape: Shape, adapted: Callable[[Conversation], Conversation], count: int) -> Iterator[Conversation]:
    """Random conversations of a shape, each without what the port does otherwise."""
    for seed in range(count):
        conversation = adapted(Writer(random.Random(seed), shape).conversation())
        if conversation[0]:
            yield conversation


def answers_kept(messages: Sequence[Message], after: tuple[str, ...]) -> list[Message]:
    """Messages up to the first assistant that follows another role than these."""
    kept: list[Message] = []
    for message in messages:
        if message["role"] == "assistant" and (kept[-1]["role"] if kept else None) not in after:
            break
        kept.append(message)
    return kept


def system_said(conversation: Conversation) -> Conversation:
    """The conversation with a system message that says something where there are tools."""
    messages, tools = conversation
    if tools and (messages[0]["role"] != "system" or not messages[0]["content"]):
        messages = [{"role": "system", "content": "s"}, *messages[messages[0]["role"] == "system" :]]
    return messages, tools
