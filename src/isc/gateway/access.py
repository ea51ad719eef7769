"""Who may ask a gateway, and for which model."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
"""The names of this machine as it reaches itself."""


class Access(Struct, frozen=True):
    """Who may ask, and for what.

    Attributes:
        models: The names that the model goes by; `*` takes any.
        token: What every request has to bring; None where only this machine can ask.
        hosts: By which names of the server requests may come, where there is no token: a page in a browser on this
            machine, of whatever site, would come by another.
    """

    models: tuple[str, ...]
    token: str | None = None
    hosts: tuple[str, ...] = LOOPBACK
