"""GLM-5.1: the line-less turns of GLM-5, reasoning as it stands, empty think blocks where none was given, bare tools.

Follows `zai-org/GLM-5.1` (template sha256 03b1bbff20331e54). Tools are listed without their wrapper and without
`strict`, those with `defer_loading` not at all; lists of text are joined. Deviations: those of `glm4_5` on arguments as
JSON text, content None, other parts than text (here also `tool_reference`) and `developer` messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Final

from isc.formats import _glm as glm
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


class Glm51(Family, frozen=True, tag_field="family", tag="glm-5.1"):
    """The GLM-5.1 text models.

    Args:
        enable_thinking: False closes the think block in the generation prompt, and adds none to answers that lack one.
        clear_thinking: False keeps the reasoning of earlier turns, which a user message drops otherwise.

    Raises:
        OptionError: An option of another type or value.

    >>> Glm51().stop_tokens
    ('<|endoftext|>', '<|user|>', '<|observation|>')
    """

    enable_thinking: bool = True
    clear_thinking: bool = True

    specials: ClassVar[tuple[str, ...]] = glm.SPECIALS
    turn_close: ClassVar[None] = None  # the next role's marker closes a turn
    stop_tokens: ClassVar[tuple[str, ...]] = glm.STOP_TOKENS
    reasoning: ClassVar[Reasoning] = glm.REASONING

    @property
    def keeps_history(self) -> bool:
        """Return False: the messages after an answer without reasoning decide whether it shows an empty think block.

        `thinking_retention="all"` lets a bridge go on all the same.
        """
        return False

    def opening(self, chat: Chat) -> Segments:
        """Yield the beginning of every text."""
        return glm.START

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools in a system turn of their own."""
        return glm.tools_turn(chat, glm.bare_tools(chat), glm.ONE_LINE)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share an observation turn."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._assistant(chat, index, message)
        if isinstance(message, ToolMessage):
            response = glm.tool_response(content_text(chat, index), glm.ONE_LINE)
            return response if chat.role(index - 1) == "tool" else (glm.marker(chat, index, glm.OBSERVATION), *response)
        return glm.plain_turn(chat, index, "glm-5.1", glm.ONE_LINE)

    def _assistant(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        reasoning, content = message.reasoning_content, content_text(chat, index)
        if reasoning is None:
            reasoning, content = glm.split_inline_reasoning(content)
        if reasoning is None and self._thought(chat, index):
            reasoning = ""
        yield glm.marker(chat, index, glm.ASSISTANT)
        if reasoning is not None and not (self.clear_thinking and index < glm.last_user_index(chat)):
            yield glm.THINK
            yield body(reasoning, "reasoning")
        yield glm.END_THINK
        yield from glm.answer(content, message.tool_calls, glm.ONE_LINE)

    def _thought(self, chat: Chat, index: int) -> bool:
        """Return whether an answer without reasoning counts as one that thought nothing."""
        if index > glm.last_user_index(chat):
            return self.enable_thinking
        return not self.clear_thinking and _query_was_reasoned_about(chat, index)

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


def _query_was_reasoned_about(chat: Chat, index: int) -> bool:
    """Return whether another answer to the user message that `index` answers was given with reasoning."""
    return chat.once("reasoned_about", _reasoned_about)[index]


def _reasoned_about(chat: Chat) -> tuple[bool, ...]:
    """Return for each message whether one from the user message before it to the next was given with reasoning."""
    edges = (*chat.user_indices, len(chat.messages))
    reasoned = [False] * edges[0]
    for start, end in pairwise(edges):
        answers = chat.messages[start:end]
        thought = any(isinstance(one, AssistantMessage) and one.reasoning_content is not None for one in answers)
        reasoned += [thought] * (end - start)
    return tuple(reasoned)


FAMILY: Final = Glm51

MODELS: Final = {f"zai-org/GLM-5.1{kind}": Glm51() for kind in ("", "-FP8")}

TEMPLATES: Final = {"03b1bbff20331e54": Glm51()}
