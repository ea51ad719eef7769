"""The gateway over HTTP: an ASGI application. Agents speak a dialect under a session's path, trainers ask for sessions.

Bodies and keys are never logged. Who may ask is looked at before anything else is read.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from isc.errors import (
    ClientError,
    ConversationError,
    EngineRefusedError,
    EngineTimeoutError,
    Error,
    OptionError,
    OverlongPromptError,
)
from isc.gateway.access import Access
from isc.gateway.answering import Answering, Gateway, numbered
from isc.gateway.dialect import Asked, Dialect, Failure, RequestError, Told, decoded, refused
from isc.gateway.dialects import DIALECTS, chat_completions
from isc.gateway.reports import session_report, session_samples
from isc.gateway.store import Delivery, RecordedSession, RecordError

CONTINUED: Final = "x-isc-continued"
_JSON: Final = "application/json"
_MSGPACK: Final = "application/msgpack"
_STARTED: Final = int(time.time())  # when the models are said to have been made
_STALE: Final = 15.0  # seconds without a word after which a comment keeps a stream open


class _Reward(Struct, frozen=True, forbid_unknown_fields=True):
    reward: float
    turn: int | str | None = None


class _Finish(Struct, frozen=True, forbid_unknown_fields=True):
    reward: float | None = None


class _Weights(Struct, frozen=True, forbid_unknown_fields=True):
    weight_version: str


def application(gateway: Callable[[], Gateway], access: Access, *, watch: float = 10.0) -> Starlette:
    """Make the application.

    Args:
        gateway: Makes the gateway, inside the event loop that serves it.
        access: Who may ask.
        watch: Seconds between two looks at the engines.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.gateway = made = gateway()
        tasks = [asyncio.create_task(made.engines.watch(watch)), asyncio.create_task(made.keep())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await made.engines.close()
            made.store.close()

    return Starlette(routes=[*_trainers_routes(access), *_agents_routes(access)], lifespan=lifespan)


def _trainers_routes(access: Access) -> list[Route]:
    models = partial(_guarded, access, partial(_models, access))
    of_sessions = (
        ("GET", "", _tree),
        ("DELETE", "", _remove),
        ("GET", "/samples", _samples),
        ("POST", "/reward", _reward),
        ("POST", "/finish", _finish),
    )
    return [
        Route("/health", _health),
        Route("/v1/models", models),
        Route("/sessions/{session}/v1/models", models),
        Route("/weight_version", partial(_guarded, access, _weights), methods=["POST"]),
        Route("/sessions", partial(_guarded, access, _names)),
        *(
            Route(f"/sessions/{{session}}{path}", partial(_guarded, access, endpoint), methods=[method])
            for method, path, endpoint in of_sessions
        ),
    ]


def _agents_routes(access: Access) -> list[Route]:
    routes: list[Route] = []
    for dialect in DIALECTS:
        for path, answer in ((dialect.PATH, _spoken), (dialect.COUNT_PATH, _counted)):
            if path is not None:
                endpoint = partial(_guarded, access, partial(answer, access, dialect), dialect=dialect)
                routes.append(Route(f"/sessions/{{session}}{path}", endpoint, methods=["POST"]))
    return routes


_Endpoint = Callable[[Request], Awaitable[Response]]
_Result = TypeVar("_Result")


async def _guarded(
    access: Access, endpoint: _Endpoint, request: Request, *, dialect: Dialect = chat_completions
) -> Response:
    """Return the answer to a request, or in the dialect's own form why there is none."""
    try:
        _check_access(access, request)
        return await endpoint(request)
    except ClientDisconnect:
        return Response(status_code=499)
    except (Error, OSError) as error:
        failure = failure_of(error)
        return Response(dialect.failed(failure), failure.status, media_type=_JSON)


def _check_access(access: Access, request: Request) -> None:
    """Refuse who may not ask.

    Raises:
        RequestError: The token is missing or another, or the request comes from a page of another site.
    """
    if access.token is not None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode(), access.token.encode()):
            problem = "give the gateway's token: Authorization: Bearer TOKEN, or x-api-key: TOKEN"
            raise RequestError(Failure("unauthorized", problem))
        return
    host = request.headers.get("host", "").rpartition(":")
    name = (host[0] if host[2].isdigit() else request.headers.get("host", "")).lower()
    if name not in access.hosts or request.headers.get("origin") is not None:
        problem = "without --token only programs on this machine may ask, by the address that is served"
        raise RequestError(Failure("forbidden", problem))


