"""Qwen3.5: ChatML turns with trimmed texts, XML calls, a think block prefilled and kept after the last user query.

Follows `Qwen/Qwen3.5-9B` (template sha256 a4aee8afcf2e0711) and `Qwen/Qwen3.5-2B` (273d8e0e683b8850), which differ in
the default of `enable_thinking`. Deviations: arguments given as JSON text are rendered as what the text says, where the
template raises; video parts, and images but in what users and tools say, are refused. As the template does, isc refuses
a conversation without a user query, a system message that is not the first and a `developer` message, and renders a
tool result that stands first of all without the head of its turn.
"""

from __future__ import annotations

from typing import ClassVar, Final

from isc.formats import _chatml as chatml
from isc.formats import _trimmed as trimmed
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar
from isc.formats.reading.xml_calls import KEYS, PRINTED_XML_CALLS, TEXTS, printed
from isc.types import Chat, ParsedResponse, Reasoning, Sampled, Segments, ToolSpec


class Qwen35(Family, frozen=True, tag_field="family", tag="qwen3.5"):
    """The Qwen3.5 models.

    Args:
        enable_thinking: False makes the generation prompt answer with an empty think block, which is what the template
            of the 0.8B and 2B models does unless told otherwise.
        add_vision_id: Number the images of the conversation (`Picture 1: `).

    Raises:
        ConversationError: From `opening`, where there is no user query; from `turn`, for a role without a turn.

    >>> from isc.formats.catalogue import family_for
    >>> family_for("Qwen/Qwen3.5-2B")
    Qwen35(enable_thinking=False, add_vision_id=False)
    """

    enable_thinking: bool = True
    add_vision_id: bool = False

    specials: ClassVar[tuple[str, ...]] = trimmed.SPECIALS
    turn_close: ClassVar[str] = chatml.IM_END
    grammar: ClassVar[Grammar] = PRINTED_XML_CALLS
    one_prompt: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = chatml.XML_CALL_MARKERS
    stop_tokens: ClassVar[tuple[str, ...]] = trimmed.STOP_TOKENS
    argument_keys: ClassVar[str] = KEYS
    argument_texts: ClassVar[str] = TEXTS
    reasoning: ClassVar[Reasoning] = chatml.THINK_REASONING

    @property
    def keeps_history(self) -> bool:
        """Return False: a new user query takes the think blocks off the turns before it."""
        return False

    def opening(self, chat: Chat) -> Segments:
        """Yield the system turn, if there is a system message or there are tools."""
        return trimmed.opening(chat)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        numbered = self.add_vision_id
        return trimmed.turn(chat, index, "qwen3.5", printed, keeps_thinking=False, numbered=numbered)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn with its think block opened, or already closed."""
        return trimmed.generation_prompt(thinks=self.enable_thinking)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or text that is JSON, `True`, `False` or `None` is not text."""
        return trimmed.parse(sampled, tools, self.grammar)


FAMILY: Final = Qwen35

_LARGE: Final = ("27B", "35B-A3B", "122B-A10B", "397B-A17B")

MODELS: Final = {
    **{f"Qwen/Qwen3.5-{size}": Qwen35(enable_thinking=False) for size in ("0.8B", "2B")},
    **{f"Qwen/Qwen3.5-{size}": Qwen35() for size in ("4B", "9B")},
    **{f"Qwen/Qwen3.5-{size}{kind}": Qwen35() for size in _LARGE for kind in ("", "-FP8", "-GPTQ-Int4")},
}

TEMPLATES: Final = {
    "a4aee8afcf2e0711": Qwen35(),
    "273d8e0e683b8850": Qwen35(enable_thinking=False),
}
