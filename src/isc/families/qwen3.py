"""Qwen3: ChatML turns, JSON calls in `<tool_call>`, reasoning in `<think>` kept only after the last user query.

Follows `Qwen/Qwen3-8B` (template sha256 a55ee1b1660128b7), `Qwen3-30B-A3B-Instruct-2507` (64f85b198065d0fb) and
`Qwen3-30B-A3B-Thinking-2507` (3802169b2a02b81e). Deviations: a content list of text parts is joined, where the template
renders it as nothing; a `developer` message is refused, where the template drops it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from isc.errors import OptionError
from isc.families import _chatml as chatml
from isc.parse import bracketed_turn, json_call, until
from isc.segments import body, content_text, scaffold, special, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    SystemMessage,
    ToolMessage,
    ToolSpec,
)

Variant = Literal["hybrid", "instruct_2507", "thinking_2507"]


class Qwen3(Struct, frozen=True, tag_field="family", tag="qwen3"):
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

    def __post_init__(self) -> None:
        if not self.enable_thinking and self.variant == "thinking_2507":
            raise OptionError("qwen3: the thinking_2507 models cannot be told not to think; drop enable_thinking=False")

    @property
    def specials(self) -> tuple[str, ...]:
        """Every special the format spells."""
        return chatml.SPECIALS

    @property
    def turn_close(self) -> str:
        """What closes a turn."""
        return chatml.IM_END

    @property
    def stop_tokens(self) -> tuple[str, ...]:
        """Where sampling stops (`generation_config.json` of Qwen/Qwen3-8B: 151645, 151643)."""
        return (chatml.IM_END, chatml.END_OF_TEXT)

    @property
    def keeps_history(self) -> bool:
        """Only the instruct models' template never drops reasoning."""
        return self.variant == "instruct_2507"

    @property
    def reasoning(self) -> Reasoning | None:
        """Think blocks, where the variant has them."""
        return None if self.variant == "instruct_2507" else chatml.THINK_REASONING

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """The system turn, if there is a system message or there are tools."""
        system = content_text(chat, 0) if isinstance(chat.messages[0], SystemMessage) else None
        if chat.tools:
            yield from chatml.im_start("system")
            if system is not None:
                yield body(system)
                yield scaffold("\n\n")
            yield from chatml.hermes_tools(chat)
            yield from chatml.CLOSE
        elif system is not None:
            yield from chatml.im_turn("system", system)

    def turn(self, chat: Chat, index: int) -> Iterator[Segment]:
        """One message; results in a row share a user turn."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            yield from self._assistant(chat, index, message)
        elif isinstance(message, ToolMessage):
            yield from chatml.tool_response(chat, index)
        elif isinstance(message, DeveloperMessage):
            raise unsupported_role(chat, index, "qwen3", "use role 'system'")
        elif index or not isinstance(message, SystemMessage):
            yield from chatml.im_turn(str(chat.role(index)), content_text(chat, index))

    def _assistant(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        reasoning, content = message.reasoning_content, content_text(chat, index)
        if reasoning is None and self.reasoning:
            reasoning, content = chatml.split_inline_reasoning(content)
        yield from chatml.im_start("assistant")
        last = index == len(chat.messages) - 1
        if self.reasoning and (last or reasoning) and index > chatml.last_query_index(chat):
            yield from chatml.think_block(reasoning or "")
            yield body(content.lstrip("\n"))
        else:
            yield body(content)
        yield from chatml.hermes_calls(message.tool_calls, after=content)
        yield from chatml.CLOSE

    def generation_prompt(self, chat: Chat) -> Iterator[Segment]:
        """The head of an assistant turn and what the variant prefills of its think block."""
        yield from chatml.im_start("assistant")
        if self.variant == "thinking_2507":
            yield special(chatml.THINK)
            yield scaffold("\n")
        elif self.variant == "hybrid" and not self.enable_thinking:
            yield from chatml.NO_THINKING

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        turn = until(sampled, self.stop_tokens)
        markers = (chatml.TOOL_CALL, chatml.END_TOOL_CALL)
        return bracketed_turn(turn, self.reasoning, markers, json_call, tools)


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
