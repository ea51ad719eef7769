"""When a failed attempt is repeated, and after how long: bounded by count and by time."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from msgspec import Struct

from isc.errors import OptionError


class Retries(Struct, frozen=True):
    """How long a call may take and how often it may be tried.

    Attributes:
        attempts: Attempts in all, the first included.
        timeout: Seconds that one attempt may take, from waiting for a free connection to the last byte.
        total: Seconds that all attempts and the pauses between them may take.
        pause: Seconds before the second attempt; doubles with every further one.
        longest_pause: Seconds at which doubling ends. A `Retry-After` is kept even where it is longer; where
            `total` does not allow that, the call fails at once.
        idempotent: Whether a request that the engine may have begun to work on can be sent again. Sampling stores
            nothing, so it can; False repeats only what the engine did not take (no connection, 429).
        jitter: A number in [0, 1) by which pauses differ, so that calls that failed together do not come back together.

    Raises:
        OptionError: No attempt, or no time.

    >>> Retries(pause=1, jitter=lambda: 0.5).backoff(3)
    3.0
    """

    attempts: int = 5
    timeout: float = 600.0
    total: float = 1800.0
    pause: float = 0.5
    longest_pause: float = 30.0
    idempotent: bool = True
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise OptionError(f"Retries.attempts is {self.attempts}: at least one is needed, the first included")
        for name in ("timeout", "total"):
            if not getattr(self, name) > 0:
                raise OptionError(f"Retries.{name} is {getattr(self, name)}: it must be a number of seconds above zero")
        if not 0 <= self.pause <= self.longest_pause:
            raise OptionError(f"Retries.pause is {self.pause}: it must lie between 0 and longest_pause")

    def backoff(self, attempt: int) -> float:
        """Return the seconds to wait after this attempt failed: between half of the doubled pause and all of it."""
        doubled = min(self.longest_pause, self.pause * 2.0 ** min(attempt - 1, 60))
        return doubled * (0.5 + 0.5 * self.jitter())


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Return the seconds that a `Retry-After` header asks for, written as seconds or as a date; 0 if it is illegible.

    >>> retry_after("3"), retry_after(None), retry_after("soon"), retry_after("Wed, 21 Oct 99999999999 07:28:10 GMT")
    (3.0, 0.0, 0.0, 0.0)
    >>> retry_after("Wed, 21 Oct 2026 07:28:10 GMT", datetime(2026, 10, 21, 7, 28, tzinfo=UTC))
    10.0
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - (now or datetime.now(UTC))).total_seconds())
