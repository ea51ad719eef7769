"""The common parts of DeepSeek V3, R1 and V3.1: full-width specials, sections of calls and outputs, no tools.

Systems are said in the opening wherever they stand, so turns look at their neighbours past them. The section of tool
outputs is closed where the template closes it: by the assistant's turn that follows, or by the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from isc._json import decode_json
from isc.errors import ConversationError
from isc.formats.reading.scanners import (
    CallReading,
    content_and_calls,
    find_special,
    known,
    marked_call,
    reasoning,
    reasoning_start,
    spelling,
)
from isc.formats.reading.values import After, Fenced, JsonText, Values
from isc.formats.segments import arguments_text, body, content_text, is_special, scaffold, special, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    ParsedResponse,
    ParsedToolCall,
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
    text = f"{call.name}{_FENCE}{arguments_text(call)}\n{_END_FENCE}"
    return special(CALL), scaffold("function"), special(SEPARATOR), body(text), special(END_CALL)


def plain_call(call: ToolCall) -> tuple[Segment, ...]:
    """Return a call with its arguments as they are."""
    return special(CALL), body(call.name), special(SEPARATOR), body(arguments_text(call)), special(END_CALL)


def fenced_calls(calls: Sequence[ToolCall], *, on_new_line: bool = False) -> Iterator[Segment]:
    """Yield calls with their arguments in fenced blocks, on lines apart."""
    for position, call in enumerate(calls):
        if position or on_new_line:
            yield NEWLINE
        yield from fenced_call(call)


def parse(
    turn: Sampled,
    markers: Reasoning | None,
    read: Callable[[Sequence[Segment]], CallReading],
    tools: Sequence[ToolSpec],
    values: Values,
) -> ParsedResponse:
    """Read a turn back that ends before its close: reasoning, content, then calls, in a section or not.

    A header that history gives a turn and its prompt did not is no content.
    """
    thought, complete = None, True
    position = reasoning_start(turn.segments, ASSISTANT) or 0
    if markers is not None:
        position, (thought, complete) = reasoning(turn, position, markers)
        if thought is None:
            position += reasoning_start(turn.segments[position:], END_THINK) or 0
    content, calls = said_and_called(turn, position, read, tools, values)
    return ParsedResponse(content, thought, calls, complete)


def said_and_called(
    turn: Sampled,
    position: int,
    read: Callable[[Sequence[Segment]], CallReading],
    tools: Sequence[ToolSpec],
    values: Values,
) -> tuple[str, tuple[ParsedToolCall, ...]]:
    """Read content and calls after the reasoning. A call outside of any section stands on a line of its own."""

    def call(found: Sampled, place: int) -> tuple[int, ParsedToolCall]:
        after, one = marked_call(found, place, CALL, END_CALL, read, (END_CALLS,), values)
        return after, known(one, tools)

    pieces, calls = content_and_calls(turn, position, CALL, call, around=(CALLS, END_CALLS, EOS))
    start = find_special(turn, position, CALLS, CALL)
    bare = start < len(turn.segments) and is_special(turn.segments[start], CALL)
    content = pieces[0].removesuffix("\n") if bare else pieces[0]
    return content + "".join(piece for piece in pieces[1:] if piece.strip()), calls


def fenced_values() -> After:
    """Return a reader that follows a call whose arguments stand in a fenced block."""
    return After(SEPARATOR, Fenced(_FENCE))


def plain_values() -> After:
    """Return a reader that follows a call whose arguments stand after its name."""
    return After(SEPARATOR, JsonText())


def read_fenced(inside: Sequence[Segment]) -> CallReading:
    r"""Read `function<｜tool▁sep｜>name` and the fenced block after it.

    >>> read_fenced([scaffold("function"), special(SEPARATOR), body("now\n```json\n{}\n```")])
    ('ok', 'now', {})
    """
    kind, rest = _separated(inside)
    if rest is None:
        return "malformed_structure", None, None
    name, found, block = rest.rpartition(_FENCE)
    block = block.rstrip()
    if not found or kind.strip() != "function" or not block.endswith(_END_FENCE):
        return "malformed_structure", rest.partition("\n")[0].strip() or None, None
    return _reading(name, block.removesuffix(_END_FENCE))


def read_plain(inside: Sequence[Segment]) -> CallReading:
    """Read `name<｜tool▁sep｜>` and the arguments after it.

    >>> read_plain([body("now"), special(SEPARATOR), body("{}")])
    ('ok', 'now', {})
    """
    name, arguments = _separated(inside)
    if arguments is None:
        return "malformed_structure", name.strip() or None, None
    return _reading(name, arguments)


def _separated(inside: Sequence[Segment]) -> tuple[str, str | None]:
    """Split at the first separator. The second part is None where there is no separator."""
    place = next((k for k, segment in enumerate(inside) if is_special(segment, SEPARATOR)), None)
    if place is None:
        return spelling(inside), None
    return spelling(inside[:place]), spelling(inside[place + 1 :])


def _reading(name: str, text: str) -> CallReading:
    try:
        arguments = decode_json(text)
    except ValueError:
        return "invalid_json", name or None, None
    if not isinstance(arguments, dict):
        return "malformed_structure", name or None, None
    return ("ok", name, arguments) if name else ("missing_name", None, arguments)
