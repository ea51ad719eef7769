"""Many calls at a time against an engine with every fault, and what each came to; how long an event loop is kept."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx import AsyncClient

import isc
from engine_server import Answer, Received, Reply, engine, generating, healthy, sampled
from isc.client import Generation, ProtocolName, Retries, connect, generate

WORDS = ("the", "test", "file", "error", "value", "run", "line", "result", "data", "call", "path", "server", "time")
FAULTS = ("dropped", "half", "length", "500", "503", "429", "garbage", "cut off", "another's")
PROTOCOLS: tuple[ProtocolName, ...] = ("vllm", "sglang", "completions")
PATIENCE = 60.0  # seconds after which a call counts as hanging


def faulty(seed: int, share: float) -> Answer:
    """An engine that answers this share of requests with a fault, and all after a delay of up to 0.2 s."""
    source = random.Random(seed)
    last: list[Received] = []

    def answer(received: Received) -> Reply:
        fault = source.choice(FAULTS) if source.random() < share else ""
        right = healthy(last[-1] if fault == "another's" and last else received)
        last[:] = [received]
        return broken(fault, right, source)

    return generating(answer)


def broken(fault: str, right: Reply, source: random.Random) -> Reply:
    """An answer with this fault."""
    delay = source.uniform(0, 0.2)
    match fault:
        case "dropped":
            return Reply(sent=0, delay=delay)
        case "half":
            return Reply(right.body, sent=source.randrange(1, len(right.raw())), delay=delay)
        case "length":
            return Reply(right.body, length=len(right.body) + 100, delay=delay)
        case "500" | "503":
            return Reply(b'{"error": {"message": "broken"}}', int(fault), delay=delay)
        case "429":
            return Reply(b"busy", 429, {"Retry-After": "0"}, delay)
        case "garbage":
            return Reply(source.randbytes(200), delay=delay)
        case "cut off":
            return Reply(right.body[: source.randrange(len(right.body))], delay=delay)
        case _:
            return Reply(right.body, delay=delay)


@dataclass
class Tally:
    """What calls came to: turns, errors by type, what must not be; and what it took."""

    outcomes: Counter[str] = field(default_factory=Counter)
    strangers: int = 0  # turns that are another prompt's
    untyped: list[BaseException] = field(default_factory=list)
    left_over: int = 0
    requests: int = 0
    seconds: float = 0.0

    def add(self, prompt_ids: Sequence[int], outcome: Generation | BaseException) -> None:
        self.outcomes[type(outcome).__name__] += 1
        if isinstance(outcome, Generation):
            self.strangers += outcome.prompt_ids != prompt_ids
            self.strangers += outcome.completion_ids != tuple(sampled(prompt_ids)[0])
        elif not isinstance(outcome, isc.Error):
            self.untyped.append(outcome)


def conversation(seed: int, words: int, turns: int = 1) -> list[dict[str, Any]]:
    """User and assistant in turn, each saying so many words, a number among every few."""
    source = random.Random(seed)
    found = []
    for turn in range(turns):
        said = " ".join(source.choice(WORDS) if k % 5 else str(source.randrange(10**6)) for k in range(words))
        found.append({"role": "assistant" if turn % 2 else "user", "content": said})
    return found


async def load(
    renderer: isc.Renderer, calls: int, seed: int, share: float, client_of: Callable[[str], AsyncClient] = connect
) -> Tally:
    """So many calls at a time, as many of them in each protocol, to an engine with this share of faults."""
    retries = Retries(attempts=4, timeout=10, total=40, pause=0.02, longest_pause=0.2)
    conversations = [conversation(seed + k, 20 + k % 200) for k in range(calls)]
    tally = Tally()
    async with engine(faulty(seed, share)) as server, client_of(server.url) as client:
        start = time.perf_counter()
        each = [
            generate(client, renderer, messages=messages, model="m", protocol=PROTOCOLS[k % 3], retries=retries)
            for k, messages in enumerate(conversations)
        ]
        outcomes = await asyncio.gather(*(asyncio.wait_for(call, PATIENCE) for call in each), return_exceptions=True)
        tally.seconds = time.perf_counter() - start
        tally.left_over = len(asyncio.all_tasks() - server.connections) - 1
        tally.requests = len(server.generates)
    for messages, outcome in zip(conversations, outcomes, strict=True):
        tally.add(renderer.render_ids(messages, add_generation_prompt=True), outcome)
    return tally


@contextmanager
def engine_apart() -> Iterator[str]:
    """An engine in a process of its own: what it does holds up nobody here."""
    script = Path(__file__).with_name("engine_server.py")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@asynccontextmanager
async def ticks() -> AsyncIterator[list[float]]:
    """Seconds by which a coroutine that wants to run every millisecond was late, while the block runs."""
    late: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            late.append(now - last - 0.001)
            last = now

    task = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    late.clear()
    try:
        yield late
    finally:
        task.cancel()


async def worst_tick(work: Sequence[Awaitable[object]]) -> float:
    """Seconds by which the latest tick was late while all of this was done."""
    async with ticks() as late:
        await asyncio.gather(*work)
    return max(late)
