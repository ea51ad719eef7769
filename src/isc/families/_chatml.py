"""What ChatML formats share: `<|im_start|>role` turns, `<think>` blocks, tools and calls as JSON (Hermes style)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from isc.jsontext import json_text
from isc.segments import arguments_text, body, content_text, scaffold, special, spelled
from isc.types import Chat, Reasoning, Segment, ToolCall

IM_START: Final = "<|im_start|>"
IM_END: Final = "<|im_end|>"
END_OF_TEXT: Final = "<|endoftext|>"
THINK: Final = "<think>"
END_THINK: Final = "</think>"
TOOL_CALL: Final = "<tool_call>"
END_TOOL_CALL: Final = "</tool_call>"
TOOL_RESPONSE: Final = "<tool_response>"
END_TOOL_RESPONSE: Final = "</tool_response>"
SPECIALS: Final = (
    END_OF_TEXT, IM_START, IM_END, TOOL_CALL, END_TOOL_CALL, TOOL_RESPONSE, END_TOOL_RESPONSE, THINK, END_THINK
)  # fmt: skip

_THINK_CLOSING: Final = (scaffold("\n"), special(END_THINK), scaffold("\n\n"))
THINK_REASONING: Final = Reasoning(THINK, END_THINK, _THINK_CLOSING, (TOOL_CALL,))
NO_THINKING: Final = (special(THINK), scaffold("\n\n"), special(END_THINK), scaffold("\n\n"))

_NEWLINE: Final = scaffold("\n")
_TOOL_RESPONSE: Final = special(TOOL_RESPONSE)
_END_TOOL_RESPONSE: Final = special(END_TOOL_RESPONSE)
_TOOL_CALL: Final = special(TOOL_CALL)
_CALL_NAME: Final = scaffold('\n{"name": "')
_CALL_ARGUMENTS: Final = scaffold('", "arguments": ')
_CALL_END: Final = scaffold("}\n")
_END_TOOL_CALL: Final = special(END_TOOL_CALL)

_TOOLS_HEAD: Final = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_TAIL: Final = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


@lru_cache(maxsize=16)
def im_start(role: str) -> tuple[Segment, ...]:
    """The head of a turn."""
    return special(IM_START), scaffold(f"{role}\n")


CLOSE: Final = (special(IM_END), scaffold("\n"))


def im_turn(role: str, text: str) -> Iterator[Segment]:
    """A turn that says one text."""
    yield from im_start(role)
    yield body(text)
    yield from CLOSE


def hermes_tools(chat: Chat) -> Iterator[Segment]:
    """The tools as JSON schemas, a line each, with how to call them."""
    yield scaffold(_TOOLS_HEAD)
    for tool in chat.tools:
        yield scaffold("\n" + json_text(tool.schema))
    yield from spelled(_TOOLS_TAIL, (TOOL_CALL, END_TOOL_CALL))


def hermes_calls(calls: Sequence[ToolCall], *, after: str) -> Iterator[Segment]:
    """The calls of a turn, a line each, set off from the content they come after."""
    for position, call in enumerate(calls):
        if position or after:
            yield scaffold("\n")
        yield from _hermes_call(call)


def _hermes_call(call: ToolCall) -> Iterator[Segment]:
    """One call as a JSON object between its markers."""
    yield _TOOL_CALL
    yield _CALL_NAME
    yield body(call.name)
    yield _CALL_ARGUMENTS
    yield body(arguments_text(call))
    yield _CALL_END
    yield _END_TOOL_CALL


def tool_response(chat: Chat, index: int) -> Iterator[Segment]:
    """A tool result inside a user turn, which results in a row share."""
    if chat.role(index - 1) != "tool":
        yield from im_start("user")
    else:
        yield _NEWLINE
    yield _TOOL_RESPONSE
    yield _NEWLINE
    yield body(content_text(chat, index))
    yield _NEWLINE
    yield _END_TOOL_RESPONSE
    if chat.role(index + 1) != "tool":
        yield from CLOSE


def think_block(reasoning: str) -> Iterator[Segment]:
    """Reasoning between its markers, and what separates it from the content."""
    yield special(THINK)
    yield _NEWLINE
    yield body(reasoning.strip("\n"))
    yield from _THINK_CLOSING


def last_query_index(chat: Chat) -> int:
    """The last user message that is not itself a wrapped tool result; the last message where there is none."""
    for index in reversed(chat.user_indices):
        text = content_text(chat, index)
        if not (text.startswith(TOOL_RESPONSE) and text.endswith(END_TOOL_RESPONSE)):
            return index
    return len(chat.messages) - 1


def split_inline_reasoning(text: str) -> tuple[str, str]:
    """Reasoning and content of a text that spells its think block, as the templates take it apart."""
    if END_THINK not in text:
        return "", text
    pieces = text.split(END_THINK)
    return pieces[0].rstrip("\n").split(THINK)[-1].lstrip("\n"), pieces[-1].lstrip("\n")
