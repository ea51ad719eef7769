"""The dialects that the gateway speaks, one module each. `isc.gateway.dialect` says what a dialect is."""

from __future__ import annotations

from isc.gateway.dialect import Dialect
from isc.gateway.dialects import chat_completions

DIALECTS: tuple[Dialect, ...] = (chat_completions,)
