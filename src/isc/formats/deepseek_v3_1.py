"""DeepSeek-V3.1: reasoning or not as the prompt says, bare JSON arguments, tool outputs without a section.

Follows `deepseek-ai/DeepSeek-V3.1` (template sha256 45690185067ea25c). History holds no reasoning: every answer to a
user is headed by `</think>`, but one marked `"prefix": true` when thinking, by `<think>`. Only a user is answered
after a generation prompt; after anything else the model goes on where the text ends.

Deviations: arguments given as objects are written as JSON, where the template fails; a list of text parts is joined and
content None is empty, where it fails. `developer` messages and `tools` are refused, where the template drops them.
`reasoning_content` is dropped, as the template drops reasoning in content: up to the first `</think>` of a turn that
neither calls nor follows a tool's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from isc.formats import _deepseek as deepseek
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.formats.reading.scanners import until
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
)

_REASONING: Final = Reasoning(
    deepseek.THINK, deepseek.END_THINK, (special(deepseek.END_THINK),), (deepseek.CALLS, deepseek.CALL)
)


class DeepSeekV31(Family, frozen=True, tag_field="family", tag="deepseek-v3.1"):
    """DeepSeek-V3.1.

    Args:
        thinking: Whether the generation prompt opens reasoning or closes it.

    Raises:
        OptionError: An option of another type or value.

    >>> DeepSeekV31(thinking=True).reasoning.opener
    '<think>'
    """

    thinking: bool = False

    specials: ClassVar[tuple[str, ...]] = (
        *deepseek.TURNS, deepseek.THINK, deepseek.END_THINK, *deepseek.CALLING
    )  # fmt: skip
    turn_close: ClassVar[str] = deepseek.EOS
    # generation_config.json of deepseek-ai/DeepSeek-V3.1: 1
    stop_tokens: ClassVar[tuple[str, ...]] = (deepseek.EOS,)

    @property
    def keeps_history(self) -> bool:
        """Return False: a later system message changes the opening. With thinking, a user's message drops reasoning."""
        return False

    @property
    def reasoning(self) -> Reasoning | None:
        """Return think blocks, where the prompt opens one."""
        return _REASONING if self.thinking else None

    def reads_key(self, key: str) -> bool:
        """Return whether the format reads a key of a message besides those that every format reads."""
        return key == "prefix"

    def opening(self, chat: Chat) -> Segments:
        """Yield BOS and every system message."""
        return deepseek.opening(chat, "deepseek-v3.1")

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._assistant(chat, index, message)
        if isinstance(message, ToolMessage):
            return deepseek.output(chat, index)
        return deepseek.plain_turn(chat, index, "deepseek-v3.1")

    def _assistant(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        before, content = chat.role(deepseek.previous(chat, index)), content_text(chat, index)
        if before == "user":
            yield special(deepseek.ASSISTANT)
            thinks = self.thinking and message.extra.get("prefix") and not message.tool_calls
            yield special(deepseek.THINK if thinks else deepseek.END_THINK)
        if message.tool_calls:
            yield body(content)
            yield special(deepseek.CALLS)
            for call in message.tool_calls:
                yield from deepseek.plain_call(call)
            yield from deepseek.CLOSE_CALLS
            return
        yield body(content if before == "tool" else content.split(deepseek.END_THINK, 1)[-1])
        yield special(deepseek.EOS)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the assistant's marker and what opens or closes reasoning, after a user's message only."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        if chat.role(deepseek.previous(chat, index)) != "user":
            return ()
        return special(deepseek.ASSISTANT), special(deepseek.THINK if self.thinking else deepseek.END_THINK)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        turn = until(sampled, self.stop_tokens)
        return deepseek.parse(turn, _REASONING, deepseek.PLAIN_CALLS, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return deepseek.follows(self.stop_tokens, _REASONING, deepseek.PLAIN_CALLS)


FAMILY: Final = DeepSeekV31

MODELS: Final = {"deepseek-ai/DeepSeek-V3.1": DeepSeekV31()}

TEMPLATES: Final = {"45690185067ea25c": DeepSeekV31()}
