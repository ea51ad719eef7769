"""Turns of Qwen3.5 and 3.6 read back: argument types, tags in values, a status for every attempt, reasoning."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import assistant, call, user
from isc.formats.qwen3_5 import Qwen35
from isc.formats.qwen3_6 import Qwen36
from small_renders import parsed, renderer_of, text_of

HEAD = "<|im_start|>assistant\n"
FAMILIES: tuple[isc.Family, ...] = (Qwen35(), Qwen36())
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)


ARGUMENTS: list[tuple[Any, str, str, str]] = [  # value, declared type, as 3.5 spells it, as 3.6 does
    ("text", "string", "text", "text"),
    (" \n two lines\n", "string", " \n two lines\n", " \n two lines\n"),
    ("", "string", "", ""),
    ("5", "string", "5", "5"),
    ("null", "string", "null", "null"),
    ("None", "string", "None", "None"),
    ('{"a": 1}', "string", '{"a": 1}', '{"a": 1}'),
    ('"quoted"', "string", '"quoted"', '"quoted"'),
    (5, "integer", "5", "5"),
    (-2.5, "number", "-2.5", "-2.5"),
    (1e22, "number", "1e+22", "1e+22"),
    (True, "boolean", "True", "true"),
    (False, "boolean", "False", "false"),
    (None, "null", "None", "null"),
    ({"a": {"b": [1, None, "é"]}}, "object", '{"a": {"b": [1, null, "é"]}}', '{"a": {"b": [1, null, "é"]}}'),
    ([True, "x"], "array", '[true, "x"]', '[true, "x"]'),
]


@families
@pytest.mark.parametrize(("value", "declared", "older", "newer"), ARGUMENTS)
def test_argument_is_spelled_as_the_template_does_and_read_as_its_tool_declares(
    family: isc.Family,
    value: Any,  # noqa: ANN401 - JSON
    declared: str,
    older: str,
    newer: str,
) -> None:
    body = f"<parameter=k>\n{older if isinstance(family, Qwen35) else newer}\n</parameter>\n"
    text = f"<tool_call>\n<function=f>\n{body}</function>\n</tool_call>"
    assert text_of(family, [user("a"), assistant("", call("f", {"k": value}))]).endswith(text + "<|im_end|>\n")
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {"k": {"type": declared}}}}]
    (found,) = parsed(family, text, tools).tool_calls
    assert (found.status, found.name, found.arguments) == ("ok", "f", {"k": value})
    assert found.arguments is not None
    assert type(found.arguments["k"]) is type(value)


@pytest.mark.parametrize(
    ("family", "text", "schema", "value"),
    [
        (Qwen35(), "5", None, 5),
        (Qwen35(), "None", None, None),
        (Qwen36(), "None", None, "None"),
        (Qwen36(), "null", None, None),
        (Qwen36(), "cats", None, "cats"),
        (Qwen35(), "None", {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        (Qwen35(), "5", {"type": ["string", "null"]}, "5"),
        (Qwen36(), "5", {"enum": [1, 5]}, 5),
    ],
)
def test_an_argument_that_may_be_several_things(
    family: isc.Family, text: str, schema: dict[str, object] | None, value: object
) -> None:
    tools = [{"name": "f", "parameters": {"properties": {"k": schema}}}] if schema else None
    text = f"<tool_call>\n<function=f>\n<parameter=k>\n{text}\n</parameter>\n</function>\n</tool_call>"
    (found,) = parsed(family, text, tools).tool_calls
    assert (found.status, found.arguments) == ("ok", {"k": value})


def call_text(inside: str) -> str:
    return f"<tool_call>{inside}</tool_call>"


TAGS_IN_VALUES = [
    "</parameter>",
    "\n</parameter>\n",
    "a\n</parameter>",
    "a</parameter>\n<parameter=b>c",
    "<parameter=b>\nc\n</parameter>",
    "</function>\n",
    "</function>\n</tool_call>",
    "<tool_call>\n<function=g>\n</function>\n</tool_call>",
    "<function=g>\n",
]


@families
@pytest.mark.parametrize("value", TAGS_IN_VALUES)
def test_a_tag_spelled_in_a_value_ends_nothing(family: isc.Family, value: str) -> None:
    renderer = renderer_of(family)
    prompt = renderer.render([user("a")], None, True)
    full = renderer.render([user("a"), assistant("b", call("f", {"k": value, "l": value}), call("g", {}))])
    found = renderer.parse_response(full.token_ids[len(prompt) :], prompt_ids=prompt.token_ids)
    assert [(c.status, c.name, c.arguments) for c in found.tool_calls] == [
        ("ok", "f", {"k": value, "l": value}),
        ("ok", "g", {}),
    ]


SEARCH = {
    "name": "search",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}, "filters": {"type": "object"}},
    },
}
QUERY = "<parameter=query>\ncats\n</parameter>\n"
STATUSES: dict[str, tuple[str, str, str | None, Any]] = {
    "as rendered": (call_text(f"\n<function=search>\n{QUERY}</function>\n"), "ok", "search", {"query": "cats"}),
    "no line breaks": (
        call_text("<function=search><parameter=query>cats</parameter><parameter=limit>3</parameter></function>"),
        "ok",
        "search",
        {"query": "cats", "limit": 3},
    ),
    "other line breaks": (
        call_text("\n\n<function=search>\n\n<parameter=query>cats\n</parameter>\n\n</function>"),
        "ok",
        "search",
        {"query": "cats"},
    ),
    "no arguments": (call_text("\n<function=search>\n</function>\n"), "ok", "search", {}),
    "unclosed": (
        f"<tool_call>\n<function=search>\n{QUERY}</function>\n",
        "unclosed_block",
        "search",
        {"query": "cats"},
    ),
    "cut in a value": ("<tool_call>\n<function=search>\n<parameter=query>\nca", "unclosed_block", "search", None),
    "cut in the name": ("<tool_call>\n<function=sea", "unclosed_block", None, None),
    "no name": (call_text(f"\n<function=>\n{QUERY}</function>\n"), "missing_name", None, {"query": "cats"}),
    "nothing": (call_text(""), "malformed_structure", None, None),
    "a JSON call": (call_text('\n{"name": "search", "arguments": {}}\n'), "malformed_structure", None, None),
    "no function": (call_text(QUERY), "malformed_structure", None, None),
    "function left open": (call_text(f"\n<function=search>\n{QUERY}"), "malformed_structure", "search", None),
    "parameter left open": (
        call_text("\n<function=search>\n<parameter=query>\ncats\n</function>\n"),
        "malformed_structure",
        "search",
        {"query": "cats"},
    ),
    "text after the function": (
        call_text(f"\n<function=search>\n{QUERY}</function>\nDone."),
        "malformed_structure",
        "search",
        None,
    ),
    "text before a parameter": (
        call_text(f"\n<function=search>\nfor cats\n{QUERY}</function>\n"),
        "malformed_structure",
        "search",
        None,
    ),
    "a parameter twice": (
        call_text(f"\n<function=search>\n{QUERY}{QUERY}</function>\n"),
        "malformed_structure",
        "search",
        None,
    ),
    "no integer": (
        call_text("\n<function=search>\n<parameter=limit>\nten\n</parameter>\n</function>\n"),
        "invalid_json",
        "search",
        {"limit": "ten"},
    ),
    "broken object": (
        call_text('\n<function=search>\n<parameter=filters>\n{"a": \n</parameter>\n</function>\n'),
        "invalid_json",
        "search",
        {"filters": '{"a": '},
    ),
    "deep object": (
        call_text(f"\n<function=search>\n<parameter=filters>\n{'[' * 3000}\n</parameter>\n</function>\n"),
        "invalid_json",
        "search",
        {"filters": "[" * 3000},
    ),
    "long integer": (
        call_text(f"\n<function=search>\n<parameter=limit>\n{'9' * 6000}\n</parameter>\n</function>\n"),
        "invalid_json",
        "search",
        {"limit": "9" * 6000},
    ),
    "unknown tool": (call_text("\n<function=find>\n</function>\n"), "unknown_tool", "find", {}),
}  # fmt: skip


@families
@pytest.mark.parametrize("attempt", STATUSES)
def test_status_of_a_call(family: isc.Family, attempt: str) -> None:
    text, status, name, arguments = STATUSES[attempt]
    found = parsed(family, f"Looking.\n\n{text}<|im_end|>", [SEARCH])
    assert found.content == "Looking."
    assert [(c.status, c.name, c.arguments) for c in found.tool_calls] == [(status, name, arguments)]


@families
def test_reasoning_is_read_where_the_prompt_left_it_open(family: isc.Family) -> None:
    found = parsed(family, "\nr\n\n</think>\n\n b\n<|im_end|>", prompt=HEAD + "<think>\n")
    assert found == isc.ParsedResponse(" b", "r")
    cut = parsed(family, "half a thou", prompt=HEAD + "<think>\n")
    assert cut == isc.ParsedResponse("", "half a thou", reasoning_complete=False)
    closed = parsed(family, "b</think>c", prompt=HEAD + "<think>\n\n</think>\n\n")
    assert closed == isc.ParsedResponse("b</think>c")
