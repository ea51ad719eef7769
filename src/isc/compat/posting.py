"""`generate` by what a caller brings: a client with `post` alone, or a renderer of the caller's own.

isc's transport cannot be used with these. The object that was passed in is trusted to answer what it is asked, as in
`renderers`: requests are not named. What it answers is checked as there, one finite log probability a token.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from isc.client.raw_images import content_parts
from isc.client.transport import endpoint, is_known, response_type
from isc.compat.protocols import Renderer
from isc.compat.responses import ToolCallParseStatus
from isc.compat.tokens import RenderedTokens
from isc.convert import Messages, Tools
from isc.errors import OptionError

_PATH: Final = "/inference/v1/generate"
_MISSING: Final = -9999.0
"""What vLLM gives for a log probability that it does not know."""
_ROUNDING: Final = 1e-6  # by how much the logarithm of a probability of 1 may be off in 32 bits
_MOST_LIMITS: Final = 1024

_max_prompt_len_cache: dict[tuple[str, str], int | None] = {}
"""The longest prompt of each engine and model that was asked; None where it was not told."""


class OverlongPromptError(Exception):
    """The prompt is longer than the engine takes; nothing was sent."""

    def __init__(self, *, prompt_len: int, max_prompt_len: int) -> None:
        super().__init__(f"Prompt length ({prompt_len}) exceeds maximum context length ({max_prompt_len}).")
        self.prompt_len = prompt_len
        self.max_prompt_len = max_prompt_len


class MalformedGenerateResponseError(ValueError):
    """An answer that cannot be trusted."""


async def post_generate(
    client: Any,  # noqa: ANN401 - whatever the caller has
    renderer: Renderer,
    messages: Messages,
    tools: Tools,
    attribution: RenderedTokens | None,
    prompt_ids: Sequence[int] | None,
    *,
    max_prompt_len: int | None,
    extra_headers: Mapping[str, str] | None,
    process_multimodal: bool,
    **fields: Any,  # noqa: ANN401 - of the request
) -> dict[str, Any]:
    """Render, post, read the answer; the result is that of `generate`.

    Args:
        client: Has `post`, perhaps `get`, as an `openai.AsyncOpenAI` has them, and `base_url`.
        renderer: Has the methods of the protocol.
        messages: The conversation; not looked at where `prompt_ids` are given.
        tools: Tool specs.
        attribution: What `prompt_ids` came from.
        prompt_ids: The prompt as ids.
        max_prompt_len: Longest prompt in tokens; None asks the engine, once.
        extra_headers: Further HTTP headers.
        process_multimodal: False sends the images as they are, for the engine to decode.
        fields: The other fields of the request's body; one that is None is left out.

    Raises:
        OptionError: The client has no such `post`, or the renderer cannot do what is asked.
        OverlongPromptError: The prompt is longer than the engine takes.
        MalformedGenerateResponseError: The answer cannot be trusted.
    """
    _check_poster(client)
    _check_abilities(renderer, tools, process_multimodal=process_multimodal)
    if prompt_ids is None:
        options = {} if process_multimodal else {"process_multimodal": False}
        given: Any = messages, tools  # as the caller's renderer has them
        attribution = renderer.render(given[0], tools=given[1], add_generation_prompt=True, **options)
        prompt_ids = attribution.token_ids
    prompt = list(prompt_ids)
    parts = [] if process_multimodal else list(content_parts(messages))
    if process_multimodal:
        await _check_length(client, prompt, str(fields["model"]), max_prompt_len)
    raw = {"content_parts": parts, "return_token_ids": True} if parts else {}
    body = {"token_ids": prompt, **{name: value for name, value in fields.items() if value is not None}, **raw}
    answer = await _posted(client, body, extra_headers)
    found = _result(renderer, tools, prompt, answer, raw=bool(parts))
    media = None if attribution is None else attribution.multi_modal_data
    return {**found, "multi_modal_data": media, "prompt_attribution": attribution}


def _check_poster(client: object) -> None:
    """Refuse a client that has no `post` of openai's."""
    if not hasattr(client, "post"):
        endpoint(client)  # which says what it may be
    if hasattr(client, "stream") and is_known(client):
        raise OptionError("a renderer of your own asks by openai's post: pass an AsyncOpenAI, not an HTTP client")


def _check_abilities(renderer: object, tools: Tools, *, process_multimodal: bool) -> None:
    name = type(renderer).__name__
    if tools and not getattr(renderer, "supports_tools", True):
        raise OptionError(f"{name} does not support tools; use the renderer of the model's own format")
    if not process_multimodal and not getattr(renderer, "supports_process_multimodal", False):
        raise OptionError(f"process_multimodal=False: {name} does not support it; leave it True")


async def _check_length(client: object, prompt: Sequence[int], model: str, limit: int | None) -> None:
    if limit is None:
        limit = await _limit(client, model)
    if limit is not None and len(prompt) > limit:
        raise OverlongPromptError(prompt_len=len(prompt), max_prompt_len=limit)


async def _limit(client: Any, model: str) -> int | None:  # noqa: ANN401
    """Return the longest prompt as `/v1/models` tells it, asked once; None where nobody tells it."""
    key = (str(getattr(client, "base_url", "")), model)
    if key not in _max_prompt_len_cache:
        try:
            listed = await client.get("/models", cast_to=dict[str, Any])
        except Exception:  # whatever the caller's object runs into: the engine will say so itself
            listed = {}
        if len(_max_prompt_len_cache) >= _MOST_LIMITS:
            _max_prompt_len_cache.clear()
        _max_prompt_len_cache[key] = _told_limit(listed, model)
    return _max_prompt_len_cache[key]


