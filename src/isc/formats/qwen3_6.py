"""Qwen3.6: Qwen3.5's turns, with argument values other than strings as JSON, and think blocks kept on demand.

Follows `Qwen/Qwen3.6-35B-A3B` (template sha256 e84f32a23fdda276). Deviations: arguments given as JSON text are rendered
as what the text says, where the template raises; video parts, and images but in what users and tools say, are refused.
As the template does, isc refuses a conversation without a user query, a system message that is not the first and a
`developer` message, and renders a tool result that stands first of all without the head of its turn.
"""

from __future__ import annotations

from typing import ClassVar, Final

from isc.formats import _chatml as chatml
from isc.formats import _trimmed as trimmed
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar
from isc.formats.reading.xml_calls import KEYS, TEXTS, XML_CALLS
from isc.formats.segments import argument_text
from isc.types import Chat, ParsedResponse, Reasoning, Sampled, Segments, ToolSpec


class Qwen36(Family, frozen=True, tag_field="family", tag="qwen3.6"):
    """The Qwen3.6 models.

    Args:
        enable_thinking: False makes the generation prompt answer with an empty think block.
        preserve_thinking: True renders a think block in every assistant turn, not only after the last user query, so
            that a conversation stays a prefix of every longer one.
        add_vision_id: Number the images of the conversation (`Picture 1: `).

    Raises:
        ConversationError: From `opening`, where there is no user query; from `turn`, for a role without a turn.

    >>> Qwen36(preserve_thinking=True).keeps_history
    True
    """

    enable_thinking: bool = True
    preserve_thinking: bool = False
    add_vision_id: bool = False

    specials: ClassVar[tuple[str, ...]] = trimmed.SPECIALS
    turn_close: ClassVar[str] = chatml.IM_END
    grammar: ClassVar[Grammar] = XML_CALLS
    one_prompt: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = chatml.XML_CALL_MARKERS
    stop_tokens: ClassVar[tuple[str, ...]] = trimmed.STOP_TOKENS
    argument_keys: ClassVar[str] = KEYS
    argument_texts: ClassVar[str] = TEXTS
    reasoning: ClassVar[Reasoning] = chatml.THINK_REASONING

    @property
    def keeps_history(self) -> bool:
        """Return whether every think block is kept."""
        return self.preserve_thinking

    def opening(self, chat: Chat) -> Segments:
        """Yield the system turn, if there is a system message or there are tools."""
        return trimmed.opening(chat)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        keeps, numbered = self.preserve_thinking, self.add_vision_id
        return trimmed.turn(chat, index, "qwen3.6", argument_text, keeps_thinking=keeps, numbered=numbered)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn with its think block opened, or already closed."""
        return trimmed.generation_prompt(thinks=self.enable_thinking)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or text that is JSON is not text."""
        return trimmed.parse(sampled, tools, self.grammar)


FAMILY: Final = Qwen36

MODELS: Final = {f"Qwen/Qwen3.6-{size}{kind}": Qwen36() for size in ("27B", "35B-A3B") for kind in ("", "-FP8")}

TEMPLATES: Final = {"e84f32a23fdda276": Qwen36()}
