"""Anthropic's messages: `POST /v1/messages`, whole or as server-sent events, and `/v1/messages/count_tokens`.

Thinking is shown as blocks where a request asks for it by `thinking: {"type": "adaptive"}`; else it is recorded and not
shown. Beyond Anthropic's own, requests may have vLLM's `return_token_ids`. A last message of the assistant is left open
for the model to go on with, as Anthropic does it. That a tool's result is an error is told by its text alone. A call is
told in pieces where its tool asks for it by `eager_input_streaming`, which takes it that a call may end badly: clients
make an object of whatever was told by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from isc._json import json_text
from isc.gateway.dialect import (
    Answer,
    ArgumentsTold,
    Asked,
    CallClosed,
    Calls,
    CallTold,
    Choice,
    ChoiceClosed,
    Chunk,
    Failure,
    Finish,
    Heading,
    Kind,
    ReasoningTold,
    TextTold,
    Told,
    decoded,
    named,
    no_empty_stop,
    refused,
)
from isc.gateway.meaning import text_of
from isc.types import Json

PATH: Final = "/v1/messages"
COUNT_PATH: Final = "/v1/messages/count_tokens"

_TYPES: dict[Kind, str] = {
    "invalid": "invalid_request_error",
    "overlong": "invalid_request_error",
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "too_many": "rate_limit_error",
    "timeout": "timeout_error",
}
_REASONS: dict[Finish, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_CALLS: dict[str, Calls] = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}
_SAMPLING = ("temperature", "top_p", "top_k")

_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Name = Annotated[str, Meta(min_length=1)]


class _Block(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    """A block of a content. What it says of caching is about cost, which there is none of here."""

    cache_control: dict[str, Any] | None = None


class _Text(_Block, frozen=True, tag="text"):
    text: str
    citations: None = None


class _Encoded(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class _Linked(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="url"):
    url: str


class _Image(_Block, frozen=True, tag="image"):
    source: _Encoded | _Linked


class _Result(_Block, frozen=True, tag="tool_result"):
    tool_use_id: _Name
    content: str | list[_Text | _Image] = ""
    is_error: bool | None = None


class _Thinking(_Block, frozen=True, tag="thinking"):
    thinking: str
    signature: str = ""


class _Redacted(_Block, frozen=True, tag="redacted_thinking"):
    data: str


class _Use(_Block, frozen=True, tag="tool_use"):
    id: _Name
    name: _Name
    input: dict[str, Any]
    caller: dict[str, Any] | None = None


class _User(Struct, frozen=True, forbid_unknown_fields=True, tag_field="role", tag="user"):
    content: str | list[_Text | _Image | _Result]


class _Assistant(Struct, frozen=True, forbid_unknown_fields=True, tag_field="role", tag="assistant"):
    content: str | list[_Text | _Thinking | _Redacted | _Use]


class _Tool(Struct, frozen=True, forbid_unknown_fields=True):
    name: _Name
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    cache_control: dict[str, Any] | None = None
    eager_input_streaming: bool | None = None


class _Choice(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thought(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["adaptive", "enabled", "disabled"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class _Request(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields that are read. A request that counts has no `max_tokens`."""

    messages: Annotated[list[_User | _Assistant], Meta(min_length=1)]
    model: str = ""
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    system: str | list[_Text] | None = None
    temperature: _Fraction | None = None
    top_p: _Fraction | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thought | None = None
    service_tier: str | None = None
    return_token_ids: bool | None = None
    # about the request, not about its answer
    metadata: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None


_Message: TypeAlias = dict[str, Json]


def asked(body: bytes) -> Asked:
    """Read a request; see `Dialect.asked`.

    >>> asked(b'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}').messages
    ({'role': 'user', 'content': 'hi'},)
    >>> asked(b'{"messages": [{"role": "user", "content": [{"type": "document"}]}]}')
    Traceback (most recent call last):
    isc.gateway.dialect.RequestError: messages[0].content[0].type: Invalid value 'document'
    """
    request = decoded(body, _Request)
    _refuse(request)
    choice = request.tool_choice
    return Asked(
        request.model,
        tuple(_messages(request)),
        tuple([_tool(tool) for tool in request.tools or ()]),
        sampling=named(request, _SAMPLING),
        max_tokens=request.max_tokens,
        stop=no_empty_stop("stop_sequences", request.stop_sequences or ()),
        stream=bool(request.stream),
        calls="auto" if choice is None else _CALLS[choice.type],
        call_of=None if choice is None or choice.type != "tool" else choice.name,
        one_call=choice is not None and bool(choice.disable_parallel_tool_use),
        in_pieces=tuple([tool.name for tool in request.tools or () if tool.eager_input_streaming]),
        continues=isinstance(request.messages[-1], _Assistant),
        tells_token_ids=bool(request.return_token_ids),
        own={"shows_thinking": _shows_thinking(request.thinking)},
    )


