"""`generate` of `renderers`: its arguments, its dict, its errors, on top of `isc.client.generate`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from isc.client import Retries
from isc.client import generate as ask
from isc.client.generation import Generation
from isc.client.transport import endpoint, is_known
from isc.compat.messages import Message, ToolSpec
from isc.compat.posting import (
    MalformedGenerateResponseError,
    OverlongPromptError,
    _max_prompt_len_cache,  # noqa: F401 - a name that is imported
    as_bytes,
    post_generate,
)
from isc.compat.protocols import Renderer
from isc.compat.renderer import FamilyRenderer
from isc.compat.responses import ToolCallParseStatus, tool_calls
from isc.compat.tokens import MultiModalData, RenderedTokens
from isc.convert import Messages, Tools
from isc.errors import (
    ClientError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MalformedResponseError,
    OptionError,
)
from isc.errors import OverlongPromptError as PromptTooLongError

__all__ = [
    "MalformedGenerateResponseError",
    "Message",
    "MultiModalData",
    "OverlongPromptError",
    "RenderedTokens",
    "Renderer",
    "ToolCallParseStatus",
    "ToolSpec",
    "generate",
]

_KEPT: Final = ("routed_experts", "sampling_mask", "usage")
_STATUS_ERRORS: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}


async def generate(  # noqa: PLR0913 - as in renderers
    *,
    client: object,
    renderer: Renderer,
    messages: Messages,
    model: str,
    prompt_ids: Sequence[int] | None = None,
    multi_modal_data: object = None,
    prompt_attribution: RenderedTokens | None = None,
    tools: Tools = None,
    sampling_params: Mapping[str, Any] | None = None,
    cache_salt: str | None = None,
    priority: int | None = None,
    extra_headers: Mapping[str, str] | None = None,
    max_prompt_len: int | None = None,
    process_multimodal: bool = True,
) -> dict[str, Any]:
    """Have a vLLM engine sample the next turn. The arguments are those of `isc.client.generate`.

    Args:
        client: An `openai.AsyncOpenAI`, whose timeout and number of retries hold, or an `httpx.AsyncClient`. Any other
            object is asked by its `post`, as `AsyncOpenAI` has it, and trusted: requests are not named.
        renderer: Format and vocabulary; one of the caller's own is asked by that `post`, too.
        messages: The conversation; not looked at where `prompt_ids` are given.
        model: The name it is served by.
        prompt_ids: The prompt as ids, e.g. a bridge's.
        multi_modal_data: None: isc sends no media yet.
        prompt_attribution: What `prompt_ids` came from, handed on as it is.
        tools: Tool specs.
        sampling_params: The engine's own, but for `stop_token_ids`, `logprobs` and `skip_special_tokens`.
        cache_salt: Keeps prefix caches of different salts apart.
        priority: Smaller is earlier.
        extra_headers: Further HTTP headers.
        max_prompt_len: Longest prompt in tokens; None asks the engine, once.
        process_multimodal: True: the engine is sent ids, not images. False is for renderers of the caller's own.

    Raises:
        OverlongPromptError: The prompt is longer than the engine takes.
        MalformedGenerateResponseError: The answer cannot be trusted.
        OptionError: Media were given.
        openai.OpenAIError: No answer, or a refusal, with an `AsyncOpenAI`; otherwise `isc.errors.ClientError`.
    """
    _check_media(renderer, multi_modal_data, process_multimodal=process_multimodal)
    fields: dict[str, Any] = {"model": model, "cache_salt": cache_salt, "priority": priority}
    fields["sampling_params"] = _params(renderer, sampling_params)
    fields |= {"max_prompt_len": max_prompt_len, "extra_headers": extra_headers}
    if not (isinstance(renderer, FamilyRenderer) and is_known(client)):
        prompt = (messages, tools, prompt_attribution, prompt_ids)
        return await post_generate(client, renderer, *prompt, **fields, process_multimodal=process_multimodal)
    fields |= {"messages": messages} if prompt_ids is None else {"prompt_ids": prompt_ids}
    with _errors_as_there(client):
        retries = _retries(client)
        generation = await ask(client, renderer.renderer, tools=tools, **fields, keep=_KEPT, retries=retries)
    return _result(generation, renderer, prompt_attribution)


def _check_media(renderer: Renderer, media: object, *, process_multimodal: bool) -> None:
    """Refuse media; a renderer of the caller's own may leave images to the engine."""
    if media is not None or (isinstance(renderer, FamilyRenderer) and not process_multimodal):
        raise OptionError("isc.compat sends no media: leave multi_modal_data out and process_multimodal True")


