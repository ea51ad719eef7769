"""OpenAI chat completions: `POST /v1/chat/completions`, whole or as server-sent events.

Beyond OpenAI's own, requests may have vLLM's `top_k`, `min_p`, `repetition_penalty` and `return_token_ids`. Messages
may hold `reasoning_content`; answers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from isc._json import json_text
from isc.gateway.dialect import (
    Answer,
    ArgumentsTold,
    Asked,
    Calls,
    CallTold,
    Choice,
    ChoiceClosed,
    Chunk,
    Failure,
    Heading,
    Kind,
    ReasoningTold,
    TextTold,
    Token,
    TokensTold,
    Told,
    decoded,
    named,
    no_empty_stop,
    refused,
    unknown_choice,
)
from isc.gateway.meaning import text_of
from isc.types import Json, ToolCall

PATH: Final = "/v1/chat/completions"
COUNT_PATH: Final = None

_MOST_ANSWERS = 64
_TYPES: dict[Kind, str] = {
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "too_many": "rate_limit_error",
    "engine": "server_error",
    "timeout": "server_error",
    "internal": "server_error",
}
_CODES: dict[Kind, str] = {
    "unauthorized": "invalid_api_key",
    "overlong": "context_length_exceeded",
    "too_many": "rate_limit_exceeded",
}
_SAMPLING = (
    *("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias"),
    *("top_k", "min_p", "repetition_penalty"),
)

_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Count = Annotated[int, Meta(ge=1)]


class _StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Request(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields that are read. `messages`, `tools` and `tool_choice` are checked where they are converted."""

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    model: str = ""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: _Fraction | None = None
    top_k: int | None = None
    min_p: _Fraction | None = None
    seed: int | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, Meta(ge=1, le=_MOST_ANSWERS)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    return_token_ids: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    # about the request, not about its answer
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None


def asked(body: bytes) -> Asked:
    """Read a request; see `Dialect.asked`.

    >>> asked(b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}').max_tokens
    9
    >>> asked(b'{"messages": [{"role": "user", "content": "hi"}], "audio": {}}')
    Traceback (most recent call last):
    isc.gateway.dialect.RequestError: audio: this field is unknown, so it cannot be honoured; leave it out
    """
    request = decoded(body, _Request)
    _refuse(request)
    calls, call_of = tool_choice(request.tool_choice, "function")
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    options = request.stream_options or _StreamOptions()
    return Asked(
        request.model,
        tuple(request.messages),
        tuple(request.tools or ()),
        sampling=named(request, _SAMPLING),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stop=no_empty_stop("stop", stop),
        n=request.n or 1,
        stream=bool(request.stream),
        calls=calls,
        call_of=call_of,
        one_call=request.parallel_tool_calls is False,
        tells_logprobs=bool(request.logprobs),
        tells_token_ids=bool(request.return_token_ids),
        own={"include_usage": options.include_usage},
    )


def _refuse(request: _Request) -> None:
    """Refuse the values that cannot be honoured."""
    if request.top_logprobs:
        raise refused("top_logprobs", "alternatives of a token are not told; only logprobs, its own, is")
    if request.response_format is not None and request.response_format.get("type", "text") != "text":
        raise refused("response_format", "answers are not constrained; ask for the form in a message")
    if request.modalities not in (None, ["text"]):
        raise refused("modalities", 'only ["text"] is answered')
    for name in ("reasoning_effort", "verbosity"):
        if getattr(request, name) is not None:
            raise refused(name, "is an option of the model's chat format, which the gateway was started with")
    if request.service_tier not in (None, "auto", "default"):
        raise refused("service_tier", "there are no tiers; leave it out")
    bound = request.max_completion_tokens, request.max_tokens
    if None not in bound and bound[0] != bound[1]:
        raise refused("max_tokens", "is another bound than max_completion_tokens; give one of them")


def tool_choice(choice: str | Mapping[str, Any] | None, inside: str = "") -> tuple[Calls, str | None]:
    """Return whether calls may be or have to be made, and of which tool.

    Args:
        choice: The field of a request.
        inside: The key under which a choice of one function has its name; "" where the name stands by itself.

    Raises:
        RequestError: It is none that can be honoured.

    >>> tool_choice("required"), tool_choice({"type": "function", "name": "now"})
    (('required', None), ('required', 'now'))
    """
    if choice is None or choice == "auto":
        return "auto", None
    if choice == "none":
        return "none", None
    if choice == "required":
        return "required", None
    holder = choice if not isinstance(choice, str) and choice.get("type") == "function" else {}
    function = holder.get(inside) if inside else holder
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise unknown_choice("tool_choice")
    return "required", name


def counted(tokens: int) -> bytes:
    """Return the number of tokens; OpenAI has no path for it."""
    return msgspec.json.encode({"prompt_tokens": tokens})


