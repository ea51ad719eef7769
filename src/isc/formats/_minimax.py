"""What the MiniMax formats share: the marks of turns, the list of tools, where a tool's result may stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from isc._json import json_text
from isc.formats.segments import is_special, scaffold, special, unsupported_role
from isc.types import AssistantMessage, Chat, Ended, ParsedResponse, Reasoning, Sampled, Segment, ToolCall

TURNS: Final = ("]~!b[", "]~b]", "[e~[")
BEGIN, ROLE, CLOSE = map(special, TURNS)
NEWLINE: Final = scaffold("\n")

_TOOLS_HEAD: Final = scaffold(
    "\n\n# Tools\nYou may call one or more tools to assist with the user query.\n"
    "Here are the tools available in JSONSchema format:\n\n<tools>\n"
)


def tool_list(chat: Chat) -> Iterator[Segment]:
    """Yield what introduces the tools, and each without its wrapper."""
    yield _TOOLS_HEAD
    for tool in chat.tools:
        yield scaffold(f"<tool>{json_text(tool.function)}</tool>\n")


def check_result(chat: Chat, index: int, family: str) -> None:
    """Raise if message `index`, a tool's result, stands where the last assistant turn made no call."""
    if not chat.running("follows_call", _follow_calls)[index]:
        raise unsupported_role(chat, index, family, "the last assistant turn before it must make a call")


def ended(sampled: Sampled, parsed: ParsedResponse, reasoning: Reasoning) -> Ended:
    """Return how a completion ended, and whether it calls: no result stands after a turn that does not."""
    closing = () if parsed.reasoning_complete else reasoning.closing
    is_closed = bool(sampled.segments) and is_special(sampled.segments[-1], CLOSE.text)
    calls = tuple(ToolCall(call.name or "?", {}) for call in parsed.tool_calls)
    return Ended(
        (*closing, *(() if is_closed else (CLOSE,)), NEWLINE),
        reasoning_open=not parsed.reasoning_complete,
        message=AssistantMessage("", tool_calls=calls),
    )


def _follow_calls(chat: Chat) -> tuple[bool, ...]:
    """Return for each message whether the last assistant turn before it makes a call."""
    calls = False
    follow: list[bool] = []
    for message in chat.messages:
        follow.append(calls)
        if isinstance(message, AssistantMessage):
            calls = bool(message.tool_calls)
    return tuple(follow)
