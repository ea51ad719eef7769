"""Splits of a data set by a hash of each conversation: the same in every run and order, duplicates together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import fsum, isclose

import msgspec

from isc.conversation.flags import read_flags
from isc.errors import OptionError
from isc.types import Message

_WHOLE = 1 << 64


def split_of(messages: Sequence[Message | Mapping[str, object]], shares: Mapping[str, float]) -> str:
    """Return the split that a conversation belongs to.

    Tools, flags and the order of keys make no difference: the same messages are in the same split.

    Args:
        messages: Message records or OpenAI dicts.
        shares: The share of each split, by its name. They add up to 1.

    Raises:
        OptionError: The shares do not add up to 1, or one is negative.
        ConversationError: A flag has another value than it may have.

    >>> shares = {"train": 0.5, "val": 0.5}
    >>> [split_of([{"role": "user", "content": text}], shares) for text in ("a", "b", "c", "d")]
    ['train', 'val', 'train', 'val']
    """
    check_shares(shares)
    place = int.from_bytes(conversation_digest(messages)[:8], "big")
    names = [name for name, share in shares.items() if share > 0]
    bound = 0.0
    for name in names[:-1]:
        bound += shares[name]
        if place < bound * _WHOLE:
            return name
    return names[-1]


def conversation_digest(messages: Sequence[Message | Mapping[str, object]]) -> bytes:
    """Return the SHA-256 of what messages say, without their flags and keys without a value."""
    said = [_without_nothing(message) for message in read_flags(messages).messages]
    return sha256(msgspec.json.encode(said, order="sorted")).digest()


def _without_nothing(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _without_nothing(item) for key, item in value.items() if item is not None}
    return [_without_nothing(item) for item in value] if isinstance(value, (list, tuple)) else value


def check_shares(shares: Mapping[str, float]) -> None:
    """Raise an `OptionError` unless shares are of something and add up to 1."""
    if any(share < 0 for share in shares.values()) or not isclose(fsum(shares.values()), 1.0, abs_tol=1e-9):
        told = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise OptionError(f"shares of splits must add up to 1 (got {told}: {fsum(shares.values()):g})")
