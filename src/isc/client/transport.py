"""Requests and answers: one attempt, and attempts until one succeeds, is refused, or count or time run out.

The HTTP client is the caller's: an `httpx.AsyncClient`, or the one inside an `openai.AsyncOpenAI`. Its library is taken
from its class, so that whichever of its versions the caller has is the one whose errors are caught.
"""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from isc._later import Later
from isc.client.bodies import Received, UnreadableError, beginning, read
from isc.client.identity import HEADER, attempt_name
from isc.client.lane import off_loop
from isc.client.responses import Answer
from isc.client.retries import Retries, retry_after
from isc.client.secrets import Secrets
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

if TYPE_CHECKING:
    import httpx
else:
    httpx = Later

_CONNECT = 10.0  # seconds in which a host that is up takes a connection
_SHOWN = 300  # characters of an error's body
_TOO_MANY = 429
_QUESTION_BYTES = 16 << 20  # of an answer to a question about the engine
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of a header


def connect(url: str, api_key: str | None = None) -> httpx.AsyncClient:
    """Make an HTTP client for one engine, to be shared by all calls.

    It opens as many connections as there are calls at a time.

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
    """An engine as it is reached: the HTTP client and its library, the server's root, headers of every request.

    `root` holds no user and no password: what a base URL has of these is sent as a header.
    """

    http: Any
    library: Any
    root: str
    headers: Mapping[str, str]
    secrets: Secrets = Secrets()

    def __repr__(self) -> str:
        return f"Endpoint({self.root!r})"


def endpoint(client: object, extra_headers: Mapping[str, str] | None = None) -> Endpoint:
    """Return how a caller's client reaches its engine; the token endpoint lies beside `/v1`, not under it.

    Raises:
        OptionError: Neither an httpx nor an openai client, one without a base URL, or headers that cannot be sent.
    """
    http: Any = client if _library(client) else getattr(client, "_client", None)  # openai's own client is not public
    library = _library(http)
    if library is None:
        raise OptionError(
            f"client is a {type(client).__module__}.{type(client).__name__}: pass an httpx.AsyncClient, as "
            "isc.client.connect makes one, or an openai.AsyncOpenAI"
        )
    url = library.URL(str(getattr(client, "base_url", "")))
    if not str(url):
        raise OptionError(
            "client has no base_url: make it by isc.client.connect(url), or httpx.AsyncClient(base_url=url)"
        )
    own = {} if client is http else {**getattr(client, "auth_headers", {}), **getattr(client, "default_headers", {})}
    sent = {name: value for name, value in own.items() if isinstance(value, str)}  # openai marks headers to be left out
    headers = {**sent, **_basic(url, http), **(extra_headers or {})}
    _check_headers(headers)
    secrets = Secrets.of({**dict(http.headers), **headers})
    return Endpoint(http, library, _root(url, library), headers, secrets)


def is_known(client: object) -> bool:
    """Return whether `endpoint` can reach an engine by this client: one of httpx, or one of openai.

    >>> is_known(connect("http://127.0.0.1:8000")), is_known(object())
    (True, False)
    """
    return _library(client) is not None or _library(getattr(client, "_client", None)) is not None


def response_type() -> Any:  # noqa: ANN401 - a class of httpx, which is imported here
    """Return the class of httpx's responses, which an openai client is told to answer with."""
    import httpx

    return httpx.Response


def _root(url: Any, library: Any) -> str:  # noqa: ANN401 - a URL of any httpx
    """Return the server's root without user, password and `/v1`."""
    if url.query or url.fragment:
        raise OptionError("the client's base_url has a query or a fragment: a path cannot follow it, leave it out")
    bare = url.copy_with(username="", password="") if url.userinfo else library.URL(url)
    return str(bare).rstrip("/").removesuffix("/v1").rstrip("/")


def _basic(url: Any, http: Any) -> dict[str, str]:  # noqa: ANN401 - of any httpx
    """Return user and password of a URL as the header that they are sent by, where the client brings no other."""
    if not url.userinfo or http.auth is not None:
        return {}
    pair = f"{url.username}:{url.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _check_headers(headers: Mapping[str, object]) -> None:
    """Refuse what no HTTP client sends, and the header by which requests are named; values are not shown."""
    for name, value in headers.items():
        if not (isinstance(value, str) and value.isascii() and value.isprintable() and _NAME.fullmatch(name)):
            raise OptionError(f"header {name!r} cannot be sent: name and value must be printable ASCII on one line")
        if name.lower() == HEADER.lower():
            raise OptionError(f"header {name!r}: generate names requests itself; use a header of another name")


def _library(client: object) -> Any:  # noqa: ANN401 - httpx, or what stands in for it
    """Return the package of an HTTP client's class, which has the errors it raises; None for another object."""
    for kind in type(client).__mro__:
        package = sys.modules.get(kind.__module__.partition(".")[0])
        if kind.__name__ == "AsyncClient" and hasattr(package, "TransportError"):
            return package
    return None


class Request(Struct, frozen=True):
    """What is sent: `body` makes it from the name of the attempt; None for a question without one (GET).

    `bound` is how many bytes an answer may have, `partial` what can be read from one that was cut off, or None.
    """

    path: str
    name: str
    body: Callable[[str], bytes] | None = None
    bound: int = _QUESTION_BYTES
    partial: Callable[[Answer], PartialCompletion | None] | None = None

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return "GET" if self.body is None else "POST"

    def attempt(self, number: int) -> str:
        """Return an attempt's own name: an engine may still hold the one before it."""
        return attempt_name(self.name, number)


