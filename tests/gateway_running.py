"""A gateway over real HTTP on the loopback, before engines that say what a test wants, each in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn

from engine_server import GENERATE, Engine, Received, Reply, engine, generating
from gateway_sessions import QWEN, ids_of
from isc.gateway.access import Access
from isc.gateway.answering import Gateway
from isc.gateway.engines import Engines
from isc.gateway.server import application
from isc.gateway.serving import Bounds
from isc.gateway.store import Store
from streamed_answers import DONE, Sample, sse, vllm_events


def streamed(received: Received, text: str, reason: str = "stop") -> Reply:
    """A text as vLLM streams it, a few tokens at a time."""
    ids = ids_of(QWEN, text)[: received.body["sampling_params"]["max_tokens"]]
    logprobs = [-(k % 7) / 8 - 0.125 for k in range(len(ids))]
    sizes = [3] * (len(ids) // 3) + ([len(ids) % 3] if len(ids) % 3 else [])
    events = vllm_events(received, Sample(ids, logprobs, sizes or [0], reason))
    return Reply(b"".join([*map(sse, events), DONE]))


def saying(*texts: str) -> Callable[[Received], Reply]:
    """An engine that says these texts one after another, then the last again and again."""
    left = list(texts)
    return generating(lambda received: streamed(received, left.pop(0) if len(left) > 1 else left[0]))


class Running(NamedTuple):
    """A gateway that runs: where, its engines, its record, and the loop it runs in."""

    url: str
    engines: tuple[Engine, ...]
    record: Path
    gateway: Gateway
    loop: asyncio.AbstractEventLoop

    def base(self, session: str = "run-1") -> str:
        return f"{self.url}/sessions/{session}/v1"

    def post(self, path: str, body: Any, session: str = "run-1", **options: Any) -> httpx.Response:  # noqa: ANN401
        return httpx.post(f"{self.url}/sessions/{session}{path}", json=body, timeout=30, **options)

    def chat(self, messages: Sequence[Any], session: str = "run-1", **fields: Any) -> httpx.Response:  # noqa: ANN401
        body = {"model": "m", "messages": list(messages), **fields}
        return self.post("/v1/chat/completions", body, session)

    def get(self, path: str, session: str = "run-1", **options: Any) -> httpx.Response:  # noqa: ANN401
        return httpx.get(f"{self.url}/sessions/{session}{path}", timeout=30, **options)


class _Served:
    """Engines and a gateway before them, in a thread with a loop of its own."""

    def __init__(self, record: Path, access: Access, bounds: Bounds, watch: float, options: Mapping[str, Any]) -> None:
        self.record = record
        self.access = access
        self.bounds = bounds
        self.watch = watch
        self.options = options
        self.opened: queue.Queue[Running | BaseException] = queue.Queue()
        self.ended = asyncio.Event()

    def run(self, answers: Sequence[Callable[[Received], Reply]]) -> None:
        try:
            asyncio.run(self._serve(answers))
        except BaseException as error:
            self.opened.put(error)

    async def _serve(self, answers: Sequence[Callable[[Received], Reply]]) -> None:
        async with AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(engine(answer)) for answer in answers]
            app = application(lambda: self._gateway([one.url for one in engines]), self.access, watch=self.watch)
            configuration = uvicorn.Config(app, "127.0.0.1", 0, log_level="error", timeout_graceful_shutdown=1)
            server = uvicorn.Server(configuration)
            serving = asyncio.ensure_future(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
                if serving.done():
                    serving.result()
            port = server.servers[0].sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            url = f"http://127.0.0.1:{port}"
            self.opened.put(Running(url, tuple(engines), self.record, app.state.gateway, loop))
            await self.ended.wait()
            server.should_exit = True
            await serving

    def _gateway(self, urls: Sequence[str]) -> Gateway:
        options = dict(self.options)
        renderer = options.pop("renderer", QWEN)
        engines = Engines(renderer, urls, **{"protocol": "vllm", **options})
        return Gateway(renderer, engines, Store(self.record, "test"), self.bounds)


@contextmanager
def running(
    record: Path,
    *answers: Callable[[Received], Reply],
    access: Access | None = None,
    bounds: Bounds | None = None,
    watch: float = 3600.0,
    **options: Any,  # noqa: ANN401 - those of Engines, and another renderer
) -> Iterator[Running]:
    """A gateway before engines that answer so, until the block is left."""
    served = _Served(record, access or Access(("m",)), bounds or Bounds(), watch, options)
    thread = threading.Thread(target=served.run, args=(answers,), daemon=True)
    thread.start()
    opened = served.opened.get(timeout=30)
    if isinstance(opened, BaseException):
        raise opened
    try:
        yield opened
    finally:
        opened.loop.call_soon_threadsafe(served.ended.set)
        thread.join(30)


__all__ = ["GENERATE", "Running", "running", "saying", "streamed"]
