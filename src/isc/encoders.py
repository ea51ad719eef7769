"""Text to ids behind one protocol: fastokens, tokenizers, tiktoken, and the small vocabulary isc carries itself.

Every engine encodes ordinary text only: it is built without the added tokens, so no spelling can become one of them.
An engine is used only after it agreed with `tokenizers` on a probe text.
"""

from __future__ import annotations

import base64
import binascii
import os
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from isc.errors import EncoderError, EncoderFallbackWarning, LoadError
from isc.types import Encoder, Span
from isc.vocabulary import Vocabulary, read_document

if TYPE_CHECKING:
    import tiktoken

PROBE = (
    "The quick brown fox. It's 1234567890 -- don't!",
    "漢字かな交じり文、中文测试，한국어 텍스트",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ✌🏽",
    "e\u0301 n\u0303 \u0338 >\u0338 a\u0323\u0302 \u0915\u093c नमस्ते السَّلام",
    "line\r\nline\r\n\r\n\tx\n\n\n  y   \n",
    " " * 70 + "x" + "\t" * 30 + "\u00a0\u3000 ",
    '{"key": [1, 2.50, -3e10], "nested": {"a": null}}',
)
_FORMS: dict[str, Literal["NFC", "NFD", "NFKC", "NFKD"]] = {"NFC": "NFC", "NFD": "NFD", "NFKC": "NFKC", "NFKD": "NFKD"}


class _Engine(Protocol):
    def encode_batch(self, texts: Sequence[str]) -> Sequence[Sequence[int]]: ...


