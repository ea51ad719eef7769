"""What ChatML formats share: `<|im_start|>role` turns, `<think>` blocks, tools and calls as JSON (Hermes style)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from isc.segments import arguments_text, body, content_text, json_text, scaffold, special, spelled
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

THINK_REASONING: Final = Reasoning(
    THINK, END_THINK, (scaffold("\n"), special(END_THINK), scaffold("\n\n")), (TOOL_CALL,)
)
NO_THINKING: Final = (special(THINK), scaffold("\n\n"), special(END_THINK), scaffold("\n\n"))

_TOOLS_HEAD: Final = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_TAIL: Final = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def im_start(role: str) -> Iterator[Segment]:
    """The head of a turn."""
    yield special(IM_START)
    yield scaffold(f"{role}\n")


def im_end() -> Iterator[Segment]:
    """The close of a turn and what separates it from the next."""
    yield special(IM_END)
    yield scaffold("\n")


def im_turn(role: str, text: str) -> Iterator[Segment]:
    """A turn that says one text."""
    yield from im_start(role)
    yield body(text)
    yield from im_end()


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
    yield special(TOOL_CALL)
    yield scaffold('\n{"name": "')
    yield body(call.name)
    yield scaffold('", "arguments": ')
    yield body(arguments_text(call))
    yield scaffold("}\n")
    yield special(END_TOOL_CALL)


def tool_response(chat: Chat, index: int) -> Iterator[Segment]:
    """A tool result inside a user turn, which results in a row share."""
    if chat.role(index - 1) != "tool":
        yield special(IM_START)
        yield scaffold("user")
    yield scaffold("\n")
    yield special(TOOL_RESPONSE)
    yield scaffold("\n")
    yield body(content_text(chat, index))
    yield scaffold("\n")
    yield special(END_TOOL_RESPONSE)
    if chat.role(index + 1) != "tool":
        yield from im_end()


def think_block(reasoning: str) -> Iterator[Segment]:
    """Reasoning between its markers, and what separates it from the content."""
    yield special(THINK)
    yield scaffold("\n")
    yield body(reasoning.strip("\n"))
    yield scaffold("\n")
    yield special(END_THINK)
    yield scaffold("\n\n")


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
