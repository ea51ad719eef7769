"""The protocol of a vocabulary: every encoder keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from isc.types import Segment, Span


class Prefix(Struct, frozen=True):
    """A space that a vocabulary puts before a text of its own, such as Llama 2's.

    A text that goes on from another one gets none: what is sampled after text, and what is encoded apart from the text
    before it.

    Attributes:
        text: What is put there, as it is written before normalization.
        unless: Beginnings of texts that get none.
        after_specials: Whether a text after a special is one of its own; else only the very first text is.
    """

    text: str
    unless: tuple[str, ...] = ()
    after_specials: bool = True

    def before(self, segment: Segment, previous: Segment | None) -> Segment:
        """Put the prefix before a text, if the item before that text (nothing, a special or a text) calls for one.

        >>> Prefix(" ").before(Segment("tea"), None).text, Prefix(" ").before(Segment("tea"), Segment("the ")).text
        (' tea', 'tea')
        """
        own = previous is None or (previous.kind == "special" and self.after_specials)
        if not own or (self.unless and segment.text.startswith(self.unless)):
            return segment
        return Segment(self.text + segment.text, "text", segment.body, segment.message, part=segment.part)


class Marks(Struct, frozen=True):
    """How an engine is told of specials inside a text, so that one call encodes texts and the specials between them.

    Attributes:
        spellings: What stands for each special, by its own spelling.
        sign: What every such spelling begins with. A text that has it anywhere cannot be encoded so.
        encode: Text with marks to ids.
    """

    spellings: Mapping[str, str]
    sign: str
    encode: Callable[[str], list[int]]


@runtime_checkable
class Encoder(Protocol):
    """Text to ids and back. Text is always encoded ordinary: no added token is ever recognized in it.

    An encoder that has `marks` as well (`Marks`) encodes a render in one call.
    """

    @property
    def specials(self) -> Mapping[str, int]:
        """Return every added token by its spelling."""

    @property
    def strips(self) -> Mapping[str, tuple[bool, bool]]:
        """Return the added tokens that swallow white space: to their left, to their right."""

    @property
    def byte_lengths(self) -> Sequence[int] | None:
        """Return the number of bytes of each id's text, or None for a vocabulary that is not byte-level."""

    @property
    def prefix(self) -> Prefix | None:
        """Return the prefix of a text of its own, or None for most vocabularies.

        `encode_batch` and the others add no prefix.
        """

    def normalize(self, text: str) -> str:
        """Normalize a text as the vocabulary does before it counts bytes."""

    def encode_batch(self, texts: Sequence[str]) -> Iterable[Sequence[int]]:
        """Encode texts in one call to the engine."""

    def encode_with_offsets(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        """Encode a text and return the span of characters behind each id."""

    def decode_bytes(self, token_ids: Sequence[int]) -> bytes:
        """Return the bytes of ids. An id outside the vocabulary has no bytes."""
