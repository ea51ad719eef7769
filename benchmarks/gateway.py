"""Measure `isc serve`: its own processor time a turn at short and long histories, and many failing agents at once.

    python benchmarks/gateway.py               # measure, rewrite docs/gateway.md
    python benchmarks/gateway.py --dry-run     # measure, print, write nothing

The gateway is a process of its own on 127.0.0.1, the engine answers at once. Times are the processor's, so that a busy
machine makes little difference. Needs the `test` dependency group.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from run import Row, table, write

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gateway.md"
TURNS = 40
LENGTHS = (1_000, 8_000, 64_000)
WORDS = "The quick brown fox jumps over the lazy dog and finds two cats in the garden behind the old house. "
sys.path.insert(0, str(ROOT / "tests"))


async def turns_at(record: Path, length: int) -> tuple[int, float, float]:
    """The gateway's processor time and the time that an agent waits for it, for each turn at a history of this length.

    The history grows by tool results until it is as long; then it grows by a word a turn.
    """
    from engine_server import engine, generating
    from gateway_load import cpu_seconds, going_on, served
    from gateway_sessions import user

    async with (
        engine(generating(going_on)) as first,
        served(record, [first.url]) as (url, pid),
        httpx.AsyncClient(timeout=120, trust_env=False) as http,
    ):
        history: list[Any] = [user("I am session-1")]
        waited: list[float] = []
        tokens, before = 0, 0.0
        while len(waited) < TURNS:
            if tokens < length:
                before = cpu_seconds(pid)
            body = msgspec.json.encode({"model": "qwen3", "messages": history, "max_tokens": 64})
            start = time.perf_counter()
            answer = await http.post(f"{url}/sessions/a/v1/chat/completions", content=body)
            waited += [time.perf_counter() - start] if tokens >= length else []
            told = answer.json()
            tokens = told["usage"]["prompt_tokens"]
            assert answer.headers["x-isc-continued"] == ("extended" if len(history) > 1 else "rendered")
            text = "Go on." if tokens >= length else WORDS * 40
            history += [{"role": "assistant", "content": told["choices"][0]["message"]["content"]}, user(text)]
        return tokens, (cpu_seconds(pid) - before) / (TURNS + 1), statistics.median(waited)


def growth() -> Iterator[Row]:
    """One agent, histories of several lengths."""
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as place:
            tokens, cpu, waited = asyncio.run(turns_at(Path(place) / "runs.sqlite", length))
        name = f"a turn behind {tokens:,} tokens"
        yield Row(f"{name}: processor time of the gateway", f"{1000 * cpu:.1f} ms", "", reached=True)
        yield Row(f"{name}: from question to answer", f"{1000 * waited:.1f} ms", "", reached=True)


def crowd(sessions: int, turns: int) -> Iterator[Row]:
    """Many agents at once before engines that fail."""
    from gateway_load import load

    with tempfile.TemporaryDirectory() as place:
        tally = asyncio.run(load(Path(place) / "runs.sqlite", sessions, turns))
    name = f"{sessions} agents of {turns} turns at once, a quarter of the engines' answers faulty"
    outcomes = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.outcomes.items()))
    yield Row(f"{name}: requests", outcomes, "", reached=True)
    yield Row(f"{name}: lost, mixed, counted twice or left hanging", str(len(tally.problems) + tally.strangers), "0",
              reached=not tally.problems and not tally.strangers)  # fmt: skip
    yield Row(
        f"{name}: turns a second and core of the gateway", f"{tally.turns / tally.cpu_seconds:.0f}", "", reached=True
    )


def main() -> int:
    """Measure, and write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    parser.add_argument("--agents", type=int, default=500)
    arguments = parser.parse_args()
    rows = [*growth(), *crowd(arguments.agents, 10)]
    if arguments.dry_run:
        print(table(rows))
    else:
        write(PAGE, rows)
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
