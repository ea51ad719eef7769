"""The engines that turn ordinary text into ids, and the probe on which they must agree with `tokenizers`."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from hashlib import sha256
from itertools import chain, cycle, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from isc._later import Later
from isc.encoding.base import Marks
from isc.encoding.rank_files import Limits, chunks
from isc.encoding.vocabulary import Vocabulary
from isc.errors import EncoderError, shown
from isc.types import Span

if TYPE_CHECKING:
    import tiktoken
else:
    tiktoken = Later

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


_SIGN = "\x1f"
"""What marks of specials begin with: a control character that hardly a text has."""
_NOTHING_ADDED = '"added_tokens":[]'
_ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
_IDS = attrgetter("ids")  # one list at a time: hundreds at once would set off the garbage collector
_REPEATED, _KEPT = 64, 4096  # characters of a text that formats repeat (a header, a line break), and how many are kept


class Engine(Protocol):
    """An engine that turns ordinary texts into ids, in one call. It has marks where it can be told of specials."""

    @property
    def marks(self) -> Marks | None: ...

    def encode_batch(self, texts: Sequence[str]) -> Iterator[Sequence[int]]: ...


class TokenizersEngine:
    """The reference engine: any tokenizer.json."""

    marks = None

    def __init__(self, document: str) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(document)

    def encode_batch(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        with panics_named():
            return map(_IDS, self.tokenizer.encode_batch(texts, add_special_tokens=False))

    def encode_with_offsets(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        with panics_named():
            encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, list(_by_character(encoding.offsets, text))


class CheckedEngine:
    """An engine whose ids are looked at: a file's steps may take text away, or let a text find a special's id.

    Texts are compared as a vocabulary can tell them apart: in one Unicode form, `▁` as the space that it stands for,
    a space before them or none.
    """

    def __init__(self, engine: Engine, vocabulary: Vocabulary) -> None:
        self.engine = engine
        self.vocabulary = vocabulary
        self._special_ids = frozenset(vocabulary.specials.values())

    def encode_batch(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        for text, ids in zip(texts, self.engine.encode_batch(texts), strict=True):
            if not self._special_ids.isdisjoint(ids):
                problem = "encodes to a control token: no spelling may become one"
                raise EncoderError(f"with this tokenizer {shown(text)} {problem}")
            decoded = self.vocabulary.decode(ids).decode("utf-8", "replace")
            if decoded != text and not self._same(decoded, text):
                problem = f"loses or changes part of {shown(text)} ({shown(decoded)} comes back)"
                raise EncoderError(f"this tokenizer {problem}")
            yield ids

    def _same(self, decoded: str, text: str) -> bool:
        """Return whether two texts differ in nothing that this vocabulary can tell apart."""
        if self.vocabulary.byte_lengths is None:
            decoded, text = decoded.replace("▁", " "), text.replace("▁", " ")
        return same_text(decoded, text) or same_text(decoded, f" {text}")


@contextmanager
def panics_named() -> Iterator[None]:
    """Raise an `EncoderError` where an engine's own code breaks: its PanicException is no Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise EncoderError(f"the engine broke on this tokenizer: {shown(str(error))}") from None
        raise


