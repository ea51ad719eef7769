"""How an engine is reached: an HTTP client, the server's root, the headers of every request, its secrets.

The HTTP client is the caller's: an `httpx.AsyncClient`, or the one inside an `openai.AsyncOpenAI`. Its library is taken
from its class, so that whichever of its versions the caller has is the one whose errors are caught.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from isc._later import Later
from isc.client.identity import HEADER
from isc.client.secrets import Secrets
from isc.errors import OptionError

if TYPE_CHECKING:
    import httpx
else:
    httpx = Later

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
