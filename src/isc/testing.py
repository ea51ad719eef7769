"""The public kit for people who write a format: strategies, laws and a vocabulary that straddles every seam.

Needs Hypothesis (`isc[testing]`), imports no pytest. A law takes a renderer and a conversation and raises `LawError`
where it does not hold; its docstring is the law.
"""

from __future__ import annotations

from functools import lru_cache
from string import printable

import msgspec

from isc.encoders import VocabularyEncoder, from_tokenizer_json
from isc.laws import (
    Conversation,
    CutToken,
    LawError,
    Reference,
    body,
    homomorphism,
    no_forgery,
    ownership,
    parity,
    sampled,
)
from isc.roundtrips import extension, inverse, parsing
from isc.strategies import Shape, Writer, bodies, conversations
from isc.vocabulary import byte_alphabet

__all__ = [
    "Conversation",
    "CutToken",
    "LawError",
    "Reference",
    "Shape",
    "Writer",
    "adversarial_encoder",
    "bodies",
    "body",
    "conversations",
    "extension",
    "homomorphism",
    "inverse",
    "no_forgery",
    "ownership",
    "parity",
    "parsing",
    "sampled",
]


@lru_cache(maxsize=32)
def adversarial_encoder(specials: tuple[str, ...]) -> VocabularyEncoder:
    r"""A byte-level vocabulary without word splitting whose merges cross every seam a format has.

    Every printable character merges with a newline, a quote, a bracket or a space on either side, and those pairs
    with each other, so that no boundary between scaffold and body is safe.

    >>> encoder = adversarial_encoder(())
    >>> [encoder.decode_bytes((k,)) for k in next(iter(encoder.encode_batch(["user\nHi"])))][-2]
    b'\nH'
    """
    letters = byte_alphabet()
    edges = [letters[ord(character)] for character in '\n"> {}<:,']
    every = [letters[ord(character)] for character in printable if letters[ord(character)] not in edges]
    joints = [letters[byte] for byte in (0xCC, 0xB8, 0x81, 0xE2, 0xF0, 0x9F)]
    pairs = [(edge, other) for edge in edges for other in (*every, *joints)]
    merges = [*pairs, *((edge + other, third) for edge, other in pairs[: 9 * len(every)] for third in every[10:62:7])]
    merges += [(other, edge) for edge in edges for other in every]
    merges += [(edge, edge) for edge in edges]
    tokens = [*letters.values(), *dict.fromkeys(left + right for left, right in merges)]
    document = {
        "version": "1.0",
        "added_tokens": [
            {"id": len(tokens) + k, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for k, text in enumerate(specials)
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {token: position for position, token in enumerate(tokens)},
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }  # fmt: skip
    return from_tokenizer_json(msgspec.json.encode(document), engine="tokenizers")
