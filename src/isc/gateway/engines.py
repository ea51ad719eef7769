"""The engines behind a gateway: a session keeps to one, as long as it is up; what fails is gone on with elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from isc._later import Later
from isc.client import Retries, connect
from isc.client.calls import Wanted, sampled
from isc.client.engines import ProtocolName, named_protocol
from isc.client.identity import new_name
from isc.client.limits import prompt_limit
from isc.client.probing import spoken_protocol
from isc.client.prompts import prompt_of
from isc.client.protocols import EngineProtocol
from isc.client.sampling import sampling_params
from isc.client.stream_events import TokensSampled
from isc.client.transport import endpoint
from isc.client.vllm import Vllm
from isc.conversation.renderer import Renderer
from isc.errors import (
    EngineAbortedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MalformedResponseError,
    OptionError,
    OverlongPromptError,
)
from isc.gateway.tree import Piece
from isc.rendered import RenderedTokens
from isc.types import Json, ToolSpec

if TYPE_CHECKING:
    import httpx
else:
    httpx = Later

STRUCTURED: Final = "structured_outputs"
"""vLLM's name for what sampling is held to."""

_NO_IMAGES: Final = (
    "messages show images, which only vLLM takes, at /inference/v1/generate: start it with --enable-scale-out"
)
_UNKNOWN_ROOM = 4096  # tokens to sample where neither request nor engine bounds them
_PROBE_SECONDS = 5.0
_GOES_ON = (EngineUnavailableError, EngineTimeoutError, EngineAbortedError, MalformedResponseError)
"""Errors after which another engine, or the same again, can go on from the ids that were sampled."""


class Sampled(Struct, frozen=True):
    """More of a completion, as an engine tells it, with weights of this version; at the end why it ended."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    piece: Piece
    finish_reason: str | None = None


class Wish(Struct, frozen=True):
    """What is to be sampled.

    Attributes:
        prompt: The prompt with its attribution.
        tools: The tools that it offers.
        sampling: Parameters by vLLM's names.
        max_tokens: How many tokens at most; None for as many as there is room for.
        images: The images that the prompt shows, as an engine takes them.
    """

    prompt: RenderedTokens
    tools: tuple[ToolSpec, ...]
    sampling: Mapping[str, Json]
    max_tokens: int | None
    images: tuple[Mapping[str, Json], ...] = ()


class Engine:
    """One engine: how it is reached, whether it is up, how many requests it has."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self.url = url
        self.http: httpx.AsyncClient = connect(url, api_key)
        self.endpoint = endpoint(self.http)
        self.is_up = True
        self.requests = 0


