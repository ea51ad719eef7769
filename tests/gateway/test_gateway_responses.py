"""OpenAI's responses as pure functions: what is read, refused, told; read back by OpenAI's own types."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from growing import ratio
from isc.gateway.dialect import (
    STATUS,
    Answer,
    ArgumentsTold,
    Asked,
    CallClosed,
    CallTold,
    Choice,
    ChoiceClosed,
    Failure,
    Heading,
    Kind,
    ReasoningTold,
    RequestError,
    TextTold,
    Token,
    TokensTold,
    Told,
)
from isc.gateway.dialects import responses as dialect
from isc.types import AssistantMessage, ToolCall

TOKENS = (Token(5, b"I ", -0.5), Token(6, b"\xe6\xbc", -0.25))
CALLS = (ToolCall("search", {"q": "cats"}, "abc"), ToolCall("files__read", {}, "def"))
SAID = AssistantMessage("I look.", reasoning_content="Hm.", tool_calls=CALLS)
HEADING = Heading("turn-1", 1700000000, "m", (1, 2, 3), "extended")
ANSWER = Answer(HEADING, (Choice(0, "turn-1", SAID, "tool_calls", None, TOKENS),))
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "search", "description": "d", "parameters": {"type": "object"}, "strict": True},
    {"type": "web_search", "external_web_access": False},
    {"type": "namespace", "name": "files", "description": "d", "tools": [{"type": "function", "name": "read"}]},
]


def asked(given: Any = "hi", **fields: Any) -> Asked:  # noqa: ANN401 - a request's
    return dialect.asked(json.dumps({"model": "m", "input": given, **fields}).encode())


def test_what_is_asked_for_is_carried_through() -> None:
    request = asked(
        instructions="Be brief.", temperature=0.5, top_p=0.9, max_output_tokens=9, stream=True, store=False,
        tools=TOOLS, tool_choice="none", parallel_tool_calls=False, previous_response_id="resp_abc", user="me",
        include=["reasoning.encrypted_content"], reasoning={"summary": "auto"}, prompt_cache_key="k",
        text={"format": {"type": "text"}}, return_token_ids=True,
    )  # fmt: skip
    assert request.sampling == {"temperature": 0.5, "top_p": 0.9}
    assert (request.max_tokens, request.stream, request.calls, request.one_call) == (9, True, "none", True)
    assert (request.after, request.tells_token_ids) == ("abc", True)
    assert request.messages == ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"})


def test_tools_that_run_elsewhere_are_not_offered_and_the_answer_says_so() -> None:
    request = asked(tools=TOOLS)
    assert [tool["function"]["name"] for tool in request.tools] == ["search", "files__read"]  # type: ignore[index,call-overload]
    answer = Response.model_validate_json(dialect.response(request, ANSWER))
    assert [tool.name for tool in answer.tools if tool.type == "function"] == ["search", "files__read"]
    assert len(answer.tools) == 2


def test_items_of_one_answer_become_one_message() -> None:
    part = {"type": "input_text", "text": "hi"}
    request = asked(
        [
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [part, {"type": "input_image", "image_url": "data:,"}]},
            {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "a", "name": "search", "arguments": '{"q":"cats"}', "id": "fc"},
            {"type": "function_call", "call_id": "b", "name": "read", "namespace": "files", "arguments": "{"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "<tool_call>"}]},
            {"type": "function_call_output", "call_id": "a", "output": "two"},
            {"type": "function_call_output", "call_id": "b", "output": [part]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "x"},
            {"type": "message", "role": "assistant", "content": "Done."},
            {"type": "message", "role": "assistant", "content": "Really."},
        ]
    )
    roles = [message["role"] for message in request.messages]  # type: ignore[index]
    assert roles == ["developer", "user", "assistant", "tool", "tool", "assistant", "assistant"]
    said = request.messages[2]
    assert isinstance(said, dict)
    assert (said["content"], said["reasoning_content"]) == ("I look.<tool_call>", "Hm.")
    assert [(call["id"], call["function"]["name"]) for call in said["tool_calls"]] == [
        ("a", "search"),
        ("b", "files__read"),
    ]
    assert request.messages[5] == {"role": "assistant", "content": "Done."}
    assert request.messages[1]["content"][1]["image_url"] == {"url": "data:,"}  # type: ignore[index,call-overload]


REFUSED: dict[str, dict[str, Any]] = {
    "tool_choice": {"tool_choice": {"type": "file_search"}},
    "reasoning.effort": {"reasoning": {"effort": "high"}},
    "reasoning.summary": {"reasoning": {"summary": "detailed"}},
    "text.format": {"text": {"format": {"type": "json_schema"}}},
    "text.verbosity": {"text": {"verbosity": "low"}},
    "truncation": {"truncation": "auto"},
    "background": {"background": True},
    "top_logprobs": {"top_logprobs": 2},
    "include": {"include": ["message.output_text.logprobs"]},
    "service_tier": {"service_tier": "flex"},
    "temperature": {"temperature": 3},
    "conversation": {"conversation": "c"},
    "tools[0].type": {"tools": [{"type": "custom", "name": "apply_patch"}]},
    "tools[0].name": {"tools": [{"type": "function"}]},
    "tools[0].tools[0]": {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]},
    "input[0].type": {"input": [{"type": "item_reference", "id": "x"}]},
    "input[0].status_of": {"input": [{"role": "user", "content": "x", "status_of": 1}]},
    "input[0].content[0].type": {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
    "input": {"input": []},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(field: str) -> None:
    fields = dict(REFUSED[field])
    with pytest.raises(RequestError) as error:
        asked(fields.pop("input", "hi"), **fields)
    assert error.value.failure.field == field
    assert json.loads(dialect.failed(error.value.failure))["error"]["param"] == field


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input": 1}', b"\xff", b'{"a":' * 100_000])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as error:
        dialect.asked(body)
    assert error.value.failure.status == 400


def test_an_answer_is_what_openai_reads() -> None:
    request = asked(tools=TOOLS, include=["reasoning.encrypted_content"], return_token_ids=True)
    raw = dialect.response(request, ANSWER)
    answer = Response.model_validate_json(raw, strict=True)
    assert (answer.id, answer.status, answer.output_text) == ("resp_turn-1", "completed", "I look.")
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call", "function_call"]
    told = json.loads(raw)
    assert told["output"][0]["encrypted_content"] == "turn-1"
    search, read = told["output"][2:]
    assert (search["name"], search["call_id"], search["arguments"]) == ("search", "abc", '{"q": "cats"}')
    assert (read["namespace"], read["name"]) == ("files", "read")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (3, 2, 5)
    assert (told["prompt_token_ids"], told["token_ids"], told["logprobs"]) == ([1, 2, 3], [5, 6], [-0.5, -0.25])


def test_an_answer_that_was_cut_is_incomplete() -> None:
    answer = Answer(HEADING, (Choice(0, "turn-1", AssistantMessage("x"), "length", None, TOKENS),))
    read = Response.model_validate_json(dialect.response(asked(), answer), strict=True)
    assert read.status == "incomplete"
    assert read.incomplete_details is not None
    assert read.incomplete_details.reason == "max_output_tokens"
    assert b"token_ids" not in dialect.response(asked(), answer)


EVENTS: tuple[Told, ...] = (
    ReasoningTold(0, "H"), ReasoningTold(0, "m."), TextTold(0, "I "), TextTold(0, "look."),
    CallTold(0, 0, "abc", "search"), ArgumentsTold(0, 0, '{"q": '), ArgumentsTold(0, 0, '"cats"}'), CallClosed(0, 0),
    CallTold(0, 1, "def", "files__read"), ArgumentsTold(0, 1, "{}"), CallClosed(0, 1), TokensTold(0, TOKENS),
    ChoiceClosed(ANSWER.choices[0]),
)  # fmt: skip


def test_a_stream_is_what_openai_reads() -> None:
    request = asked(stream=True, tools=TOOLS)
    stream, chunks = dialect.stream(request, HEADING).begun()
    sent = list(chunks)
    for event in EVENTS:
        stream, chunks = stream.told(event)
        sent += chunks
    sent += stream.ended(ANSWER)
    for number, chunk in enumerate(sent):
        event = EVENT.validate_json(chunk.data)
        assert (event.type, event.sequence_number) == (chunk.event, number)
    told = [json.loads(chunk.data) for chunk in sent]
    done = [one["item"] for one in told if one["type"] == "response.output_item.done"]
    assert done == told[-1]["response"]["output"]
    assert [(item["type"], item["id"]) for item in done] == [
        ("reasoning", "rs_turn-1"), ("message", "msg_turn-1_0"), ("function_call", "fc_turn-1_0"),
        ("function_call", "fc_turn-1_1"),
    ]  # fmt: skip
    whole = json.loads(dialect.response(request, ANSWER))
    assert told[-1]["response"] == whole
    texts = [one["delta"] for one in told if one["type"] == "response.output_text.delta"]
    assert texts == ["I ", "look."]


def test_a_long_text_is_told_in_linear_time() -> None:
    def telling(count: int) -> None:
        stream, _ = dialect.stream(asked(stream=True), HEADING).begun()
        for _ in range(count):
            stream, _ = stream.told(TextTold(0, "words "))
        assert stream.open is not None
        assert stream.open.text == "words " * count

    assert ratio(lambda: telling(2000), lambda: telling(8000)) <= 5


@pytest.mark.parametrize("kind", STATUS)
def test_every_failure_has_openais_form(kind: Kind) -> None:
    failure = Failure(kind, "no\nanswer", "input[0]")
    assert msgspec.json.decode(dialect.failed(failure))["error"]["param"] == "input[0]"
    stream, _ = dialect.stream(asked(stream=True), HEADING).begun()
    (chunk,) = stream.failed(failure)
    event = EVENT.validate_json(chunk.data)
    assert (event.type, event.response.status, event.response.error.message) == (
        "response.failed",
        "failed",
        "no\nanswer",
    )
