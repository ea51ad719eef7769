"""The day, for formats whose system turn names it unless the caller does."""

from __future__ import annotations

from datetime import datetime


def today(pattern: str) -> str:
    """Return the present day by this machine's clock and zone, as `strftime_now` tells it to a template."""
    return datetime.now().astimezone().strftime(pattern)
