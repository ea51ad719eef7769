"""Qwen3.8: Qwen3.6's turns, think blocks kept, told in the system turn how much to think.

Follows `Qwen/Qwen3.8-27B` (template sha256 c3cf9e34abf4f9e3). A think block that an answer's content spells stays
content. Deviations: arguments given as JSON text are rendered as what the text says, where the template raises for any
but the empty text; video parts, and images but in what users and tools say, are refused. As the template does, isc
refuses a conversation without a user query, a system message that is not the first and a `developer` message, and
renders a tool result that stands first of all without the head of its turn.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, TypeAlias

from isc.formats import _chatml as chatml
from isc.formats import _trimmed as trimmed
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar
from isc.formats.reading.xml_calls import KEYS, TEXTS, XML_CALLS
from isc.formats.segments import argument_text
from isc.types import Chat, ParsedResponse, Reasoning, Sampled, Segments, ToolSpec

Effort: TypeAlias = Literal["xhigh", "medium", "low"]

_INSTRUCTIONS: Final = {
    "xhigh": "Reasoning effort is set to xhigh. Please think carefully through the task, validate key assumptions, "
    "consider plausible alternatives, and prioritize correctness, consistency, and clarity in the final answer.",
    "medium": "",
    "low": "Reasoning effort is set to low. Keep your thinking brief and focused, moving directly to the conclusion "
    "without unnecessary elaboration.",
}


class Qwen38(Family, frozen=True, tag_field="family", tag="qwen3.8"):
    """The Qwen3.8 models.

    Args:
        enable_thinking: False makes the generation prompt answer with an empty think block, and the system turn say
            nothing of an effort.
        preserve_thinking: False renders think blocks only after the last user query.
        reasoning_effort: What the system turn asks for; `medium` says nothing there.
        add_vision_id: Number the images of the conversation (`Picture 1: `).

    Raises:
        ConversationError: From `opening`, where there is no user query; from `turn`, for a role without a turn.

    >>> Qwen38().keeps_history, Qwen38(preserve_thinking=False).keeps_history
    (True, False)
    """

    enable_thinking: bool = True
    preserve_thinking: bool = True
    reasoning_effort: Effort = "xhigh"
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
        """Yield the system turn, if there is an effort to tell, a system message that says something or a tool."""
        return trimmed.opening(chat, _INSTRUCTIONS[self.reasoning_effort] if self.enable_thinking else "")

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        return trimmed.turn(
            chat,
            index,
            "qwen3.8",
            argument_text,
            keeps_thinking=self.preserve_thinking,
            numbered=self.add_vision_id,
            splits_content=False,
        )

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn with its think block opened, or already closed."""
        return trimmed.generation_prompt(thinks=self.enable_thinking)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or text that is JSON is not text."""
        return trimmed.parse(sampled, tools, self.grammar)


FAMILY: Final = Qwen38

MODELS: Final = {"Qwen/Qwen3.8-27B": Qwen38(), "Qwen/Qwen3.8-27B-FP8": Qwen38()}

TEMPLATES: Final = {"c3cf9e34abf4f9e3": Qwen38()}
