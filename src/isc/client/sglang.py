"""SGLang's own endpoint, `POST /generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from isc.client.protocols import Asked, refuse_fields
from isc.client.responses import (
    ABORTS,
    Answer,
    Chunk,
    Completion,
    TokenId,
    check_logprobs,
    check_reason,
    decoded,
    decoded_part,
)
from isc.errors import MalformedResponseError, OptionError

PATH = "/generate"
SCORES = "meta_info.output_token_logprobs"
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


class _EventMeta(Struct):
    finish_reason: _Finish | None = None
    output_token_logprobs: list[_Logprob] | None = None
    id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Event(Struct):
    meta_info: _EventMeta
    index: int = 0
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
    scores: str = SCORES
    media_fields: frozenset[str] = frozenset(("image_data", "video_data", "audio_data", "input_embeds"))

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """Return the request; `max_tokens` goes by this engine's name for it."""
        refuse_fields(asked, ("cache_salt", "priority", "features", "content_parts"), _ELSEWHERE)
        params = {_NAMES.get(name, name): value for name, value in asked.sampling_params.items() if name != "logprobs"}
        held = params.pop("structured_outputs", None)
        if isinstance(held, Mapping) and held.keys() == {"structural_tag"}:
            params["structural_tag"] = held["structural_tag"]
        elif held is not None:
            raise OptionError("sampling_params.structured_outputs: only its structural_tag goes to SGLang by that name")
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

    def chunk(self, answer: Answer, data: bytes) -> Chunk:
        """Return what an event says: all that was sampled so far, or where the engine was started so, the new part."""
        event = decoded_part(answer, data, _Event)
        if event.index:
            raise answer.error("index", "is not 0: one turn was asked for", event.index)
        meta = event.meta_info
        pairs, finish = meta.output_token_logprobs or [], meta.finish_reason or _Finish("")
        scored = [token_id for _, token_id, _ in pairs]
        return Chunk(
            scored if event.output_ids is None else event.output_ids,
            [logprob for logprob, _, _ in pairs],
            finish.type,
            meta.id or "",
            meta.prompt_tokens or None,
            meta.completion_tokens,
            problem=finish.message,
            scored_ids=scored,
            retells=True,
        )

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


def _checked(answer: Answer, response: _Response) -> Completion:
    """Return a response's completion, each of its ids with its own log probability."""
    meta = response.meta_info
    reported = [token_id for _, token_id, _ in meta.output_token_logprobs]
    token_ids = reported if response.output_ids is None else response.output_ids
    logprobs = tuple([logprob for logprob, _, _ in meta.output_token_logprobs])
    check_logprobs(answer, SCORES, token_ids, logprobs)
    for position, (ours, theirs) in enumerate(zip(reported, token_ids, strict=True)):
        if ours != theirs:
            raise answer.error(f"{SCORES}[{position}][1]", f"is not token id {theirs}", ours)
    return Completion(
        tuple(token_ids),
        logprobs,
        meta.finish_reason.type,
        meta.id or "",
        meta.prompt_tokens,
        meta.completion_tokens,
        problem=meta.finish_reason.message,
    )
