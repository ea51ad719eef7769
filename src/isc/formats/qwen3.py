"""Qwen3: ChatML turns, JSON calls in `<tool_call>`, reasoning in `<think>` kept only after the last user query.

Follows `Qwen/Qwen3-8B` (template sha256 a55ee1b1660128b7), `Qwen3-30B-A3B-Instruct-2507` (64f85b198065d0fb) and
`Qwen3-30B-A3B-Thinking-2507` (3802169b2a02b81e). Deviations: a content list of text parts is joined, where the template
renders it as nothing; a `developer` message is refused, where the template drops it.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from isc.errors import OptionError
from isc.formats import _chatml as chatml
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar, read_turn
from isc.formats.reading.scanners import until
from isc.types import Chat, ParsedResponse, Reasoning, Sampled, Segments, ToolSpec

Variant = Literal["hybrid", "instruct_2507", "thinking_2507"]


class Qwen3(Family, frozen=True, tag_field="family", tag="qwen3"):
    """The Qwen3 text models.

    Args:
        enable_thinking: False makes the generation prompt answer with an empty think block (hybrid models only).
        variant: Which template: the hybrid models of 2025-04, or the instruct or thinking models of 2025-07.

    Raises:
        OptionError: `enable_thinking=False` with a variant that always thinks.

    >>> Qwen3(enable_thinking=False).variant
    'hybrid'
    """

    enable_thinking: bool = True
    variant: Variant = "hybrid"

    specials: ClassVar[tuple[str, ...]] = chatml.SPECIALS
    turn_close: ClassVar[str] = chatml.IM_END
    grammar: ClassVar[Grammar] = chatml.HERMES_CALLS
    one_prompt: ClassVar[bool] = True
    # generation_config.json of Qwen/Qwen3-8B: 151645, 151643
    stop_tokens: ClassVar[tuple[str, ...]] = (chatml.IM_END, chatml.END_OF_TEXT)

    def check_options(self) -> None:
        """Refuse options that this template does not have together."""
        if not self.enable_thinking and self.variant == "thinking_2507":
            raise OptionError("qwen3: the thinking_2507 models cannot be told not to think; drop enable_thinking=False")

    @property
    def keeps_history(self) -> bool:
        """Return whether reasoning is never dropped, which holds for the instruct models' template only."""
        return self.variant == "instruct_2507"

    @property
    def reasoning(self) -> Reasoning | None:
        """Return think blocks, where the variant has them."""
        return None if self.variant == "instruct_2507" else chatml.THINK_REASONING

    def opening(self, chat: Chat) -> Segments:
        """Yield the system turn, if there is a system message or there are tools."""
        return chatml.hermes_opening(chat)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        return chatml.hermes_turn(chat, index, "qwen3", thinks=self.reasoning is not None)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn and what the variant prefills of its think block."""
        head = chatml.im_start("assistant")
        if self.variant == "thinking_2507":
            return (*head, *chatml.OPEN_THINKING)
        if self.variant == "hybrid" and not self.enable_thinking:
            return (*head, *chatml.NO_THINKING)
        return head

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return read_turn(until(sampled, self.stop_tokens), self.reasoning, self.grammar, tools=tools)


FAMILY: Final = Qwen3

_HYBRID: Final = ("0.6B", "1.7B", "4B", "8B", "14B", "32B", "30B-A3B", "235B-A22B")
_QUANTIZED: Final = ("", "-FP8")
_REFRESHED: Final = ("Qwen3-4B", "Qwen3-30B-A3B", "Qwen3-235B-A22B")

MODELS: Final = {
    **{f"Qwen/Qwen3-{size}{kind}": Qwen3() for size in _HYBRID for kind in _QUANTIZED},
    **{
        f"Qwen/{size}-Instruct-2507{kind}": Qwen3(variant="instruct_2507") for size in _REFRESHED for kind in _QUANTIZED
    },
    **{
        f"Qwen/{size}-Thinking-2507{kind}": Qwen3(variant="thinking_2507") for size in _REFRESHED for kind in _QUANTIZED
    },
    "Qwen/Qwen3-Next-80B-A3B-Instruct": Qwen3(variant="instruct_2507"),
    "Qwen/Qwen3-Next-80B-A3B-Thinking": Qwen3(variant="thinking_2507"),
}

TEMPLATES: Final = {
    "a55ee1b1660128b7": Qwen3(),
    "87a2728cb8dc9fe4": Qwen3(),
    "64f85b198065d0fb": Qwen3(variant="instruct_2507"),
    "3802169b2a02b81e": Qwen3(variant="thinking_2507"),
}
