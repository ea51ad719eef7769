"""Messages as a format has turns for them: agents speak to models of any format, and cannot know which turns it has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from msgspec.structs import replace

from isc.formats.base import Family
from isc.types import Content, DeveloperMessage, Message, Part, SystemMessage, TextPart, UserMessage

_BETWEEN = "\n\n"


def fitted(messages: Sequence[Message], family: Family) -> tuple[Message, ...]:
    """Return messages as a format has turns for them: nothing that is said is left out.

    A developer speaks as the system where the format has no turn for a developer. Where such a message may only stand
    first, the first ones that speak as the same are one; where users and assistants take turns, so are users.

    Args:
        messages: The conversation.
        family: The format.

    >>> import isc
    >>> fitted((DeveloperMessage("Be brief."), UserMessage("hi")), isc.Qwen3())[0] == SystemMessage("Be brief.")
    True
    """
    shape = family.shape
    if "developer" not in shape.roles and "system" in shape.roles:
        messages = [_as_system(message) for message in messages]
    if shape.system_first:
        leading = list(takewhile(lambda message: isinstance(message, (SystemMessage, DeveloperMessage)), messages))
        messages = [*_joined(leading), *messages[len(leading) :]]
    if shape.alternates:
        messages = _joined(messages, (UserMessage,))
    return tuple(messages)


def _as_system(message: Message) -> Message:
    if not isinstance(message, DeveloperMessage):
        return message
    return SystemMessage(message.content, name=message.name, extra=message.extra)


def _joined(
    messages: Sequence[Message], kinds: tuple[type[Message], ...] = (SystemMessage, DeveloperMessage)
) -> list[Message]:
    """Return messages of which those of a kind that follow each other are one."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if type(last) is type(message) and isinstance(message, kinds) and last is not None:
            joined[-1] = replace(last, content=_content(last.content, message.content))
        else:
            joined.append(message)
    return joined


def _content(first: Content, second: Content) -> Content:
    if isinstance(first, tuple) or isinstance(second, tuple):
        return (*_parts(first), TextPart(_BETWEEN), *_parts(second))
    return _BETWEEN.join(text for text in (first, second) if text)


def _parts(content: Content) -> tuple[Part, ...]:
    return content if isinstance(content, tuple) else (TextPart(content or ""),)
