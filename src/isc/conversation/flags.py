"""Flags by which a message of a data set says that it is not trained on: one table of the keys people write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from isc.errors import ConversationError
from isc.types import Message

FLAGS: Mapping[str, str] = {
    "weight": "OpenAI's fine-tuning files",
    "training": "axolotl",
    "trainable": "tinker",
    "train": "chat files",
    "step_loss_mask": "slime",
    "loss": "chat files",
}
"""Keys of a message whose value 0 or false leaves the message untrained, and where each is written."""


class Flagged(Struct, frozen=True):
    """Messages without their flags, and what the flags said.

    Attributes:
        messages: The messages; a flag is no part of what is rendered.
        untrained: Indices of the messages that a flag leaves untrained.
        counts: How many messages each key left untrained.
    """

    messages: tuple[Message | Mapping[str, Any], ...]
    untrained: frozenset[int]
    counts: Mapping[str, int]


def read_flags(messages: Sequence[Message | Mapping[str, Any]]) -> Flagged:
    """Take the flags off messages.

    Args:
        messages: Message records, which have no flags, or mappings.

    Raises:
        ConversationError: A flag is neither 0 or false nor 1 or true; names the message and the key.

    >>> flagged = read_flags([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a", "weight": 0}])
    >>> flagged.untrained, flagged.counts, flagged.messages[1]
    (frozenset({1}), {'weight': 1}, {'role': 'assistant', 'content': 'a'})
    """
    counts: dict[str, int] = {}
    kept: list[Message | Mapping[str, Any]] = []
    untrained: set[int] = set()
    for index, message in enumerate(messages):
        flags = _flags(message, index)
        off = [key for key, value in flags.items() if not value]
        counts.update((key, counts.get(key, 0) + 1) for key in off)
        kept.append(_without_flags(message) if flags else message)
        if off:
            untrained.add(index)
    return Flagged(tuple(kept), frozenset(untrained), counts)


def _flags(message: object, index: int) -> dict[str, bool]:
    """Read what each flag of a message says."""
    if not isinstance(message, Mapping):
        return {}
    flags: dict[str, bool] = {}
    for key in FLAGS.keys() & message.keys():
        value = message[key]
        if value is None:
            continue
        if value not in (0, 1):
            raise ConversationError(f"messages[{index}].{key}", "must be 0, 1, false or true", value)
        flags[key] = bool(value)
    return flags


def _without_flags(message: Message | Mapping[str, Any]) -> Message | Mapping[str, Any]:
    if not isinstance(message, Mapping):
        return message
    return {key: value for key, value in message.items() if key not in FLAGS}
