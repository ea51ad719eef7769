"""SGLang's own endpoint, `POST /generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from isc.client.events import error_of, events
from isc.client.protocols import Asked, refuse_fields
from isc.client.responses import (
    ABORTS,
    Answer,
    Completion,
    TokenId,
    check_logprobs,
    check_reason,
    decoded,
    decoded_part,
)
from isc.errors import MalformedResponseError

PATH = "/generate"
_ELSEWHERE = "is a field of vLLM's protocol; what SGLang takes in its place goes into extra_body"
_NAMES = {"max_tokens": "max_new_tokens"}
_Logprob: TypeAlias = tuple[float, TokenId, Any]


class _Finish(Struct):
    type: str
    message: str | None = None


class _Meta(Struct):
    finish_reason: _Finish
    output_token_logprobs: list[_Logprob]
    id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Response(Struct):
    meta_info: _Meta
    output_ids: list[TokenId] | None = None


class _ChunkMeta(Struct):
    finish_reason: _Finish | None = None
    output_token_logprobs: list[_Logprob] | None = None
    id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(Struct):
    meta_info: _ChunkMeta
    output_ids: list[TokenId] | None = None


class _EndedMeta(Struct):
    finish_reason: _Finish | None = None


class _Ended(Struct):
    meta_info: _EndedMeta


class _Limits(Struct):
    max_req_input_len: int | None = None
    context_length: int | None = None
    max_total_num_tokens: int | None = None


class Sglang(Struct, frozen=True):
    """SGLang's own endpoint."""

    path: str = PATH
    limit_paths: tuple[tuple[str, ...], ...] = (
        ("/server_info", "/get_server_info"),
        ("/model_info", "/get_model_info"),
    )
    extra_places: tuple[str, ...] = ("meta_info",)
    counts: str = "meta_info"
    media_fields: frozenset[str] = frozenset(("image_data", "video_data", "audio_data", "input_embeds"))

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """Return the request; `max_tokens` goes by this engine's name for it."""
        refuse_fields(asked, ("cache_salt", "priority", "features", "content_parts"), _ELSEWHERE)
        params = {_NAMES.get(name, name): value for name, value in asked.sampling_params.items() if name != "logprobs"}
        return {
            "rid": request_id,
            "input_ids": asked.token_ids,
            "sampling_params": {"no_stop_trim": True, **params, "skip_special_tokens": False},
            "return_logprob": True,
            "logprob_start_len": -1,
            **({"stream": True} if asked.stream else {}),
        }

    def completion(self, answer: Answer) -> Completion:
        """Return the completion in a response, checked."""
        response = decoded(answer, _Response)
        check_reason(answer, "meta_info.finish_reason.type", response.meta_info.finish_reason.type)
        return _checked(answer, response)

    def streamed(self, answer: Answer) -> Completion:
        """Return the completion of the events so far, checked.

        An event repeats all before it, or brings the new part only.
        """
        meta = _Meta(_Finish(""), [])
        whole, names = _Response(meta), dict[str, None]()
        for data in events(answer.body):
            if (problem := error_of(data)) is not None:
                meta.finish_reason = _Finish("error", problem)
                break
            chunk = decoded_part(answer, data, _Chunk)
            said = chunk.meta_info
            names[said.id or ""] = None
            meta.prompt_tokens = said.prompt_tokens or meta.prompt_tokens
            meta.completion_tokens = said.completion_tokens or meta.completion_tokens
            meta.finish_reason = said.finish_reason or meta.finish_reason
            logprobs = said.output_token_logprobs or []
            meta.output_token_logprobs = _extended(meta.output_token_logprobs, logprobs, said.completion_tokens)
            if chunk.output_ids is not None:
                whole.output_ids = _extended(whole.output_ids or [], chunk.output_ids, said.completion_tokens)
        meta.id = " ".join(names)
        return _checked(answer, whole)

    def aborted(self, answer: Answer) -> str | None:
        """Return why the engine gave up; None where it did not."""
        try:
            finish = decoded(answer, _Ended).meta_info.finish_reason
        except MalformedResponseError:
            return None
        return (finish.message or finish.type) if finish is not None and finish.type in ABORTS else None

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """Return the longest input; of servers that do not say, the context or the cache, whichever is less."""
        limits = [decoded(answer, _Limits) for answer in answers]
        inputs = [one.max_req_input_len for one in limits if one.max_req_input_len is not None]
        others = [
            value for one in limits for value in (one.context_length, one.max_total_num_tokens) if value is not None
        ]
        return min(inputs or others, default=None)


def _extended(before: list[Any], now: list[Any], count: int | None) -> list[Any]:
    """Return all that was sampled so far. An event tells all of it, or the new part only.

    `count` is how many there are now; where it is not told, an event that begins with all that was known repeats it.
    """
    repeats = now[: len(before)] == before if count is None else len(now) == count
    if repeats:
        return now
    before += now
    return before


def _checked(answer: Answer, response: _Response) -> Completion:
    """Return a response's completion, each of its ids with its own log probability."""
    meta = response.meta_info
    path = "meta_info.output_token_logprobs"
    reported = [token_id for _, token_id, _ in meta.output_token_logprobs]
    token_ids = reported if response.output_ids is None else response.output_ids
    logprobs = tuple([logprob for logprob, _, _ in meta.output_token_logprobs])
    check_logprobs(answer, path, token_ids, logprobs)
    for position, (ours, theirs) in enumerate(zip(reported, token_ids, strict=True)):
        if ours != theirs:
            raise answer.error(f"{path}[{position}][1]", f"is not token id {theirs}", ours)
    return Completion(
        tuple(token_ids),
        logprobs,
        meta.finish_reason.type,
        meta.id or "",
        meta.prompt_tokens,
        meta.completion_tokens,
        problem=meta.finish_reason.message,
    )
