"""GLM-5.2: GLM-5.1's turns, a first turn that says how much to think, a think block in every answer.

Follows `zai-org/GLM-5.2` (template sha256 172dc74a35e1752d). Reasoning stands as it is; images, videos and sounds of
users, tools and system messages are told by a reminder that the model cannot see them. Deviations: those of `glm4_5` on
arguments as JSON text, content None and `developer` messages; other parts than text in an answer, and `tool_reference`
parts, are refused.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, TypeAlias

from isc.formats import _glm as glm
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.types import AssistantMessage, Chat, ParsedResponse, Reasoning, Sampled, Segments, ToolMessage, ToolSpec

Effort: TypeAlias = Literal["max", "high"]


class Glm52(Family, frozen=True, tag_field="family", tag="glm-5.2"):
    """The GLM-5.2 text models.

    Args:
        enable_thinking: False closes the think block in the generation prompt, and tells no effort.
        clear_thinking: False keeps the reasoning of earlier turns, which a user message drops otherwise.
        reasoning_effort: What the first turn says.

    Raises:
        OptionError: An option of another type or value.

    >>> Glm52(clear_thinking=False).keeps_history
    True
    """

    enable_thinking: bool = True
    clear_thinking: bool = True
    reasoning_effort: Effort = "max"

    specials: ClassVar[tuple[str, ...]] = glm.SPECIALS
    turn_close: ClassVar[None] = None  # the next role's marker closes a turn
    stop_tokens: ClassVar[tuple[str, ...]] = glm.STOP_TOKENS
    reasoning: ClassVar[Reasoning] = glm.REASONING

    @property
    def keeps_history(self) -> bool:
        """Return whether reasoning is not cleared."""
        return not self.clear_thinking

    def opening(self, chat: Chat) -> Segments:
        """Yield the beginning of every text, and what a turn of its own says of the effort."""
        return glm.opening_with_effort(chat, self._effort)

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools in a system turn of their own."""
        return glm.effort_and_tools(chat, self._effort)

    @property
    def _effort(self) -> str | None:
        return self.reasoning_effort if self.enable_thinking else None

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share an observation turn."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return glm.blocked_answer(chat, index, message, clears=self.clear_thinking)
        if isinstance(message, ToolMessage):
            return glm.observation(chat, index, index)
        return glm.plain_turn(chat, index, "glm-5.2", glm.ONE_LINE, glm.content_or_reminder)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the assistant's marker and an open think block, or an empty one."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        return glm.generation_prompt(chat, index, glm.THINK, *(() if self.enable_thinking else (glm.END_THINK,)))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return glm.parse(sampled, tools, glm.ONE_LINE)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return glm.FOLLOWS


FAMILY: Final = Glm52

MODELS: Final = {f"zai-org/GLM-5.2{kind}": Glm52() for kind in ("", "-FP8")}

TEMPLATES: Final = {"172dc74a35e1752d": Glm52()}
