"""Qwen with thinking switched off: every turn keeps the empty think block that its prompt gave.

The templates take it off again once another query follows, so that a rollout cannot be rendered anew as it was sampled.
`renderers` puts it back, and bridges at user turns; its callers count on that. The turn is then what the templates make
of it where it is the last. A turn with reasoning was sampled with thinking on, and is rendered as the template does.
"""

from __future__ import annotations

from itertools import chain

from msgspec import structs
from msgspec.structs import replace

from isc.conversation.bridge import turn_head
from isc.formats.base import Family
from isc.formats.qwen3 import Qwen3
from isc.formats.qwen3_5 import Qwen35
from isc.formats.qwen3_6 import Qwen36
from isc.formats.segments import is_special, owned
from isc.types import UNOWNED, AssistantMessage, Chat, Segment, Segments


def _with_block(family: Family, chat: Chat, index: int, turn: Segments, *, trims: bool) -> Segments:
    """Put what the generation prompt prefills at the head of an answer without reasoning, where it lacks that.

    Args:
        family: The format.
        chat: The conversation.
        index: The message.
        turn: What the format makes of it.
        trims: Whether reasoning that is white space is none.
    """
    message = chat.messages[index]
    if not isinstance(message, AssistantMessage) or _thinks(message, trims=trims):
        return turn
    prompt, head = tuple(family.generation_prompt(chat)), turn_head(family)
    segments = owned(UNOWNED, turn)
    prefilled = prompt[len(head) :]
    told = segments[len(head) : len(head) + 1]
    if not prefilled or (told and is_special(told[0], prefilled[0].text)):
        return segments  # it has a block, empty or of reasoning in its content
    return chain(segments[: len(head)], prefilled, _after_block(segments[len(head) :]))


def _thinks(message: AssistantMessage, *, trims: bool) -> bool:
    reasoning = message.reasoning_content or ""
    return bool(reasoning.strip() if trims else reasoning)


def _after_block(said: list[Segment]) -> list[Segment]:
    """Return a turn's content and calls without the line breaks at its head: the templates leave none after a block."""
    if not said or said[0].kind == "special":
        return said
    return [replace(said[0], text=said[0].text.lstrip("\n")), *said[1:]]


class KeepingQwen3(Qwen3, frozen=True, tag_field="family", tag="qwen3"):
    """Qwen3."""

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message, an answer without reasoning after an empty think block."""
        return _with_block(self, chat, index, super().turn(chat, index), trims=False)


class KeepingQwen35(Qwen35, frozen=True, tag_field="family", tag="qwen3.5"):
    """Qwen3.5."""

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message, an answer without reasoning after an empty think block."""
        return _with_block(self, chat, index, super().turn(chat, index), trims=True)


class KeepingQwen36(Qwen36, frozen=True, tag_field="family", tag="qwen3.6"):
    """Qwen3.6."""

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message, an answer without reasoning after an empty think block."""
        return _with_block(self, chat, index, super().turn(chat, index), trims=True)


def keeping(family: Family) -> Family:
    """Return a Qwen that was told not to think with its empty think blocks kept, any other family as it is.

    >>> type(keeping(Qwen3(enable_thinking=False))).__name__, keeping(Qwen3())
    ('KeepingQwen3', Qwen3(enable_thinking=True, variant='hybrid'))
    """
    kinds: dict[type[Family], type[Family]] = {Qwen3: KeepingQwen3, Qwen35: KeepingQwen35, Qwen36: KeepingQwen36}
    kind = kinds.get(type(family))
    return family if kind is None or getattr(family, "enable_thinking", True) else kind(**structs.asdict(family))


def keeps_blocks(family: Family) -> bool:
    """Return whether a family is one that `keeping` made."""
    return isinstance(family, (KeepingQwen3, KeepingQwen35, KeepingQwen36))
