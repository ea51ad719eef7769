"""Token-in, token-out calls of an engine (vLLM, SGLang): the only network I/O of isc.

`generate` renders, asks, checks what comes back and parses it. An HTTP client is made once and shared by all calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from functools import partial
from operator import index

import msgspec
from msgspec import Raw, Struct

from isc._json import json_value
from isc.client.bodies import response_bound
from isc.client.engines import ProtocolName, named_protocol
from isc.client.generation import Generation, Usage
from isc.client.identity import check_count, check_identity, new_name
from isc.client.lane import off_loop
from isc.client.limits import prompt_limit
from isc.client.probing import NO_ENDPOINT, spoken_protocol
from isc.client.protocols import Asked, EngineProtocol, media_features, wire
from isc.client.raw_images import content_parts
from isc.client.responses import ABORTS, Answer, Completion, check_range, kept
from isc.client.retries import Retries
from isc.client.transport import Endpoint, Request, connect, endpoint, exchange
from isc.client.vllm import Vllm
from isc.conversation.renderer import Renderer
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.errors import (
    ConversationError,
    EngineAbortedError,
    EngineRefusedError,
    MalformedResponseError,
    OptionError,
    OverlongPromptError,
    PartialCompletion,
)
from isc.rendered import RenderedTokens
from isc.types import Json

__all__ = [
    "Generation", "PartialCompletion", "ProtocolName", "Retries", "Usage", "connect", "content_parts", "generate",
]  # fmt: skip

_DEFAULT_RETRIES = Retries()
_PADDING = 1024  # ids by which a model's table is rounded up, at most, above the vocabulary of its tokenizer


async def generate(  # noqa: PLR0913 - what an engine can be asked for
    client: object,
    renderer: Renderer,
    *,
    messages: Messages | None = None,
    prompt_ids: Sequence[int] | None = None,
    prompt_attribution: RenderedTokens | None = None,
    tools: Tools = None,
    model: str | None = None,
    sampling_params: Mapping[str, Json] | None = None,
    protocol: ProtocolName = "auto",
    cache_salt: str | None = None,
    priority: int | None = None,
    features: Mapping[str, Json] | None = None,
    content_parts: Sequence[Mapping[str, Json]] | None = None,
    max_prompt_len: int | None = None,
    vocabulary_size: int | None = None,
    max_response_bytes: int | None = None,
    stream: bool = False,
    extra_body: Mapping[str, Json] | None = None,
    extra_headers: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    retries: Retries = _DEFAULT_RETRIES,
) -> Generation:
    """Have an engine sample the next turn: ids are sent, ids come back.

    Args:
        client: An `httpx.AsyncClient` with a base URL (`connect` makes one) or an `openai.AsyncOpenAI`; share it.
        renderer: Format and vocabulary of the model.
        messages: The conversation, rendered with a generation prompt. Either this or `prompt_ids`.
        prompt_ids: The prompt as ids, e.g. a bridge's.
        prompt_attribution: What `prompt_ids` came from, handed on as it is; alone it stands for its own ids.
        tools: Tool specs: rendered with `messages`, and what calls are checked against.
        model: The name it is served by; None for the only one.
        sampling_params: The engine's own (`max_tokens`, `temperature`, ...). `stop_token_ids` are the format's unless
            given; `logprobs` is at least 1; `skip_special_tokens` is False.
        protocol: `"vllm"` (`/inference/v1/generate`), `"sglang"` (`/generate`) or `"completions"` (vLLM's
            `/v1/completions`); `"auto"` looks which of them the engine has, once.
        cache_salt: vLLM: keeps prefix caches of different salts apart.
        priority: vLLM: smaller is earlier, where it schedules by priority.
        features: vLLM: media of the prompt. None sends hashes and placeholders of what `messages` or
            `prompt_attribution` show, without the items: the engine must hold these already.
        content_parts: vLLM 0.33: the images themselves in place of `features`, in the order of the prompt, which the
            engine decodes, or fetches; `isc.client.content_parts(messages)` makes them.
        max_prompt_len: Longest prompt in tokens; None asks the engine, once.
        vocabulary_size: How many ids the model has (`vocab_size` of its configuration); None takes the tokenizer's,
            with room for padding. An answer with other ids is refused.
        max_response_bytes: Longest answer that is read; None takes much more than an honest one to this request has.
        stream: Whether the engine is asked to send tokens as they are sampled. The result is the same; of a call that
            fails, what was received is in the error's `partial`.
        extra_body: Further fields of the request.
        extra_headers: Further HTTP headers.
        keep: Names of further fields of the response to keep in `Generation.extra`, e.g. `routed_experts`.
        retries: How long it may take and how often it may be tried.

    Returns:
        The turn, checked: one finite logprob for every id.

    Raises:
        OptionError: Arguments that do not go together.
        ConversationError: Something in messages or tools cannot be rendered.
        OverlongPromptError: The prompt is longer than the engine takes; nothing was sent.
        EngineUnavailableError: No answer after all attempts.
        EngineTimeoutError: No complete answer in time.
        EngineRefusedError: The engine will not do it.
        EngineAbortedError: The engine gave the request up; `partial` is what it had sampled.
        MalformedResponseError: The answer cannot be trusted; says which field.

    >>> import asyncio, httpx, isc
    >>> def engine(request: httpx.Request) -> httpx.Response:
    ...     if request.method == "GET":  # which endpoints there are
    ...         return httpx.Response(405)
    ...     logprobs = {"content": [{"token_id": 72, "logprob": -0.5}]}
    ...     choice = {"token_ids": [72], "logprobs": logprobs, "finish_reason": "stop"}
    ...     name = f"generate-tokens-{request.headers['x-request-id']}"
    ...     return httpx.Response(200, json={"request_id": name, "choices": [choice]})
    >>> http = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(engine))
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> hello = [{"role": "user", "content": "hi"}]
    >>> generation = asyncio.run(generate(http, renderer, messages=hello, max_prompt_len=4096))
    >>> generation.completion_ids, generation.completion_logprobs, generation.finish_reason
    ((72,), (-0.5,), 'stop')
    """
    to, name, protocol_told = endpoint(client, extra_headers), new_name(), named_protocol(protocol)
    params, extra = _sampling_params(renderer, sampling_params or {}), _json(extra_body or {}, "extra_body")
    if stream and keep:
        raise OptionError(f"keep={list(keep)!r} and stream=True exclude each other: events tell other fields in pieces")
    prompt = await off_loop(_prompt, renderer, messages, tools, prompt_ids, prompt_attribution)
    if max_prompt_len is not None:
        _check_length(prompt, max_prompt_len, "max_prompt_len")
    spoken = protocol_told or await spoken_protocol(to, name, retries)
    media = _features(features, content_parts, prompt, spoken, extra)
    asked = Asked(model, prompt.json, params, cache_salt, priority, media, content_parts, extra, stream)
    call = _Call(renderer, spoken, prompt, asked, vocabulary_size or _range(renderer.encoder))
    if max_prompt_len is None:
        wire(spoken, asked, name)  # what cannot be sent is refused before the engine is asked anything
        _check_length(prompt, await prompt_limit(to, spoken, model, name, retries), f"the engine at {to.root}")
    bound = max_response_bytes or response_bound(len(prompt.ids), params.get("max_tokens"), params.get("logprobs", 1))
    rescue = partial(_partial, call) if stream else None
    request = Request(spoken.path, name, partial(wire, spoken, asked), bound, rescue)
    return await off_loop(_generation, await _answer(to, request, retries), call, tools, keep)


class _Prompt(Struct, frozen=True):
    """The ids that are sent, as they are written, and what is known of them."""

    ids: tuple[int, ...]
    attribution: RenderedTokens | None
    json: Raw


def _prompt(
    renderer: Renderer,
    messages: Messages | None,
    tools: Tools,
    prompt_ids: Sequence[int] | None,
    attribution: RenderedTokens | None,
) -> _Prompt:
    """The prompt that was given, in whichever way."""
    if messages is not None:
        if prompt_ids is not None or attribution is not None:
            raise OptionError("pass messages, or prompt_ids with their prompt_attribution, not both")
        attribution = renderer.render(messages, tools, add_generation_prompt=True)
    elif prompt_ids is None and attribution is None:
        raise OptionError("there is nothing to ask: pass messages, or prompt_ids")
    ids = _checked_ids(prompt_ids) if prompt_ids is not None else () if attribution is None else attribution.token_ids
    if attribution is not None and attribution.token_ids != ids:
        raise OptionError("prompt_attribution is of other ids than prompt_ids")
    if not ids:
        raise OptionError("the prompt has no tokens")
    return _Prompt(ids, attribution, Raw(msgspec.json.encode(ids)))


class _Call(Struct, frozen=True):
    """What an answer is read and checked by; `size` is how many ids the model has, None where that is not known."""

    renderer: Renderer
    protocol: EngineProtocol
    prompt: _Prompt
    asked: Asked
    size: int | None

    @property
    def as_sent(self) -> bool:
        """Whether the engine reads the ids that it is sent, and no others."""
        asked = self.asked
        media = asked.features is not None or asked.content_parts is not None
        return not media and asked.extra_body.keys().isdisjoint(self.protocol.media_fields)


def _range(encoder: Encoder) -> int | None:
    """Return how many ids a model with this vocabulary can have: tables are rounded up for the hardware."""
    if not isinstance(encoder, Sized):
        return None
    highest = max([len(encoder) - 1, *encoder.specials.values()])
    return (highest // _PADDING + 2) * _PADDING


def _features(
    given: Mapping[str, Json] | None,
    parts: Sequence[Mapping[str, Json]] | None,
    prompt: _Prompt,
    protocol: EngineProtocol,
    extra: Mapping[str, Json],
) -> Mapping[str, Json] | None:
    """Return the media of the prompt by their hashes, unless they are told in another way."""
    media = None if prompt.attribution is None else prompt.attribution.multi_modal_data
    if parts is not None and media is not None and len(parts) != sum(map(len, media.placeholders.values())):
        shown = sum(map(len, media.placeholders.values()))
        raise OptionError(
            f"there are {len(parts)} content_parts, but the prompt shows {shown} images: one each is needed"
        )
    if given is not None or parts is not None or media is None or not media.hashes:
        return given
    if isinstance(protocol, Vllm):
        return media_features(media)
    if protocol.media_fields.isdisjoint(extra):
        raise OptionError(
            'the prompt shows images: pass them to SGLang as extra_body={"image_data": [...]}; vLLM takes them at '
            "/inference/v1/generate alone (start it with --enable-scale-out)"
        )
    return None


def _checked_ids(prompt_ids: Sequence[int]) -> tuple[int, ...]:
    """The ids as plain integers, whatever sequence they came in."""
    try:
        ids = tuple(map(index, prompt_ids))
    except TypeError as error:
        raise OptionError(f"prompt_ids must be integers: {error}") from None
    if ids and not 0 <= min(ids) <= max(ids) < 2**31:
        raise OptionError(f"prompt_ids must be token ids: {min(ids)} to {max(ids)} are not")
    return ids


def _sampling_params(renderer: Renderer, given: Mapping[str, Json]) -> dict[str, Json]:
    """The caller's, checked against what `generate` relies on, with the format's stop tokens."""
    params = {"stop_token_ids": renderer.get_stop_token_ids(), **_json(given, "sampling_params")}
    needed = {"n": (1, "one turn a call"), "skip_special_tokens": (False, "turns are read by their specials")}
    for name, (value, reason) in needed.items():
        if params.get(name, value) != value:
            raise OptionError(f"sampling_params.{name} is {params[name]!r}, but must be {value!r}: {reason}")
    logprobs = params.get("logprobs", 1)
    if type(logprobs) is not int or logprobs < 1:
        raise OptionError(f"sampling_params.logprobs is {logprobs!r}, but must be at least 1: every token has its own")
    return params


def _json(given: Mapping[str, Json], name: str) -> dict[str, Json]:
    """The same, if it has a JSON form."""
    try:
        json_value(dict(given), name)
    except ConversationError as error:
        raise OptionError(str(error)) from None
    return dict(given)


def _check_length(prompt: _Prompt, limit: int | None, limited_by: str) -> None:
    """Raise for a prompt longer than the caller allows or the engine takes."""
    if limit is not None and len(prompt.ids) > limit:
        raise OverlongPromptError(len(prompt.ids), limit, limited_by)


async def _answer(to: Endpoint, request: Request, retries: Retries) -> Answer:
    """Return the engine's answer; where there is no such endpoint, the error says when there is one."""
    try:
        return await exchange(to, request, retries)
    except EngineRefusedError as error:
        if error.status != 404:
            raise
        problem = f"{error.problem}; if the endpoint is missing: {NO_ENDPOINT}"
        raise EngineRefusedError(error.url, error.request_id, problem, error.status, error.excerpt) from None


