"""The common parts of ChatML formats: `<|im_start|>role` turns, `<think>` blocks, tools and calls as Hermes JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from isc._json import json_text
from isc.formats.reading.json_calls import JsonCalls
from isc.formats.segments import (
    arguments_text,
    body,
    content_pieces,
    content_text,
    placeholder,
    scaffold,
    special,
    spelled,
    text_content,
    unsupported_role,
)
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Content,
    DeveloperMessage,
    Reasoning,
    Segment,
    Segments,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)

IM_START: Final = "<|im_start|>"
IM_END: Final = "<|im_end|>"
END_OF_TEXT: Final = "<|endoftext|>"
THINK: Final = "<think>"
END_THINK: Final = "</think>"
XML_CALL_MARKERS: Final = ("<tools>", "</tools>", "<function=", "</function>", "<parameter=", "</parameter>")
"""What formats whose calls are XML spell as ordinary text."""
TOOL_CALL: Final = "<tool_call>"
END_TOOL_CALL: Final = "</tool_call>"
TOOL_RESPONSE: Final = "<tool_response>"
END_TOOL_RESPONSE: Final = "</tool_response>"
SPECIALS: Final = (
    END_OF_TEXT, IM_START, IM_END, TOOL_CALL, END_TOOL_CALL, TOOL_RESPONSE, END_TOOL_RESPONSE, THINK, END_THINK
)  # fmt: skip
IMAGE_PAD: Final = "<|image_pad|>"
VISION_SPECIALS: Final = ("<|vision_start|>", "<|vision_end|>", IMAGE_PAD, "<|video_pad|>")

_WRAPPED: Final = re.compile(r"\s*" + TOOL_RESPONSE)
_THINK_CLOSING: Final = (scaffold("\n"), special(END_THINK), scaffold("\n\n"))
THINK_REASONING: Final = Reasoning(THINK, END_THINK, _THINK_CLOSING, (TOOL_CALL,))
HERMES_CALLS: Final = JsonCalls(TOOL_CALL, END_TOOL_CALL, (TOOL_CALL, END_TOOL_CALL), keys=("arguments",))
"""Calls as an object of `name` and `arguments` between markers."""
OPEN_THINKING: Final = (special(THINK), scaffold("\n"))
NO_THINKING: Final = (special(THINK), scaffold("\n\n"), special(END_THINK), scaffold("\n\n"))

_NEWLINE: Final = scaffold("\n")
_THINK: Final = special(THINK)
_VISION_START: Final = special("<|vision_start|>")
_VISION_END: Final = special("<|vision_end|>")
_TOOL_RESPONSE: Final = special(TOOL_RESPONSE)
_END_TOOL_RESPONSE: Final = special(END_TOOL_RESPONSE)
_TOOL_CALL: Final = special(TOOL_CALL)
_END_TOOL_CALL: Final = special(END_TOOL_CALL)

_BEFORE_NAME: Final = scaffold('\n{"name": "')
_BEFORE_ARGUMENTS: Final = scaffold('", "arguments": ')
_AFTER_ARGUMENTS: Final = scaffold("}\n")

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
    """Return the head of a turn."""
    return special(IM_START), scaffold(f"{role}\n")


CLOSE: Final = (special(IM_END), scaffold("\n"))


def im_turn(role: str, *content: Segment) -> tuple[Segment, ...]:
    """Return a whole turn with this text."""
    return (*im_start(role), *content, *CLOSE)


def vision_content(chat: Chat, index: int, *, numbered: bool) -> Iterator[Segment]:
    """Yield the content of a message, each image between its markers.

    `numbered` counts images through the conversation.
    """
    number = chat.images_before(index)
    for piece in content_pieces(chat, index):
        if isinstance(piece, str):
            yield body(piece)
            continue
        number += 1
        if numbered:
            yield scaffold(f"Picture {number}: ")
        yield from (_VISION_START, placeholder(IMAGE_PAD, piece), _VISION_END)


def hermes_opening(chat: Chat, default: str | None = None) -> Iterator[Segment]:
    """Yield the system turn, if there is a system message or there are tools.

    Tools come after the system message's text, or after what a format says by default.
    """
    says = isinstance(chat.messages[0], SystemMessage)
    said = body(content_text(chat, 0)) if says else None if default is None else scaffold(default)
    if chat.tools:
        yield from im_start("system")
        if said is not None:
            yield said
            yield scaffold("\n\n")
        yield scaffold(_TOOLS_HEAD)
        yield from tool_lines(chat)
        yield from spelled(_TOOLS_TAIL, (TOOL_CALL, END_TOOL_CALL))
        yield from CLOSE
    elif said is not None and (says or default):
        yield from im_turn("system", said)


def tool_lines(chat: Chat) -> Iterator[Segment]:
    """Yield the tools as JSON schemas, a line each."""
    for tool in chat.tools:
        yield scaffold("\n" + json_text(tool.schema))


def hermes_turn(
    chat: Chat,
    index: int,
    family: str,
    content: Callable[[Chat, int], Segments] = text_content,
    *,
    thinks: bool,
    arguments: Callable[[ToolCall], str] = arguments_text,
) -> Segments:
    """Return one message. Results in a row share a user turn. A leading system message belongs to the opening.

    `content` is what users and tools say, `arguments` writes those of a call.
    """
    message = chat.messages[index]
    if isinstance(message, AssistantMessage):
        return _hermes_answer(chat, index, message, arguments, thinks=thinks)
    if isinstance(message, ToolMessage):
        opens, closes = chat.role(index - 1) != "tool", chat.role(index + 1) != "tool"
        return tool_response(content(chat, index), opens=opens, closes=closes)
    if isinstance(message, DeveloperMessage):
        raise unsupported_role(chat, index, family, "use role 'system'")
    if index == 0 and isinstance(message, SystemMessage):
        return ()
    said = content(chat, index) if isinstance(message, UserMessage) else text_content(chat, index)
    return im_turn(ROLES[type(message)], *said)


def _hermes_answer(
    chat: Chat, index: int, message: AssistantMessage, arguments: Callable[[ToolCall], str], *, thinks: bool
) -> list[Segment]:
    """Yield an assistant's content, with its reasoning where the turn answers the last user query."""
    reasoning, content = message.reasoning_content, content_text(chat, index)
    if reasoning is None and thinks:
        reasoning, content = split_inline_reasoning(content)
    last = index == len(chat.messages) - 1
    if thinks and (last or reasoning) and index > last_query_index(chat):
        said = [*im_start("assistant"), *think_block(reasoning or ""), body(content.lstrip("\n"))]
    else:
        said = [*im_start("assistant"), body(content)]
    said += hermes_calls(message.tool_calls, after=content, arguments=arguments)
    said += CLOSE
    return said


