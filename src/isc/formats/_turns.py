"""A conversation turn by turn: whose each turn is, and what of it is sampled (law 4)."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from isc.formats._parts import Frame, given_parts, planned_parts
from isc.formats.segments import joined, owned
from isc.types import Segment, Segments

_LAST_LINE = re.compile(r".*\n", re.DOTALL)


class Turn(Struct, frozen=True):
    """A turn as the format spells it.

    Attributes:
        message: The owner of every segment that names none.
        segments: The segments, some perhaps empty.
        start: The first segment that is sampled.
        end: The first behind those, 0 where nothing is sampled.
    """

    message: int
    segments: Sequence[Segment]
    start: int = 0
    end: int = 0

    def owned(self) -> list[Segment]:
        """Return the segments with their owners, what is sampled as body."""
        if not self.end:
            return owned(self.message, self.segments)
        segments = owned(self.message, self.segments[: self.start])
        segments += as_body(self.segments[self.start : self.end], self.message)
        segments += owned(self.message, self.segments[self.end :])
        return segments

    def with_parts(self, roles: Sequence[str], frame: Frame) -> list[Segment]:
        """Return the same, each body with its part (law 10)."""
        if not self.end:
            return given_parts(owned(self.message, self.segments), roles)
        said = [segment for segment in self.segments[self.start : self.end] if segment.text]
        before, after = self.segments[: self.start], self.segments[self.end :]
        return [
            *given_parts(owned(self.message, before), roles),
            *planned_parts(said, self.message, frame),
            *given_parts(owned(self.message, after), roles),
        ]


class Turns:
    """A conversation, to be read once: by turns, or by the owned segments of all of them.

    Args:
        turns: The turns.
        roles: The role of each message.
        frame: What tells the parts of what is sampled; None where no segment is to say its part.
    """

    def __init__(self, turns: Iterable[Turn], roles: Sequence[str], frame: Frame | None = None) -> None:
        self.turns = turns
        self.roles = roles
        self.frame = frame

    def __iter__(self) -> Iterator[Segment]:
        for turn in self.turns:
            yield from turn.owned() if self.frame is None else turn.with_parts(self.roles, self.frame)


def cut_turn(turn: Segments, prompt: Segments, turn_close: str | None, message: int) -> Turn:
    """Split an assistant turn under law 4: the generation prompt's part is scaffold, the sampled part is body.

    The prompt ends where turn and prompt part; where that is inside a line it is moved back to the line's start, since
    no prompt ends in the middle of one. What follows the turn close is scaffold. All are `message`'s.
    """
    segments, start = _split_prompt(_listed(turn), _listed(prompt))
    end = len(segments)
    for position in range(end - 1, start - 1, -1):
        if segments[position].text == turn_close and segments[position].kind == "special":
            end = position + 1
            break
    return Turn(message, segments, start, end)


def given_turn(message: int, segments: Segments) -> Turn:
    """Return a turn of which nothing is sampled."""
    return Turn(message, segments if isinstance(segments, (list, tuple)) else list(segments))


def _listed(segments: Segments) -> list[Segment]:
    """Return segments as a list. A list is not copied: nothing here changes one that it was given."""
    return segments if isinstance(segments, list) else list(segments)


def as_body(segments: Sequence[Segment], message: int) -> list[Segment]:
    """Make all of it the message's body, texts between specials one text."""
    merged: list[Segment] = []
    texts: list[str] = []
    for segment in segments:
        if segment.kind == "text":
            texts.append(segment.text)
            continue
        if any(texts):
            merged.append(Segment("".join(texts), "text", True, message))
        texts = []
        merged.append(Segment(segment.text, "special", True, message, segment.repeat, segment.media))
    if any(texts):
        merged.append(Segment("".join(texts), "text", True, message))
    return merged


def _split_prompt(turn: list[Segment], prompt: list[Segment]) -> tuple[Sequence[Segment], int]:
    """Return a turn and the place behind its generation prompt. Only scaffold can have come from the prompt."""
    same = len(prompt)
    if turn[:same] != prompt:
        same = _equal_segments(turn, prompt)
        if any(map(_may_be_cut, (*turn[same : same + 1], *prompt[same : same + 1]))):
            turn, prompt = (joined(segment for segment in part if segment.text) for part in (turn, prompt))
            same = _equal_segments(turn, prompt)
    if same in (len(prompt), len(turn)) or "special" in (turn[same].kind, prompt[same].kind) or turn[same].body:
        return turn, same
    text, message = turn[same].text, turn[same].message
    shared = _shared_text(text, prompt[same].text)
    if not shared:
        return turn, same
    pieces = [Segment(piece, "text", False, message) for piece in (text[:shared], text[shared:]) if piece]
    return [*turn[:same], *pieces, *turn[same + 1 :]], same + 1


def _may_be_cut(segment: Segment) -> bool:
    """Return whether the same text could be cut into segments differently here."""
    return not segment.text or (segment.kind == "text" and not segment.body)


def _equal_segments(turn: Sequence[Segment], prompt: Sequence[Segment]) -> int:
    """Count the segments that turn and prompt start with alike."""
    for position, (ours, theirs) in enumerate(zip(turn, prompt, strict=False)):
        if ours.text != theirs.text or ours.kind != theirs.kind or (ours.body and ours.kind == "text"):
            return position
    return min(len(turn), len(prompt))


def _shared_text(text: str, wanted: str) -> int:
    """Count the characters of a scaffold text that the prompt gave, in whole lines."""
    if text.startswith(wanted) or wanted.startswith(text):
        return min(len(text), len(wanted))
    line = _LAST_LINE.match(os.path.commonprefix((text, wanted)))
    return line.end() if line else 0
