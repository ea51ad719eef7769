"""The engines encode what `tokenizers` does, on the models' own vocabularies, and never an added token."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import tiktoken
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import isc
from isc.encoding import engines
from isc.encoding.encoders import VocabularyEncoder, embedded, from_file, from_tiktoken, from_tokenizer_json
from isc.encoding.vocabulary import byte_alphabet
from isc.formats.qwen3 import Qwen3
from texts import hostile, spelling
from tokenizer_files import byte_level, qwen3_file, text_of, with_added_tokens

REAL = ("qwen3", "deepseek-r1", "llama-3.1", "gpt-oss")


class Pair(NamedTuple):
    """An encoder and the tokenizer that it must agree with, read from the same file by `tokenizers` itself."""

    encoder: VocabularyEncoder
    reference: Tokenizer


@pytest.fixture(scope="session")
def pair(reference: Path, real_encoder: Callable[[str], VocabularyEncoder]) -> Callable[[str], Pair]:
    @cache
    def find(name: str) -> Pair:
        document = (reference / "tokenizers" / name / "tokenizer.json").read_text(encoding="utf-8")
        return Pair(real_encoder(name), Tokenizer.from_str(document))

    return find


def _tiktoken_of(document: str) -> VocabularyEncoder:
    """A vocabulary whose ids are its merge order, as the tiktoken encoding it was made from."""
    parsed = msgspec.json.decode(document)
    byte = {character: value for value, character in byte_alphabet().items()}
    ranks = {bytes(map(byte.__getitem__, token)): rank for token, rank in parsed["model"]["vocab"].items()}
    pattern = parsed["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    specials: Mapping[str, int] = {token["content"]: token["id"] for token in parsed["added_tokens"]}
    ordinary = {token: rank for token, rank in ranks.items() if rank not in specials.values()}
    return from_tiktoken(
        tiktoken.Encoding("from-json", pat_str=pattern, mergeable_ranks=ordinary, special_tokens=dict(specials))
    )


def _agrees(encoder: VocabularyEncoder, reference: Tokenizer, texts: list[str]) -> None:
    assume(not any(special in text for text in texts for special in encoder.specials))
    expected = [reference.encode(text, add_special_tokens=False).ids for text in texts]
    assert [list(ids) for ids in encoder.encode_batch(texts)] == expected


@pytest.mark.parametrize("name", REAL)
def test_the_fast_engine_serves_the_real_vocabularies(name: str, pair: Callable[[str], Pair]) -> None:
    assert pair(name).encoder.engine_name == "fastokens"


@pytest.mark.parametrize("name", REAL)
@given(texts=st.lists(hostile, max_size=6), times=st.sampled_from((1, 20)))
def test_fastokens_encodes_what_the_models_own_tokenizer_does(
    name: str, texts: list[str], times: int, pair: Callable[[str], Pair]
) -> None:
    """Few texts, and so many that they go down another way."""
    _agrees(*pair(name), texts * times)


@pytest.mark.parametrize("name", ["llama-3.1", "gpt-oss"])
def test_tiktoken_encodes_what_the_models_own_tokenizer_does(
    name: str, reference: Path, pair: Callable[[str], Pair]
) -> None:
    encoder = _tiktoken_of((reference / "tokenizers" / name / "tokenizer.json").read_text(encoding="utf-8"))

    @given(texts=st.lists(hostile, max_size=6))
    def agrees(texts: list[str]) -> None:
        _agrees(encoder, pair(name).reference, texts)

    agrees()


@given(texts=st.lists(hostile, max_size=6))
def test_both_engines_encode_the_embedded_vocabulary_alike(texts: list[str]) -> None:
    _agrees(embedded(()), _embedded_reference(), texts)


@cache
def _embedded_reference() -> Tokenizer:
    return Tokenizer.from_str(text_of(byte_level()))


@pytest.mark.parametrize("name", REAL)
@given(data=st.data())
def test_body_text_never_yields_an_added_token(name: str, data: st.DataObject, pair: Callable[[str], Pair]) -> None:
    encoder = pair(name).encoder
    text = data.draw(spelling(list(encoder.specials)))
    (ids,) = encoder.encode_batch([text])
    assert not set(ids) & set(encoder.specials.values())
    assert encoder.decode_bytes(ids).decode() == encoder.normalize(text)


@pytest.mark.parametrize("name", REAL)
def test_every_added_token_spelled_out_is_ordinary_text(name: str, pair: Callable[[str], Pair]) -> None:
    encoder = pair(name).encoder
    texts = [form for text in encoder.specials for form in (text, f" {text} ", f"\n{text}\n", text * 2, f"x{text}y")]
    special_ids = set(encoder.specials.values())
    found = zip(texts, encoder.encode_batch(texts), strict=True)
    assert [text for text, ids in found if special_ids.intersection(ids)] == []


def test_added_tokens_that_are_not_marked_special_are_specials_too(pair: Callable[[str], Pair]) -> None:
    assert {"<tool_call>", "</tool_call>", "<think>", "</think>"} <= pair("qwen3").encoder.specials.keys()


@pytest.mark.parametrize("name", REAL)
@given(text=hostile)
def test_the_byte_lengths_of_ids_add_up_to_the_text(name: str, text: str, pair: Callable[[str], Pair]) -> None:
    encoder = pair(name).encoder
    (ids,) = encoder.encode_batch([text])
    lengths = encoder.byte_lengths
    assert lengths is not None
    assert sum(lengths[token_id] for token_id in ids) == len(encoder.normalize(text).encode())


def _nfkc() -> str:
    """A vocabulary that fastokens does not load: it has no NFKC."""
    return text_of(byte_level() | {"normalizer": {"type": "NFKC"}})


def test_a_vocabulary_that_fastokens_cannot_load_falls_back_and_says_so_once() -> None:
    with pytest.warns(isc.EncoderFallbackWarning, match="NFKC") as warned:
        encoder = from_tokenizer_json(_nfkc())
    assert len(warned) == 1
    assert encoder.engine_name == "tokenizers"


def test_a_file_that_falls_back_says_so_on_its_first_load_only(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(_nfkc(), encoding="utf-8")
    with pytest.warns(isc.EncoderFallbackWarning) as warned:
        loaded = [from_file(tmp_path / "tokenizer.json") for _ in range(3)]
    assert (len(loaded), len(warned)) == (3, 1)


@given(text=hostile)
def test_after_a_fallback_ids_are_those_of_the_reference(text: str) -> None:
    encoder, reference = _fallen_back()
    _agrees(encoder, reference, [text])


@cache
def _fallen_back() -> Pair:
    with pytest.warns(isc.EncoderFallbackWarning):
        return Pair(from_tokenizer_json(_nfkc()), Tokenizer.from_str(_nfkc()))


class _LossyEngine:
    """An engine that forgets the last token of every text."""

    def __init__(self, document: str, _specials: Mapping[str, int]) -> None:
        self.engine = engines.TokenizersEngine(document)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(ids)[:-1] for ids in self.engine.encode_batch(texts)]


def test_an_engine_that_encodes_the_probe_differently_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "FastokensEngine", _LossyEngine)
    with pytest.warns(isc.EncoderFallbackWarning, match="it encodes .*The quick.* differently"):
        encoder = from_tokenizer_json(text_of(byte_level()))
    assert encoder.engine_name == "tokenizers"
    (ids,) = encoder.encode_batch(["whole"])
    assert encoder.decode_bytes(ids) == b"whole"


def test_an_engine_that_knows_a_special_in_text_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    original = text_of(with_added_tokens(byte_level(), ["<|x|>"]))
    monkeypatch.setattr(engines, "FastokensEngine", lambda *_: engines.TokenizersEngine(original))
    with pytest.warns(isc.EncoderFallbackWarning, match=r"it encodes .*<\|x\|>.* differently"):
        assert from_tokenizer_json(original).engine_name == "tokenizers"


def test_who_insists_on_fastokens_gets_an_error_in_place_of_a_fallback() -> None:
    with pytest.raises(isc.EncoderError, match=r"fastokens cannot be used: .*NFKC"):
        from_tokenizer_json(_nfkc(), engine="fastokens")


def test_who_asks_for_tokenizers_gets_it_without_a_warning() -> None:
    assert from_tokenizer_json(text_of(byte_level()), engine="tokenizers").engine_name == "tokenizers"


def test_the_engines_render_alike(small: isc.Renderer) -> None:
    chat = [{"role": "user", "content": "1 + 1 = 二? <|im_end|>"}, {"role": "assistant", "content": " 2\n"}]
    plain = isc.create_renderer(from_tokenizer_json(qwen3_file(), engine="tokenizers"), Qwen3())
    assert plain.render(chat) == small.render(chat)


def test_the_fast_engine_lets_other_threads_run_while_it_encodes() -> None:
    """Its ids are read one text at a time by `encode`, which once kept the interpreter lock."""
    encoder = embedded(())
    assert encoder.engine_name == "fastokens"
    text = " ".join(f"w{number:x} {number * number}" for number in range(200_000))
    rounds, done = 0, threading.Event()

    def count() -> None:
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # whoever has the lock keeps it, unless it gives it up
    other = threading.Thread(target=count)
    try:
        other.start()
        before = rounds
        list(encoder.encode_batch([text]))
        meanwhile = rounds - before
    finally:
        done.set()
        sys.setswitchinterval(interval)
        other.join()
    assert meanwhile > 1
