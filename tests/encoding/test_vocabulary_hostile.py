"""Vocabulary files that somebody made to harm: refused by a typed error, or right; no text lost, no special forged."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

import isc
from isc.encoding.encoders import VocabularyEncoder, from_tokenizer_json
from tokenizer_files import Document, byte_level, metaspace_bpe, metaspace_unigram, text_of, with_added_tokens

pytestmark = pytest.mark.filterwarnings("ignore::isc.errors.EncoderFallbackWarning")
BIG: tuple[object, ...] = (
    300_000_000,
    10**9,
    1 << 31,
    (1 << 63) - 1,
    1 << 63,
    1 << 64,
    10**30,
    -1,
    -(10**30),
    1.5,
    1e3,
    "7",
    None,
    True,
    [],
)


def with_word(document: Document, token_id: object) -> str:
    """A vocabulary with one more word, of this id."""
    document["model"] = document["model"] | {"vocab": {**document["model"]["vocab"], "zqx": token_id}}
    return json.dumps(document)


MEASURED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from isc import EncoderError
from isc.encoding.encoders import from_tokenizer_json
for document in sys.stdin.read().splitlines():
    try:
        from_tokenizer_json(document)
    except EncoderError as error:
        assert "whole number below 4194304" in str(error), error
    else:
        raise AssertionError(document[-200:])
"""


def test_ids_that_no_vocabulary_needs_take_no_memory() -> None:
    """Beyond a gigabyte the process ends with a MemoryError."""
    documents = [with_word(byte_level(), token_id) for token_id in BIG]
    documents += [
        json.dumps(with_added_tokens(byte_level(), [{"content": "<|x|>", "id": token_id}])) for token_id in BIG
    ]
    done = subprocess.run([sys.executable, "-c", MEASURED], input="\n".join(documents), text=True, check=False)
    assert done.returncode == 0


def test_two_tokens_of_one_id_are_refused() -> None:
    with pytest.raises(isc.EncoderError, match="have the same id 70"):
        from_tokenizer_json(with_word(byte_level(), 70))


def test_a_tiktoken_encoding_with_an_id_that_no_vocabulary_needs() -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("sparse", pat_str=".", mergeable_ranks=ranks, special_tokens={"<|end|>": 300_000_000})
    with pytest.raises(isc.EncoderError, match="must be a whole number below"):
        isc.encoders.from_tiktoken(encoding)


DEPTHS = (40, 1_000, 100_000)


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_nesting_is_an_encoder_error(depth: int) -> None:
    good = text_of(byte_level())
    step = '{"type":"Sequence","pretokenizers":[' * depth + '{"type":"Digits","individual_digits":false}' + "]}" * depth
    normalizer = '{"type":"Sequence","normalizers":[' * depth + '{"type":"NFC"}' + "]}" * depth
    documents = [
        "[" * depth,
        '{"model":{"vocab":' + "[" * depth + "]" * depth + "}}",
        good[:-1] + f',"pre_tokenizer":{step}}}',
        good[:-1] + f',"normalizer":{normalizer}}}',
        good[:-1] + ',"decoder":' + '{"a":' * depth + "0" + "}" * depth + "}",
    ]
    for document in documents[: 4 if depth == DEPTHS[0] else 5]:
        with pytest.raises(isc.EncoderError):
            from_tokenizer_json(document)


_BYTES = (b"\x04\0\0\0" + bytes(8), b"\xff\xff\xff\x7f" + bytes(40), bytes(range(256)) * 4)
CHARSMAPS = ["", "AAAA", "!!!", "/////w==", "A" * 4000, *(base64.b64encode(content).decode() for content in _BYTES)]


@pytest.mark.parametrize("charsmap", [*CHARSMAPS, None, 7, []])
@pytest.mark.parametrize("make", [metaspace_unigram, byte_level])
def test_a_broken_charsmap_is_an_encoder_error_or_changes_nothing(make: Callable[[], Document], charsmap: Any) -> None:  # noqa: ANN401
    document = make() | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap}}
    for text in ("plain", "\u0301\u0300 ½ \x00 \ufb01", "漢" * 50):
        try:
            encoder = from_tokenizer_json(text_of(document))
            (ids,) = encoder.encode_batch([text])
        except isc.EncoderError:
            continue
        assert encoder.decode_bytes(ids).decode().strip() == text.strip()


def split(pattern: str, behavior: str = "Removed", *, invert: bool = False) -> Document:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def before_bytes(*steps: Document) -> Document:
    """The byte-level vocabulary with steps before its own."""
    own = byte_level()["pre_tokenizer"]
    return byte_level() | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, own]}}


def nested(document: Document) -> Document:
    return document | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [document["pre_tokenizer"]]}}


def replacing(pattern: str, content: str) -> Document:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


LOSING: dict[str, Document] = {
    "a split that removes": before_bytes(split("ZQX")),
    "a split that removes what it does not match": before_bytes(split("[^Z]+", invert=True)),
    "nested": nested(before_bytes(split("ZQX"))),
    "a removed character": before_bytes({"type": "CharDelimiterSplit", "delimiter": "Z"}),
    "removed punctuation": before_bytes({"type": "Punctuation", "behavior": "Removed"}),
    "an empty replacement": byte_level() | {"normalizer": replacing("ZQX", "")},
    "another replacement": byte_level() | {"normalizer": replacing("ZQX", "cat")},
    "an empty replacement in a sequence": byte_level()
    | {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, replacing("ZQX", "")]}},
    "an empty replacement, by offsets": metaspace_bpe("never") | {"normalizer": replacing("ZQX", "")},
    "a split that removes, by offsets": metaspace_bpe("never")
    | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split("ZQX"), metaspace_bpe("never")["pre_tokenizer"]]}},
}


