"""Laguna: tags that open and close turns, `</think>` prefilled unless it thinks, calls as pairs of key and value.

Follows `poolside/Laguna-XS.2` (template sha256 cefcef90515772c0), `poolside/Laguna-XS-2.1` (2d3c724b3c2e9eb7) and
`poolside/Laguna-S-2.1` (444819b8ad461287, which thinks by default and has `preserve_thinking`). `poolside/Laguna-M.1`
is inferred, no template of it being at hand: XS.2's turns without a system message of its own. The start mark and the
tags of answers and reasoning are tokens; of the other tags a vocabulary has those it has, to which a renderer fits the
family, and the rest is text. Deviations: a list of text parts is its text, where the template takes it for nothing;
arguments given as JSON text are read as the object they say, where the template fails; `developer` messages are
refused, where the template drops them, and so are calls beside content that spells none under
`render_assistant_messages_raw`.

Where `<tool_call>` is text, content that spells it reads as an attempted call. And nothing is quoted: a key with a tag
in it cannot be told apart, nor a value that spells what ends one, see `isc.formats.reading.tagged_calls`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec.structs import replace

from isc._json import json_text
from isc.errors import ConversationError, OptionError
from isc.formats._chatml import END_THINK, THINK, split_inline_reasoning
from isc.formats._shape import ANY
from isc.formats.base import Family
from isc.formats.reading.following import ANYWHERE, Follows, followed
from isc.formats.reading.grammars import Around, read_parts
from isc.formats.reading.scanners import reasoning_start, spelling, until
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.segments import (
    argument_text,
    arguments_object,
    body,
    content_text,
    scaffold,
    special,
    spelled,
    unsupported_role,
)
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    DeveloperMessage,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
)

Variant: TypeAlias = Literal["xs.2", "xs-2.1", "s-2.1", "m.1"]

_START: Final = "〈|EOS|〉"
_ANSWER: Final = ("<assistant>", "</assistant>")
_CALL: Final = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
_TURNS: Final = ("<system>", "</system>", "<user>", "</user>", "<tool_response>", "</tool_response>")
TAGS: Final = (*_TURNS, *_CALL)
"""The tags that are tokens where the vocabulary has them, and text elsewhere."""

_OPTIONS: Final = {"preserve_thinking": ("xs-2.1", "s-2.1"), "render_assistant_messages_raw": ("xs.2", "m.1")}
"""Options that some variants have."""

_DEFAULT_SYSTEM: Final = (
    "You are a helpful, conversationally-fluent assistant made by Poolside. You are here to be helpful to users "
    "through natural language conversations."
)
_TOOLS_HEAD: Final = (
    "### Tools\n\nYou may call functions to assist with the user query.\n"
    "All available function signatures are listed below:\n<available_tools>\n"
)
_THINK_FIRST: Final = "Wrap your thinking in '<think>', '</think>' tags, followed by a function call. "
_HOW_TO_CALL: Final = (
    "\n\n{}For each function call, return an unescaped XML-like object with function name and arguments within "
    "'<tool_call>' and '</tool_call>' tags, like here:\n{}<tool_call>function-name\n"
    "<arg_key>argument-key</arg_key>\n<arg_value>value-of-argument-key</arg_value>\n</tool_call>"
)


class LagunaXS2(Family, frozen=True, tag_field="family", tag="laguna-xs.2"):
    """The Laguna XS.2, XS-2.1, S-2.1 and M.1 models.

    Args:
        variant: Whose template.
        enable_thinking: Prefill `<think>` instead of `</think>`; for XS-2.1 and S-2.1 also keep the reasoning of every
            turn.
        preserve_thinking: XS-2.1 and S-2.1: keep the reasoning of every turn, whether the next is to think or not.
        render_assistant_messages_raw: XS.2 and M.1: take an assistant's content for the whole turn as it was sampled,
            tags included. They are the model's own only under `body_specials="parse"`; reasoning and calls are not
            rendered beside them, and a parsed turn's content is the whole turn.
        tokens: Which tags the vocabulary has as tokens; a renderer finds them itself.

    Raises:
        OptionError: The variant's template has no such option, or `tokens` holds something else than these tags.

    >>> LagunaXS2(variant="xs-2.1", enable_thinking=True).turn_close
    '</assistant>'
    """

    variant: Variant = "xs.2"
    enable_thinking: bool = False
    preserve_thinking: bool = False
    render_assistant_messages_raw: bool = False
    tokens: tuple[str, ...] = ()

    turn_close: ClassVar[str] = _ANSWER[1]
    one_prompt: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = (*TAGS, "<think>", "</think>", "<available_tools>", "</available_tools>")
    stop_tokens: ClassVar[tuple[str, ...]] = (_ANSWER[1], _START)
    keeps_history: ClassVar[bool] = True

    def check_options(self) -> None:
        """Refuse options that this template does not have together."""
        for option, variants in _OPTIONS.items():
            if getattr(self, option) and self.variant not in variants:
                having = " and ".join(variants)
                raise OptionError(f"laguna-xs.2: the template of {self.variant} has no {option}; {having} have")
        unknown = [tag for tag in self.tokens if tag not in TAGS]
        if unknown:
            raise OptionError(f"laguna-xs.2: {unknown[0]!r} is none of the tags {' '.join(TAGS)}")

    @property
    def argument_keys(self) -> str:
        """Return a pattern for names without a tag, since names with one cannot be told apart where tags are text."""
        return ANY if self.tokens else r"(?s:(?:(?!</?arg_|</?tool_call).)*)"

    @property
    def argument_texts(self) -> str:
        """Return a pattern for texts that leave tags whole. NFC composes the end of a tag that is text with U+0338."""
        return ANY if self.tokens else r"(?s:(?!\u0338|.*</arg_key>\s*<arg_value>).*)"

    def for_vocabulary(self, specials: Collection[str]) -> LagunaXS2:
        """Return the same options, adapted to the tags that are tokens of the vocabulary."""
        return replace(self, tokens=tuple(tag for tag in TAGS if tag in specials))

    @property
    def specials(self) -> tuple[str, ...]:
        """Return the tags that are always tokens, then those that are tokens of this vocabulary."""
        return (_START, *_ANSWER, THINK, END_THINK, *self.tokens)

    @property
    def reasoning(self) -> Reasoning | None:
        """Return a think block, or None where turns are rendered raw, which may leave the block open as they like."""
        return None if self.render_assistant_messages_raw else self._thinking

    @property
    def _thinking(self) -> Reasoning:
        """Return a think block. A call's opener ends the block too where the opener is a token."""
        closing = (*self._line, special(END_THINK), *self._line)
        return Reasoning(THINK, END_THINK, closing, tuple(tag for tag in _CALL[:1] if tag in self.tokens))

    @property
    def _calls(self) -> TaggedCalls:
        """Return the grammar of calls, whichever of its tags are tokens."""
        opener, closer, key, end_key, value, end_value = _CALL
        return TaggedCalls(opener, closer, "", key, end_key + value, end_value, self.tokens, marked=True)

    @property
    def _line(self) -> tuple[Segment, ...]:
        """Return the line break of XS.2 and M.1. The others have nothing there."""
        return (scaffold("\n"),) if self._breaks_lines else ()

    @property
    def _breaks_lines(self) -> bool:
        return self.variant in _OPTIONS["render_assistant_messages_raw"]

    def _tag(self, text: str) -> Segment:
        return special(text) if text in self.tokens else scaffold(text)

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the start mark, then the turn of system message, or a default, and tools. An empty turn is left out."""
        yield special(_START)
        says = isinstance(chat.messages[0], SystemMessage)
        text = content_text(chat, 0).rstrip() if says else "" if self.variant == "m.1" else _DEFAULT_SYSTEM
        old = self._breaks_lines
        if not (text or chat.tools or (self.enable_thinking and not old)):
            return
        yield self._tag("<system>")
        yield from self._line
        if text:
            yield from self._line
            yield body(text) if says else scaffold(text)
        if chat.tools:
            if text or old:
                yield scaffold("\n\n")
            yield scaffold(_TOOLS_HEAD)
            yield from (scaffold(json_text(tool.schema) + "\n") for tool in chat.tools)
            yield scaffold("</available_tools>")
            if old:
                thinks = (_THINK_FIRST, "<think> your thoughts here </think>\n") if self.enable_thinking else ("", "")
                yield from spelled(_HOW_TO_CALL.format(*thinks), self.specials)
        yield from self._line
        yield self._tag("</system>")
        yield scaffold("\n")

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message between its tags. A leading system message belongs to the opening."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._raw(chat, index, message) if self.render_assistant_messages_raw else self._answer(chat, index)
        if isinstance(message, DeveloperMessage):
            raise unsupported_role(chat, index, "laguna-xs.2", "use role 'system'")
        if isinstance(message, SystemMessage) and not index:
            return ()
        role = "tool_response" if isinstance(message, ToolMessage) else ROLES[type(message)]
        inside = (*self._line, body(content_text(chat, index)), *self._line)
        return self._tag(f"<{role}>"), *inside, self._tag(f"</{role}>"), scaffold("\n")

    def _answer(self, chat: Chat, index: int) -> Iterator[Segment]:
        message = chat.messages[index]
        assert isinstance(message, AssistantMessage)
        yield special(_ANSWER[0])
        yield from self._line
        content, thought = content_text(chat, index), message.reasoning_content or ""
        if self._breaks_lines:
            content, thought, thinks = _without_inline_reasoning(content, thought)
        else:
            thinks = self.enable_thinking or self.preserve_thinking
        if thinks:
            yield from (special(THINK), *self._line, body(thought, "reasoning"), *self._line)
        yield special(END_THINK)
        yield from self._line
        if content:
            yield body(content)
            yield from self._line
        for call in message.tool_calls:
            yield from self._call(call)
            yield from self._line
        yield special(_ANSWER[1])
        yield scaffold("\n")

    def _call(self, call: ToolCall) -> Iterator[Segment]:
        opener, closer, key, end_key, value, end_value = map(self._tag, _CALL)
        yield from (opener, body(call.name, "tool_name"), *self._line)
        for name, given in arguments_object(call).items():
            yield from (key, body(f"{name}", "tool_arguments"), end_key, *self._line)
            yield from (value, body(argument_text(given), "tool_arguments"), end_value, *self._line)
        yield closer

    def _raw(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield content unchanged.

        Add the prompt's text before it and the turn's close, unless the content spells them.
        """
        content = content_text(chat, index)
        if message.tool_calls and _CALL[0] not in content:
            problem = f"render_assistant_messages_raw renders content alone; spell the calls there ({_CALL[0]} ...)"
            raise ConversationError(f"messages[{index}].tool_calls", problem)
        *head, prefilled = self.generation_prompt(chat)
        yield from head
        if not content.startswith(prefilled.text):
            yield prefilled
        yield body(content)
        if not content.endswith((_ANSWER[1], _ANSWER[1] + "\n")):
            yield from (scaffold("\n"), special(_ANSWER[1]))
        yield scaffold("\n")

    def generation_prompt(self, chat: Chat) -> tuple[Segment, ...]:
        """Return the tag of an answer and a think block's opener, or its close."""
        return (special(_ANSWER[0]), *self._line, special(THINK if self.enable_thinking else END_THINK))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        whole = until(sampled, self.stop_tokens)
        turn = whole
        if self.render_assistant_messages_raw:
            opened = self.enable_thinking and reasoning_start(turn.segments, THINK) is None
            turn = replace(turn, reasoning_open=opened)
        texts = Around(text_enders=tuple(tag for tag in _CALL[:1] if tag not in self.tokens))
        parts = read_parts(turn, self._thinking, self._calls, texts, tools)
        thought, content = parts.thought, parts.content
        if self._breaks_lines:
            thought, content = thought and thought.strip(), content.strip()
        if self.render_assistant_messages_raw:
            content = spelling(whole.segments).removesuffix("\n")
        return ParsedResponse(content, thought, parts.calls, parts.complete)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        if self.render_assistant_messages_raw:
            return Follows(self.stop_tokens, begins=ANYWHERE)
        texts = Around(text_enders=tuple(tag for tag in _CALL[:1] if tag not in self.tokens))
        return followed(self.stop_tokens, self._calls, self._thinking, texts)


def _without_inline_reasoning(content: str, thought: str) -> tuple[str, str, bool]:
    """Split content that spells reasoning; return both trimmed, and whether there is reasoning.

    Given reasoning wins.
    """
    inline, content = split_inline_reasoning(content)
    thought = thought or inline
    return content.strip(), thought.strip(), bool(thought)


FAMILY: Final = LagunaXS2

_S21: Final = LagunaXS2(variant="s-2.1", enable_thinking=True)

MODELS: Final = {
    "poolside/Laguna-XS.2": LagunaXS2(),
    "poolside/Laguna-XS-2.1": LagunaXS2(variant="xs-2.1"),
    "poolside/Laguna-S-2.1": _S21,
    "poolside/Laguna-M.1": LagunaXS2(variant="m.1"),
}

TEMPLATES: Final = {
    "cefcef90515772c0": LagunaXS2(),
    "2d3c724b3c2e9eb7": LagunaXS2(variant="xs-2.1"),
    "444819b8ad461287": _S21,
}
