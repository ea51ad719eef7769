"""Train the vocabulary that `isc` carries, so that its demo and its tests need no network.

Reads only `corpus/` (texts written for this) and `templates/` (patterns filled in with seeded choices), so the same
sources give the same bytes. `--check` retrains and exits with 1 if the shipped file differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "src" / "isc" / "data" / "vocabulary.json"

SEED = 20250115
VOCABULARY_SIZE = 8000
BYTE_LIMIT = 300_000
FILLINGS_PER_TEMPLATE = 60

# One of the patterns that `fastokens` knows by heart; marks stay with their letters, so Indic words are not torn apart.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SLOT = re.compile(r"\[\[(\w+)\]\]")
SLOTS: dict[str, list[str]] = json.loads((HERE / "templates" / "slots.json").read_text(encoding="utf-8"))


def corpus() -> Iterator[str]:
    """Yield the written texts, by name, for directory order differs between machines."""
    for path in sorted((HERE / "corpus").glob("*.txt")):
        yield path.read_text(encoding="utf-8")


def templates() -> Iterator[str]:
    """Yield every pattern; a line of three equals signs ends one."""
    for path in sorted((HERE / "templates").glob("*.txt")):
        yield from path.read_text(encoding="utf-8").split("\n===\n")


def fill(template: str, source: random.Random) -> str:
    """Replace each slot by a choice of its own; a slot with a capital letter gets its word with one."""

    def choose(slot: re.Match[str]) -> str:
        name = slot[1]
        choices = SLOTS[name.lower()]
        # Of all methods of Random only random() is promised to give the same numbers in every Python version.
        choice = choices[int(source.random() * len(choices))]
        return choice if name.islower() else choice.capitalize()

    return SLOT.sub(choose, template)


def generated() -> Iterator[str]:
    """Yield every template, filled in many times."""
    source = random.Random(SEED)
    for template in templates():
        for _ in range(FILLINGS_PER_TEMPLATE):
            yield fill(template, source)


def train() -> Tokenizer:
    """Train a byte-level BPE without any added token: a family brings its own."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer(BPE())
    split = Split(Regex(PATTERN), behavior="isolated")
    tokenizer.pre_tokenizer = Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        min_frequency=2,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*corpus(), *generated()], trainer=trainer)
    return tokenizer


def compact(tokenizer: Tokenizer) -> bytes:
    """Write `tokenizer.json` with every merge as one string, which both engines read and which is a third shorter."""
    document = json.loads(tokenizer.to_str())
    model = document["model"]
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return (text + "\n").encode()


def main() -> int:
    """Write the vocabulary, or with `--check` compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="retrain, and exit with 1 if the shipped file differs")
    check: bool = parser.parse_args().check
    tokenizer = train()
    content = compact(tokenizer)
    if len(content) > BYTE_LIMIT:
        print(f"{len(content)} bytes, but {BYTE_LIMIT} is the limit", file=sys.stderr)
        return 1
    if not check:
        OUTPUT.write_bytes(content)
    elif not OUTPUT.exists() or OUTPUT.read_bytes() != content:
        print(f"{OUTPUT} differs from what its sources give; run {Path(__file__).name}", file=sys.stderr)
        return 1
    print(f"{OUTPUT.name}: {tokenizer.get_vocab_size()} tokens, {len(content)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
