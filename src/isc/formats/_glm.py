"""The common parts of GLM formats: `[gMASK]<sop>`, turns closed by the next role's marker, calls as key-value pairs.

A layout is what stands where GLM-4.5 breaks a line: a newline there, nothing from GLM-4.7 on. Arguments are not quoted:
they are read back by what the tool's schema declares, see `scanners.unquoted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final

from isc._json import json_text
from isc.formats.reading.scanners import (
    CallReading,
    argument,
    content_and_calls,
    known,
    marked_call,
    reasoning,
    reasoning_start,
    spelling,
    until,
)
from isc.formats.reading.values import Tagged
from isc.formats.segments import (
    arguments_object,
    body,
    content_text,
    content_texts,
    is_special,
    scaffold,
    special,
    spelled,
    unsupported_role,
)
from isc.types import (
    CallStatus,
    Chat,
    DeveloperMessage,
    Json,
    ParsedResponse,
    ParsedToolCall,
    Reasoning,
    Sampled,
    Segment,
    SystemMessage,
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
    return Segment(role, "special", True, index - 1) if chat.role(index - 1) == "assistant" else special(role)


def plain_turn(chat: Chat, index: int, family: str, layout: Segment) -> tuple[Segment, ...]:
    """Return the turn of a user or of a system message."""
    message = chat.messages[index]
    if isinstance(message, DeveloperMessage):
        raise unsupported_role(chat, index, family, "use role 'system'")
    role = SYSTEM if isinstance(message, SystemMessage) else USER
    return marker(chat, index, role), layout, body(content_text(chat, index))


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


def generation_prompt(chat: Chat, index: int, *prefilled: Segment) -> tuple[Segment, ...]:
    """Return the assistant's marker and what is prefilled after it."""
    return (marker(chat, index, ASSISTANT), *prefilled)


def last_user_index(chat: Chat) -> int:
    """Return the index of the last user message, or -1."""
    return chat.user_indices[-1] if chat.user_indices else -1


def answer(content: str, calls: Sequence[ToolCall], layout: Segment) -> Iterator[Segment]:
    """Yield what follows the think block: content without the white space around it, then the calls."""
    text = content.strip()
    if text:
        yield layout
        yield body(text)
    for call in calls:
        yield layout
        yield _CALL
        yield body(call.name)
        yield layout
        for key, value in arguments_object(call).items():
            yield from (_KEY, body(f"{key}"), _END_KEY, layout)
            yield from (_VALUE, body(value if isinstance(value, str) else json_text(value)), _END_VALUE, layout)
        yield _END_CALL


def parse(sampled: Sampled, tools: Sequence[ToolSpec], layout: Segment) -> ParsedResponse:
    """Read a sampled turn back, up to whichever role's marker closes it."""
    turn = until(sampled, (*STOP_TOKENS, SYSTEM, ASSISTANT))
    position, (thought, complete) = reasoning(turn, 0, REASONING)
    if thought is None:
        position = reasoning_start(turn.segments, _THINK[1]) or 0
    pieces, calls = content_and_calls(turn, position, _TOOL_CALL[0], lambda found, place: _call(found, place, tools))
    content = pieces[0].removeprefix(layout.text)
    content = content.removesuffix(layout.text) if calls else content
    content += "".join(piece for piece in pieces[1:] if piece.strip())
    return ParsedResponse(content, thought, calls, complete)


def _call(sampled: Sampled, position: int, tools: Sequence[ToolSpec]) -> tuple[int, ParsedToolCall]:
    after, call = marked_call(
        sampled, position, *_TOOL_CALL, lambda inside: _read_call(inside, tools), values=partial(Tagged, _ARGUMENT[2:])
    )
    return after, known(call, tools)


def _read_call(inside: Sequence[Segment], tools: Sequence[ToolSpec]) -> CallReading:
    """Read a name on a line, then pairs of key and value. Anything else but white space is an error."""
    position = next((k for k, segment in enumerate(inside) if segment.kind == "special"), len(inside))
    name, _, rest = spelling(inside[:position]).strip().partition("\n")
    schema = next((tool.parameters.get("properties") for tool in tools if tool.name == name), None)
    properties = schema if isinstance(schema, Mapping) else {}
    arguments: dict[str, Json] = {}
    statuses: set[CallStatus] = set()
    while position < len(inside):
        position, key = _tagged(inside, position, *_ARGUMENT[:2])
        position, text = _tagged(inside, position, *_ARGUMENT[2:])
        if key is None or text is None:
            return "malformed_structure", name or None, None
        status, arguments[key] = argument(text, properties.get(key))
        statuses.add(status)
    if rest:
        return "malformed_structure", name, None
    if not name:
        return "missing_name", None, arguments
    return "invalid_json" if "invalid_json" in statuses else "ok", name, arguments


def _tagged(inside: Sequence[Segment], position: int, opener: str, closer: str) -> tuple[int, str | None]:
    """Return the text between two argument tags and the white space after; None where other tags come next.

    A value holds any tag but its closer.
    """
    if position >= len(inside) or not is_special(inside[position], opener):
        return len(inside), None
    ends = (closer,) if opener == _ARGUMENT[2] else _ARGUMENT
    end = next((k for k in range(position + 1, len(inside)) if is_special(inside[k], *ends)), len(inside))
    if end == len(inside) or inside[end].text != closer:
        return len(inside), None
    blank = end + 1 < len(inside) and inside[end + 1].kind == "text" and not inside[end + 1].text.strip()
    return end + 1 + blank, spelling(inside[position + 1 : end])
