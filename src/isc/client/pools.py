"""An httpx transport for hundreds of connections at a time.

httpx's own pool looks at every pair of its idle connections whenever a request comes or goes (httpcore 1.0), which
is most of the time spent on 500 calls at a time; many small pools have few pairs. docs/client.md has the figures.
"""

from __future__ import annotations

from types import TracebackType

import httpx

_POOLS = 16


class Pools(httpx.AsyncBaseTransport):
    """Small pools; a request goes to the one that has the fewest under way."""

    def __init__(self, *, secure: bool) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        verify = httpx.create_ssl_context() if secure else False  # one for all: it reads every certificate authority
        self._pools = [httpx.AsyncHTTPTransport(verify=verify, limits=limits) for _ in range(_POOLS)]
        self._under_way = [0] * _POOLS

    async def __aenter__(self) -> Pools:
        for pool in self._pools:
            await pool.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        for pool in self._pools:
            await pool.__aexit__(kind, error, traceback)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response, its body yet to come."""
        least_busy = self._under_way.index(min(self._under_way))
        self._under_way[least_busy] += 1
        try:
            return await self._pools[least_busy].handle_async_request(request)
        finally:
            self._under_way[least_busy] -= 1

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.aclose()
