"""One call from its arguments to its turn: the protocol found, the prompt's length checked, asked, read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from msgspec import Struct

from isc.client.attempts import Request
from isc.client.bodies import response_bound
from isc.client.exchange import exchange
from isc.client.generation import Generation
from isc.client.identity import new_name
from isc.client.lane import off_loop
from isc.client.limits import prompt_limit
from isc.client.probing import NO_ENDPOINT, forget_protocol, spoken_protocol
from isc.client.prompts import Prompt
from isc.client.protocols import Asked, EngineProtocol, media_features, wire
from isc.client.responses import Completion
from isc.client.retries import Retries
from isc.client.stream_events import StreamEvent, TokensSampled, TurnFinished
from isc.client.streams import Streaming, streamed
from isc.client.transport import Endpoint
from isc.client.turns import Reading, generation_of, id_count
from isc.client.vllm import Vllm
from isc.conversation.renderer import Renderer
from isc.convert import Tools
from isc.errors import EngineRefusedError, OptionError, OverlongPromptError
from isc.types import Json


class Wanted(Struct, frozen=True):
    """What a caller wants, checked; the fields are the arguments of `generate`.

    `prompt` renders the prompt; `protocol` is None for `"auto"`.
    """

    prompt: Callable[[], Prompt]
    tools: Tools = None
    keep: tuple[str, ...] = ()
    protocol: EngineProtocol | None = None
    model: str | None = None
    sampling_params: Mapping[str, Json] = {}
    cache_salt: str | None = None
    priority: int | None = None
    features: Mapping[str, Json] | None = None
    content_parts: Sequence[Mapping[str, Json]] | None = None
    extra_body: Mapping[str, Json] = {}
    stream: bool = False
    max_prompt_len: int | None = None
    vocabulary_size: int | None = None
    max_response_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.stream and self.keep:
            raise OptionError(
                f"keep={list(self.keep)!r} and stream=True exclude each other: events tell fields in pieces"
            )
        for name in ("max_prompt_len", "vocabulary_size", "max_response_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value!r}: it must be at least 1, or None")

    def bound(self, prompt: Prompt) -> int:
        """Return the number of bytes of the longest answer that is read."""
        params = self.sampling_params
        derived = response_bound(len(prompt.ids), params.get("max_tokens"), params.get("logprobs", 1))
        return self.max_response_bytes or derived

    def asked(self, prompt: Prompt, protocol: EngineProtocol) -> Asked:
        """Return the same call for this protocol."""
        features = _features(self, prompt, protocol)
        values = (self.model, prompt.json, self.sampling_params, self.cache_salt, self.priority, features)
        return Asked(*values, self.content_parts, self.extra_body, self.stream)


async def call(to: Endpoint, renderer: Renderer, wanted: Wanted, retries: Retries) -> Generation:
    """Ask an engine, and return the turn. The errors are those of `generate`."""
    request, reading = await _prepared(to, renderer, wanted, retries)
    try:
        if not wanted.stream:
            return await off_loop(generation_of, reading, await exchange(to, request, retries))
        async with aclosing(streamed(to, request, retries, Streaming(reading, wanted.bound(reading.prompt)))) as events:
            (finished,) = [event async for event in events]
    except EngineRefusedError as error:
        raise _explained(to, error) from None
    assert isinstance(finished, TurnFinished)
    return finished.generation


async def told(to: Endpoint, renderer: Renderer, wanted: Wanted, retries: Retries) -> AsyncGenerator[StreamEvent, None]:
    """Ask an engine, and yield what it tells of the turn. The errors are those of `stream`."""
    request, reading = await _prepared(to, renderer, wanted, retries)
    reader = await off_loop(renderer.reader, reading.prompt.ids, wanted.tools)
    streaming = Streaming(reading, wanted.bound(reading.prompt), reader)
    try:
        async with aclosing(streamed(to, request, retries, streaming)) as events:
            async for event in events:
                assert not isinstance(event, Completion), "of ids alone"
                yield event
    except EngineRefusedError as error:
        raise _explained(to, error) from None


async def sampled(
    to: Endpoint, renderer: Renderer, wanted: Wanted, retries: Retries
) -> AsyncGenerator[TokensSampled | Completion, None]:
    """Ask an engine, and yield the ids that it samples, then the completion, which is not read. Errors are as there."""
    request, reading = await _prepared(to, renderer, wanted, retries)
    streaming = Streaming(reading, wanted.bound(reading.prompt), ids_alone=True)
    try:
        async with aclosing(streamed(to, request, retries, streaming)) as events:
            async for event in events:
                assert isinstance(event, (TokensSampled, Completion)), "of ids alone"
                yield event
    except EngineRefusedError as error:
        raise _explained(to, error) from None


async def _prepared(to: Endpoint, renderer: Renderer, wanted: Wanted, retries: Retries) -> tuple[Request, Reading]:
    """Return what is sent, and how its answer is read. Refuse a prompt that is too long."""
    name, prompt = new_name(), await off_loop(wanted.prompt)
    if wanted.max_prompt_len is not None:
        _check_length(prompt, wanted.max_prompt_len, "max_prompt_len")
    protocol = wanted.protocol or await spoken_protocol(to, name, retries)
    asked = wanted.asked(prompt, protocol)
    if wanted.max_prompt_len is None:
        _check_length(prompt, await prompt_limit(to, protocol, wanted.model, name, retries), f"the engine at {to.root}")
    size = wanted.vocabulary_size or id_count(renderer.encoder)
    bound = None if wanted.stream else wanted.bound(prompt)
    request = Request(protocol.path, name, partial(wire, protocol, asked), bound)
    return request, Reading(renderer, protocol, prompt, asked, wanted.tools, wanted.keep, size)


def _features(wanted: Wanted, prompt: Prompt, protocol: EngineProtocol) -> Mapping[str, Json] | None:
    """Return the media of the prompt by their hashes, unless they are told in another way."""
    parts, media = wanted.content_parts, prompt.media
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


def _explained(to: Endpoint, error: EngineRefusedError) -> EngineRefusedError:
    """Return a refusal; where the endpoint is gone, with the setting of the engine that offers it."""
    if error.status != 404:
        return error
    forget_protocol(to)
    problem = f"{error.problem}; if the endpoint is missing: {NO_ENDPOINT}"
    return EngineRefusedError(error.url, error.request_id, problem, error.status, error.excerpt)
