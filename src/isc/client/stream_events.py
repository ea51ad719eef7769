"""What a stream tells of a turn while it is sampled: a closed union of frozen records. None is ever taken back.

Ids come first, with their log probabilities, as soon as the engine has sent them; then what they made certain of the
turn; at last the turn.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from isc.client.generation import Generation
from isc.conversation.reading import ReadingEvent


class TokensSampled(Struct, frozen=True, tag=True):
    """More of the completion. All of these put together are `completion_ids` and `completion_logprobs` of the turn.

    Attributes:
        token_ids: The new ids; at least one.
        logprobs: The log probability of each, as the engine reported it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


class TurnFinished(Struct, frozen=True, tag=True):
    """The turn, checked and parsed, as `generate` returns it. Nothing comes after it."""

    generation: Generation


StreamEvent: TypeAlias = TokensSampled | ReadingEvent | TurnFinished
"""One event of a stream. New kinds come in a new version only."""
