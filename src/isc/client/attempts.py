"""One attempt at a request: its answer piece by piece as it arrives, or why there is none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from isc.client.bodies import UnreadableError, beginning, pieces
from isc.client.identity import HEADER, attempt_name
from isc.client.lane import off_loop
from isc.client.responses import Answer
from isc.client.retries import retry_after
from isc.client.secrets import Secrets
from isc.client.transport import Endpoint
from isc.errors import (
    ClientError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MalformedResponseError,
    OptionError,
    PartialCompletion,
    shown,
)

_Result = TypeVar("_Result")
_CONNECT = 10.0  # seconds in which a host that is up takes a connection
_SHOWN = 300  # characters of an error's body
_TOO_MANY = 429
_QUESTION_BYTES = 16 << 20  # of an answer to a question about the engine


class Request(Struct, frozen=True):
    """What is sent: `body` makes it from the name of the attempt; None for a question without one (GET).

    `bound` is how many bytes an answer may have; None where whoever takes its pieces bounds what is kept of them.
    """

    path: str
    name: str
    body: Callable[[str], bytes] | None = None
    bound: int | None = _QUESTION_BYTES

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return "GET" if self.body is None else "POST"

    def attempt(self, number: int) -> str:
        """Return an attempt's own name: an engine may still hold the one before it."""
        return attempt_name(self.name, number)


class Failure(Struct, frozen=True):
    """Why an attempt has no answer, and whether another may have one; `taken`: the engine may have begun to work."""

    problem: str
    kind: Literal["unavailable", "timeout", "refused", "malformed"] = "unavailable"
    taken: bool = True
    repeatable: bool = True
    status: int = 0
    pause: float = 0.0

    def error(self, url: str, request_id: str, attempts: int, partial: PartialCompletion | None) -> ClientError:
        """Return the error that the caller gets."""
        if self.kind == "timeout":
            return EngineTimeoutError(url, request_id, self.problem, attempts, partial)
        if self.kind == "malformed":
            return MalformedResponseError(url, request_id, "body", self.problem, None, partial)
        if self.kind == "refused":
            problem = f"refused with status {self.status}: {self.problem}"
            return EngineRefusedError(url, request_id, problem, self.status, self.problem)
        return EngineUnavailableError(url, request_id, self.problem, attempts, self.status or None, partial)


class FailedError(Exception):
    """An attempt that failed; never seen outside of this room."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.problem)
        self.failure = failure


async def arriving(to: Endpoint, request: Request, request_id: str, seconds: float) -> AsyncGenerator[Answer, None]:
    """Make one attempt. Yield the head of the answer, without a body, and then its body piece by piece.

    Leaving it early closes the connection, at which engines stop sampling.

    Args:
        to: The engine.
        request: What is sent.
        request_id: The name of the attempt.
        seconds: How long the engine may take for all of it. The time between pieces that is not the engine's, in
            which whoever takes them does something else, is not counted.

    Raises:
        FailedError: There is no answer, or it breaks off.
    """
    waiting = _Waiting(to, seconds)
    async with AsyncExitStack() as connection:
        response = await waiting.within(_opened(connection, to, request, request_id))
        secrets = Secrets.of({**dict(to.headers), **dict(response.request.headers)})
        if not response.is_success:
            excerpt = secrets.hide(_told(await waiting.within(beginning(response))))
            raise FailedError(_judged(response, excerpt, secrets))
        head = Answer(to.root + request.path, request_id, b"", secrets)
        yield head
        body = pieces(response, request.bound)
        connection.push_async_callback(body.aclose)
        while (piece := await waiting.within(anext(body, None))) is not None:
            yield replace(head, body=piece)


async def _opened(connection: AsyncExitStack, to: Endpoint, request: Request, request_id: str) -> Any:  # noqa: ANN401
    """Send a request and return the response, its body yet to come. It is closed with the connection."""
    headers = {**to.headers, HEADER: request_id, "Accept-Encoding": "identity"}
    body = None if request.body is None else await off_loop(request.body, request_id)
    if body is not None:
        headers["Content-Type"] = "application/json"
    # httpx's pool has no deadline of its own here: the attempt's holds for all of it
    options = {"headers": headers, "timeout": (_CONNECT, None, None, None), "follow_redirects": False}
    sent = to.http.stream(request.method, to.root + request.path, content=body, **options)
    return await connection.enter_async_context(sent)


class _Waiting(Struct):
    """Waits for an engine, so many seconds in all."""

    to: Endpoint
    seconds: float
    waited: float = 0.0

    async def within(self, awaited: Awaitable[_Result]) -> _Result:
        """Return what an engine is waited for.

        Raises:
            FailedError: It did not come, or not in time.
        """
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            async with asyncio.timeout_at(start + self.seconds - self.waited):
                return await awaited
        except UnreadableError as error:
            raise FailedError(Failure(str(error), "malformed", repeatable=False)) from None
        except TimeoutError:
            raise FailedError(Failure(f"no complete answer within {self.seconds:.3g} s", "timeout")) from None
        except self.to.library.HTTPError as error:
            raise FailedError(_failed(self.to, error)) from None
        except RuntimeError as error:
            if not self.to.http.is_closed:
                raise
            problem = f"the HTTP client is closed: {error}"
            raise FailedError(Failure(problem, taken=False, repeatable=False)) from None
        finally:
            self.waited += clock() - start


def _failed(to: Endpoint, error: Exception) -> Failure:
    """Return the failure that an error of the HTTP library means."""
    library, problem = to.library, to.secrets.hide(str(error))
    if isinstance(error, library.ConnectTimeout):
        return Failure(f"no connection within {_CONNECT:g} s", "timeout", taken=False)
    if isinstance(error, library.ConnectError):
        return Failure(f"cannot be reached: {problem or type(error).__name__}", taken=False)
    if isinstance(error, (library.UnsupportedProtocol, library.LocalProtocolError)):
        problem = f"{to.root} cannot be asked ({type(error).__name__}): is it a URL with http:// or https://?"
        raise OptionError(problem) from None  # what the library says may hold a header's value
    if isinstance(error, library.TransportError):
        return Failure(f"the connection was lost: {problem or type(error).__name__}")
    return Failure(f"the response cannot be read: {problem}", repeatable=False)


def _judged(response: Any, excerpt: str, secrets: Secrets) -> Failure:  # noqa: ANN401 - a response of any httpx
    """Return the failure that an answer with another status than success means."""
    status = response.status_code
    text = excerpt if len(excerpt) <= _SHOWN else f"{excerpt[:_SHOWN]}..."
    if status == _TOO_MANY or status >= 500:
        asked = retry_after(response.headers.get("Retry-After"))
        return Failure(f"status {status}: {text}", taken=status != _TOO_MANY, status=status, pause=asked)
    if 300 <= status < 400 and (target := response.headers.get("Location")):
        text = f"{text} (a redirect to {secrets.hide(_bare(target))}, which is not followed)".strip()
    return Failure(text, "refused", repeatable=False, status=status)


def _bare(target: str) -> str:
    """Return a redirect's target, without the parts that may hold secrets."""
    return shown(re.sub(r"//[^/@]*@", "//", target.partition("?")[0])[:_SHOWN])


def _told(body: bytes) -> str:
    """Return the message of an error's body: the message of a JSON error, or the body as text."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        value = None
    for name in ("error", "message", "detail"):
        value = value.get(name, value) if isinstance(value, dict) else value
    return value if isinstance(value, str) else body.decode("utf-8", "replace")
