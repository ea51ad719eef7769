"""Parsed turns as `renderers` has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import isc
from isc.types import Span


class ToolCallParseStatus(StrEnum):
    """How an attempted call was read."""

    OK = "ok"
    INVALID_JSON = "invalid_json"
    UNCLOSED_BLOCK = "unclosed_block"
    MISSING_NAME = "missing_name"
    MALFORMED_STRUCTURE = "malformed_structure"
    UNKNOWN_TOOL = "unknown_tool"


@dataclass
class ParsedToolCall:
    """An attempted call; `token_span` counts the completion's tokens, markers included."""

    raw: str
    name: str | None = None
    arguments: dict[str, Any] | str | None = None
    token_span: Span | None = None
    status: ToolCallParseStatus = ToolCallParseStatus.OK
    id: str | None = None


@dataclass
class ParsedResponse:
    """A sampled turn read back; every attempted call is there, in order."""

    content: str
    reasoning_content: str | None = None
    tool_calls: list[ParsedToolCall] = field(default_factory=list)
    reasoning_complete: bool | None = True


def response(parsed: isc.ParsedResponse) -> ParsedResponse:
    """A turn that isc parsed."""
    return ParsedResponse(
        parsed.content, parsed.reasoning_content, tool_calls(parsed.tool_calls), parsed.reasoning_complete
    )


def tool_calls(parsed: Sequence[isc.ParsedToolCall]) -> list[ParsedToolCall]:
    """The calls of a turn that isc parsed."""
    return [
        ParsedToolCall(
            call.raw,
            call.name,
            None if call.arguments is None else dict(call.arguments),
            call.token_span,
            ToolCallParseStatus(call.status),
            call.id,
        )
        for call in parsed
    ]
