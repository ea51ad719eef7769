"""Measure isc against bare encoding, transformers and two packages called renderers; writes docs/benchmarks.md.

    make bench                                      # measure everything, rewrite docs/benchmarks.md
    python benchmarks/run.py --dry-run              # measure, print, write nothing
    python benchmarks/run.py --rounds 5 --only bridge

Figures are ratios of medians measured in one process, variants taking turns, every engine on text it has not seen.
Needs the reference data (`ISC_REFERENCE`) and the `peers` dependency group.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from fastokens import Tokenizer

import isc
from conversations import agent, coding, short, tools
from measure import interleaved, machine, put

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
CYCLES = 33  # of an agent conversation: about 32,000 tokens
CODING = 64  # cycles of a coding conversation: as many


class Row(msgspec.Struct, frozen=True):
    """One figure with what it has to reach."""

    what: str
    figure: str
    target: str
    reached: bool


class Subjects:
    """What is measured: isc and its peers on one vocabulary."""

    def __init__(self, reference: Path) -> None:
        import renderers
        from transformers import AutoTokenizer

        self.reference = reference
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        for path in (reference / "tokenizers" / "qwen3").iterdir():
            shutil.copy(path, folder)
        shutil.copy(reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja", folder)
        self.isc = isc.load(folder)
        self.bare = Tokenizer.from_json_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
        self.transformers: Any = AutoTokenizer.from_pretrained(folder)
        self.peer: Any = renderers.create_renderer(self.transformers, renderers.Qwen3RendererConfig())
        tml = import_module("tml_renderers")  # has no types that can be read without it
        self.tml: Any = tml.renderers.Qwen3()
        self.tml_messages: Any = tml.chat.OpenAIMessage.from_oss_messages

    def text(self, messages: list[dict[str, Any]]) -> str:
        """What the template renders."""
        return "".join(segment.text for segment in self.isc.segments(messages, tools()))


class Given(msgspec.Struct, frozen=True):
    """One conversation as each variant takes it: messages, the text of another one like it, arguments as JSON text."""

    messages: list[dict[str, Any]]
    text: str
    written: list[dict[str, Any]]


def rendering(subjects: Subjects, rounds: int) -> Iterator[Row]:
    """Conversations of about 32,000 tokens, rendered by everybody: an agent's, and one that is all code."""
    yield from _beside_peers(subjects, rounds)
    offered = tools()
    variants: dict[str, Callable[[Given], object]] = {
        "isc": lambda given: subjects.isc.render(given.messages, offered),
        "bare": lambda given: subjects.bare.encode(given.text).ids,
        "parts": lambda given: subjects.isc.render(given.messages, offered, parts=True),
    }
    median = interleaved(variants, _fresh(subjects, lambda seed: coding(seed, CODING)), rounds=rounds * 2)
    tokens = len(subjects.isc.render(coding(1, CODING), offered))
    name = f"`render` with attribution, {tokens:,} tokens of code in {2 * CODING + 3} messages"
    yield at_most(f"{name}: times the bare fastokens encode", median["isc"] / median["bare"], 3.0)
    yield at_most(
        "the same with the parts of bodies (`parts=True`): times without", median["parts"] / median["isc"], 1.25
    )


def _fresh(subjects: Subjects, make: Callable[[int], list[dict[str, Any]]]) -> Callable[[int], Given]:
    def fresh(seed: int) -> Given:
        messages = make(seed)
        return Given(messages, subjects.text(make(seed + 10**15)), [_written(message) for message in messages])

    return fresh