def failure_of(error: Exception) -> Failure:
    """Return the failure that an error means to an agent: what it can know, without the engine's address.

    >>> failure_of(ConversationError("messages[0].role", "must be one of user, ...")).field
    'messages[0].role'
    """
    if isinstance(error, RequestError):
        return error.failure
    if isinstance(error, ConversationError):
        return Failure("invalid", str(error), error.path)
    if isinstance(error, OverlongPromptError):
        return Failure("overlong", str(error))
    if isinstance(error, EngineTimeoutError):
        return Failure("timeout", f"the engine did not answer in time: {error.problem}")
    if isinstance(error, EngineRefusedError) and error.status in (400, 422):
        return Failure("invalid", f"the engine refuses this request: {error.problem}")
    if isinstance(error, ClientError):
        return Failure("engine", f"the engine gave no answer: {error.problem}")
    if isinstance(error, OptionError):
        return Failure("invalid", str(error))
    if isinstance(error, RecordError):
        return Failure("internal", "the turn could not be recorded, so it is not answered")
    return Failure("internal", f"{type(error).__name__}: the gateway failed; its log says where")


async def _body(request: Request) -> bytes:
    """Read a body, no further than it may be long.

    Raises:
        RequestError: It is longer.
    """
    bound = _gateway(request).bounds.body_bytes
    announced = request.headers.get("content-length", "")
    too_large = RequestError(Failure("too_large", f"a request may have {bound} bytes"))
    if announced.isdecimal() and int(announced[:18]) > bound:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > bound:
            raise too_large
    return bytes(body)


def _gateway(request: Request) -> Gateway:
    gateway = request.app.state.gateway
    assert isinstance(gateway, Gateway), "made when the server starts"
    return gateway


async def _spoken(access: Access, dialect: Dialect, request: Request) -> Response:
    """Return the answer to an agent."""
    gateway, name = _gateway(request), request.path_params["session"]
    body = await _body(request)
    asked = dialect.asked(body)
    _check_model(access, asked)
    answering = await gateway.answering(name, asked, len(body))
    headers = {CONTINUED: answering.heading.continued, "x-isc-session": name, "x-isc-turn": answering.heading.id}
    if not asked.stream:
        return await _whole(dialect, asked, answering, request, headers)
    events = answering.events()
    first = await _unless_gone(request, anext(events))  # an engine that fails at once is an error of HTTP
    return _Streamed(dialect, asked, answering, first, events, headers)


async def _counted(access: Access, dialect: Dialect, request: Request) -> Response:
    """Count the tokens of a prompt."""
    body = await _body(request)
    asked = dialect.asked(body)
    _check_model(access, asked)
    answering = await _gateway(request).answering(request.path_params["session"], asked, len(body))
    return Response(dialect.counted(len(answering.prompted.prompt)), media_type=_JSON)


def _check_model(access: Access, asked: Asked) -> None:
    if "*" not in access.models and asked.model not in access.models:
        known = ", ".join(access.models)
        raise RequestError(Failure("not_found", f"there is no model {asked.model[:100]!r}, only {known}", "model"))


async def _whole(
    dialect: Dialect, asked: Asked, answering: Answering, request: Request, headers: dict[str, str]
) -> Response:
    """Return the whole answer, unless who asked has gone."""

    async def done() -> bytes:
        async with aclosing(answering.events()) as events:
            async for _ in events:
                pass
        return dialect.response(asked, await answering.recorded())

    try:
        return _Delivered(await _unless_gone(request, done()), answering, headers)
    except BaseException:
        answering.delivered("dropped")
        raise


