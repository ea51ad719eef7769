"""What goes over the wire, pure: request bodies, and responses checked. A protocol is one value of `Protocol`.

vLLM: `POST /inference/v1/generate`. SGLang: `POST /generate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Raw, Struct

from isc.client.responses import Answer, Completion, TokenId, check_logprobs, decoded
from isc.errors import EngineAbortedError, OptionError
from isc.rendered import MultiModalData
from isc.types import Json

ProtocolName: TypeAlias = Literal["vllm", "sglang"]
_NO_COMPLETION = frozenset(("abort", "error"))


class Asked(Struct, frozen=True):
    """What a call asks for, in either protocol; `token_ids` is JSON already, since it is the same at every attempt."""

    model: str | None
    token_ids: Raw
    sampling_params: Mapping[str, Json]
    cache_salt: str | None = None
    priority: int | None = None
    features: Mapping[str, Json] | None = None
    extra_body: Mapping[str, Json] = {}


class EngineProtocol(Protocol):
    """How an engine is asked and how it answers."""

    @property
    def path(self) -> str:
        """Where requests go, from the server's root."""

    @property
    def limit_paths(self) -> tuple[str, ...]:
        """Where the engine tells how long prompts may be."""

    @property
    def extra_places(self) -> tuple[str, ...]:
        """Members of a response under which further fields are looked for."""

    @property
    def counts(self) -> str:
        """The member that counts tokens."""

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """The request."""

    def completion(self, answer: Answer) -> Completion:
        """The response, checked."""

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """The longest prompt in tokens; None where the engine does not tell."""


def media_features(media: MultiModalData) -> dict[str, Json]:
    """What vLLM is told of a prompt's media: hashes of items that it holds; to encode items takes vLLM itself."""
    places = {
        modality: [{"offset": place.offset, "length": place.length} for place in found]
        for modality, found in media.placeholders.items()
    }
    return {"mm_hashes": dict(media.hashes), "mm_placeholders": places, "kwargs_data": None}


class _Token(Struct, gc=False):
    token: str
    logprob: float


class _Logprobs(Struct):
    content: list[_Token] | None


class _Choice(Struct):
    token_ids: list[TokenId]
    finish_reason: str
    logprobs: _Logprobs | None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _VllmResponse(Struct):
    choices: list[_Choice]
    request_id: str | None = None
    usage: _Usage | None = None
    prompt_token_ids: list[TokenId] | None = None


class _Model(Struct):
    id: str | None = None
    max_model_len: int | None = None
    parent: str | None = None


class _Models(Struct):
    data: list[_Model] = []


class Vllm(Struct, frozen=True):
    """vLLM's token-in, token-out endpoint."""

    path: str = "/inference/v1/generate"
    limit_paths: tuple[str, ...] = ("/v1/models",)
    extra_places: tuple[str, ...] = ("choices",)
    counts: str = "usage"

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """The request."""
        optional = {
            "model": asked.model,
            "cache_salt": asked.cache_salt,
            "priority": asked.priority,
            "features": asked.features,
        }
        return {
            "request_id": request_id,
            "token_ids": asked.token_ids,
            "sampling_params": {"logprobs": 1, **asked.sampling_params, "skip_special_tokens": False},
            **{name: value for name, value in optional.items() if value is not None},
        }

    def completion(self, answer: Answer) -> Completion:
        """The response, checked."""
        found = decoded(answer, _VllmResponse)
        if len(found.choices) != 1:
            raise answer.error("choices", f"there are {len(found.choices)}, one was asked for")
        choice = found.choices[0]
        _refuse_abort(answer, choice.finish_reason, None)
        usage = found.usage or _Usage()
        entries = (choice.logprobs and choice.logprobs.content) or []
        path = "choices[0].logprobs.content"
        logprobs = tuple([entry.logprob for entry in entries])
        check_logprobs(answer, path, choice.token_ids, logprobs)
        for position, (entry, token_id) in enumerate(zip(entries, choice.token_ids, strict=True)):
            if entry.token != f"token_id:{token_id}":
                raise answer.error(f"{path}[{position}].token", f"is not token id {token_id}", entry.token)
        return Completion(
            tuple(choice.token_ids),
            logprobs,
            choice.finish_reason,
            found.request_id or answer.request_id,
            usage.prompt_tokens,
            usage.completion_tokens,
            found.prompt_token_ids,
        )

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """`max_model_len` of the model, or of the model it was adapted from."""
        models = [entry for answer in answers for entry in decoded(answer, _Models).data]
        by_id = {entry.id: entry for entry in models}
        served = models[0] if model is None and models else by_id.get(model)
        if served is not None and served.max_model_len is None:
            served = by_id.get(served.parent)
        return None if served is None else served.max_model_len


