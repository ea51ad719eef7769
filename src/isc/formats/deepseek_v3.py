"""DeepSeek-V3 and V3-0324: no reasoning; calls fenced as JSON; tool outputs in sections.

Follows `deepseek-ai/DeepSeek-V3` (template sha256 3b8267e54b67df65) and `deepseek-ai/DeepSeek-V3-0324`
(22e97ba043dacf9d). Some of the first is odd, and is rendered as it is: a conversation has one section of calls and one
of outputs, whose first call has no close of its own and every later one has the turn's.

Deviations: arguments given as objects are written as JSON, where the templates fail; a list of text parts is joined and
content None is empty, where they fail. A turn of V3 with calls and empty content is a turn with calls, where the
template drops the calls; with any other content it is refused. `developer` messages and `tools` are refused, where the
templates drop them; `reasoning_content` is dropped as they drop it. A bridge opens a section of outputs of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Literal

from msgspec.structs import replace

from isc.formats import _deepseek as deepseek
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.formats.reading.scanners import find_special, until
from isc.formats.segments import body, content_text, is_special, special
from isc.types import (
    AssistantMessage,
    Chat,
    ParsedResponse,
    Sampled,
    Segment,
    Segments,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Variant = Literal["v3", "v3_0324"]


class DeepSeekV3(Family, frozen=True, tag_field="family", tag="deepseek-v3"):
    """The DeepSeek-V3 models of 2024-12 and 2025-03.

    Args:
        variant: Which template: that of V3, or that of V3-0324.

    Raises:
        OptionError: An option of another type or value.

    >>> DeepSeekV3().turn_close
    '<｜end▁of▁sentence｜>'
    """

    variant: Variant = "v3"

    specials: ClassVar[tuple[str, ...]] = (*deepseek.TURNS, *deepseek.CALLING, *deepseek.SECTIONS)
    turn_close: ClassVar[str] = deepseek.EOS
    # generation_config.json of deepseek-ai/DeepSeek-V3: 1
    stop_tokens: ClassVar[tuple[str, ...]] = (deepseek.EOS,)
    reasoning: ClassVar[None] = None

    @property
    def keeps_history(self) -> bool:
        """Return False: a turn after outputs changes their section, and a later system message the opening."""
        return False

    def opening(self, chat: Chat) -> Segments:
        """Yield BOS and every system message."""
        return deepseek.opening(chat, "deepseek-v3")

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results of V3 share a section all through the conversation."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._assistant(chat, index, message)
        if isinstance(message, ToolMessage):
            return self._output(chat, index)
        said = deepseek.plain_turn(chat, index, "deepseek-v3")
        if self.variant == "v3" or not isinstance(message, UserMessage):
            return said
        return (*said, special(deepseek.ASSISTANT))

    def _assistant(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield an answer, set off from a result after it that opens no section."""
        after = deepseek.following(chat, index)
        if not message.tool_calls:
            if self.variant == "v3" and chat.role(deepseek.previous(chat, index)) != "tool":
                yield special(deepseek.ASSISTANT)
            yield body(content_text(chat, index))
            yield special(deepseek.EOS)
        elif self.variant == "v3":
            yield from self._calls(chat, index)
        else:
            yield body(content_text(chat, index))
            yield special(deepseek.CALLS)
            yield from deepseek.fenced_calls(message.tool_calls)
            yield from deepseek.CLOSE_CALLS
        if chat.role(after) == "tool" and self._is_closed(chat, index) and not self._opens(chat, after):
            yield deepseek.NEWLINE

    def _calls(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield V3's calls. The first of a conversation opens the section, every other one closes the turn."""
        opened = deepseek.called_before(chat, index)
        for call in deepseek.said_alone(chat, index, "deepseek-v3"):
            if opened:
                yield from (deepseek.NEWLINE, *deepseek.fenced_call(call), *deepseek.CLOSE_CALLS)
            else:
                yield from (special(deepseek.ASSISTANT), special(deepseek.CALLS), *deepseek.fenced_call(call))
                opened = True

    def _is_closed(self, chat: Chat, index: int) -> bool:
        """Return whether a message is an assistant's turn with a close.

        A line break after the close belongs to that turn.
        """
        if chat.role(index) != "assistant":
            return False
        calls = deepseek.calls_of(chat, index)
        return self.variant != "v3" or len(calls) != 1 or deepseek.called_before(chat, index)

    def _opens(self, chat: Chat, index: int) -> bool:
        return deepseek.first_output(chat, index, by_section=self.variant != "v3")

    def _output(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield a result. The last before an answer, or of all, closes the section."""
        before, after = deepseek.previous(chat, index), deepseek.following(chat, index)
        if self._opens(chat, index):
            yield special(deepseek.OUTPUTS)
        elif not self._is_closed(chat, before):
            yield deepseek.NEWLINE
        yield from deepseek.output(chat, index)
        unclosed = self.variant == "v3" and deepseek.calls_of(chat, after)
        if chat.role(after) in ("assistant", None) and not unclosed:
            yield special(deepseek.END_OUTPUTS)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the assistant's marker; nothing after tool outputs, nor where V3-0324 gave it with the user's turn."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        last = chat.role(deepseek.previous(chat, index))
        given = ("tool",) if self.variant == "v3" else ("tool", "user")
        return () if last in given else (special(deepseek.ASSISTANT),)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        turn = _until_last_call(sampled) if self.variant == "v3" else until(sampled, self.stop_tokens)
        return deepseek.parse(turn, None, deepseek.FENCED_CALLS, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        if self.variant != "v3":
            return deepseek.follows(self.stop_tokens, None, deepseek.FENCED_CALLS)
        return replace(deepseek.follows((), None, deepseek.FENCED_CALLS), halts=self.stop_tokens)


def _until_last_call(sampled: Sampled) -> Sampled:
    """Cut a turn before the close that no further call follows. V3 has one after every call but the first."""
    segments = sampled.segments
    end = find_special(sampled, 0, deepseek.EOS)
    while end + 2 < len(segments) and segments[end + 1].text == "\n" and is_special(segments[end + 2], deepseek.CALL):
        end = find_special(sampled, end + 1, deepseek.EOS)
    return Sampled(segments[:end], sampled.starts[: end + 1], sampled.reasoning_open)


FAMILY: Final = DeepSeekV3

MODELS: Final = {
    "deepseek-ai/DeepSeek-V3": DeepSeekV3(),
    "deepseek-ai/DeepSeek-V3-0324": DeepSeekV3(variant="v3_0324"),
}

TEMPLATES: Final = {
    "3b8267e54b67df65": DeepSeekV3(),
    "22e97ba043dacf9d": DeepSeekV3(variant="v3_0324"),
}
