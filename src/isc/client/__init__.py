"""Token-in, token-out calls of an engine (vLLM, SGLang): the only network I/O of isc.

`generate` renders, asks, checks what comes back and parses it. An HTTP client is made once and shared by all calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial

from isc.client.calls import Wanted, call, told
from isc.client.engines import ProtocolName, named_protocol
from isc.client.generation import Generation, Usage
from isc.client.prompts import prompt_of
from isc.client.raw_images import content_parts
from isc.client.retries import Retries
from isc.client.sampling import json_fields
from isc.client.sampling import sampling_params as checked_params
from isc.client.stream_events import StreamEvent, TokensSampled, TurnFinished
from isc.client.transport import connect, endpoint
from isc.conversation.renderer import Renderer
from isc.convert import Messages, Tools
from isc.errors import PartialCompletion
from isc.rendered import RenderedTokens
from isc.types import Json

__all__ = [
    "Generation",
    "PartialCompletion",
    "ProtocolName",
    "Retries",
    "StreamEvent",
    "TokensSampled",
    "TurnFinished",
    "Usage",
    "connect",
    "content_parts",
    "generate",
    "stream",
]

_DEFAULT_RETRIES = Retries()


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
        max_response_bytes: Longest answer that is read, or with `stream` how much is kept of it: the bytes of one
            event, and 64 for each id. None takes much more than an honest one to this request has.
        stream: Whether the engine is asked to send tokens as they are sampled. The result is the same; of a call that
            fails, what was received is in the error's `partial`. The function `stream` tells the tokens, too.
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
    to, spoken = endpoint(client, extra_headers), named_protocol(protocol)
    params, extra = checked_params(renderer, sampling_params or {}), json_fields(extra_body or {}, "extra_body")
    prompt = partial(prompt_of, renderer, messages, tools, prompt_ids, prompt_attribution)
    request = (model, params, cache_salt, priority, features, content_parts, extra, stream)
    limits = (max_prompt_len, vocabulary_size, max_response_bytes)
    return await call(to, renderer, Wanted(prompt, tools, tuple(keep), spoken, *request, *limits), retries)


def stream(  # noqa: PLR0913 - what an engine can be asked for
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
    extra_body: Mapping[str, Json] | None = None,
    extra_headers: Mapping[str, str] | None = None,
    retries: Retries = _DEFAULT_RETRIES,
) -> AsyncGenerator[StreamEvent, None]:
    r"""Have an engine sample the next turn, and tell it while it is sampled. The request is that of `generate`.

    Every id is told as soon as it was received and checked, then what it made certain of the turn; the last event is
    the turn, as `generate` returns it for these ids. Nothing is sent before the first event is waited for. Closing the
    iterator, or cancelling the task that waits for it, closes the connection, at which the engine stops sampling:
    `async with contextlib.aclosing(stream(...)) as events` closes it wherever the block is left.

    Args:
        client: As for `generate`, and so are all that follow.
        renderer: Format and vocabulary of the model.
        messages: The conversation, rendered with a generation prompt. Either this or `prompt_ids`.
        prompt_ids: The prompt as ids.
        prompt_attribution: What `prompt_ids` came from.
        tools: Tool specs.
        model: The name it is served by.
        sampling_params: The engine's own.
        protocol: How the engine is asked.
        cache_salt: vLLM: keeps prefix caches apart.
        priority: vLLM: smaller is earlier.
        features: vLLM: media of the prompt.
        content_parts: vLLM: the images themselves.
        max_prompt_len: Longest prompt in tokens; None asks the engine, once.
        vocabulary_size: How many ids the model has.
        max_response_bytes: How much is kept of the answer: the bytes of one event, and 64 for each id. None takes much
            more than an honest one has.
        extra_body: Further fields of the request.
        extra_headers: Further HTTP headers.
        retries: How long the engine may take and how often it may be tried; the time in which nobody waits for an event
            is not the engine's. Once an id was told nothing is tried again.

    Yields:
        `TokensSampled` for every event of the engine with ids in it, followed by the events of `renderer.reader` that
        they cause; `TurnFinished` at last.

    Raises:
        OptionError: Arguments that do not go together.
        ConversationError: Something in messages or tools cannot be rendered.
        OverlongPromptError: The prompt is longer than the engine takes; nothing was sent.
        EngineUnavailableError: No answer after all attempts, or one that broke off after ids were told.
        EngineTimeoutError: No complete answer in time.
        EngineRefusedError: The engine will not do it.
        EngineAbortedError: The engine gave the request up, or the stream ended before the turn did.
        MalformedResponseError: An event cannot be trusted, or contradicts those before it.
        ClientError: All of the last five; their `partial` is what was sampled by then.

    >>> import asyncio, httpx, isc, json
    >>> def engine(request: httpx.Request) -> httpx.Response:
    ...     name = f"generate-tokens-{request.headers['x-request-id']}"
    ...     data = ""
    ...     for token_id, reason in ((72, None), (105, "stop")):
    ...         logprobs = {"content": [{"token_id": token_id, "logprob": -0.5}]}
    ...         choice = {"token_ids": [token_id], "logprobs": logprobs, "finish_reason": reason}
    ...         data += f"data: {json.dumps({'request_id': name, 'choices': [choice]})}\n\n"
    ...     return httpx.Response(200, text=f"{data}data: [DONE]\n\n")
    >>> http = httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(engine))
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> async def main() -> None:
    ...     hello = [{"role": "user", "content": "hi"}]
    ...     async for event in stream(http, renderer, messages=hello, protocol="vllm", max_prompt_len=4096):
    ...         print(type(event).__name__)
    >>> asyncio.run(main())
    TokensSampled
    ContentDelta
    TokensSampled
    ContentDelta
    TurnFinished
    """
    to, spoken = endpoint(client, extra_headers), named_protocol(protocol)
    params, extra = checked_params(renderer, sampling_params or {}), json_fields(extra_body or {}, "extra_body")
    prompt = partial(prompt_of, renderer, messages, tools, prompt_ids, prompt_attribution)
    request = (model, params, cache_salt, priority, features, content_parts, extra, True)
    limits = (max_prompt_len, vocabulary_size, max_response_bytes)
    return told(to, renderer, Wanted(prompt, tools, (), spoken, *request, *limits), retries)
