"""Calls of a small engine, for tests: what came back and what it was asked."""

from __future__ import annotations

import asyncio
from typing import Any

import isc
from engine_server import Answer, Received, engine, healthy
from isc.client import Generation, connect, generate

HELLO = [{"role": "user", "content": "hello"}]
Sent = tuple[Generation, list[Received]]


def sent(renderer: isc.Renderer, answer: Answer = healthy, **arguments: Any) -> Sent:  # noqa: ANN401 - of generate
    """A generation and what the engine was asked for it."""

    async def run() -> Sent:
        async with engine(answer) as server, connect(server.url) as client:
            return await generate(client, renderer, **arguments), server.requests

    return asyncio.run(run())
