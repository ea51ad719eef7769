"""The common parts of Qwen3.5 and later: ChatML turns with trimmed texts, tools before the system text, XML calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from isc.errors import ConversationError
from isc.formats import _chatml as chatml
from isc.formats.reading.grammars import Grammar, read_turn
from isc.formats.reading.scanners import until
from isc.formats.reading.xml_calls import TOOLS_HEAD, TOOLS_TAIL, xml_calls
from isc.formats.segments import body, content_text, scaffold, stripped, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    Json,
    ParsedResponse,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

SPECIALS: Final = (*chatml.SPECIALS, *chatml.VISION_SPECIALS)
STOP_TOKENS: Final = (chatml.IM_END, chatml.END_OF_TEXT)

_APART: Final = scaffold("\n\n")
_TOGETHER: Final = scaffold("")


def opening(chat: Chat, instructions: str | None = None) -> Iterator[Segment]:
    """Yield the system turn: the format's own `instructions`, then the tools, then the system message's text.

    A format that gives instructions, be they empty, has no system turn that says nothing.

    Raises:
        ConversationError: No message is a user query, without which the template renders nothing.
    """
    if chatml.last_query(chat, trim=True) is None:
        problem = "hold no user query (a user message that is not a wrapped tool result); this format needs one"
        raise ConversationError("messages", problem)
    has_system = isinstance(chat.messages[0], SystemMessage)
    text = content_text(chat, 0).strip() if has_system else ""
    pieces: list[Sequence[Segment]] = [(scaffold(instructions),)] if instructions else []
    if chat.tools:
        pieces.append((TOOLS_HEAD, *chatml.tool_lines(chat), *TOOLS_TAIL))
    if text:
        pieces.append((body(text),))
    if pieces or (has_system and instructions is None):
        yield from chatml.im_start("system")
        for position, piece in enumerate(pieces):
            yield _APART if position else _TOGETHER
            yield from piece
        yield from chatml.CLOSE


def turn(
    chat: Chat,
    index: int,
    family: str,
    spell: Callable[[Json], str],
    *,
    keeps_thinking: bool,
    numbered: bool,
    splits_content: bool = True,
) -> Segments:
    """Return one message. Results in a row share a user turn, which has no head where a result stands first of all.

    Args:
        chat: The conversation.
        index: The message.
        family: The format's name, for errors.
        spell: Gives the text of an argument's value.
        keeps_thinking: Whether turns before the last user query have a think block too.
        numbered: Whether images are numbered through the conversation.
        splits_content: Whether a think block that an answer's content spells is its reasoning.
    """
    message = chat.messages[index]
    if isinstance(message, AssistantMessage):
        thought, content = message.reasoning_content, content_text(chat, index).strip()
        if thought is None and splits_content:
            thought, content = chatml.split_inline_reasoning(content)
        query = chatml.last_query(chat, trim=True)
        thinks = keeps_thinking or (query is not None and index > query)
        return _answer(thought or "" if thinks else None, content, message.tool_calls, spell)
    if isinstance(message, ToolMessage):
        opens, closes = index > 0 and chat.role(index - 1) != "tool", chat.role(index + 1) != "tool"
        return chatml.tool_response(_content(chat, index, numbered=numbered), opens=opens, closes=closes)
    if isinstance(message, UserMessage):
        return chatml.im_turn("user", *_content(chat, index, numbered=numbered))
    if index == 0 and isinstance(message, SystemMessage):
        return ()
    raise unsupported_role(chat, index, family, "a system message must be the first, and there is no developer")


def _content(chat: Chat, index: int, *, numbered: bool) -> list[Segment]:
    """Return the content of a user or a tool, without the white space around it."""
    return stripped(chatml.vision_content(chat, index, numbered=numbered))


def _answer(
    thought: str | None, content: str, calls: Sequence[ToolCall], spell: Callable[[Json], str]
) -> Iterator[Segment]:
    """Yield an assistant's turn, without a think block where `thought` is None."""
    yield from chatml.im_start("assistant")
    if thought is not None:
        yield from chatml.think_block(thought.strip())
    yield body(content)
    yield from xml_calls(calls, spell, apart=_APART if content else _TOGETHER)
    yield from chatml.CLOSE


def generation_prompt(*, thinks: bool) -> tuple[Segment, ...]:
    """Return the head of an assistant turn with its think block opened, or already closed."""
    return (*chatml.im_start("assistant"), *(chatml.OPEN_THINKING if thinks else chatml.NO_THINKING))


def parse(sampled: Sampled, tools: Sequence[ToolSpec], calls: Grammar) -> ParsedResponse:
    """Read a sampled turn back, without the white space that the format does not keep."""
    response = read_turn(until(sampled, STOP_TOKENS), chatml.THINK_REASONING, calls, tools=tools)
    thought = response.reasoning_content
    thought = None if thought is None else thought.strip()
    return ParsedResponse(response.content.rstrip(), thought, response.tool_calls, response.reasoning_complete)
