"""Bad input: every message or tool that cannot be rendered is an error that names its place, and no traceback."""

from __future__ import annotations

import json
import pickle
from typing import Any, TypeAlias

import pytest

import isc
from isc.convert import chat

Untyped: TypeAlias = Any
"""What a type checker would not let a caller pass."""

USER = {"role": "user", "content": "hi"}
NAN, INFINITY = float("nan"), float("inf")
LONG_INTEGER = 10**6000
CIRCULAR: list[object] = []
CIRCULAR.append(CIRCULAR)
DEEP: Untyped = json.loads("[" * 900 + "]" * 900)
for _ in range(3000):
    DEEP = [DEEP]


def _call(arguments: object = "{}", **more: object) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments} | more}


def _assistant(*calls: object, **more: object) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)} | more


def _message(**fields: object) -> list[dict[str, Any]]:
    return [USER, {"role": "user"} | fields]


ARGUMENTS = "messages[1].tool_calls[0].function.arguments"

BAD_MESSAGES: list[tuple[object, str, str]] = [
    ([], "messages", "empty conversation"),
    (None, "messages", "must be a list of messages"),
    (5, "messages", "must be a list of messages"),
    ("hi", "messages", "must be a list of messages"),
    (USER, "messages", "must be a list of messages"),
    ([USER, "hi"], "messages[1]", "must be a message"),
    ([USER, None], "messages[1]", "must be a message"),
    ([USER, isc.TextPart("hi")], "messages[1]", "must be a message"),
    (_message(role="robot"), "messages[1].role", "must be one of system, developer, user, assistant, tool"),
    ([USER, {"content": "hi"}], "messages[1].role", "must be one of"),
    (_message(role=None), "messages[1].role", "must be one of"),
    (_message(role=["user"]), "messages[1].role", "must be one of"),
    (_message(content=3), "messages[1].content", "must be a string, a list of parts or None"),
    (_message(content=b"hi"), "messages[1].content", "must be a string"),
    (_message(content={"type": "text"}), "messages[1].content", "must be a string, a list of parts"),
    (_message(content="ab\ud800"), "messages[1].content", "lone surrogate at character 2"),
    ([isc.UserMessage("\ud800")], "messages[0].content", "lone surrogate"),
    (_message(content=["a", "\udfff"]), "messages[1].content[1]", "lone surrogate at character 0"),
    (_message(content=[{"type": "text", "text": "\ud800"}]), "messages[1].content[0].text", "lone surrogate"),
    (_message(content=[isc.TextPart("\ud800")]), "messages[1].content[0].text", "lone surrogate"),
    (_message(content=[3]), "messages[1].content[0]", "must be a part"),
    (_message(content=[{"type": "text"}]), "messages[1].content[0].text", "must be a string"),
    (_message(content=[{"type": "smell"}]), "messages[1].content[0].type", "must be text or one of image"),
    (_message(content=[{"type": ["text"]}]), "messages[1].content[0].type", "must be text or one of"),
    (_message(content=[{}]), "messages[1].content[0].type", "must be text or one of"),
    (_message(name=3), "messages[1].name", "must be a string"),
    (_message(name="\ud800"), "messages[1].name", "lone surrogate"),
    (_message(score=NAN), "messages[1].score", "not JSON"),
    (_message(more={"deep": [0, {"er": INFINITY}]}), "messages[1].more.deep[1].er", "not JSON"),
    ([{**USER, 1: NAN}], "messages[0].1", "not JSON"),
    ([USER, _assistant(reasoning_content=3)], "messages[1].reasoning_content", "must be a string"),
    ([USER, _assistant(reasoning="\ud800")], "messages[1].reasoning", "lone surrogate"),
    ([USER, _assistant(tool_calls="f()")], "messages[1].tool_calls", "must be a list of tool calls"),
    ([USER, _assistant(_call(), "f()")], "messages[1].tool_calls[1]", "must be a tool call"),
    ([USER, _assistant({"function": "f"})], "messages[1].tool_calls[0].function", "must be an object with 'name'"),
    ([USER, _assistant({"function": {}})], "messages[1].tool_calls[0].function.name", "missing or empty"),
    ([USER, _assistant(_call(name=""))], "messages[1].tool_calls[0].function.name", "missing or empty"),
    ([USER, _assistant(_call(name=3))], "messages[1].tool_calls[0].function.name", "must be a string"),
    ([USER, _assistant({"arguments": {}})], "messages[1].tool_calls[0].name", "missing or empty"),
    ([USER, _assistant(_call() | {"id": 7})], "messages[1].tool_calls[0].id", "must be a string"),
    ([USER, _assistant(_call([1]))], ARGUMENTS, "must be an object or the JSON text of one"),
    ([USER, _assistant(_call("[1]"))], ARGUMENTS, "must be the JSON text of an object"),
    ([USER, _assistant(_call("{'a': 1}"))], ARGUMENTS, "is not JSON"),
    ([USER, _assistant(_call('{"a": NaN}'))], ARGUMENTS, "is not JSON: NaN"),
    ([USER, _assistant(_call('{"a": -Infinity}'))], ARGUMENTS, "is not JSON: -Infinity"),
    ([USER, _assistant(_call('{"a": "\ud800"}'))], ARGUMENTS, "holds a lone surrogate"),
    ([USER, _assistant(_call('{"a": "\\ud800"}'))], ARGUMENTS, "surrogates not allowed"),
    ([USER, _assistant(_call('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"))], ARGUMENTS, "nested too deeply"),
    ([USER, _assistant(_call('{"a": ' + "9" * 6000 + "}"))], ARGUMENTS, "is not JSON: Exceeds the limit"),
    ([USER, _assistant(_call({"a": {"b": NAN}}))], f"{ARGUMENTS}.a.b", "not JSON"),
    ([USER, _assistant(_call({"a": [1, -INFINITY]}))], f"{ARGUMENTS}.a[1]", "not JSON"),
    ([USER, _assistant(_call({"a": ["\ud800"]}))], f"{ARGUMENTS}.a[0]", "lone surrogate"),
    ([USER, _assistant(_call({"\ud800": 1}))], ARGUMENTS, "has no JSON form"),
    ([USER, _assistant(_call({("a", "b"): 1}))], ARGUMENTS, "has no JSON form"),
    ([USER, _assistant(_call({"a": {1, 2}}))], f"{ARGUMENTS}.a", "not JSON"),
    ([USER, _assistant(_call({"a": object()}))], f"{ARGUMENTS}.a", "not JSON"),
    ([USER, _assistant(_call({"a": LONG_INTEGER}))], f"{ARGUMENTS}.a", "not JSON: Exceeds the limit"),
    ([USER, _assistant(isc.ToolCall("f", {"a": NAN}))], "messages[1].tool_calls[0].arguments.a", "not JSON"),
    ([{"role": "tool", "content": "x", "tool_call_id": 3}], "messages[0].tool_call_id", "must be a string"),
    ([{"role": "tool", "content": "x", "tool_call_id": "9"}], "messages[0].tool_call_id", "known ids: none"),
    (
        [USER, _assistant(_call()), {"role": "tool", "content": "x", "tool_call_id": "2"}],
        "messages[2].tool_call_id",
        "answers no call of an earlier assistant message; known ids: ['1']",
    ),
    (
        [USER, {"role": "tool", "content": "x", "tool_call_id": "1"}, _assistant(_call())],
        "messages[1].tool_call_id",
        "answers no call of an earlier assistant message",
    ),
]

BAD_TOOLS: list[tuple[object, str, str]] = [
    ("f", "tools", "must be a list of tools"),
    ({"name": "f"}, "tools", "must be a list of tools"),
    (7, "tools", "must be a list of tools"),
    (["f"], "tools[0]", "must be a tool"),
    ([{"name": "f"}, None], "tools[1]", "must be a tool"),
    ([{}], "tools[0].function", "must be an object with 'name'"),
    ([{"type": "function", "function": "f"}], "tools[0].function", "must be an object with 'name'"),
    ([{"function": {"description": "x"}}], "tools[0].function.name", "missing or empty"),
    ([{"name": ""}], "tools[0].name", "missing or empty"),
    ([{"name": 3}], "tools[0].name", "must be a string"),
    ([{"function": {"name": "f", "parameters": {"a": NAN}}}], "tools[0].function.parameters.a", "not JSON"),
    ([{"name": "f", "parameters": {"a": INFINITY}}], "tools[0].parameters.a", "not JSON"),
    ([{"name": "f", "description": "\ud800"}], "tools[0].description", "lone surrogate"),
    ([isc.ToolSpec({"function": {"name": "f", "x": NAN}})], "tools[0].function.x", "not JSON"),
]


def _raised(messages: Untyped, tools: Untyped = None) -> isc.ConversationError:
    with pytest.raises(isc.ConversationError) as caught:
        chat(messages, tools)
    return caught.value


@pytest.mark.parametrize(("messages", "path", "problem"), BAD_MESSAGES)
def test_a_bad_message_is_an_error_at_its_place(messages: object, path: str, problem: str) -> None:
    error = _raised(messages)
    assert error.path == path
    assert problem in error.problem
    assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize(("tools", "path", "problem"), BAD_TOOLS)
def test_a_bad_tool_is_an_error_at_its_place(tools: object, path: str, problem: str) -> None:
    error = _raised([USER], tools)
    assert error.path == path
    assert problem in error.problem
    assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("value", [CIRCULAR, DEEP], ids=["circular", "deep"])
def test_arguments_without_an_end_are_an_error_that_can_be_shown(value: object) -> None:
    error = _raised([USER, _assistant(_call({"a": value}))])
    assert error.path.startswith(f"{ARGUMENTS}.a")
    assert len(str(error)) < 1000


def test_an_error_shows_the_value_that_was_found() -> None:
    assert str(_raised(_message(role="robot"))).endswith("(got 'robot')")


def test_an_error_shows_a_long_value_shortened() -> None:
    assert len(str(_raised([USER, _assistant(_call("x" * 10_000_000))]))) < 1000


@pytest.mark.parametrize("value", [LONG_INTEGER, [LONG_INTEGER], DEEP], ids=["long integer", "within", "deep"])
def test_an_error_about_a_value_that_has_no_text_can_still_be_shown(value: object) -> None:
    assert "cannot be shown" in str(_raised(_message(name=value)))


def test_an_error_prints_a_lone_surrogate_escaped() -> None:
    assert str(_raised(_message(content="ab\ud800"))).encode().endswith(rb"'ab\ud800')")


def test_an_error_survives_pickling() -> None:
    error = _raised(_message(role="robot"))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.path, str(again)) == (type(error), error.path, str(error))


def test_a_conversation_error_is_a_value_error() -> None:
    assert isinstance(_raised([]), ValueError)
    assert isinstance(_raised([]), isc.Error)


@pytest.mark.parametrize(("messages", "path", "problem"), BAD_MESSAGES)
def test_rendering_raises_what_converting_does(messages: Untyped, path: str, problem: str, small: isc.Renderer) -> None:
    with pytest.raises(isc.ConversationError) as caught:
        small.render(messages)
    assert caught.value.path == path
