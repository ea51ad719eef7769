"""Inkling: a message for each kind of content, a turn of several of them, all reasoning kept.

Follows `thinkingmachines/Inkling` in a copy of its template that another project repaired (sha256 7be550651ae51dfe);
the revision that the model ships may differ. Tools are sorted, compact JSON in a system message before all else, of
each its description, name, parameters and type; how much to think stands in one of its own before the first message
that is no system message. Both are nobody's. Each text and image of a content is a message, an empty content none. A
result is headed by the name of its function: its own `name`, else that of the call with its id. That
`<|content_model_end_sampling|>` stops sampling is known from `tml-renderers`, by the model's authors. It renders the
same, but that the model begins its turn itself, results have no names and only the outer keys of arguments are sorted.

Deviations: arguments given as JSON text are rendered as what the text says, where the template fails, and text that is
no JSON object stands as it is; what a tool returns in parts is joined, where the template drops it. isc refuses an
answer that says nothing, which the template drops, and a call with the id of an earlier one of another name, after
which the template would rename that one's result. Sounds, and images but in what users say, are refused. A bridge does
not know the ids of calls that were sampled: it names results without a `name` in the order of the calls, and is refused
where there are not as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from operator import and_
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from msgspec import Meta

from isc._json import json_text, sorted_json
from isc.errors import ConversationError, HistoryError
from isc.formats import _inkling as inkling
from isc.formats.base import Family
from isc.formats.reading import inkling as reading
from isc.formats.reading.following import Follows
from isc.formats.segments import (
    body,
    content_pieces,
    content_text,
    content_texts,
    placeholder,
    read_arguments,
    scaffold,
    special,
    unsupported_role,
)
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Ended,
    Json,
    ParsedResponse,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
)

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "max"]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=0.99)]

_SHARES: Final[Mapping[Effort, float]] = {
    "none": 0.0, "minimal": 0.1, "low": 0.2, "medium": 0.7, "high": 0.9, "max": 0.99,
}  # fmt: skip


class Inkling(Family, frozen=True, tag_field="family", tag="inkling"):
    """The Inkling models.

    Args:
        reasoning_effort: How much the model is to think: a share from 0 to 0.99, or the name of one.

    Raises:
        OptionError: The effort is neither.
        ConversationError: From `turn`, for an answer that says nothing, ids that repeat, a role without a turn.

    >>> Inkling(reasoning_effort="low").keeps_history, Inkling().stop_tokens
    (True, ('<|content_model_end_sampling|>',))
    """

    reasoning_effort: Effort | Share = 0.9

    specials: ClassVar[tuple[str, ...]] = inkling.SPECIALS
    turn_close: ClassVar[str] = inkling.END_SAMPLING
    stop_tokens: ClassVar[tuple[str, ...]] = (inkling.END_SAMPLING,)
    turn_start: ClassVar[str] = inkling.MODEL
    tells_ending: ClassVar[bool] = True
    one_prompt: ClassVar[bool] = True
    sorts_arguments: ClassVar[bool] = True
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[None] = None  # told by `ended`: it is a message, not a pair of marks

    def opening(self, chat: Chat) -> Segments:
        """Return nothing: a leading system message has a turn like any other."""
        return ()

    def preamble(self, chat: Chat) -> Segments:
        """Return the tools in a message of their own."""
        if not chat.tools:
            return ()
        tools = sorted_json([_declared(tool) for tool in chat.tools], "tools")
        return inkling.message("system", inkling.XML, scaffold(tools), "tool_declare")

    def interlude(self, chat: Chat, index: int) -> Segments:
        """Return how much to think, before the first message that is no system message."""
        if chat.role(index) == "system" or not chat.running("inkling_only_told", _only_told)[index]:
            return ()
        effort = self.reasoning_effort
        share = _SHARES[effort] if isinstance(effort, str) else float(effort)
        said = f"Thinking effort level: {share if share else 0}"
        return inkling.message("system", inkling.TEXT, scaffold(said))

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message of the conversation as one or several of Inkling's."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return _answer(chat, index, message)
        if isinstance(message, ToolMessage):
            said = body(content_text(chat, index))
            return inkling.message("tool", inkling.TEXT, said, _result_name(chat, index, message))
        if isinstance(message, DeveloperMessage):
            raise unsupported_role(chat, index, "inkling", "use role 'system'")
        return _said(chat, index)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the mark of the model. What kind of message it begins with is sampled."""
        return inkling.PROMPT

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; nothing is trimmed."""
        return reading.parse(sampled, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return reading.FOLLOWS

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended, and its calls, which name their results."""
        return reading.ended(sampled)