def _told_limit(listed: Any, model: str) -> int | None:  # noqa: ANN401 - an answer
    models = listed.get("data") if isinstance(listed, Mapping) else None
    named = (card for card in models or () if isinstance(card, Mapping) and card.get("id") == model)
    told = next(named, {}).get("max_model_len")
    return told if isinstance(told, int) and told > 0 else None


async def _posted(client: Any, body: Mapping[str, Any], extra_headers: Mapping[str, str] | None) -> Mapping[str, Any]:  # noqa: ANN401
    """Return the decoded answer. The endpoint lies beside `/v1`, so the address is a whole one."""
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    options = {"options": {"headers": dict(extra_headers)}} if extra_headers else {}
    response = await client.post(f"{root}{_PATH}", cast_to=response_type(), body=body, **options)
    try:
        answer = json.loads(response.content)
    except ValueError as error:
        raise MalformedGenerateResponseError(f"the answer is not JSON: {error}") from None
    if not isinstance(answer, dict):
        _malformed("the answer must be an object")
    return answer


def _result(
    renderer: Renderer,
    tools: Any,  # noqa: ANN401 - as the caller's renderer has them
    prompt: list[int],
    answer: Mapping[str, Any],
    *,
    raw: bool,
) -> dict[str, Any]:
    choice, read = _only_choice(answer), _prompt_read(answer, prompt, raw=raw)
    completion = _ids(choice.get("token_ids"), "choice.token_ids")
    logprobs = _logprobs(choice, completion)
    parsed = renderer.parse_response(completion, tools=tools, prompt_ids=list(read))
    finish = choice.get("finish_reason")
    called = any(call.status == ToolCallParseStatus.OK for call in parsed.tool_calls)
    return {
        "request_id": answer.get("request_id") or "",
        "usage": answer.get("usage"),
        "prompt_ids": list(read),
        "renderer_prompt_ids": prompt if raw else None,
        "mm_placeholders": answer.get("mm_placeholders"),
        "completion_ids": completion,
        "completion_logprobs": logprobs,
        "content": parsed.content,
        "reasoning_content": parsed.reasoning_content,
        "tool_calls": parsed.tool_calls,
        "finish_reason": "tool_calls" if called and finish == "stop" else finish,
        "reasoning_complete": parsed.reasoning_complete,
        "routed_experts": as_bytes(choice.get("routed_experts")),
        "sampling_mask": choice.get("sampling_mask"),
    }


def _prompt_read(answer: Mapping[str, Any], prompt: list[int], *, raw: bool) -> list[int]:
    """Return the prompt as the engine read it: with its images expanded where they were sent as they are."""
    read = answer.get("prompt_token_ids")
    if raw and not isinstance(read, list):
        _malformed("prompt_token_ids must be a list: the engine expands the images of process_multimodal=False")
    if raw and not isinstance(answer.get("mm_placeholders"), dict):
        _malformed("mm_placeholders must be an object: the engine places the images of process_multimodal=False")
    return _ids(read, "prompt_token_ids") if read else prompt


def as_bytes(routes: Any) -> Any:  # noqa: ANN401 - what the engine gave
    """Return the experts of each token with their base64 text as a memoryview, which trainers decode."""
    if not isinstance(routes, Mapping) or not isinstance(routes.get("data"), str):
        return routes
    return {**routes, "data": memoryview(routes["data"].encode())}


def _only_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        _malformed("choices must hold an object")
    choice: Mapping[str, Any] = choices[0]
    return choice


def _ids(value: Any, path: str) -> list[int]:  # noqa: ANN401 - a field of an answer
    if not isinstance(value, list) or any(type(token_id) is not int for token_id in value):
        _malformed(f"{path} must be a list of ids")
    return list(value)


def _logprobs(choice: Mapping[str, Any], completion: Sequence[int]) -> list[float]:
    """Return the log probability of each id, each said to be of that id."""
    told = choice.get("logprobs")
    if not isinstance(told, Mapping):
        _malformed("choice.logprobs must be an object")
    content = told.get("content")
    if not isinstance(content, list):
        _malformed("choice.logprobs.content must be a list")
    if len(content) != len(completion):
        _malformed(f"completion token count ({len(completion)}) does not match logprob count ({len(content)})")
    path = "choice.logprobs.content"
    return [_logprob(entry, f"{path}[{k}]", completion[k]) for k, entry in enumerate(content)]


def _logprob(entry: Any, path: str, token_id: int) -> float:  # noqa: ANN401 - a field of an answer
    if not isinstance(entry, Mapping):
        _malformed(f"{path} must be an object")
    if entry.get("token_id") != token_id and entry.get("token") != f"token_id:{token_id}":
        _malformed(f"{path}.token must be 'token_id:{token_id}'")
    value = entry.get("logprob")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _malformed(f"{path}.logprob must be a number")
    try:
        logprob = float(value)
    except OverflowError:
        logprob = math.inf
    if not math.isfinite(logprob):
        _malformed(f"{path}.logprob must be finite")
    if logprob == _MISSING:
        _malformed(f"{path}.logprob is {_MISSING}, which does not contain sampling evidence")
    if logprob > _ROUNDING:
        _malformed(f"{path}.logprob is {logprob}: no probability is above one")
    return logprob


def _malformed(problem: str) -> NoReturn:
    raise MalformedGenerateResponseError(f"Engine response: {problem}.")
