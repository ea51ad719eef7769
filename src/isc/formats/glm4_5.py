"""GLM-4.5 and 4.6: a line for everything, a think block in every answer, `/nothink` after what the user says.

Follows `zai-org/GLM-4.5` (template sha256 44f815868bf02fa4) and `zai-org/GLM-4.6` (46ca6d642d0c6e53, the same but for a
newline at its end). Deviations: arguments given as JSON text are read as the object they say, where the template fails;
an item of a tool result's list is rendered as its text, where the template prints a text part as a Python dict; content
None is no content, where the template prints "None"; other parts than text and `developer` messages are refused, where
the template drops them. A `/nothink` that a user types is text; only the option spells the token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from isc._json import json_text
from isc.formats import _glm as glm
from isc.formats._chatml import split_inline_reasoning
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.formats.segments import body, content_text, special
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
    UserMessage,
)

_NO_THINK: Final = "/nothink"
_NO_THINKING: Final = (glm.LINES, glm.THINK, glm.END_THINK)


class Glm45(Family, frozen=True, tag_field="family", tag="glm-4.5"):
    """The GLM-4.5 and GLM-4.6 text models.

    Args:
        enable_thinking: False ends user messages with `/nothink` and prefills an empty think block.

    Raises:
        OptionError: An option of another type or value.

    >>> Glm45(enable_thinking=False).specials[-1]
    '/nothink'
    """

    enable_thinking: bool = True

    specials: ClassVar[tuple[str, ...]] = (*glm.SPECIALS, _NO_THINK)
    turn_close: ClassVar[None] = None  # the next role's marker closes a turn
    # generation_config.json of zai-org/GLM-4.5: 151329, 151336, 151338
    stop_tokens: ClassVar[tuple[str, ...]] = glm.STOP_TOKENS
    reasoning: ClassVar[Reasoning] = glm.REASONING

    @property
    def keeps_history(self) -> bool:
        """Return False: a user message drops the reasoning before it."""
        return False

    def opening(self, chat: Chat) -> Segments:
        """Yield the beginning of every text."""
        return glm.START

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools in a system turn of their own."""
        return glm.tools_turn(chat, (json_text(tool.schema) for tool in chat.tools), glm.LINES)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share an observation turn."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._assistant(chat, index, message)
        if isinstance(message, ToolMessage):
            return glm.tool_responses(chat, index, glm.LINES)
        said = glm.plain_turn(chat, index, "glm-4.5", glm.LINES)
        if self.enable_thinking or not isinstance(message, UserMessage) or said[-1].text.endswith(_NO_THINK):
            return said
        return (*said, special(_NO_THINK))

    def _assistant(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        reasoning, content = message.reasoning_content, content_text(chat, index)
        if reasoning is None:
            reasoning, content = split_inline_reasoning(content)
        yield glm.marker(chat, index, glm.ASSISTANT)
        yield glm.LINES
        yield glm.THINK
        if index > glm.last_user_index(chat):
            yield body(reasoning.strip(), "reasoning")
        yield glm.END_THINK
        yield from glm.answer(content, message.tool_calls, glm.LINES)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the assistant's marker; without thinking, an empty think block."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        return glm.generation_prompt(chat, index, *(() if self.enable_thinking else _NO_THINKING))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return glm.parse(sampled, tools, glm.LINES)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return glm.FOLLOWS


FAMILY: Final = Glm45

_NAMES: Final = ("GLM-4.5", "GLM-4.5-Air", "GLM-4.6")

MODELS: Final = {f"zai-org/{name}{kind}": Glm45() for name in _NAMES for kind in ("", "-FP8")}

TEMPLATES: Final = {"44f815868bf02fa4": Glm45(), "46ca6d642d0c6e53": Glm45()}
