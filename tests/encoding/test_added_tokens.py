"""Added tokens that swallow white space are honoured as `tokenizers` does, and what they swallow keeps its owner."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import isc
from isc.encoding.encoders import VocabularyEncoder, embedded, from_tokenizer_json
from texts import hostile
from tokenizer_files import byte_level, text_of, with_added_tokens

STRIPS = {"[plain]": (False, False), "[left]": (True, False), "[right]": (False, True), "[both]": (True, True)}

white_space = st.text(" \t\n\r\x0b\x0c\x85\u00a0\u1680\u2003\u2028\u202f\u3000", max_size=4)
marks = st.sampled_from(list(STRIPS)).map(lambda text: isc.Segment(text, "special"))
texts = st.builds(
    lambda text, body: isc.Segment(text, "text", body, 0 if body else -1),
    st.one_of(white_space, hostile, st.tuples(white_space, hostile, white_space).map("".join)),
    st.booleans(),
)
streams = st.lists(st.one_of(marks, texts), max_size=10)


class Both(NamedTuple):
    """The same file, read by isc and by `tokenizers`."""

    encoder: VocabularyEncoder
    reference: Tokenizer


@cache
def _both() -> Both:
    added = [{"content": text, "lstrip": left, "rstrip": right} for text, (left, right) in STRIPS.items()]
    document = text_of(with_added_tokens(byte_level(), added))
    return Both(from_tokenizer_json(document), Tokenizer.from_str(document))


def _fold(stream: Sequence[isc.Segment]) -> isc.RenderedTokens:
    return isc.fold(stream, _both().encoder, ["user"])


def _body(rendered: isc.RenderedTokens) -> list[int]:
    return [k for k, body in zip(rendered.token_ids, rendered.is_content, strict=True) if body]


def test_the_encoder_tells_which_tokens_swallow_white_space() -> None:
    assert _both().encoder.strips == {text: strips for text, strips in STRIPS.items() if any(strips)}


@given(stream=streams)
def test_ids_around_tokens_that_swallow_white_space_are_those_of_the_reference(stream: list[isc.Segment]) -> None:
    whole = "".join(segment.text for segment in stream)
    assert list(_fold(stream).token_ids) == _both().reference.encode(whole, add_special_tokens=False).ids


@given(stream=streams)
def test_no_body_byte_outside_white_space_is_lost(stream: list[isc.Segment]) -> None:
    rendered = _fold(stream)
    found = _both().encoder.decode_bytes(_body(rendered)).decode(errors="replace")
    for segment in stream:
        if segment.body:
            assert segment.text.strip(" \t\n\r\x0b\x0c\x85\u00a0\u1680\u2028\u2029\u202f\u205f\u3000\u2003") in found


@pytest.mark.parametrize(
    ("stream", "special"),
    [
        ([isc.Segment("a \n", "text", True, 0), isc.Segment("[left]", "special")], "[left]"),
        ([isc.Segment("[right]", "special"), isc.Segment("\u3000 a", "text", True, 0)], "[right]"),
        ([isc.Segment(" ", "text", True, 0), isc.Segment(" "), isc.Segment("[both]", "special")], "[both]"),
    ],
)
def test_a_special_that_swallows_body_is_body_of_that_message(stream: list[isc.Segment], special: str) -> None:
    rendered = _fold(stream)
    token = rendered.token_ids.index(_both().encoder.specials[special])
    assert (rendered.is_content[token], rendered.message_indices[token]) == (True, 0)


@pytest.mark.parametrize(
    "stream",
    [
        [isc.Segment("a", "text", True, 0), isc.Segment(" "), isc.Segment("[left]", "special")],
        [isc.Segment("a ", "text", True, 0), isc.Segment("[right]", "special")],
        [isc.Segment("a ", "text", True, 0), isc.Segment("[plain]", "special")],
    ],
)
def test_a_special_that_swallows_no_body_stays_scaffold(stream: list[isc.Segment]) -> None:
    rendered = _fold(stream)
    assert (rendered.is_content[-1], rendered.message_indices[-1]) == (False, -1)


def test_white_space_that_is_swallowed_whole_leaves_one_token() -> None:
    assert len(_fold([isc.Segment(" \n ", "text", True, 0), isc.Segment("[left]", "special")])) == 1


def test_spelled_in_body_they_are_text_and_swallow_nothing() -> None:
    text = "a  [both]  b"
    rendered = _fold([isc.Segment(text, "text", True, 0)])
    assert _both().encoder.decode_bytes(rendered.token_ids) == text.encode()
    assert rendered.token_ids == tuple(next(iter(embedded(()).encode_batch([text]))))
