"""Kimi K2 Instruct and Thinking: a default system message, compact JSON tools, calls by their native ids.

Follows the reconstructed later template of `moonshotai/Kimi-K2-Instruct` (sha256 6e8e9062fe553590), its release-week
template (9fcc72b7c248a720) and `moonshotai/Kimi-K2-Thinking` (3b0ed4adbd8b6693). Deviations: a call without an id gets
the native one, where the later templates render none and so lose the function's name; images are refused. With the
release-week template text parts are joined and None is no content, which it shows as Python does in a tool result or in
an answer with calls; arguments given as JSON text are what the text says, which it quotes; a `developer` message is
refused, whose head it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal

from msgspec import structs

from isc.formats import _kimi as kimi
from isc.formats.base import Family
from isc.formats.reading.grammars import Around, Grammar
from isc.formats.segments import arguments_written, scaffold, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Json,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolSpec,
)

Variant = Literal["instruct", "instruct_2025_07", "thinking"]

_DEFAULT_SYSTEM: Final = "You are Kimi, an AI assistant created by Moonshot AI."
_DEFAULT_SYSTEM_2025_07: Final = "You are a helpful assistant"
_TYPED_LINE_BREAK: Final = r"\n"  # the template of 2025-07 has these two characters


class KimiK2(Family, frozen=True, tag_field="family", tag="kimi-k2"):
    """The Kimi K2 text models.

    Args:
        variant: Which template: the instruct models' later one, their release-week one, or the thinking model's.

    Raises:
        OptionError: An option of another type or value.

    >>> KimiK2(variant="thinking").keeps_history
    False
    """

    variant: Variant = "instruct"

    turn_close: ClassVar[str] = kimi.IM_END
    grammar: ClassVar[Grammar] = kimi.CALLS
    around: ClassVar[Around] = kimi.AROUND
    one_prompt: ClassVar[bool] = True
    stop_tokens: ClassVar[tuple[str, ...]] = kimi.STOP_TOKENS

    @property
    def specials(self) -> tuple[str, ...]:
        """Turn and call markers; think markers where the variant has them."""
        return kimi.THINKING_SPECIALS if self.variant == "thinking" else kimi.SPECIALS

    @property
    def keeps_history(self) -> bool:
        """Return whether nothing is dropped. The thinking model's reasoning is."""
        return self.variant != "thinking"

    @property
    def reasoning(self) -> Reasoning | None:
        """Return think blocks, where the variant has them."""
        return kimi.REASONING if self.variant == "thinking" else None

    def opening(self, chat: Chat) -> Segments:
        """Yield nothing: a leading system message has a turn like any other."""
        return ()

    def preamble(self, chat: Chat) -> Iterator[Segment]:
        """Yield the tools in a turn of their own, then the template's own system message where the caller has none."""
        if chat.tools:
            yield from kimi.tools_turn(kimi.tools_json(chat, compact=self.variant != "instruct_2025_07"))
        if isinstance(chat.messages[0], SystemMessage):
            return
        if self.variant == "instruct_2025_07":
            yield from kimi.system_turn(_DEFAULT_SYSTEM_2025_07)
        else:
            yield from kimi.system_turn(_DEFAULT_SYSTEM)
            if self.variant == "instruct":
                yield scaffold("\n")

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._answer(chat, index, message)
        return self._said(chat, index)

    def _said(self, chat: Chat, index: int) -> Segments:
        if self.variant != "instruct_2025_07":
            return kimi.turn(chat, index)
        if isinstance(chat.messages[index], DeveloperMessage):
            raise unsupported_role(chat, index, "kimi-k2 of 2025-07", "use role 'system'")
        return kimi.turn(chat, index, named=False, framed=_TYPED_LINE_BREAK)

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Segments:
        if self.variant == "instruct_2025_07":
            calls = tuple(structs.replace(call, arguments=arguments_written(call)) for call in message.tool_calls)
            ids = [kimi.native_id(call.name, place) for place, call in enumerate(calls)]
            return kimi.answer(chat, index, AssistantMessage(tool_calls=calls), (), ids)
        thinking: tuple[Segment, ...] = ()
        if self.variant == "thinking":
            dropped = index <= chat.last_answer
            thinking = kimi.think_block(None if dropped else message.reasoning_content)
        return kimi.answer(chat, index, message, thinking, kimi.call_ids(chat, index, message))

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn. The thinking model opens its think block itself."""
        return kimi.head("assistant")

    def template_variables(self, chat: Chat) -> Mapping[str, Json]:
        """Return what the model's own tokenizer passes to the template for a chat: the tools sorted by key."""
        return kimi.template_variables(chat)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return kimi.parse(sampled, tools, self.reasoning)


FAMILY: Final = KimiK2

MODELS: Final = {
    "moonshotai/Kimi-K2-Instruct": KimiK2(),
    "moonshotai/Kimi-K2-Instruct-0905": KimiK2(),
    "moonshotai/Kimi-K2-Thinking": KimiK2(variant="thinking"),
}

TEMPLATES: Final = {
    "6e8e9062fe553590": KimiK2(),
    "9fcc72b7c248a720": KimiK2(variant="instruct_2025_07"),
    "3b0ed4adbd8b6693": KimiK2(variant="thinking"),
}
