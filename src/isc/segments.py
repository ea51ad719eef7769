"""Build and combine segment streams. No tokenizer is known here: functions from streams to streams."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from isc.errors import ConversationError
from isc.types import UNOWNED, Chat, Json, Segment, Segments, SystemMessage, TextPart, ToolCall

_LAST_LINE = re.compile(r".*\n", re.DOTALL)


@lru_cache(maxsize=4096)
def special(text: str) -> Segment:
    """One special token, by its spelling."""
    return Segment(text, "special")


def scaffold(text: str) -> Segment:
    """Text that the format adds."""
    return Segment(text)


def body(text: str) -> Segment:
    """Text that a caller's message says."""
    return Segment(text, "text", True)


@lru_cache(maxsize=1024)
def spelled(text: str, specials: tuple[str, ...]) -> tuple[Segment, ...]:
    """Fixed wording of a format, its specials taken as specials: never call it with caller data.

    >>> [segment.kind for segment in spelled("within <tool_call> tags", ("<tool_call>",))]
    ['text', 'special', 'text']
    """
    pattern = specials_pattern(specials)
    return tuple(
        special(piece) if position % 2 else scaffold(piece)
        for position, piece in enumerate(pattern.split(text))
        if piece
    )


@lru_cache(maxsize=256)
def specials_pattern(specials: tuple[str, ...]) -> re.Pattern[str]:
    """One group that matches the longest special at a position."""
    longest_first = sorted(specials, key=len, reverse=True)
    return re.compile("(" + ("|".join(map(re.escape, longest_first)) or r"(?!)") + ")")


def is_special(segment: Segment, *texts: str) -> bool:
    """Whether a segment is one of these specials."""
    return segment.kind == "special" and segment.text in texts


def owned(message: int, segments: Segments) -> Iterator[Segment]:
    """The stream as that message's, empty texts left out; a segment that already names its owner keeps it."""
    for segment in segments:
        if not segment.text:
            continue
        if segment.message == UNOWNED:
            yield Segment(segment.text, segment.kind, segment.body, message)
        else:
            yield segment


def opening_owner(chat: Chat) -> int:
    """Who owns the opening: the caller's leading system message, else nobody."""
    return 0 if chat.messages and isinstance(chat.messages[0], SystemMessage) else UNOWNED


def sampled(turn: Sequence[Segment], prompt: Segments, turn_close: str | None) -> Iterator[Segment]:
    """An assistant turn under law 4: what the generation prompt gave is scaffold, what the model samples is body.

    The prompt ends where turn and prompt part; where that is inside a line it is moved back to the line's start, since
    no prompt ends in the middle of one. What follows the turn close is scaffold.
    """
    head, tail = _split_prompt(turn, prompt)
    closes = [k for k, segment in enumerate(tail) if is_special(segment, turn_close or "")]
    last = closes[-1] if closes else len(tail) - 1
    yield from head
    for position, segment in enumerate(tail):
        if segment.body or position > last:
            yield segment
        else:
            yield Segment(segment.text, segment.kind, True, segment.message)


def _split_prompt(turn: Sequence[Segment], prompt: Segments) -> tuple[list[Segment], list[Segment]]:
    """The turn cut where its generation prompt ended."""
    expected = list(prompt)[::-1]
    head: list[Segment] = []
    for position, segment in enumerate(turn):
        if not expected or segment.body or segment.kind != expected[-1].kind:
            break
        if segment.kind == "special":
            if segment.text != expected.pop().text:
                break
            head.append(segment)
            continue
        shared, complete = _shared_text(segment.text, expected)
        if shared:
            head.append(Segment(segment.text[:shared], "text", False, segment.message))
        if not complete:
            rest = Segment(segment.text[shared:], "text", False, segment.message)
            return head, [rest, *turn[position + 1 :]]
    return head, list(turn[len(head) :])


def _shared_text(text: str, expected: list[Segment]) -> tuple[int, bool]:
    """How much of a text the prompt's next texts cover, and whether that is all of it; uses up what matched."""
    position = 0
    while position < len(text) and expected and expected[-1].kind == "text":
        wanted = expected.pop().text
        if text.startswith(wanted, position):
            position += len(wanted)
            continue
        if wanted.startswith(text[position:]):
            expected.append(scaffold(wanted[len(text) - position :]))
            return len(text), True
        line = _LAST_LINE.match(os.path.commonprefix((text[position:], wanted)))
        return position + (line.end() if line else 0), False
    return position, position == len(text)


def content_text(chat: Chat, index: int) -> str:
    """Content of message `index` as one text, for formats that know text only.

    Raises:
        ConversationError: The content has an image or another part that is not text.
    """
    content = chat.messages[index].content
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for position, part in enumerate(content or ()):
        if not isinstance(part, TextPart):
            path = f"messages[{index}].content[{position}]"
            raise ConversationError(path, f"this format takes text only, not {part.modality} parts", part.raw)
        texts.append(part.text)
    return "".join(texts)


def json_text(value: Json) -> str:
    """A value as the `tojson` filter of `apply_chat_template` prints it."""
    return json.dumps(value, ensure_ascii=False)


def arguments_text(call: ToolCall) -> str:
    """A call's arguments as JSON text: as they stand where the caller gave text."""
    return call.arguments if isinstance(call.arguments, str) else json_text(call.arguments)


def unsupported_role(chat: Chat, index: int, family: str, instead: str) -> ConversationError:
    """The error for a role that a format has no turn for."""
    return ConversationError(f"messages[{index}].role", f"{family} has no such turn; {instead}", chat.role(index))
