"""The common parts of DeepSeek formats with DSML calls: what a system or developer message may hold besides its text.

Tools, a response format and tasks are keys of messages (`tools`, `response_format`, `task`), as the models' own
encoders take them. Tools of the chat belong to a leading system or developer message, or to a system message without
content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from isc._json import json_text
from isc.errors import ConversationError
from isc.formats._deepseek import END_THINK, THINK
from isc.formats._shape import Shape
from isc.formats.reading.dsml_calls import DSML
from isc.formats.segments import body, scaffold, special, spelled
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Json,
    Reasoning,
    Segment,
    SystemMessage,
    ToolMessage,
    UserMessage,
)

REASONING: Final = Reasoning(THINK, END_THINK, (special(END_THINK),))

_TOOLS: Final = "tools"
_RESPONSE_FORMAT: Final = "response_format"
HOLDS: Final = frozenset((_TOOLS, _RESPONSE_FORMAT))
"""Keys of a system or developer message."""
_HEAD_OF_RESPONSE_FORMAT: Final = scaffold(
    "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"
)


def nobodys_tools(chat: Chat, wording: tuple[str, str], marks: tuple[str, ...]) -> Iterator[Segment]:
    """Yield the tools of a chat that no message holds."""
    if chat.tools and not _leads(chat):
        yield from _tools_block([tool.function for tool in chat.tools], wording, marks)


def held(chat: Chat, index: int, wording: tuple[str, str], marks: tuple[str, ...]) -> Iterator[Segment]:
    """Yield the tools and the response format of a system or developer message, if it has them.

    Args:
        chat: The chat.
        index: The message.
        wording: What stands before the tools and after them.
        marks: The specials that the wording spells.
    """
    tools = _tools_of(chat, index)
    if tools:
        yield from _tools_block(tools, wording, marks)
    schema = chat.messages[index].extra.get(_RESPONSE_FORMAT)
    if schema:
        yield _HEAD_OF_RESPONSE_FORMAT
        yield scaffold(json_text(schema))


def offers_tools(chat: Chat) -> bool:
    """Return whether tools are offered anywhere, searched for once."""
    return chat.once("dsml_tools", lambda chat: bool(chat.tools) or any(m.extra.get(_TOOLS) for m in chat.messages))


def check_keys(chat: Chat, index: int) -> None:
    """Refuse keys of a message that its role cannot show.

    Raises:
        ConversationError: It has one.
    """
    message = chat.messages[index]
    if isinstance(message, (SystemMessage, DeveloperMessage)):
        return
    for key in HOLDS:
        if message.extra.get(key):
            problem = f"is shown in system and developer messages only; give {key} to one of those"
            raise ConversationError(f"messages[{index}].{key}", problem)


def last_user(chat: Chat, *, results: bool) -> int:
    """Return the index of the last message of a user or developer, searched for once; -1 where there is none.

    `results`: whether tool results count as what users say.
    """
    name = "dsml_last_said" if results else "dsml_last_user"
    kinds = (UserMessage, DeveloperMessage, ToolMessage) if results else (UserMessage, DeveloperMessage)
    return chat.once(
        name, lambda chat: max((k for k, m in enumerate(chat.messages) if isinstance(m, kinds)), default=-1)
    )


def without_developer(shape: Shape) -> Shape:
    """Return the shape of conversations without developer messages."""
    return replace(shape, roles=tuple(role for role in shape.roles if role != "developer"))


def dropped_developer(index: int, family: str) -> ConversationError:
    """Return the error for a developer message that the format would leave out."""
    problem = (
        f"{family} leaves out a developer message before the last user's, once it drops reasoning; pass "
        "drop_thinking=False, or say it as a user"
    )
    return ConversationError(f"messages[{index}].role", problem, "developer")


def thought(message: AssistantMessage) -> tuple[Segment, ...]:
    """Return the reasoning of a turn and what ends it. The opener stands in the turn before."""
    return body(message.reasoning_content or "", "reasoning"), special(END_THINK)


def _leads(chat: Chat) -> bool:
    return isinstance(chat.messages[0], (SystemMessage, DeveloperMessage))


def _tools_of(chat: Chat, index: int) -> list[Mapping[str, Json]]:
    given = [tool.function for tool in chat.tools] if index == 0 else []
    own = chat.messages[index].extra.get(_TOOLS)
    if not own:
        return given
    path = f"messages[{index}].{_TOOLS}"
    if given:
        raise ConversationError(path, "the chat has tools too, which are shown here; give them in one place")
    if not isinstance(own, (list, tuple)):
        raise ConversationError(path, "must be a list of tools", own)
    return [_function(tool, f"{path}[{position}]") for position, tool in enumerate(own)]


def _function(tool: Json, path: str) -> Mapping[str, Json]:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        raise ConversationError(f"{path}.function", "must be an object with 'name'", function)
    return function


def _tools_block(
    functions: list[Mapping[str, Json]], wording: tuple[str, str], marks: tuple[str, ...]
) -> Iterator[Segment]:
    before, after = wording
    yield from spelled(f"\n\n{before}", (THINK, END_THINK, *marks))
    yield scaffold("\n".join(map(json_text, functions)))
    yield from spelled(after, (THINK, END_THINK, *marks))


def tags(text: str) -> str:
    """Return wording of a format in which `<` and a tilde begin a tag of DSML.

    >>> tags("<~invoke></~invoke>")
    '<｜DSML｜invoke></｜DSML｜invoke>'
    """
    return text.replace("<~", f"<{DSML}").replace("</~", f"</{DSML}")
