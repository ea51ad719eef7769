"""`POST /v1/completions` with the prompt as ids, which every `vllm serve` has.

Asked in this way it gives the ids of prompt and completion back, so that nothing is ever decoded and encoded again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from isc.client.events import error_of, events
from isc.client.protocols import Asked, refuse_fields
from isc.client.responses import Answer, Completion, TokenId, check_logprobs, check_reason, decoded, decoded_part
from isc.client.vllm import Usage, aborted_choice, model_limit
from isc.errors import OptionError

PATH = "/v1/completions"
_TOKEN = re.compile(r"token_id:(0|[1-9][0-9]{0,9})")
_NO_MEDIA = "is a field of vLLM's /inference/v1/generate; /v1/completions with ids takes no media"
_UNCOUNTED = Usage()


class _Logprobs(Struct):
    tokens: list[str]
    token_logprobs: list[float | None]


class _Choice(Struct):
    finish_reason: str
    logprobs: _Logprobs | None
    token_ids: list[TokenId] | None = None
    prompt_token_ids: list[TokenId] | None = None


class _Response(Struct):
    choices: list[_Choice]
    id: str = ""
    request_id: str = ""
    usage: Usage | None = None


class _ChunkChoice(Struct):
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[TokenId] | None = None
    prompt_token_ids: list[TokenId] | None = None


class _Chunk(Struct):
    choices: Annotated[list[_ChunkChoice], Meta(max_length=1)] = []
    id: str = ""
    usage: Usage | None = None


class Completions(Struct, frozen=True):
    """The completions endpoint of vLLM, prompts and completions as ids."""

    path: str = PATH
    limit_paths: tuple[tuple[str, ...], ...] = (("/v1/models",),)
    extra_places: tuple[str, ...] = ("choices",)
    counts: str = "usage"
    media_fields: frozenset[str] = frozenset(("mm_processor_kwargs", "prompt_embeds"))

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """Return the request; without `max_tokens` as much as the model has room for, as the other endpoints do."""
        refuse_fields(asked, ("features", "content_parts"), _NO_MEDIA)
        ours = {
            "request_id": request_id,
            "prompt": asked.token_ids,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "echo": False,
            **({"stream": True, "stream_options": {"include_usage": True}} if asked.stream else {}),
        }
        optional = {"model": asked.model, "cache_salt": asked.cache_salt, "priority": asked.priority}
        ours |= {name: value for name, value in optional.items() if value is not None}
        params = {name: value for name, value in asked.sampling_params.items() if name != "skip_special_tokens"}
        taken = sorted(ours.keys() & params.keys())
        if taken:
            raise OptionError(f"sampling_params.{taken[0]} is a field that generate fills itself")
        return {"max_tokens": None, "logprobs": 1, **params, **ours}

    def completion(self, answer: Answer) -> Completion:
        """Return the completion in a response, checked."""
        response = decoded(answer, _Response)
        if len(response.choices) != 1:
            raise answer.error("choices", f"there are {len(response.choices)}, one was asked for")
        check_reason(answer, "choices[0].finish_reason", response.choices[0].finish_reason)
        return _checked(answer, response)

    def streamed(self, answer: Answer) -> Completion:
        """Return the completion of the events so far, checked. The first event tells the prompt's ids."""
        choice = _Choice("", _Logprobs([], []), [])
        whole, names, problem = _Response([choice]), dict[str, None](), None
        for data in events(answer.body):
            if (problem := error_of(data)) is not None:
                choice.finish_reason = "error"
                break
            chunk = decoded_part(answer, data, _Chunk)
            names[chunk.id] = None
            whole.usage = chunk.usage or whole.usage
            for piece in chunk.choices:
                _add(answer, choice, piece)
        whole.id = " ".join(names)
        return _checked(answer, whole, problem)

    def aborted(self, answer: Answer) -> str | None:
        """Return why the engine gave up; None where it did not."""
        return aborted_choice(answer)

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """Return `max_model_len` of the model, or of the model it was adapted from."""
        return model_limit(answers, model)


def _add(answer: Answer, choice: _Choice, piece: _ChunkChoice) -> None:
    """Add an event's part of the choice."""
    assert choice.logprobs is not None
    assert choice.token_ids is not None
    if piece.logprobs is not None:
        choice.logprobs.tokens += piece.logprobs.tokens
        choice.logprobs.token_logprobs += piece.logprobs.token_logprobs
    tokens = [] if piece.logprobs is None else piece.logprobs.tokens
    choice.token_ids += _spelled(answer, tokens) if piece.token_ids is None else piece.token_ids
    choice.prompt_token_ids = choice.prompt_token_ids or piece.prompt_token_ids
    choice.finish_reason = piece.finish_reason or choice.finish_reason


def _checked(answer: Answer, response: _Response, problem: str | None = None) -> Completion:
    """Return a response's only choice, each of its ids with its own log probability."""
    choice = response.choices[0]
    columns = choice.logprobs or _Logprobs([], [])
    spelled = _spelled(answer, columns.tokens)
    token_ids = spelled if choice.token_ids is None else choice.token_ids
    path = "choices[0].logprobs"
    for position, logprob in enumerate(columns.token_logprobs):
        if logprob is None:
            raise answer.error(f"{path}.token_logprobs[{position}]", "is null: the logprob is missing")
    logprobs = tuple([logprob for logprob in columns.token_logprobs if logprob is not None])
    check_logprobs(answer, f"{path}.token_logprobs", token_ids, logprobs)
    if spelled != token_ids:
        raise answer.error(f"{path}.tokens", "are of other tokens than choices[0].token_ids")
    usage = response.usage or _UNCOUNTED
    return Completion(
        tuple(token_ids),
        logprobs,
        choice.finish_reason,
        f"{response.id} {response.request_id}".strip(),
        usage.prompt_tokens,
        usage.completion_tokens,
        choice.prompt_token_ids,
        problem,
    )


def _spelled(answer: Answer, tokens: Sequence[str]) -> list[int]:
    """Return the ids of tokens that are spelled `token_id:72`."""
    ids = []
    for position, token in enumerate(tokens):
        matched = _TOKEN.fullmatch(token)
        if matched is None:
            raise answer.error(f"choices[0].logprobs.tokens[{position}]", "names no token id", token)
        ids.append(int(matched[1]))
    return ids
