"""Texts that look for trouble: what tokenizers split, merge, normalize or strip differently."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

PIECES = (
    "a", "the", " the", "word", " word", "Word", "don't", "'LL", "x1", "123", "4567890", "٣٤", "½",
    " ", "  ", "        ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\ufeff",
    "é", "e\u0301", "\u0301", ">\u0338", "\u0338", "a\u0323\u0302", "\u1100\u1161\u11a8", "각", "क़", "\u093c",
    "ﬁ", "Å", "\u212b",
    "漢字", "かな", "，", "中文", "한국어", "مرحبا", "नमस्ते", "ไทย", "ß", "İ", "ǆ",
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "✌🏽", "😀", "\U000e0001", "\x00", "\x7f", "\x85", "\ufffd", "\uffff", "\U0010ffff",
    "<", ">", "</", "<|", "|>", "<｜", "▁", "Ġ", "##", "{", '"', "\\", "/", "...", "--", "=" * 9, "`", "😀" * 5,
)  # fmt: skip

hostile = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(st.characters(codec="utf-8"), max_size=4)), max_size=24
).map("".join)
"""Text of any kind; no lone surrogates, which have no UTF-8 form."""


def spelling(specials: Sequence[str]) -> st.SearchStrategy[str]:
    """Text that spells specials, whole and cut off, among other text."""
    whole = st.sampled_from(list(specials))
    cut = whole.flatmap(lambda text: st.integers(1, len(text)).map(lambda end: text[:end]))
    return st.lists(st.one_of(whole, cut, st.sampled_from(PIECES)), min_size=1, max_size=16).map("".join)
