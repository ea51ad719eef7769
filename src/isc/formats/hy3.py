"""Hy3: text of the system at the beginning, a mark before each turn, think blocks always, calls as pairs in a block.

Follows `tencent/Hy3` (template sha256 84437b9746423f04). An answer that is last of all and makes no call is not closed,
but under `is_training`. As the template does, isc gives no generation prompt after an assistant's turn, and opens the
results of a turn's calls once, whoever speaks between them. Deviations: arguments given as JSON text are read as the
object they say, where the template fails; a system message that is not the first is refused, where the template runs
its text into the first's; a result where the last assistant turn makes no call is refused, since the template opens no
results there, and so are other parts than text and `developer` messages, which it drops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal, TypeAlias

from isc._json import json_text
from isc.formats.base import Family
from isc.formats.reading.grammars import Around, Grammar, read_parts
from isc.formats.reading.scanners import until
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.segments import (
    argument_text,
    arguments_object,
    body,
    content_text,
    is_special,
    scaffold,
    special,
    spelled,
    unsupported_role,
)
from isc.types import (
    AssistantMessage,
    Chat,
    Ended,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Effort: TypeAlias = Literal["no_think", "low", "high"]
Fallback: TypeAlias = Literal["reasoning_toolcall_retry"]


def _tag(name: str) -> str:
    return f"<{name}:opensource>"


_BOS, _EOS, _USER, _ASSISTANT = (
    f"<｜hy_{name}:opensource｜>" for name in ("begin_of_sentence", "eos", "User", "Assistant")
)
_MODE: Final = "<｜reasoning_mode:opensource｜>"
_THINK, _END_THINK = _tag("think"), _tag("/think")
_BLOCK: Final = (_tag("tool_calls"), _tag("/tool_calls"))
_CALL: Final = (_tag("tool_call"), _tag("/tool_call"))
_NAMED: Final = _tag("tool_sep")
_PAIR: Final = tuple(map(_tag, ("arg_key", "/arg_key", "arg_value", "/arg_value")))
_RESULTS: Final = (_tag("tool_responses"), _tag("/tool_responses"))
_RESULT: Final = (_tag("tool_response"), _tag("/tool_response"))
_SPECIALS: Final = (
    *(_BOS, _EOS, _USER, _ASSISTANT, _MODE, _THINK, _END_THINK, *_BLOCK, *_CALL, _NAMED, *_PAIR, *_RESULTS, *_RESULT),
)
_LINE: Final = scaffold("\n")
_TOOLS_HEAD: Final = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_TAIL: Final = spelled(
    f"\n</tools>\n\nFor function call returns, you should first print {_BLOCK[0]}\n"
    "For each function call, you should return object like:\n"
    f"{_CALL[0]}{{function-name}}{_NAMED}\n{_PAIR[0]}{{arg-key-1}}{_PAIR[1]}\n{_PAIR[2]}{{arg-value-1}}{_PAIR[3]}\n"
    f"{_PAIR[0]}{{arg-key-2}}{_PAIR[1]}\n{_PAIR[2]}{{arg-value-2}}{_PAIR[3]}\n...\n{_CALL[1]}\n"
    f"At the end of function call returns, you should print {_BLOCK[1]}",
    _SPECIALS,
)
_CALLS: Final = TaggedCalls(
    _CALL[0],
    _CALL[1],
    f"{_NAMED}\n",
    _PAIR[0],
    f"{_PAIR[1]}\n{_PAIR[2]}",
    f"{_PAIR[3]}\n",
    (*_CALL, _NAMED, *_PAIR),
    marked=True,
)
_AROUND: Final = Around(section=_BLOCK)


class Hy3(Family, frozen=True, tag_field="family", tag="hy3"):
    """The Hy3 models.

    Args:
        reasoning_effort: What the beginning asks for; `no_think` prefills an empty think block.
        preserved_thinking: Whether earlier turns keep their reasoning. None keeps it where there are tools.
        is_training: Keep the reasoning of every turn, and close the last answer too: what to train with.
        raw_last_assistant: Write an answer that is last of all and makes no call as its bare content, without its
            reasoning.
        fallback_strategy: `reasoning_toolcall_retry` asks for high effort and gives no generation prompt: the model
            begins its turn itself.

    Raises:
        ConversationError: From `turn`, for a result without a call or a role without a turn.

    >>> Hy3(is_training=True).keeps_history, Hy3().keeps_history
    (True, False)
    """

    reasoning_effort: Effort = "no_think"
    preserved_thinking: bool | None = None
    is_training: bool = False
    raw_last_assistant: bool = False
    fallback_strategy: Fallback | None = None

    specials: ClassVar[tuple[str, ...]] = _SPECIALS
    turn_close: ClassVar[str] = _EOS
    grammar: ClassVar[Grammar] = _CALLS
    around: ClassVar[Around] = _AROUND
    tells_ending: ClassVar[bool] = True
    stop_tokens: ClassVar[tuple[str, ...]] = (_EOS,)
    reasoning: ClassVar[Reasoning] = Reasoning(_THINK, _END_THINK, (special(_END_THINK),), _BLOCK[:1])

    @property
    def _effort(self) -> Effort:
        return "high" if self.fallback_strategy else self.reasoning_effort

    @property
    def keeps_history(self) -> bool:
        """Return whether every turn keeps its reasoning, with tools or without."""
        return self.is_training or self.preserved_thinking is True

    def keeps_reasoning(self, chat: Chat) -> bool:
        """Return whether reasoning is kept: by an option, or with tools where no option says otherwise."""
        return self.keeps_history or (self.preserved_thinking is None and bool(chat.tools))

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the beginning, the system message, the tools and the effort."""
        yield special(_BOS)
        text = content_text(chat, 0) if isinstance(chat.messages[0], SystemMessage) else ""
        yield body(text)
        effort = (special(_MODE), scaffold(f"reasoning_effort:{self._effort}"))
        if chat.tools:
            yield scaffold(("\n\n" if text else "") + _TOOLS_HEAD)
            yield from (scaffold("\n" + json_text(tool.schema)) for tool in chat.tools)
            yield from _TOOLS_TAIL
        yield from effort

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. A leading system message belongs to the opening."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._answer(chat, index, message)
        if isinstance(message, ToolMessage):
            return _result(chat, index)
        if isinstance(message, UserMessage):
            return (special(_USER), body(content_text(chat, index)))
        if isinstance(message, SystemMessage) and not index:
            return ()
        raise unsupported_role(chat, index, "hy3", "a system message must be the first, and there is no developer")

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        last_user = chat.user_indices[-1] if chat.user_indices else -1
        is_last = index + 1 == len(chat.messages)
        if self.raw_last_assistant and is_last and not message.tool_calls:
            yield from (special(_ASSISTANT), body(content_text(chat, index)))
            return
        yield from (special(_ASSISTANT), special(_THINK))
        if self.keeps_reasoning(chat) or index > last_user:
            yield body(message.reasoning_content or "", "reasoning")
        yield special(_END_THINK)
        yield body(content_text(chat, index))
        if message.tool_calls:
            yield from _calls(message.tool_calls)
        if message.tool_calls or self.is_training or not is_last:
            yield special(_EOS)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the mark of an assistant and a think block, opened or empty. Nothing after its turn, or to retry."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        return () if self.fallback_strategy or chat.role(index - 1) == "assistant" else self.turn_opening()

    def turn_opening(self) -> Segments:
        """Return the mark of an assistant and a think block, opened or empty."""
        opened = (special(_ASSISTANT), special(_THINK))
        return (*opened, special(_END_THINK)) if self._effort == "no_think" else opened

    def ended(self, sampled: Sampled) -> Ended:
        """Return what closes a completion, with the calls that it made."""
        response = self.parse(sampled, ())
        calls = tuple(ToolCall(call.name or "", {}) for call in response.tool_calls)
        if sampled.segments and is_special(sampled.segments[-1], _EOS):
            return Ended(reasoning_open=not response.reasoning_complete, message=AssistantMessage("", tool_calls=calls))
        closing = () if response.reasoning_complete else self.reasoning.closing
        return Ended((*closing, special(_EOS)), bool(closing), AssistantMessage("", tool_calls=calls))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or text that is JSON is not text."""
        parts = read_parts(until(sampled, self.stop_tokens), self.reasoning, self.grammar, self.around, tools)
        return ParsedResponse(parts.content, parts.thought, parts.calls, parts.complete)


def _calls(calls: tuple[ToolCall, ...]) -> Iterator[Segment]:
    """Yield the calls of a turn in their block."""
    key, end_key, value, end_value = map(special, _PAIR)
    yield from (special(_BLOCK[0]), _LINE)
    for call in calls:
        yield from (special(_CALL[0]), body(call.name, "tool_name"), special(_NAMED), _LINE)
        for name, given in arguments_object(call).items():
            yield from (key, body(f"{name}", "tool_arguments"), end_key, _LINE)
            yield from (value, body(argument_text(given), "tool_arguments"), end_value, _LINE)
        yield from (special(_CALL[1]), _LINE)
    yield special(_BLOCK[1])


def _result(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield a tool result. The first after a turn's calls opens the results, the last before a turn closes them."""
    places = chat.once("result_places", _result_places)
    if index not in places:
        raise unsupported_role(chat, index, "hy3", "the last assistant turn before it must make a call")
    opens, closes = places[index]
    if opens:
        yield from (special(_RESULTS[0]), _LINE)
    yield from (special(_RESULT[0]), _LINE, body(content_text(chat, index)), _LINE, special(_RESULT[1]), _LINE)
    if closes:
        yield special(_RESULTS[1])


def _result_places(chat: Chat) -> Mapping[int, tuple[bool, bool]]:
    """Return for each result of a turn that calls whether it opens the results and whether it closes them."""
    places: dict[int, tuple[bool, bool]] = {}
    called, opened, before = False, False, None
    for index, message in enumerate(chat.messages):
        if isinstance(message, AssistantMessage):
            called, opened = bool(message.tool_calls), False
        elif isinstance(message, ToolMessage) and called:
            if before is not None:
                places[before] = (places[before][0], False)
            places[index], opened = (not opened, True), True
        before = index if index in places else None
    return places


FAMILY: Final = Hy3

MODELS: Final = {f"tencent/Hy3{kind}": Hy3() for kind in ("", "-FP8")}

TEMPLATES: Final = {"84437b9746423f04": Hy3()}