def _written(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose calls have their arguments as JSON text, as OpenAI's do."""
    calls = [call["function"] for call in message.get("tool_calls", ())]
    functions = [{**function, "arguments": msgspec.json.encode(function["arguments"]).decode()} for function in calls]
    if not functions:
        return message
    pairs = zip(message["tool_calls"], functions, strict=True)
    return {**message, "tool_calls": [{**call, "function": function} for call, function in pairs]}


def _beside_peers(subjects: Subjects, rounds: int) -> Iterator[Row]:
    offered = tools()
    variants: dict[str, Callable[[Given], object]] = {
        "isc": lambda given: subjects.isc.render(given.messages, offered),
        "bare": lambda given: subjects.bare.encode(given.text).ids,
        "sample": lambda given: isc.build_training_sample(subjects.isc, given.messages, offered).loss_mask,
        "transformers": lambda given: subjects.transformers.apply_chat_template(
            given.messages, tools=offered, tokenize=True
        ),
        "renderers": lambda given: subjects.peer.render(given.messages, tools=offered),
        "tml": lambda given: subjects.tml.render_for_completion(subjects.tml_messages(given.written)),
    }
    median = interleaved(variants, _fresh(subjects, lambda seed: agent(seed, CYCLES)), rounds=rounds)
    tokens = len(subjects.isc.render(agent(1, CYCLES), offered))
    ours = median["isc"]
    name = f"`render` with attribution, {tokens:,} tokens"
    yield at_most(f"{name}: times the bare fastokens encode", ours / median["bare"], 3.0)
    yield at_least(f"{name}: faster than `apply_chat_template`", median["transformers"] / ours, 15.0)
    yield at_least(f"{name}: faster than `renderers` 0.1.12", median["renderers"] / ours, 12.0)
    yield at_least(f"{name}: faster than `tml-renderers` 0.2.1, which is given no tools", median["tml"] / ours, 3.0)
    yield at_most("`build_training_sample` with its mask: times `render`", median["sample"] / ours, 1.3)


def shorts(subjects: Subjects, rounds: int) -> Iterator[Row]:
    """A thousand short conversations."""
    variants: dict[str, Callable[[list[list[dict[str, Any]]]], object]] = {
        "isc": lambda given: [subjects.isc.render(messages) for messages in given],
        "renderers": lambda given: [subjects.peer.render(messages) for messages in given],
    }
    median = interleaved(
        variants, lambda seed: [short(seed * 10**4 + k) for k in range(1000)], rounds=max(3, rounds // 3), warm_up=1
    )
    yield at_least(
        "1,000 short conversations: faster than `renderers` 0.1.12", median["renderers"] / median["isc"], 8.0
    )


def bridging(subjects: Subjects, rounds: int) -> Iterator[Row]:
    """One tool message after a short and a long history."""
    renderer = subjects.isc
    completion = (*renderer.encoder.encode_batch(["I will look."]), (renderer.get_stop_token_ids()[0],))
    sampled = tuple(token_id for ids in completion for token_id in ids)
    long = renderer.render_ids(agent(2, CYCLES * 4), tools(), True)

    def bridge(length: int) -> Callable[[list[dict[str, Any]]], object]:
        prompt = long[-length:]
        return lambda new: renderer.bridge_to_next_turn(prompt, sampled, new)

    def fresh(seed: int) -> list[dict[str, Any]]:
        return [{"role": "tool", "content": agent(seed, 1)[3]["content"]}]

    median = interleaved({"short": bridge(1000), "long": bridge(128_000)}, fresh, rounds=rounds * 8, warm_up=20)
    yield at_most(
        f"`bridge_to_next_turn` of one tool message: {min(len(long), 128_000):,} tokens of history, times 1,000",
        median["long"] / median["short"],
        5.0,
    )


def importing(_: Subjects, rounds: int) -> Iterator[Row]:
    """`import isc` in a fresh interpreter."""
    code = (
        "import sys, time; start = time.process_time(); import isc; print((time.process_time() - start) * 1e3, "
        "*(name for name in ('transformers', 'httpx', 'rich', 'jinja2', 'torch') if name in sys.modules))"
    )
    times: list[float] = []
    loaded: set[str] = set()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _turn in range(max(5, rounds)):  # the first compiles, as the first of a user's does
        took, *names = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True, env=environment
        ).stdout.split()
        times.append(float(took))
        loaded.update(names)
    yield at_most("`import isc`: milliseconds", sorted(times)[len(times) // 2], 80.0)
    yield Row(
        "`import isc` loads of transformers, httpx, rich, jinja2, torch",
        ", ".join(loaded) or "none",
        "none",
        not loaded,
    )


def serializing(subjects: Subjects, rounds: int) -> Iterator[Row]:
    """A `RenderedTokens` of 128,000 tokens."""
    messages = agent(3, CYCLES * 4)
    subjects.isc.render(messages, tools())  # the engine makes its integers once
    tracemalloc.start()
    rendered = subjects.isc.render(messages, tools())
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    encode = msgspec.json.Encoder().encode
    data = encode(rendered)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        encode(rendered)
        times.append((time.perf_counter() - start) * 1e3)
    name = f"`RenderedTokens` of {len(rendered):,} tokens"
    yield at_most(f"{name}: milliseconds to JSON", sorted(times)[len(times) // 2], 5.0)
    yield at_most(f"{name}: megabytes of JSON", len(data) / 1e6, 1.0)
    yield at_most(f"{name}: bytes a token in memory", size / len(rendered), 45.0)
    assert msgspec.json.decode(data, type=isc.RenderedTokens) == rendered


def tracing(subjects: Subjects, rounds: int) -> Iterator[Row]:
    """Any template, traced, against plain Jinja."""
    from tracing import growth, ratios, summary

    found = list(ratios(subjects.reference, CYCLES, max(3, rounds // 3)))
    median, name, worst = summary(found)
    yield at_most(f"tracing {len(found)} templates: times plain Jinja, median", median, 8.0)
    yield at_most(f"the same, worst ({name})", worst, 8.0)
    template = subjects.reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja"
    grown = growth(template.read_text(encoding="utf-8"), CYCLES // 4, rounds)
    yield at_most("tracing four times the messages: times as long", grown, 5.0)


MEASUREMENTS = {
    "render": rendering,
    "short": shorts,
    "bridge": bridging,
    "import": importing,
    "serialize": serializing,
    "trace": tracing,
}


def at_most(what: str, value: float, limit: float) -> Row:
    """A figure that must not be larger."""
    return Row(what, f"{value:.2f}", f"<= {limit:g}", value <= limit)


def at_least(what: str, value: float, limit: float) -> Row:
    """A figure that must not be smaller."""
    return Row(what, f"{value:.1f}", f">= {limit:g}", value >= limit)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | must be | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.figure} | {row.target} | {_verdict(row)} |" for row in rows]
    return "\n".join([*lines, "", f"Measured on: {machine()}."])


def _verdict(row: Row) -> str:
    if not row.target:
        return ""
    return "reached" if row.reached else "**missed**"


def write(page: Path, rows: list[Row]) -> None:
    """Put the rows between the page's markers."""
    put(page, "measured", table(rows))


def main() -> int:
    """Measure; the exit code is 1 where a figure misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds a variant (default: 15)")
    parser.add_argument("--only", choices=MEASUREMENTS, help="one measurement alone")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    arguments = parser.parse_args()
    reference = Path(os.environ.get("ISC_REFERENCE") or ROOT.parent / "shared" / "reference")
    if not reference.is_dir():
        print(f"no reference data at {reference}; set ISC_REFERENCE to its directory", file=sys.stderr)
        return 2
    subjects = Subjects(reference)
    chosen = [MEASUREMENTS[arguments.only]] if arguments.only else list(MEASUREMENTS.values())
    rows = [row for measurement in chosen for row in measurement(subjects, arguments.rounds)]
    print(table(rows))
    if not arguments.dry_run and not arguments.only:
        write(PAGE, rows)
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
