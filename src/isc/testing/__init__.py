"""The public kit for people who write a format: strategies, laws and a vocabulary that straddles every seam.

Needs Hypothesis (`isc[testing]`), imports no pytest. A law takes a renderer and a conversation and raises `LawError`
where it does not hold; its docstring is the law.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from string import printable

import msgspec

from isc.encoding.base import Encoder
from isc.encoding.encoders import VocabularyEncoder, from_tokenizer_json
from isc.encoding.vocabulary import byte_alphabet
from isc.formats._shape import Shape
from isc.formats.base import Family
from isc.formats.catalogue import family_name
from isc.loading import create_renderer
from isc.testing.conformance import BUILT_IN, CheckReport, Finding, Outcome, built_in, check
from isc.testing.laws import (
    CutToken,
    LawError,
    Reference,
    body,
    contexts,
    extension,
    homomorphism,
    inverse,
    no_forgery,
    ownership,
    parity,
    parsing,
    sampled,
)
from isc.testing.parting import fields, parts
from isc.testing.strategies import Writer, bodies, conversations, shape_of
from isc.testing.streams import streaming
from isc.testing.twins import Conversation

__all__ = [
    "CheckReport",
    "Conversation",
    "CutToken",
    "Finding",
    "LawError",
    "Outcome",
    "Reference",
    "Shape",
    "Writer",
    "adversarial_encoder",
    "bodies",
    "body",
    "built_in",
    "check_family",
    "contexts",
    "conversations",
    "extension",
    "fields",
    "homomorphism",
    "inverse",
    "no_forgery",
    "ownership",
    "parity",
    "parsing",
    "parts",
    "sampled",
    "shape_of",
    "streaming",
]


def check_family(
    family: Family,
    encoder: Encoder,
    reference: Reference | None = None,
    examples: Iterable[Conversation] = (),
    *,
    shape: Shape | None = None,
    count: int = BUILT_IN,
) -> CheckReport:
    """Hold a family to every law, and to a reference where there is one: `isc check` as a library call.

    Args:
        family: A chat format, of this package or of your own.
        encoder: A vocabulary with its specials; `adversarial_encoder(family.specials)` looks for trouble.
        reference: The model's own template and tokenizer.
        examples: Conversations to try besides the random ones.
        shape: What the format takes; None asks the family.
        count: How many random conversations, from fixed seeds.

    Returns:
        An outcome for every check; `report.holds` is whether none fails.

    >>> from isc import Qwen3
    >>> check_family(Qwen3(), adversarial_encoder(Qwen3().specials), count=3).holds
    True
    """
    taken = shape or shape_of(family)
    labelled = ((f"example {number}", conversation) for number, conversation in enumerate(examples))
    named = (*labelled, *built_in(taken, count))
    return check(family_name(family), create_renderer(encoder, family), named, reference, shape=taken)


@lru_cache(maxsize=32)
def adversarial_encoder(specials: tuple[str, ...]) -> VocabularyEncoder:
    r"""Make a byte-level vocabulary without word splitting, whose merges cross every boundary of a format.

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