def _refuse(request: _Request) -> None:
    """Refuse the values that cannot be honoured."""
    choice, thinking = request.tool_choice, request.thinking
    if choice is not None and choice.type == "tool" and choice.name is None:
        raise refused("tool_choice.name", "name the tool that has to be called")
    if thinking is not None and thinking.budget_tokens is not None:
        problem = 'no part of an answer is bounded, only the whole by max_tokens; show thinking by {"type": "adaptive"}'
        raise refused("thinking.budget_tokens", problem)
    if thinking is not None and thinking.display == "summarized":
        raise refused("thinking.display", "thinking is shown as it was sampled, or omitted; leave it out")
    if request.service_tier not in (None, "auto", "standard_only"):
        raise refused("service_tier", "there are no tiers; leave it out")


def _shows_thinking(thinking: _Thought | None) -> bool:
    return thinking is not None and thinking.type != "disabled" and thinking.display != "omitted"


def _messages(request: _Request) -> Iterator[_Message]:
    """Yield OpenAI's messages. The results in one message of the user become one each."""
    if request.system:
        yield {"role": "system", "content": _content(request.system)}
    for message in request.messages:
        if isinstance(message, _Assistant):
            yield _assistant(message)
        else:
            yield from _user(message)


def _user(message: _User) -> Iterator[_Message]:
    if isinstance(message.content, str):
        yield {"role": "user", "content": message.content}
        return
    pending: list[_Text | _Image] = []
    for block in message.content:
        if not isinstance(block, _Result):
            pending.append(block)
            continue
        if pending:
            yield {"role": "user", "content": _content(pending)}
            pending = []
        yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": _content(block.content)}
    if pending or not message.content:
        yield {"role": "user", "content": _content(pending)}


def _content(content: str | Sequence[_Text | _Image]) -> Json:
    """Return a content as OpenAI writes it."""
    return content if isinstance(content, str) else [_part(block) for block in content]


def _part(block: _Text | _Image) -> dict[str, Json]:
    if isinstance(block, _Text):
        return {"type": "text", "text": block.text}
    source = block.source
    url = source.url if isinstance(source, _Linked) else f"data:{source.media_type};base64,{source.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant(message: _Assistant) -> _Message:
    if isinstance(message.content, str):
        return {"role": "assistant", "content": message.content}
    blocks = message.content
    thinking = "".join([block.thinking for block in blocks if isinstance(block, _Thinking)])
    said: _Message = {"role": "assistant", "content": "".join([b.text for b in blocks if isinstance(b, _Text)])}
    calls: list[Json] = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": json_text(block.input)}}
        for block in blocks
        if isinstance(block, _Use)
    ]
    if thinking:
        said["reasoning_content"] = thinking
    if calls:
        said["tool_calls"] = calls
    return said


def _tool(tool: _Tool) -> Mapping[str, Json]:
    function: dict[str, Json] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": {**function, "parameters": tool.input_schema}}


def counted(tokens: int) -> bytes:
    """Return the answer to a request that counts the tokens of a prompt; see `Dialect.counted`."""
    return msgspec.json.encode({"input_tokens": tokens})


def response(asked: Asked, answer: Answer) -> bytes:
    """Return the answer to a request that does not stream; see `Dialect.response`."""
    (choice,) = answer.choices
    prompt_ids = {"prompt_token_ids": answer.heading.prompt_ids} if asked.tells_token_ids else {}
    head = _head(answer.heading, _usage(answer.prompt_tokens, answer.completion_tokens))
    told = {"content": list(_blocks(asked, choice)), **_end(choice)}
    return msgspec.json.encode({**head, **told, **prompt_ids, **_tokens(asked, choice)})


def _head(heading: Heading, usage: Mapping[str, Json]) -> dict[str, Json]:
    end: dict[str, Json] = {"stop_reason": None, "stop_sequence": None}
    head: dict[str, Json] = {"id": f"msg_{heading.id}", "type": "message", "role": "assistant", "model": heading.model}
    return {**head, "content": [], **end, "usage": usage}


def _usage(prompt: int, completion: int) -> dict[str, Json]:
    cached: dict[str, Json] = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": prompt, "output_tokens": completion, **cached}


def _end(choice: Choice) -> dict[str, Json]:
    reason = "stop_sequence" if choice.stop is not None else _REASONS[choice.finish]
    return {"stop_reason": reason, "stop_sequence": choice.stop}