class _TokenizersEngine:
    """The reference engine: any tokenizer.json."""

    def __init__(self, document: str) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(document)

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        return [item.ids for item in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def encode_with_offsets(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        found = self.tokenizer.encode(text, add_special_tokens=False)
        return found.ids, found.offsets


class _FastokensEngine:
    """The fast engine, for the byte-level vocabularies it knows."""

    def __init__(self, document: str) -> None:
        from fastokens import Tokenizer

        self.tokenizer = Tokenizer.from_json_str(document)

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        return [item.ids for item in self.tokenizer.encode_batch(texts)]


class _TiktokenEngine:
    """A tiktoken `Encoding`, which encodes ordinary text as it is."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self.encoding = encoding

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        return list(map(self.encoding.encode_ordinary, texts))


class VocabularyEncoder:
    """An `Encoder` made of an engine and what is known of its vocabulary. Immutable, safe to share between threads.

    Attributes:
        engine_name: `"fastokens"`, `"tokenizers"` or `"tiktoken"`.
        name: What the vocabulary is called in messages: a path, a model name, `"embedded"`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        engine: _Engine,
        engine_name: str,
        rebuild: tuple[Callable[..., Encoder], tuple[object, ...]],
        normalize: Callable[[str], str] | None = None,
    ) -> None:
        self.specials: Mapping[str, int] = vocabulary.specials
        self.strips: Mapping[str, tuple[bool, bool]] = vocabulary.strips
        self.byte_lengths: Sequence[int] | None = vocabulary.byte_lengths
        self.encode_batch = engine.encode_batch
        self.engine_name = engine_name
        self._engine = engine
        self._vocabulary = vocabulary
        self._normalize = normalize
        self._rebuild = rebuild

    def __reduce__(self) -> tuple[Callable[..., Encoder], tuple[object, ...]]:
        return self._rebuild

    def __repr__(self) -> str:
        return f"<{len(self._vocabulary)} tokens by {self.engine_name}>"

    def __len__(self) -> int:
        return len(self._vocabulary)

    def normalize(self, text: str) -> str:
        """The text as the vocabulary counts its bytes."""
        return self._normalize(text) if self._normalize else text

    def encode_with_offsets(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        """Ids of a text and the characters each came from; only for vocabularies that are not byte-level."""
        if not isinstance(self._engine, _TokenizersEngine):
            raise EncoderError(f"{self!r} is byte-level and has no offsets")
        return self._engine.encode_with_offsets(text)

    def decode_bytes(self, token_ids: Sequence[int]) -> bytes:
        """The bytes ids stand for; ids outside the vocabulary stand for nothing."""
        return self._vocabulary.decode(token_ids)

    def with_rebuild(self, function: Callable[..., Encoder], *arguments: object) -> VocabularyEncoder:
        """The same encoder, pickled as this call."""
        other = object.__new__(VocabularyEncoder)
        other.__dict__.update(self.__dict__, _rebuild=(function, arguments))
        return other


def from_tokenizer_json(document: str | bytes, engine: str | None = None) -> VocabularyEncoder:
    """An encoder from the text of a tokenizer.json.

    Args:
        document: The file's text.
        engine: `"fastokens"` or `"tokenizers"` to insist on one; None takes the fastest that agrees with `tokenizers`.

    Raises:
        EncoderError: Not a tokenizer.json, or one whose text cannot be accounted for byte by byte.
    """
    vocabulary, ordinary = read_document(document)
    try:
        reference = _TokenizersEngine(ordinary)
    except Exception as error:  # the engine raises bare Exception for whatever it cannot read
        raise EncoderError(f"this tokenizer.json cannot be read: {error}") from error
    chosen: _Engine = reference
    name = "tokenizers"
    if vocabulary.byte_lengths is not None and engine != "tokenizers":
        fast, problem = _agreeing_fastokens(ordinary, reference, vocabulary)
        if fast is not None:
            chosen, name = fast, "fastokens"
        elif engine == "fastokens":
            raise EncoderError(f"fastokens cannot be used: {problem}")
        else:
            warnings.warn(f"using `tokenizers` instead of fastokens: {problem}", EncoderFallbackWarning, stacklevel=2)
    found = VocabularyEncoder(
        vocabulary, chosen, name, (from_tokenizer_json, (document, engine)), _normalizer(vocabulary, reference)
    )
    _check_accounting(found, reference)
    return found


def _normalizer(vocabulary: Vocabulary, reference: _TokenizersEngine) -> Callable[[str], str] | None:
    normalizer = reference.tokenizer.normalizer
    if normalizer is None:
        return None
    form = _FORMS.get(vocabulary.normalizer or "")
    if form is not None:
        return partial(unicodedata.normalize, form)
    by_rust: Callable[[str], str] = normalizer.normalize_str
    return by_rust


def _agreeing_fastokens(
    ordinary: str, reference: _Engine, vocabulary: Vocabulary
) -> tuple[_FastokensEngine | None, str]:
    """The fast engine if it encodes the probe as the reference does, else why not."""
    try:
        fast = _FastokensEngine(ordinary)
        probe = [*PROBE, "".join(vocabulary.specials), " ".join(vocabulary.specials)]
        pairs = zip(probe, fast.encode_batch(probe), reference.encode_batch(probe), strict=True)
        wrong = next((text for text, ours, theirs in pairs if list(ours) != list(theirs)), None)
    except Exception as error:  # a fast engine that fails in any way is not used
        return None, f"it cannot load this vocabulary ({error})"
    return (fast, "") if wrong is None else (None, f"it encodes {wrong!r} differently")


def _check_accounting(encoder: VocabularyEncoder, reference: _TokenizersEngine) -> None:
    """Refuse a vocabulary in which some text has no token, or a token no text."""
    for text, ids in zip(PROBE, encoder.encode_batch(PROBE), strict=True):
        if encoder.byte_lengths is not None:
            exact = encoder.decode_bytes(ids) == encoder.normalize(text).encode()
        else:
            _, offsets = reference.encode_with_offsets(text)
            exact = _tiles(offsets, len(text))
        if not exact:
            raise EncoderError(
                f"this tokenizer cannot be accounted for byte by byte: it loses or changes part of {text!r}, "
                "so no one could say which message its tokens belong to"
            )


def _tiles(offsets: Sequence[Span], length: int) -> bool:
    """Whether the characters of the tokens leave no gap."""
    covered = 0
    for start, end in offsets:
        if start > covered:
            return False
        covered = max(covered, end)
    return covered == length


def from_file(path: str | os.PathLike[str]) -> VocabularyEncoder:
    """An encoder from a tokenizer.json on disk, cached (four files) by path, size and time; pickled by its path.

    Raises:
        LoadError: No such file.
        EncoderError: A file that is no tokenizer.json, or one that cannot be accounted for.
    """
    place = Path(path).resolve()
    try:
        status = place.stat()
    except OSError as error:
        raise LoadError(f"{place}: {error.strerror}") from None
    return _from_file(str(place), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _from_file(path: str, _modified: int, _size: int) -> VocabularyEncoder:
    try:
        found = from_tokenizer_json(Path(path).read_bytes())
    except EncoderError as error:
        raise EncoderError(f"{path}: {error}") from error
    return found.with_rebuild(from_file, path)


def from_tiktoken(encoding: tiktoken.Encoding) -> VocabularyEncoder:
    """An encoder from a `tiktoken.Encoding`; its special tokens are the specials.

    >>> import tiktoken
    >>> ranks = {bytes([byte]): byte for byte in range(256)}
    >>> encoding = tiktoken.Encoding("bytes", pat_str=r"[\\s\\S]", mergeable_ranks=ranks, special_tokens={"<|end|>": 256})
    >>> from_tiktoken(encoding).encode_batch(["<|end|>"])[0][:3]
    [60, 124, 101]
    """
    specials = {text: encoding.encode_single_token(text) for text in encoding.special_tokens_set}
    tokens: list[bytes] = [b""] * (encoding.max_token_value + 1)
    for token in encoding.token_byte_values():
        tokens[encoding.encode_single_token(token)] = token
    vocabulary = Vocabulary.of_bytes(tokens, specials)
    return VocabularyEncoder(vocabulary, _TiktokenEngine(encoding), "tiktoken", (from_tiktoken, (encoding,)))


def from_rank_file(path: str | os.PathLike[str], pattern: str, specials: Mapping[str, int]) -> VocabularyEncoder:
    """An encoder from a tiktoken rank file (lines of `base64 rank`), its split pattern and its specials.

    Raises:
        LoadError: The file is missing or a line of it is not a token and its rank.
    """
    import tiktoken

    place = Path(path)
    ranks: dict[bytes, int] = {}
    number = 0
    try:
        for number, line in enumerate(place.read_bytes().splitlines(), 1):
            if line:
                token, _, rank = line.partition(b" ")
                ranks[base64.b64decode(token, validate=True)] = int(rank)
    except OSError as error:
        raise LoadError(f"{place}: {error.strerror}") from None
    except (ValueError, binascii.Error) as error:
        raise LoadError(f"{place}, line {number}: not a base64 token and its rank ({error})") from None
    encoding = tiktoken.Encoding(place.name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=dict(specials))
    return from_tiktoken(encoding).with_rebuild(from_rank_file, str(place), pattern, dict(specials))


@lru_cache(maxsize=32)
def embedded(specials: tuple[str, ...]) -> VocabularyEncoder:
    """The small vocabulary isc carries itself, with these specials added: for trying formats without a model's files.

    >>> embedded(("<|im_end|>",)).decode_bytes(embedded(("<|im_end|>",)).encode_batch(["hello"])[0])
    b'hello'
    """
    import msgspec

    document = msgspec.json.decode(files("isc").joinpath("data/vocabulary.json").read_bytes())
    first = len(document["model"]["vocab"])
    document["added_tokens"] = [
        {
            "id": first + position, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True,
        }
        for position, text in enumerate(specials)
    ]  # fmt: skip
    return from_tokenizer_json(msgspec.json.encode(document)).with_rebuild(embedded, specials)


def as_encoder(tokenizer: object) -> Encoder:
    """Whatever tokenizer a caller holds, as an `Encoder`.

    Args:
        tokenizer: A transformers fast tokenizer, `tokenizers.Tokenizer`, `tiktoken.Encoding` or an `Encoder`.

    Raises:
        EncoderError: Another kind of object, e.g. a slow transformers tokenizer.
    """
    if isinstance(tokenizer, Encoder):
        return tokenizer
    kind = type(tokenizer)
    if kind.__name__ == "Encoding" and kind.__module__.startswith("tiktoken"):
        encoding: Any = tokenizer
        return from_tiktoken(encoding)
    backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(backend, "to_str"):
        return from_tokenizer_json(backend.to_str())
    raise EncoderError(
        f"{kind.__module__}.{kind.__name__} is no tokenizer isc knows: pass a transformers fast tokenizer, a "
        "tokenizers.Tokenizer, a tiktoken.Encoding or an isc Encoder"
    )
