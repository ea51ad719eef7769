"""The reference templates as traced templates: where they lie, their specials, a conversation of planted markers."""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from isc.traced.template import TracedTemplate
from traced_tools import NOW

PLACE = Path(os.environ.get("ISC_REFERENCE") or Path(__file__).resolve().parent.parent.parent / "shared" / "reference")
TEMPLATES = sorted(str(path.relative_to(PLACE / "templates")) for path in PLACE.glob("templates/*/*.jinja"))
_SPELLED = re.compile(
    r"<\|[^|<>\s{}]+\|?>|<[a-z_]+\|>|<｜[^｜<>{}]+｜>|\[/?(?:INST|TOOL_CALLS|ARGS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT|"
    r"IMG|THINK|TOOL_CONTENT|CALL_ID)\]|</?(?:think|tool_call|tool_response|start_of_turn|end_of_turn|start_of_image|"
    r"minimax:tool_call|sop|assistant|user|system|arg_key|arg_value)>|\[gMASK\]|\]~[!a-z]+\[|\]~b\]|\[e~\[|〈\|EOS\|〉"
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled", "clear_thinking": True},
    {
        "enable_thinking": True,
        "thinking": True,
        "preserve_thinking": True,
        "preserved_thinking": True,
        "clear_thinking": False,
        "truncate_history_thinking": False,
        "thinking_mode": "enabled",
        "reasoning_effort": "low",
        "low_effort": True,
        "medium_effort": True,
        "add_vision_id": True,
        "is_training": True,
        "model_identity": "I am the option.",
        "date_string": "1 Jan 2030",
        "tools_in_user_message": False,
        "builtin_tools": ["browser", "python"],
        "tools_ts_str": "namespace of options {}",
    },
)
"""Keyword arguments that templates take; each takes what it knows."""


@lru_cache(maxsize=4)
def _models() -> dict[str, dict[str, Any]]:
    rows = json.loads((PLACE / "models.json").read_text(encoding="utf-8"))
    return {Path(row["template"]).parent.name: row for row in rows if row["template"]}


@lru_cache(maxsize=256)
def traced_template(name: str, options: str = "{}") -> TracedTemplate:
    """A reference template with the specials that it and its tokenizer spell."""
    source = (PLACE / "templates" / name).read_text(encoding="utf-8")
    row = _models().get(Path(name).parent.name, {})
    tokenizer = PLACE / str(row.get("tokenizer")) / "tokenizer.json"
    added = json.loads(tokenizer.read_text(encoding="utf-8"))["added_tokens"] if tokenizer.is_file() else []
    built = [text.replace("{}", ":opensource") for text in re.findall(r"'(<[^']*\{\}[^']*>)'", source)]
    specials = [*(token["content"] for token in added), *_SPELLED.findall(source), *built]
    bos, eos = (row.get("bos_token"), row.get("eos_token")) if "mistral" not in name else ("<s>", "</s>")
    return TracedTemplate(
        source,
        bos_token=bos,
        eos_token=eos,
        now=NOW,
        specials=dict.fromkeys(specials),
        template_kwargs=json.loads(options),
    )


def tokenizer_name(name: str) -> str | None:
    """The tokenizer of a template's model, where the reference has it."""
    row = _models().get(Path(name).parent.name, {})
    found = Path(str(row.get("tokenizer"))).name
    files = ("tokenizer.json", "kimi_special_tokens.json")
    return found if any((PLACE / "tokenizers" / found / file).is_file() for file in files) else None


def given_tokens(template: TracedTemplate) -> dict[str, Any]:
    """What transformers passes to a template besides the conversation and options."""
    tokens = {"bos_token": template.format.bos_token, "eos_token": template.format.eos_token}
    return {name: text for name, text in tokens.items() if text}


def planted(*, text_arguments: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A conversation whose every field holds a marker of its own: `QqQ<message><field>`."""
    arguments: Any = {"QqQ4key": "QqQ4value", "number": 7}
    call = {"id": "QqQ4call0", "type": "function", "function": {"name": "QqQ4name"}}
    call["function"] = {"name": "QqQ4name", "arguments": json.dumps(arguments) if text_arguments else arguments}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "QqQ0content"},
        {"role": "user", "content": "QqQ1content"},
        {"role": "assistant", "content": "QqQ2content", "reasoning_content": "QqQ2reasoning"},
        {"role": "user", "content": "QqQ3content"},
        {"role": "assistant", "content": "", "reasoning_content": "QqQ4reasoning", "tool_calls": [call]},
        {"role": "tool", "content": "QqQ5content", "tool_call_id": "QqQ4call0", "name": "QqQ4name"},
        {"role": "assistant", "content": "QqQ6content", "reasoning_content": "QqQ6reasoning"},
        {"role": "user", "content": "QqQ7content"},
    ]
    parameters = {"type": "object", "properties": {"QqQxproperty": {"type": "string", "description": "QqQxdescribed"}}}
    function = {"name": "QqQxtool", "description": "QqQxdescription", "parameters": parameters}
    return messages, [{"type": "function", "function": function}]