async def _unless_gone(request: Request, work: Awaitable[_Result]) -> _Result:
    """Wait for work, and cancel it where who asked goes away.

    Raises:
        ClientDisconnect: They have gone.
    """
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(request: Request) -> None:
    """Wait until who asked has gone. The body has been read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Delivered(Response):
    """An answer that notes whether it was sent."""

    def __init__(self, body: bytes, answering: Answering, headers: dict[str, str]) -> None:
        super().__init__(body, headers=headers, media_type=_JSON)
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        except BaseException:
            self._answering.delivered("dropped")
            raise
        self._answering.delivered("sent")


class _Streamed(Response):
    """An answer as server-sent events. What comes last is sent once the turn is on disk."""

    media_type = "text/event-stream"

    def __init__(
        self,
        dialect: Dialect,
        asked: Asked,
        answering: Answering,
        first: Told,
        events: AsyncGenerator[Told, None],
        headers: dict[str, str],
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache"})
        del self.headers["content-length"]
        self._stream = dialect.stream(asked, answering.heading)
        self._answering = answering
        self._first = first
        self._events = events
        self._delivery: Delivery = "dropped"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, until there are no more or who asked has gone."""
        sending = asyncio.ensure_future(self._sent(send))
        watching = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, watching):
                task.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)

    async def _sent(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        ended: Delivery = "dropped"
        try:
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            ended = self._delivery
        finally:
            self._answering.delivered(ended)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield what is sent, one piece for each event."""
        self._stream, chunks = self._stream.begun()
        yield b"".join(chunk.wire for chunk in chunks)
        try:
            async with aclosing(_with_comments(self._first, self._events)) as events:
                async for event in events:
                    if event is None:
                        yield b": still here\n\n"
                        continue
                    self._stream, chunks = self._stream.told(event)
                    if chunks:
                        yield b"".join(chunk.wire for chunk in chunks)
            answer = await self._answering.recorded()
        except (Error, OSError) as error:
            yield b"".join(chunk.wire for chunk in self._stream.failed(failure_of(error)))
            return
        yield b"".join(chunk.wire for chunk in self._stream.ended(answer))
        self._delivery = "sent"


async def _with_comments(first: Told, events: AsyncGenerator[Told, None]) -> AsyncGenerator[Told | None, None]:
    """Yield events, and None whenever none has come for a while: who waits would take the connection for lost."""
    yield first
    waiting: asyncio.Future[Told] | None = None
    try:
        while True:
            waiting = asyncio.ensure_future(anext(events)) if waiting is None else waiting
            await asyncio.wait((waiting,), timeout=_STALE)
            if not waiting.done():
                yield None
                continue
            try:
                event = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield event
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await events.aclose()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _health(request: Request) -> Response:
    """Return whether an engine is up."""
    engines = _gateway(request).engines.engines
    up = sum(engine.is_up for engine in engines)
    status = {"status": "ok" if up else "no engine is up", "engines": len(engines), "engines_up": up}
    return Response(msgspec.json.encode(status), 200 if up else 503, media_type=_JSON)


async def _models(access: Access, _request: Request) -> Response:
    models = [
        {"id": name, "object": "model", "created": _STARTED, "owned_by": "isc"} for name in access.models if name != "*"
    ]
    return Response(msgspec.json.encode({"object": "list", "data": models}), media_type=_JSON)


async def _names(request: Request) -> Response:
    """List sessions, a thousand at a time."""
    names = await _gateway(request).store.names(request.query_params.get("after", ""))
    return Response(msgspec.json.encode({"sessions": names}), media_type=_JSON)


async def _tree(request: Request) -> Response:
    return _encoded(request, session_report(await _recorded(request)))


async def _samples(request: Request) -> Response:
    return _encoded(request, session_samples(await _recorded(request)))


async def _recorded(request: Request) -> RecordedSession:
    """Read the session that a request names.

    Raises:
        RequestError: There is none.
    """
    name = request.path_params["session"]
    recorded = await _gateway(request).store.session(name)
    if recorded is None:
        raise _no_session(name)
    return recorded


def _no_session(name: str) -> RequestError:
    return RequestError(Failure("not_found", f"there is no session {name[:128]!r}"))


def _encoded(request: Request, value: Struct) -> Response:
    """Return a value as MessagePack where that is asked for, else as JSON."""
    if _MSGPACK in request.headers.get("accept", ""):
        return Response(msgspec.msgpack.encode(value), media_type=_MSGPACK)
    return Response(msgspec.json.encode(value), media_type=_JSON)


async def _reward(request: Request) -> Response:
    """Note the reward of a session, or of one of its turns by number or id."""
    given = decoded(await _body(request), _Reward)
    gateway, name = _gateway(request), request.path_params["session"]
    if not math.isfinite(given.reward):
        raise refused("reward", "must be a finite number")
    number = given.turn
    if isinstance(number, str):
        number = numbered(await gateway.session(name), number)
    if not await gateway.store.reward(name, given.reward, number):
        raise _no_session(name) if number is None else refused("turn", f"session {name} has no turn {number}")
    return _done()


async def _finish(request: Request) -> Response:
    """Note that a session takes no more turns, and its reward."""
    body = await _body(request)
    given = decoded(body, _Finish) if body else _Finish()
    gateway, name = _gateway(request), request.path_params["session"]
    if not await gateway.finish(name):
        raise _no_session(name)
    if given.reward is not None:
        await gateway.store.reward(name, given.reward)
    return _done()


async def _remove(request: Request) -> Response:
    name = request.path_params["session"]
    if not await _gateway(request).remove(name):
        raise _no_session(name)
    return _done()


async def _weights(request: Request) -> Response:
    """Note the version of the weights that the engines have from now on."""
    _gateway(request).engines.weight_version = decoded(await _body(request), _Weights).weight_version
    return _done()


def _done() -> Response:
    return Response(b'{"ok":true}', media_type=_JSON)
