"""What the tests of traced templates share: one conversation, and a short way to write down what came from where."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from isc.traced.format import Format, written_of
from isc.traced.origins import Kind
from isc.traced.rendering import Written
from isc.traced.values import template_messages

NOW = "2025-01-15"
USER = "Hi <b>you</b>, it's me"
ARGUMENTS = {"to": "X", "n": 7, "f": 1.5, "ok": True, "no": None, "l": ["p", {"q": 2}]}
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": USER, "tags": ["x", "y"]},
    {
        "role": "assistant",
        "content": "Yo",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "go", "arguments": ARGUMENTS}}],
    },
    {"role": "tool", "content": "done", "name": "go", "tool_call_id": "c1"},
]
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "go", "parameters": {"type": "object", "properties": {"to": {}}}}}
]
SHORT = {
    "$u": "messages[0].content",
    "$a": "messages[1].content",
    "$t": "messages[2].content",
    "$x": "messages[1].tool_calls[0].function.arguments",
}
_LETTERS = {Kind.BODY: "b", Kind.NAME: "n", Kind.DATA: "d", Kind.TOOLS: "k", Kind.UNKNOWN: "?"}


def spelled_out(source: str) -> str:
    """A template with `$u`, `$a`, `$t` (contents) and `$x` (arguments) spelled out."""
    return re.sub(r"\$[uatx]", lambda match: SHORT[match.group()], source)


def written(
    source: str,
    messages: Sequence[Mapping[str, Any]] = MESSAGES,
    tools: Sequence[Mapping[str, Any]] | None = TOOLS,
    *,
    add_generation_prompt: bool = False,
    **options: Any,  # noqa: ANN401 - a template's own
) -> Written:
    """What a template writes for a conversation."""
    chosen = Format(spelled_out(source), now=NOW, options=json.dumps(options))
    return written_of(chosen, template_messages(messages), tools, add_generation_prompt=add_generation_prompt)


def shown(found: Written) -> str:
    """The text, with what is not the template's own in brackets that say where it came from."""
    parts: list[tuple[str, str]] = []
    position = 0
    for length, origin, _ in found.runs:
        text = found.text[position : position + length]
        position += length
        name = _LETTERS.get(origin.kind, "") + (str(origin.message) if origin.message >= 0 else "")
        name += origin.operation
        if parts and parts[-1][0] == name:
            parts[-1] = (name, parts[-1][1] + text)
        else:
            parts.append((name, text))
    return "".join(f"⟦{name}:{text}⟧" if name else text for name, text in parts)


def plainly(
    source: str,
    messages: Sequence[Mapping[str, Any]] = MESSAGES,
    tools: Sequence[Mapping[str, Any]] | None = TOOLS,
    *,
    add_generation_prompt: bool = False,
    **options: Any,  # noqa: ANN401 - a template's own
) -> str:
    """What transformers renders; an option `strftime_now` stands in for the clock."""
    from transformers.utils import chat_template_utils
    from transformers.utils.chat_template_utils import _compile_jinja_template, _plain_template_data

    compiled = _compile_jinja_template(spelled_out(source))
    chat = chat_template_utils._alias_reasoning_fields(_plain_template_data(list(messages)))
    moment = datetime.fromisoformat(NOW)
    given = {"strftime_now": moment.strftime, **options}
    return str(
        compiled.render(
            messages=chat,
            tools=_plain_template_data(tools),
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **given,
        )
    )
