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


def response(parsed: isc.ParsedResponse, *, names_checked: bool = True) -> ParsedResponse:
    """Return a turn that isc parsed."""
    calls = tool_calls(parsed.tool_calls, names_checked=names_checked)
    return ParsedResponse(parsed.content, parsed.reasoning_content, calls, parsed.reasoning_complete)


def tool_calls(parsed: Sequence[isc.ParsedToolCall], *, names_checked: bool = True) -> list[ParsedToolCall]:
    """Return the calls of a turn that isc parsed. One that was cut off has no name: verifiers runs whatever has one.

    Args:
        parsed: The calls.
        names_checked: Whether a call of a tool that was not offered is marked as such; otherwise it is as good as any.
            Such engines take a block without a key for the name of a tool.
    """
    return [_call(call, names_checked) for call in parsed]


def _call(call: isc.ParsedToolCall, names_checked: bool) -> ParsedToolCall:
    status = ToolCallParseStatus(call.status)
    if status is ToolCallParseStatus.UNCLOSED_BLOCK:
        return ParsedToolCall(call.raw, None, None, call.token_span, status)
    if status is ToolCallParseStatus.MALFORMED_STRUCTURE and names_checked and "<arg_key>" not in call.raw:
        return ParsedToolCall(call.raw, call.raw.strip(), {}, call.token_span, ToolCallParseStatus.UNKNOWN_TOOL)
    if status is ToolCallParseStatus.UNKNOWN_TOOL and not names_checked:
        status = ToolCallParseStatus.OK
    arguments = None if call.arguments is None else dict(call.arguments)
    return ParsedToolCall(call.raw, call.name, arguments, call.token_span, status, call.id)
