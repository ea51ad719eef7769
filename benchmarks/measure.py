"""Timing that is fair to caching engines: variants take turns, each on text that nothing has seen before."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Input = TypeVar("Input")


def interleaved(
    variants: Mapping[str, Callable[[Input], object]], fresh: Callable[[int], Input], *, rounds: int, warm_up: int = 3
) -> dict[str, float]:
    """Median milliseconds of each variant.

    Args:
        variants: What to time, by name.
        fresh: A new input from a seed; no two calls get the same seed.
        rounds: How often each variant is timed.
        warm_up: Rounds before that, not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    seed = time.time_ns() % 10**9 * 1000
    for turn in range(warm_up + rounds):
        for name, variant in variants.items():
            seed += 1
            given = fresh(seed)
            start = time.perf_counter()
            variant(given)
            elapsed = (time.perf_counter() - start) * 1e3
            if turn >= warm_up:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}
