"""Changes of owner in the middle of long texts, where no end is near.

They are held to the offsets that `tokenizers` counts itself, and to the bytes of each token on a vocabulary of which
tokens cross every change.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from isc import testing
from isc.encoding.encoders import VocabularyEncoder, embedded, from_tokenizer_json
from isc.encoding.fold import fold
from isc.types import Segment
from tokenizer_files import metaspace_bpe, text_of

Part = tuple[str, int, bool]
"""A text, its owner and whether it is body."""
Row = tuple[int, int, bool]

LEAST = 60  # tokens on either side of the change: more than are walked from an end
OWNERS = ((-1, False), (0, True), (0, False), (1, True))
HALVES = (
    ("wor", "ds"), ("a word", " more"), ("\n", "\n"), ("user", "\n\nHi"), (" ", "  x"), ("12", "34"), ("don", "'t"),
    ("user", "\n"), ("word", " "), ("a", ">"), ("x", ":"), ("\n", "word"), ('"', "x"), ("<", "x"), ("{", '"'),
    ("漢", "字"), ("</", "x>"), ('{"', '":'), ("na", "ïve"), ("hel", "lo"), (".", ".."), ("x", ""), ("😀", "😀"),
)  # fmt: skip
"""What ends the first text and begins the second: pairs that a vocabulary likes to join, and one it does not."""

words = st.lists(
    st.sampled_from(("word ", "the ", ".\n", "12 ", "naïve ", "漢字 ", "x=1; ")), min_size=LEAST, max_size=90
)
texts = words.map("".join)
fewer = settings(max_examples=settings().max_examples // 3)
halves = st.sampled_from(HALVES)
owners = st.permutations(OWNERS).map(lambda order: order[:3])


def better(touched: Sequence[tuple[int, bool]]) -> tuple[int, bool]:
    """The first body among these owners, else the first."""
    return next((owner for owner in touched if owner[1]), touched[0])


def folded(encoder: VocabularyEncoder, parts: Sequence[Part]) -> list[Row]:
    stream = (Segment(text, "text", is_body, message) for text, message, is_body in parts)
    rendered = fold(stream, encoder, ("user", "tool"))
    return list(zip(rendered.token_ids, rendered.message_indices, rendered.is_content, strict=True))


def by_offsets(tokenizer: Tokenizer, parts: Sequence[Part]) -> list[Row]:
    """Every token's owner from the characters that `tokenizers` says it came from."""
    by_character = [(message, is_body) for text, message, is_body in parts for _ in text]
    encoded = tokenizer.encode("".join(text for text, _, _ in parts), add_special_tokens=False)
    spans = zip(encoded.ids, encoded.offsets, strict=True)
    return [(token_id, *better(by_character[start:end])) for token_id, (start, end) in spans]


def by_prefixes(encoder: VocabularyEncoder, parts: Sequence[Part]) -> list[Row]:
    """Every token's owner from the bytes that decoding one token more adds."""
    by_byte = [(message, is_body) for text, message, is_body in parts for _ in text.encode()]
    ids = list(next(iter(encoder.encode_batch(["".join(text for text, _, _ in parts)]))))
    ends = [len(encoder.decode_bytes(ids[:count])) for count in range(len(ids) + 1)]
    assert ends[-1] == len(by_byte)
    spans = zip(ids, ends, ends[1:], strict=False)
    return [(token_id, *better(by_byte[start:end])) for token_id, start, end in spans]


def three(first: str, second: str, third: str, left: tuple[str, str], right: tuple[str, str]) -> tuple[str, str, str]:
    """Three long texts, the halves of a pair on either side of both changes."""
    return first + left[0], left[1] + second + right[0], right[1] + third


def is_stable(texts_: Sequence[str]) -> bool:
    """Whether nothing composes, within a text or across a change: then bytes and characters are those of the text."""
    whole = "".join(texts_)
    return unicodedata.normalize("NFC", whole) == whole


@pytest.fixture(scope="module")
def without_added_tokens(reference: Path) -> Tokenizer:
    document = json.loads((reference / "tokenizers" / "qwen3" / "tokenizer.json").read_text(encoding="utf-8"))
    return Tokenizer.from_str(json.dumps({**document, "added_tokens": []}))


