"""How much longer four times as much takes, for every family: renders, reads, bridges, trajectories, episodes.

    python benchmarks/growth.py             # measure, rewrite the table of docs/benchmarks.md
    python benchmarks/growth.py --dry-run   # measure, print, write nothing

The work is that of `tests/growing.py`, which tests/test_growth.py holds to the same limit. Processor time of one
process, the best of a few attempts; ISC_GROWTH says how much is done (200 of each, and 800).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from measure import machine, put

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from growing import (  # noqa: E402 - found through the path set above
    RATIO,
    SHAPES,
    SIZE,
    Work,
    answered,
    bridging,
    converting,
    grown,
    parsing,
    renderer_of,
    rendering,
    rolling,
    stepping,
)
from isc.formats.catalogue import list_families  # noqa: E402


class Growth(msgspec.Struct, frozen=True):
    """A family's worst ratio of each kind of work; None where the format has no such thing."""

    name: str
    ratios: tuple[float | None, ...]

    @property
    def reached(self) -> bool:
        """Whether none is larger than is allowed."""
        return all(ratio is None or ratio <= RATIO for ratio in self.ratios)


def worst(works: Iterable[Work | None]) -> float | None:
    """The largest ratio of some work; None where there is none."""
    return max((grown(work) for work in works if work is not None), default=None)


def of_family(name: str) -> Growth:
    """The ratios of one family, on isc's own vocabulary."""
    renderer = renderer_of(name)
    rendered = worst(rendering(renderer, shape) for shape in SHAPES)
    others = ([bridging(renderer)], [stepping(renderer)], [rolling(renderer)])
    return Growth(name, (rendered, worst(parsing(renderer)), *map(worst, others)))


def table(found: list[Growth], converted: float) -> str:
    """The ratios as Markdown."""
    lines = ["| family | render | parse | bridge | trajectory | episode | |", "|---|---|---|---|---|---|---|"]
    for row in found:
        ratios = " | ".join("-" if ratio is None else f"{ratio:.1f}" for ratio in row.ratios)
        lines.append(f"| {row.name} | {ratios} | {'reached' if row.reached else '**missed**'} |")
    verdict = "reached" if converted <= RATIO else "**missed**"
    head = f"Each must be <= {RATIO:g}. `isc.convert`, which is the same for all: {converted:.1f}, {verdict}."
    return "\n".join([head, "", *lines, "", f"{SIZE} of each, and {4 * SIZE}. Measured on: {machine()}."])


def main() -> int:
    """Measure; the exit code is 1 where something grows faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    arguments = parser.parse_args()
    found = [of_family(name) for name in list_families()]
    converted = max(grown(converting(shape)) for shape in (*SHAPES, answered))
    print(table(found, converted))
    if not arguments.dry_run:
        put(ROOT / "docs" / "benchmarks.md", "growth", table(found, converted))
    return 0 if converted <= RATIO and all(row.reached for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
