"""What a vocabulary is to isc: the protocol that every encoder keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from isc.types import Span


@runtime_checkable
class Encoder(Protocol):
    """Text to ids and back. Text is always encoded ordinary: no added token is ever recognized in it."""

    @property
    def specials(self) -> Mapping[str, int]:
        """Every added token by its spelling."""

    @property
    def strips(self) -> Mapping[str, tuple[bool, bool]]:
        """The added tokens that swallow white space to their left, to their right."""

    @property
    def byte_lengths(self) -> Sequence[int] | None:
        """Bytes of each id's text by id; None for a vocabulary that is not byte-level."""

    def normalize(self, text: str) -> str:
        """The text as the vocabulary counts its bytes."""

    def encode_batch(self, texts: Sequence[str]) -> Iterable[Sequence[int]]:
        """Ids of each text, in one call to the engine."""

    def encode_with_offsets(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        """Ids of a text and the characters of it that each came from."""

    def decode_bytes(self, token_ids: Sequence[int]) -> bytes:
        """The bytes ids stand for; an id outside the vocabulary stands for nothing."""