def hermes_calls(
    calls: Sequence[ToolCall], *, after: Content, arguments: Callable[[ToolCall], str] = arguments_text
) -> list[Segment]:
    """Yield the calls of a turn, a line each, set off from the content before them."""
    segments: list[Segment] = []
    for position, call in enumerate(calls):
        if position or after:
            segments.append(_NEWLINE)
        name, given = body(call.name, "tool_name"), body(arguments(call), "tool_arguments")
        segments += (_TOOL_CALL, _BEFORE_NAME, name, _BEFORE_ARGUMENTS, given, _AFTER_ARGUMENTS, _END_TOOL_CALL)
    return segments


def tool_response(content: Segments, *, opens: bool, closes: bool) -> tuple[Segment, ...]:
    """Return a tool result inside a user turn. The first of results in a row opens the turn, the last closes it."""
    head = im_start("user") if opens else (_NEWLINE,)
    inside = (_TOOL_RESPONSE, _NEWLINE, *content, _NEWLINE, _END_TOOL_RESPONSE)
    return (*head, *inside, *(CLOSE if closes else ()))


def tool_response_lines(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield a tool result that ends its line, inside a user turn.

    The first of results in a row opens the turn, unless it stands first of all; the last closes it.
    """
    before = chat.role(index - 1)
    if before not in ("tool", None) and not (index == 1 and before == "system"):
        yield from im_start("user")
    yield from (_TOOL_RESPONSE, _NEWLINE, body(content_text(chat, index)))
    yield from (_NEWLINE, _END_TOOL_RESPONSE, _NEWLINE)
    if chat.role(index + 1) != "tool":
        yield from CLOSE


def think_block(reasoning: str) -> tuple[Segment, ...]:
    """Return reasoning between its markers, and what separates it from the content."""
    return (_THINK, _NEWLINE, body(reasoning.strip("\n"), "reasoning"), *_THINK_CLOSING)


def last_query_index(chat: Chat) -> int:
    """Return the last user message that is no wrapped tool result, or the last message where there is none."""
    query = last_query(chat)
    return len(chat.messages) - 1 if query is None else query


def last_query(chat: Chat, *, trim: bool = False) -> int | None:
    """Find the last user message that is no wrapped tool result. `trim`: nor one with white space around it."""
    return chat.once("trimmed_query", _last_trimmed_query) if trim else chat.once("query", _last_query)


def _last_trimmed_query(chat: Chat) -> int | None:
    return _last_query(chat, trim=True)


def _last_query(chat: Chat, *, trim: bool = False) -> int | None:
    for index in reversed(chat.user_indices):
        text = _spelled_content(chat, index)
        if trim and _WRAPPED.match(text):
            text = text.strip()
        if not (text.startswith(TOOL_RESPONSE) and text.endswith(END_TOOL_RESPONSE)):
            return index
    return None


def _spelled_content(chat: Chat, index: int) -> str:
    """Return the content of a message as text, anything but text as a marker."""
    content = chat.messages[index].content
    if isinstance(content, tuple):
        return "".join(part.text if isinstance(part, TextPart) else IMAGE_PAD for part in content)
    return content or ""


def split_inline_reasoning(text: str, opener: str = THINK, closer: str = END_THINK) -> tuple[str, str]:
    """Split a text that spells its think block into reasoning and content, as the templates do."""
    if closer not in text:
        return "", text
    pieces = text.split(closer)
    return pieces[0].rstrip("\n").split(opener)[-1].lstrip("\n"), pieces[-1].lstrip("\n")
