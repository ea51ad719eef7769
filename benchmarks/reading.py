"""What reading a turn costs while it is sampled: 100,000 ids one at a time, every family.

    python benchmarks/reading.py                # measure, rewrite the table of docs/benchmarks.md
    python benchmarks/reading.py --dry-run      # measure, print, write nothing
    python benchmarks/reading.py --only qwen3 --count 10000

Two turns a family, behind their prompts: reasoning and content, and a call with one long argument. Processor time of
one process, the better of two runs, isc's own vocabulary: no peers and no reference data are needed.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

import isc
from isc.formats.catalogue import list_families
from measure import machine, put

ROOT = Path(__file__).resolve().parent.parent
COUNT, MOST = 100_000, 5.0
RUNS = 2
USER: dict[str, Any] = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}


class Reading(msgspec.Struct, frozen=True):
    """What one kind of turn costs: microseconds an id, and how much longer four times as many ids take."""

    micros: float
    grown: float


class Row(msgspec.Struct, frozen=True):
    """A family's turns; None where the format has none of a kind."""

    name: str
    said: Reading
    called: Reading | None

    @property
    def reached(self) -> bool:
        """Whether reading is linear."""
        return all(one is None or one.grown <= MOST for one in (self.said, self.called))


def sampled(renderer: isc.Renderer, answer: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a prompt and what would be sampled of an answer to it."""
    offered = [TOOL] if renderer.family.shape.offers_tools else None
    prompt = renderer.render_ids([USER], offered, add_generation_prompt=True)
    whole = renderer.render_ids([USER, answer], offered)
    pairs = enumerate(zip(prompt, whole, strict=False))
    start = next((place for place, (ours, theirs) in pairs if ours != theirs), len(prompt))
    return whole[:start], whole[start:]


def read(renderer: isc.Renderer, prompt: Sequence[int], ids: Sequence[int]) -> float:
    """Return the seconds that a turn takes, one id at a time."""
    reader = renderer.reader(prompt_ids=prompt, tools=[TOOL])
    start = time.process_time()
    for token_id in ids:
        reader, _ = reader.feed((token_id,))
    return time.process_time() - start


def measured(renderer: isc.Renderer, answers: tuple[dict[str, Any], dict[str, Any]]) -> Reading:
    """Return what the longer of two answers costs, and how much more that is than the shorter."""
    small, large = (sampled(renderer, answer) for answer in answers)
    gc.collect()
    gc.disable()
    try:
        few = min(read(renderer, *small) for _ in range(RUNS)) / len(small[1])
        many = min(read(renderer, *large) for _ in range(RUNS)) / len(large[1])
    finally:
        gc.enable()
    return Reading(many * 1e6, 4 * many / few)


def said(renderer: isc.Renderer, count: int) -> dict[str, Any]:
    """An answer of so many ids, half of them reasoning where the format has that."""
    if not renderer.family.has_reasoning:
        return {"role": "assistant", "content": "word " * count}
    return {"role": "assistant", "content": "word " * (count // 2), "reasoning_content": "word " * (count // 2)}


def called(count: int) -> dict[str, Any]:
    """A call of so many ids."""
    function = {"name": "f", "arguments": {"x": "word " * count}}
    calls = [{"id": "call00000", "type": "function", "function": function}]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def of_family(name: str, count: int) -> Row:
    """Measure one family."""
    family = list_families()[name]()
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family)
    calls = None
    if family.shape.offers_tools:
        calls = measured(renderer, (called(count // 4), called(count)))
    return Row(name, measured(renderer, (said(renderer, count // 4), said(renderer, count))), calls)


def table(rows: Sequence[Row], count: int) -> str:
    """The rows as Markdown."""
    head = (
        "| family | text: microseconds an id | four times as many | a call: microseconds an id | four times as many | |"
    )
    lines = [head, "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [f"{one.micros:.1f} | {one.grown:.1f}" if one else "- | -" for one in (row.said, row.called)]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {'reached' if row.reached else '**missed**'} |")
    tail = f"{count // 4:,} ids and {count:,}, one at a time. Measured on: {machine()}."
    return "\n".join([f"Four is linear; each must be <= {MOST:g}.", "", *lines, "", tail])


def main() -> int:
    """Measure; the exit code is 1 where reading is not linear."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help=f"ids a turn (default: {COUNT})")
    parser.add_argument("--only", choices=list(list_families()), help="one family alone")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(list_families())
    rows = [of_family(name, arguments.count) for name in names]
    print(table(rows, arguments.count))
    if not arguments.dry_run and not arguments.only:
        put(ROOT / "docs" / "benchmarks.md", "reading", table(rows, arguments.count))
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
