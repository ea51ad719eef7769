"""GLM-4.7 and GLM-5: no line breaks, the prompt opens a think block, `</think>` alone where reasoning is not shown.

Follows `zai-org/GLM-5` and `zai-org/GLM-4.7-Flash` (one template, sha256 d63ad536c3c81880). Deviations: those of
`glm4_5` on arguments as JSON text, lists in tool results, content None, other parts than text and `developer` messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from isc._json import json_text
from isc.formats import _glm as glm
from isc.formats._chatml import split_inline_reasoning
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.formats.segments import body, content_text
from isc.types import (
    AssistantMessage,
    Chat,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    ToolMessage,
    ToolSpec,
)


class Glm5(Family, frozen=True, tag_field="family", tag="glm-5"):
    """The GLM-4.7 and GLM-5 text models.

    Args:
        enable_thinking: False closes the think block in the generation prompt.
        clear_thinking: False keeps the reasoning of earlier turns, which a user message drops otherwise.

    Raises:
        OptionError: An option of another type or value.

    >>> Glm5(clear_thinking=False).keeps_history
    True
    """

    enable_thinking: bool = True
    clear_thinking: bool = True

    specials: ClassVar[tuple[str, ...]] = glm.SPECIALS
    turn_close: ClassVar[None] = None  # the next role's marker closes a turn
    stop_tokens: ClassVar[tuple[str, ...]] = glm.STOP_TOKENS
    reasoning: ClassVar[Reasoning] = glm.REASONING

    @property
    def keeps_history(self) -> bool:
        """Return whether reasoning is not cleared."""
        return not self.clear_thinking

    def opening(self, chat: Chat) -> Segments:
        """Yield the beginning of every text."""
        return glm.START

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools in a system turn of their own."""
        return glm.tools_turn(chat, (json_text(tool.schema) for tool in chat.tools), glm.ONE_LINE)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share an observation turn."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._assistant(chat, index, message)
        if isinstance(message, ToolMessage):
            return glm.tool_responses(chat, index, glm.ONE_LINE)
        return glm.plain_turn(chat, index, "glm-5", glm.ONE_LINE)

    def _assistant(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        reasoning, content = message.reasoning_content, content_text(chat, index)
        if reasoning is None:
            reasoning, content = split_inline_reasoning(content)
        yield glm.marker(chat, index, glm.ASSISTANT)
        if reasoning and not (self.clear_thinking and index < glm.last_user_index(chat)):
            yield glm.THINK
            yield body(reasoning.strip(), "reasoning")
        yield glm.END_THINK
        yield from glm.answer(content, message.tool_calls, glm.ONE_LINE)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the assistant's marker and an open think block, or a closed one."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        return glm.generation_prompt(chat, index, glm.THINK if self.enable_thinking else glm.END_THINK)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return glm.parse(sampled, tools, glm.ONE_LINE)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return glm.FOLLOWS


FAMILY: Final = Glm5

_NAMES: Final = ("GLM-4.7", "GLM-4.7-FP8", "GLM-4.7-Flash", "GLM-5", "GLM-5-FP8")

MODELS: Final = {f"zai-org/{name}": Glm5() for name in _NAMES}

TEMPLATES: Final = {"d63ad536c3c81880": Glm5()}
