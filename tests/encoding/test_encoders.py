"""Which tokenizers isc takes, what it says of those it does not, and what an encoder answers."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import isc
from isc.encoding.encoders import as_encoder, embedded, from_file, from_rank_file, from_tiktoken, from_tokenizer_json
from texts import hostile
from tokenizer_files import metaspace_bpe, qwen3_file, text_of, transformers_tokenizer, with_added_tokens

PATTERN = r"\p{L}+|\p{N}{1,3}|\s+|[^\s\p{L}\p{N}]+"
BYTES = {bytes([byte]): byte for byte in range(256)}
RANKS = BYTES | {b"th": 256, b"the": 257, "é".encode(): 258}
SPECIALS = {"<|im_end|>": 300, "<think>": 301}


def _rank_lines(ranks: Mapping[bytes, int] = RANKS) -> list[str]:
    return [f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks.items()]


def _rank_file(directory: Path, lines: Sequence[str]) -> Path:
    path = directory / "tiktoken.model"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return path


def _encoding(ranks: Mapping[bytes, int] = RANKS, specials: Mapping[str, int] = SPECIALS) -> tiktoken.Encoding:
    return tiktoken.Encoding("test", pat_str=PATTERN, mergeable_ranks=dict(ranks), special_tokens=dict(specials))


KINDS: dict[str, Callable[[], object]] = {
    "tokenizers.Tokenizer": lambda: Tokenizer.from_str(qwen3_file()),
    "transformers fast tokenizer": lambda: transformers_tokenizer(qwen3_file()),
    "tiktoken.Encoding": _encoding,
    "Encoder": lambda: embedded(("<|im_end|>",)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tokenizer_becomes_an_encoder(kind: str) -> None:
    encoder = as_encoder(KINDS[kind]())
    assert isinstance(encoder, isc.Encoder)
    assert "<|im_end|>" in encoder.specials


def test_an_encoder_is_taken_as_it_is() -> None:
    encoder = embedded(())
    assert as_encoder(encoder) is encoder


def test_a_transformers_tokenizer_encodes_what_its_file_does() -> None:
    from_object, from_text = as_encoder(transformers_tokenizer(qwen3_file())), from_tokenizer_json(qwen3_file())
    assert list(from_object.encode_batch(["Hello <think>"])) == list(from_text.encode_batch(["Hello <think>"]))
    assert from_object.specials == from_text.specials


def test_tokens_added_to_a_transformers_tokenizer_are_specials() -> None:
    tokenizer = transformers_tokenizer(qwen3_file())
    tokenizer.add_tokens(["<|mine|>"])
    assert "<|mine|>" in as_encoder(tokenizer).specials


def test_a_slow_transformers_tokenizer_is_refused() -> None:
    import transformers

    with pytest.raises(isc.EncoderError, match="ByT5Tokenizer is no tokenizer isc knows: pass a transformers fast"):
        as_encoder(transformers.ByT5Tokenizer())


@pytest.mark.parametrize("value", ["Qwen/Qwen3-8B", None, 3, object(), {}])
def test_what_is_no_tokenizer_is_refused_with_what_is_taken(value: object) -> None:
    with pytest.raises(isc.EncoderError, match=r"is no tokenizer isc knows: pass a .*tiktoken\.Encoding"):
        as_encoder(value)


@given(text=hostile)
def test_a_tiktoken_encoding_encodes_as_it_does_itself(text: str) -> None:
    encoding = _encoding()
    (ids,) = from_tiktoken(encoding).encode_batch([text])
    assert list(ids) == encoding.encode_ordinary(text)
    assert from_tiktoken(encoding).decode_bytes(ids) == text.encode()


def test_the_specials_of_an_encoding_are_never_found_in_text() -> None:
    encoder = from_tiktoken(_encoding())
    (ids,) = encoder.encode_batch(["the <|im_end|><think>"])
    assert encoder.specials == SPECIALS
    assert not set(ids) & set(SPECIALS.values())


def test_an_encoding_without_a_token_for_every_byte_is_refused() -> None:
    incomplete = {token: rank for token, rank in RANKS.items() if token not in (b"\xfe", b"\xff")}
    with pytest.raises(isc.EncoderError, match=r"no token for 2 of the 256 bytes, b'\\xfe' first"):
        from_tiktoken(_encoding(incomplete))


def test_a_special_that_shares_its_id_with_text_is_refused() -> None:
    with pytest.raises(isc.EncoderError, match=r"special '<x>' has the id of b'the'"):
        from_tiktoken(_encoding(specials={"<x>": 257}))


@given(text=hostile)
def test_a_rank_file_encodes_as_its_encoding_does(text: str, rank_file: Path) -> None:
    encoder = from_rank_file(rank_file, PATTERN, SPECIALS)
    assert list(encoder.encode_batch([text])) == [_encoding().encode_ordinary(text)]


@pytest.fixture(scope="module")
def rank_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _rank_file(tmp_path_factory.mktemp("ranks"), _rank_lines())


def test_an_encoder_from_a_rank_file_pickles_by_its_path(rank_file: Path) -> None:
    encoder = from_rank_file(rank_file, PATTERN, SPECIALS)
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert (again.specials, list(again.encode_batch(["the é"]))) == (SPECIALS, list(encoder.encode_batch(["the é"])))


BAD_LINES = {
    "no rank": "dGhlbg==",
    "no number": "dGhlbg== x",
    "no base64": "!!! 9",
    "cut base64": "dGhlbg= 9",
    "empty": "",
    "rank twice": "dGhlbg== 0",
    "token twice": "dGhl 999",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_of_a_rank_file_is_an_error_that_names_file_and_line(name: str, tmp_path: Path) -> None:
    path = _rank_file(tmp_path, [*_rank_lines(), BAD_LINES[name], "dGhlcmU= 1000"])
    with pytest.raises(isc.LoadError) as caught:
        from_rank_file(path, PATTERN, SPECIALS)
    assert str(caught.value).startswith(f"{path}, line {len(RANKS) + 1}: ")


def test_a_missing_rank_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(isc.LoadError, match=r"tiktoken\.model: No such file"):
        from_rank_file(tmp_path / "tiktoken.model", PATTERN, SPECIALS)


def test_a_rank_file_without_ranks_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(isc.EncoderError, match=r"tiktoken\.model"):
        from_rank_file(_rank_file(tmp_path, []), PATTERN, SPECIALS)


def test_a_split_pattern_that_is_no_pattern_is_an_error_that_shows_it(rank_file: Path) -> None:
    with pytest.raises(isc.EncoderError, match=r"split pattern '\(\['"):
        from_rank_file(rank_file, "([", SPECIALS)


def test_a_missing_tokenizer_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(isc.LoadError, match=r"tokenizer\.json: No such file"):
        from_file(tmp_path / "tokenizer.json")


ENCODERS = {
    "byte-level": lambda: embedded(("<|im_end|>", "<think>")),
    "tiktoken": lambda: from_tiktoken(_encoding()),
    "offsets": lambda: from_tokenizer_json(_offsets_document()),
}


def _offsets_document() -> str:
    return text_of(with_added_tokens(metaspace_bpe("never"), ["<|im_end|>"]))


@pytest.mark.parametrize("kind", ENCODERS)
def test_ids_outside_the_vocabulary_decode_to_nothing(kind: str) -> None:
    encoder = ENCODERS[kind]()
    (ids,) = encoder.encode_batch(["dog"])
    outside = [-1, -(10**9), len(encoder), 2**31, 2**70]
    mixed = [k for token_id in ids for k in (*outside, token_id)]
    assert encoder.decode_bytes(outside) == b""
    assert encoder.decode_bytes([*mixed, *outside]) == b"dog"
    assert encoder.decode_bytes([*mixed, encoder.specials["<|im_end|>"]]) == b"dog<|im_end|>"


@pytest.mark.parametrize("kind", ENCODERS)
@given(ids=st.lists(st.one_of(st.integers(-3, 600), st.integers()), max_size=20))
def test_any_ids_decode_to_what_each_of_them_does(kind: str, ids: list[int]) -> None:
    encoder = ENCODERS[kind]()
    assert encoder.decode_bytes(ids) == b"".join(encoder.decode_bytes([token_id]) for token_id in ids)


@pytest.mark.parametrize("kind", ENCODERS)
def test_nothing_encodes_to_nothing(kind: str) -> None:
    assert [list(ids) for ids in ENCODERS[kind]().encode_batch(["", ""])] == [[], []]


def test_a_byte_level_encoder_has_no_offsets_and_says_so() -> None:
    with pytest.raises(isc.EncoderError, match="is byte-level and has no offsets"):
        embedded(()).encode_with_offsets("x")


def test_an_encoder_shows_its_size_and_engine() -> None:
    encoder = embedded(("<|im_end|>",))
    assert repr(encoder) == f"<{len(encoder)} tokens by fastokens>"
