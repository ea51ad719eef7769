"""`POST /v1/completions` with the prompt as ids, which every `vllm serve` has.

Asked in this way it gives the ids of prompt and completion back, so that nothing is ever decoded and encoded again.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from isc.client.protocols import Asked, refuse_fields
from isc.client.responses import (
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
from isc.client.vllm import Usage, aborted_choice, check_only, model_limit
from isc.errors import OptionError

PATH = "/v1/completions"
SCORES = "choices[0].logprobs.token_logprobs"
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


class _EventChoice(Struct):
    index: int = 0
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[TokenId] | None = None
    prompt_token_ids: list[TokenId] | None = None


class _Event(Struct):
    choices: list[_EventChoice] = []
    id: str = ""
    usage: Usage | None = None


class Completions(Struct, frozen=True):
    """The completions endpoint of vLLM, prompts and completions as ids."""

    path: str = PATH
    limit_paths: tuple[tuple[str, ...], ...] = (("/v1/models",),)
    extra_places: tuple[str, ...] = ("choices",)
    counts: str = "usage"
    scores: str = SCORES
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

    def chunk(self, answer: Answer, data: bytes) -> Chunk:
        """Return what an event says; the tokens in it are new ones. The first tells the prompt's ids."""
        event = decoded_part(answer, data, _Event)
        check_only(answer, [choice.index for choice in event.choices])
        choice = event.choices[0] if event.choices else _EventChoice()
        columns = choice.logprobs or _Logprobs([], [])
        scored, usage = _spelled(answer, columns.tokens), event.usage or _UNCOUNTED
        return Chunk(
            scored if choice.token_ids is None else choice.token_ids,
            _known(answer, columns.token_logprobs),
            choice.finish_reason or "",
            event.id,
            usage.prompt_tokens,
            usage.completion_tokens,
            choice.prompt_token_ids,
            scored_ids=scored,
        )

    def aborted(self, answer: Answer) -> str | None:
        """Return why the engine gave up; None where it did not."""
        return aborted_choice(answer)

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """Return `max_model_len` of the model, or of the model it was adapted from."""
        return model_limit(answers, model)


def _checked(answer: Answer, response: _Response) -> Completion:
    """Return a response's only choice, each of its ids with its own log probability."""
    choice = response.choices[0]
    columns = choice.logprobs or _Logprobs([], [])
    spelled = _spelled(answer, columns.tokens)
    token_ids = spelled if choice.token_ids is None else choice.token_ids
    logprobs = tuple(_known(answer, columns.token_logprobs))
    check_logprobs(answer, SCORES, token_ids, logprobs)
    if spelled != token_ids:
        raise answer.error("choices[0].logprobs.tokens", "are of other tokens than choices[0].token_ids")
    usage = response.usage or _UNCOUNTED
    return Completion(
        tuple(token_ids),
        logprobs,
        choice.finish_reason,
        f"{response.id} {response.request_id}".strip(),
        usage.prompt_tokens,
        usage.completion_tokens,
        choice.prompt_token_ids,
    )


def _known(answer: Answer, logprobs: Sequence[float | None]) -> list[float]:
    """Return log probabilities, of which none is missing."""
    for position, logprob in enumerate(logprobs):
        if logprob is None:
            raise answer.error(f"{SCORES}[{position}]", "is null: the logprob is missing")
    return [logprob for logprob in logprobs if logprob is not None]


def _spelled(answer: Answer, tokens: Sequence[str]) -> list[int]:
    """Return the ids of tokens that are spelled `token_id:72`."""
    ids = []
    for position, token in enumerate(tokens):
        token_id = spelled_id(token)
        if token_id is None:
            raise answer.error(f"choices[0].logprobs.tokens[{position}]", "names no token id", token)
        ids.append(token_id)
    return ids
