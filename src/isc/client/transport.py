"""Requests and answers: one attempt, and attempts until one succeeds, is refused, or count or time run out.

The HTTP client is the caller's: an `httpx.AsyncClient`, or the one inside an `openai.AsyncOpenAI`. Its library is taken
from its class, so that whichever of its versions the caller has is the one whose errors are caught.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from isc.client.lane import off_loop
from isc.client.responses import Answer
from isc.client.retries import Retries, retry_after
from isc.errors import ClientError, EngineRefusedError, EngineTimeoutError, EngineUnavailableError, OptionError

if TYPE_CHECKING:
    import httpx

_CONNECT = 10.0  # seconds in which a host that is up takes a connection
_SHOWN = 300  # characters of an error's body
_TOO_MANY = 429


def connect(url: str, api_key: str | None = None) -> httpx.AsyncClient:
    """An HTTP client for one engine, to be shared by all calls: as many connections as there are calls at a time.

    It goes straight to the engine, whatever proxy the environment names.

    Args:
        url: The server's root, with or without `/v1`.
        api_key: Sent as a bearer token.

    Returns:
        The client; close it by `async with`, or `await client.aclose()`.

    Raises:
        OptionError: httpx is not installed.

    >>> connect("http://127.0.0.1:8000").base_url.port
    8000
    """
    try:
        import httpx
    except ImportError:
        raise OptionError('isc.client.connect needs httpx: pip install "isc[client]"') from None
    from isc.client.pools import Pools

    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    transport = Pools(secure=url.startswith("https:"))
    return httpx.AsyncClient(base_url=url, headers=headers, transport=transport, timeout=None)


class Endpoint(Struct, frozen=True):
    """An engine as it is reached: the HTTP client and its library, the server's root, headers of every request."""

    http: Any
    library: Any
    root: str
    headers: Mapping[str, str]


def endpoint(client: object, extra_headers: Mapping[str, str] | None = None) -> Endpoint:
    """How a caller's client reaches its engine; the token endpoint lies beside `/v1`, not under it.

    Raises:
        OptionError: Neither an httpx nor an openai client, or one without a base URL.
    """
    http: Any = client if _library(client) else getattr(client, "_client", None)  # openai's own client is not public
    library = _library(http)
    if library is None:
        raise OptionError(
            f"client is a {type(client).__module__}.{type(client).__name__}: pass an httpx.AsyncClient, as "
            "isc.client.connect makes one, or an openai.AsyncOpenAI"
        )
    base = str(getattr(client, "base_url", "")).rstrip("/")
    if not base:
        raise OptionError(
            "client has no base_url: make it by isc.client.connect(url), or httpx.AsyncClient(base_url=url)"
        )
    own = {} if client is http else {**getattr(client, "auth_headers", {}), **getattr(client, "default_headers", {})}
    headers = {
        name: value for name, value in own.items() if isinstance(value, str)
    }  # openai marks headers to be left out
    return Endpoint(http, library, base.removesuffix("/v1"), {**headers, **(extra_headers or {})})


def _library(client: object) -> Any:  # noqa: ANN401 - httpx, or what stands in for it
    """The package that an HTTP client's class is of, with the errors it raises; None for another object."""
    for kind in type(client).__mro__:
        package = sys.modules.get(kind.__module__.partition(".")[0])
        if kind.__name__ == "AsyncClient" and hasattr(package, "TransportError"):
            return package
    return None


class Request(Struct, frozen=True):
    """What is sent: `body` makes it from the name of the attempt; None for a question without one (GET)."""

    path: str
    name: str
    body: Callable[[str], bytes] | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "GET" if self.body is None else "POST"

    def attempt(self, number: int) -> str:
        """An attempt's own name: an engine may still hold the one before it."""
        return self.name if number == 1 else f"{self.name}-{number}"


