"""The common parts of GLM formats: `[gMASK]<sop>`, turns closed by the next role's marker, calls as key-value pairs.

A layout is what stands where GLM-4.5 breaks a line: a newline there, nothing from GLM-4.7 on. Arguments are not quoted:
they are read back by what the tool's schema declares, see `scanners.unquoted`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from isc._json import json_text
from isc.formats.reading.following import followed
from isc.formats.reading.grammars import read_parts
from isc.formats.reading.scanners import until
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.segments import (
    argument_text,
    arguments_object,
    body,
    content_text,
    content_texts,
    owned,
    scaffold,
    special,
    spelled,
    text_content,
    unsupported_role,
)
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolSpec,
)

END_OF_TEXT: Final = "<|endoftext|>"
SYSTEM: Final = "<|system|>"
USER: Final = "<|user|>"
ASSISTANT: Final = "<|assistant|>"
OBSERVATION: Final = "<|observation|>"
_TOOL_CALL: Final = ("<tool_call>", "</tool_call>")
_TOOL_RESPONSE: Final = ("<tool_response>", "</tool_response>")
_THINK: Final = ("<think>", "</think>")
_ARGUMENT: Final = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
SPECIALS: Final = (
    END_OF_TEXT, "[gMASK]", "<sop>", SYSTEM, USER, ASSISTANT, OBSERVATION, *_THINK, *_TOOL_CALL, *_TOOL_RESPONSE,
    *_ARGUMENT,
)  # fmt: skip
STOP_TOKENS: Final = (END_OF_TEXT, USER, OBSERVATION)

LINES: Final = scaffold("\n")
ONE_LINE: Final = scaffold("")
THINK, END_THINK = map(special, _THINK)
CALLS: Final = TaggedCalls(
    *_TOOL_CALL,
    *("", _ARGUMENT[0], "".join(_ARGUMENT[1:3]), _ARGUMENT[3]),
    marks=SPECIALS,
    marked=True,
)
"""Calls as a name and pairs of `<arg_key>` and `<arg_value>`."""
REASONING: Final = Reasoning(*_THINK, closing=(END_THINK,), enders=_TOOL_CALL[:1])

_CALL, _END_CALL = map(special, _TOOL_CALL)
_KEY, _END_KEY, _VALUE, _END_VALUE = map(special, _ARGUMENT)
_RESPONSE, _END_RESPONSE = map(special, _TOOL_RESPONSE)
_TOOLS_HEAD: Final = scaffold(
    "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
_TOOLS_TAIL: Final = (
    "</tools>\n\nFor each function call, output the function name and arguments within the following XML format:\n"
)
_NOT_SHOWN: Final = ("defer_loading", "strict")
_REMINDER: Final = (
    "<reminder>You are unable to process this {} because you don't have multi-modal input ability. "
    "Try different methods.</reminder>"
)
_CALL_WORDING: Final = (
    "<tool_call>{function-name}",
    *("<arg_key>{arg-key-1}</arg_key>", "<arg_value>{arg-value-1}</arg_value>"),
    *("<arg_key>{arg-key-2}</arg_key>", "<arg_value>{arg-value-2}</arg_value>"),
    *("...", "</tool_call>"),
)


START: Final = (special("[gMASK]"), special("<sop>"))
"""What begins every text."""


def tools_turn(chat: Chat, tools: Iterable[str], layout: Segment) -> Iterator[Segment]:
    """Yield the tools in a turn of their own, a line each, with how to call them. Yield nothing without tools."""
    if chat.tools:
        yield special(SYSTEM)
        yield _TOOLS_HEAD
        for tool in tools:
            yield scaffold(f"{tool}\n")
        yield from _how_to_call(layout.text)


@lru_cache(maxsize=4)
def _how_to_call(layout: str) -> tuple[Segment, ...]:
    return spelled(_TOOLS_TAIL + layout.join(_CALL_WORDING), SPECIALS)


def marker(chat: Chat, index: int, role: str) -> Segment:
    """Return the special that opens turn `index`. After an assistant turn it is sampled: it closes that turn."""
    return (
        Segment(role, "special", True, index - 1, part="close")
        if chat.role(index - 1) == "assistant"
        else special(role)
    )


def plain_turn(
    chat: Chat, index: int, family: str, layout: Segment, content: Callable[[Chat, int], Segments] = text_content
) -> tuple[Segment, ...]:
    """Return the turn of a user or of a system message. `content` is what they say."""
    message = chat.messages[index]
    if isinstance(message, DeveloperMessage):
        raise unsupported_role(chat, index, family, "use role 'system'")
    role = SYSTEM if isinstance(message, SystemMessage) else USER
    return marker(chat, index, role), layout, *content(chat, index)


def tool_responses(chat: Chat, index: int, layout: Segment) -> Iterator[Segment]:
    """Yield a tool result. Texts in a row share an observation turn.

    A list has its own turn, with a response for each item.
    """
    if chat.role(index - 1) != "tool" or not isinstance(chat.messages[index].content, str):
        yield marker(chat, index, OBSERVATION)
    for text in content_texts(chat, index):
        yield layout
        yield from tool_response(text, layout)


def tool_response(text: str, layout: Segment) -> tuple[Segment, ...]:
    """Return one result between its markers."""
    return _RESPONSE, layout, body(text), layout, _END_RESPONSE


def observation(chat: Chat, index: int, shown: int) -> Iterator[Segment]:
    """Yield the tool result that stands in turn `index`, which is that of message `shown`, on no lines of its own."""
    if chat.role(index - 1) != "tool":
        yield marker(chat, index, OBSERVATION)
    yield from owned(shown, (_RESPONSE, *content_or_reminder(chat, shown), _END_RESPONSE))


def generation_prompt(chat: Chat, index: int, *prefilled: Segment) -> tuple[Segment, ...]:
    """Return the assistant's marker and what is prefilled after it."""
    return (marker(chat, index, ASSISTANT), *prefilled)