@pytest.mark.parametrize("name", LOSING)
def test_text_is_not_lost_in_silence(name: str) -> None:
    """The probe at loading holds no ZQX: these are found out when it is said, or refused before."""
    try:
        encoder = from_tokenizer_json(text_of(LOSING[name]))
    except isc.EncoderError as error:
        assert "cannot be accounted for" in str(error)  # noqa: PT017 - one of two right ends
        return
    (ids,) = encoder.encode_batch(["a plain text"])
    assert encoder.decode_bytes(ids) == b"a plain text"
    with pytest.raises(isc.EncoderError, match="loses or changes part of"):
        list(encoder.encode_batch(["a plain text", "it is ZQX!"]))
    with pytest.raises(isc.EncoderError, match="loses or changes part of"):
        isc.fold([isc.Segment("it is ZQX!", body=True, message=0)], encoder, ("user",))


def test_a_split_that_removes_nothing_is_taken() -> None:
    encoder = from_tokenizer_json(text_of(before_bytes(split(r"\s+|\S+", invert=True))))
    plain = from_tokenizer_json(text_of(before_bytes(split(r"\s+|\S+", "Isolated"))))
    texts = ["a plain text", "it is ZQX!  ", "漢字 \n\n x"]
    assert [*map(list, encoder.encode_batch(texts))] == [*map(list, plain.encode_batch(texts))]


def word_level() -> Document:
    """Whole texts as words: the stand-in of a special can be one of them."""
    words = ["<|end|>", *(chr(code) for code in range(32, 127))]
    model = {"type": "WordLevel", "vocab": {word: k for k, word in enumerate(words)}, "unk_token": " "}
    document: Document = json.loads(Tokenizer(models.WordLevel()).to_str())
    return document | {"model": model, "pre_tokenizer": split("", "Isolated")}


def plain_unigram() -> Document:
    """A Unigram model that sees spaces as they are, so the stand-in can be typed."""
    document = metaspace_unigram()
    pieces = [[text.replace("▁", " "), score] for text, score in document["model"]["vocab"]]
    known = {text for text, _ in pieces}
    pieces += [[chr(code), -9.0] for code in (*range(32, 127), 0xFFFF) if chr(code) not in known]
    return document | {"pre_tokenizer": None, "model": {**document["model"], "vocab": pieces}}


def greedy_words() -> Document:
    """A BPE that looks whole words up before it merges, and keeps spaces in them."""
    document = metaspace_bpe("never")
    vocab = {text.replace("▁", " "): k for text, k in document["model"]["vocab"].items()}
    merges = [[part.replace("▁", " ") for part in merge] for merge in document["model"]["merges"]]
    model = {**document["model"], "vocab": vocab, "merges": merges, "ignore_merges": True}
    return document | {"model": model, "pre_tokenizer": split("\uffff [0-9]+", "Isolated")}


FORGING: dict[str, Callable[[], Document]] = {
    "Unigram with spaces": plain_unigram,
    "whole words": greedy_words,
    "word level": word_level,
}


@pytest.mark.parametrize("name", FORGING)
def test_the_stand_in_for_a_special_forges_none(name: str) -> None:
    document = FORGING[name]()
    vocab = document["model"]["vocab"]
    if isinstance(vocab, list):
        vocab.append(["<|end|>", 0.0])
        end = len(vocab) - 1
    else:
        end = vocab.setdefault("<|end|>", max(vocab.values()) + 1)
    added = with_added_tokens(document, [{"content": "<|end|>", "id": end}])["added_tokens"]
    kept = [token for token in document.get("added_tokens") or () if token["id"] != end]
    try:
        encoder = from_tokenizer_json(text_of(document | {"added_tokens": [*kept, *added]}))
    except isc.EncoderError:
        return
    typed = ["<|end|>", f"\uffff {end}", f"x\uffff {end}y", *(f"\uffff {k}" for k in encoder.specials.values())]
    forged = [text for text in typed if ids_or_none(encoder, text) & set(encoder.specials.values())]
    assert forged == []


def ids_or_none(encoder: VocabularyEncoder, text: str) -> set[int]:
    try:
        return set(next(iter(encoder.encode_batch([text]))))
    except isc.EncoderError as error:
        assert "encodes to a control token" in str(error) or "loses" in str(error)  # noqa: PT017
        return set()


def test_a_file_on_disk_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(with_word(byte_level(), 10**9))
    with pytest.raises(isc.EncoderError, match=r"tokenizer\.json: .*token 'zqx' must be a whole number below"):
        isc.encoders.from_file(path)


def test_replacements_that_multiply_are_refused() -> None:
    """Five that make a thousand of one would make a text 10^15 times as long."""
    document = byte_level()
    rule = {"type": "Replace", "pattern": {"String": "q"}, "content": "q" * 1000}
    document["normalizer"] = {"type": "Sequence", "normalizers": [rule] * 5}
    with pytest.raises(isc.EncoderError, match="times as long"):
        from_tokenizer_json(json.dumps(document))


def test_a_pattern_that_backtracks_without_end_is_an_encoder_error() -> None:
    document = byte_level()
    split = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
    bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, bytes_of]}
    encoder = from_tokenizer_json(json.dumps(document))
    with pytest.raises(isc.EncoderError, match="cannot encode a text"):
        list(encoder.encode_batch(["a" * 40 + "b"]))
