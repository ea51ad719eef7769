"""vLLM's token-in, token-out endpoint, `POST /inference/v1/generate`: of all versions that have one.

Newer servers (0.33) have it when started with `--enable-scale-out`, and name a token by `token_id: 72`; older ones have
it always, and name it by `token: "token_id:72"`. Both are read.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from isc.client.protocols import Asked
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
    spelled_id,
)
from isc.errors import MalformedResponseError, OptionError

PATH = "/inference/v1/generate"
SCORES = "choices[0].logprobs.content"


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


class _EventChoice(Struct):
    index: int = 0
    token_ids: list[TokenId] | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Event(Struct):
    choices: list[_EventChoice] = []
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
    scores: str = SCORES
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

    def chunk(self, answer: Answer, data: bytes) -> Chunk:
        """Return what an event says; the tokens in it are new ones."""
        event = decoded_part(answer, data, _Event)
        check_only(answer, [choice.index for choice in event.choices])
        choice = event.choices[0] if event.choices else _EventChoice()
        entries = (choice.logprobs and choice.logprobs.content) or []
        usage = event.usage or _UNCOUNTED
        return Chunk(
            choice.token_ids or [],
            [entry.logprob for entry in entries],
            choice.finish_reason or "",
            event.request_id,
            usage.prompt_tokens,
            usage.completion_tokens,
            event.prompt_token_ids,
            scored_ids=[_scored(answer, place, entry) for place, entry in enumerate(entries)],
        )

    def aborted(self, answer: Answer) -> str | None:
        """Return why the engine gave up; None where it did not."""
        return aborted_choice(answer)

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """Return `max_model_len` of the model, or of the model it was adapted from."""
        return model_limit(answers, model)


def check_only(answer: Answer, indexes: Sequence[int]) -> None:
    """Refuse an event of more turns than the one that was asked for, or of another one.

    Raises:
        MalformedResponseError: It has several choices, or one that is not the first.
    """
    if len(indexes) > 1:
        raise answer.error("choices", f"there are {len(indexes)}, one was asked for")
    if any(indexes):
        raise answer.error("choices[0].index", "is not 0: one turn was asked for", indexes[0])


def _scored(answer: Answer, place: int, entry: _Token) -> int:
    """Return the token that a log probability is of, in either spelling."""
    token_id = spelled_id(entry.token) if entry.token_id is None else entry.token_id
    if token_id is None:
        raise answer.error(f"{SCORES}[{place}].token", "names no token id", entry.token)
    return token_id


def _checked(answer: Answer, response: _Response) -> Completion:
    """Return a response's only choice, each of its ids with its own log probability."""
    choice = response.choices[0]
    entries = (choice.logprobs and choice.logprobs.content) or []
    logprobs = tuple([entry.logprob for entry in entries])
    check_logprobs(answer, SCORES, choice.token_ids, logprobs)
    _check_tokens(answer, choice.token_ids, entries)
    usage = response.usage or _UNCOUNTED
    return Completion(
        tuple(choice.token_ids),
        logprobs,
        choice.finish_reason,
        f"{response.request_id} {response.id}".strip(),
        usage.prompt_tokens,
        usage.completion_tokens,
        response.prompt_token_ids,
    )


def _check_tokens(answer: Answer, token_ids: Sequence[int], entries: Sequence[_Token]) -> None:
    """Refuse a log probability of another token than the one that was sampled, in either spelling of a token."""
    if [entry.token_id for entry in entries] == token_ids:
        return
    for position, (entry, token_id) in enumerate(zip(entries, token_ids, strict=True)):
        if entry.token_id is not None and entry.token_id != token_id:
            raise answer.error(f"{SCORES}[{position}].token_id", f"is not token id {token_id}", entry.token_id)
        if entry.token_id is None and entry.token != f"token_id:{token_id}":
            raise answer.error(f"{SCORES}[{position}].token", f"is not token id {token_id}", entry.token)


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
