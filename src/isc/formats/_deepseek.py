"""The common parts of DeepSeek V3, R1 and V3.1: full-width specials, sections of calls and outputs, no tools.

Systems are said in the opening wherever they stand, so turns look at their neighbours past them. The section of tool
outputs is closed where the template closes it: by the assistant's turn that follows, or by the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from isc.errors import ConversationError
from isc.formats.reading.following import Follows, followed
from isc.formats.reading.grammars import Around, read_parts
from isc.formats.reading.json_calls import JsonCalls
from isc.formats.reading.scanners import after_special
from isc.formats.segments import arguments_text, body, content_text, is_special, scaffold, special, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
)

BOS: Final = "<｜begin▁of▁sentence｜>"
EOS: Final = "<｜end▁of▁sentence｜>"
USER: Final = "<｜User｜>"
ASSISTANT: Final = "<｜Assistant｜>"
THINK: Final = "<think>"
END_THINK: Final = "</think>"
CALLS: Final = "<｜tool▁calls▁begin｜>"
END_CALLS: Final = "<｜tool▁calls▁end｜>"
CALL: Final = "<｜tool▁call▁begin｜>"
END_CALL: Final = "<｜tool▁call▁end｜>"
SEPARATOR: Final = "<｜tool▁sep｜>"
OUTPUTS: Final = "<｜tool▁outputs▁begin｜>"
END_OUTPUTS: Final = "<｜tool▁outputs▁end｜>"
OUTPUT: Final = "<｜tool▁output▁begin｜>"
END_OUTPUT: Final = "<｜tool▁output▁end｜>"
TURNS: Final = (BOS, EOS, USER, ASSISTANT)
CALLING: Final = (CALLS, END_CALLS, CALL, END_CALL, SEPARATOR, OUTPUT, END_OUTPUT)
SECTIONS: Final = (OUTPUTS, END_OUTPUTS)

NEWLINE: Final = scaffold("\n")
CLOSE_CALLS: Final = (special(END_CALLS), special(EOS))

_FENCE: Final = "\n```json\n"
_END_FENCE: Final = "```"
_MARKS: Final = (*CALLING, EOS)
FENCED_CALLS: Final = JsonCalls(
    CALL, f"\n{_END_FENCE}\n{END_CALL}", _MARKS, _FENCE, lead=f"function{SEPARATOR}", breaks=(END_CALLS,)
)
"""Calls with their arguments in a fenced block."""
PLAIN_CALLS: Final = JsonCalls(CALL, END_CALL, _MARKS, SEPARATOR, breaks=(END_CALLS,))
"""Calls with their arguments as they are."""
_AROUND: Final = Around(specials=(EOS,), section=(CALLS, END_CALLS))


def opening(chat: Chat, family: str) -> Iterator[Segment]:
    """Yield BOS and the content of every system message, each owned by its message."""
    if chat.tools:
        problem = (
            f"{family}'s template shows the model no tools; say what they are in a system message, and give tools to "
            "parse_response only"
        )
        raise ConversationError("tools", problem, [tool.name for tool in chat.tools])
    yield special(BOS)
    systems = [index for index, message in enumerate(chat.messages) if isinstance(message, SystemMessage)]
    for index in systems:
        yield Segment("\n\n" if index != systems[0] else "", "text", False, index)
        yield Segment(content_text(chat, index), "text", True, index)


def plain_turn(chat: Chat, index: int, family: str) -> tuple[Segment, ...]:
    """Return a user's turn. A system message belongs to the opening."""
    message = chat.messages[index]
    if isinstance(message, DeveloperMessage):
        raise unsupported_role(chat, index, family, "use role 'system'")
    if isinstance(message, SystemMessage):
        return ()
    return special(USER), body(content_text(chat, index))


def previous(chat: Chat, index: int) -> int:
    """Return the index of the message with a turn before this one, or -1."""
    index -= 1
    while index >= 0 and type(chat.messages[index]) is SystemMessage:
        index -= 1
    return index


def following(chat: Chat, index: int) -> int:
    """Return the index of the message with a turn after this one, or the end."""
    index += 1
    while index < len(chat.messages) and type(chat.messages[index]) is SystemMessage:
        index += 1
    return index


def called_before(chat: Chat, index: int) -> bool:
    """Return whether an earlier turn calls.

    The templates of V3 and R1 open one section, for the first turn that does.
    """
    return any(calls_of(chat, k) for k in range(index - 1, -1, -1))


def calls_of(chat: Chat, index: int) -> tuple[ToolCall, ...]:
    """Return the calls of a turn."""
    message = chat.messages[index] if index < len(chat.messages) else None
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def first_output(chat: Chat, index: int, *, by_section: bool) -> bool:
    """Return whether a tool result opens a section.

    The first of all does; `by_section`: the first after a turn with calls.
    """
    for k in range(index - 1, -1, -1):
        if isinstance(chat.messages[k], ToolMessage):
            return False
        if by_section and calls_of(chat, k):
            return True
    return True


def output(chat: Chat, index: int) -> tuple[Segment, ...]:
    """Return a tool's result between its markers."""
    return special(OUTPUT), body(content_text(chat, index)), special(END_OUTPUT)


def said_alone(chat: Chat, index: int, family: str) -> tuple[ToolCall, ...]:
    """Return the calls of a turn. Refuse content beside calls, since the template would drop that content."""
    content = content_text(chat, index)
    if content:
        problem = f"{family}'s template drops what is said beside these tool calls; leave content empty"
        raise ConversationError(f"messages[{index}].content", problem, content)
    return calls_of(chat, index)


def fenced_call(call: ToolCall) -> tuple[Segment, ...]:
    """Return a call with its arguments in a fenced block."""
    name, arguments = body(call.name, "tool_name"), body(arguments_text(call), "tool_arguments")
    said = (name, scaffold(_FENCE), arguments, scaffold(f"\n{_END_FENCE}"))
    return special(CALL), scaffold("function"), special(SEPARATOR), *said, special(END_CALL)


def plain_call(call: ToolCall) -> tuple[Segment, ...]:
    """Return a call with its arguments as they are."""
    return (
        special(CALL),
        body(call.name, "tool_name"),
        special(SEPARATOR),
        body(arguments_text(call), "tool_arguments"),
        special(END_CALL),
    )


def fenced_calls(calls: Sequence[ToolCall], *, on_new_line: bool = False) -> Iterator[Segment]:
    """Yield calls with their arguments in fenced blocks, on lines apart."""
    for position, call in enumerate(calls):
        if position or on_new_line:
            yield NEWLINE
        yield from fenced_call(call)


def follows(stops: Sequence[str], markers: Reasoning | None, calls: JsonCalls) -> Follows:
    """Return what tells how a turn goes on while it is sampled."""
    return replace(followed(stops, calls, markers, _AROUND), heads=(ASSISTANT,))


def parse(turn: Sampled, markers: Reasoning | None, calls: JsonCalls, tools: Sequence[ToolSpec]) -> ParsedResponse:
    """Read a turn back that ends before its close: reasoning, content, then calls, in a section or not.

    A header that history gives a turn and its prompt did not is no content. A call outside of any section stands on a
    line of its own.
    """
    turn = after_special(turn, ASSISTANT)
    parts = read_parts(turn, markers, calls, _AROUND, tools)
    first = next((segment for segment in turn.segments if is_special(segment, CALLS, CALL)), None)
    before = parts.pieces[0]
    if parts.calls and first is not None and first.text == CALL:
        before = before.removesuffix("\n")
    return ParsedResponse(before + parts.rest, parts.thought, parts.calls, parts.complete)