class _Failure(Struct, frozen=True):
    """An attempt without an answer, and whether another may have one; `taken`: the engine may have begun to work."""

    problem: str
    kind: Literal["unavailable", "timeout", "refused"] = "unavailable"
    taken: bool = True
    repeatable: bool = True
    status: int = 0
    pause: float = 0.0

    def error(self, url: str, request_id: str, attempts: int) -> ClientError:
        """What the caller gets."""
        if self.kind == "timeout":
            return EngineTimeoutError(url, request_id, self.problem, attempts)
        if self.kind == "refused":
            problem = f"refused with status {self.status}: {self.problem}"
            return EngineRefusedError(url, request_id, problem, self.status, self.problem)
        return EngineUnavailableError(url, request_id, self.problem, attempts, self.status or None)


async def exchange(to: Endpoint, request: Request, retries: Retries) -> Answer:
    """The answer to a request, after as many attempts as it takes and `retries` allows.

    A response that began to arrive and was cut off counts as a lost connection: nothing of it is used.

    Raises:
        EngineUnavailableError: Not reached, connection lost, or 429 and 5xx, at every attempt.
        EngineTimeoutError: The last attempt took too long.
        EngineRefusedError: Any other status.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + retries.total
    url, number = to.root + request.path, 0
    while True:
        number += 1
        request_id = request.attempt(number)
        found = await _attempted(to, request, request_id, min(retries.timeout, deadline - clock()))
        if isinstance(found, Answer):
            return found
        pause = found.pause + retries.backoff(number)
        repeatable = found.repeatable and (retries.idempotent or request.body is None or not found.taken)
        if not repeatable or number >= retries.attempts or clock() + pause >= deadline:
            raise found.error(url, request_id, number)
        await asyncio.sleep(pause)


async def _attempted(to: Endpoint, request: Request, request_id: str, seconds: float) -> Answer | _Failure:
    """One attempt. Leaving it early closes its connection, at which engines stop sampling."""
    library, url = to.library, to.root + request.path
    headers = {**to.headers, **({} if request.body is None else {"Content-Type": "application/json"})}
    timeouts = (_CONNECT, None, None, None)
    try:
        async with asyncio.timeout(seconds):
            body = None if request.body is None else await off_loop(request.body, request_id)
            response = await to.http.request(request.method, url, content=body, headers=headers, timeout=timeouts)
    except TimeoutError:
        return _Failure(f"no complete answer within {seconds:.3g} s", "timeout")
    except library.ConnectTimeout:
        return _Failure(f"no connection within {_CONNECT:g} s", "timeout", taken=False)
    except library.ConnectError as error:
        return _Failure(f"cannot be reached: {error or type(error).__name__}", taken=False)
    except (library.UnsupportedProtocol, library.LocalProtocolError) as error:
        raise OptionError(f"{url} cannot be asked: {error}") from None
    except library.TransportError as error:
        return _Failure(f"the connection was lost: {error or type(error).__name__}")
    except library.RequestError as error:
        return _Failure(f"the response cannot be read: {error}", repeatable=False)
    except RuntimeError as error:
        if not to.http.is_closed:
            raise
        return _Failure(f"the HTTP client is closed: {error}", taken=False, repeatable=False)
    return _judged(response, url, request_id)


def _judged(response: Any, url: str, request_id: str) -> Answer | _Failure:  # noqa: ANN401 - a response of any httpx
    status = response.status_code
    if response.is_success:
        return Answer(url, request_id, response.content)
    excerpt = _told(response.content)
    if status == _TOO_MANY or status >= 500:
        asked = retry_after(response.headers.get("Retry-After"))
        return _Failure(f"status {status}: {excerpt}", taken=status != _TOO_MANY, status=status, pause=asked)
    return _Failure(excerpt, "refused", repeatable=False, status=status)


def _told(body: bytes) -> str:
    """What an error's body says: the message of a JSON error, or the beginning of whatever it is."""
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        found = None
    for name in ("error", "message", "detail"):
        found = found.get(name, found) if isinstance(found, dict) else found
    text = found if isinstance(found, str) else body[: 4 * _SHOWN].decode("utf-8", "replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
