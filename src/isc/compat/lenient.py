"""Where isc refuses what a template leaves out without a word, callers of `renderers` expect it left out: said once."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from isc.convert import Messages, Tools
from isc.errors import ConversationError, TemplateError

_NOT_SHOWN: Final = "shows the model no tools"
_RENDERS_CONTENT: Final = "renders content alone"
_FIELD: Final = re.compile(r"messages\[(\d+)\]\.(content|tool_calls)")

T = TypeVar("T")


class LeftOutWarning(UserWarning):
    """Something was left out of a render because the model's template leaves it out."""


class Given(NamedTuple):
    """A conversation as the caller gave it, or what is left of it."""

    messages: Messages
    tools: Tools


def leniently(render: Callable[[Messages, Tools], T], messages: Messages, tools: Tools) -> T:
    """Render a conversation, without what its template does not print: content beside calls, tools, calls.

    Arguments given as JSON text become objects for a template that takes no text.

    Args:
        render: What renders, strictly.
        messages: The conversation.
        tools: Tool specs.

    Raises:
        ConversationError: Something else cannot be rendered.
        TemplateError: The template fails, with objects too.
    """
    try:
        return _without_what_is_left_out(render, Given(messages, tools))
    except TemplateError:
        read = _with_objects(messages)
        if read is None:
            raise
        return _without_what_is_left_out(render, Given(read, tools))


def _without_what_is_left_out(render: Callable[[Messages, Tools], T], given: Given) -> T:
    while True:
        try:
            return render(*given)
        except ConversationError as error:
            left = _without(given, error)
            if left is None:
                raise
            warnings.warn(f"left out, as the model's template does: {error}", LeftOutWarning, stacklevel=4)
            given = left


def _without(given: Given, error: ConversationError) -> Given | None:
    """Return the conversation without what an error is about. None: the template would not leave that out."""
    if error.path == "tools" and given.tools and _NOT_SHOWN in error.problem:
        return Given(given.messages, None)
    field = _FIELD.fullmatch(error.path)
    if field is None or not isinstance(given.messages, Sequence):
        return None
    place, name = int(field[1]), field[2]
    message: Any = given.messages[place]
    if not isinstance(message, Mapping) or not message.get("tool_calls") or not message.get(name):
        return None
    if name == "tool_calls" and _RENDERS_CONTENT not in error.problem:
        return None
    return Given([*given.messages[:place], {**message, name: None}, *given.messages[place + 1 :]], given.tools)


def _with_objects(messages: Messages) -> Messages | None:
    """Return the conversation with every call's arguments as an object. None: none of them is JSON text of one."""
    if not isinstance(messages, Sequence):
        return None
    read = [_read(message) for message in messages]
    return read if any(new is not old for new, old in zip(read, messages, strict=True)) else None


def _read(message: Any) -> Any:  # noqa: ANN401 - as the caller gave it
    """Return the message with objects for arguments, itself where it has no other."""
    calls = message.get("tool_calls") if isinstance(message, Mapping) else None
    if not isinstance(calls, Sequence):
        return message
    read = [_read_call(call) for call in calls]
    changed = any(new is not old for new, old in zip(read, calls, strict=True))
    return {**message, "tool_calls": read} if changed else message


def _read_call(call: Any) -> Any:  # noqa: ANN401
    function = call.get("function") if isinstance(call, Mapping) else None
    text = function.get("arguments") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(text, str):
        return call
    try:
        arguments = json.loads(text)
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else call
