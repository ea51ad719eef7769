"""Marks that compose with letters of others, or change places with others' marks: each is of the body that it is in.

`tokenizers` counts only the first character of a composition, so the oracle is Unicode's own: a text falls into the
shortest pieces that normalize alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isc.encoding.encoders import VocabularyEncoder, from_tokenizer_json
from isc.encoding.fold import fold
from isc.types import Segment
from tokenizer_files import byte_level, text_of

Owner = tuple[int, bool]
Parts = Sequence[tuple[str, Owner]]

SCAFFOLD, USER, TOOL, HEADER = (-1, False), (0, True), (1, True), (0, False)
ACUTE, CIRCUMFLEX, DOT_BELOW, OVERLAY, NUKTA = "\u0301", "\u0302", "\u0323", "\u0338", "\u093c"

nfc = partial(unicodedata.normalize, "NFC")
marked = st.text(
    st.sampled_from("ae o0\n>é漢😀\u0301\u0302\u0323\u0338\u0915\u093c\u1100\u1161\u11a8\u212b"), min_size=1, max_size=4
)
owners = st.sampled_from([SCAFFOLD, USER, TOOL, HEADER])


@cache
def composing() -> VocabularyEncoder:
    """A byte-level vocabulary whose texts are brought into the composed form."""
    return from_tokenizer_json(text_of(byte_level() | {"normalizer": {"type": "NFC"}}))


def best(touched: Sequence[Owner]) -> Owner:
    """The first body among these owners, else the first."""
    return next((owner for owner in touched if owner[1]), touched[0])


def owners_of_bytes(parts: Parts) -> list[Owner]:
    """The owner of each byte as normalized, the slow, obvious way."""
    text = "".join(text for text, _ in parts)
    each = [owner for text, owner in parts for _ in text]
    cuts = [place for place in range(len(text) + 1) if nfc(text[:place]) + nfc(text[place:]) == nfc(text)]
    return [best(each[start:end]) for start, end in pairwise(cuts) for _ in range(len(nfc(text[start:end]).encode()))]


def expected(encoder: VocabularyEncoder, parts: Parts) -> list[tuple[int, int, bool]]:
    """Id, owner and body of each token."""
    (ids,) = encoder.encode_batch(["".join(text for text, _ in parts)])
    of_bytes, rows = iter(owners_of_bytes(parts)), []
    for token_id in ids:
        touched = [next(of_bytes) for _ in encoder.decode_bytes((token_id,))]
        rows.append((token_id, *best(touched)))
    return rows


def folded(encoder: VocabularyEncoder, parts: Parts) -> list[tuple[int, int, bool]]:
    stream = (Segment(text, "text", is_body, message) for text, (message, is_body) in parts)
    rendered = fold(stream, encoder, ("user", "tool"))
    return list(zip(rendered.token_ids, rendered.message_indices, rendered.is_content, strict=True))


@given(st.lists(st.tuples(marked, owners), min_size=1, max_size=10))
def test_what_composes_across_seams_is_of_its_body(parts: Parts) -> None:
    wanted = expected(composing(), parts)
    assert folded(composing(), parts) == wanted
    assert folded(composing(), [(letter, owner) for text, owner in parts for letter in text]) == wanted, "cut small"


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([("e", SCAFFOLD), (ACUTE, USER)], "é"),
        ([("a", SCAFFOLD), (DOT_BELOW, HEADER), (CIRCUMFLEX, USER), (" x", SCAFFOLD)], "ậ"),  # the third of three
        ([("a", SCAFFOLD), (DOT_BELOW, HEADER), (OVERLAY, USER)], OVERLAY),  # which stands behind what composes
        ([(f"0{DOT_BELOW}", SCAFFOLD), (OVERLAY, USER)], f"{OVERLAY}{DOT_BELOW}"),  # the digit stays what it is
        ([(ACUTE, USER), (OVERLAY, TOOL), ("o", SCAFFOLD)], f"{OVERLAY}{ACUTE}"),
        ([(f"o{DOT_BELOW}", USER), (f"{ACUTE}{NUKTA}o", HEADER)], "ọ"),  # the header's marks change places
    ],
)
def test_literal_compositions(parts: Parts, body: str) -> None:
    rows = folded(composing(), parts)
    assert composing().decode_bytes([token_id for token_id, _, is_body in rows if is_body]).decode() == body
    assert folded(composing(), [(letter, owner) for text, owner in parts for letter in text]) == rows


def test_a_long_run_of_marks_is_normalized_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time takes the square of its length: 64,000 marks take seconds."""
    asked: list[str] = []

    def counted(text: str) -> str:
        asked.append(text)
        return nfc(text)

    monkeypatch.setattr("isc.encoding._boundaries._nfc", counted)
    rows = folded(composing(), [(">", SCAFFOLD), ((DOT_BELOW + OVERLAY) * 500, USER), ("\n", SCAFFOLD)])
    assert {is_body for _, _, is_body in rows[:-1]} == {True}, "all marks change places"
    assert sum(map(len, asked)) <= 3 * 1001
