"""Good input: messages and tools in every shape that callers have become one kind of record, once."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

import isc
from isc.convert import chat, tool_names, tool_specs

USER = {"role": "user", "content": "hi"}
ONE_CALL = isc.ToolCall("f", {"a": 1}, "1")


def _call(arguments: object = "{}") -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}


def _assistant(*calls: object, **more: object) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)} | more


def _content(content: object) -> object:
    return chat([{"role": "user", "content": content}]).messages[0].content


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("", ""),
        ("\x00 é \U0010ffff", "\x00 é \U0010ffff"),
        ([], ()),
        (
            ["a", {"type": "text", "text": "b"}, {"text": "c"}],
            (isc.TextPart("a"), isc.TextPart("b"), isc.TextPart("c")),
        ),
        ((isc.TextPart("a"),), (isc.TextPart("a"),)),
        (
            [{"type": "image_url", "image_url": {"url": "x"}}],
            (isc.MediaPart("image", {"type": "image_url", "image_url": {"url": "x"}}),),
        ),
    ],
)
def test_content_is_none_text_or_parts(given: object, expected: object) -> None:
    assert _content(given) == expected


@pytest.mark.parametrize(
    "call",
    [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}},
        {"id": "1", "name": "f", "arguments": {"a": 1}},
        MappingProxyType({"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}),
        ONE_CALL,
    ],
)
def test_a_tool_call_is_nested_or_flat_or_a_record(call: object) -> None:
    (message,) = chat([_assistant(call)]).messages
    assert message == isc.AssistantMessage(tool_calls=(ONE_CALL,))


def test_arguments_as_text_are_kept_as_they_stand() -> None:
    (message,) = chat([_assistant(_call('{"b":1,\n "a" : "é"}'))]).messages
    assert isinstance(message, isc.AssistantMessage)
    assert message.tool_calls[0].arguments == '{"b":1,\n "a" : "é"}'


def test_arguments_as_object_keep_the_order_of_their_keys() -> None:
    (message,) = chat([_assistant(_call({"b": 1, "a": None, "c": [1.5, {"d": False}]}))]).messages
    assert isinstance(message, isc.AssistantMessage)
    arguments = message.tool_calls[0].arguments
    assert isinstance(arguments, Mapping)
    assert list(arguments) == ["b", "a", "c"]


FUNCTION: dict[str, Any] = {"name": "f", "description": "x", "parameters": {}}
WRAPPED: dict[str, Any] = {"type": "function", "function": FUNCTION}


@pytest.mark.parametrize(
    "tool",
    [WRAPPED, FUNCTION, {"type": "function", **FUNCTION}, isc.ToolSpec(WRAPPED)],
    ids=["wrapped", "bare", "bare with type", "record"],
)
def test_a_tool_is_wrapped_or_bare_or_a_record(tool: isc.ToolSpec | dict[str, Any]) -> None:
    assert tool_specs([tool]) == (isc.ToolSpec(WRAPPED),)


@pytest.mark.parametrize("tools", [None, [], ()])
def test_no_tools_are_none_or_an_empty_list(tools: list[isc.ToolSpec] | None) -> None:
    assert tool_specs(tools) == ()


def test_a_none_value_is_a_missing_key() -> None:
    keys = ("content", "name", "reasoning_content", "reasoning", "tool_calls", "anything")
    assert chat([{"role": "assistant"} | dict.fromkeys(keys)]) == chat([{"role": "assistant"}])


def test_reasoning_is_an_alias_of_reasoning_content() -> None:
    assert chat([_assistant(reasoning="why")]) == chat([_assistant(reasoning_content="why")])


def test_keys_that_isc_does_not_use_are_kept() -> None:
    (message,) = chat([{**USER, "weight": 0.5, "tags": ["a"]}]).messages
    assert message == isc.UserMessage("hi", extra={"weight": 0.5, "tags": ["a"]})


RECORDS: Sequence[isc.Message] = (
    isc.SystemMessage("s", extra={"extra": {"role": "user"}, "weight": 1}),
    isc.DeveloperMessage("d", "name"),
    isc.UserMessage((isc.TextPart("u"), isc.MediaPart("image", {"type": "image"}))),
    isc.AssistantMessage(None, None, {}, "why", (ONE_CALL, isc.ToolCall("g", "{}"))),
    isc.ToolMessage("result", tool_call_id="1"),
)


def test_records_pass_through_equal() -> None:
    assert chat(RECORDS).messages == tuple(RECORDS)


def test_converting_twice_changes_nothing() -> None:
    once = chat([{**USER, "extra": {"a": 1}, "z": 2}, _assistant(_call({"a": [1]}), reasoning="r")], [WRAPPED])
    assert chat(once.messages, once.tools) == once


def test_messages_may_come_from_a_generator() -> None:
    assert chat(message for message in (USER, USER)).messages == (isc.UserMessage("hi"),) * 2


def test_the_callers_messages_are_not_changed() -> None:
    messages = [USER, _assistant(_call({"a": [1]}), reasoning="r", extra=None)]
    before = copy.deepcopy(messages)
    chat(messages, [WRAPPED])
    assert messages == before


def test_a_conversation_that_goes_on_may_answer_calls_from_before() -> None:
    assert chat([{"role": "tool", "content": "x", "tool_call_id": "9"}], complete=False).messages


def test_a_tool_result_is_named_by_its_call_else_by_its_own_name() -> None:
    found = chat(
        [
            _assistant(_call(), isc.ToolCall("g", "{}", "2")),
            {"role": "tool", "content": "x", "tool_call_id": "2", "name": "other"},
            {"role": "tool", "content": "x", "name": "own"},
            {"role": "tool", "content": "x"},
        ]
    )
    assert tool_names(found.messages) == (None, "g", "own", None)


@pytest.mark.parametrize("body", ["x" * 10_000_000, "漢" * 3_400_000], ids=["ascii", "not ascii"])
def test_a_body_of_ten_megabytes_converts_in_no_time(body: str) -> None:
    start = time.perf_counter()
    assert _content(body) is body
    assert time.perf_counter() - start < 1


def test_a_body_of_ten_megabytes_renders_in_seconds(small: isc.Renderer) -> None:
    body = " ".join(map(str, range(1_450_000)))
    start = time.perf_counter()
    rendered = small.render([{"role": "user", "content": body}, _assistant(_call(json.dumps({"a": body})))])
    assert time.perf_counter() - start < 15
    assert len(rendered) > 1_000_000
