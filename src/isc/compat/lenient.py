"""Where isc refuses what a template leaves out without a word, callers of `renderers` expect it left out: said once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from isc.convert import Messages, Tools
from isc.errors import ConversationError

_NOT_SHOWN: Final = "shows the model no tools"
_CONTENT: Final = re.compile(r"messages\[(\d+)\]\.content")

T = TypeVar("T")


class LeftOutWarning(UserWarning):
    """Something was left out of a render because the model's template leaves it out."""


class Given(NamedTuple):
    """A conversation as the caller gave it, or what is left of it."""

    messages: Messages
    tools: Tools


def leniently(render: Callable[[Messages, Tools], T], messages: Messages, tools: Tools) -> T:
    """Render a conversation, without what its template does not print: content beside calls, tools.

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
    content = _CONTENT.fullmatch(error.path)
    if content is None or not isinstance(given.messages, Sequence):
        return None
    place = int(content[1])
    message: Any = given.messages[place]
    if not isinstance(message, Mapping) or not message.get("tool_calls") or not message.get("content"):
        return None
    return Given([*given.messages[:place], {**message, "content": None}, *given.messages[place + 1 :]], given.tools)