def last_user_index(chat: Chat) -> int:
    """Return the index of the last user message, or -1."""
    return chat.user_indices[-1] if chat.user_indices else -1


def bare_tools(chat: Chat) -> Iterator[str]:
    """Yield the functions of the tools that are not deferred: keys as they stand but for two, values as JSON."""
    for tool in chat.tools:
        if not tool.function.get("defer_loading"):
            shown = (f'"{key}": {json_text(value)}' for key, value in tool.function.items() if key not in _NOT_SHOWN)
            yield f"{{{', '.join(shown)}}}"


def split_inline_reasoning(content: str) -> tuple[str | None, str]:
    """Split a text that spells its think block into reasoning and content. Nothing is trimmed."""
    before, close, _ = content.partition("</think>")
    return (before.rpartition("<think>")[2], content.rpartition("</think>")[2]) if close else (None, content)


def opening_with_effort(chat: Chat, effort: str | None) -> tuple[Segment, ...]:
    """Return what begins every text, and without tools the turn that says how much to think."""
    return START if chat.tools else (*START, *_effort(effort))


def effort_and_tools(chat: Chat, effort: str | None) -> Iterator[Segment]:
    """Yield what is nobody's: the tools' turn, and the effort's before it. Yield nothing without tools."""
    if chat.tools:
        yield from _effort(effort)
        yield from tools_turn(chat, bare_tools(chat), ONE_LINE)


def _effort(level: str | None) -> tuple[Segment, ...]:
    return () if level is None else (special(SYSTEM), scaffold(f"Reasoning Effort: {level.capitalize()}"))


def content_or_reminder(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield the content of a message, with a reminder in place of whatever is no text."""
    content = chat.messages[index].content
    for part in (TextPart(content),) if isinstance(content, str) else content or ():
        if isinstance(part, TextPart):
            yield body(part.text)
        else:
            yield scaffold(_REMINDER.format(part.modality))


def blocked_answer(chat: Chat, index: int, message: AssistantMessage, *, clears: bool) -> Iterator[Segment]:
    """Yield an assistant's turn with a think block always. `clears`: the block is empty before the last user message.

    Reasoning stands as it is; a think block that the content spells is reasoning where none is given.
    """
    reasoning, content = message.reasoning_content, content_text(chat, index)
    if reasoning is None:
        reasoning, content = split_inline_reasoning(content)
    yield from (marker(chat, index, ASSISTANT), THINK)
    if not (clears and index < last_user_index(chat)):
        yield body(reasoning or "", "reasoning")
    yield END_THINK
    yield from answer(content, message.tool_calls, ONE_LINE)


def answer(content: str, calls: Sequence[ToolCall], layout: Segment) -> Iterator[Segment]:
    """Yield what follows the think block: content without the white space around it, then the calls."""
    text = content.strip()
    if text:
        yield layout
        yield body(text)
    for call in calls:
        yield layout
        yield _CALL
        yield body(call.name, "tool_name")
        yield layout
        for key, value in arguments_object(call).items():
            yield from (_KEY, body(f"{key}", "tool_arguments"), _END_KEY, layout)
            yield from (_VALUE, body(argument_text(value), "tool_arguments"), _END_VALUE, layout)
        yield _END_CALL


FOLLOWS: Final = followed((*STOP_TOKENS, SYSTEM, ASSISTANT), CALLS, REASONING)
"""What tells how a turn goes on while it is sampled."""


def parse(sampled: Sampled, tools: Sequence[ToolSpec], layout: Segment) -> ParsedResponse:
    """Read a sampled turn back, up to whichever role's marker closes it."""
    parts = read_parts(until(sampled, FOLLOWS.stops), REASONING, CALLS, tools=tools)
    content = parts.pieces[0].removeprefix(layout.text)
    content = content.removesuffix(layout.text) if parts.calls else content
    return ParsedResponse(content + parts.rest, parts.thought, parts.calls, parts.complete)
