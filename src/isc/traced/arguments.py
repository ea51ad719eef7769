"""The form in which a template takes messages: arguments that a caller gives as JSON text, and reasoning.

A template that shows text as it stands is given the text; one that does not, and shows an object, the object. One that
shows reasoning as a part of the content, and nowhere else, is given such a part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from isc.errors import TemplateError
from isc.traced.format import Dicts, Format, text_of
from isc.traced.values import chat_messages
from isc.types import Chat

_ID: Final = "probe0001"
_THOUGHT: Final = "isc thought"
_GIVEN: Final = {"isckey": "isc value"}
_PARAMETERS: Final = {"type": "object", "properties": {}}
_TOOLS: Final = ({"type": "function", "function": {"name": "f", "description": "d", "parameters": _PARAMETERS}},)
_SYSTEM: Final[Mapping[str, Any]] = {"role": "system", "content": "s"}
_CONTEXT: Final[Dicts] = ({"role": "user", "content": "x"},)
_RESULT: Final[Mapping[str, Any]] = {"role": "tool", "content": "y", "tool_call_id": _ID, "name": "f"}


def with_arguments_as_taken(chosen: Format, messages: Dicts) -> Dicts:
    """Return messages whose calls have their arguments in the form that the template shows as JSON.

    Args:
        chosen: The format.
        messages: Messages, as a template is given them.
    """
    texts = any(isinstance(arguments, str) for message in messages for arguments in _arguments(message))
    return [_with_objects(message) for message in messages] if texts and _wants_objects(chosen) else messages


def as_taken(chosen: Format, messages: Dicts) -> Dicts:
    """Return messages in the form that the template shows: arguments, and reasoning that it reads in the content alone.

    Args:
        chosen: The format.
        messages: Messages, as a template is given them.
    """
    taken = with_arguments_as_taken(chosen, messages)
    thinks = any(message.get("reasoning_content") for message in taken)
    return [_with_thinking_part(message) for message in taken] if thinks and _wants_parts(chosen) else taken


def _with_thinking_part(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an assistant's message with its reasoning as the first part of its content."""
    thought, content = message.get("reasoning_content"), message.get("content")
    if not isinstance(thought, str) or not thought or message.get("role") != "assistant":
        return message
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
    others = {key: value for key, value in message.items() if key not in ("reasoning_content", "reasoning", "thinking")}
    return {**others, "content": [{"type": "thinking", "thinking": thought}, *parts]}


@lru_cache(maxsize=128)
def _wants_parts(chosen: Format) -> bool:
    """Return whether a template shows reasoning where it is a part of the content, and not beside it.

    Keeps the last 128 formats.
    """
    if not any(name in chosen.source for name in ("'thinking'", '"thinking"')):
        return False
    turn = {"role": "assistant", "content": "isc value", "reasoning_content": _THOUGHT, "thinking": _THOUGHT}
    for context in (_CONTEXT, [_SYSTEM, *_CONTEXT]):
        beside, inside = (_text(chosen, [*context, said]) for said in (turn, _with_thinking_part(turn)))
        if inside is not None and _THOUGHT in inside:
            return beside is None or _THOUGHT not in beside
    return False


def other_forms(chat: Chat, messages: Dicts) -> Iterator[Dicts]:
    """Yield the other forms that a chat's messages can be given in, to a template that refuses the one it was given.

    Args:
        chat: The chat.
        messages: The form that was refused.
    """
    for null_content in (False, True):
        if null_content and all("content" in message for message in messages):
            return
        dicts = chat_messages(chat, null_content=null_content)
        objects = [_with_objects(message) for message in dicts]
        yield from (form for form in (dicts, objects) if null_content or form != messages)


def _arguments(message: Mapping[str, Any]) -> list[object]:
    return [(call.get("function") or {}).get("arguments") for call in message.get("tool_calls") or ()]


def _with_objects(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any(isinstance(arguments, str) for arguments in _arguments(message)):
        return message
    calls = [{**call, "function": _with_object(call["function"])} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _with_object(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the function with an object for arguments, where their text is an object's JSON."""
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError):
        return function
    return {**function, "arguments": arguments} if isinstance(arguments, dict) else function


@lru_cache(maxsize=128)
def _wants_objects(chosen: Format) -> bool:
    """Return whether a template does not show text as the object it stands for. Keeps the last 128 formats."""
    for context in (_CONTEXT, [_SYSTEM, *_CONTEXT]):
        as_object, as_text = (_shown(chosen, context, arguments) for arguments in (_GIVEN, json.dumps(_GIVEN)))
        if as_object is None and as_text is None:
            continue
        if as_object is None or as_object == as_text or repr(_GIVEN) in as_object:
            return False
        return as_text is None or not _shows_value_once(as_text) or _shows_value_once(as_object)
    return False


def _shows_value_once(text: str) -> bool:
    """Return whether the value is there, not inside JSON that quotes JSON."""
    return "isc value" in text and '\\"isc value' not in text


def _shown(chosen: Format, context: Sequence[Mapping[str, Any]], arguments: object) -> str | None:
    call = {"id": _ID, "type": "function", "function": {"name": "f", "arguments": arguments}}
    turn = {"role": "assistant", "content": "", "tool_calls": [call]}
    return _text(chosen, [*context, turn, _RESULT], _TOOLS)


def _text(chosen: Format, messages: Dicts, tools: Dicts | None = None) -> str | None:
    """Return what a conversation renders to, or None where the template refuses it."""
    try:
        return text_of(chosen, messages, tools, add_generation_prompt=False)
    except TemplateError:
        return None
