"""Where isc refuses what a template leaves out without a word, callers of `renderers` expect it left out: said once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from isc.convert import Messages, Tools
from isc.errors import ConversationError

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

    Args:
        render: What renders, strictly.
        messages: The conversation.
        tools: Tool specs.

    Raises:
        ConversationError: Something else cannot be rendered.
    """
    given = Given(messages, tools)
    while True:
        try:
            return render(*given)
        except ConversationError as error:
            left = _without(given, error)
            if left is None:
                raise
            warnings.warn(f"left out, as the model's template does: {error}", LeftOutWarning, stacklevel=3)
            given = left


def _without(given: Given, error: ConversationError) -> Given | None:
    """The conversation without what an error is about; None where the template would not leave that out."""
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