def _declared(tool: ToolSpec) -> dict[str, Json]:
    """Return what is told of a tool. What it lacks is empty."""
    function = tool.function
    return {
        "description": function.get("description") or "",
        "name": function["name"],
        "parameters": function.get("parameters") or {},
        "type": tool.schema.get("type") or "function",
    }


def _only_told(chat: Chat) -> Sequence[bool]:
    """Return for each message, and for the end, whether only system messages stand before it."""
    return [True, *accumulate((isinstance(message, SystemMessage) for message in chat.messages), and_)]


def _said(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield the content of a message, each part as a message of Inkling's. An empty content is none."""
    message = chat.messages[index]
    if message.content:
        role = ROLES[type(message)]
        for piece in content_pieces(chat, index) if role == "user" else content_texts(chat, index):
            if isinstance(piece, str):
                yield from inkling.message(role, inkling.TEXT, body(piece))
            else:
                yield from inkling.message(role, inkling.IMAGE, placeholder(inkling.PLACEHOLDER, piece))


def _answer(chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
    """Yield an assistant's turn: its thought, its content, its calls."""
    if not (message.reasoning_content or message.content or message.tool_calls):
        problem = "says nothing, and inkling has no such turn: the template leaves it out; leave the message out"
        raise ConversationError(f"messages[{index}].content", problem)
    renaming = chat.running("inkling_renaming", _renaming)[index]
    if renaming is not None:
        problem = (
            "is the id of an earlier call to another function, whose result the template would name after this one"
        )
        raise ConversationError(f"messages[{index}].tool_calls[{renaming}].id", f"{problem}; give each call its own")
    if message.reasoning_content:
        yield from inkling.message("assistant", inkling.THINKING, body(message.reasoning_content, "reasoning"))
    yield from _said(chat, index)
    for place, call in enumerate(message.tool_calls):
        arguments = _arguments(call, f"messages[{index}].tool_calls[{place}].function.arguments")
        yield from inkling.called(call.name, json_text(call.name), arguments)
    yield special(inkling.END_SAMPLING)


def _arguments(call: ToolCall, path: str) -> str:
    """Return arguments as they are written. Text that is no JSON object is kept."""
    arguments = read_arguments(call)
    return str(call.arguments) if arguments is None else sorted_json(arguments, path)


def _renaming(chat: Chat) -> Sequence[int | None]:
    """Return for each message the place of a call with the id of an earlier one of another name that was answered."""
    places: list[int | None] = []
    names: dict[str | None, str] = {}
    answered: set[str | None] = {None}
    for index, message in enumerate(chat.messages):
        calls = message.tool_calls if isinstance(message, AssistantMessage) else ()
        renamed = (
            k for k, call in enumerate(calls) if call.id in answered and names.get(call.id, call.name) != call.name
        )
        places.append(next(renamed, None))
        names |= {call.id: call.name for call in calls if call.id is not None}
        if not message.name:
            answered.add(chat.answered_call(index))
    return places


def _result_name(chat: Chat, index: int, message: ToolMessage) -> str:
    """Return the name of a result: its own, else that of the call with its id. One that names no call has none."""
    if message.name or not message.tool_call_id:
        return message.name or ""
    name = chat.running("inkling_called", _called)[index]
    return _sampled_name(chat, index) if name is None else name


def _called(chat: Chat) -> Sequence[str | None]:
    """Return for each message the name of the last call before it with the id that it answers."""
    called: list[str | None] = []
    names: dict[str | None, str] = {}
    for index, message in enumerate(chat.messages):
        called.append(names.get(chat.answered_call(index)))
        if isinstance(message, AssistantMessage):
            names |= {call.id: call.name for call in message.tool_calls if call.id}
    return called


def _sampled_name(chat: Chat, index: int) -> str:
    """Return the name of a result after a turn that was sampled, whose calls have no ids.

    Raises:
        HistoryError: Its calls go to several functions, and there is not one result for each.
    """
    caller = chat.assistant_before(index)
    turn = chat.messages[caller] if caller >= 0 else None
    names = [call.name for call in turn.tool_calls] if isinstance(turn, AssistantMessage) else []
    results = [k for k in range(caller + 1, len(chat.messages)) if isinstance(chat.messages[k], ToolMessage)]
    if len(set(names)) == 1:
        return names[0]
    if len(names) != len(results):
        problem = "cannot be told from the ids that were sampled: give the result the 'name' of its function"
        raise HistoryError(f"messages[{index}].tool_call_id", problem, chat.answered_call(index))
    return names[results.index(index)]


FAMILY: Final = Inkling

MODELS: Final = {f"thinkingmachines/Inkling{size}": Inkling() for size in ("", "-Small")}

TEMPLATES: Final = {"7be550651ae51dfe": Inkling()}