def _completion(answer: Answer, call: _Call) -> Completion:
    """Return what an answer says, if it is sound and the answer to this request.

    Raises:
        EngineAbortedError: The engine gave the request up.
    """
    protocol = call.protocol
    try:
        completion = protocol.streamed(answer) if call.asked.stream else protocol.completion(answer)
        _check(answer, completion, call)
    except MalformedResponseError as error:
        reason = None if error.path == "request_id" or call.asked.stream else protocol.aborted(answer)
        if reason is None:
            raise
        raise _abort(answer, reason, None) from None  # given up without the ids, or with some that cannot be trusted
    if completion.finish_reason in ABORTS or not completion.finish_reason:
        reason = completion.problem or completion.finish_reason or "the answer ended before the completion did"
        raise _abort(answer, reason, _so_far(completion, call))
    return completion


def _abort(answer: Answer, reason: str, so_far: PartialCompletion | None) -> EngineAbortedError:
    problem = f"the engine gave the request up ({answer.secrets.hide(reason)}); it may be asked again when it is ready"
    return EngineAbortedError(answer.url, answer.request_id, problem, so_far)


def _check(answer: Answer, completion: Completion, call: _Call) -> None:
    """Refuse a completion that is not this request's, or not this model's."""
    at = call.protocol.counts
    check_identity(answer, completion, call.prompt.ids, as_sent=call.as_sent, at=at)
    check_count(answer, f"{at}.completion_tokens", completion.completion_tokens, len(completion.token_ids))
    check_range(answer, completion.token_ids, call.size)