def response(asked: Asked, answer: Answer) -> bytes:
    """Return the answer to a request that does not stream; see `Dialect.response`."""
    ids = {"prompt_token_ids": answer.heading.prompt_ids} if asked.tells_token_ids else {}
    choices = [_choice(asked, choice) for choice in answer.choices]
    head = _head(answer.heading, "chat.completion")
    return msgspec.json.encode({**head, "choices": choices, "usage": _usage(answer), **ids})


def failed(failure: Failure) -> bytes:
    """Return the body that says why there is no answer; see `Dialect.failed`."""
    return msgspec.json.encode({"error": _error(failure)})


def _error(failure: Failure) -> dict[str, Json]:
    kind = _TYPES.get(failure.kind, "invalid_request_error")
    return {"message": failure.problem, "type": kind, "param": failure.field, "code": _CODES.get(failure.kind)}


def _head(heading: Heading, kind: str) -> dict[str, Json]:
    name = f"chatcmpl-{heading.id}"
    return {"id": name, "object": kind, "created": heading.created, "model": heading.model, "system_fingerprint": None}


def _usage(answer: Answer) -> dict[str, Json]:
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _choice(asked: Asked, choice: Choice) -> dict[str, Json]:
    said = choice.message
    text = text_of(said.content)
    message: dict[str, Json] = {"role": "assistant", "content": text, "refusal": None}
    if said.reasoning_content is not None:
        message["reasoning_content"] = said.reasoning_content
    if said.tool_calls:
        message["content"] = text or None
        message["tool_calls"] = [_call(call) for call in said.tool_calls]
    ids = {"token_ids": [token.id for token in choice.tokens]} if asked.tells_token_ids else {}
    logprobs = _logprobs(choice.tokens) if asked.tells_logprobs else None
    return {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": choice.finish,
        **ids,
    }


def _call(call: ToolCall) -> dict[str, Json]:
    arguments = call.arguments if isinstance(call.arguments, str) else json_text(call.arguments)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _logprobs(tokens: Sequence[Token]) -> dict[str, Json]:
    content: list[Json] = [
        {"token": token.text, "logprob": token.logprob, "bytes": list(token.data), "top_logprobs": []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


class _Stream(Struct, frozen=True):
    """An answer in chunks. The first of each choice says the role; the last says why it ended."""

    asked: Asked
    heading: Heading

    def begun(self) -> tuple[_Stream, tuple[Chunk, ...]]:
        delta = {"role": "assistant", "content": ""}
        return self, tuple([self._chunk(index, delta, first=True) for index in range(self.asked.n)])

    def told(self, event: Told) -> tuple[_Stream, tuple[Chunk, ...]]:
        if isinstance(event, ChoiceClosed):
            return self, (self._chunk(event.closed.index, {}, finish=event.closed.finish),)
        if isinstance(event, TokensTold):
            return self, (self._tokens(event),)
        delta = _delta(event)
        return self, (self._chunk(event.choice, delta),) if delta else ()

    def ended(self, answer: Answer) -> tuple[Chunk, ...]:
        done = Chunk(b"[DONE]")
        if not self.asked.own.get("include_usage"):
            return (done,)
        head = _head(self.heading, "chat.completion.chunk")
        return Chunk(msgspec.json.encode({**head, "choices": [], "usage": _usage(answer)})), done

    def failed(self, failure: Failure) -> tuple[Chunk, ...]:
        return (Chunk(failed(failure)),)

    def _tokens(self, event: TokensTold) -> Chunk:
        logprobs = _logprobs(event.tokens) if self.asked.tells_logprobs else None
        ids = [token.id for token in event.tokens] if self.asked.tells_token_ids else None
        return self._chunk(event.choice, {}, logprobs=logprobs, token_ids=ids)

    def _chunk(
        self,
        index: int,
        delta: Mapping[str, Json],
        *,
        finish: str | None = None,
        logprobs: Mapping[str, Json] | None = None,
        token_ids: Sequence[int] | None = None,
        first: bool = False,
    ) -> Chunk:
        choice: dict[str, Json] = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        if token_ids is not None:
            choice["token_ids"] = token_ids
        ids = {"prompt_token_ids": self.heading.prompt_ids} if first and self.asked.tells_token_ids else {}
        head = _head(self.heading, "chat.completion.chunk")
        usage = {"usage": None} if self.asked.own.get("include_usage") else {}
        return Chunk(msgspec.json.encode({**head, "choices": [choice], **usage, **ids}))


def _delta(event: Told) -> dict[str, Json]:
    """Return what an event adds to the message."""
    if isinstance(event, ReasoningTold):
        return {"reasoning_content": event.text}
    if isinstance(event, TextTold):
        return {"content": event.text}
    if isinstance(event, CallTold):
        function: dict[str, Json] = {"name": event.name, "arguments": ""}
        return {"tool_calls": [{"index": event.index, "id": event.id, "type": "function", "function": function}]}
    if isinstance(event, ArgumentsTold):
        return {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]}
    return {}


def stream(asked: Asked, heading: Heading) -> _Stream:
    """Return the stream of an answer of which nothing was told; see `Dialect.stream`."""
    return _Stream(asked, heading)
