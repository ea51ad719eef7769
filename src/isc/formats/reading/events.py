"""What a reader tells of a turn while it is sampled: a closed union of frozen records. None is ever taken back.

The texts of the deltas, put together, are those of the response that the turn ends in.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from isc.types import ParsedToolCall


class ReasoningDelta(Struct, frozen=True, tag=True):
    """More of the reasoning."""

    text: str


class ReasoningEnded(Struct, frozen=True, tag=True):
    """The end of the reasoning: by its closer, or by what ends it without one."""


class ContentDelta(Struct, frozen=True, tag=True):
    """More of the content."""

    text: str


class CallStarted(Struct, frozen=True, tag=True):
    """The beginning of attempted call `index`, with its name and id where it has them: these no longer change."""

    index: int
    name: str | None
    id: str | None = None


class ArgumentsDelta(Struct, frozen=True, tag=True):
    """More of the JSON text of a call's arguments. The text is whole where the call is as it should be."""

    index: int
    text: str


class CallEnded(Struct, frozen=True, tag=True):
    """The end of call `index`, as the response will have it."""

    index: int
    call: ParsedToolCall


class Stopped(Struct, frozen=True, tag=True):
    """The stop of the turn: the special, by its spelling. All that the turn says has been told before it."""

    token: str


ReadingEvent: TypeAlias = (
    ReasoningDelta | ReasoningEnded | ContentDelta | CallStarted | ArgumentsDelta | CallEnded | Stopped
)
"""One event. New kinds come in a new version only."""
