"""DeepSeek-R1: V3's turns with reasoning, which the prompt opens and history drops.

Follows `deepseek-ai/DeepSeek-R1` (template sha256 563b1ce7d61d50a9) and its first revision, whose prompt does not open
reasoning (3a3036eeb96ca0e4). A conversation has one section of calls and one of outputs: only its first calls and its
first outputs open one, which is odd and is rendered as it is. After outputs there is no generation prompt.

Deviations: arguments given as objects are written as JSON, where the template fails; a list of text parts is joined and
content None is empty, where it fails. Content beside calls is refused where the template drops it, in every turn with
calls but the first; so are `developer` messages and `tools`. `reasoning_content` is dropped, as the template drops
reasoning in content: up to the last `</think>` of an answer to a user. A bridge opens a section of outputs of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Literal

from isc.formats import _deepseek as deepseek
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.formats.reading.scanners import until
from isc.formats.segments import body, content_text, scaffold, special
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

Variant = Literal["think_prefill", "no_prefill"]

_OPEN_THINKING: Final = (special(deepseek.THINK), scaffold("\n"))
_CLOSING: Final = (scaffold("\n"), special(deepseek.END_THINK), scaffold("\n\n"))


class DeepSeekR1(Family, frozen=True, tag_field="family", tag="deepseek-r1"):
    """DeepSeek-R1.

    Args:
        variant: Which revision of the template: whether the generation prompt opens reasoning.

    Raises:
        OptionError: An option of another type or value.

    >>> DeepSeekR1(variant="no_prefill").reasoning.opener
    '<think>'
    """

    variant: Variant = "think_prefill"

    specials: ClassVar[tuple[str, ...]] = (
        *deepseek.TURNS, deepseek.THINK, deepseek.END_THINK, *deepseek.CALLING, *deepseek.SECTIONS
    )  # fmt: skip
    turn_close: ClassVar[str] = deepseek.EOS
    # generation_config.json of deepseek-ai/DeepSeek-R1: 1
    stop_tokens: ClassVar[tuple[str, ...]] = (deepseek.EOS,)
    reasoning: ClassVar[Reasoning] = Reasoning(
        deepseek.THINK, deepseek.END_THINK, _CLOSING, (deepseek.CALLS, deepseek.CALL)
    )

    @property
    def keeps_history(self) -> bool:
        """Return False: the turn after drops the reasoning that was sampled."""
        return False

    def opening(self, chat: Chat) -> Segments:
        """Yield BOS and every system message."""
        return deepseek.opening(chat, "deepseek-r1")

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results share a section all through the conversation."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._calls(chat, index) if message.tool_calls else self._answer(chat, index)
        if isinstance(message, ToolMessage):
            return self._output(chat, index)
        return deepseek.plain_turn(chat, index, "deepseek-r1")

    def _answer(self, chat: Chat, index: int) -> Iterator[Segment]:
        content = content_text(chat, index)
        if chat.role(deepseek.previous(chat, index)) != "tool":
            yield special(deepseek.ASSISTANT)
            content = content.split(deepseek.END_THINK)[-1]
        yield body(content)
        yield special(deepseek.EOS)

    def _calls(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield the calls of a turn. The first turn with calls opens their section.

        Each later call is on a line of its own.
        """
        opened = deepseek.called_before(chat, index)
        if opened:
            calls = deepseek.said_alone(chat, index, "deepseek-r1")
        else:
            yield special(deepseek.ASSISTANT)
            yield body(content_text(chat, index))
            yield special(deepseek.CALLS)
            calls = deepseek.calls_of(chat, index)
        yield from deepseek.fenced_calls(calls, on_new_line=opened)
        yield from deepseek.CLOSE_CALLS

    def _output(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield a result. The first of all opens the section.

        The last before an answer, or of all, closes the section.
        """
        after = deepseek.following(chat, index)
        if deepseek.first_output(chat, index, by_section=False):
            yield special(deepseek.OUTPUTS)
        yield from deepseek.output(chat, index)
        if chat.role(after) in ("assistant", None) and not deepseek.calls_of(chat, after):
            yield special(deepseek.END_OUTPUTS)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the assistant's marker and the opener of reasoning; nothing after tool outputs."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        if chat.role(deepseek.previous(chat, index)) == "tool":
            return ()
        return (special(deepseek.ASSISTANT), *(_OPEN_THINKING if self.variant == "think_prefill" else ()))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; line breaks around reasoning are the format's."""
        turn = until(sampled, self.stop_tokens)
        response = deepseek.parse(turn, self.reasoning, deepseek.FENCED_CALLS, tools)
        if response.reasoning_content is None:
            return response
        thought, content = response.reasoning_content.strip("\n"), response.content.lstrip("\n")
        return ParsedResponse(content, thought, response.tool_calls, response.reasoning_complete)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return deepseek.follows(self.stop_tokens, self.reasoning, deepseek.FENCED_CALLS)


FAMILY: Final = DeepSeekR1

MODELS: Final = {"deepseek-ai/DeepSeek-R1": DeepSeekR1()}

TEMPLATES: Final = {"563b1ce7d61d50a9": DeepSeekR1(), "3a3036eeb96ca0e4": DeepSeekR1(variant="no_prefill")}
