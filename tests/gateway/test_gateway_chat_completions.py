"""OpenAI's chat completions as pure functions: what is read, refused, told; read back by OpenAI's own types."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from isc.gateway.dialect import (
    STATUS,
    Answer,
    ArgumentsTold,
    Asked,
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
)
from isc.gateway.dialects import chat_completions as dialect
from isc.types import AssistantMessage, ToolCall

HELLO = [{"role": "user", "content": "hi"}]
TOKENS = (Token(5, b"I ", -0.5), Token(6, b"\xe6\xbc", -0.25))
SAID = AssistantMessage("I look.", reasoning_content="Hm.", tool_calls=(ToolCall("search", {"q": "cats"}, "abc"),))
HEADING = Heading("turn-1", 1700000000, "m", (1, 2, 3), "extended")
ANSWER = Answer(HEADING, (Choice(0, "turn-1", SAID, "tool_calls", None, TOKENS),))


def asked(**fields: Any) -> Asked:  # noqa: ANN401 - a request's
    return dialect.asked(json.dumps({"model": "m", "messages": HELLO, **fields}).encode())


def test_what_is_asked_for_is_carried_through() -> None:
    request = asked(
        temperature=0.5, top_p=0.9, seed=7, n=2, stop="END", max_completion_tokens=9, user="me", stream=True, top_k=5,
        stream_options={"include_usage": True}, logprobs=True, return_token_ids=True, parallel_tool_calls=False,
        tool_choice="none", logit_bias={"5": -100}, metadata={"a": "b"}, store=False, response_format={"type": "text"},
    )  # fmt: skip
    assert request.sampling == {"temperature": 0.5, "top_p": 0.9, "seed": 7, "top_k": 5, "logit_bias": {"5": -100}}
    assert (request.n, request.stop, request.max_tokens, request.stream) == (2, ("END",), 9, True)
    assert (request.calls, request.one_call, request.tells_logprobs, request.tells_token_ids) == (
        "none",
        True,
        True,
        True,
    )
    assert request.messages == tuple(HELLO)


REFUSED: dict[str, dict[str, Any]] = {
    "top_logprobs": {"top_logprobs": 3},
    "response_format": {"response_format": {"type": "json_object"}},
    "tool_choice": {"tool_choice": "often"},
    "reasoning_effort": {"reasoning_effort": "high"},
    "modalities": {"modalities": ["audio"]},
    "service_tier": {"service_tier": "flex"},
    "max_tokens": {"max_tokens": 1, "max_completion_tokens": 2},
    "stop": {"stop": [""]},
    "temperature": {"temperature": 3},
    "n": {"n": 0},
    "top_p": {"top_p": "high"},
    "functions": {"functions": []},
    "stream_options.include": {"stream_options": {"include": 1}},
    "messages": {"messages": []},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(field: str) -> None:
    with pytest.raises(RequestError) as error:
        asked(**REFUSED[field])
    assert error.value.failure.field == field
    body = json.loads(dialect.failed(error.value.failure))
    assert body["error"]["param"] == field
    assert body["error"]["type"] == "invalid_request_error"


def test_a_named_tool_is_refused() -> None:
    with pytest.raises(RequestError, match="tool_choice"):
        asked(tool_choice={"type": "allowed_tools", "function": {"name": "search"}})
    named = asked(tool_choice={"type": "function", "function": {"name": "search"}})
    assert (named.calls, named.call_of, asked(tool_choice="required").calls) == ("required", "search", "required")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"messages": 1}', b"\xff", b'{"a":' * 100_000])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as error:
        dialect.asked(body)
    assert error.value.failure.status == 400


def test_an_answer_is_what_openai_reads() -> None:
    request = asked(logprobs=True, return_token_ids=True)
    raw = dialect.response(request, ANSWER)
    completion = ChatCompletion.model_validate_json(raw, strict=True)
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("abc", "search", {"q": "cats"})
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 2)
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert [token.bytes for token in choice.logprobs.content] == [[73, 32], [230, 188]]
    assert (json.loads(raw)["prompt_token_ids"], json.loads(raw)["choices"][0]["token_ids"]) == ([1, 2, 3], [5, 6])
    assert json.loads(raw)["choices"][0]["message"]["reasoning_content"] == "Hm."


def test_ids_are_told_only_on_request() -> None:
    raw = dialect.response(asked(), ANSWER)
    assert b"token_ids" not in raw
    assert json.loads(raw)["choices"][0]["logprobs"] is None


def test_a_stream_is_what_openai_reads() -> None:
    request = asked(stream=True, logprobs=True, return_token_ids=True, stream_options={"include_usage": True})
    stream, chunks = dialect.stream(request, HEADING).begun()
    events = (
        ReasoningTold(0, "Hm."), TextTold(0, "I look."), CallTold(0, 0, "abc", "search"),
        ArgumentsTold(0, 0, '{"q": '), ArgumentsTold(0, 0, '"cats"}'), TokensTold(0, TOKENS),
        ChoiceClosed(ANSWER.choices[0]),
    )  # fmt: skip
    sent = list(chunks)
    for event in events:
        stream, chunks = stream.told(event)
        sent += chunks
    *sent, done = [*sent, *stream.ended(ANSWER)]
    assert done.wire == b"data: [DONE]\n\n"
    read = [ChatCompletionChunk.model_validate_json(chunk.data, strict=True) for chunk in sent]
    deltas = [chunk.choices[0].delta for chunk in read if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "I look."
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"q": "cats"}'
    assert [call.id for call in calls if call.id] == ["abc"]
    assert [chunk.choices[0].finish_reason for chunk in read if chunk.choices][-1] == "tool_calls"
    assert read[-1].usage is not None
    assert (read[-1].choices, read[-1].usage.total_tokens) == ([], 5)
    raw = [json.loads(chunk.data) for chunk in sent]
    assert raw[0]["prompt_token_ids"] == [1, 2, 3]
    assert [choice["token_ids"] for chunk in raw for choice in chunk["choices"] if "token_ids" in choice] == [[5, 6]]


@pytest.mark.parametrize("kind", STATUS)
def test_every_failure_has_openais_form(kind: Kind) -> None:
    failure = Failure(kind, "no\nanswer", "messages[0].content")
    error = msgspec.json.decode(dialect.failed(failure))["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"] == "no\nanswer"
    (chunk,) = dialect.stream(asked(stream=True), HEADING).failed(failure)
    assert chunk.wire.count(b"\n") == 2
