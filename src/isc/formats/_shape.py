"""The shape of a format's conversations. A format that does not declare its shape is asked for it.

A role, or whatever else is asked for, is tried inside a conversation that is sound but for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from isc._later import Later
from isc.errors import Error
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

if TYPE_CHECKING:
    from isc.formats.base import Family
else:
    Family = Later

ANY: Final = "(?s:.*)"
"""What every text matches."""


class Shape(Struct, frozen=True):
    """The conversations of a family: its roles, whether it renders reasoning and tools, specials for bodies to spell.

    `text_arguments`: whether arguments may be given as JSON text. `offers_tools`: whether tools may be given, not only
    called. `most_calls`: in one turn. `calls_alone`: a turn that calls says nothing else. `content_with_calls`: beside
    reasoning, that is. `results_follow_calls`: a tool result stands where the last assistant turn calls.
    `results_at_once`: it stands right after that turn or another result. `results_answer_calls`: one that names a call
    names one of the turn it follows, whose calls have ids of their own. `result_per_call`: there are no
    more results in a row than calls before them. `system_first`: a system or developer message
    only stands first. `user_first`: a user speaks first, after a leading system message, and says something.
    `alternates`: users and assistants take turns, a call and its results between them. `needs_query`: one user message
    is not a tool result in disguise. `keys`, `values`: what names and texts of arguments match, for formats that quote
    nothing and so cannot tell all from their tags. `tells_kinds`: whether an argument tells its kind wherever it
    stands, be it null, empty or a text that reads as a number. `images`: whether some are shown,
    `image_roles`: by whom. `empty_answers`: whether an assistant's turn may say nothing.
    """

    roles: tuple[str, ...] = ("system", "user", "assistant", "tool")
    reasoning: bool = True
    tools: bool = True
    specials: tuple[str, ...] = ()
    text_arguments: bool = True
    offers_tools: bool = True
    most_calls: int = 3
    calls_alone: bool = False
    content_with_calls: bool = True
    results_follow_calls: bool = False
    results_at_once: bool = False
    results_answer_calls: bool = False
    result_per_call: bool = False
    system_first: bool = False
    user_first: bool = False
    alternates: bool = False
    needs_query: bool = False
    keys: str = ANY
    values: str = ANY
    tells_kinds: bool = True
    images: bool = False
    image_roles: tuple[str, ...] = ("user", "tool")
    empty_answers: bool = True


_USER: Final = UserMessage("?")
_SAID: Final = AssistantMessage("!")
_SYSTEM: Final = SystemMessage("x")
_DEVELOPER: Final = DeveloperMessage("x")
_RESULT: Final = ToolMessage("x", tool_call_id="call00000")
_UNNAMED: Final = ToolMessage("x")
_TOOL: Final = ToolSpec(
    {
        "type": "function",
        "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}},
    }
)


@lru_cache(maxsize=64)
def asked(family: Family) -> Shape:
    """Find out what a family takes by asking it. Keeps the last 64 families."""
    takes = _Asking(family)
    calling = takes.calling()
    offers_tools = takes(_USER, tools=True)
    alternates = not takes(_USER, _USER) and takes(_USER, _SAID, _USER, _SAID)
    user_first = alternates or not (takes(_SAID, _USER) and takes(_SAID, _USER, tools=offers_tools))
    results_anywhere, results = takes.results(user_first=user_first)
    told = takes.told()
    roles = {"user", "assistant", *family.extra_roles, *(ROLES[type(one)] for one in told), *["tool"] * results}
    return replace(
        _told_by(family),
        roles=tuple(role for role in ROLES.values() if role in roles),
        tools=calling is not None and (results or not alternates),
        text_arguments=any(takes(_USER, call) for call in takes.calls("{}")),
        offers_tools=offers_tools,
        most_calls=3 if any(takes(_USER, call) for call in takes.calls(count=3)) else 1,
        calls_alone=calling is not None and not calling.content,
        results_follow_calls=not results_anywhere,
        results_at_once=results and takes.refuses_late_results(),
        results_answer_calls=results and calling is not None and not takes.late_result(calling),
        result_per_call=results and calling is not None and takes.refuses_spare_results(calling),
        system_first=not all(takes(_USER, one, _SAID) or takes(_USER, _SAID, one, _USER) for one in told),
        user_first=user_first,
        alternates=alternates,
        needs_query=not user_first and not takes(_SAID),
        empty_answers=takes(_USER, AssistantMessage("")),
    )


def _told_by(family: Family) -> Shape:
    """Return what a family tells of itself."""
    return Shape(
        reasoning=family.has_reasoning,
        specials=family.specials,
        keys=family.argument_keys,
        values=family.argument_texts,
        tells_kinds=family.tells_kinds,
    )


class _Asking:
    """A trial of conversations on a family."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def __call__(self, *messages: Message, tools: bool = False) -> bool:
        """Return whether the family renders these messages."""
        try:
            return bool(list(self.family.conversation(Chat(messages, (_TOOL,) if tools else ()))))
        except Error:
            return False

    def results(self, *, user_first: bool) -> tuple[bool, bool]:
        """Return whether tool results may stand anywhere, and whether they may stand after a call."""
        anywhere = self(_USER, _SAID, _RESULT) and (user_first or self(_RESULT, _USER, _SAID))
        return anywhere, anywhere or any(self(_USER, call, _RESULT) for call in self.calls())

    def late_result(self, calling: AssistantMessage) -> bool:
        """Return whether the family renders a result of an earlier turn's call after a turn that calls again."""
        calls = tuple(replace(call, id="call00001") for call in calling.tool_calls)
        return self(_USER, calling, _RESULT, _SAID, _USER, replace(calling, tool_calls=calls), _RESULT)

    def refuses_spare_results(self, calling: AssistantMessage) -> bool:
        """Return whether a result that names no call is taken after a turn with one call, and a second is refused."""
        return self(_USER, calling, _UNNAMED) and not self(_USER, calling, _UNNAMED, _UNNAMED)

    def told(self) -> list[Message]:
        """Return a system and a developer message, as far as they are taken."""
        system = self(_SYSTEM, _USER, _SAID) or self(_SYSTEM, _USER)
        developer = self(_DEVELOPER, _USER, _SAID) or self(_USER, _DEVELOPER, _SAID)
        told: tuple[tuple[Message, bool], ...] = ((_SYSTEM, system), (_DEVELOPER, developer))
        return [one for one, taken in told if taken]

    def calls(self, arguments: str | None = None, count: int = 1) -> Iterator[AssistantMessage]:
        """Yield a turn that calls. A turn with content besides comes first."""
        call = ToolCall("f", arguments or {}, "call00000")
        yield AssistantMessage("!", tool_calls=(call,) * count)
        yield AssistantMessage(tool_calls=(call,) * count)

    def refuses_late_results(self) -> bool:
        """Return whether a result is refused after a user's message where another message is not."""
        between: tuple[tuple[Message, ...], ...] = ((_USER,), (_RESULT, _SAID, _USER))
        left = [(call, *rest) for rest in between for call in self.calls() if self(_USER, call, *rest, _SAID)]
        return bool(left) and not any(self(_USER, *said, _RESULT) for said in left)

    def calling(self) -> AssistantMessage | None:
        """Return the first of `calls` that can be history, or None."""
        between: tuple[tuple[Message, ...] | None, ...] = ((), (_RESULT, _SAID), None)  # None: it calls once
        for rest in between:
            for call in self.calls():
                if self(_USER, call, *(() if rest is None else (*rest, _USER, call))):
                    return call
        return None
