"""Anthropic's messages as pure functions: what is read, refused, told; read back by Anthropic's own types."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

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
    Finish,
    Heading,
    Kind,
    ReasoningTold,
    RequestError,
    TextTold,
    Token,
    TokensTold,
    Told,
)
from isc.gateway.dialects import anthropic_messages as dialect
from isc.types import AssistantMessage, ToolCall

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
TOKENS = (Token(5, b"I ", -0.5), Token(6, b"\xe6\xbc", -0.25))
SAID = AssistantMessage("I look.", reasoning_content="Hm.", tool_calls=(ToolCall("search", {"q": "cats"}, "abc"),))
HEADING = Heading("turn-1", 1700000000, "m", (1, 2, 3), "extended")
ANSWER = Answer(HEADING, (Choice(0, "turn-1", SAID, "tool_calls", None, TOKENS),))
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def asked(messages: list[dict[str, Any]] | None = None, **fields: Any) -> Asked:  # noqa: ANN401 - a request's
    return dialect.asked(json.dumps({"model": "m", "max_tokens": 9, "messages": messages or HELLO, **fields}).encode())


def test_what_is_asked_for_is_carried_through() -> None:
    request = asked(
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}], temperature=0.5,
        top_p=0.9, top_k=5, stop_sequences=["END"], stream=True, metadata={"user_id": "me"}, return_token_ids=True,
        tools=[{"name": "search", "description": "d", "input_schema": {"type": "object"}}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )  # fmt: skip
    assert request.sampling == {"temperature": 0.5, "top_p": 0.9, "top_k": 5}
    assert (request.max_tokens, request.stop, request.stream, request.one_call) == (9, ("END",), True, True)
    assert (request.calls, request.tells_token_ids, request.continues) == ("auto", True, False)
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert request.messages == (system, *HELLO)
    function = {"name": "search", "description": "d", "parameters": {"type": "object"}}
    assert request.tools == ({"type": "function", "function": function},)
    assert asked(tool_choice={"type": "none"}).calls == "none"
    assert asked(tool_choice={"type": "any"}).calls == "required"
    assert asked(tool_choice={"type": "tool", "name": "search"}).call_of == "search"


PNG = {"type": "base64", "media_type": "image/png", "data": "AA=="}
BLOCKS: list[dict[str, Any]] = [
    *HELLO,
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "a", "name": "search", "input": {"q": "cats"}},
            {"type": "tool_use", "id": "b", "name": "search", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "two"}]},
            {"type": "tool_result", "tool_use_id": "b", "is_error": True},
            {"type": "text", "text": "And?"},
            {"type": "image", "source": PNG},
        ],
    },
]


def test_blocks_become_messages_in_their_order() -> None:
    request = asked(BLOCKS)
    _, said, first, second, last = request.messages
    assert isinstance(said, dict)
    assert (said["content"], said["reasoning_content"]) == ("I look.", "Hm.")
    calls = said["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("a", '{"q": "cats"}'), ("b", "{}")]
    assert first == {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "two"}]}
    assert second == {"role": "tool", "tool_call_id": "b", "content": ""}
    assert isinstance(last, dict)
    assert [part["type"] for part in last["content"]] == ["text", "image_url"]
    assert last["content"][1]["image_url"]["url"] == "data:image/png;base64,AA=="


def test_a_last_message_of_the_assistant_is_left_open() -> None:
    assert asked([*HELLO, {"role": "assistant", "content": "There are"}]).continues


REFUSED: dict[str, dict[str, Any]] = {
    "tool_choice.name": {"tool_choice": {"type": "tool"}},
    "thinking.budget_tokens": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "thinking.display": {"thinking": {"type": "adaptive", "display": "summarized"}},
    "stop_sequences": {"stop_sequences": [""]},
    "service_tier": {"service_tier": "priority"},
    "temperature": {"temperature": 2},
    "max_tokens": {"max_tokens": 0},
    "mcp_servers": {"mcp_servers": []},
    "tools[0].type": {"tools": [{"type": "bash_20250124", "name": "bash", "input_schema": {}}]},
    "messages[0].content[0].type": {
        "messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}],
    },
    "messages[0].role": {"messages": [{"role": "tool", "content": "x"}]},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(field: str) -> None:
    fields = dict(REFUSED[field])
    with pytest.raises(RequestError) as error:
        asked(fields.pop("messages", None), **fields)
    assert error.value.failure.field == field
    body = json.loads(dialect.failed(error.value.failure))
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"messages": 1}', b"\xff", b'{"a":' * 100_000])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as error:
        dialect.asked(body)
    assert error.value.failure.status == 400


def test_an_answer_is_what_anthropic_reads() -> None:
    raw = dialect.response(asked(thinking={"type": "adaptive"}, return_token_ids=True), ANSWER)
    message = Message.model_validate_json(raw, strict=True)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    use = message.content[2]
    assert use.type == "tool_use"
    assert (use.id, use.name, use.input) == ("abc", "search", {"q": "cats"})
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("tool_use", 3, 2)
    told = json.loads(raw)
    assert (told["prompt_token_ids"], told["token_ids"], told["logprobs"]) == ([1, 2, 3], [5, 6], [-0.5, -0.25])


def test_thinking_and_ids_are_told_only_on_request() -> None:
    raw = json.loads(dialect.response(asked(), ANSWER))
    assert [block["type"] for block in raw["content"]] == ["text", "tool_use"]
    assert not {"token_ids", "prompt_token_ids", "logprobs"} & raw.keys()


@pytest.mark.parametrize(
    ("finish", "stop", "reason"),
    [
        ("stop", None, "end_turn"),
        ("stop", "END", "stop_sequence"),
        ("length", None, "max_tokens"),
        ("tool_calls", None, "tool_use"),
    ],
)
def test_why_an_answer_ended(finish: Finish, stop: str | None, reason: str) -> None:
    answer = Answer(HEADING, (Choice(0, "turn-1", AssistantMessage("x"), finish, stop, TOKENS),))
    raw = json.loads(dialect.response(asked(), answer))
    assert (raw["stop_reason"], raw["stop_sequence"]) == (reason, stop)


def told(request: Asked, *events: Told) -> list[dict[str, Any]]:
    """Everything that is sent, as Anthropic's types read it."""
    stream, chunks = dialect.stream(request, HEADING).begun()
    sent = list(chunks)
    for event in events:
        stream, chunks = stream.told(event)
        sent += chunks
    sent += stream.ended(ANSWER)
    for chunk in sent:
        event = EVENT.validate_json(chunk.data)
        assert event.type == chunk.event
    return [json.loads(chunk.data) for chunk in sent]


