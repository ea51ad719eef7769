"""What tokenizer.json files can be like: those isc accounts for exactly, and those it refuses with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import isc
from isc.encoding.encoders import VocabularyEncoder, from_tokenizer_json
from texts import hostile, spelling
from tokenizer_files import (
    Document,
    byte_level,
    lower_cased_word_piece,
    metaspace_bpe,
    metaspace_unigram,
    prefixed_byte_level,
    replaced_spaces,
    text_of,
    unigram_without_bytes,
    with_added_tokens,
)

Pieces = Sequence[tuple[str, bool]]

OFFSETS: dict[str, Callable[[], Document]] = {
    "Metaspace BPE": lambda: metaspace_bpe("never"),
    "Metaspace BPE, first word prefixed": lambda: metaspace_bpe("first"),
    "Metaspace BPE, texts prefixed": lambda: metaspace_bpe("always"),
    "Metaspace Unigram": metaspace_unigram,
    "spaces replaced": lambda: replaced_spaces(prefix=False),
    "spaces replaced, texts prefixed": lambda: replaced_spaces(prefix=True),
    "byte-level, texts prefixed": prefixed_byte_level,
    "byte-level, anything prefixed": lambda: byte_level() | {"normalizer": {"type": "Prepend", "prepend": " "}},
}
BYTE_LEVEL = ("byte-level, texts prefixed", "byte-level, anything prefixed")
"""Without what they put before a text these are as any byte-level vocabulary."""


def sequence(*steps: Document) -> Document:
    """Steps as a tokenizer.json has them."""
    return {"type": "Sequence", "normalizers": list(steps)}


@st.composite
def pieces(draw: st.DrawFn) -> Pieces:
    """A text cut anywhere, also within words that are one token."""
    words = st.sampled_from(["the", " the", " then", " dog", "user", "assistant\n", " 1234567890", "漢字"])
    text = draw(st.lists(st.one_of(words, hostile), max_size=6).map("".join)).replace("▁", "")
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
    content = draw(st.lists(st.booleans(), min_size=len(cuts) + 1, max_size=len(cuts) + 1))
    ends = zip([0, *cuts], [*cuts, len(text)], strict=True)
    return [(text[start:end], flag) for (start, end), flag in zip(ends, content, strict=True)]


@cache
def _encoder(name: str) -> VocabularyEncoder:
    return from_tokenizer_json(text_of(OFFSETS[name]()))


def _by_bytes(encoder: VocabularyEncoder, ids: Sequence[int], parts: Pieces) -> list[bool]:
    """For each token whether one of its bytes is content: the slow, obvious way. A prefix goes with the first byte."""
    flags = [content for text, content in parts for _ in text.encode()]
    decoded = [encoder.decode_bytes((token_id,)) for token_id in ids]
    prefix = sum(map(len, decoded)) - len(flags)
    flags = flags[:1] * prefix + flags
    found: list[bool] = []
    position = 0
    for token in decoded:
        found.append(any(flags[position : position + len(token)]))
        position += len(token)
    return found


@pytest.mark.parametrize("name", OFFSETS)
def test_a_vocabulary_that_is_not_byte_level_goes_by_offsets(name: str) -> None:
    encoder = _encoder(name)
    if name in BYTE_LEVEL:
        assert encoder.byte_lengths is not None
    else:
        assert encoder.byte_lengths is None
        assert encoder.encode_with_offsets("dog")[1]


@pytest.mark.parametrize("name", OFFSETS)
@given(parts=pieces())
def test_a_vocabulary_that_is_not_byte_level_is_attributed_exactly(name: str, parts: Pieces) -> None:
    encoder = _encoder(name)
    ids, is_content = isc.attribute_text_segments(encoder, parts)
    assert list(is_content) == _by_bytes(encoder, ids, parts)


@pytest.mark.parametrize("name", OFFSETS)
@given(text=hostile)
def test_a_vocabulary_that_is_not_byte_level_decodes_to_the_text(name: str, text: str) -> None:
    encoder = _encoder(name)
    (ids,) = encoder.encode_batch([text])
    assert encoder.decode_bytes(ids).decode() == (text if name in BYTE_LEVEL else text.replace("▁", " "))


@pytest.mark.parametrize("name", OFFSETS)
@given(texts=st.lists(hostile, min_size=1, max_size=4))
def test_after_a_special_ids_are_those_of_the_reference(name: str, texts: list[str]) -> None:
    document = with_added_tokens(OFFSETS[name](), ["<|turn|>"])
    reference, encoder = _with_turns(name, text_of(document))
    stream = [segment for text in texts for segment in (isc.Segment("<|turn|>", "special"), isc.Segment(text))]
    whole = "".join(segment.text for segment in stream)
    assert list(isc.fold(stream, encoder).token_ids) == reference.encode(whole, add_special_tokens=False).ids


@cache
def _with_turns(name: str, document: str) -> tuple[Tokenizer, VocabularyEncoder]:
    return Tokenizer.from_str(document), from_tokenizer_json(document)


LOSSY: dict[str, Callable[[], Document]] = {
    "lower-cased WordPiece": lower_cased_word_piece,
    "Unigram without bytes": unigram_without_bytes,
    "lower-cased BPE": lambda: metaspace_bpe("never") | {"normalizer": {"type": "Lowercase"}},
    "lower-cased bytes": lambda: byte_level() | {"normalizer": {"type": "Lowercase"}},
    "stripped bytes": lambda: byte_level() | {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
    "other newlines": lambda: (
        byte_level() | {"normalizer": {"type": "Replace", "pattern": {"String": "\r\n"}, "content": "\n"}}
    ),
}


@pytest.mark.filterwarnings("ignore::isc.errors.EncoderFallbackWarning")
@pytest.mark.parametrize("name", LOSSY)
def test_a_tokenizer_that_loses_text_is_refused_with_the_reason(name: str) -> None:
    reason = "cannot be accounted for byte by byte: it loses or changes part of|cannot encode ordinary text"
    with pytest.raises(isc.EncoderError, match=reason):
        from_tokenizer_json(text_of(LOSSY[name]()))


@pytest.mark.parametrize(
    "settings",
    [
        {"truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}},
        {
            "padding": {
                "strategy": {"Fixed": 9},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "!",
            }
        },
        {"model": byte_level()["model"] | {"dropout": 0.9}},
        {"post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_are_not_text_to_ids_change_nothing(settings: Document) -> None:
    text = "the quick brown fox jumps over the lazy dog"
    plain, with_settings = (
        from_tokenizer_json(text_of(byte_level() | more), engine="tokenizers") for more in ({}, settings)
    )
    assert list(with_settings.encode_batch([text, "x"])) == list(plain.encode_batch([text, "x"]))


@pytest.mark.parametrize("form", [{"type": "NFC"}, sequence({"type": "NFC"}), sequence(), sequence(sequence())])
@given(text=hostile)
def test_a_normalizer_is_applied_as_the_reference_applies_it(form: Document, text: str) -> None:
    reference, encoder = _with_turns("", text_of(byte_level() | {"normalizer": form}))
    (ids,) = encoder.encode_batch([text])
    assert list(ids) == reference.encode(text).ids
    assert encoder.decode_bytes(ids).decode() == encoder.normalize(text)


@pytest.mark.parametrize("more", ["", " and more of it"])
@pytest.mark.parametrize(("letter", "mark", "composed"), [("e", "\u0301", "é"), (">", "\u0338", "\u226f")])
def test_a_composition_across_a_seam_belongs_to_the_body(letter: str, mark: str, composed: str, more: str) -> None:
    """The mark begins the longest text too, whose size nobody counts, and what it makes is several tokens too."""
    encoder = from_tokenizer_json(text_of(byte_level() | {"normalizer": {"type": "NFC"}}))
    ids, is_content = isc.attribute_text_segments(encoder, [(letter, False), (mark + more, True), (" x", False)])
    body = encoder.decode_bytes([k for k, content in zip(ids, is_content, strict=True) if content])
    assert body == (composed + more).encode()


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_a_spelled_added_token_that_is_a_word_of_the_vocabulary_stays_text(ignore_merges: bool) -> None:
    document = byte_level()
    document["model"]["ignore_merges"] = ignore_merges
    words = [text for text in document["model"]["vocab"] if len(text) == 4 and text.isascii() and text.isalpha()]
    spelled, token_id = words[0], document["model"]["vocab"][words[0]]
    plain = from_tokenizer_json(text_of(document))
    encoder = from_tokenizer_json(text_of(with_added_tokens(document, [{"content": spelled, "id": token_id}])))
    (as_word,), (as_text,) = plain.encode_batch([spelled]), encoder.encode_batch([spelled])
    assert list(as_word) == [token_id]
    assert token_id not in as_text
    assert encoder.decode_bytes(as_text) == spelled.encode()


def _with_merges(word: str, rest: str) -> dict[str, Any]:
    """A vocabulary in which a word and what follows it are one token, its merges as pairs."""
    document = byte_level()
    made = [word[:end] for end in range(2, len(word) + 1)] + [word + rest]
    vocabulary = document["model"]["vocab"]
    new = [text for text in made if text not in vocabulary]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in document["model"]["merges"]]
    document["model"] |= {
        "vocab": {**vocabulary, **{text: len(vocabulary) + place for place, text in enumerate(new)}},
        "merges": [*([text[:-1], text[-1]] for text in made[:-1]), [word, rest], *pairs],
    }
    return document


@pytest.mark.parametrize("word", ["#version", "#Version", "version"])
def test_merges_are_those_of_the_file_whatever_they_begin_with(word: str) -> None:
    """`tokenizers` passes over a merge that is a text and begins as the first line of a merges.txt does."""
    document = _with_merges(word, "s")
    document["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    expected = Tokenizer.from_str(text_of(document)).encode(f"{word}s").ids
    assert expected == [document["model"]["vocab"][f"{word}s"]]
    for engine in ("tokenizers", None):
        encoder = from_tokenizer_json(text_of(document), engine)
        assert [list(ids) for ids in encoder.encode_batch([f"{word}s"])] == [expected]


@given(text=spelling(["</s>", "<unk>", "\uffff0", "\uffff1", "\uffff 0", "\uffff 1"]))
def test_a_spelled_added_token_that_a_unigram_model_has_as_a_piece_stays_text(text: str) -> None:
    encoder = _with_pieces()
    (ids,) = encoder.encode_batch([text])
    assert not set(ids) & set(encoder.specials.values())


@cache
def _with_pieces() -> VocabularyEncoder:
    """Specials that are pieces too, as in every SentencePiece model."""
    document = metaspace_unigram()
    document["model"]["vocab"] = [*document["model"]["vocab"], ["</s>", 0.0]]
    last = len(document["model"]["vocab"]) - 1
    added = with_added_tokens(document, [{"content": "</s>", "id": last}])
    return from_tokenizer_json(text_of(added | {"added_tokens": document["added_tokens"] + added["added_tokens"]}))


def test_an_added_token_with_the_id_of_another_token_is_refused() -> None:
    document = with_added_tokens(byte_level(), [{"content": "<|x|>", "id": 70}])
    with pytest.raises(isc.EncoderError, match=r"added token '<\|x\|>' has id 70"):
        from_tokenizer_json(text_of(document))


BROKEN = {
    "empty": "",
    "no object": "[]",
    "no model": "{}",
    "no vocabulary": '{"model": {}}',
    "vocabulary without entries": '{"model": {"type": "BPE", "vocab": {}, "merges": []}}',
    "ids that are words": '{"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}}',
    "a list of nothing": '{"model": {"type": "Unigram", "vocab": [[]]}}',
    "an added token without text": '{"model": {"type": "BPE", "vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}',
    "a merge of one": '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}}',
    "an unknown model": '{"model": {"type": "Other", "vocab": {"a": 0}}}',
    "a pre-tokenizer that is text": '{"model": {"type": "BPE", "vocab": {"a": 0}}, "pre_tokenizer": "x"}',
}


@pytest.mark.filterwarnings("ignore::isc.errors.EncoderFallbackWarning")
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_tokenizer_file_is_an_encoder_error(name: str) -> None:
    with pytest.raises(isc.EncoderError, match=r"tokenizer\.json|tokenizer cannot"):
        from_tokenizer_json(BROKEN[name])


@given(cut=st.integers(0, 20_000))
def test_a_tokenizer_file_that_is_cut_off_is_an_encoder_error(cut: int) -> None:
    with pytest.raises(isc.EncoderError, match=r"not a tokenizer\.json"):
        from_tokenizer_json(text_of(byte_level())[:cut])


def test_the_document_that_was_given_is_not_changed() -> None:
    document = text_of(with_added_tokens(byte_level(), ["<|x|>"]))
    before = msgspec.json.decode(document)
    from_tokenizer_json(document)
    assert msgspec.json.decode(document) == before
