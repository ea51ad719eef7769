"""Llama's values and their references: every option of both templates; no vocabulary at hand has `<|eom_id|>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import isc
from cases import Case
from golden_conversations import NOW, SEARCH
from isc.formats.llama_3 import Llama3
from references import arguments_as_objects, none_as_empty, parts_joined_but_in_results

_DAY = {"date_string": "1 Jan 2030"}
_REFUSES = {"call_after_content": "messages[1].content", "parallel_calls": "messages[1].tool_calls"}
_NO_USER_FIRST = {"tool_first": "messages[0].role", "no_user": "messages[1].role"}


def _case(
    name: str,
    family: isc.Family,
    model: str,
    options: Mapping[str, Any],
    *,
    tokenizer: str = "llama-3.1",
    refuses: Mapping[str, str] = {},
) -> Case:
    return Case(
        name,
        family,
        f"meta-llama--{model}-Instruct/chat_template.jinja",
        tokenizer,
        options,
        bos_token="<|begin_of_text|>",
        refuses={**_REFUSES, **refuses},
        adaptations=(parts_joined_but_in_results, none_as_empty, arguments_as_objects),
    )


_EIGHT, _ONE = "Llama-3.1-8B", "Llama-3.2-1B"
_SYSTEM = {"tools_in_user_message": False}
_BUILT_IN = {"builtin_tools": ["brave_search", "code_interpreter", "wolfram_alpha"]}
_CUSTOM = {"custom_tools": [NOW, SEARCH["function"]]}
_BUILT_IN_TOOLS = ("brave_search", "code_interpreter", "wolfram_alpha")
_CUSTOM_TOOLS = (NOW, SEARCH["function"])

CASES = (
    _case("llama-3.1", Llama3(), _EIGHT, {}),
    _case(
        "llama-3.1-system-tools",
        Llama3(date_string="1 Jan 2030", tools_in_user_message=False),
        _EIGHT,
        {**_DAY, **_SYSTEM},
    ),
    _case("llama-3.1-custom", Llama3(custom_tools=_CUSTOM_TOOLS), _EIGHT, _CUSTOM, refuses=_NO_USER_FIRST),
    _case("llama-3.1-built-in", Llama3(builtin_tools=_BUILT_IN_TOOLS), _EIGHT, _BUILT_IN, tokenizer=""),
    _case(
        "llama-3.1-built-in-system-tools",
        Llama3(builtin_tools=(), tools_in_user_message=False),
        _EIGHT,
        {"builtin_tools": [], **_SYSTEM},
        tokenizer="",
    ),
    _case("llama-3.2", Llama3(variant="3.2", date_string="1 Jan 2030"), _ONE, _DAY),
    _case(
        "llama-3.2-custom-system-tools",
        Llama3(variant="3.2", date_string="", custom_tools=_CUSTOM_TOOLS, tools_in_user_message=False),
        _ONE,
        {"date_string": "", **_CUSTOM, **_SYSTEM},
    ),
)
