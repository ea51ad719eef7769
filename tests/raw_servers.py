"""Servers on 127.0.0.1 that send whatever they like, byte by byte: bombs, bodies without an end, redirects."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache

Send = Callable[[asyncio.StreamWriter], Awaitable[None]]
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def raw_server(send: Send, requests: list[bytes] | None = None) -> AsyncIterator[str]:
    """The URL of a server that answers every request to generate so; the requests it got are kept, head and body.

    It looks like vLLM to a client that asks which endpoints there are, and tells no limit.
    """
    kept = [] if requests is None else requests

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            kept.append(head + await reader.readexactly(int(length.partition(b":")[2])))
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 405 .\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                await send(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


def whole(body: bytes, status: str = "200 OK", *headers: bytes) -> Send:
    """A response of one piece."""

    async def send(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), b"Connection: close", *headers]
        writer.write(b"\r\n".join([*lines, b"", b""]) + body)

    return send


@cache
def bomb(megabytes: int) -> bytes:
    """So many megabytes of white space, as gzip packs them: a thousandth of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(b" " * 2**20) for _ in range(megabytes)]
    return b"".join([*packed, packer.flush()])


async def endless(writer: asyncio.StreamWriter) -> None:
    """Send a body that has no end, as fast as it is read."""
    writer.write(_OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Send a body that has no end, a byte at a time."""
    writer.write(_OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