def _so_far(completion: Completion, call: _Call) -> PartialCompletion:
    return PartialCompletion(call.prompt.ids, completion.token_ids, completion.logprobs, completion.request_id)


def _partial(call: _Call, answer: Answer) -> PartialCompletion | None:
    """Return what a stream had brought before it broke off; None where nothing can be trusted."""
    try:
        completion = call.protocol.streamed(answer)
        _check(answer, completion, call)
    except MalformedResponseError:
        return None
    return _so_far(completion, call) if completion.token_ids else None


def _generation(answer: Answer, call: _Call, tools: Tools, keep: Sequence[str]) -> Generation:
    """Return an answer, checked and parsed."""
    completion, prompt = _completion(answer, call), call.prompt
    parsed = call.renderer.parse_response(completion.token_ids, tools, prompt_ids=prompt.ids)
    called = any(attempt.status in ("ok", "unknown_tool") for attempt in parsed.tool_calls)
    return Generation(
        prompt.ids,
        completion.token_ids,
        completion.logprobs,
        parsed.content,
        "tool_calls" if called and completion.finish_reason == "stop" else completion.finish_reason,
        completion.request_id or answer.request_id,
        Usage(len(prompt.ids), len(completion.token_ids)),
        parsed.reasoning_content,
        parsed.tool_calls,
        parsed.reasoning_complete,
        None if prompt.attribution is None else prompt.attribution.multi_modal_data,
        prompt.attribution,
        kept(answer, keep, call.protocol.extra_places),
    )
