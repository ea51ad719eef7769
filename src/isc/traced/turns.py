"""Turns of a conversation that was rendered as a whole, for callers that ask a family turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

from isc.types import Chat, Segment


class Conversing(Protocol):
    """A format that renders whole conversations."""

    def conversation(self, chat: Chat, *, add_generation_prompt: bool = False) -> list[Segment]:
        """Return a conversation as owned segments."""


class _ByIdentity:
    """A chat and a format as a key: chats hold mappings, which have no hash."""

    __slots__ = ("chat", "family")

    def __init__(self, family: Conversing, chat: Chat) -> None:
        self.family, self.chat = family, chat

    def __hash__(self) -> int:
        return hash((id(self.chat), self.family))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.chat is other.chat and self.family == other.family


@lru_cache(maxsize=8)
def _segments_of(key: _ByIdentity) -> tuple[Segment, ...]:
    """Return the segments of a chat. The last 8 are kept."""
    return tuple(key.family.conversation(key.chat))


def owned_by(family: Conversing, chat: Chat, message: int) -> Iterator[Segment]:
    """Yield one message's segments of a conversation, as a family yields them: without their owner."""
    segments = _segments_of(_ByIdentity(family, chat))
    return (Segment(segment.text, segment.kind, segment.body) for segment in segments if segment.message == message)
