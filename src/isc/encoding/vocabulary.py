"""The tokens of a tokenizer.json: specials, byte lengths, bytes. Also the document without added tokens."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import chain
from typing import Any

import msgspec

from isc.encoding.base import Prefix
from isc.errors import EncoderError, shown


def byte_alphabet() -> dict[int, str]:
    """Return GPT-2's printable character for each byte.

    Printable Latin-1 is its own character, the others follow at U+0100.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + k) for k, byte in enumerate(others)}


_ALPHABET = frozenset(byte_alphabet().values())
_TO_LATIN_1 = {ord(character): byte for byte, character in byte_alphabet().items()}
_UNREACHABLE = "\uffff "  # no vocabulary sees a space as one; ids stay contiguous, which fastokens needs
_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
LARGEST_VOCABULARY = 1 << 22
"""Ids of a vocabulary; what it holds is a list by id, and a file may name any id it likes."""
_MERGES_FILE = "#version"
_DEEPEST_STEPS = 32
_MOST_GROWTH = 64  # of models: a space becomes one character, an ellipsis three
_FORMS = frozenset(("NFC", "NFD", "NFKC", "NFKD"))
_KEEPING = frozenset(("ByteLevel", "Metaspace", "Digits", "Split", "Punctuation", "UnicodeScripts", "Sequence"))


