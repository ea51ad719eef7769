"""Write the figures of docs/engine.md: the episodes of this suite, by isc and by re-rendering with transformers.

    make engine-figures                        # play, measure, rewrite the page
    python tests/engine/figures.py --dry-run   # print, write nothing

Needs the reference data (`ISC_REFERENCE`) and the `engine` dependency group.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from engine.episodes import RENDERERS, SEED, Played, play_all, vocabulary  # noqa: E402 - found through the path set above
from engine.incumbent import Followed, Tokens, followed, tokens  # noqa: E402
from engine.model import TinyModel  # noqa: E402
from isc.conversation.rollout import SampledTokens  # noqa: E402

PAGE = ROOT / "docs" / "engine.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
KINDS = ("tool results after a well-formed turn", "tool results after a malformed turn", "a user message")


def main() -> int:
    """Play, measure, and write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="print the tables, write nothing")
    reference = Path(os.environ.get("ISC_REFERENCE") or ROOT.parent / "shared" / "reference")
    arguments = parser.parse_args()
    played, trainer = play_all(), TinyModel(len(vocabulary()))
    turns = list(followed(played, reference))
    left = list(tokens(played, reference, trainer.scores))
    text = "\n".join(
        [*episodes(played), "", *logprobs(played, trainer), "", *prompts(turns), "", *kept(left), "", *where()]
    )
    if arguments.dry_run:
        print(text)
        return 0
    page = PAGE.read_text(encoding="utf-8")
    head, tail = page[: page.index(START) + len(START)], page[page.index(END) :]
    PAGE.write_text(f"{head}\n{text}\n{tail}", encoding="utf-8")
    return 0


def episodes(played: Sequence[Played]) -> Iterator[str]:
    """What was played."""
    turns = [turn for one in played for turn in one.turns]
    statuses = Counter(call.status for turn in turns for call in turn.response.tool_calls)
    malformed = [f"{count} `{status}`" for status, count in statuses.most_common() if status != "ok"]
    finished = Counter(turn.finish_reason == "length" for turn in turns)
    yield from row("episodes", "turns", "sampled tokens", "cut off", "attempted calls", "of them not `ok`")
    yield from row(*["---"] * 6)
    yield from row(
        len(played),
        len(turns),
        sum(len(turn.completion_ids) for turn in turns),
        finished[True],
        statuses.total(),
        f"{statuses.total() - statuses['ok']} ({', '.join(malformed)})",
    )


def logprobs(played: Sequence[Played], trainer: TinyModel) -> Iterator[str]:
    """What the trainer recomputes on isc's ids."""
    yield from row("log-probabilities recomputed on isc's final ids", "sampled tokens", "largest difference")
    yield from row("---", "---", "---")
    groups: dict[str, list[SampledTokens]] = {
        "in the episode": [one.episode for one in played],
        "set aside at a re-render": [sample for one in played for sample in one.episode.abandoned],
    }
    for what, group in groups.items():
        found = [
            abs(ours - (reported or 0.0))
            for sample in group
            for ours, reported, trained in zip(
                trainer.scores(sample.token_ids), sample.logprobs, sample.loss_mask, strict=True
            )
            if trained
        ]
        yield from row(what, len(found), f"{max(found):.1e}")


def prompts(turns: Sequence[Followed]) -> Iterator[str]:
    """Where ids that the model saw or sampled were rewritten in the next prompt."""
    head = ("the next prompt", "prompts", "isc re-rendered", "`apply_chat_template` rewrote", "text the same, ids not")
    yield from row(*head)
    yield from row(*["---"] * len(head))
    for kind in KINDS:
        yield from row(f"after {kind}", *rewritten([turn for turn in turns if turn.kind == kind]))
    for name in RENDERERS:
        yield from row(
            f"{name}, tool results only", *rewritten([t for t in turns if t.name == name and t.kind in KINDS[:2]])
        )
    yield from row("all", *rewritten(turns))
    yield from row("episodes with at least one", *by_episode(turns))


def rewritten(turns: Sequence[Followed]) -> Iterator[str]:
    """The columns for some turns."""
    yield str(len(turns))
    yield share(sum(turn.refused for turn in turns), turns)
    yield share(sum(turn.fate != "kept" for turn in turns), turns)
    yield share(sum(turn.fate == "other ids" for turn in turns), turns)


def by_episode(turns: Sequence[Followed]) -> Iterator[str]:
    """The columns counted by episode."""
    all_of_them = {turn.episode for turn in turns}
    yield str(len(all_of_them))
    yield share(len({turn.episode for turn in turns if turn.refused}), all_of_them)
    yield share(len({turn.episode for turn in turns if turn.fate != "kept"}), all_of_them)
    yield share(len({turn.episode for turn in turns if turn.fate == "other ids"}), all_of_them)


def kept(left: Sequence[Tokens]) -> Iterator[str]:
    """What is left of the sampled tokens when the whole episode is rendered at its end."""
    moved = [distance for one in left for distance in one.moved]
    same, absent = sum(one.same for one in left), sum(one.absent for one in left)
    everything = range(same + len(moved) + absent)
    yield from row("sampled tokens in a final `apply_chat_template`", "tokens", "log-probability off by")
    yield from row("---", "---", "---")
    yield from row("behind the ids they were sampled behind", share(same, everything), "nothing")
    off = f"{median(moved):.3f} in the median, {fmean(moved):.2f} on average, {max(moved):.1f} at most"
    yield from row("behind other ids", share(len(moved), everything), off)
    yield from row("not there", share(absent, everything), "cannot be said")


def where() -> Iterator[str]:
    """What the figures depend on."""
    names = ("torch", "transformers", "uvicorn")
    yield f"Measured with seed {SEED}, Python {platform.python_version()}, " + ", ".join(
        f"{n} {version(n)}" for n in names
    )


def share(count: int, of: Collection[object]) -> str:
    """A count with its percentage."""
    return f"{count} ({count / len(of):.0%})" if of else "0"


def row(*cells: object) -> Iterator[str]:
    """A line of a Markdown table."""
    yield f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
