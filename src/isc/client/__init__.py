"""Token-in, token-out calls of an engine (vLLM, SGLang): the only network I/O of isc.

`generate` renders, asks, checks what comes back and parses it. An HTTP client is made once and shared by all calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import index
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from isc._json import json_value
from isc._options import checked
from isc.client.generation import Generation, Usage
from isc.client.lane import off_loop
from isc.client.limits import prompt_limit
from isc.client.protocols import PROTOCOLS, Asked, EngineProtocol, ProtocolName, media_features, wire
from isc.client.responses import REQUEST, Answer, Completion, check_counts, check_prompt, check_request, kept
from isc.client.retries import Retries
from isc.client.transport import Endpoint, Request, connect, endpoint, exchange
from isc.conversation.renderer import Renderer
from isc.convert import Messages, Tools
from isc.errors import ConversationError, EngineRefusedError, OptionError, OverlongPromptError
from isc.rendered import RenderedTokens
from isc.types import Json

__all__ = ["Generation", "ProtocolName", "Retries", "Usage", "connect", "generate"]

_DEFAULT_RETRIES = Retries()
_NO_ENDPOINT = (
    "; if the endpoint is missing: vLLM has it in some versions, in newer ones when started for scale-out serving; "
    'for SGLang pass protocol="sglang"'
)


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
    protocol: ProtocolName = "vllm",
    cache_salt: str | None = None,
    priority: int | None = None,
    features: Mapping[str, Json] | None = None,
    max_prompt_len: int | None = None,
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
        protocol: `"vllm"` or `"sglang"`.
        cache_salt: vLLM: keeps prefix caches of different salts apart.
        priority: vLLM: smaller is earlier, where it schedules by priority.
        features: vLLM: media of the prompt. None sends hashes and placeholders of what `messages` or
            `prompt_attribution` show, without the items: the engine must hold these already.
        max_prompt_len: Longest prompt in tokens; None asks the engine, once.
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
        EngineAbortedError: The engine gave the request up.
        MalformedResponseError: The answer cannot be trusted; says which field.

    >>> import asyncio, httpx, isc
    >>> def engine(request: httpx.Request) -> httpx.Response:
    ...     logprobs = {"content": [{"token": "token_id:72", "logprob": -0.5}]}
    ...     choice = {"token_ids": [72], "logprobs": logprobs, "finish_reason": "stop"}
    ...     return httpx.Response(200, json={"request_id": "1", "choices": [choice]})
    >>> http = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(engine))
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> hello = [{"role": "user", "content": "hi"}]
    >>> generation = asyncio.run(generate(http, renderer, messages=hello, max_prompt_len=4096))
    >>> generation.completion_ids, generation.completion_logprobs, generation.finish_reason
    ((72,), (-0.5,), 'stop')
    """
    spoken, to, name = _protocol(protocol), endpoint(client, extra_headers), f"{REQUEST}{uuid4().hex}"
    params, extra = _sampling_params(renderer, sampling_params or {}), _json(extra_body or {}, "extra_body")
    prompt = await off_loop(_prompt, renderer, messages, tools, prompt_ids, prompt_attribution)
    media = _features(features, prompt, protocol, extra)
    asked = Asked(model, prompt.json, params, cache_salt, priority, media, extra)
    request = Request(spoken.path, name, partial(wire, spoken, asked))
    await _check_length(to, spoken, prompt, max_prompt_len, model, name, retries)
    answer = await _answer(to, request, retries)
    return await off_loop(_generation, answer, spoken, renderer, prompt, asked, tools, keep)


def _protocol(name: ProtocolName) -> EngineProtocol:
    return PROTOCOLS[checked("protocol", name, ProtocolName)]


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


def _features(
    given: Mapping[str, Json] | None, prompt: _Prompt, protocol: ProtocolName, extra: Mapping[str, Json]
) -> Mapping[str, Json] | None:
    """What was given, else the media of the prompt by their hashes."""
    if given is not None:
        return given
    media = None if prompt.attribution is None else prompt.attribution.multi_modal_data
    if media is None or not media.hashes:
        return None
    if protocol == "vllm":
        return media_features(media)
    if "image_data" not in extra:
        raise OptionError('the prompt shows images: pass them to SGLang as extra_body={"image_data": [...]}')
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


async def _check_length(
    to: Endpoint,
    protocol: EngineProtocol,
    prompt: _Prompt,
    max_prompt_len: int | None,
    model: str | None,
    name: str,
    retries: Retries,
) -> None:
    """Raise for a prompt longer than the caller allows or the engine takes."""
    limit, by = max_prompt_len, "max_prompt_len"
    if limit is None:
        limit, by = await prompt_limit(to, protocol, model, name, retries), f"the engine at {to.root}"
    if limit is not None and len(prompt.ids) > limit:
        raise OverlongPromptError(len(prompt.ids), limit, by)


async def _answer(to: Endpoint, request: Request, retries: Retries) -> Answer:
    """The engine's answer; where there is no such endpoint, the error says when there is one."""
    try:
        return await exchange(to, request, retries)
    except EngineRefusedError as error:
        if error.status != 404:
            raise
        problem = error.problem + _NO_ENDPOINT
        raise EngineRefusedError(error.url, error.request_id, problem, error.status, error.excerpt) from None


def _completion(answer: Answer, protocol: EngineProtocol, prompt: _Prompt, asked: Asked) -> Completion:
    """What an answer says, if it is sound and the answer to this request."""
    completion = protocol.completion(answer)
    check_request(answer, completion.request_id)
    check_counts(answer, completion, protocol.counts)
    if not asked.features and not asked.extra_body:  # with media an engine may read more tokens than it was sent
        check_prompt(answer, completion, prompt.ids, protocol.counts)
    return completion


def _generation(
    answer: Answer,
    protocol: EngineProtocol,
    renderer: Renderer,
    prompt: _Prompt,
    asked: Asked,
    tools: Tools,
    keep: Sequence[str],
) -> Generation:
    """An answer, checked and parsed."""
    completion = _completion(answer, protocol, prompt, asked)
    parsed = renderer.parse_response(completion.token_ids, tools, prompt_ids=prompt.ids)
    called = any(call.status in ("ok", "unknown_tool") for call in parsed.tool_calls)
    return Generation(
        prompt.ids,
        completion.token_ids,
        completion.logprobs,
        parsed.content,
        "tool_calls" if called and completion.finish_reason == "stop" else completion.finish_reason,
        completion.request_id,
        Usage(len(prompt.ids), len(completion.token_ids)),
        parsed.reasoning_content,
        parsed.tool_calls,
        parsed.reasoning_complete,
        None if prompt.attribution is None else prompt.attribution.multi_modal_data,
        prompt.attribution,
        kept(answer, keep, protocol.extra_places),
    )
