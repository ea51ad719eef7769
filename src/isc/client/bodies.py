"""Bodies of responses, read as they arrive and no further than a bound."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

_MEGABYTE = 1 << 20
_LEAST = 16 * _MEGABYTE
_MOST = 512 * _MEGABYTE
_BYTES_A_TOKEN = 4096  # a sampled token with its alternatives, or a token's routes through the experts
_LONGEST = 131_072  # tokens, where a request does not bound its completion
ERROR_BYTES = 64 * 1024  # of the body of an error, of which a few lines are shown


def response_bound(prompt_tokens: int, max_tokens: object, logprobs: object) -> int:
    """Return how many bytes the answer to a request can honestly have, with much room: 16 to 512 MiB.

    Args:
        prompt_tokens: Tokens that are sent.
        max_tokens: Tokens that may be sampled; anything but a number is no bound.
        logprobs: Alternatives that are told of each token, where it is a number.

    >>> response_bound(1000, 1000, 1) // 2**20
    23
    """
    sampled = max_tokens if isinstance(max_tokens, int) else _LONGEST
    each = _BYTES_A_TOKEN + (128 * logprobs if isinstance(logprobs, int) else 0)
    return min(_MOST, _LEAST + each * max(0, sampled) + _BYTES_A_TOKEN * prompt_tokens)


class UnreadableError(Exception):
    """A body that is not read to its end; says why."""


async def pieces(response: Any, bound: int | None) -> AsyncGenerator[bytes, None]:  # noqa: ANN401 - a response of any httpx
    """Yield a body piece by piece, as it arrives.

    Args:
        response: The response.
        bound: How many bytes it may have; None where whoever takes the pieces bounds what is kept of them.

    Raises:
        UnreadableError: It is compressed, which was not asked for, or larger than the bound; it is read no further.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise UnreadableError(f"is compressed ({coding[:30]!r}), though none was asked for: it is not unpacked")
    announced = response.headers.get("content-length", "")
    if bound is not None and announced.isascii() and announced.isdecimal() and int(announced[:18]) > bound:
        raise UnreadableError(_too_large(bound))
    size = 0
    # a transport that answers from memory has read its body already
    async with aclosing(response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw()) as body:
        async for piece in body:
            size += len(piece)
            if bound is not None and size > bound:
                raise UnreadableError(_too_large(bound))
            yield piece


async def beginning(response: Any, bound: int = ERROR_BYTES) -> bytes:  # noqa: ANN401 - a response of any httpx
    """Return the first bytes of a body; nothing of one that is compressed."""
    body = bytearray()
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return b""
    async for piece in response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw():
        body += piece[: bound - len(body)]
        if len(body) >= bound:
            break
    return bytes(body)


def _too_large(bound: int) -> str:
    return f"is larger than {bound} bytes, and was read no further; allow more with max_response_bytes"