class FastokensEngine:
    """The fast engine, for the byte-level vocabularies it knows.

    Texts go down one by one: measured, its own batch call is no faster on two cores, and its threads wait on each other
    where several processes encode. `encode` gives the interpreter lock up (tests/encoding/test_engines.py): once in
    some million tokens a call takes 50 ms and more, in which an event loop has to run. Its ids are integers that the
    engine keeps, so that a render holds 8 bytes a token. Ids of short texts are kept (the last 4096 of them).

    It has no added token but the marks of specials, which only `marks.encode` reads.

    Args:
        document: The vocabulary for ordinary text, as `read_document` gives it.
        specials: Those that get marks.
    """

    def __init__(self, document: str, specials: Mapping[str, int] | None = None) -> None:
        from fastokens import Tokenizer

        spellings = {text: f"{_SIGN}{number:04x}" for number, text in enumerate(specials or ())}
        added = [{**_ADDED, "id": token_id, "content": spellings[text]} for text, token_id in (specials or {}).items()]
        marked = document.replace(_NOTHING_ADDED, f'"added_tokens":{msgspec.json.encode(added).decode()}', 1)
        self.tokenizer = Tokenizer.from_json_str(marked)
        self._known = lru_cache(maxsize=_KEPT)(self._encode)
        self.marks = Marks(spellings, _SIGN, self._encode_marked) if self._reads(spellings, specials or {}) else None

    def _reads(self, spellings: Mapping[str, str], specials: Mapping[str, int]) -> bool:
        """Return whether every mark is read as its special, and the texts around it as they are alone."""
        texts = [probe for probe, _ in zip(cycle(PROBE), specials, strict=False)]
        alone = zip(self.encode_batch(texts), specials.values(), strict=True)
        expected = [token_id for ids, special in alone for token_id in (*ids, special)]
        marked = "".join(f"{text}{spellings[special]}" for text, special in zip(texts, specials, strict=True))
        return self._encode_marked(marked) == expected

    def _encode(self, text: str) -> Sequence[int]:
        return tuple(self.tokenizer.encode(text, split_special_tokens=True).ids)

    def _encode_marked(self, text: str) -> list[int]:
        try:
            return self.tokenizer.encode(text).ids
        except ValueError as error:
            raise _backtracks(error) from None

    def encode_batch(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        known, encode = self._known, partial(self.tokenizer.encode, split_special_tokens=True)
        try:  # all at once: the texts are there too, and a generator takes its time
            return iter([known(text) if len(text) <= _REPEATED else encode(text).ids for text in texts])
        except ValueError as error:
            raise _backtracks(error) from None


def _backtracks(error: ValueError) -> EncoderError:
    """Return the error of a file's pattern that backtracks without end."""
    return EncoderError(f"the engine cannot encode a text with this tokenizer: {shown(str(error))}")


class TiktokenEngine:
    """A tiktoken `Encoding`, which encodes ordinary text as it is, within the limits a model's tokenizer sets."""

    marks = None

    def __init__(self, encoding: tiktoken.Encoding, limits: Limits | None = None) -> None:
        self.encoding = encoding
        self.limits = limits

    def encode_batch(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        return map(self.encoding.encode_ordinary if self.limits is None else self._encode, texts)

    def _encode(self, text: str) -> list[int]:
        limits = self.limits
        if limits is None or len(text) <= min(limits.text, limits.run):
            return self.encoding.encode_ordinary(text)
        return list(chain.from_iterable(map(self.encoding.encode_ordinary, chunks(text, limits))))


def _by_character(offsets: Sequence[Span], text: str) -> Iterator[Span]:
    """Give each byte-fallback token of a Unigram vocabulary its own character.

    `tokenizers` reports the whole group's span for each.
    """
    for (start, end), group in groupby(offsets):
        shared = list(group)
        if len(shared) == 1 or end - start == 1:
            yield from shared
            continue
        each = [(place, place + 1) for place in range(start, end) for _ in text[place].encode()]
        yield from each if len(each) == len(shared) else shared


def can_do_without_reference(vocabulary: Vocabulary) -> bool:
    """Return whether a vocabulary needs `tokenizers` for nothing but a comparison: its offsets, its normalizer."""
    return vocabulary.byte_lengths is not None and vocabulary.normalizer in (None, *_FORMS)


def form_of(vocabulary: Vocabulary) -> Callable[[str], str] | None:
    """Return the Unicode normal form of a vocabulary as a function; None where it has none."""
    form = _FORMS.get(vocabulary.normalizer or "")
    return None if form is None else partial(unicodedata.normalize, form)


def normalizer_of(vocabulary: Vocabulary, reference: TokenizersEngine) -> Callable[[str], str] | None:
    """Return the function that the tokenizer normalizes a text with, or None."""
    normalizer = reference.tokenizer.normalizer
    if normalizer is None or vocabulary.normalizer in (None, *_FORMS):
        return form_of(vocabulary)
    by_rust: Callable[[str], str] = normalizer.normalize_str

    def normalized(text: str) -> str:
        with panics_named():
            return by_rust(text)

    return normalized


def probe_of(vocabulary: Vocabulary) -> list[str]:
    """Return the texts on which engines have to agree: the probe, and the spellings of all specials."""
    return [*PROBE, "".join(vocabulary.specials), " ".join(vocabulary.specials)]


def probe_digest(engine: Engine, vocabulary: Vocabulary) -> str:
    """Return a digest of what an engine makes of the probe."""
    ids = [list(ids) for ids in engine.encode_batch(probe_of(vocabulary))]
    return sha256(repr(ids).encode()).hexdigest()


def agreeing_fastokens(ordinary: str, reference: Engine, vocabulary: Vocabulary) -> tuple[FastokensEngine | None, str]:
    """Return the fast engine if it encodes the probe as the reference does, else None and the reason."""
    try:
        with panics_named():
            fast = FastokensEngine(ordinary, vocabulary.specials)
            probe = probe_of(vocabulary)
            pairs = zip(probe, fast.encode_batch(probe), reference.encode_batch(probe), strict=True)
            wrong = next((text for text, ours, theirs in pairs if list(ours) != list(theirs)), None)
    except Exception as error:  # a fast engine that fails in any way is not used
        return None, f"it cannot load this vocabulary ({error})"
    return (fast, "") if wrong is None else (None, f"it encodes {wrong!r} differently")


def same_text(decoded: str, text: str) -> bool:
    """Return whether two texts differ in their Unicode normal form at most."""
    return unicodedata.normalize("NFKC", decoded) == unicodedata.normalize("NFKC", text)


def tiles(offsets: Sequence[Span], length: int) -> bool:
    """Return whether the characters of the tokens leave no gap."""
    covered = 0
    for start, end in offsets:
        if start > covered:
            return False
        covered = max(covered, end)
    return covered == length