def _tokens(asked: Asked, choice: Choice) -> dict[str, Json]:
    return choice.sampled if asked.tells_token_ids else {}


def _blocks(asked: Asked, choice: Choice) -> Iterator[dict[str, Json]]:
    said = choice.message
    if said.reasoning_content and asked.own.get("shows_thinking"):
        yield {"type": "thinking", "thinking": said.reasoning_content, "signature": choice.id}
    text = text_of(said.content)
    if text:
        yield {"type": "text", "text": text}
    for call in said.tool_calls:
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}


def failed(failure: Failure) -> bytes:
    """Return the body that says why there is no answer; see `Dialect.failed`."""
    message = failure.problem if failure.field is None else f"{failure.field}: {failure.problem}"
    error: dict[str, Json] = {"type": _TYPES.get(failure.kind, "api_error"), "message": message}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": None})


class _Stream(Struct, frozen=True):
    """An answer in blocks, of which one at most is open."""

    asked: Asked
    heading: Heading
    blocks: int = 0
    open: Literal["thinking", "text", "tool_use"] | None = None

    def begun(self) -> tuple[_Stream, tuple[Chunk, ...]]:
        head = _head(self.heading, _usage(len(self.heading.prompt_ids), 0))
        ids = {"prompt_token_ids": self.heading.prompt_ids} if self.asked.tells_token_ids else {}
        return self, (_chunk("message_start", {"message": {**head, **ids}}),)

    def told(self, event: Told) -> tuple[_Stream, tuple[Chunk, ...]]:
        if isinstance(event, ReasoningTold):
            if not self.asked.own.get("shows_thinking"):
                return self, ()
            empty: dict[str, Json] = {"type": "thinking", "thinking": "", "signature": ""}
            return self._more("thinking", empty, {"type": "thinking_delta", "thinking": event.text})
        if isinstance(event, TextTold):
            return self._more("text", {"type": "text", "text": ""}, {"type": "text_delta", "text": event.text})
        if isinstance(event, CallTold):
            closed, ends = self._closed()
            begun = closed._begun("tool_use", {"type": "tool_use", "id": event.id, "name": event.name, "input": {}})
            return begun[0], (*ends, begun[1])
        if isinstance(event, ArgumentsTold):
            return self, (self._delta({"type": "input_json_delta", "partial_json": event.text}),)
        return self._closed() if isinstance(event, (CallClosed, ChoiceClosed)) else (self, ())

    def ended(self, answer: Answer) -> tuple[Chunk, ...]:
        (choice,) = answer.choices
        usage = _usage(answer.prompt_tokens, answer.completion_tokens)
        last = _chunk("message_delta", {"delta": _end(choice), "usage": usage, **_tokens(self.asked, choice)})
        return last, _chunk("message_stop", {})

    def failed(self, failure: Failure) -> tuple[Chunk, ...]:
        return (Chunk(failed(failure), "error"),)

    def _more(
        self, kind: Literal["thinking", "text"], empty: Mapping[str, Json], delta: Mapping[str, Json]
    ) -> tuple[_Stream, tuple[Chunk, ...]]:
        """Return what is sent of more text of a kind, in the block that is open or in one of its own."""
        if self.open == kind:
            return self, (self._delta(delta),)
        closed, ends = self._closed()
        begun, start = closed._begun(kind, empty)
        return begun, (*ends, start, begun._delta(delta))

    def _begun(self, kind: Literal["thinking", "text", "tool_use"], block: Mapping[str, Json]) -> tuple[_Stream, Chunk]:
        chunk = _chunk("content_block_start", {"index": self.blocks, "content_block": block})
        return replace(self, blocks=self.blocks + 1, open=kind), chunk

    def _delta(self, delta: Mapping[str, Json]) -> Chunk:
        return _chunk("content_block_delta", {"index": self.blocks - 1, "delta": delta})

    def _closed(self) -> tuple[_Stream, tuple[Chunk, ...]]:
        if self.open is None:
            return self, ()
        signed = [self._delta({"type": "signature_delta", "signature": self.heading.id})]
        ends = [*(signed if self.open == "thinking" else ()), _chunk("content_block_stop", {"index": self.blocks - 1})]
        return replace(self, open=None), tuple(ends)


def _chunk(event: str, fields: Mapping[str, Json]) -> Chunk:
    return Chunk(msgspec.json.encode({"type": event, **fields}), event)


def stream(asked: Asked, heading: Heading) -> _Stream:
    """Return the stream of an answer of which nothing was told; see `Dialect.stream`."""
    return _Stream(asked, heading)
