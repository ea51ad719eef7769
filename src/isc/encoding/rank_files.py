"""Rank files (`tiktoken.model`): their tokens, and what their models' own Python code adds to those that are known.

A rank file has no split pattern and no specials. The code that has them is never run: the pattern is kept here for each
file by its sha256, the specials come from the model's `tokenizer_config.json`.

Limits count from the start of each text that is encoded, a unit of a prompt. The models' tokenizers count from the
prompt's start, specials included, which no unit may depend on (law 5): a text over a limit can be cut elsewhere than
by them, as far as what stands before it counts. Runs of white space end at specials, so these are cut alike.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from isc.errors import LoadError

_SPACE: Final = re.compile(r"\s*")
_NO_SPACE: Final = re.compile(r"\S*")


class Limits(Struct, frozen=True):
    """The most characters that are encoded at once, and the most in a row that all are white space, or that none is."""

    text: int
    run: int


class RankFormat(Struct, frozen=True):
    """The facts that a rank file leaves out: the split pattern, the ids of specials (first and end), the limits."""

    pattern: str
    special_ids: tuple[int, int]
    limits: Limits | None = None


class _AddedToken(Struct):
    content: str


class _Configuration(Struct):
    added_tokens_decoder: dict[int, _AddedToken]


KIMI_K2: Final = RankFormat(
    "|".join((
        r"[\p{Han}]+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )),
    special_ids=(163_584, 163_840),
    limits=Limits(text=400_000, run=25_000),
)  # fmt: skip
"""Kimi K2 and K2.5: `pat_str` of kimi_special_tokens.json in the reference; limits as their tokenizer has them."""

FORMATS: Final = {"b6c497a7469b33ced9c38afb1ad6e47f03f5e5dc05f15930799210ec050c5103": KIMI_K2}
"""The rank files that are known, by sha256."""


def format_of(path: Path) -> RankFormat:
    """Return the split pattern, the ids of specials and the limits of a rank file that isc knows.

    Raises:
        LoadError: The file is missing, or nothing is known of it.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    if digest not in FORMATS:
        raise LoadError(
            f"no rank file that isc knows (sha256 {digest}). A rank file lacks split pattern and specials, which only "
            "the model's Python code has, and that is never run; with both at hand use "
            "isc.create_renderer(isc.encoders.from_rank_file(path, pattern, specials), family)"
        )
    return FORMATS[digest]


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read the tokens of a rank file, lines of `base64 rank`.

    Raises:
        LoadError: The file is missing, or a line of it is not a token and a rank of its own.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    ranks: dict[bytes, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(lines, 1):
        token, _, rank = line.partition(b" ")
        try:
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise LoadError(f"{path}, line {number}: not a base64 token and its rank ({error})") from None
        seen.add(int(rank))
        if not len(seen) == len(ranks) == number:
            raise LoadError(f"{path}, line {number}: its token or its rank occurs before: {line.decode('ascii')}")
    return ranks


def named_specials(configuration: str, special_ids: tuple[int, int]) -> dict[str, int]:
    """Return the specials that a tokenizer_config.json names, and `<|reserved_token_ID|>` for every other id.

    Whether a token is marked special there makes no difference: Kimi's tokenizer takes all of them for control tokens.

    Args:
        configuration: The file's text, with `added_tokens_decoder`.
        special_ids: The first id of a special and the end of them.

    Raises:
        LoadError: It names no added tokens, or not by ids and spellings.

    >>> named_specials('{"added_tokens_decoder": {"7": {"content": "<|im_end|>"}}}', (6, 8))
    {'<|reserved_token_6|>': 6, '<|im_end|>': 7}
    """
    names = {token_id: f"<|reserved_token_{token_id}|>" for token_id in range(*special_ids)}
    try:
        added_tokens = msgspec.json.decode(configuration, type=_Configuration).added_tokens_decoder
    except msgspec.DecodeError as error:
        problem = f"tokenizer_config.json does not name the specials that the rank file beside it lacks: {error}"
        raise LoadError(problem) from None
    names.update((token_id, token.content) for token_id, token in added_tokens.items())
    return {name: token_id for token_id, name in names.items()}


def chunks(text: str, limits: Limits) -> Iterator[str]:
    """Yield the pieces in which a text is encoded. A text within the limits is one piece.

    >>> list(chunks("abcdef gh", Limits(text=8, run=4)))
    ['abcd', 'ef g', 'h']
    """
    for start in range(0, len(text), limits.text):
        yield from _unbroken(text[start : start + limits.text], limits.run)


def _unbroken(text: str, longest: int) -> Iterator[str]:
    """Cut a text where more than `longest` characters in a row are of one class, white space or not.

    Looks at one character in `longest`, and from there back to where its run begins.
    """
    begin = run = 0
    while run + longest < len(text):
        probe = run + longest
        same = _SPACE if text[probe].isspace() else _NO_SPACE
        same_before = same.match(text[run:probe][::-1])
        run = probe - (same_before.end() if same_before else 0)
        if run == probe - longest:
            yield text[begin:probe]
            begin = run = probe
    yield text[begin:]
