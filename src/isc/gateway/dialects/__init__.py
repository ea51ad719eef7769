"""The dialects that the gateway speaks, one module each. `isc.gateway.dialect` says what a dialect is."""

from __future__ import annotations

from isc.gateway.dialect import Dialect
from isc.gateway.dialects import anthropic_messages, chat_completions, responses

DIALECTS: tuple[Dialect, ...] = (chat_completions, responses, anthropic_messages)
