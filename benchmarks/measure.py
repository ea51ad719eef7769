"""Timing that is fair to caching engines: variants take turns, each on text that nothing has seen before."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Input = TypeVar("Input")


def machine() -> str:
    """What figures were measured on, when, and how many processes wanted to run there in the last five minutes."""
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}, "
        f"{time.strftime('%Y-%m-%d')}, load average {os.getloadavg()[1]:.1f}"
    )


def put(page: Path, name: str, text: str) -> None:
    """Put a text between a page's markers of that name."""
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    page.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def interleaved(
    variants: Mapping[str, Callable[[Any], object]],
    fresh: Callable[[int], Input],
    *,
    rounds: int,
    warm_up: int = 3,
    prepare: Callable[[str, Input], object] | None = None,
) -> dict[str, float]:
    """Median milliseconds of the process's own time that each variant takes: others use the machine too.

    Args:
        variants: What to time, by name.
        fresh: A new input from a seed; no two calls get the same seed.
        rounds: How often each variant is timed.
        warm_up: Rounds before that, not counted.
        prepare: What a variant, by name, is given of an input; that is not timed.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    seed = time.time_ns() % 10**9 * 1000
    for turn in range(warm_up + rounds):
        for name, variant in variants.items():
            seed += 1
            made = fresh(seed)
            given = prepare(name, made) if prepare else made
            start = time.process_time()
            variant(given)
            elapsed = (time.process_time() - start) * 1e3
            if turn >= warm_up:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}
