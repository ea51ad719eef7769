"""Every family that has a reference tokenizer, measured as Qwen3 is: a row a family.

    python benchmarks/by_family.py               # measure, rewrite the table of docs/benchmarks.md
    python benchmarks/by_family.py --rounds 3 --dry-run --only kimi-k2

Conversations are the agent's as far as a format takes them: some have one call a turn, no content beside calls, or no
tools, and results so much longer that all are about 32,000 tokens.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import fastokens
import msgspec

import isc
from conversations import agent, short, tools
from isc.formats.catalogue import family_name
from measure import interleaved, machine, put

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from cases import CASES, Case  # noqa: E402 - found through the path set above
from references import as_the_template_takes_it, encoder_of, ranks_of, write_harmony_ranks  # noqa: E402

Messages: TypeAlias = list[dict[str, Any]]
Variant: TypeAlias = Callable[[Any], object]
CYCLES, TOKENS = 33, 32_000  # of an agent's conversation
MOST, LEAST = 3.0, {"transformers": 15.0, "renderers": 12.0, "short": 8.0}


class Figures(msgspec.Struct, frozen=True):
    """A family's ratios; None where a peer does not take the format, the tokenizer or the conversation."""

    family: str
    tokens: int
    bare: float
    transformers: float | None
    renderers: float | None
    short: float | None

    @property
    def reached(self) -> bool:
        """Whether every ratio is what is asked of Qwen3."""
        ratios = ((getattr(self, name), limit) for name, limit in LEAST.items())
        return self.bare <= MOST and all(ratio is None or ratio >= limit for ratio, limit in ratios)


class Subject:
    """One family on its own vocabulary, and its peers on the same."""

    def __init__(self, case: Case, reference: Path) -> None:
        self.case = case
        self.shape = case.shape()
        self.isc = isc.create_renderer(encoder_of(reference, case.tokenizer), case.family)
        self.offered = tools() if self.shape.offers_tools else None
        self.template = case.reference(reference)
        self.bare = _bare(case, reference)
        self.tokenizer = _tokenizer(case, reference)
        self.peer = _peer(case, self.tokenizer)

    def variants(self) -> dict[str, Variant]:
        """Who renders a conversation that `given` prepared, as far as it can."""
        everybody: dict[str, Variant] = {
            "isc": lambda given: self.isc.render(given, self.offered),
            "bare": self.bare,
            "transformers": self._by_template if self.shape.calls_alone else self._by_transformers,
            "renderers": lambda given: self.peer.render(given, tools=self.offered),
        }
        missing = {"transformers": self.tokenizer is None, "renderers": self.peer is None}
        return {name: one for name, one in everybody.items() if not missing.get(name) and self._works(name, one)}

    def _by_transformers(self, given: Messages) -> object:
        options = self.case.options
        return self.tokenizer.apply_chat_template(given, tools=self.offered, tokenize=True, **options)

    def _by_template(self, given: Messages) -> object:
        """The two steps of `apply_chat_template`, which itself drops content that is None before a template asks."""
        text = self.template.text((given, self.offered), add_generation_prompt=False)
        return self.tokenizer(text, add_special_tokens=False)

    def _works(self, name: str, variant: Variant) -> bool:
        try:
            variant(self.given(name, agent(0, 2)))
        except Exception as error:
            if name == "isc":
                raise
            print(f"{self.case.name}: {name} is not measured: {type(error).__name__}: {error}", file=sys.stderr)
            return False
        return True

    def given(self, variant: str, messages: Messages) -> Any:  # noqa: ANN401 - what a variant takes
        """A conversation as a variant takes it; the bare engine encodes what isc renders."""
        found = self._suited(messages)
        if variant == "bare":
            return "".join(segment.text for segment in self.isc.segments(found, self.offered))
        return as_the_template_takes_it(found, self.case.adaptations) if variant == "transformers" else found

    def _suited(self, messages: Messages) -> Messages:
        """The conversation as far as the format takes it."""
        found: Messages = []
        known: set[str] = set()
        for message in messages:
            if message["role"] == "tool" and message["tool_call_id"] not in known:
                continue
            calls = message.get("tool_calls", [])[: self.shape.most_calls]
            known.update(call["id"] for call in calls)
            alone = calls and (self.shape.calls_alone or not self.shape.content_with_calls)
            found.append({**message, **({"tool_calls": calls} if calls else {}), **({"content": ""} if alone else {})})
        return found


def _bare(case: Case, reference: Path) -> Variant:
    """The fastest engine on a text as it stands, specials recognized, ids as a list."""
    path = reference / "tokenizers" / case.tokenizer
    if (path / "tokenizer.json").is_file():
        fast = fastokens.Tokenizer.from_json_str((path / "tokenizer.json").read_text(encoding="utf-8"))
        return lambda text: fast.encode(text).ids
    return partial(ranks_of(path).encode, allowed_special="all")


