"""A chat format that is a template: everything its text depends on besides the conversation, and its two ways to run.

`text_of` renders plain values and is nearly as fast as Jinja; `written_of` traces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from msgspec import Struct

from isc.traced.language import strftime
from isc.traced.limits import Meter
from isc.traced.rendering import Written, compiled, write
from isc.traced.values import Inputs

Dicts: TypeAlias = Sequence[Mapping[str, Any]]
_TOOL_OPTIONS: Final = frozenset(("custom_tools", "python_tools", "tools_ts_str", "xml_tools"))
"""The options by which templates take tool schemas besides `tools`."""


class Format(Struct, frozen=True, cache_hash=True):
    """A template with its options; `options` is the JSON text of its keyword arguments."""

    source: str
    bos_token: str = ""
    eos_token: str = ""
    now: str | None = None
    options: str = "{}"
    specials: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def options_of(options: str) -> Mapping[str, Any]:
    """Decode keyword arguments from their JSON text. The last 256 are kept, and nobody changes them."""
    decoded: Mapping[str, Any] = json.loads(options)
    return decoded


def text_of(chosen: Format, messages: Dicts, tools: Dicts | None, *, add_generation_prompt: bool) -> str:
    """Render a conversation as text.

    Raises:
        TemplateError: The template raised.
    """
    return untraced_of(chosen, messages, tools, add_generation_prompt=add_generation_prompt).text


def untraced_of(chosen: Format, messages: Dicts, tools: Dicts | None, *, add_generation_prompt: bool) -> Written:
    """Render a conversation as text with the start of its tail. All text is taken for the template's own.

    Raises:
        TemplateError: The template raised.
    """
    variables = {"messages": messages, "tools": tools, "documents": None, **options_of(chosen.options)}
    return _run(chosen, variables, Inputs(), messages, add_generation_prompt)


def written_of(chosen: Format, messages: Dicts, tools: Dicts | None, *, add_generation_prompt: bool) -> Written:
    """Render a conversation as text with the runs of its characters.

    Raises:
        TemplateError: The template raised.
    """
    inputs = Inputs()
    variables: dict[str, object] = {
        "messages": inputs.messages(messages),
        "tools": inputs.tools(tools),
        "documents": None,
        **{
            name: inputs.tools(value) if name in _TOOL_OPTIONS else inputs.data(value)
            for name, value in options_of(chosen.options).items()
        },
    }
    return _run(chosen, variables, inputs, messages, add_generation_prompt)


def _run(
    chosen: Format, variables: dict[str, object], inputs: Inputs, messages: Dicts, add_generation_prompt: bool
) -> Written:
    for name in ("bos_token", "eos_token"):
        if getattr(chosen, name):
            variables.setdefault(name, getattr(chosen, name))
    variables["add_generation_prompt"] = add_generation_prompt
    variables["strftime_now"] = strftime(chosen.now)
    characters = sum(len(content) for message in messages if isinstance(content := message.get("content"), str))
    return write(compiled(chosen.source), variables, inputs, Meter(len(messages), characters))
