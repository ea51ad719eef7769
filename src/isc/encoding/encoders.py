"""Text to ids behind one protocol: fastokens, tokenizers, tiktoken, and the small vocabulary isc carries itself.

Every engine encodes ordinary text only: it is built without the added tokens, so no spelling can become one of them.
An engine is used only after it agreed with `tokenizers` on a probe text.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from isc._later import Later
from isc._options import checked
from isc.encoding._held import HeldEncoders, state_of
from isc.encoding._verdicts import digest_of, recorded, remember
from isc.encoding.base import Encoder, Marks, Prefix
from isc.encoding.engines import (
    PROBE,
    CheckedEngine,
    Engine,
    FastokensEngine,
    TiktokenEngine,
    TokenizersEngine,
    agreeing_fastokens,
    can_do_without_reference,
    form_of,
    normalizer_of,
    panics_named,
    probe_digest,
    same_text,
    tiles,
)
from isc.encoding.rank_files import Limits, format_of, named_specials, read_ranks
from isc.encoding.vocabulary import Vocabulary, check_vocabulary_id, read_document, read_vocabulary
from isc.errors import EncoderError, EncoderFallbackWarning, LoadError
from isc.rendered import ids_of
from isc.types import Span

if TYPE_CHECKING:
    import tiktoken
else:
    tiktoken = Later

EngineName: TypeAlias = Literal["fastokens", "tokenizers", "later"]
"""The engines that encode by a tokenizer.json; `"later"` is the one that is taken anyway, built when it is needed."""


class VocabularyEncoder:
    """An `Encoder` made of an engine and what is known of its vocabulary. Immutable, safe to share between threads.

    Attributes:
        engine_name: `"fastokens"`, `"tokenizers"` or `"tiktoken"`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        engine: Engine,
        engine_name: str,
        rebuild: tuple[Callable[..., Encoder], tuple[object, ...]],
        normalize: Callable[[str], str] | None = None,
    ) -> None:
        self.specials: Mapping[str, int] = vocabulary.specials
        self.strips: Mapping[str, tuple[bool, bool]] = vocabulary.strips
        self.byte_lengths: Sequence[int] | None = vocabulary.byte_lengths
        self.prefix: Prefix | None = vocabulary.prefix
        self.encode_batch = (engine if vocabulary.keeps_text else CheckedEngine(engine, vocabulary)).encode_batch
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

    @property
    def marks(self) -> Marks | None:
        """Return how specials are marked in a text, where the engine can be told of them; else None."""
        return self._engine.marks if self._vocabulary.keeps_text else None  # else each text is looked at

    def normalize(self, text: str) -> str:
        """Normalize a text as the vocabulary does before it counts bytes."""
        return self._normalize(text) if self._normalize else text

    def encode_with_offsets(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        """Encode a text and return the characters behind each id. Only for vocabularies that are not byte-level."""
        if not isinstance(self._engine, TokenizersEngine | _DeferredEngine):
            raise EncoderError(f"{self!r} is byte-level and has no offsets")
        return self._engine.encode_with_offsets(text)

    def decode_bytes(self, token_ids: Sequence[int]) -> bytes:
        """Return the bytes of ids. Ids outside the vocabulary have no bytes."""
        return self._vocabulary.decode(ids_of(token_ids))

    def with_rebuild(self, function: Callable[..., Encoder], *arguments: object) -> VocabularyEncoder:
        """Return the same encoder, pickled as this call."""
        other = object.__new__(VocabularyEncoder)
        other.__dict__.update(self.__dict__, _rebuild=(function, arguments))
        return other


class _DeferredEngine:
    """The engine of an encoder that is made when it is first asked for anything."""

    def __init__(self, make: Callable[[], VocabularyEncoder]) -> None:
        self._made = lru_cache(maxsize=1)(make)

    @property
    def marks(self) -> Marks | None:
        return self._made().marks

    def encode_batch(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        return self._made().encode_batch(texts)

    def encode_with_offsets(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        return self._made().encode_with_offsets(text)

    def normalize(self, text: str) -> str:
        return self._made().normalize(text)


def from_tokenizer_json(document: str | bytes, engine: EngineName | None = None) -> VocabularyEncoder:
    """Return an encoder for the text of a tokenizer.json.

    Args:
        document: The file's text.
        engine: `"fastokens"` or `"tokenizers"` to insist on one; None takes the fastest that agrees with `tokenizers`;
            `"later"` does so once something is encoded, and in a process that gets the encoder pickled.

    Raises:
        EncoderError: Not a tokenizer.json, or one whose text cannot be accounted for byte by byte.
        OptionError: There is no such engine.
    """
    checked("engine", engine, EngineName | None)
    if engine == "later":
        return _deferred(document)
    vocabulary, ordinary = read_document(document)
    digest = digest_of(document.encode() if isinstance(document, str) else document)
    rebuild = (from_tokenizer_json, (document, engine))
    recalled = _recalled(ordinary, vocabulary, digest) if engine is None else None
    if recalled is not None:
        return VocabularyEncoder(vocabulary, recalled, "fastokens", rebuild, form_of(vocabulary))
    try:
        with panics_named():
            reference = TokenizersEngine(ordinary)
    except Exception as error:  # the engine raises bare Exception for whatever it cannot read
        raise EncoderError(f"this tokenizer.json cannot be read: {error}") from error
    fastest: Engine = reference
    name = "tokenizers"
    if vocabulary.byte_lengths is not None and engine != "tokenizers":
        fast, problem = agreeing_fastokens(ordinary, reference, vocabulary)
        if fast is not None:
            fastest, name = fast, "fastokens"
        elif engine == "fastokens":
            raise EncoderError(f"fastokens cannot be used: {problem}")
        else:
            warnings.warn(f"using `tokenizers` instead of fastokens: {problem}", EncoderFallbackWarning, stacklevel=2)
    encoder = VocabularyEncoder(vocabulary, fastest, name, rebuild, normalizer_of(vocabulary, reference))
    _check_accounting(encoder, fastest, reference)
    if engine is None and name == "fastokens":
        remember(digest, probe_digest(reference, vocabulary))
    return encoder


def _recalled(ordinary: str, vocabulary: Vocabulary, digest: str) -> FastokensEngine | None:
    """Return the fast engine, if it makes of the probe what `tokenizers` is known to make of it."""
    known = recorded(digest) if can_do_without_reference(vocabulary) else None
    if known is not None:
        with suppress(Exception), panics_named():  # one that fails in any way is compared anew, which says why
            engine = FastokensEngine(ordinary, vocabulary.specials)
            if probe_digest(engine, vocabulary) == known:
                return engine
    return None


def _deferred(document: str | bytes) -> VocabularyEncoder:
    """Return an encoder whose engine is built when it is first needed."""
    engine = _DeferredEngine(partial(from_tokenizer_json, document))
    rebuild = (from_tokenizer_json, (document, None))
    return VocabularyEncoder(read_vocabulary(document), engine, "later", rebuild, engine.normalize)


def _check_accounting(encoder: VocabularyEncoder, engine: Engine, reference: TokenizersEngine) -> None:
    """Refuse a vocabulary in which some text has no token, or a token no text."""
    try:
        encoded = engine.encode_batch(PROBE)
    except Exception as error:  # the engine raises bare Exception where a text has no token
        raise EncoderError(f"this tokenizer cannot encode ordinary text: {error}") from error
    for text, ids in zip(PROBE, encoded, strict=True):
        decoded = encoder.decode_bytes(ids).decode("utf-8", "replace")
        if encoder.byte_lengths is not None:
            exact = decoded == encoder.normalize(text) and same_text(decoded, text)
        else:
            _, offsets = reference.encode_with_offsets(text)
            exact = tiles(offsets, len(text)) and (same_text(decoded, text) or same_text(decoded, f" {text}"))
        if not exact:
            raise EncoderError(
                f"this tokenizer cannot be accounted for byte by byte: it loses or changes part of {text!r} "
                f"({decoded!r} comes back), so no one could say which message its tokens belong to"
            )


def from_file(path: str | os.PathLike[str], engine: EngineName | None = None) -> VocabularyEncoder:
    """Return an encoder for a tokenizer.json on disk, cached (four files) by path, size and time; pickled by its path.

    Args:
        path: The file.
        engine: See `from_tokenizer_json`. `"tokenizers"` is loaded sooner: right for one conversation.

    Raises:
        LoadError: No such file.
        EncoderError: A file that is no tokenizer.json, or one that cannot be accounted for.
    """
    place, modified, size = _state(path)
    return _from_file(place, engine, modified, size)


def _state(path: str | os.PathLike[str]) -> tuple[str, int, int]:
    """Return a file's whole path, its time and its size, which stay the same until it is written again.

    Raises:
        LoadError: No such file.
    """
    place = Path(path).resolve()
    try:
        status = place.stat()
    except OSError as error:
        raise LoadError(f"{place}: {error.strerror}") from None
    return str(place), status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _from_file(path: str, engine: EngineName | None, _modified: int, _size: int) -> VocabularyEncoder:
    try:
        encoder = from_tokenizer_json(Path(path).read_bytes(), engine)
    except EncoderError as error:
        raise EncoderError(f"{path}: {error}") from error
    return encoder.with_rebuild(from_file, path, None if engine == "later" else engine)


def from_tiktoken(encoding: tiktoken.Encoding, limits: Limits | None = None) -> VocabularyEncoder:
    """Return an encoder for a `tiktoken.Encoding`. Its special tokens are the specials.

    Args:
        encoding: The encoding.
        limits: The most that the model's own tokenizer encodes at once, if it sets a limit.

    Raises:
        EncoderError: Some byte has no token, or a special has the id of a token of text.

    >>> import tiktoken
    >>> ranks = {bytes([byte]): byte for byte in range(256)}
    >>> encoding = tiktoken.Encoding("bytes", pat_str=".", mergeable_ranks=ranks, special_tokens={"<|end|>": 256})
    >>> next(from_tiktoken(encoding).encode_batch(["<|end|>"]))[:3]
    [60, 124, 101]
    """
    specials = {text: encoding.encode_single_token(text) for text in encoding.special_tokens_set}
    tokens: list[bytes] = [b""] * (check_vocabulary_id(encoding.max_token_value, "with the largest id") + 1)
    for token in encoding.token_byte_values():
        tokens[encoding.encode_single_token(token)] = token
    missing = {bytes([byte]) for byte in range(256)}.difference(tokens)
    if missing:
        raise EncoderError(f"{encoding!r} has no token for {len(missing)} of the 256 bytes, {min(missing)!r} first")
    shared = next((text for text, token_id in specials.items() if tokens[token_id]), None)
    if shared is not None:
        raise EncoderError(f"{encoding!r}: special {shared!r} has the id of {tokens[specials[shared]]!r}")
    vocabulary = Vocabulary.of_bytes(tokens, specials)
    engine = TiktokenEngine(encoding, limits)
    return VocabularyEncoder(vocabulary, engine, "tiktoken", (from_tiktoken, (encoding, limits)))


def from_rank_file(
    path: str | os.PathLike[str], pattern: str, specials: Mapping[str, int], limits: Limits | None = None
) -> VocabularyEncoder:
    """Return an encoder for a tiktoken rank file (lines of `base64 rank`), its split pattern and its specials.

    Args:
        path: The file; the encoder is pickled by its path.
        pattern: The regular expression that splits text into words.
        specials: Ids of the control tokens.
        limits: The most that the model's own tokenizer encodes at once, if it sets a limit.

    Raises:
        LoadError: The file is missing or a line of it is not a token and a rank of its own.
        EncoderError: The pattern is no regular expression, or the ranks do not cover all bytes.
    """
    import tiktoken

    place = Path(path).resolve()
    ranks = read_ranks(place)
    try:
        encoding = tiktoken.Encoding(place.name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=dict(specials))
    except ValueError as error:
        raise EncoderError(f"{place} with split pattern {pattern!r}: {error}") from error
    return from_tiktoken(encoding, limits).with_rebuild(from_rank_file, str(place), pattern, dict(specials), limits)


def from_known_rank_file(path: str | os.PathLike[str], configuration: str) -> VocabularyEncoder:
    """Return an encoder for a rank file that isc knows, cached (four files) by path, size, time and configuration.

    Args:
        path: The model's `tiktoken.model`.
        configuration: The text of its `tokenizer_config.json`, which names the specials.

    Raises:
        LoadError: The file is missing or not known, or the configuration names no specials.
    """
    place, modified, size = _state(path)
    return _from_known_rank_file(place, configuration, modified, size)


@lru_cache(maxsize=4)
def _from_known_rank_file(path: str, configuration: str, _modified: int, _size: int) -> VocabularyEncoder:
    rank_format = format_of(Path(path))
    return from_rank_file(
        path, rank_format.pattern, named_specials(configuration, rank_format.special_ids), rank_format.limits
    )


@lru_cache(maxsize=32)
def embedded(specials: tuple[str, ...]) -> VocabularyEncoder:
    """Return isc's own small vocabulary, with these specials added: for trying formats without a model's files.

    >>> embedded(("<|im_end|>",)).decode_bytes(next(iter(embedded(()).encode_batch(["hello"]))))
    b'hello'
    """
    from importlib.resources import files

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


@lru_cache(maxsize=4)
def _from_text(document: str) -> VocabularyEncoder:
    """Keep the encoders of tokenizers that callers hold, by their content: two equal tokenizers share one encoder."""
    return from_tokenizer_json(document)


_held = HeldEncoders()


def as_encoder(tokenizer: object) -> Encoder:
    """Turn any tokenizer that a caller holds into an `Encoder`. The same one, unchanged, costs nothing the next time.

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
        return _held.get(encoding, (encoding.name,), partial(from_tiktoken, encoding))
    backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(backend, "to_str"):
        return _held.get(backend, state_of(backend), lambda: _from_text(backend.to_str()))
    raise EncoderError(
        f"{kind.__module__}.{kind.__name__} is no tokenizer isc knows: pass a transformers fast tokenizer, a "
        "tokenizers.Tokenizer, a tiktoken.Encoding or an isc Encoder; isc.load takes a model's name or directory"
    )
