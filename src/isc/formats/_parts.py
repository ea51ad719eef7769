"""The parts of bodies in a stream: each body segment is given one (law 10).

A format says of what field a text is: reasoning, a call's name, its arguments; all else that a message says is content.
What the format writes around these in a sampled turn is told by its neighbours, in one way for all formats, those of
traced templates too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, takewhile
from operator import itemgetter
from typing import Final, Literal, TypeAlias, get_args

from msgspec import Struct

from isc.types import UNOWNED, WRITTEN_PARTS, BodyPart, Reasoning, Segment

_WRITTEN: Final = WRITTEN_PARTS | {None}

_Written: TypeAlias = tuple[str, Literal["text", "special"], BodyPart | None]
"""What names its part and is no field: its text, its kind, and its part."""

Shape: TypeAlias = tuple[str | _Written, ...]
"""A turn without what its fields say: the part of each, and what the format writes, its kind before its text."""

_FIELDS: Final[Mapping[str, BodyPart]] = {part: part for part in get_args(BodyPart) if part not in WRITTEN_PARTS}
_CALL: Final = frozenset(("tool_name", "tool_arguments"))


class Frame(Struct, frozen=True, cache_hash=True):
    """What a format writes in a turn that tells its parts: what ends reasoning, begins a message, closes the turn.

    `opener` and `closer` bracket reasoning, "" where nothing does. `start` begins a message in formats whose turns are
    several.
    """

    opener: str = ""
    closer: str = ""
    start: str = ""
    closes: frozenset[str] = frozenset()


NO_FRAME: Final = Frame()


def frame_of(
    reasoning: Reasoning | None, turn_start: str | None, turn_close: str | None, stop_tokens: Sequence[str]
) -> Frame:
    """Return the frame of a format that has these."""
    closes = frozenset((*stop_tokens, *(() if turn_close is None else (turn_close,))))
    opener, closer = ("", "") if reasoning is None else (reasoning.opener, reasoning.closer)
    return Frame(opener, closer, turn_start or "", closes)


def with_parts(segments: Iterable[Segment], roles: Sequence[str], frame: Frame = NO_FRAME) -> list[Segment]:
    """Return a stream of owned segments in which each body segment has a part, and no other.

    Args:
        segments: The stream. What an assistant samples has the parts of its fields already, or all of its parts.
        roles: The role of each message.
        frame: What the format writes in sampled turns.
    """
    parted: list[Segment] = []
    for (message, is_body), group in groupby(segments, lambda segment: (segment.message, segment.body)):
        if is_body and roles[message] == "assistant":
            parted += sampled_parts(list(group), message, frame)
        else:
            parted += given_parts(group, roles)
    return parted


def given_parts(segments: Iterable[Segment], roles: Sequence[str]) -> list[Segment]:
    """Return owned segments that are not sampled, each body with its part: what a tool says is a result.

    Of a sampled turn they have what the format says to be part of it, such as what closes it.
    """
    return [
        one if one.body is (one.part is not None) else _given(one, roles)  # with a part as a body, without as scaffold
        for one in segments
    ]


def _given(segment: Segment, roles: Sequence[str]) -> Segment:
    """Return a segment that lacks its part, or has one and should not."""
    part: BodyPart | None = None
    if segment.body:
        part = said_part(segment, roles[segment.message])
    text, kind, body, owner = segment.text, segment.kind, segment.body, segment.message
    return Segment(text, kind, body, owner, segment.repeat, segment.media, part)


def said_part(segment: Segment, role: str) -> BodyPart:
    """Return the part of a body that is not sampled and says none: what a tool says is a result."""
    if segment.kind == "special":
        return "media"
    return "tool_result" if role == "tool" else "content"


class Planned(Struct, frozen=True):
    """A special, or a text between two of them, of a turn of some shape.

    Attributes:
        special: The special; "" of a text.
        pieces: Of a text what the format writes, or "" and the place of a field in the turn.
        parts: The part of each piece, no two neighbours alike, or that of the special.
    """

    special: str
    pieces: tuple[tuple[str, int], ...]
    parts: tuple[BodyPart | None, ...]


def shape_of(turn: Sequence[Segment]) -> Shape:
    """Return the shape of what a message samples, none of its segments empty.

    What the message says without a part is content, all else is written.
    """
    shape: list[str | _Written] = []
    add = shape.append
    for one in turn:
        part = one.part
        if part is None and not one.body:
            add(one.kind)
            add(one.text)
        elif one.kind == "special" or part in WRITTEN_PARTS:
            add((one.text, one.kind, part))
        else:
            add(part or "content")
    return tuple(shape)


def planned_parts(turn: Sequence[Segment], message: int, frame: Frame) -> list[Segment]:
    """Return what a message samples as a format writes it, all of it made body, each segment with its part.

    Args:
        turn: The segments, as `shape_of` takes them.
        message: Whose they are.
        frame: What the format writes in sampled turns.
    """
    plan = plan_of(shape_of(turn), frame)
    if plan is None:
        return sampled_parts([_said(one) for one in turn], message, frame)
    return [
        Segment(text or turn[place].text, "special" if planned.special else "text", True, message, 1, None, part)
        for planned in plan
        for (text, place), part in zip(planned.pieces or ((planned.special, -1),), planned.parts, strict=True)
    ]


def _said(one: Segment) -> Segment:
    """Return a segment of a turn, as content or media where the message says it and no part is named."""
    if not one.body or one.part is not None:
        return one
    part: BodyPart = "content" if one.media is None else "media"
    return Segment(one.text, one.kind, True, one.message, one.repeat, one.media, part)


@lru_cache(maxsize=512)
def plan_of(shape: Shape, frame: Frame) -> tuple[Planned, ...] | None:
    """Return what becomes of turns of one shape, or None where that hangs on more than the shape.

    What is told of a turn hangs on what the format writes in it and not on what the fields say, so it is told once for
    all turns of its shape.

    Args:
        shape: See `shape_of`.
        frame: What the format writes in sampled turns.
    """
    turn = list(_turn_of(shape))
    if any(one.kind == "special" and one.part not in _WRITTEN for one in turn):
        return None  # a special that is said: an image
    fields = {id(one): place for place, one in enumerate(turn) if one.part not in _WRITTEN}
    plan: list[Planned] = []
    for is_special, group in groupby(zip(*_told(turn, frame), strict=True), lambda told: told[0].kind == "special"):
        if is_special:
            plan += [Planned(segment.text, (), (part,)) for segment, part in group]
            continue
        text = _planned_text([(fields.get(id(segment), -1), segment.text, part) for segment, part in group])
        if text is None:
            return None
        plan.append(text)
    return tuple(plan)


def _turn_of(shape: Shape) -> Iterator[Segment]:
    """Yield the segments of a turn of some shape, with "?" for what its fields say."""
    rest = iter(shape)
    for one in rest:
        if isinstance(one, tuple):
            yield Segment(one[0], one[1], True, part=one[2])
        elif (field := _FIELDS.get(one)) is not None:
            yield Segment("?", "text", True, part=field)
        else:
            yield Segment(str(next(rest)), "special" if one == "special" else "text", True)


def _planned_text(pieces: Sequence[tuple[int, str, BodyPart | None]]) -> Planned | None:
    """Return a text of these pieces, each the place of a field or what is written; None where fields of a part meet."""
    planned: list[tuple[str, int]] = []
    parts: list[BodyPart | None] = []
    for part, group in groupby(pieces, itemgetter(2)):
        own = list(group)
        if len(own) > 1 and any(place >= 0 for place, _, _ in own):
            return None
        place = own[0][0]
        planned.append(("", place) if place >= 0 else ("".join([text for _, text, _ in own]), -1))
        parts.append(part)
    return Planned("", tuple(planned), tuple(parts))


def sampled_parts(turn: Sequence[Segment], message: int, frame: Frame) -> list[Segment]:
    """Return what a message samples without a break, all of it body, each segment with its part.

    Args:
        turn: The segments, each field with its part; those without a part are what the format writes.
        message: Whose they are, where they are nobody's.
        frame: What the format writes in sampled turns.
    """
    parted: list[Segment] = []
    texts: list[str] = []
    owner, held = message, None  # of the texts
    for segment, part in zip(*_told(turn, frame), strict=True):
        own = segment.message if segment.message != UNOWNED else message
        if segment.kind == "text" and texts and part == held and own == owner:
            texts.append(segment.text)
            continue
        if texts:
            parted.append(Segment(texts[0] if len(texts) == 1 else "".join(texts), "text", True, owner, 1, None, held))
            texts = []
        if segment.kind == "text":
            texts.append(segment.text)
            owner, held = own, part
        else:
            parted.append(Segment(segment.text, "special", True, own, segment.repeat, segment.media, part))
    if texts:
        parted.append(Segment("".join(texts), "text", True, owner, 1, None, held))
    return parted


def _told(turn: Sequence[Segment], frame: Frame) -> tuple[list[Segment], list[BodyPart | None]]:
    """Return the segments of a turn, cut where parts meet, and the part of each."""
    segments: list[Segment] = []
    parts: list[BodyPart | None] = []
    thought_ends = _thought_end(turn, frame)
    before: BodyPart | None = None
    gap = 0  # how many segments of the format's wait to be told
    for place, segment in enumerate(turn):
        part = segment.part
        if part is None or part in WRITTEN_PARTS:
            gap += 1
            continue
        part = "reasoning" if part == "content" and place < thought_ends else part
        if gap:
            _tell(segments, parts, turn[place - gap : place], (before, part), frame)
            gap = 0
        segments.append(segment)
        parts.append(part)
        before = part
    if gap:
        _tell(segments, parts, turn[len(turn) - gap :], (before, None), frame)
        last = turn[-1]
        if last.part is None and last.kind == "special" and last.text in frame.closes:
            parts[-1] = "close"
    return segments, parts


def _thought_end(turn: Sequence[Segment], frame: Frame) -> int:
    """Return the place of what ends reasoning: content before it is reasoning that the content spells.

    Nothing stands before such a content but what opens reasoning, where the prompt has not opened it.
    """
    closer, says = frame.closer, False
    for place, one in enumerate(turn if closer else ()):
        if one.part == "content":
            says = True
        elif one.part is None and closer in one.text:
            return place if says and _opens(turn[:place], frame.opener) else 0
    return 0


def _opens(turn: Sequence[Segment], opener: str) -> bool:
    """Return whether a turn begins with what opens reasoning, or with what is said."""
    before = "".join([one.text for one in takewhile(lambda one: one.part is None, turn)])
    return opener in before or not before.strip()


def _tell(
    segments: list[Segment],
    parts: list[BodyPart | None],
    gap: Sequence[Segment],
    around: tuple[BodyPart | None, BodyPart | None],
    frame: Frame,
) -> None:
    """Add what the format writes between two fields of a turn. What stands in a call, or follows one, is of calls."""
    before, after = around
    if before in _CALL or after not in _CALL:
        part: BodyPart = "tool_call" if before in _CALL else "marker"
        segments += gap
        parts += [segment.part or part for segment in gap]
        return
    cut = _call_start(gap, frame)
    for segment in gap:
        size = len(segment.text)
        if segment.part is None and 0 < cut < size:
            segments += [
                Segment(text, segment.kind, True, segment.message) for text in (segment.text[:cut], segment.text[cut:])
            ]
            parts += ["marker", "tool_call"]
        else:
            segments.append(segment)
            parts.append(segment.part or ("marker" if cut >= size else "tool_call"))
        cut = max(cut - size, 0)


def _call_start(gap: Sequence[Segment], frame: Frame) -> int:
    """Return the character of a gap at which the call after it begins: behind what ends reasoning and white space.

    In a format whose turns are several messages it is the beginning of the last.
    """
    text = "".join([segment.text for segment in gap])
    start = end = 0
    for segment in gap:
        end += len(segment.text)
        start = end if segment.part == "marker" else start
    if frame.start and not start:
        return max(text.rfind(frame.start), 0)
    if frame.closer and frame.closer in text:
        start = max(start, text.rfind(frame.closer) + len(frame.closer))
    return start + len(text[start:]) - len(text[start:].lstrip())