class Engines:
    """All engines of a gateway.

    Args:
        renderer: Format and vocabulary of the model that they serve.
        urls: Their roots.
        model: The name that they serve it by; None for the only one.
        protocol: How they are asked.
        api_key: Sent to each as a bearer token.
        attempts: How many times a turn is tried in all, going on from what was sampled.
        timeout: Seconds that one attempt may take.
    """

    def __init__(
        self,
        renderer: Renderer,
        urls: Sequence[str],
        model: str | None = None,
        *,
        protocol: ProtocolName = "auto",
        api_key: str | None = None,
        attempts: int = 4,
        timeout: float = 600.0,
    ) -> None:
        self.renderer = renderer
        self.engines = [Engine(url, api_key) for url in urls]
        self.weight_version: str | None = None
        self._model = model
        self._protocol = protocol
        self._attempts = attempts
        self._retries = Retries(attempts=2, timeout=timeout, total=timeout, pause=0.1)

    async def close(self) -> None:
        """Close all connections."""
        for engine in self.engines:
            await engine.http.aclose()

    async def watch(self, seconds: float) -> None:
        """Check again and again which engines are up, for ever."""
        while True:
            await asyncio.gather(*map(self._look, self.engines))
            await asyncio.sleep(seconds)

    async def _look(self, engine: Engine) -> None:
        """Ask an engine whether it is up. One without such a path answers, so it is."""
        import httpx

        try:
            answer = await engine.http.get("/health", timeout=_PROBE_SECONDS)
            engine.is_up = answer.status_code < 500
        except httpx.HTTPError:
            engine.is_up = False

    def order(self, session: str) -> list[Engine]:
        """Return the engines in the order in which a session tries them: its own first, those that are down last.

        Each session has an order of its own, so that of many sessions every engine gets its share, and the sessions of
        an engine that went down are shared out among the others.
        """

        def weight(engine: Engine) -> tuple[bool, bytes]:
            return not engine.is_up, blake2b(f"{session} {engine.url}".encode(), digest_size=8).digest()

        return sorted(self.engines, key=weight)

    async def sample(self, session: str, wish: Wish) -> AsyncGenerator[Sampled, None]:
        """Yield a completion as it is sampled, whole: where an engine fails, another goes on from what was sampled.

        Args:
            session: Whose it is, which says the engine.
            wish: What is to be sampled.

        Raises:
            ClientError: No engine went on.
            OverlongPromptError: The prompt is longer than the engine takes.
        """
        ids: list[int] = []
        failed: list[Engine] = []
        for attempt in range(1, self._attempts + 1):
            order = self.order(session)
            engine = next((one for one in order if one not in failed), order[0])
            try:
                async with aclosing(self._asked(engine, wish, ids)) as events:
                    async for more in events:
                        ids += more.token_ids
                        yield more
                return
            except _GOES_ON as error:
                engine.is_up = engine.is_up and not isinstance(error, EngineUnavailableError)
                failed.append(engine)
                if attempt == self._attempts or (ids and STRUCTURED in wish.sampling):
                    raise  # what sampling is held to begins with the answer, so no other engine can go on with it

    async def _asked(self, engine: Engine, wish: Wish, ids: Sequence[int]) -> AsyncGenerator[Sampled, None]:
        """Yield what one engine samples after the prompt and what was sampled of the answer."""
        protocol = named_protocol(self._protocol) or await spoken_protocol(engine.endpoint, new_name(), self._retries)
        if wish.images and not isinstance(protocol, Vllm):
            raise OptionError(_NO_IMAGES)
        room = await self._room(engine, protocol, len(wish.prompt) + len(ids))
        left = room if wish.max_tokens is None else min(wish.max_tokens - len(ids), room)
        if left <= 0:  # the last attempt ended with the last token
            yield Sampled((), (), self._piece(engine, 0), "length")
            return
        engine.requests += 1
        try:
            told = sampled(engine.endpoint, self.renderer, self._wanted(wish, ids, left), self._retries)
            async with aclosing(told) as events:
                async for event in events:
                    if isinstance(event, TokensSampled):
                        yield Sampled(event.token_ids, event.logprobs, self._piece(engine, len(event.token_ids)))
                    else:
                        yield Sampled((), (), self._piece(engine, 0), event.finish_reason)
        finally:
            engine.requests -= 1

    def _wanted(self, wish: Wish, ids: Sequence[int], left: int) -> Wanted:
        """Return what is asked of an engine where this much of the answer was sampled."""
        prompt = ((*wish.prompt.token_ids, *ids), None) if ids else (None, wish.prompt)
        return Wanted(
            prompt=partial(prompt_of, self.renderer, None, wish.tools, *prompt),
            tools=wish.tools,
            protocol=named_protocol(self._protocol),
            model=self._model,
            sampling_params=sampling_params(self.renderer, {**wish.sampling, "max_tokens": left}),
            content_parts=wish.images or None,
            stream=True,
        )

    def _piece(self, engine: Engine, length: int) -> Piece:
        return Piece(length, self.weight_version, engine.url)

    async def _room(self, engine: Engine, protocol: EngineProtocol, length: int) -> int:
        """Return how many tokens can be sampled behind a prompt.

        Raises:
            OverlongPromptError: None.
        """
        limit = await prompt_limit(engine.endpoint, protocol, self._model, new_name(), self._retries)
        if limit is None:
            return _UNKNOWN_ROOM
        if length >= limit:
            raise OverlongPromptError(length, limit, "the engine")
        return limit - length
