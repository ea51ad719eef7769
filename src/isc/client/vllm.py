"""vLLM's token-in, token-out endpoint, `POST /inference/v1/generate`: of all versions that have one.

Newer servers (0.33) have it when started with `--enable-scale-out`, and name a token by `token_id: 72`; older ones have
it always, and name it by `token: "token_id:72"`. Both are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from isc.client.events import error_of, events
from isc.client.protocols import Asked
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
from isc.errors import MalformedResponseError, OptionError

PATH = "/inference/v1/generate"


class _Token(Struct, gc=False):
    logprob: float
    token_id: int | None = None
    token: str | None = None


class _Logprobs(Struct):
    content: list[_Token] | None


class _Choice(Struct):
    token_ids: list[TokenId]
    finish_reason: str
    logprobs: _Logprobs | None


class Usage(Struct):
    """Numbers of tokens, where they are told."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


_UNCOUNTED = Usage()


class _Response(Struct):
    choices: list[_Choice]
    request_id: str = ""
    id: str = ""
    usage: Usage | None = None
    prompt_token_ids: list[TokenId] | None = None


class _ChunkChoice(Struct):
    token_ids: list[TokenId] | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chunk(Struct):
    choices: Annotated[list[_ChunkChoice], Meta(max_length=1)] = []
    request_id: str = ""
    usage: Usage | None = None
    prompt_token_ids: list[TokenId] | None = None


class _Ended(Struct):
    finish_reason: str | None = None


class _Ends(Struct):
    choices: list[_Ended] = []


class _Model(Struct):
    id: str | None = None
    max_model_len: int | None = None
    parent: str | None = None


class _Models(Struct):
    data: list[_Model] = []


class Vllm(Struct, frozen=True):
    """vLLM's token-in, token-out endpoint."""

    path: str = PATH
    limit_paths: tuple[tuple[str, ...], ...] = (("/v1/models",),)
    extra_places: tuple[str, ...] = ("choices",)
    counts: str = "usage"
    media_fields: frozenset[str] = frozenset(("features", "content_parts"))

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """Return the request."""
        if asked.features is not None and asked.content_parts is not None:
            raise OptionError("features and content_parts exclude each other: pass the images one way or the other")
        optional = {
            "model": asked.model,
            "cache_salt": asked.cache_salt,
            "priority": asked.priority,
            "features": asked.features,
            "content_parts": asked.content_parts,
            **({"stream": True, "stream_options": {"include_usage": True}} if asked.stream else {}),
        }
        return {
            "request_id": request_id,
            "token_ids": asked.token_ids,
            "sampling_params": {"logprobs": 1, **asked.sampling_params, "skip_special_tokens": False},
            **{name: value for name, value in optional.items() if value is not None},
        }

    def completion(self, answer: Answer) -> Completion:
        """Return the completion in a response, checked."""
        response = decoded(answer, _Response)
        if len(response.choices) != 1:
            raise answer.error("choices", f"there are {len(response.choices)}, one was asked for")
        check_reason(answer, "choices[0].finish_reason", response.choices[0].finish_reason)
        return _checked(answer, response)

    def streamed(self, answer: Answer) -> Completion:
        """Return the completion of the events so far, checked."""
        entries: list[_Token] = []
        choice, names = _Choice([], "", _Logprobs(entries)), dict[str, None]()
        whole, problem = _Response([choice]), None
        for data in events(answer.body):
            if (problem := error_of(data)) is not None:
                choice.finish_reason = "error"
                break
            chunk = decoded_part(answer, data, _Chunk)
            names[chunk.request_id] = None
            whole.usage = chunk.usage or whole.usage
            whole.prompt_token_ids = whole.prompt_token_ids or chunk.prompt_token_ids
            for piece in chunk.choices:
                choice.token_ids += piece.token_ids or []
                entries += (piece.logprobs and piece.logprobs.content) or []
                choice.finish_reason = piece.finish_reason or choice.finish_reason
        whole.request_id = " ".join(names)
        return _checked(answer, whole, problem)

    def aborted(self, answer: Answer) -> str | None:
        """Return why the engine gave up; None where it did not."""
        return aborted_choice(answer)

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """Return `max_model_len` of the model, or of the model it was adapted from."""
        return model_limit(answers, model)


def _checked(answer: Answer, response: _Response, problem: str | None = None) -> Completion:
    """Return a response's only choice, each of its ids with its own log probability."""
    choice = response.choices[0]
    entries = (choice.logprobs and choice.logprobs.content) or []
    path = "choices[0].logprobs.content"
    logprobs = tuple([entry.logprob for entry in entries])
    check_logprobs(answer, path, choice.token_ids, logprobs)
    _check_tokens(answer, path, choice.token_ids, entries)
    usage = response.usage or _UNCOUNTED
    return Completion(
        tuple(choice.token_ids),
        logprobs,
        choice.finish_reason,
        f"{response.request_id} {response.id}".strip(),
        usage.prompt_tokens,
        usage.completion_tokens,
        response.prompt_token_ids,
        problem,
    )


def _check_tokens(answer: Answer, path: str, token_ids: Sequence[int], entries: Sequence[_Token]) -> None:
    """Refuse a log probability of another token than the one that was sampled, in either spelling of a token."""
    if [entry.token_id for entry in entries] == token_ids:
        return
    for position, (entry, token_id) in enumerate(zip(entries, token_ids, strict=True)):
        if entry.token_id is not None and entry.token_id != token_id:
            raise answer.error(f"{path}[{position}].token_id", f"is not token id {token_id}", entry.token_id)
        if entry.token_id is None and entry.token != f"token_id:{token_id}":
            raise answer.error(f"{path}[{position}].token", f"is not token id {token_id}", entry.token)


def aborted_choice(answer: Answer) -> str | None:
    """Return the reason of a choice that was given up, as vLLM names it; None where there is none."""
    try:
        choices = decoded(answer, _Ends).choices
    except MalformedResponseError:
        return None
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason in ABORTS]
    return reasons[0] if reasons else None


def model_limit(answers: Sequence[Answer], model: str | None) -> int | None:
    """Return `max_model_len` of the model as `/v1/models` tells it, or of the model it was adapted from."""
    models = [entry for answer in answers for entry in decoded(answer, _Models).data]
    by_id = {entry.id: entry for entry in models}
    served = models[0] if model is None and models else by_id.get(model)
    if served is not None and served.max_model_len is None:
        served = by_id.get(served.parent)
    return None if served is None else served.max_model_len
