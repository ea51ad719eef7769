"""One call from its arguments to its turn: the protocol found, the prompt's length checked, asked, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct

from isc.client.bodies import response_bound
from isc.client.generation import Generation
from isc.client.identity import new_name
from isc.client.lane import off_loop
from isc.client.limits import prompt_limit
from isc.client.probing import NO_ENDPOINT, forget_protocol, spoken_protocol
from isc.client.prompts import Prompt
from isc.client.protocols import Asked, EngineProtocol, media_features, wire
from isc.client.responses import Answer
from isc.client.retries import Retries
from isc.client.transport import Endpoint, Request, exchange
from isc.client.turns import Reading, generation_of, id_count, partial_of
from isc.client.vllm import Vllm
from isc.conversation.renderer import Renderer
from isc.convert import Tools
from isc.errors import EngineRefusedError, OptionError, OverlongPromptError
from isc.types import Json


class Wanted(Struct, frozen=True):
    """What a caller wants, checked; the fields are the arguments of `generate`. `protocol` is None for `"auto"`."""

    prompt: Prompt
    tools: Tools
    keep: tuple[str, ...]
    protocol: EngineProtocol | None
    model: str | None
    sampling_params: Mapping[str, Json]
    cache_salt: str | None
    priority: int | None
    features: Mapping[str, Json] | None
    content_parts: Sequence[Mapping[str, Json]] | None
    extra_body: Mapping[str, Json]
    stream: bool
    max_prompt_len: int | None
    vocabulary_size: int | None
    max_response_bytes: int | None

    def __post_init__(self) -> None:
        if self.stream and self.keep:
            raise OptionError(
                f"keep={list(self.keep)!r} and stream=True exclude each other: events tell fields in pieces"
            )
        for name in ("max_prompt_len", "vocabulary_size", "max_response_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value!r}: it must be at least 1, or None")

    @property
    def bound(self) -> int:
        """Return the number of bytes of the longest answer that is read."""
        params = self.sampling_params
        derived = response_bound(len(self.prompt.ids), params.get("max_tokens"), params.get("logprobs", 1))
        return self.max_response_bytes or derived

    def asked(self, protocol: EngineProtocol) -> Asked:
        """Return the same call for this protocol."""
        features = _features(self, protocol)
        values = (self.model, self.prompt.json, self.sampling_params, self.cache_salt, self.priority, features)
        return Asked(*values, self.content_parts, self.extra_body, self.stream)


async def call(to: Endpoint, renderer: Renderer, wanted: Wanted, retries: Retries) -> Generation:
    """Ask an engine, and return the turn. The errors are those of `generate`."""
    name, prompt = new_name(), wanted.prompt
    if wanted.max_prompt_len is not None:
        _check_length(prompt, wanted.max_prompt_len, "max_prompt_len")
    protocol = wanted.protocol or await spoken_protocol(to, name, retries)
    asked = wanted.asked(protocol)
    if wanted.max_prompt_len is None:
        _check_length(prompt, await prompt_limit(to, protocol, wanted.model, name, retries), f"the engine at {to.root}")
    size = wanted.vocabulary_size or id_count(renderer.encoder)
    reading = Reading(renderer, protocol, prompt, asked, wanted.tools, wanted.keep, size)
    rescue = partial(partial_of, reading) if wanted.stream else None
    request = Request(protocol.path, name, partial(wire, protocol, asked), wanted.bound, rescue)
    return await off_loop(generation_of, reading, await _answer(to, request, retries))


def _features(wanted: Wanted, protocol: EngineProtocol) -> Mapping[str, Json] | None:
    """Return the media of the prompt by their hashes, unless they are told in another way."""
    parts, media = wanted.content_parts, wanted.prompt.media
    shown = 0 if media is None else sum(map(len, media.placeholders.values()))
    if parts is not None and media is not None and len(parts) != shown:
        raise OptionError(
            f"there are {len(parts)} content_parts, but the prompt shows {shown} images: one each is needed"
        )
    if wanted.features is not None or parts is not None or media is None or not media.hashes:
        return wanted.features
    if isinstance(protocol, Vllm):
        return media_features(media)
    if protocol.media_fields.isdisjoint(wanted.extra_body):
        raise OptionError(
            'the prompt shows images: pass them to SGLang as extra_body={"image_data": [...]}; vLLM takes them at '
            "/inference/v1/generate alone (start it with --enable-scale-out)"
        )
    return None


def _check_length(prompt: Prompt, limit: int | None, limited_by: str) -> None:
    """Raise for a prompt longer than the caller allows or the engine takes."""
    if limit is not None and len(prompt.ids) > limit:
        raise OverlongPromptError(len(prompt.ids), limit, limited_by)


async def _answer(to: Endpoint, request: Request, retries: Retries) -> Answer:
    """Return the engine's answer. Where the endpoint is gone, the error says which setting of the engine offers it."""
    try:
        return await exchange(to, request, retries)
    except EngineRefusedError as error:
        if error.status != 404:
            raise
        forget_protocol(to)
        problem = f"{error.problem}; if the endpoint is missing: {NO_ENDPOINT}"
        raise EngineRefusedError(error.url, error.request_id, problem, error.status, error.excerpt) from None
