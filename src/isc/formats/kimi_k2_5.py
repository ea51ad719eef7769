"""Kimi K2.5 and K2.6: tools as TypeScript, a think block in every answer, reasoning kept after the last plain answer.

Follows `moonshotai/Kimi-K2.5` (template sha256 7c91e4b3578b518b; `tools_ts_str` by its FORMAT.md) and a reconstruction
of `moonshotai/Kimi-K2.6` (b4b2cd69d0c6611d: the same with `preserve_thinking`). Deviations: a call without an id gets
the native one, where the template renders none and so loses the function's name; videos, and images but in what users
and tools say, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from isc.errors import OptionError
from isc.formats import _kimi as kimi
from isc.formats.base import Family
from isc.formats.reading.grammars import Around, Grammar
from isc.formats.segments import text_content
from isc.types import (
    AssistantMessage,
    Chat,
    Json,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segments,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Variant = Literal["k2.5", "k2.6"]


class KimiK25(Family, frozen=True, tag_field="family", tag="kimi-k2.5"):
    """The Kimi K2.5 and K2.6 models.

    Args:
        thinking: False closes the think block in the generation prompt and drops all reasoning.
        preserve_thinking: True keeps all reasoning (K2.6).
        variant: Which model's template.

    Raises:
        OptionError: `preserve_thinking=True` with K2.5, whose template does not know it.

    >>> KimiK25(thinking=False).keeps_history
    True
    """

    thinking: bool = True
    preserve_thinking: bool = False
    variant: Variant = "k2.5"

    specials: ClassVar[tuple[str, ...]] = kimi.MEDIA_SPECIALS
    placeholders_per_image: ClassVar[int] = 1
    turn_close: ClassVar[str] = kimi.IM_END
    grammar: ClassVar[Grammar] = kimi.CALLS
    around: ClassVar[Around] = kimi.AROUND
    one_prompt: ClassVar[bool] = True
    stop_tokens: ClassVar[tuple[str, ...]] = kimi.STOP_TOKENS
    reasoning: ClassVar[Reasoning] = kimi.REASONING

    def check_options(self) -> None:
        """Refuse options that this template does not have together."""
        if self.preserve_thinking and self.variant == "k2.5":
            raise OptionError("kimi-k2.5: K2.5 cannot preserve_thinking; drop it, or say variant='k2.6'")

    @property
    def keeps_history(self) -> bool:
        """Return whether no later message drops reasoning: all of it is kept, or none."""
        return self.preserve_thinking or not self.thinking

    def opening(self, chat: Chat) -> Segments:
        """Yield nothing: a leading system message has a turn like any other."""
        return ()

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools in a turn of their own."""
        return kimi.tools_turn(kimi.tools_typescript(kimi.tools_json(chat))) if chat.tools else ()

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            keeps = self.preserve_thinking or index > chat.last_answer
            thinking = kimi.think_block(message.reasoning_content if self.thinking and keeps else None)
            return kimi.answer(chat, index, message, thinking, kimi.call_ids(chat, index, message))
        content = kimi.media_content if type(message) in (UserMessage, ToolMessage) else text_content
        return kimi.turn(chat, index, content)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn with its think block opened, or already closed."""
        return (*kimi.head("assistant"), *(kimi.OPEN_THINKING if self.thinking else kimi.NO_THINKING))

    def template_variables(self, chat: Chat) -> Mapping[str, Json]:
        """Return what the model's own tokenizer passes to the template for a chat: the tools sorted, and declared."""
        declared = kimi.tools_typescript(kimi.tools_json(chat)) if chat.tools else ""
        return {**kimi.template_variables(chat), "tools_ts_str": declared}

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return kimi.parse(sampled, tools, self.reasoning)


FAMILY: Final = KimiK25

MODELS: Final = {
    "moonshotai/Kimi-K2.5": KimiK25(),
    "moonshotai/Kimi-K2.6": KimiK25(variant="k2.6"),
}

TEMPLATES: Final = {
    "7c91e4b3578b518b": KimiK25(),
    "b4b2cd69d0c6611d": KimiK25(variant="k2.6"),
}
