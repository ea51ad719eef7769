"""OpenAI's responses: `POST /v1/responses`, whole or as server-sent events; what agents use of them.

Items of the input become messages: reasoning, texts and calls that follow each other are one answer of the model. Tools
of a namespace are offered by `namespace__name`. Tools that run at OpenAI (`web_search`, ...) run nowhere here: they are
not offered, and the answer's `tools` lists those that are. Reasoning is shown as it was sampled, in the `content` of an
item; there are no summaries. Beyond OpenAI's own, requests may have vLLM's `return_token_ids`.
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
    CallTold,
    Choice,
    ChoiceClosed,
    Chunk,
    Failure,
    Heading,
    ReasoningTold,
    TextTold,
    Told,
    converted,
    decoded,
    named,
    refused,
)
from isc.gateway.dialects import chat_completions
from isc.gateway.meaning import text_of
from isc.types import Json, ToolCall

PATH: Final = "/v1/responses"
COUNT_PATH: Final = "/v1/responses/input_tokens"

_PREFIX = "resp_"
_BETWEEN = "__"
_SAMPLING = ("temperature", "top_p")
_ENCRYPTED = "reasoning.encrypted_content"

_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Name = Annotated[str, Meta(min_length=1)]


class _Strict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is read without leaving anything out."""


class _Text(_Strict, frozen=True, tag_field="type"):
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


class _InputText(_Text, frozen=True, tag="input_text"):
    pass


class _OutputText(_Text, frozen=True, tag="output_text"):
    pass


class _Image(_Strict, frozen=True, tag_field="type", tag="input_image"):
    image_url: str
    detail: str | None = None


_Content: TypeAlias = str | list[_InputText | _OutputText | _Image]


