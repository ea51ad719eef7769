"""Nemotron 3: ChatML turns, a system turn always, tools and calls as XML, `<think></think>` where there is no thought.

Follows `nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16` (template sha256 ab7813c3abdd9cb6), `-Super-120B-A12B-BF16`
(575fb74f54ed264d: `low_effort`) and `-Ultra-550B-A55B-BF16` (82753bef5cedc493: `medium_effort`, no line breaks around
`</think>`). Nemotron 3.5 Lightning is inferred, no template of it being at hand: Ultra's turns without an effort.
Deviations: content None is no content, where the template prints "None" or fails; arguments given as JSON
text are read as the object they say, where the template fails; other parts than text are refused. A think tag that a
message spells stays the text it is. As the templates do, isc renders a tool result that stands first of all without the
head of its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal, TypeAlias

from isc._json import json_text
from isc.errors import OptionError
from isc.formats import _chatml as chatml
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar, read_parts
from isc.formats.reading.scanners import until
from isc.formats.reading.xml_calls import KEYS, PRINTED_XML_CALLS, TEXTS, TOOLS_HEAD, TOOLS_TAIL, printed, xml_calls
from isc.formats.segments import body, content_text, scaffold, special
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Json,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolMessage,
    ToolSpec,
)

Variant: TypeAlias = Literal["nano", "super", "ultra", "3.5"]

_END: Final = "</s>"
_LINE: Final = scaffold("\n")
_CLOSED: Final = (special(chatml.THINK), special(chatml.END_THINK))
_GLUED: Final = ("ultra", "3.5")
"""Variants without line breaks around `</think>`."""
_EFFORTS: Final = {"low_effort": ("super", "low"), "medium_effort": ("ultra", "efficient")}


class Nemotron3(Family, frozen=True, tag_field="family", tag="nemotron-3"):
    """The Nemotron 3 and 3.5 models.

    Args:
        variant: Whose template.
        enable_thinking: False makes the generation prompt answer with an empty think block.
        truncate_history_thinking: Take the thoughts off the turns before the last user message.
        low_effort: Super: ask for little reasoning after the last user message.
        medium_effort: Ultra: ask for efficient reasoning after the last user message.

    Raises:
        OptionError: The variant's template has no such option.

    >>> Nemotron3(variant="super", low_effort=True, truncate_history_thinking=False).keeps_history
    False
    """

    variant: Variant = "nano"
    enable_thinking: bool = True
    truncate_history_thinking: bool = True
    low_effort: bool = False
    medium_effort: bool = False

    specials: ClassVar[tuple[str, ...]] = (_END, *chatml.SPECIALS[1:])  # all but <|endoftext|>
    turn_close: ClassVar[str] = chatml.IM_END
    grammar: ClassVar[Grammar] = PRINTED_XML_CALLS
    one_prompt: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = chatml.XML_CALL_MARKERS
    stop_tokens: ClassVar[tuple[str, ...]] = (chatml.IM_END, _END)
    argument_keys: ClassVar[str] = KEYS
    argument_texts: ClassVar[str] = TEXTS

    def check_options(self) -> None:
        """Refuse options that this template does not have together."""
        for option, (variant, _) in _EFFORTS.items():
            if getattr(self, option) and self.variant != variant:
                raise OptionError(f"nemotron-3: the template of {self.variant} has no {option}; {variant} has")

    @property
    def keeps_history(self) -> bool:
        """Return whether no user message takes thoughts off the turns before it, or an effort off the one before it."""
        return not (self.truncate_history_thinking or self.low_effort or self.medium_effort)

    @property
    def reasoning(self) -> Reasoning:
        """Return think blocks. Their markers stand on lines of their own but for Ultra's close."""
        closing = (*self._line, special(chatml.END_THINK), *self._line)
        return Reasoning(chatml.THINK, chatml.END_THINK, closing, (chatml.TOOL_CALL,))

    @property
    def _line(self) -> tuple[Segment, ...]:
        return () if self.variant in _GLUED else (_LINE,)

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the system turn, empty where there is no text and there are no tools."""
        yield from chatml.im_start("system")
        text = content_text(chat, 0) if isinstance(chat.messages[0], SystemMessage) else ""
        yield body(text)
        if chat.tools:
            if text:
                yield scaffold("\n\n")
            yield TOOLS_HEAD
            for tool in chat.tools:
                yield scaffold("".join(_tool(tool)))
            yield from TOOLS_TAIL
        yield from chatml.CLOSE

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._answer(chat, index, message)
        if isinstance(message, ToolMessage):
            return chatml.tool_response_lines(chat, index)
        if isinstance(message, SystemMessage) and not index:
            return ()
        effort = next((text for option, (_, text) in _EFFORTS.items() if getattr(self, option)), None)
        asked = f"\n\n{{reasoning effort: {effort}}}" if effort and index == _last_user(chat) else ""
        said = (body(content_text(chat, index)), scaffold(asked))
        return (*chatml.im_start(ROLES[type(message)]), *said, *chatml.CLOSE)

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        yield from chatml.im_start("assistant")
        truncated = self.truncate_history_thinking and index < _last_user(chat)
        yield from self._without_thought(chat, index, message) if truncated else self._said(chat, index, message)
        if message.tool_calls:
            yield from xml_calls(message.tool_calls, printed, apart=_LINE)
            yield _LINE
        yield from chatml.CLOSE

    def _said(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield reasoning and content.

        An empty think block comes first where there is no reasoning and no tag in the content.
        """
        content, thought = content_text(chat, index), message.reasoning_content or ""
        if thought.strip():
            yield from (
                special(chatml.THINK),
                _LINE,
                body(thought, "reasoning"),
                *self._line,
                special(chatml.END_THINK),
            )
            if content.strip():
                yield from self._line
            yield body(content.rstrip())
        elif chatml.THINK in content or chatml.END_THINK in content:
            yield body(content.strip())
        else:
            yield from _CLOSED
            yield body(content.rstrip())

    def _without_thought(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield the kept part of a turn before the last user message: all after its last `</think>`, spelled or not."""
        content, thinks = content_text(chat, index), bool((message.reasoning_content or "").strip())
        opens, closes = chatml.THINK in content, chatml.END_THINK in content
        calls = bool(message.tool_calls)
        if not calls and not thinks and opens != closes:
            yield body(content.strip())
            return
        if closes:
            content = content.split(chatml.END_THINK)[-1]
        elif opens and not thinks:
            content = content.split(chatml.THINK)[0]
        yield from _CLOSED
        if not calls:
            if thinks and not closes and content.strip():
                yield from self._line
            content = content.rstrip()
        elif self.variant not in _GLUED:
            content = content.strip()
        yield body(content)

    def generation_prompt(self, chat: Chat) -> tuple[Segment, ...]:
        """Return the head of an assistant turn with its think block opened, or already closed."""
        return (*chatml.im_start("assistant"), *(chatml.OPEN_THINKING if self.enable_thinking else _CLOSED))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or text that is JSON, `True`, `False` or `None` is not text."""
        parts = read_parts(until(sampled, self.stop_tokens), self.reasoning, self.grammar, tools=tools)
        line, thought = "".join(segment.text for segment in self._line), parts.thought
        content = (parts.pieces[0].removeprefix(line) if thought else parts.pieces[0]) + parts.rest
        if thought and not (sampled.reasoning_open and self.enable_thinking):  # else the prompt broke the line
            thought = thought.removeprefix("\n")
        return ParsedResponse(content.rstrip(), thought and thought.removesuffix(line), parts.calls, parts.complete)


def _last_user(chat: Chat) -> int:
    return chat.user_indices[-1] if chat.user_indices else -1


def _tool(tool: ToolSpec) -> Iterator[str]:
    """Yield the lines of a tool as XML. A field that the format has no tag for is a tag of its own name."""
    function, parameters = tool.function, tool.function.get("parameters")
    yield f"\n<function>\n<name>{function['name']}</name>"
    if "description" in function:
        yield f"\n<description>{str(function['description']).strip()}</description>"
    yield "\n<parameters>"
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
    for name, fields in properties.items() if isinstance(properties, Mapping) else ():
        yield from _parameter(name, fields)
    yield from _others(parameters, ("type", "properties", "required"))
    if isinstance(parameters, Mapping) and "required" in parameters:
        yield f"\n<required>{json_text(parameters['required'])}</required>"
    yield "\n</parameters>"
    yield from _others(function, ("type", "name", "description", "parameters"))
    yield "\n</function>"


def _parameter(name: str, fields: Json) -> Iterator[str]:
    known_fields = fields if isinstance(fields, Mapping) else {}
    yield f"\n<parameter>\n<name>{name}</name>"
    if "type" in known_fields:
        yield f"\n<type>{known_fields['type']}</type>"
    if "description" in known_fields:
        yield f"\n<description>{str(known_fields['description']).strip()}</description>"
    if "enum" in known_fields:
        yield f"\n<enum>{json_text(known_fields['enum'])}</enum>"
    yield from _others(fields, ("name", "type", "description", "enum"))
    yield "\n</parameter>"


def _others(fields: Json, handled: tuple[str, ...]) -> Iterator[str]:
    for name, value in fields.items() if isinstance(fields, Mapping) else ():
        if name not in handled:
            yield f"\n<{name}>{printed(value)}</{name}>"


FAMILY: Final = Nemotron3

MODELS: Final = {
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": Nemotron3(),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8": Nemotron3(),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": Nemotron3(variant="super"),
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": Nemotron3(variant="ultra"),
    "nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16": Nemotron3(variant="3.5"),
}

TEMPLATES: Final = {
    "ab7813c3abdd9cb6": Nemotron3(),
    "575fb74f54ed264d": Nemotron3(variant="super"),
    "82753bef5cedc493": Nemotron3(variant="ultra"),
}