class Vocabulary:
    """Tokens by id, as strings that `to_bytes` turns into bytes once they are joined.

    `byte_lengths` holds the bytes of each id's text by id; it is None where tokens are not byte strings. `keeps_text`
    says that no step can take text away; where one can, each encoded text is compared with what was given.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        specials: Mapping[str, int],
        to_bytes: Callable[[str], bytes],
        *,
        byte_level: bool,
        strips: Mapping[str, tuple[bool, bool]] | None = None,
        normalizer: str | None = None,
        keeps_text: bool = True,
        prefix: Prefix | None = None,
    ) -> None:
        self.keeps_text = keeps_text
        self.specials = specials
        self.strips = strips or {}
        self.normalizer = normalizer
        self.prefix = prefix
        self.byte_lengths = array("I", map(len, tokens)) if byte_level else None
        self._tokens = tokens
        self._to_bytes = to_bytes
        self._special_bytes = {token_id: text.encode() for text, token_id in specials.items()}

    def __len__(self) -> int:
        return len(self._tokens)

    @classmethod
    def of_bytes(cls, tokens: Sequence[bytes], specials: Mapping[str, int]) -> Vocabulary:
        """Return a vocabulary whose tokens are byte strings."""
        return cls([token.decode("latin-1") for token in tokens], specials, _latin_1, byte_level=True)

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """Return the bytes of ids. Ids outside the vocabulary have no bytes."""
        tokens = self._tokens
        if self.byte_lengths is not None and self._special_bytes.keys().isdisjoint(token_ids):
            inside = [k for k in token_ids if 0 <= k < len(tokens)]
            return self._to_bytes("".join(map(tokens.__getitem__, inside)))
        special = self._special_bytes  # one by one: `<0x`, `41` and `>` in a row spell no byte token
        return b"".join(
            special[k] if k in special else self._to_bytes(tokens[k]) for k in token_ids if 0 <= k < len(tokens)
        )


def _latin_1(text: str) -> bytes:
    return text.encode("latin-1")


def _byte_level(text: str) -> bytes:
    return text.translate(_TO_LATIN_1).encode("latin-1", "replace")


def _sentence_piece(text: str) -> bytes:
    pieces = _BYTE_TOKEN.split(text)
    return b"".join(
        bytes.fromhex(piece) if position % 2 else piece.replace("▁", " ").encode()
        for position, piece in enumerate(pieces)
    )


def read_document(document: str | bytes) -> tuple[Vocabulary, str]:
    """Return the vocabulary of a tokenizer.json, and the same file for ordinary text: no added tokens, no truncation.

    Raises:
        EncoderError: The document is not a tokenizer.json.
    """
    with _named():
        parsed, prefix = _without_prefix(_decoded(document))
        return _vocabulary(parsed, prefix), _ordinary(parsed)


def read_vocabulary(document: str | bytes) -> Vocabulary:
    """Return the vocabulary of a tokenizer.json alone.

    Raises:
        EncoderError: The document is not a tokenizer.json.
    """
    with _named():
        return _vocabulary(*_without_prefix(_decoded(document)))


@contextmanager
def _named() -> Iterator[None]:
    """Turn an error at a document of another form into one that says what was expected."""
    try:
        yield
    except EncoderError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise EncoderError(f"not a tokenizer.json: {type(error).__name__}: {error}") from error


def check_vocabulary_id(token_id: object, text: object) -> int:
    """Return the id of a token, if it is one that a vocabulary can have.

    Raises:
        EncoderError: It is no whole number, negative, or so large that a list by id would fill the memory.
    """
    if type(token_id) is not int or not 0 <= token_id < LARGEST_VOCABULARY:
        problem = f"must be a whole number below {LARGEST_VOCABULARY}, not {shown(token_id)}"
        raise EncoderError(f"this tokenizer cannot be used: the id of token {shown(text)} {problem}")
    return token_id


def _vocabulary(parsed: Mapping[str, Any], prefix: Prefix | None) -> Vocabulary:
    model = parsed["model"]
    specials = _specials(parsed)
    vocabulary = _token_ids(model)
    steps = _steps(parsed, "pre_tokenizer", "pretokenizers")
    normalizers = _steps(parsed, "normalizer", "normalizers")
    _check_growth(normalizers)
    tokens = _by_id(vocabulary, specials)
    levels = [step for step in steps if step.get("type") == "ByteLevel"]
    plain = bool(levels) and not any(step.get("add_prefix_space") for step in levels)
    bpe = model.get("type", "BPE") == "BPE"
    byte_level = plain and bpe and _is_byte_alphabet(vocabulary.keys() - specials.keys())
    return Vocabulary(
        tokens,
        specials,
        _byte_level if levels else _sentence_piece,
        byte_level=byte_level,
        strips=_strips(parsed),
        normalizer=_kind(normalizers[0]) if len(normalizers) == 1 else "Sequence" if normalizers else None,
        keeps_text=byte_level and all(map(_keeps_text, steps)) and _FORMS.issuperset(map(_kind, normalizers)),
        prefix=prefix,
    )


def _by_id(vocabulary: Mapping[str, int], specials: Mapping[str, int]) -> list[str]:
    """Return the tokens of text by id. The texts of specials, and of ids without a token, are empty."""
    tokens = [""] * (1 + max((*vocabulary.values(), *specials.values()), default=-1))
    for text, token_id in vocabulary.items():
        tokens[token_id] = text
    for text, token_id in specials.items():
        if tokens[token_id] not in ("", text):
            raise EncoderError(
                f"added token {text!r} has id {token_id}, which is {tokens[token_id]!r} in the vocabulary"
            )
        tokens[token_id] = ""
    return tokens


def _keeps_text(step: Mapping[str, Any]) -> bool:
    """Return whether a step that splits text keeps all of the text."""
    return _kind(step) in _KEEPING and step.get("behavior") != "Removed"


def _kind(step: Mapping[str, Any]) -> str:
    return str(step.get("type"))


def _strips(parsed: Mapping[str, Any]) -> dict[str, tuple[bool, bool]]:
    """Return the added tokens that swallow white space, to their left and to their right."""
    return {
        str(token["content"]): (bool(token.get("lstrip")), bool(token.get("rstrip")))
        for token in parsed.get("added_tokens") or ()
        if token.get("lstrip") or token.get("rstrip")
    }


def _without_prefix(parsed: dict[str, Any]) -> tuple[dict[str, Any], Prefix | None]:
    """Return the document without the prefix that its normalizer or first step puts before a text, and that prefix.

    Others of its steps see no text from its beginning and stay as they are.
    """
    normalizer = parsed.get("normalizer") or {}
    rules = _in_order(normalizer, "normalizers")
    prepends = next((k for k, rule in enumerate(rules) if rule.get("type") == "Prepend" and rule.get("prepend")), None)
    if prepends is not None:
        kept = [rule for k, rule in enumerate(rules) if k != prepends]
        remaining = {"type": "Sequence", "normalizers": kept} if kept else None
        replaced = [rule.get("pattern") for rule in kept if rule.get("content") == rules[prepends]["prepend"]]
        text = " " if {"String": " "} in replaced else str(rules[prepends]["prepend"])
        return {**parsed, "normalizer": remaining}, Prefix(text)
    pre_tokenizer = parsed.get("pre_tokenizer") or {}
    first = dict(next(iter(_in_order(pre_tokenizer, "pretokenizers")), {}))
    prefix = _prefix_of_step(first)
    if prefix is None:
        return parsed, None
    if "pretokenizers" in pre_tokenizer:
        first = {**pre_tokenizer, "pretokenizers": [first, *pre_tokenizer["pretokenizers"][1:]]}
    return {**parsed, "pre_tokenizer": first}, prefix


def _prefix_of_step(step: dict[str, Any]) -> Prefix | None:
    """Take the prefix that a pre-tokenizer puts before a text out of this step, and return that prefix."""
    added = step.get("add_prefix_space")
    if step.get("type") == "ByteLevel" and added:
        step["add_prefix_space"] = False
        return Prefix(" ", (" ",))
    scheme = step.get("prepend_scheme") or ("never" if added is False else "always")
    if step.get("type") != "Metaspace" or scheme == "never":
        return None
    step.pop("add_prefix_space", None)
    step["prepend_scheme"] = "never"
    return Prefix(" ", (" ", str(step.get("replacement", "▁"))), scheme == "always")


def _in_order(parent: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the rules of a sequence, or a single rule as a list."""
    return list(parent[name]) if name in parent else [dict(parent)] if parent else []


