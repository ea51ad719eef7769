"""Llama 3.1 to 3.3: a header on every turn, tools in the first user message, one JSON call a turn, results as JSON.

Follows `meta-llama/Llama-3.1-8B-Instruct` (template sha256 e10ca381b1ccc5cf) and `meta-llama/Llama-3.2-1B-Instruct`
(5816fce10444e03c); a public copy of the template of Llama 3.3 is that of 3.1 but for its line ends. A turn with a call
says nothing else: the template drops its content, so isc refuses it, as it does tools in a first message that is no
user's, which the template renders as one. Deviations: arguments given as JSON text are rendered as what the text says,
where the template quotes the text once more; content None is no content, where the template prints "None"; lists of
text parts are joined but in tool results, which are JSON of whatever was given; an empty list of tools is none, but for
`custom_tools`; `ipython` is not a role, it is how a tool's result is rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import ClassVar, Final, Literal

from msgspec import structs

from isc._json import json_text, json_value
from isc.errors import ConversationError, OptionError
from isc.formats._dates import today
from isc.formats.base import Family
from isc.formats.reading.following import Follows, followed
from isc.formats.reading.grammars import read_parts
from isc.formats.reading.llama_calls import LlamaCalls, built_in_call_text, json_call_text
from isc.formats.reading.scanners import until
from isc.formats.segments import body, content_text, content_texts, is_special, scaffold, special
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Ended,
    Json,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Variant = Literal["3.1", "3.2"]

_SPECIALS: Final = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
    "<|python_tag|>",
)  # fmt: skip
_BEGIN, _END, _HEADER, _END_HEADER, _END_OF_MESSAGE, _END_OF_TURN, _PYTHON = map(special, _SPECIALS)

_FORMAT: Final = (
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    "Do not use variables.\n\n"
)
_SYSTEM_TOOLS: Final = (
    "You have access to the following functions. To call a function, please respond with JSON for a function call."
    + _FORMAT
)
_USER_TOOLS: Final = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    "answers the given prompt.\n\n" + _FORMAT
)


class Llama3(Family, frozen=True, tag_field="family", tag="llama-3"):
    """The Llama 3.1, 3.2 and 3.3 text models.

    Args:
        variant: Which template: that of the 3.1 and 3.3, or of the 3.2 models.
        date_string: The day the system turn names; None is 26 Jul 2024 for 3.1 and the present day for 3.2.
        tools_in_user_message: Whether tools stand before what the first user message says, or in the system turn.
        custom_tools: Tools that are shown in place of those of the conversation, just as they are given.
        builtin_tools: Names of tools that are called as `name.call(key="text")` after `<|python_tag|>` (3.1 only);
            where they are given, even none, every call ends with `<|eom_id|>` instead of `<|eot_id|>`.

    Raises:
        OptionError: `builtin_tools` for 3.2, or custom tools that have no name or no JSON form.
        ConversationError: From `opening` and `turn`, for what the format cannot say: see the module.

    >>> Llama3(builtin_tools=("brave_search",)).stop_tokens
    ('<|eot_id|>', '<|eom_id|>', '<|end_of_text|>')
    """

    variant: Variant = "3.1"
    date_string: str | None = None
    tools_in_user_message: bool = True
    custom_tools: tuple[Mapping[str, Json], ...] | None = None
    builtin_tools: tuple[str, ...] | None = None

    specials: ClassVar[tuple[str, ...]] = _SPECIALS
    turn_close: ClassVar[str] = _END_OF_TURN.text
    one_prompt: ClassVar[bool] = True
    answer_markers: ClassVar[tuple[str, ...]] = ("{",)
    # generation_config.json of meta-llama/Llama-3.1-8B-Instruct: 128001, 128008, 128009
    stop_tokens: ClassVar[tuple[str, ...]] = (_END_OF_TURN.text, _END_OF_MESSAGE.text, _END.text)
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[Reasoning | None] = None
    tells_ending: ClassVar[bool] = True

    def check_options(self) -> None:
        """Refuse options that this template does not have together."""
        if self.variant == "3.2" and self.builtin_tools is not None:
            raise OptionError("llama-3: the 3.2 template knows no builtin_tools; drop them, or take variant '3.1'")
        for position, tool in enumerate(self.custom_tools or ()):
            try:
                json_value(tool, f"custom_tools[{position}]")
                named = _spec(tool).name
            except (ConversationError, KeyError, TypeError) as error:
                raise OptionError(f"llama-3: custom_tools[{position}] must be a tool with a name: {error}") from None
            if not named:
                raise OptionError(f"llama-3: custom_tools[{position}] must be a tool with a name")

    def __hash__(self) -> int:
        return hash((self.variant, self.date_string, self.tools_in_user_message, json_text(self.custom_tools),
                     self.builtin_tools))  # fmt: skip

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield BOS and the system turn, which is always there."""
        shown = self._shown(chat)
        tools = None if shown is None else [json_text(tool, indent=4) for tool in shown]
        yield _BEGIN
        yield from _head("system")
        yield scaffold(self._environment(has_tools=tools is not None))
        if tools is not None and not self.tools_in_user_message:
            yield scaffold(_SYSTEM_TOOLS + "".join(f"{tool}\n\n" for tool in tools))
        if isinstance(chat.messages[0], SystemMessage):
            yield body(content_text(chat, 0).strip())
        yield _END_OF_TURN
        if tools is not None and self.tools_in_user_message:
            _check_first_turn(chat)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message, its texts trimmed. A leading system message belongs to the opening."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage) and message.tool_calls:
            return self._call(chat, index, message)
        if isinstance(message, ToolMessage):
            return (*_head("ipython"), _result(chat, index), _END_OF_TURN)
        if index == 0 and isinstance(message, SystemMessage):
            return ()
        said = (body(content_text(chat, index).strip()), _END_OF_TURN)
        if self.tools_in_user_message and isinstance(message, UserMessage) and index == _first_turn(chat):
            tools = self._shown(chat)
            if tools is not None:
                shown = "\n\n".join(json_text(tool, indent=4) for tool in tools)
                return (*_head("user"), scaffold(_USER_TOOLS + shown + ("\n\n" if tools else "")), *said)
        return (*_head(ROLES[type(message)]), *said)

    def _call(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        path = f"messages[{index}]"
        if len(message.tool_calls) > 1:
            problem = "llama-3 makes a single tool call a turn; give each a turn of its own, with its result after it"
            raise ConversationError(f"{path}.tool_calls", problem, len(message.tool_calls))
        if content_text(chat, index).strip():
            problem = "llama-3 says nothing in a turn that makes a call; move it to a turn of its own or leave it out"
            raise ConversationError(f"{path}.content", problem, message.content)
        call = message.tool_calls[0]
        yield from _head("assistant")
        if call.name in (self.builtin_tools or ()):
            yield _PYTHON
            yield from built_in_call_text(call, f"{path}.tool_calls[0].function.arguments")
        else:
            yield from json_call_text(call)
        yield _END_OF_TURN if self.builtin_tools is None else _END_OF_MESSAGE

    def _shown(self, chat: Chat) -> Sequence[Mapping[str, Json]] | None:
        """Return the tools that are shown, or None where there are none."""
        schemas = tuple(tool.schema for tool in chat.tools) or None
        return schemas if self.custom_tools is None else self.custom_tools

    def _environment(self, *, has_tools: bool) -> str:
        """Return the environment, the built-in tools and the dates that the system turn names."""
        if self.variant == "3.2":
            day = today("%d %b %Y") if self.date_string is None else self.date_string
        else:
            day = "26 Jul 2024" if self.date_string is None else self.date_string
        environment = "Environment: ipython\n" if has_tools or self.builtin_tools is not None else ""
        if self.builtin_tools is not None:
            listed = ", ".join(name for name in self.builtin_tools if name != "code_interpreter")
            environment += f"Tools: {listed}\n\n"
        return f"{environment}Cutting Knowledge Date: December 2023\nToday Date: {day}\n\n"

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn."""
        return _head("assistant")

    def dated(self, day: str) -> Llama3:
        """Return the format with a day, unless it has one or its template never asks the clock."""
        if self.variant != "3.2" or self.date_string is not None:
            return self
        return structs.replace(self, date_string=date.fromisoformat(day).strftime("%d %b %Y"))

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended. A call that was cut off is closed as calls are, anything else as a turn."""
        if sampled.segments and is_special(sampled.segments[-1], _END_OF_TURN.text, _END_OF_MESSAGE.text):
            return Ended()
        calls = self.builtin_tools is not None and bool(self.parse(sampled, ()).tool_calls)
        return Ended((_END_OF_MESSAGE if calls else _END_OF_TURN,))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; one that begins as a JSON call does is a call, since no marker tells them apart."""
        offered = tools or tuple(map(_spec, self.custom_tools or ()))
        built_in = tuple(_spec({"name": name}) for name in self.builtin_tools or ())
        known = (*offered, *built_in) if offered else ()
        parts = read_parts(until(sampled, self.stop_tokens), None, LlamaCalls(_PYTHON.text), tools=known)
        return ParsedResponse("".join(parts.pieces).strip(), None, parts.calls)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return followed(self.stop_tokens, LlamaCalls(_PYTHON.text))


@lru_cache(maxsize=8)
def _head(role: str) -> tuple[Segment, ...]:
    """Return the head of a turn."""
    return _HEADER, scaffold(role), _END_HEADER, scaffold("\n\n")


def _first_turn(chat: Chat) -> int:
    """Return the index of the first message that has a turn of its own."""
    return int(isinstance(chat.messages[0], SystemMessage))


def _check_first_turn(chat: Chat) -> None:
    """Refuse a chat without the user's turn that holds the tools."""
    first = _first_turn(chat)
    if chat.role(first) != "user":
        path = f"messages[{first}].role" if chat.role(first) else "messages"
        problem = "llama-3 shows tools in the first message after the system's, which must be a user's; or turn "
        raise ConversationError(path, problem + "tools_in_user_message off", chat.role(first))


def _result(chat: Chat, index: int) -> Segment:
    """Return a tool's result as JSON: a text, or the list of its parts. An empty result is a pair of quotes."""
    content = chat.messages[index].content
    if content is None or isinstance(content, str):
        return body(json_text(content)) if content else scaffold(json_text(""))
    return body(json_text([{"type": "text", "text": text} for text in content_texts(chat, index)]))


def _spec(tool: Mapping[str, Json]) -> ToolSpec:
    return ToolSpec(tool if "function" in tool else {"function": tool})


FAMILY: Final = Llama3

_SIZES: Final = ("8B", "70B", "405B")

MODELS: Final = {
    **{f"meta-llama/{prefix}Llama-3.1-{size}-Instruct": Llama3() for prefix in ("", "Meta-") for size in _SIZES},
    **{f"meta-llama/{prefix}Llama-3.1-405B-Instruct-FP8": Llama3() for prefix in ("", "Meta-")},
    "meta-llama/Llama-3.3-70B-Instruct": Llama3(),
    **{f"meta-llama/Llama-3.2-{size}-Instruct": Llama3(variant="3.2") for size in ("1B", "3B")},
}

TEMPLATES: Final = {"e10ca381b1ccc5cf": Llama3(), "5816fce10444e03c": Llama3(variant="3.2")}
