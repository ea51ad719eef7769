"""The common parts of Kimi formats: `<|im_user|>name<|im_middle|>` turns, results after call ids, calls by their id.

A call says its function in its id, `functions.search:0`, and nowhere else. The model's own tokenizer sorts every object
in the tools by key before its template sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from isc._json import decode_json, sorted_json
from isc.formats._kimi_typescript import declarations
from isc.formats.reading.grammars import Around, read_parts
from isc.formats.reading.json_calls import JsonCalls
from isc.formats.reading.scanners import until
from isc.formats.segments import (
    arguments_text,
    body,
    content_pieces,
    content_text,
    placeholder,
    scaffold,
    special,
    text_content,
)
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Json,
    MediaPart,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    ToolCall,
    ToolMessage,
    ToolSpec,
)

IM_END: Final = "<|im_end|>"
_SYSTEM: Final = "<|im_system|>"
_MIDDLE: Final = "<|im_middle|>"
_MARKERS: Final = {"user": "<|im_user|>", "assistant": "<|im_assistant|>"}
_SECTION: Final = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
_CALL: Final = ("<|tool_call_begin|>", "<|tool_call_end|>")
_ARGUMENT: Final = "<|tool_call_argument_begin|>"
_THINK: Final = ("<think>", "</think>")
# tokenizer_config.json of moonshotai/Kimi-K2-Instruct: eos_token is [EOS]
STOP_TOKENS: Final = (IM_END, "[EOS]")
SPECIALS: Final = (*STOP_TOKENS, *_MARKERS.values(), _SYSTEM, _MIDDLE, *_SECTION, *_CALL, _ARGUMENT)
THINKING_SPECIALS: Final = (*SPECIALS, *_THINK)
MEDIA: Final = ("<|media_begin|>", "<|media_content|>", "<|media_pad|>", "<|media_end|>")
MEDIA_SPECIALS: Final = (*THINKING_SPECIALS, *MEDIA)

REASONING: Final = Reasoning(*_THINK, closing=(special(_THINK[1]),), enders=(_SECTION[0], _CALL[0]))
OPEN_THINKING: Final = (special(_THINK[0]),)
NO_THINKING: Final = (special(_THINK[0]), special(_THINK[1]))

_CLOSE: Final = special(IM_END)
CALLS: Final = JsonCalls(*_CALL, (*_CALL, _ARGUMENT), separator=_ARGUMENT, native=True)
AROUND: Final = Around(section=_SECTION)


def head(role: str, name: str | None = None) -> tuple[Segment, ...]:
    """Return the opening of a turn. It names the speaker, by a name of its own or by its role."""
    return special(_MARKERS.get(role, _SYSTEM)), scaffold(name or role), special(_MIDDLE)


def tools_json(chat: Chat, *, compact: bool = True) -> str:
    """Return the tools as JSON, every object sorted by key.

    Raises:
        ConversationError: They cannot be sorted so.
    """
    return sorted_json([tool.schema for tool in chat.tools], "tools", compact=compact)


@lru_cache(maxsize=16)
def tools_typescript(tools: str) -> str:
    """Return tools given as sorted JSON as TypeScript, or that JSON if TypeScript cannot say them.

    Keeps the last 16.
    """
    try:
        return declarations(decode_json(tools)) or tools
    except ValueError:
        return tools


def template_variables(chat: Chat) -> dict[str, Json]:
    """Return the tools as the model's own tokenizer passes them to the template."""
    return {"tools": decode_json(tools_json(chat)) if chat.tools else None}


def tools_turn(tools: str) -> tuple[Segment, ...]:
    """Return the tools in a turn of their own."""
    return special(_SYSTEM), scaffold("tool_declare"), special(_MIDDLE), scaffold(tools), _CLOSE


def system_turn(text: str) -> tuple[Segment, ...]:
    """Return the system message that the template adds where the caller has none."""
    return (*head("system"), scaffold(text), _CLOSE)


def media_content(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield the content of a message, each image as one placeholder in its wrap and a line break."""
    for piece in content_pieces(chat, index):
        if isinstance(piece, str):
            yield body(piece)
        else:
            yield from (*media_block("image", piece), scaffold("\n"))


def media_block(label: str, image: MediaPart) -> tuple[Segment, ...]:
    """Return the placeholders of an image in their wrap, which a label heads."""
    begin, middle, pad, end = MEDIA
    return special(begin), scaffold(label), special(middle), placeholder(pad, image), special(end)


def turn(
    chat: Chat,
    index: int,
    content: Callable[[Chat, int], Iterable[Segment]] = text_content,
    *,
    named: bool = True,
    framed: str = "\n",
) -> tuple[Segment, ...]:
    """Return the turn of anybody but the assistant. A result comes after the id of the call it answers."""
    message = chat.messages[index]
    opened = head(ROLES[type(message)], message.name if named else None)
    answers = (scaffold(f"## Return of {message.tool_call_id or ''}{framed}"),) if type(message) is ToolMessage else ()
    return (*opened, *answers, *content(chat, index), _CLOSE)


def answer(
    chat: Chat, index: int, message: AssistantMessage, thinking: Sequence[Segment], identities: Sequence[str]
) -> Iterator[Segment]:
    """Yield an assistant's think block, content, and calls by their ids."""
    yield from head("assistant", message.name)
    yield from thinking
    yield body(content_text(chat, index))
    if message.tool_calls:
        yield special(_SECTION[0])
        for call, identity in zip(message.tool_calls, identities, strict=True):
            yield special(_CALL[0])
            yield from _named(call, identity)
            yield from (special(_ARGUMENT), body(arguments_text(call), "tool_arguments"), special(_CALL[1]))
        yield special(_SECTION[1])
    yield _CLOSE


def _named(call: ToolCall, identity: str) -> tuple[Segment, ...]:
    """Return the id of a call: its own, or the native one, of which the message says the name alone."""
    if call.id == identity:
        return (body(identity, "tool_name"),)
    before, _, after = identity.partition(call.name)
    return scaffold(before), body(call.name, "tool_name"), scaffold(after)


def think_block(reasoning_content: str | None) -> tuple[Segment, ...]:
    """Return reasoning between its markers, unchanged."""
    return (NO_THINKING[0], body(reasoning_content or "", "reasoning"), NO_THINKING[1])


def call_ids(chat: Chat, index: int, message: AssistantMessage) -> list[str]:
    """Return the ids of a turn's calls. A call without an id gets the native one, counted through the conversation."""
    calls = message.tool_calls
    if all(call.id for call in calls):
        return [call.id or "" for call in calls]
    earlier = (one for one in chat.messages[:index] if isinstance(one, AssistantMessage))
    first = sum(len(one.tool_calls) for one in earlier)
    return [call.id or native_id(call.name, first + place) for place, call in enumerate(calls)]


def native_id(name: str, number: int) -> str:
    """Return a call's id as the model writes it.

    >>> native_id("search", 0)
    'functions.search:0'
    """
    return f"functions.{name}:{number}"


def parse(sampled: Sampled, tools: Sequence[ToolSpec], markers: Reasoning | None) -> ParsedResponse:
    """Read a sampled turn back; nothing is trimmed."""
    parts = read_parts(until(sampled, STOP_TOKENS), markers, CALLS, AROUND, tools)
    return ParsedResponse("".join(parts.pieces), parts.thought, parts.calls, parts.complete)