def _specials(parsed: Mapping[str, Any]) -> dict[str, int]:
    return {
        str(token["content"]): check_vocabulary_id(token["id"], token["content"])
        for token in parsed.get("added_tokens") or ()
    }


def _decoded(document: str | bytes) -> dict[str, Any]:
    try:
        parsed = msgspec.json.decode(document)
    except RecursionError:
        raise EncoderError("not a tokenizer.json: it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise EncoderError(f"not a tokenizer.json: {error}") from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("model"), dict) or "vocab" not in parsed["model"]:
        raise EncoderError("not a tokenizer.json: it has no model.vocab")
    return parsed


def _token_ids(model: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids of the model's tokens. Unigram lists tokens with their scores, in the order of their ids."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        check_vocabulary_id(max(0, len(vocabulary) - 1), "the last")
        return {str(entry[0]): position for position, entry in enumerate(vocabulary)}
    ids = vocabulary.values()
    plain = set(map(type, ids)) == {int} and len(set(ids)) == len(ids)
    if not plain or min(ids) < 0 or max(ids) >= LARGEST_VOCABULARY:
        _check_ids(vocabulary)
    return dict(vocabulary)


def _check_ids(vocabulary: Mapping[str, Any]) -> None:
    """Refuse ids that are none, or those of two tokens, and name the token."""
    texts: dict[int, str] = {}
    for text, token_id in vocabulary.items():
        other = texts.setdefault(check_vocabulary_id(token_id, text), text)
        if other is not text:
            raise EncoderError(
                f"this tokenizer cannot be used: tokens {shown(other)} and {shown(text)} have the same id {token_id}"
            )


def _steps(parsed: Mapping[str, Any], name: str, nested: str) -> list[dict[str, Any]]:
    """Return the steps of a normalizer or pre-tokenizer, also those inside sequences. A sequence itself is no step."""
    steps: list[dict[str, Any]] = []
    level: list[dict[str, Any]] = [parsed[name]] if parsed.get(name) else []
    for _ in range(_DEEPEST_STEPS):
        steps += [step for step in level if nested not in step]
        level = [inner for step in level for inner in step.get(nested, ())]
        if not level:
            return steps
    raise EncoderError(f"its {name} is nested more than {_DEEPEST_STEPS} deep")


def _check_growth(normalizers: Sequence[Mapping[str, Any]]) -> None:
    """Refuse replacements that let a text grow without bounds, one after another."""
    growth = 1.0
    for step in normalizers:
        if _kind(step) == "Replace":
            replaced = (step.get("pattern") or {}).get("String") or ""
            growth *= max(1.0, len(step.get("content") or "") / max(1, len(replaced)))
    if growth > _MOST_GROWTH:
        raise EncoderError(f"this tokenizer cannot be used: its replacements make a text {growth:.0f} times as long")


def _is_byte_alphabet(tokens: set[str]) -> bool:
    """Return whether tokens are byte strings: every byte is among them, and nothing but bytes."""
    return tokens >= _ALPHABET and _ALPHABET.issuperset("".join(tokens))


def _ordinary(parsed: dict[str, Any]) -> str:
    """Return the document reduced to text and ids. No spelling of an added token finds its id."""
    model = dict(parsed["model"])
    specials = _specials(parsed)
    shadowed: Set[str] = frozenset()
    if isinstance(model["vocab"], dict):
        shadowed = specials.keys() & model["vocab"]
        if shadowed:
            model["vocab"] = {
                f"{_UNREACHABLE}{k}" if text in shadowed else text: k for text, k in model["vocab"].items()
            }
    else:
        pieces = enumerate(model["vocab"])
        model["vocab"] = [(f"{_UNREACHABLE}{k}" if text in specials else text, score) for k, (text, score) in pieces]
    if "merges" in model:
        model["merges"] = _joined(_without(model["merges"], shadowed))
    if "dropout" in model:
        model["dropout"] = None
    for step in _steps(parsed, "pre_tokenizer", "pretokenizers"):
        if step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "never"
    ordinary = {
        **parsed,
        "added_tokens": [],
        "truncation": None,
        "padding": None,
        "post_processor": None,
        "model": model,
    }
    return msgspec.json.encode(ordinary).decode()


def _without(merges: list[Any], specials: Set[str]) -> list[Any]:
    """Return the merges that neither take nor make one of these tokens."""
    return [merge for merge in merges if specials.isdisjoint(_merge_parts(merge))] if specials else merges


def _joined(merges: list[Any]) -> list[Any]:
    """Return merges as texts, where they stay the same: the engines read them in four fifths of the time.

    A text is cut at its space, and one that begins as the first line of a merges.txt does is passed over.
    """
    if not all(type(merge) is list and len(merge) == 2 for merge in merges):
        return merges
    if any(" " in text for text in chain.from_iterable(merges)):
        return merges
    texts = list(map(" ".join, merges))
    return merges if any(text.startswith(_MERGES_FILE) for text in texts) else texts


def _merge_parts(merge: str | Sequence[str]) -> tuple[str, ...]:
    """Return a merge's parts and their result."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right, left + right