class _Failure(Struct, frozen=True):
    """An attempt without an answer, and whether another may have one; `taken`: the engine may have begun to work.

    `received` is the beginning of an answer that was cut off.
    """

    problem: str
    kind: Literal["unavailable", "timeout", "refused", "malformed"] = "unavailable"
    taken: bool = True
    repeatable: bool = True
    status: int = 0
    pause: float = 0.0
    received: Answer | None = None

    def error(self, url: str, request_id: str, attempts: int, partial: PartialCompletion | None) -> ClientError:
        """Return the error that the caller gets."""
        if self.kind == "timeout":
            return EngineTimeoutError(url, request_id, self.problem, attempts, partial)
        if self.kind == "malformed":
            return MalformedResponseError(url, request_id, "body", self.problem)
        if self.kind == "refused":
            problem = f"refused with status {self.status}: {self.problem}"
            return EngineRefusedError(url, request_id, problem, self.status, self.problem)
        return EngineUnavailableError(url, request_id, self.problem, attempts, self.status or None, partial)


async def exchange(to: Endpoint, request: Request, retries: Retries) -> Answer:
    """Return the answer to a request, after as many attempts as it takes and `retries` allows.

    A response that began to arrive and was cut off counts as a lost connection: it is no answer.

    Raises:
        EngineUnavailableError: Not reached, connection lost, or 429 and 5xx, at every attempt.
        EngineTimeoutError: The last attempt took too long.
        EngineRefusedError: Any other status, redirects among them: nothing is sent to another address.
        MalformedResponseError: The answer is compressed or too large.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + retries.total
    url, number = to.root + request.path, 0
    while True:
        number += 1
        request_id = request.attempt(number)
        outcome = await _attempted(to, request, request_id, min(retries.timeout, deadline - clock()))
        if isinstance(outcome, Answer):
            return outcome
        pause = outcome.pause + retries.backoff(number)
        repeatable = outcome.repeatable and (retries.idempotent or request.body is None or not outcome.taken)
        if not repeatable or number >= retries.attempts or clock() + pause >= deadline:
            raise outcome.error(url, request_id, number, await _rescued(request, outcome))
        await asyncio.sleep(pause)


async def _rescued(request: Request, failure: _Failure) -> PartialCompletion | None:
    """Return the part of a turn that an answer brought before it was cut off."""
    if request.partial is None or failure.received is None:
        return None
    return await off_loop(request.partial, failure.received)


async def _attempted(to: Endpoint, request: Request, request_id: str, seconds: float) -> Answer | _Failure:
    """Make one attempt. Leaving it early closes its connection, at which engines stop sampling."""
    received = Received(bytearray())
    try:
        async with asyncio.timeout(seconds):
            return await _sent(to, request, request_id, received)
    except UnreadableError as error:
        return _Failure(str(error), "malformed", repeatable=False)
    except TimeoutError:
        failure = _Failure(f"no complete answer within {seconds:.3g} s", "timeout")
    except to.library.HTTPError as error:
        failure = _failed(to, error)
    except RuntimeError as error:
        if not to.http.is_closed:
            raise
        return _Failure(f"the HTTP client is closed: {error}", taken=False, repeatable=False)
    answer = Answer(to.root + request.path, request_id, received.body, to.secrets) if received.body else None
    return replace(failure, problem=to.secrets.hide(failure.problem), received=answer)


async def _sent(to: Endpoint, request: Request, request_id: str, received: Received) -> Answer | _Failure:
    """Send a request and read the answer, no further than its bound."""
    url = to.root + request.path
    headers = {**to.headers, HEADER: request_id, "Accept-Encoding": "identity"}
    body = None if request.body is None else await off_loop(request.body, request_id)
    if body is not None:
        headers["Content-Type"] = "application/json"
    # httpx's pool has no deadline of its own here: the attempt's holds for all of it
    options = {"headers": headers, "timeout": (_CONNECT, None, None, None), "follow_redirects": False}
    async with to.http.stream(request.method, url, content=body, **options) as response:
        secrets = Secrets.of({**dict(to.headers), **dict(response.request.headers)})
        if response.is_success:
            await read(response, received, request.bound)
            return Answer(url, request_id, received.body, secrets)
        return _judged(response, secrets.hide(_told(await beginning(response))), secrets)


def _failed(to: Endpoint, error: Exception) -> _Failure:
    """Return the failure that an error of the HTTP library means."""
    library = to.library
    if isinstance(error, library.ConnectTimeout):
        return _Failure(f"no connection within {_CONNECT:g} s", "timeout", taken=False)
    if isinstance(error, library.ConnectError):
        return _Failure(f"cannot be reached: {error or type(error).__name__}", taken=False)
    if isinstance(error, (library.UnsupportedProtocol, library.LocalProtocolError)):
        problem = f"{to.root} cannot be asked ({type(error).__name__}): is it a URL with http:// or https://?"
        raise OptionError(problem) from None  # what the library says may hold a header's value
    if isinstance(error, library.TransportError):
        return _Failure(f"the connection was lost: {error or type(error).__name__}")
    return _Failure(f"the response cannot be read: {error}", repeatable=False)


def _judged(response: Any, excerpt: str, secrets: Secrets) -> _Failure:  # noqa: ANN401 - a response of any httpx
    """Return the failure that an answer with another status than success means."""
    status = response.status_code
    text = excerpt if len(excerpt) <= _SHOWN else f"{excerpt[:_SHOWN]}..."
    if status == _TOO_MANY or status >= 500:
        asked = retry_after(response.headers.get("Retry-After"))
        return _Failure(f"status {status}: {text}", taken=status != _TOO_MANY, status=status, pause=asked)
    if 300 <= status < 400 and (target := response.headers.get("Location")):
        text = f"{text} (a redirect to {secrets.hide(_bare(target))}, which is not followed)".strip()
    return _Failure(text, "refused", repeatable=False, status=status)


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
