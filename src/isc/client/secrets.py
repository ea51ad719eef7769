"""Secrets of a connection, kept out of what isc says: keys in headers and passwords, echoed by a server or not."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote

from msgspec import Struct

_HIDDEN = "[hidden]"
_HARMLESS = frozenset(
    (
        "host", "accept", "accept-encoding", "accept-language", "connection", "user-agent", "content-type",
        "content-length", "transfer-encoding", "x-request-id",
    )
)  # fmt: skip
_TELLING = "x-stainless-"  # how the headers begin in which the openai package describes itself
_SECRET_NAME = re.compile("auth|key|token|secret|cookie|passw|credential|signature", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]*\s+(?=\S)")
_SHORTEST_SECRET = 3  # characters; a shorter one is no secret, and hiding it would make messages illegible
_SHORTEST_VALUE = 8  # the same for headers that are not known to hold a secret


class Secrets(Struct, frozen=True):
    """Texts that must not be shown, the longest first."""

    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Secrets:
        """Collect what a request's headers hold, in the spellings in which a server may echo it.

        >>> Secrets.of({"Authorization": "Bearer sk-1234", "Accept": "*/*"}).hide("no such key: sk-1234")
        'no such key: [hidden]'
        """
        telling = ((name.lower(), value.strip()) for name, value in headers.items())
        return cls(_texts(tuple(sorted((name, value) for name, value in telling if value and not _harmless(name)))))

    def hide(self, text: str) -> str:
        """Replace every secret in a text."""
        for secret in self.texts:
            text = text.replace(secret, _HIDDEN)
        return text

    def mask(self, body: bytes) -> bytes:
        """Replace every secret in a body by as many stars, so that places in it stay where they are."""
        for secret in self.texts:
            spelled = secret.encode("utf-8", "replace")
            body = body.replace(spelled, b"*" * len(spelled))
        return body

    @property
    def longest(self) -> int:
        """Return an upper bound of the bytes of the longest secret."""
        return 4 * len(self.texts[0]) if self.texts else 0

    def __repr__(self) -> str:
        return f"Secrets({len(self.texts)} hidden)"


def _harmless(name: str) -> bool:
    return name in _HARMLESS or name.startswith(_TELLING)


@lru_cache(maxsize=32)  # the headers of a connection are the same at every request
def _texts(headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return every spelling of every secret, the longest first."""
    plain = {text for header in headers for text in _secrets_in(*header)}
    return tuple(sorted({form for text in plain for form in _spellings(text)}, key=len, reverse=True))


def _secrets_in(name: str, value: str) -> Iterator[str]:
    """Yield the secrets in a header: its value, and the parts of the value that are secret on their own."""
    if _SECRET_NAME.search(name) is None:
        if len(value) >= _SHORTEST_VALUE:
            yield value
        return
    credentials = value[scheme.end() :] if (scheme := _SCHEME.match(value)) else value
    pieces = [piece.partition("=")[2] or piece for piece in re.split(r"[\s;,]+", credentials)]
    for text in (value, credentials, *pieces, *_password(value)):
        if len(text) >= _SHORTEST_SECRET:
            yield text


def _password(value: str) -> Iterator[str]:
    """Yield the password of basic authentication, and the pair that it stands in."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(encoded, validate=True).decode("utf-8")
        except ValueError:
            return
        yield from (pair, pair.partition(":")[2])


def _spellings(text: str) -> Iterator[str]:
    """Yield a secret as it is, as JSON and Python write it in quotes, and as a URL holds it."""
    yield from (text, json.dumps(text)[1:-1], repr(text)[1:-1], quote(text, safe=""))
