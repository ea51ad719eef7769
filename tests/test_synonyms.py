"""What a caller says under another key is read, refused by name, or counted and told: never dropped in silence."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel

import isc
from cases import CASES, Case
from isc.convert import chat, tool_specs
from isc.encoding.encoders import embedded

USER = {"role": "user", "content": "hi"}
FUNCTION = {"name": "f", "arguments": '{"a": 1}'}


def last(*messages: object) -> isc.Message:
    untyped: Any = messages
    return chat([USER, *untyped]).messages[-1]


def said(**fields: object) -> dict[str, object]:
    return {"role": "assistant", **fields}


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (said(content="x", thinking="why"), said(content="x", reasoning_content="why")),
        (said(content=None, thinking="why"), said(reasoning_content="why")),
        (said(content="x", reasoning="why"), said(content="x", reasoning_content="why")),
        (
            said(content="x", reasoning_details=[{"text": "wh"}, {"type": "reasoning.encrypted"}, {"text": "y"}]),
            said(content="x", reasoning_content="why"),
        ),
        (said(content=None, refusal="I will not."), said(content="I will not.")),
        (said(content=None, function_call=FUNCTION), said(tool_calls=[{"function": FUNCTION}])),
        ({"role": "function", "name": "f", "content": "4"}, {"role": "tool", "name": "f", "content": "4"}),
        (said(content=[{"type": "output_text", "text": "x"}]), said(content=[{"type": "text", "text": "x"}])),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
        ),
        (said(content=[{"type": "refusal", "refusal": "no"}]), said(content=[{"type": "text", "text": "no"}])),
        (
            said(content=[{"type": "thinking", "thinking": "why", "signature": "s"}, {"type": "text", "text": "x"}]),
            said(content=[{"type": "text", "text": "x"}], reasoning_content="why"),
        ),
        (
            said(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}]),
            said(reasoning_content="why"),
        ),
    ],
)
def test_known_synonyms_are_read(given: Mapping[str, Any], same: Mapping[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read, plain = last(given), last(same)
    assert [getattr(read, name) for name in read.__struct_fields__ if name != "extra"] == [
        getattr(plain, name) for name in plain.__struct_fields__ if name != "extra"
    ]
    assert chat([USER, read]).messages[-1] == read


@pytest.mark.parametrize("key", ["input_schema", "inputSchema"])
def test_the_parameters_of_a_tool_have_other_names(key: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    function = {"name": "f", "description": "d", key: schema}
    named = {"name": "f", "description": "d", "parameters": schema}
    assert json.dumps([tool.schema for tool in tool_specs([function])]) == json.dumps(
        [tool.schema for tool in tool_specs([named])]
    )
    assert tool_specs([{"type": "function", "function": function}])[0].parameters == schema
    assert tool_specs([named | {key: {}}])[0].parameters == schema


@pytest.mark.parametrize("key", ["text", "body", "answer", "parts", "output"])
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": ""}]])
def test_an_empty_message_with_words_elsewhere_is_refused_by_name(key: str, role: str, content: object) -> None:
    for words in ("hello", ["hello"], {"is": "hello"}):
        with pytest.raises(isc.ConversationError, match=f"has '{key}'.*as 'content'") as error:
            last({"role": role, "content": content, key: words})
        assert error.value.path == "messages[1]"


def test_what_is_about_a_message_is_no_word_of_it() -> None:
    for key, value in {"id": "msg_1", "text": "", "score": 0.5, "kept": True, "finish_reason": "stop"}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert last(said(content="", **{key: value})).content == ""


def test_a_message_that_says_something_keeps_other_keys_counted_and_told_once() -> None:
    messages: Any = [{**USER, "mood": "good"}, said(content="x", mood="bad", refusal="no", empty=[]), USER]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        found, *_ = (chat(messages) for _ in range(3))
    assert found.unread_keys == (("mood", 2), ("refusal", 1))
    assert [str(item.message) for item in told] == ["messages have keys that nothing reads: 'mood', 'refusal'"]
    assert told[0].category is isc.UnreadKeyWarning
    assert found.messages[0].extra == {"mood": "good"}


@pytest.mark.parametrize(
    "given",
    [
        said(content="x", reasoning_content="a", reasoning="b"),
        said(content="x", reasoning_content="a", thinking="b"),
        said(content="x", refusal="b"),
        said(content="x", function_call={"name": "g"}, tool_calls=[{"function": FUNCTION}]),
    ],
)
def test_the_second_of_two_that_differ_is_told(given: Mapping[str, Any]) -> None:
    with pytest.warns(isc.UnreadKeyWarning):
        assert chat([USER, given]).unread_keys
    with pytest.raises(isc.ConversationError, match="thinking parts"):
        last(said(content=[{"type": "thinking", "thinking": "a"}], reasoning_content="b"))


def test_keys_that_a_format_reads_are_not_told() -> None:
    template = "{% for m in messages %}<|x|>{{ m.text or m.content }}{% endfor %}"
    traced = isc.template.TracedTemplate(template, specials=("<|x|>",))
    renderer = isc.create_renderer(embedded(("<|x|>",)), traced)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "".join(s.text for s in renderer.segments([{"role": "user", "text": "hi"}])) == "<|x|>hi"
        assert "".join(s.text for s in traced.stream([{"role": "user", "text": "hi"}])) == "<|x|>hi"
        prefixed = isc.DeepSeekV31(thinking=True)
        isc.create_renderer(embedded(prefixed.specials), prefixed).render([USER, said(content="x", prefix=True)])


THINKERS = [case for case in CASES if case.family.reasoning is not None or case.name.startswith("gpt-oss")]


@pytest.mark.parametrize("case", THINKERS, ids=lambda case: case.name)
@pytest.mark.parametrize("content", ["x", None])
def test_every_format_that_reasons_reads_every_name_of_it(case: Case, content: str | None) -> None:
    """gpt-oss's own `thinking` beside content among them."""
    renderer = case.renderer(embedded(case.family.specials))
    expected = renderer.render([USER, said(content=content, reasoning_content="why so")])
    for name in ("thinking", "reasoning"):
        assert renderer.render([USER, said(content=content, **{name: "why so"})]) == expected


class Call(BaseModel):
    name: str
    arguments: str


class Message(BaseModel):
    role: str
    content: str | None = None
    function_call: Call | None = None


class Tool(BaseModel):
    name: str
    title: str | None = None
    inputSchema: dict[str, Any]  # noqa: N815 - the protocol's name


def test_sdk_objects_are_read_by_what_they_dump() -> None:
    from_sdk = ChatCompletionMessage.model_validate(
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": FUNCTION}]}
    )
    expected = isc.AssistantMessage(tool_calls=(isc.ToolCall("f", '{"a": 1}', "1"),))
    assert last(from_sdk) == expected
    assert last({"role": "assistant", "tool_calls": from_sdk.tool_calls}) == expected
    assert last(Message(role="user", content="x")) == isc.UserMessage("x")
    tools: Any = [Tool(name="f", inputSchema={"type": "object"})]
    assert tool_specs(tools)[0].schema == {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object"}},
    }


def test_objects_of_other_kinds_are_refused_with_the_hint() -> None:
    class Odd:
        role = "user"

    for given in ([Odd()], [said(content=[Odd()])], [said(tool_calls=[Odd()])]):
        with pytest.raises(isc.ConversationError, match=r"model_dump\(\), or pass its dict"):
            last(*given)
    with pytest.raises(isc.ConversationError, match=r"model_dump\(\), or pass its dict"):
        tool_specs([Odd()])  # type: ignore[list-item]