@pytest.fixture(scope="module")
def offsets() -> tuple[VocabularyEncoder, Tokenizer]:
    """A vocabulary that is not byte-level, of which offsets are asked, and the same as `tokenizers` reads it."""
    document = text_of(metaspace_bpe("never"))
    encoder = from_tokenizer_json(document)
    assert encoder.byte_lengths is None
    return encoder, Tokenizer.from_str(document)


@fewer
@given(texts, texts, texts, halves, halves, owners)
def test_changes_far_from_both_ends_are_where_tokenizers_has_them(
    real_encoder: Callable[[str], VocabularyEncoder],
    without_added_tokens: Tokenizer,
    first: str,
    second: str,
    third: str,
    left: tuple[str, str],
    right: tuple[str, str],
    order: Sequence[tuple[int, bool]],
) -> None:
    said = three(first, second, third, left, right)
    assume(is_stable(said))
    parts = [(text, *owner) for text, owner in zip(said, order, strict=True)]
    rows = by_offsets(without_added_tokens, parts)
    assert folded(real_encoder("qwen3"), parts) == rows
    assert len(rows) > 3 * LEAST


@fewer
@given(texts, texts, texts, halves, halves, owners)
def test_changes_inside_tokens_that_cross_them_are_where_the_bytes_are(
    first: str,
    second: str,
    third: str,
    left: tuple[str, str],
    right: tuple[str, str],
    order: Sequence[tuple[int, bool]],
) -> None:
    said = three(first, second, third, left, right)
    assume(is_stable(said))
    encoder = testing.adversarial_encoder(())
    parts = [(text, *owner) for text, owner in zip(said, order, strict=True)]
    assert folded(encoder, parts) == by_prefixes(encoder, parts)


@fewer
@given(texts, texts, halves, st.booleans())
def test_a_change_inside_a_token_gives_it_to_the_body_first_or_second(
    first: str, second: str, pair: tuple[str, str], body_first: bool
) -> None:
    """One change, in the middle of a token or not: body loses no byte on either side."""
    assume(is_stable((first + pair[0], pair[1] + second)))
    encoder = testing.adversarial_encoder(())
    parts = [(first + pair[0], 0, body_first), (pair[1] + second, 0, not body_first)]
    rows = folded(encoder, parts)
    assert rows == by_prefixes(encoder, parts)
    said = encoder.decode_bytes([token_id for token_id, _, is_body in rows if is_body]).decode()
    assert said.startswith(parts[0][0]) if body_first else said.endswith(parts[1][0])


def inside(encoder: VocabularyEncoder, first: str, second: str) -> bool:
    """Whether no token ends where the first text does."""
    ids = list(next(iter(encoder.encode_batch([first + second]))))
    return len(first.encode()) not in {len(encoder.decode_bytes(ids[:count])) for count in range(len(ids) + 1)}


@pytest.mark.parametrize("order", permutations(OWNERS, 3))
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("cut", [(1, 2), (1, 3), (2, 3)])
def test_two_changes_inside_one_token(order: Sequence[tuple[int, bool]], behind: bool, cut: tuple[int, int]) -> None:
    """Before the longest text and behind it: the token is of the first body of three, else of the first."""
    encoder = embedded(())
    word = " with"
    assert len(next(iter(encoder.encode_batch([word])))) == 1
    short = [
        (word[slice(*ends)], *owner) for ends, owner in zip(((0, cut[0]), cut, (cut[1], None)), order, strict=True)
    ]
    long = (" more of it" * 9, 0, False)
    parts = [long, *short] if behind else [*short, long]
    rows = folded(encoder, parts)
    assert rows == by_prefixes(encoder, parts)
    assert rows[-1 if behind else 0][1:] == better(order)


def test_many_of_the_pairs_are_one_token() -> None:
    """Or nothing would be tested inside tokens."""
    encoder = testing.adversarial_encoder(())
    assert sum(inside(encoder, "word " * 60 + left, right + "word " * 60) for left, right in HALVES) >= 6


@fewer
@given(texts, texts, halves, owners)
def test_a_vocabulary_with_offsets_has_its_changes_where_they_are(
    offsets: tuple[VocabularyEncoder, Tokenizer],
    first: str,
    second: str,
    pair: tuple[str, str],
    order: Sequence[tuple[int, bool]],
) -> None:
    encoder, tokenizer = offsets
    parts = [(first + pair[0], *order[0]), (pair[1] + second, *order[1])]
    assert folded(encoder, parts) == by_offsets(tokenizer, parts)