def _tokenizer(case: Case, reference: Path) -> Any:  # noqa: ANN401 - transformers' own
    """The model's tokenizer by transformers; None where that takes the model's own code."""
    from transformers import PreTrainedTokenizerFast

    path = reference / "tokenizers" / case.tokenizer / "tokenizer.json"
    if not path.is_file():
        return None
    found: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # as transformers has it
        tokenizer_file=str(path), bos_token=case.bos_token, eos_token=case.eos_token
    )
    found.chat_template = (reference / "templates" / case.template).read_text(encoding="utf-8")
    return found


def _peer(case: Case, tokenizer: Any) -> Any:  # noqa: ANN401 - the peer's own
    """PrimeIntellect's renderer of the same name; None where it has none for this tokenizer."""
    import renderers

    if tokenizer is None:
        return None
    try:
        return renderers.create_renderer(tokenizer, renderers.config_from_name(family_name(case.family)))
    except Exception as error:  # it has no such format, or asks for a token that this tokenizer has not
        print(f"{case.name}: no `renderers`: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def measured(reference: Path, rounds: int, only: str | None) -> Iterator[Figures]:
    """The figures of every family that has a reference tokenizer, by its first case.

    Args:
        reference: The directory of the models' own files.
        rounds: How often each variant is timed.
        only: The one family to measure.
    """
    seen: set[str] = set()
    for case in CASES:
        name = family_name(case.family)
        if case.tokenizer and name not in seen and only in (None, name):
            seen.add(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield _figures(Subject(case, reference), rounds)


def _lines(subject: Subject) -> int:
    """Lines of a tool's result that make the conversation as long as Qwen3's, whatever the format leaves out of it."""

    def tokens(lines: int) -> int:
        return len(subject.isc.render(subject.given("isc", agent(1, CYCLES, lines)), subject.offered))

    few, more = tokens(9), tokens(29)
    return max(1, round(9 + 20 * (TOKENS - few) / (more - few)))


def _figures(subject: Subject, rounds: int) -> Figures:
    variants = subject.variants()
    gc.collect()
    gc.freeze()  # what tests and peers hold is no part of a render
    lines = _lines(subject)
    fresh = partial(agent, cycles=CYCLES, lines=lines)
    long = interleaved(variants, fresh, rounds=rounds, warm_up=2, prepare=subject.given)
    both = {name: variants[name] for name in ("isc", "renderers") if name in variants}
    many = interleaved(
        {name: partial(_each, one) for name, one in both.items()},
        lambda seed: [short(seed * 10**4 + k) for k in range(500)],
        rounds=max(3, rounds // 2),
        warm_up=1,
    )
    tokens = len(subject.isc.render(subject.given("isc", agent(1, CYCLES, lines)), subject.offered))
    faster = {name: long[name] / long["isc"] for name in ("transformers", "renderers") if name in long}
    return Figures(
        family_name(subject.case.family),
        tokens,
        long["isc"] / long["bare"],
        faster.get("transformers"),
        faster.get("renderers"),
        many["renderers"] / many["isc"] if "renderers" in many else None,
    )


def _each(variant: Variant, conversations: list[Messages]) -> list[object]:
    return [variant(messages) for messages in conversations]


def table(figures: list[Figures]) -> str:
    """The figures as Markdown."""
    lines = [
        f"| family | tokens | times the bare engine (<= {MOST:g}) | faster than `apply_chat_template` "
        f"(>= {LEAST['transformers']:g}) | faster than `renderers` (>= {LEAST['renderers']:g}) | 500 short ones "
        f"(>= {LEAST['short']:g}) | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures:
        faster = (row.transformers, row.renderers, row.short)
        ratios = (f"{ratio:.1f}" if ratio is not None else "-" for ratio in faster)
        verdict = "reached" if row.reached else "**missed**"
        lines.append(f"| {row.family} | {row.tokens:,} | {row.bare:.2f} | {' | '.join(ratios)} | {verdict} |")
    return "\n".join([*lines, "", f"Measured on: {machine()}."])


def main() -> int:
    """Measure; the exit code is 1 where a figure misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds a variant (default: 9)")
    parser.add_argument("--only", help="one family alone")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    arguments = parser.parse_args()
    reference = Path(os.environ.get("ISC_REFERENCE") or ROOT.parent / "shared" / "reference")
    if not reference.is_dir():
        print(f"no reference data at {reference}; set ISC_REFERENCE to its directory", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place:  # where the peer's gpt-oss finds its vocabulary
        write_harmony_ranks(reference, Path(place))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = place
        found = list(measured(reference, arguments.rounds, arguments.only))
    print(table(found))
    if not arguments.dry_run and not arguments.only:
        put(ROOT / "docs" / "benchmarks.md", "families", table(found))
    return 0 if all(row.reached for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
