"""A gateway as a process: it listens, says where, and ends as it is asked to."""

from __future__ import annotations

import asyncio
import sys
import warnings

import uvicorn

from isc.errors import UnreadKeyWarning
from isc.gateway.answering import Gateway
from isc.gateway.engines import Engines
from isc.gateway.server import application
from isc.gateway.serving import Serving
from isc.gateway.store import Store

_GRACE = 30  # seconds that turns on their way have when the process is asked to end
_IDLE = 300  # seconds that a connection is kept: one that is closed while its agent asks again is an error to it
_HEAD_BYTES = 64 * 1024  # of a request's line and headers


def listen(serving: Serving) -> None:
    """Serve until the process is asked to end.

    Args:
        serving: What is served.

    Raises:
        RecordError: The record cannot be opened, or is of another model.
        OSError: The address is taken.
    """
    warnings.simplefilter("ignore", UnreadKeyWarning)  # agents send keys of their own in every message
    store = Store(serving.record, serving.about)
    try:
        asyncio.run(_listen(serving, store))
    finally:
        store.close()


async def _listen(serving: Serving, store: Store) -> None:
    server = uvicorn.Server(_configuration(serving, store))
    running = asyncio.ensure_future(server.serve())
    while not server.started and not running.done():
        await asyncio.sleep(0.02)
    if server.started:
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"serving on http://{shown}:{port}, recording in {serving.record}", flush=True)
        print(f"for an agent: OPENAI_BASE_URL=http://{shown}:{port}/sessions/NAME/v1", file=sys.stderr, flush=True)
    await running


def _configuration(serving: Serving, store: Store) -> uvicorn.Config:
    renderer, options = serving.renderer, (serving.engines, serving.engine_model)

    def made() -> Gateway:
        engines = Engines(renderer, *options, protocol=serving.protocol, api_key=serving.api_key)
        return Gateway(renderer, engines, store, serving.bounds)

    return uvicorn.Config(
        application(made, serving.access),
        host=serving.host,
        port=serving.port,
        log_level="warning",
        access_log=False,  # sessions are the agents' own names
        server_header=False,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=_GRACE,
    )