class _Finish(Struct):
    type: str
    message: str | None = None


class _Meta(Struct):
    finish_reason: _Finish
    output_token_logprobs: list[tuple[float, TokenId, Any]]
    id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _SglangResponse(Struct):
    meta_info: _Meta
    output_ids: list[TokenId] | None = None


class _SglangLimits(Struct):
    context_length: int | None = None
    max_total_num_tokens: int | None = None


class Sglang(Struct, frozen=True):
    """SGLang's own endpoint."""

    path: str = "/generate"
    limit_paths: tuple[str, ...] = ("/get_server_info", "/get_model_info")
    extra_places: tuple[str, ...] = ("meta_info",)
    counts: str = "meta_info"

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """The request; `max_tokens` goes by this engine's name for it."""
        for name in ("cache_salt", "priority", "features"):
            if getattr(asked, name) is not None:
                problem = "is a field of vLLM's protocol; what SGLang takes in its place goes into extra_body"
                raise OptionError(f"{name} {problem}")
        names = {"max_tokens": "max_new_tokens"}
        params = {names.get(name, name): value for name, value in asked.sampling_params.items() if name != "logprobs"}
        return {
            "rid": request_id,
            "input_ids": asked.token_ids,
            "sampling_params": {"no_stop_trim": True, **params, "skip_special_tokens": False},
            "return_logprob": True,
            "logprob_start_len": -1,
        }

    def completion(self, answer: Answer) -> Completion:
        """The response, checked."""
        found = decoded(answer, _SglangResponse)
        meta = found.meta_info
        _refuse_abort(answer, meta.finish_reason.type, meta.finish_reason.message)
        path = "meta_info.output_token_logprobs"
        reported = [token_id for _, token_id, _ in meta.output_token_logprobs]
        token_ids = reported if found.output_ids is None else found.output_ids
        logprobs = tuple([logprob for logprob, _, _ in meta.output_token_logprobs])
        check_logprobs(answer, path, token_ids, logprobs)
        for position, (ours, theirs) in enumerate(zip(reported, token_ids, strict=True)):
            if ours != theirs:
                raise answer.error(f"{path}[{position}][1]", f"is not token id {theirs}", ours)
        return Completion(
            tuple(token_ids),
            logprobs,
            meta.finish_reason.type,
            meta.id or answer.request_id,
            meta.prompt_tokens,
            meta.completion_tokens,
        )

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """The context length, or the tokens that fit into the cache where those are fewer."""
        told = [decoded(answer, _SglangLimits) for answer in answers]
        limits = [
            value for one in told for value in (one.context_length, one.max_total_num_tokens) if value is not None
        ]
        return min(limits, default=None)


def _refuse_abort(answer: Answer, finish_reason: str, message: str | None) -> None:
    if finish_reason in _NO_COMPLETION:
        problem = f"the engine gave the request up ({message or finish_reason}); it may be asked again when it is ready"
        raise EngineAbortedError(answer.url, answer.request_id, problem)


PROTOCOLS: Mapping[str, EngineProtocol] = {"vllm": Vllm(), "sglang": Sglang()}


def wire(protocol: EngineProtocol, asked: Asked, request_id: str) -> bytes:
    """The request as bytes.

    Raises:
        OptionError: `extra_body` would replace a field, or a field is not this protocol's or no JSON.
    """
    body = protocol.body(asked, request_id)
    taken = sorted(body.keys() & asked.extra_body.keys())
    if taken:
        raise OptionError(f"extra_body: {taken[0]!r} is a field that generate fills itself")
    try:
        return msgspec.json.encode({**body, **asked.extra_body})
    except TypeError as error:
        raise OptionError(f"the request has no JSON form: {error}") from None