class _Message(_Strict, frozen=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: _Content
    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class _Call(_Strict, frozen=True, tag_field="type", tag="function_call"):
    call_id: _Name
    name: _Name
    arguments: str
    namespace: str | None = None
    id: str | None = None
    status: str | None = None


class _Output(_Strict, frozen=True, tag_field="type", tag="function_call_output"):
    call_id: _Name
    output: _Content
    id: str | None = None
    status: str | None = None


class _Thought(_Strict, frozen=True, tag_field="type", tag="reasoning_text"):
    text: str


class _Reasoning(_Strict, frozen=True, tag_field="type", tag="reasoning"):
    """Reasoning. A summary is not what was sampled, and what is encrypted is nobody's to read here."""

    summary: list[Any] = []
    content: list[_Thought] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: str | None = None


_Event: TypeAlias = tuple[str, Mapping[str, Json]]
_Item: TypeAlias = _Message | _Call | _Output | _Reasoning
_ITEMS: dict[str, type[_Item]] = {
    "message": _Message,
    "function_call": _Call,
    "function_call_output": _Output,
    "reasoning": _Reasoning,
}


class _Thinking(_Strict, frozen=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _Format(_Strict, frozen=True):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _StreamOptions(_Strict, frozen=True):
    include_obfuscation: bool = False


class _Request(_Strict, frozen=True):
    """The fields that are read. Items and tools are checked where they are converted."""

    input: str | list[dict[str, Any]] = []
    model: str = ""
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: _Fraction | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    include: list[str] | None = None
    reasoning: _Thinking | None = None
    text: _Format | None = None
    truncation: str | None = None
    background: bool | None = None
    top_logprobs: int | None = None
    service_tier: str | None = None
    return_token_ids: bool | None = None
    # about the request, not about its answer
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    client_metadata: dict[str, Any] | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None


def asked(body: bytes) -> Asked:
    """Read a request; see `Dialect.asked`.

    >>> asked(b'{"model": "m", "input": "hi", "instructions": "Be brief."}').messages
    ({'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'hi'})
    >>> asked(b'{"input": [{"type": "computer_call"}]}')
    Traceback (most recent call last):
    isc.gateway.dialect.RequestError: input[0].type: 'computer_call' is no item that can be honoured
    """
    request = decoded(body, _Request)
    _refuse(request)
    offered = tuple(_tools(request.tools or ()))
    calls, call_of = chat_completions.tool_choice(request.tool_choice)
    messages = tuple(_messages(request))
    if not messages:
        raise refused("input", "there is no message in it, nor instructions")
    return Asked(
        request.model,
        messages,
        tuple([tool for tool, _ in offered]),
        sampling=named(request, _SAMPLING),
        max_tokens=request.max_output_tokens,
        stream=bool(request.stream),
        calls=calls,
        call_of=call_of,
        one_call=request.parallel_tool_calls is False,
        after=_turn(request.previous_response_id),
        tells_token_ids=bool(request.return_token_ids),
        own={
            "names": {_function_of(tool)["name"]: name for tool, name in offered if name is not None},
            "echo": _echo(request, [tool for tool, _ in offered]),
            "encrypts": _ENCRYPTED in (request.include or ()),
        },
    )


def _turn(name: str | None) -> str | None:
    return None if name is None else name.removeprefix(_PREFIX)


def _refuse(request: _Request) -> None:
    """Refuse the values that cannot be honoured."""
    for name, allowed in (("truncation", ("disabled",)), ("service_tier", ("auto", "default"))):
        value = getattr(request, name)
        if value not in (None, *allowed):
            raise refused(name, f"{value!r} cannot be honoured; leave it out")
    if request.background:
        raise refused("background", "an answer is given to the request that asks for it; leave it out")
    if request.top_logprobs:
        raise refused("top_logprobs", "alternatives of a token are not told; leave it out")
    unknown = next((name for name in request.include or () if name != _ENCRYPTED), None)
    if unknown is not None:
        raise refused("include", f"{unknown!r} cannot be included, only {_ENCRYPTED}")
    _refuse_styles(request.reasoning or _Thinking(), request.text or _Format())


def _refuse_styles(reasoning: _Thinking, text: _Format) -> None:
    options = (("reasoning.effort", reasoning.effort), ("text.verbosity", text.verbosity))
    asked_for = next((name for name, value in options if value is not None), None)
    if asked_for is not None:
        raise refused(asked_for, "is an option of the model's chat format, which the gateway was started with")
    for name in ("summary", "generate_summary"):
        if getattr(reasoning, name) not in (None, "auto", "none"):
            raise refused(f"reasoning.{name}", "there are no summaries; reasoning is shown as it was sampled")
    if text.format is not None and text.format.get("type", "text") != "text":
        raise refused("text.format", "answers are not constrained; ask for the form in a message")


def _tools(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[dict[str, Json], list[Json] | None]]:
    """Yield the tools that are offered as OpenAI's chat completions write them; of one in a namespace its names too."""
    for index, tool in enumerate(tools):
        kind = tool.get("type")
        if kind == "function":
            yield _function(tool, f"tools[{index}]"), None
        elif kind == "namespace":
            space = tool.get("name")
            for place, inner in enumerate(tool.get("tools") or ()):
                where = f"tools[{index}].tools[{place}]"
                if not isinstance(inner, dict) or inner.get("type") != "function" or not isinstance(space, str):
                    raise refused(where, "is no function; a namespace has a name and functions")
                yield _function(inner, where, space), [space, inner["name"]]
        elif kind == "custom":
            raise refused(f"tools[{index}].type", "a call's input is JSON; offer a function instead")


def _function(tool: Mapping[str, Any], where: str, space: str | None = None) -> dict[str, Json]:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise refused(f"{where}.name", "a function has a name")
    function = {"name": name if space is None else f"{space}{_BETWEEN}{name}"}
    described = {key: tool[key] for key in ("description", "parameters") if tool.get(key) is not None}
    return {"type": "function", "function": {**function, **described}}


def _function_of(tool: Mapping[str, Json]) -> dict[str, Any]:
    function = tool["function"]
    assert isinstance(function, dict), "of `_function`"
    return function


def _messages(request: _Request) -> Iterator[dict[str, Json]]:
    """Yield OpenAI's messages of a request."""
    if request.instructions is not None:
        yield {"role": "system", "content": request.instructions}
    if isinstance(request.input, str):
        yield {"role": "user", "content": request.input}
        return
    answer: list[_Message | _Call | _Reasoning] = []
    for index, raw in enumerate(request.input):
        item = _item(raw, f"input[{index}]")
        if isinstance(item, _Output) or (isinstance(item, _Message) and item.role != "assistant"):
            if answer:
                yield _assistant(answer)
                answer = []
            yield _said(item)
            continue
        if answer and _begins_another(answer[-1], item):
            yield _assistant(answer)
            answer = []
        answer.append(item)
    if answer:
        yield _assistant(answer)


def _item(raw: Mapping[str, Any], where: str) -> _Item:
    """Read an item.

    Raises:
        RequestError: It is none that can be honoured.
    """
    kind = raw.get("type", "message")
    if kind not in _ITEMS:
        raise refused(f"{where}.type", f"{kind!r} is no item that can be honoured")
    return converted(raw, _ITEMS[kind], where)


def _begins_another(last: _Item, item: _Item) -> bool:
    """Return whether an item is of another answer than the one before it.

    An answer is reasoning, a text, calls, and perhaps a text that the model wrote as a call and is none.
    """
    if isinstance(item, _Reasoning):
        return not isinstance(last, _Reasoning)
    return isinstance(item, _Message) and isinstance(last, _Message)


def _said(item: _Output | _Message) -> dict[str, Json]:
    if isinstance(item, _Output):
        return {"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output)}
    return {"role": item.role, "content": _content(item.content)}


def _content(content: _Content) -> Json:
    if isinstance(content, str):
        return content
    return [
        {"type": "image_url", "image_url": {"url": part.image_url}}
        if isinstance(part, _Image)
        else {"type": "text", "text": part.text}
        for part in content
    ]


def _assistant(items: Sequence[_Message | _Call | _Reasoning]) -> dict[str, Json]:
    texts: list[str] = []
    reasoning: list[str] = []
    calls: list[Json] = []
    for item in items:
        if isinstance(item, _Reasoning):
            reasoning += [part.text for part in item.content or ()]
        elif isinstance(item, _Call):
            name = item.name if item.namespace is None else f"{item.namespace}{_BETWEEN}{item.name}"
            function: Json = {"name": name, "arguments": item.arguments}
            calls.append({"id": item.call_id, "type": "function", "function": function})
        elif isinstance(item.content, str):
            texts.append(item.content)
        else:
            texts += [part.text for part in item.content if not isinstance(part, _Image)]
    said: dict[str, Json] = {"role": "assistant", "content": "".join(texts)}
    if reasoning:
        said["reasoning_content"] = "".join(reasoning)
    return {**said, "tool_calls": calls} if calls else said


def _echo(request: _Request, tools: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return what an answer repeats of its request."""
    offered: list[Json] = [{"type": "function", "strict": False, **_function_of(tool)} for tool in tools]
    return {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "store": request.store is not False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto" if request.tool_choice is None else request.tool_choice,
        "tools": offered,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def counted(tokens: int) -> bytes:
    """Return the answer to a request that counts the tokens of a prompt; see `Dialect.counted`."""
    return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})


def response(asked: Asked, answer: Answer) -> bytes:
    """Return the answer to a request that does not stream; see `Dialect.response`."""
    (choice,) = answer.choices
    return msgspec.json.encode(_whole(asked, answer, list(_items(asked, choice))))


def _whole(asked: Asked, answer: Answer, output: list[Json]) -> dict[str, Json]:
    (choice,) = answer.choices
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    ids: dict[str, Json] = {}
    if asked.tells_token_ids:
        ids = {"prompt_token_ids": answer.heading.prompt_ids, **choice.sampled}
    is_cut = choice.finish == "length"
    ends: dict[str, Json] = {
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": output,
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        },
    }
    return {**_head(asked, answer.heading), **ends, **ids}


def _head(asked: Asked, heading: Heading) -> dict[str, Json]:
    """Return an answer of which nothing is known but its heading."""
    echo = asked.own["echo"]
    assert isinstance(echo, dict), "of `_echo`"
    return {
        "id": f"{_PREFIX}{heading.id}",
        "object": "response",
        "created_at": heading.created,
        "model": heading.model,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        **echo,
    }


def _items(asked: Asked, choice: Choice) -> Iterator[Json]:
    """Yield the items of an answer."""
    said, text = choice.message, text_of(choice.message.content)
    if said.reasoning_content:
        yield _reasoning_item(asked, choice.id, said.reasoning_content)
    if text:
        yield _message_item(choice.id, 0, text)
    for index, call in enumerate(said.tool_calls):
        yield _call_item(asked, choice.id, index, call)


def _reasoning_item(asked: Asked, turn: str, text: str | None) -> dict[str, Json]:
    thoughts: list[Json] = [] if text is None else [{"type": "reasoning_text", "text": text}]
    item: dict[str, Json] = {"type": "reasoning", "id": f"rs_{turn}", "summary": [], "content": thoughts}
    return {**item, "encrypted_content": turn if asked.own.get("encrypts") else None}


def _message_item(turn: str, index: int, text: str | None) -> dict[str, Json]:
    content: list[Json] = [] if text is None else [_text_part(text)]
    status = "in_progress" if text is None else "completed"
    return {"type": "message", "id": f"msg_{turn}_{index}", "role": "assistant", "status": status, "content": content}


def _text_part(text: str) -> dict[str, Json]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(asked: Asked, turn: str, index: int, call: ToolCall, status: str = "completed") -> dict[str, Json]:
    arguments = call.arguments if isinstance(call.arguments, str) else json_text(call.arguments)
    item: dict[str, Json] = {"type": "function_call", "id": f"fc_{turn}_{index}", "call_id": call.id}
    names = asked.own.get("names")
    own = names.get(call.name) if isinstance(names, dict) else None
    named: dict[str, Json] = {"namespace": own[0], "name": own[1]} if isinstance(own, list) else {"name": call.name}
    return {**item, **named, "arguments": arguments, "status": status}


def failed(failure: Failure) -> bytes:
    """Return the body that says why there is no answer: that of chat completions."""
    return chat_completions.failed(failure)


class _Open(Struct, frozen=True):
    """The item that is being told: what it is, and its text so far, in a few pieces of falling length."""

    kind: Literal["reasoning", "message", "call"]
    item: Mapping[str, Json]
    texts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def with_more(self, text: str) -> _Open:
        """Return the same with more text. Pieces are joined with those no longer than they are: never all of them."""
        pieces = self.texts
        while pieces and len(pieces[-1]) <= len(text):
            text, pieces = pieces[-1] + text, pieces[:-1]
        return replace(self, texts=(*pieces, text))


class _Stream(Struct, frozen=True):
    """An answer in items, of which one at most is open. Every event has the next number."""

    asked: Asked
    heading: Heading
    sent: int = 0
    items: tuple[Mapping[str, Json], ...] = ()
    open: _Open | None = None

    def begun(self) -> tuple[_Stream, tuple[Chunk, ...]]:
        head = _head(self.asked, self.heading)
        return self._sending(("response.created", {"response": head}), ("response.in_progress", {"response": head}))

    def told(self, event: Told) -> tuple[_Stream, tuple[Chunk, ...]]:
        if isinstance(event, ReasoningTold):
            return self._more("reasoning", event.text)
        if isinstance(event, TextTold):
            return self._more("message", event.text)
        if isinstance(event, CallTold):
            call = ToolCall(event.name, "", event.id)
            item = _call_item(self.asked, self.heading.id, event.index, call, "in_progress")
            closed, ends = self._closed()
            opened, begins = closed._opened(_Open("call", item))
            return opened, (*ends, *begins)
        if isinstance(event, ArgumentsTold):
            return self._delta(event.text)
        if isinstance(event, CallClosed) and not event.is_whole:
            return self._closed("incomplete")
        return self._closed() if isinstance(event, (CallClosed, ChoiceClosed)) else (self, ())

    def ended(self, answer: Answer) -> tuple[Chunk, ...]:
        whole = _whole(self.asked, answer, list(self.items))
        kind = "response.incomplete" if whole["status"] == "incomplete" else "response.completed"
        return self._sending((kind, {"response": whole}))[1]

    def failed(self, failure: Failure) -> tuple[Chunk, ...]:
        code = "rate_limit_exceeded" if failure.kind == "too_many" else "server_error"
        error: dict[str, Json] = {"code": code, "message": failure.problem}
        head = {**_head(self.asked, self.heading), "status": "failed", "error": error}
        return self._sending(("response.failed", {"response": head}))[1]

    def _more(self, kind: Literal["reasoning", "message"], text: str) -> tuple[_Stream, tuple[Chunk, ...]]:
        """Return what is sent of more text, in the item that is open or in one of its own."""
        if self.open is not None and self.open.kind == kind:
            return self._delta(text)
        closed, ends = self._closed()
        turn, count = self.heading.id, sum(item["type"] == "message" for item in self.items)
        is_text = kind == "message"
        item = _message_item(turn, count, None) if is_text else _reasoning_item(self.asked, turn, None)
        opened, begins = closed._opened(_Open(kind, item))
        more, deltas = opened._delta(text)
        return more, (*ends, *begins, *deltas)

    def _opened(self, item: _Open) -> tuple[_Stream, tuple[Chunk, ...]]:
        opened = replace(self, open=item)
        part = opened._part("")
        added: _Event = ("response.output_item.added", {"output_index": len(self.items), "item": item.item})
        if part is None:
            return opened._sending(added)
        return opened._sending(added, ("response.content_part.added", {**opened._place(), "part": part}))

    def _delta(self, text: str) -> tuple[_Stream, tuple[Chunk, ...]]:
        assert self.open is not None, "a delta is of an open item"
        kinds = {"reasoning": "reasoning_text", "message": "output_text", "call": "function_call_arguments"}
        logprobs: dict[str, Json] = {"logprobs": []} if self.open.kind == "message" else {}
        more = replace(self, open=self.open.with_more(text))
        event = f"response.{kinds[self.open.kind]}.delta"
        return more._sending((event, {**self._place(), "delta": text, **logprobs}))

    def _closed(self, status: str = "completed") -> tuple[_Stream, tuple[Chunk, ...]]:
        if self.open is None:
            return self, ()
        text, item = self.open.text, self._done(self.open, status)
        place, part = self._place(), self._part(text)
        done: _Event
        if self.open.kind == "call":
            done = ("response.function_call_arguments.done", {**place, "arguments": text, "name": item["name"]})
        elif self.open.kind == "message":
            done = ("response.output_text.done", {**place, "text": text, "logprobs": []})
        else:
            done = ("response.reasoning_text.done", {**place, "text": text})
        parts: list[_Event] = [] if part is None else [("response.content_part.done", {**place, "part": part})]
        last: _Event = ("response.output_item.done", {"output_index": len(self.items), "item": item})
        closed = replace(self, open=None, items=(*self.items, item))
        return closed._sending(done, *parts, last)

    def _done(self, open_item: _Open, status: str) -> dict[str, Json]:
        """Return the item that is open as it is once it is whole."""
        text = open_item.text
        if open_item.kind == "reasoning":
            return _reasoning_item(self.asked, self.heading.id, text)
        if open_item.kind == "call":
            return {**open_item.item, "arguments": text, "status": status}
        return {**open_item.item, "content": [_text_part(text)], "status": status}

    def _part(self, text: str) -> dict[str, Json] | None:
        """Return the part of the open item that holds its text; None for a call, which has none."""
        assert self.open is not None
        if self.open.kind == "call":
            return None
        return _text_part(text) if self.open.kind == "message" else {"type": "reasoning_text", "text": text}

    def _place(self) -> dict[str, Json]:
        assert self.open is not None
        place: dict[str, Json] = {"item_id": self.open.item["id"], "output_index": len(self.items)}
        return place if self.open.kind == "call" else {**place, "content_index": 0}

    def _sending(self, *events: _Event) -> tuple[_Stream, tuple[Chunk, ...]]:
        chunks = [
            Chunk(msgspec.json.encode({"type": kind, "sequence_number": self.sent + number, **fields}), kind)
            for number, (kind, fields) in enumerate(events)
        ]
        return replace(self, sent=self.sent + len(chunks)), tuple(chunks)


def stream(asked: Asked, heading: Heading) -> _Stream:
    """Return the stream of an answer of which nothing was told; see `Dialect.stream`."""
    return _Stream(asked, heading)
