"""Prompts that hold the beginning of the turn that is asked for: a last message left open, or a text given in advance.

Such a beginning is said by the caller. The model does not sample it, so it is scaffold of its message (law 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from isc.errors import ConversationError, OptionError
from isc.formats.base import Family
from isc.formats.segments import scaffold
from isc.types import AssistantMessage, Chat, Segment, Segments, TextPart

OpenField: TypeAlias = Literal["content", "reasoning", "reasoning_content"]
"""The field of a last message that goes on; `reasoning` is another name of `reasoning_content`."""

_PLANTED = "\ue0f0\ue0f1\ue0f0 "
"""What marks the end of the open text while the format renders it. The space tells whether the format trims."""
_MARK = _PLANTED.rstrip()


def open_turn(family: Family, chat: Chat, field: bool | str, *, parts: bool = False) -> list[Segment]:
    """Return a conversation whose last message is left open, so that a model goes on with its text.

    The text is rendered with a mark at its end, and all from the mark on is left out, as
    `apply_chat_template(continue_final_message=...)` of transformers 5 does. Where a format trims the text, the white
    space before the mark is left out too.

    Args:
        family: The chat format.
        chat: The conversation. Its last message is an assistant message without tool calls.
        field: The field that goes on: `"content"` or `"reasoning_content"`. True takes the content, or the reasoning
            where there is no content.
        parts: Whether the bodies of other turns say their parts.

    Returns:
        Segments without a body in the last turn: what a caller says there is not sampled.

    Raises:
        ConversationError: The last message cannot be left open; says why.
    """
    index = len(chat.messages) - 1
    message = _open_message(chat)
    name = _field_of(message, field, index)
    path = f"messages[{index}].{name}"
    planted, said = _planted(message, name, path)
    whole = replace(chat, messages=(*chat.messages[:-1], planted))
    segments = list(spoken(family, whole, parts=parts))
    place = next((k for k in range(len(segments) - 1, -1, -1) if _MARK in segments[k].text), None)
    if place is None:
        raise ConversationError(path, "cannot be left open: this format does not render it in the last turn", said)
    text, _, after = segments[place].text.rpartition(_MARK)
    head = [*segments[:place], replace(segments[place], text=text)]
    if not after.startswith(" "):
        _trim_end(head)
    if not _ends_with(head, said):
        raise ConversationError(path, "cannot be left open: this format does not render it as it was given", said)
    given = (segment for segment in head if segment.text)
    return [replace(segment, body=False, part=None) if segment.message == index else segment for segment in given]


def _open_message(chat: Chat) -> AssistantMessage:
    index = len(chat.messages) - 1
    message = chat.messages[index] if chat.messages else None
    if not isinstance(message, AssistantMessage):
        problem = (
            "continue_final_message needs a last message of the assistant; use add_generation_prompt to ask for one"
        )
        raise ConversationError(f"messages[{max(index, 0)}].role", problem, chat.role(index))
    if message.tool_calls:
        problem = "a message with tool calls cannot be left open: its text ends before the calls; leave them out"
        raise ConversationError(f"messages[{index}].tool_calls", problem)
    return message


def _field_of(message: AssistantMessage, field: bool | str, index: int) -> str:
    if field is True:
        return "content" if message.content or not message.reasoning_content else "reasoning_content"
    if field not in ("content", "reasoning", "reasoning_content"):
        raise OptionError(
            f"continue_final_message={field!r} must be True, or the field of the last message that goes on: "
            "'content' or 'reasoning_content'"
        )
    if field != "content" and message.content:
        problem = "reasoning before a content cannot be left open: the content follows it; leave the content out"
        raise ConversationError(f"messages[{index}].content", problem)
    return "content" if field == "content" else "reasoning_content"


def _planted(message: AssistantMessage, name: str, path: str) -> tuple[AssistantMessage, str]:
    """Return the message with the mark at the end of a field, and the text that the mark follows."""
    if name == "reasoning_content":
        said = message.reasoning_content or ""
        return replace(message, reasoning_content=said + _PLANTED), said
    if not isinstance(message.content, tuple):
        said = message.content or ""
        return replace(message, content=said + _PLANTED), said
    last = message.content[-1] if message.content else TextPart("")
    if not isinstance(last, TextPart):
        raise ConversationError(path, "cannot be left open: its last part is no text", last.raw)
    return replace(message, content=(*message.content[:-1], TextPart(last.text + _PLANTED))), last.text


def _trim_end(segments: list[Segment]) -> None:
    """Remove the white space at the end of segments, which a format trims; a special is none."""
    while segments and segments[-1].kind == "text":
        text = segments[-1].text.rstrip()
        if text:
            segments[-1] = replace(segments[-1], text=text)
            return
        del segments[-1]


def _ends_with(segments: Sequence[Segment], said: str) -> bool:
    """Return whether a stream ends with a text, white space at the ends of the text aside."""
    wanted, ending = said.strip(), ""
    for segment in reversed(segments):
        if len(ending.rstrip()) >= len(wanted):
            break
        ending = segment.text + ending
    return ending.rstrip().endswith(wanted)


class PromptEnd(Struct, frozen=True):
    """How a prompt ends: with a generation prompt, a last message that is left open, a text given in advance."""

    add_generation_prompt: bool = False
    continue_final_message: bool | str = False
    prefill: str = ""

    @classmethod
    def of(cls, add_generation_prompt: bool, continue_final_message: bool | str, prefill: str | None) -> PromptEnd:
        """Return the end that a caller asks for.

        Raises:
            OptionError: A message that is left open is asked for together with another beginning of the answer.
        """
        if continue_final_message and (add_generation_prompt or prefill):
            other = "add_generation_prompt" if add_generation_prompt else "prefill"
            raise OptionError(f"continue_final_message and {other} are two beginnings of one answer; choose one")
        return cls(add_generation_prompt or bool(prefill), continue_final_message, prefill or "")


def stream_to(family: Family, chat: Chat, end: PromptEnd, *, parts: bool = False) -> Segments:
    """Return a conversation as owned segments, up to this end. What the answer begins with is text (law 7)."""
    if end.continue_final_message:
        return open_turn(family, chat, end.continue_final_message, parts=parts)
    turns = spoken(family, chat, add_generation_prompt=end.add_generation_prompt, parts=parts)
    return chain(turns, (scaffold(end.prefill),)) if end.prefill else turns


def spoken(family: Family, chat: Chat, *, add_generation_prompt: bool = False, parts: bool = False) -> Segments:
    """Return a conversation. Parts are asked for only where they are wanted: a format may know of none."""
    if parts:
        return family.conversation(chat, add_generation_prompt=add_generation_prompt, parts=True)
    return family.conversation(chat, add_generation_prompt=add_generation_prompt)
