"""tokenizer.json documents that tests make: the vocabulary isc carries itself, with what a test needs changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import msgspec
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from isc.formats.qwen3 import Qwen3

Document = dict[str, Any]
"""A decoded tokenizer.json."""


def byte_level() -> Document:
    """The vocabulary that isc carries itself: a byte-level BPE without added tokens or normalizer."""
    document = msgspec.json.decode(files("isc").joinpath("data/vocabulary.json").read_bytes(), type=Document)
    return {**document, "model": dict(document["model"])}


def with_added_tokens(document: Document, tokens: Sequence[str | Mapping[str, Any]]) -> Document:
    """A document with these tokens added after its vocabulary, in order; a mapping sets more than the spelling."""
    first = len(document["model"]["vocab"])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [
        plain | {"id": first + position} | ({"content": token} if isinstance(token, str) else dict(token))
        for position, token in enumerate(tokens)
    ]
    return document | {"added_tokens": added}


def text_of(document: Document) -> str:
    """The document as a file holds it."""
    return msgspec.json.encode(document).decode()


def qwen3_file(*extra: str | Mapping[str, Any]) -> str:
    """A small tokenizer.json with the specials of Qwen3, and others."""
    return text_of(with_added_tokens(byte_level(), [*Qwen3().specials, *extra]))


def transformers_tokenizer(document: str) -> Any:  # noqa: ANN401 - transformers is not typed
    """The document as a transformers fast tokenizer."""
    from transformers import PreTrainedTokenizerFast

    untyped: Any = PreTrainedTokenizerFast
    return untyped(tokenizer_object=Tokenizer.from_str(document))


_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_CORPUS = [
    "the quick brown fox jumps over the lazy dog, then the dog sleeps.",
    "It's 1234567890 -- don't! user assistant",
]


def _trained(tokenizer: Tokenizer, trainer: trainers.Trainer, **model: object) -> Document:
    """A small vocabulary with a token for every byte, which are tokens of the model and not added ones."""
    tokenizer.train_from_iterator(_CORPUS * 3, trainer)
    document = msgspec.json.decode(tokenizer.to_str(), type=Document)
    kept = [token for token in document["added_tokens"] if token["content"] not in _BYTES]
    return document | {"added_tokens": kept, "model": {**document["model"], **model}}


def metaspace_bpe(prepend_scheme: str) -> Document:
    """A BPE on words with U+2581 for a space, other characters as bytes: Llama's and Mistral's kind."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    special = ["<unk>", *_BYTES]
    return _trained(tokenizer, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))


def metaspace_unigram() -> Document:
    """A Unigram model with byte fallback: T5's kind, without its normalizer."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=340, special_tokens=["<unk>", *_BYTES], unk_token="<unk>", show_progress=False
    )
    return _trained(tokenizer, trainer, byte_fallback=True)


def replaced_spaces(*, prefix: bool) -> Document:
    """A BPE on whole texts whose normalizer writes U+2581 for a space: Gemma's kind, with a prefix Llama 2's."""
    document = metaspace_bpe("never")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    normalizer = {"type": "Sequence", "normalizers": [prepend, replace]} if prefix else replace
    return document | {"normalizer": normalizer, "pre_tokenizer": None}


def prefixed_byte_level() -> Document:
    """A byte-level BPE that puts a space before every text: RoBERTa's kind."""
    step = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return byte_level() | {"pre_tokenizer": step}


def lower_cased_word_piece() -> Document:
    """BERT's kind: lower-cased words, no spaces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _trained(tokenizer, trainers.WordPieceTrainer(special_tokens=["[UNK]"], show_progress=False))


def unigram_without_bytes() -> Document:
    """A Unigram model that knows the characters of its corpus and no others."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    return _trained(tokenizer, trainer)


def prefixed(kind: str) -> Document:
    """A vocabulary that puts a space before a text, with the decoder its kind has.

    Args:
        kind: `prepend` (Llama 2, Mistral v0.1, Phi-3), `always`, `first`, `unigram` or `byte-level`.
    """
    if kind == "byte-level":
        step = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        return prefixed_byte_level() | {"decoder": step}
    if kind == "prepend":
        steps: list[Document] = [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]
        return replaced_spaces(prefix=True) | {"decoder": {"type": "Sequence", "decoders": steps}}
    document = metaspace_unigram() if kind == "unigram" else metaspace_bpe(kind)
    scheme = "always" if kind == "unigram" else kind
    step = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": kind != "unigram"}
    fallback = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, step]}
    return document | {"pre_tokenizer": step, "decoder": fallback}
