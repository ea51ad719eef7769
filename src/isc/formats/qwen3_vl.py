"""Qwen3-VL: Qwen3's turns and JSON calls; the thinking models reason, the instruct models do not.

Follows `Qwen/Qwen3-VL-8B-Instruct` (template sha256 3636d0f0bd6bef02) and `Qwen/Qwen3-VL-8B-Thinking`
(36e042fe45641f06). Deviations: video parts, and images but in what users and tools say, are refused; content `None` is
empty, where the templates raise; a `developer` message and, for the instruct models, a system message that is not the
first are refused, where the templates drop them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Final, Literal

from isc.formats import _chatml as chatml
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar, read_turn
from isc.formats.reading.scanners import until
from isc.formats.segments import body, content_text, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolSpec,
)

Variant = Literal["instruct", "thinking"]


class Qwen3VL(Family, frozen=True, tag_field="family", tag="qwen3-vl"):
    """The Qwen3-VL models.

    Args:
        variant: Which template: the instruct models', or the thinking models'.
        add_vision_id: Number the images of the conversation (`Picture 1: `).

    Raises:
        ConversationError: From `turn`, for a role without a turn.

    >>> Qwen3VL().reasoning is None, Qwen3VL(variant="thinking").keeps_history
    (True, False)
    """

    variant: Variant = "instruct"
    add_vision_id: bool = False

    specials: ClassVar[tuple[str, ...]] = (*chatml.SPECIALS, *chatml.VISION_SPECIALS)
    turn_close: ClassVar[str] = chatml.IM_END
    grammar: ClassVar[Grammar] = chatml.HERMES_CALLS
    one_prompt: ClassVar[bool] = True
    stop_tokens: ClassVar[tuple[str, ...]] = (chatml.IM_END, chatml.END_OF_TEXT)

    @property
    def keeps_history(self) -> bool:
        """Return whether there is no reasoning to drop, which holds for the instruct models' template only."""
        return self.variant == "instruct"

    @property
    def reasoning(self) -> Reasoning | None:
        """Return think blocks, where the variant has them."""
        return chatml.THINK_REASONING if self.variant == "thinking" else None

    def opening(self, chat: Chat) -> Segments:
        """Yield the system turn, if there is a system message or there are tools."""
        return chatml.hermes_opening(chat)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        message = chat.messages[index]
        if self.variant == "instruct" and isinstance(message, AssistantMessage):
            return _instruct_answer(chat, index, message)
        if self.variant == "instruct" and index and isinstance(message, SystemMessage):
            raise unsupported_role(chat, index, "qwen3-vl", "a system message must be the first")
        content = partial(chatml.vision_content, numbered=self.add_vision_id)
        return chatml.hermes_turn(chat, index, "qwen3-vl", content, thinks=self.variant == "thinking")

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn. The thinking models' has an open think block."""
        head = chatml.im_start("assistant")
        return (*head, *chatml.OPEN_THINKING) if self.variant == "thinking" else head

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return read_turn(until(sampled, self.stop_tokens), self.reasoning, self.grammar, tools=tools)


def _instruct_answer(chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
    """Yield an instruct model's turn. A list of parts sets calls off even where their texts are empty."""
    yield from chatml.im_start("assistant")
    yield body(content_text(chat, index))
    yield from chatml.hermes_calls(message.tool_calls, after=message.content)
    yield from chatml.CLOSE


FAMILY: Final = Qwen3VL

_SIZES: Final = ("2B", "4B", "8B", "32B", "30B-A3B", "235B-A22B")
_QUANTIZED: Final = ("", "-FP8")

MODELS: Final = {
    **{f"Qwen/Qwen3-VL-{size}-Instruct{kind}": Qwen3VL() for size in _SIZES for kind in _QUANTIZED},
    **{f"Qwen/Qwen3-VL-{size}-Thinking{kind}": Qwen3VL(variant="thinking") for size in _SIZES for kind in _QUANTIZED},
}

TEMPLATES: Final = {
    "3636d0f0bd6bef02": Qwen3VL(),
    "36e042fe45641f06": Qwen3VL(variant="thinking"),
}