EVENTS: tuple[Told, ...] = (
    ReasoningTold(0, "H"), ReasoningTold(0, "m."), TextTold(0, "I "), TextTold(0, "look."),
    CallTold(0, 0, "abc", "search"), ArgumentsTold(0, 0, '{"q": '), ArgumentsTold(0, 0, '"cats"}'), CallClosed(0, 0),
    CallTold(0, 1, "def", "now"), ArgumentsTold(0, 1, "{}"), CallClosed(0, 1), TextTold(0, "<tool_call>"),
    TokensTold(0, TOKENS), ChoiceClosed(ANSWER.choices[0]),
)  # fmt: skip


def test_a_stream_is_what_anthropic_reads() -> None:
    sent = told(asked(stream=True, thinking={"type": "adaptive"}, return_token_ids=True), *EVENTS)
    starts = [one for one in sent if one["type"] == "content_block_start"]
    assert [one["content_block"]["type"] for one in starts] == ["thinking", "text", "tool_use", "tool_use", "text"]
    assert [one["index"] for one in starts] == [one["index"] for one in sent if one["type"] == "content_block_stop"]
    deltas = [one["delta"] for one in sent if one["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == "Hm."
    assert [delta["signature"] for delta in deltas if "signature" in delta] == ["turn-1"]
    assert "".join(delta.get("text", "") for delta in deltas) == "I look.<tool_call>"
    assert "".join(delta.get("partial_json", "") for delta in deltas) == '{"q": "cats"}{}'
    assert sent[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert (sent[-2]["usage"]["output_tokens"], sent[-2]["token_ids"], sent[-1]["type"]) == (2, [5, 6], "message_stop")
    assert sent[0]["message"]["prompt_token_ids"] == [1, 2, 3]


def test_a_stream_shows_no_thinking_that_nobody_asked_for() -> None:
    sent = told(asked(stream=True), *EVENTS)
    starts = [one for one in sent if one["type"] == "content_block_start"]
    assert [one["content_block"]["type"] for one in starts] == ["text", "tool_use", "tool_use", "text"]
    assert [one["index"] for one in starts] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", STATUS)
def test_every_failure_has_anthropics_form(kind: Kind) -> None:
    body = msgspec.json.decode(dialect.failed(Failure(kind, "no\nanswer", "messages")))
    assert body.keys() == {"type", "error", "request_id"}
    assert body["error"]["message"] == "messages: no\nanswer"
    (chunk,) = dialect.stream(asked(stream=True), HEADING).failed(Failure(kind, "no\nanswer"))
    assert (chunk.event, chunk.wire.count(b"\n")) == ("error", 3)
