"""`body_specials="reject"`: what a caller says is searched as it was given, before a format splits or quotes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache

from isc._json import decode_json
from isc.errors import SpecialInBodyError
from isc.formats.base import Family
from isc.types import AssistantMessage, Chat, Content, Json, Message, TextPart, ToolMessage

_WAY_OUT = 'use body_specials="text" to render it as plain text'


def refuse_spelled(chat: Chat, family: Family, specials: Iterable[str], name: str = "messages") -> None:
    """Refuse a chat in which anything spells a control token or a marker that the format spells as text.

    Args:
        chat: The chat, as it was converted.
        family: Its format, which names its markers.
        specials: The control tokens of the vocabulary.
        name: What the messages are called in the path of the error.

    Raises:
        SpecialInBodyError: Something does; its path says where.
    """
    tokens = frozenset(specials) | frozenset(family.specials)
    pattern = _pattern(tokens | frozenset(family.text_markers))
    for path, text in _said(chat, name):
        match = pattern.search(text)
        if match is not None:
            kind = "a control token" if match.group() in tokens else "a marker of the format"
            raise SpecialInBodyError(path, f"spells {kind}; {_WAY_OUT}", match.group())
    for index, message in enumerate(chat.messages):
        if isinstance(message, AssistantMessage) and _begins(message.content, family.answer_markers):
            problem = f"begins as a tool call of the format begins; {_WAY_OUT}"
            raise SpecialInBodyError(f"{name}[{index}].content", problem, message.content)


def _begins(content: Content, markers: tuple[str, ...]) -> bool:
    """Return whether the first text of a content begins with one of these markers."""
    parts = (content,) if isinstance(content, str) else content or ()
    texts = (part.text if isinstance(part, TextPart) else part for part in parts)
    first = next((text for text in texts if isinstance(text, str) and text.strip()), "")
    return first.lstrip().startswith(markers)


@lru_cache(maxsize=64)
def _pattern(markers: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(filter(None, markers), key=len, reverse=True))) or r"(?!)")


def _said(chat: Chat, name: str) -> Iterator[tuple[str, str]]:
    """Yield every text of a caller with its path."""
    for index, message in enumerate(chat.messages):
        yield from _of_message(message, f"{name}[{index}]")
    for index, tool in enumerate(chat.tools):
        yield from _texts(tool.schema, f"tools[{index}]")


def _of_message(message: Message, path: str) -> Iterator[tuple[str, str]]:
    content = message.content
    if isinstance(content, str):
        yield f"{path}.content", content
    for position, part in enumerate(content if isinstance(content, tuple) else ()):
        if isinstance(part, TextPart):
            yield f"{path}.content[{position}].text", part.text
    if message.name:
        yield f"{path}.name", message.name
    if message.extra:
        yield from _texts(message.extra, path)
    if isinstance(message, ToolMessage) and message.tool_call_id:
        yield f"{path}.tool_call_id", message.tool_call_id
    if isinstance(message, AssistantMessage):
        if message.reasoning_content:
            yield f"{path}.reasoning_content", message.reasoning_content
        for position, call in enumerate(message.tool_calls):
            inside = f"{path}.tool_calls[{position}]"
            yield f"{inside}.id", call.id or ""
            yield f"{inside}.function.name", call.name
            yield from _of_arguments(call.arguments, f"{inside}.function.arguments")


def _of_arguments(arguments: str | Mapping[str, Json], path: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of arguments. JSON text is yielded as it stands, and as it reads."""
    if isinstance(arguments, str):
        yield path, arguments
        with suppress(ValueError):  # what is no JSON stands as it is
            yield from _texts(decode_json(arguments), path)
    else:
        yield from _texts(arguments, path)


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a JSON value, keys too."""
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield path, item
        elif isinstance(item, Mapping):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
