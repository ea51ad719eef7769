"""Qwen2.5 and QwQ: ChatML turns and JSON calls in `<tool_call>`, a default identity, results in the user's turn.

Follows `Qwen/Qwen2.5-0.5B-Instruct` (template sha256 cd8e9439f0570856, that of 7B too). QwQ is inferred from one public
copy of the template of `Qwen/QwQ-32B`, read in November 2026: no identity, an open `<think>` in the prompt, and in
every turn but the last only what follows the last `</think>` of the content. The vocabulary of Qwen2.5 has no tokens
for the marks of results, which are text there; that of QwQ has. Deviations: content None is no content, and a content
list of text parts is joined, where the template fails; arguments given as JSON text are rendered as what the text says,
where the template quotes the text once more; a `developer` message is refused, where the template drops it. Reasoning
given apart is left out, as the templates do, but for QwQ's last turn, where it is a think block before the content.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec.structs import replace

from isc.formats import _chatml as chatml
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar, read_turn
from isc.formats.reading.scanners import until
from isc.formats.segments import arguments_written, body, content_text, scaffold
from isc.types import AssistantMessage, Chat, ParsedResponse, Reasoning, Sampled, Segment, Segments, ToolSpec

Variant: TypeAlias = Literal["2.5", "qwq"]

_IDENTITY: Final = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_RESPONSES: Final = (chatml.TOOL_RESPONSE, chatml.END_TOOL_RESPONSE)
_THINKING: Final = (chatml.THINK, chatml.END_THINK)


class Qwen25(Family, frozen=True, tag_field="family", tag="qwen2.5"):
    """The Qwen2.5 instruction-tuned text models and QwQ.

    Args:
        variant: Which template: that of Qwen2.5, or that of QwQ, which reasons.
        response_tokens: Whether the vocabulary has tokens for the marks of results; a renderer finds out itself.

    Raises:
        ConversationError: From `turn`, for a role without a turn.

    >>> Qwen25().reasoning is None, Qwen25(variant="qwq").keeps_history
    (True, False)
    """

    variant: Variant = "2.5"
    response_tokens: bool = False

    turn_close: ClassVar[str] = chatml.IM_END
    grammar: ClassVar[Grammar] = chatml.HERMES_CALLS
    one_prompt: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = _RESPONSES
    # generation_config.json of Qwen/Qwen2.5-0.5B-Instruct: 151645, 151643
    stop_tokens: ClassVar[tuple[str, ...]] = (chatml.IM_END, chatml.END_OF_TEXT)

    def for_vocabulary(self, specials: Collection[str]) -> Qwen25:
        """Return the same options, adapted to whether the marks of results are tokens of the vocabulary."""
        return replace(self, response_tokens=all(mark in specials for mark in _RESPONSES))

    @property
    def specials(self) -> tuple[str, ...]:
        """Return the marks that are tokens of every such vocabulary, then those of this one."""
        own = (chatml.END_OF_TEXT, chatml.IM_START, chatml.IM_END, chatml.TOOL_CALL, chatml.END_TOOL_CALL)
        return (*own, *(_RESPONSES if self.response_tokens else ()), *(_THINKING if self.variant == "qwq" else ()))

    @property
    def keeps_history(self) -> bool:
        """Return whether no reasoning is dropped, which holds for Qwen2.5."""
        return self.variant == "2.5"

    @property
    def reasoning(self) -> Reasoning | None:
        """Return QwQ's think blocks."""
        return chatml.THINK_REASONING if self.variant == "qwq" else None

    def opening(self, chat: Chat) -> Segments:
        """Yield the system turn: the system message, else Qwen2.5's identity, and the tools."""
        return chatml.hermes_opening(chat, _IDENTITY if self.variant == "2.5" else "")

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a user turn."""
        message = chat.messages[index]
        if self.variant == "qwq" and isinstance(message, AssistantMessage):
            return _qwq_answer(chat, index, message)
        turn = chatml.hermes_turn(chat, index, "qwen2.5", thinks=False, arguments=arguments_written)
        return turn if self.response_tokens or chat.role(index) != "tool" else tuple(map(_as_text, turn))

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn. QwQ's has an open think block."""
        head = chatml.im_start("assistant")
        return (*head, *chatml.OPEN_THINKING) if self.variant == "qwq" else head

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return read_turn(until(sampled, self.stop_tokens), self.reasoning, self.grammar, tools=tools)


def _as_text(segment: Segment) -> Segment:
    """Return a mark of a result as the text that it is where the vocabulary has no token for it."""
    return scaffold(segment.text) if segment.text in _RESPONSES and not segment.body else segment


def _qwq_answer(chat: Chat, index: int, message: AssistantMessage) -> list[Segment]:
    """Return an assistant's turn: the last as it is, an earlier one from after its reasoning on."""
    content, thought = content_text(chat, index), message.reasoning_content
    if index < len(chat.messages) - 1:
        said = [body(content.split(chatml.END_THINK)[-1].lstrip("\n"))]
    elif thought is None:
        said = [body(content)]
    else:
        said = [*chatml.think_block(thought), body(content.lstrip("\n"))]
    calls = chatml.hermes_calls(
        message.tool_calls, after=content if len(said) == 1 else chatml.THINK, arguments=arguments_written
    )
    return [*chatml.im_start("assistant"), *said, *calls, *chatml.CLOSE]


FAMILY: Final = Qwen25

_SIZES: Final = ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B")

MODELS: Final = {
    **{f"Qwen/Qwen2.5-{size}-Instruct": Qwen25() for size in _SIZES},
    "Qwen/QwQ-32B": Qwen25(variant="qwq"),
}

TEMPLATES: Final = {"cd8e9439f0570856": Qwen25()}