def _params(renderer: Renderer, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the caller's sampling parameters, with those that are never the caller's."""
    ours = {"logprobs": 1, "stop_token_ids": renderer.get_stop_token_ids(), "skip_special_tokens": False}
    return {**(given or {}), **ours}


@contextmanager
def _errors_as_there(client: object) -> Iterator[None]:
    """Raise the errors of `isc.client` as those of `renderers.client` and of the openai package."""
    try:
        yield
    except PromptTooLongError as error:
        raise OverlongPromptError(prompt_len=error.length, max_prompt_len=error.limit) from error
    except MalformedResponseError as error:
        raise MalformedGenerateResponseError(str(error)) from error
    except ClientError as error:
        raise _as_openai(error, client) from error


def _result(generation: Generation, renderer: FamilyRenderer, attribution: RenderedTokens | None) -> dict[str, Any]:
    if attribution is None and generation.prompt_attribution is not None:
        attribution = RenderedTokens.of(generation.prompt_attribution)
    return {
        "request_id": generation.request_id,
        "usage": generation.extra.get("usage"),
        "prompt_ids": list(generation.prompt_ids),
        "renderer_prompt_ids": None,
        "mm_placeholders": None,
        "completion_ids": list(generation.completion_ids),
        "completion_logprobs": list(generation.completion_logprobs),
        "content": generation.content,
        "reasoning_content": generation.reasoning_content,
        "tool_calls": tool_calls(generation.tool_calls, names_checked=renderer.checks_names),
        "finish_reason": generation.finish_reason,
        "reasoning_complete": generation.reasoning_complete,
        "routed_experts": as_bytes(generation.extra.get("routed_experts")),
        "sampling_mask": generation.extra.get("sampling_mask"),
        "multi_modal_data": None,
        "prompt_attribution": attribution,
    }


def _retries(client: object) -> Retries:
    """Return attempts and time of an `AsyncOpenAI`. With an httpx client: once, however long it takes."""
    timeout = getattr(client, "timeout", None)
    seconds = getattr(timeout, "read", timeout)
    whole = float(seconds) if isinstance(seconds, (int, float)) else math.inf
    return Retries(attempts=getattr(client, "max_retries", 0) + 1, timeout=whole, total=math.inf)


def _as_openai(error: ClientError, client: object) -> Exception:
    """Return the error that the openai package raises for this. Return it as it is if the client is another's."""
    openai: Any = sys.modules.get(type(client).__module__.partition(".")[0])
    if not hasattr(openai, "APIStatusError"):
        return error
    library = endpoint(client).library
    request = library.Request("POST", error.url)
    status = error.status if isinstance(error, (EngineRefusedError, EngineUnavailableError)) else None
    found: Exception
    if status is not None:
        name = _STATUS_ERRORS.get(status, "InternalServerError" if status >= 500 else "APIStatusError")
        response = library.Response(status, request=request)
        found = getattr(openai, name)(str(error), response=response, body=None)
    elif isinstance(error, EngineTimeoutError):
        found = openai.APITimeoutError(request=request)
    elif isinstance(error, EngineUnavailableError):
        found = openai.APIConnectionError(message=str(error), request=request)
    else:
        found = openai.APIError(str(error), request, body=None)
    return found
