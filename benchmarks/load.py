"""Measure `isc.client`: calls under faults, and how long the event loop is kept; writes the table of docs/client.md.

    python benchmarks/load.py                # measure, rewrite docs/client.md
    python benchmarks/load.py --dry-run      # measure, print, write nothing

Needs the reference data (`ISC_REFERENCE`) and the `test` dependency group. The engine is that of
the tests, an HTTP server on 127.0.0.1; for the event loop it runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import httpx

import isc
from conversations import agent, tools
from isc.client import Generation, connect, generate
from isc.encoding.encoders import embedded, from_file
from run import Row, at_most, table, write

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "client.md"
CALLS = 500
CYCLES = 137  # of an agent conversation: about 130,000 tokens
TICK = 20.0  # milliseconds
sys.path.insert(0, str(ROOT / "tests"))

Arguments: TypeAlias = Callable[[int], dict[str, Any]]


def loads(small: isc.Renderer) -> Iterator[Row]:
    """500 calls at a time, with and without faults."""
    from client_load import load

    tally = asyncio.run(load(small, CALLS, seed=7, share=0.45))
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(tally.outcomes.items()))
    name = f"{CALLS} calls at a time, 45 % of answers faulty"
    yield Row(f"{name}: outcomes ({tally.requests} requests)", outcomes, "all typed", not tally.untyped)
    yield at_most(f"{name}: hanging, or left behind", tally.left_over, 0)
    yield at_most(f"{name}: answered with another's tokens", tally.strangers, 0)
    yield at_most(f"{name}: seconds", tally.seconds, 20)
    tally = asyncio.run(load(small, CALLS, seed=8, share=0.0))
    yield at_most(f"{CALLS} calls at a time, no fault: seconds", tally.seconds, 10)
    alone = asyncio.run(load(small, CALLS, seed=8, share=0.0, client_of=one_pool))
    yield Row("the same by one httpx pool in place of `connect`: seconds", f"{alone.seconds:.2f}", "", reached=True)


def one_pool(url: str) -> httpx.AsyncClient:
    """Httpx as it comes, without limits."""
    return httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=None), timeout=None)


def loop(renderers: dict[str, isc.Renderer], rounds: int) -> Iterator[Row]:
    """How late a coroutine is that wants to run every millisecond, while calls are made."""
    for vocabulary, renderer in renderers.items():
        tokens = len(renderer.render(agent(1, CYCLES), tools()))
        yield late(f"4 prompts of {tokens:,} tokens, {vocabulary}", renderer, rounds, in_agent_turns)
        tokens = len(renderer.render(one_text(1)["messages"]))
        yield late(f"4 prompts of one text of {tokens:,} tokens, {vocabulary}", renderer, rounds, one_text)
    renderer = renderers["Qwen3's vocabulary"]
    for tokens, limit in ((32_000, TICK), (128_000, None)):
        name = f"1 completion of {tokens:,} tokens, checked and parsed"
        yield late(name, renderer, rounds, sampling(tokens), calls=1, limit=limit)
    start = time.perf_counter()
    renderer.render(agent(time.time_ns(), CYCLES), tools())
    figure = f"{(time.perf_counter() - start) * 1e3:.1f}"
    yield Row(
        "to compare: milliseconds that one such render would keep the loop, called from it", figure, "", reached=True
    )


def in_agent_turns(seed: int) -> dict[str, Any]:
    """An agent's conversation."""
    return {"messages": agent(seed, CYCLES), "tools": tools()}


def one_text(seed: int) -> dict[str, Any]:
    """The same much text in one message."""
    return {
        "messages": [{"role": "user", "content": "\n".join(str(turn["content"]) for turn in agent(seed, CYCLES + 40))}]
    }


def sampling(tokens: int) -> Arguments:
    """A short prompt with a long answer."""
    return lambda seed: {"prompt_ids": [seed % 1000], "sampling_params": {"min_tokens": tokens}}


def late(
    what: str, renderer: isc.Renderer, rounds: int, arguments: Arguments, calls: int = 4, limit: float | None = TICK
) -> Row:
    """The worst tick: the median of rounds is what counts, the range is told."""
    from client_load import engine_apart, worst_tick

    async def once(url: str) -> float:
        given = [arguments(time.time_ns() + k) for k in range(calls)]
        gc.collect()  # what made the conversations is not what is measured
        async with connect(url) as client:
            await generate(client, renderer, prompt_ids=[5], max_prompt_len=9)
            return await worst_tick([call(client, renderer, each) for each in given])

    with engine_apart() as url:
        worst = sorted(asyncio.run(once(url)) * 1e3 for _ in range(rounds))
    median = statistics.median(worst)
    figure = f"{median:.1f} ({worst[0]:.1f} to {worst[-1]:.1f})"
    name = f"milliseconds a tick is late at worst, {what}"
    return Row(name, figure, "", reached=True) if limit is None else Row(name, figure, f"<= {limit:g}", median <= limit)


async def call(client: httpx.AsyncClient, renderer: isc.Renderer, given: dict[str, Any]) -> Generation:
    """One call that is sent whatever its length."""
    return await generate(client, renderer, max_prompt_len=10**7, **given)


def main() -> int:
    """Measure; the exit code is 1 where a figure misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each tick measurement (default: 15)")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    arguments = parser.parse_args()
    reference = Path(os.environ.get("ISC_REFERENCE") or ROOT.parent / "shared" / "reference")
    if not reference.is_dir():
        print(f"no reference data at {reference}; set ISC_REFERENCE to its directory", file=sys.stderr)
        return 2
    small = isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3())
    real = isc.create_renderer(from_file(reference / "tokenizers" / "qwen3" / "tokenizer.json"), isc.Qwen3())
    vocabularies = {"Qwen3's vocabulary": real, "the small vocabulary": small}
    rows = [*loads(small), *loop(vocabularies, arguments.rounds)]
    busy = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    rows.append(
        Row("to judge all this by: processes that wanted to run meanwhile (load average)", busy, "", reached=True)
    )
    print(table(rows))
    if not arguments.dry_run:
        write(PAGE, rows)
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
