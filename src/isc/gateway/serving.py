"""What a gateway is started with: plain values, of which nothing is opened yet."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from isc.client.engines import ProtocolName
from isc.conversation.renderer import Renderer
from isc.gateway.access import Access


class Bounds(Struct, frozen=True):
    """How much a gateway takes.

    Attributes:
        body_bytes: The longest body of a request.
        sessions: How many sessions are recorded. A request of another is refused then.
        turns: How many turns a session has.
        held: How many sessions are kept in memory; others are read again from the record.
        keep_seconds: How long a session is kept after it was last asked or answered; None for ever.
    """

    body_bytes: int = 64 << 20
    sessions: int = 100_000
    turns: int = 10_000
    held: int = 1024
    keep_seconds: float | None = None


class Serving(Struct, frozen=True):
    """A gateway as it is asked for.

    Attributes:
        renderer: Format and vocabulary of the model.
        about: What its ids depend on, which the record is held to.
        engines: The roots of the engines.
        access: Who may ask.
        record: The file of sessions.
        engine_model: The name that the engines serve the model by; None for the only one.
        protocol: How they are asked.
        api_key: What they want as a bearer token; None for nothing.
        bounds: How much is taken.
        host: The address to listen on.
        port: The port; 0 for a free one.
    """

    renderer: Renderer
    about: str
    engines: tuple[str, ...]
    access: Access
    record: Path
    engine_model: str | None = None
    protocol: ProtocolName = "auto"
    api_key: str | None = None
    bounds: Bounds = Bounds()
    host: str = "127.0.0.1"
    port: int = 9000
