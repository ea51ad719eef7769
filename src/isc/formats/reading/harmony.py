"""Harmony read back: the messages of a sampled turn, complete or cut off anywhere.

Headers and ends are specials by id; a text is whatever stands between, never scanned. The recipient may stand with the
role or with the channel: `assistant to=functions.f<|channel|>commentary json` and
`assistant<|channel|>commentary to=functions.f <|constrain|>json` say the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from isc._json import decode_json
from isc.formats import _harmony as harmony
from isc.formats.reading.events import ArgumentsDelta, CallStarted, Stopped
from isc.formats.reading.following import (
    MOST_PROBES,
    WELL_FORMED,
    Follows,
    Phase,
    Place,
    Probe,
    Step,
    call_events,
    said_in_message,
    untold,
)
from isc.formats.reading.scanners import CallReading, find_special, known, spelling
from isc.formats.reading.telling import LONGEST_HEAD, OpenCall, appended
from isc.formats.reading.values import JsonText, past_values
from isc.formats.segments import is_special
from isc.types import AssistantMessage, Ended, ParsedResponse, ParsedToolCall, Sampled, Segment, ToolCall, ToolSpec

_ENDS: Final = (harmony.END, harmony.RETURN, harmony.CALL)
_BREAKS: Final = (*_ENDS, harmony.END_OF_TEXT, harmony.START)
_TO: Final = re.compile(r"(?:^|\s)to=(\S*)")
_LONGEST_HEADER: Final = 1_024
"""Characters of a header's text. A longer one is no header, and is told when the turn is read."""
_NOBODY: Final = ("all", "assistant")


class _Header(Struct, frozen=True):
    """The fields of a header, as far as it goes.

    `role` is as spelled, `rest` what else stands with it; `channel` is None where no channel mark was given.
    """

    role: str
    rest: str
    channel: str | None
    recipient: str | None


class _Spoken(Struct, frozen=True):
    """A message's place among the segments: where it starts, where its text does (None: the header was not finished).

    `end` is where the text or the unfinished header ends, `close` the special that stands there and ends the message.
    """

    header: _Header
    opened: bool
    start: int
    text: int | None
    end: int
    close: str | None

    @property
    def after(self) -> int:
        """Return the index at which the next message starts."""
        return self.end + (self.close is not None)

    @property
    def is_own(self) -> bool:
        """Return whether the message is the model's: no other role is named."""
        return self.header.role in ("", harmony.ROLE)

    @property
    def thinks(self) -> bool:
        """Return whether the message is reasoning."""
        return self.text is not None and self.header.channel == "analysis" and self.header.recipient is None


def parse(sampled: Sampled, tools: Sequence[ToolSpec]) -> ParsedResponse:
    """Parse a sampled turn up to its stop.

    Analysis is reasoning, a message to a recipient is a call, the rest is content.
    """
    prompted, segments = _turn(sampled)
    thoughts: list[str] = []
    contents: list[str] = []
    calls: list[ParsedToolCall] = []
    messages = _messages(segments, past_calls=True)
    for message in messages:
        if not message.is_own or (message.close is not None and message.after <= prompted):
            continue
        if message.header.recipient is not None:
            calls.extend(_calls(message, sampled, segments, prompted, tools))
        elif message.text is None:
            contents.append("" if message.header.channel is not None else message.header.rest)
        else:
            text = spelling(segments[max(message.text, prompted) : message.end])
            (thoughts if message.thinks else contents).append(text)
    complete = not (messages[-1].thinks and messages[-1].close != harmony.END)
    thought = "\n".join(filter(None, thoughts)) if thoughts else None
    return ParsedResponse("\n".join(filter(None, contents)), thought, tuple(calls), complete)


def follow_piece(place: Place, piece: Segment, follows: Follows, probe: Probe) -> Step:
    """Go on with a piece of a turn: messages of reasoning and content, and calls of functions, are told as they come.

    A message to any other recipient, and one that lacks its header, waits with all that follows.
    """
    del follows  # there is one Harmony
    if place.phase == "start":
        place = _started(place)
    if place.phase == "held":
        return place, ()
    if place.phase == "header":
        return _header_piece(place, piece)
    if place.phase == "calls":
        return _call_piece(place, piece, probe)
    if not is_special(piece, *_BREAKS):
        return said_in_message(place, piece.text, "\n")
    if piece.text in (harmony.RETURN, harmony.END_OF_TEXT):
        return replace(place, phase="stopped"), (*untold(place, probe.read()), Stopped(piece.text))
    if piece.text == harmony.CALL:  # a message of the model's may follow
        return replace(place, phase="held"), ()
    return replace(place, phase="header", header=(piece,) if piece.text == harmony.START else ()), ()


def _started(place: Place) -> Place:
    """Return where the prompt left a turn."""
    segments = place.header or harmony.PROMPT
    last = _messages(segments)[-1]
    if last.text is not None and last.close is None:
        return _at_text(place, last)
    phase: Phase = "held" if last.close in harmony.STOP_TOKENS else "header"
    return replace(place, phase=phase, header=segments[last.after :] if last.close else segments[last.start :])


def _header_piece(place: Place, piece: Segment) -> Step:
    """Go on with a piece of a header."""
    if is_special(piece, harmony.MESSAGE):
        message = _messages((*place.header, piece))[-1]
        name = _function(message)
        if not name:
            return _at_text(place, message), ()
        place = replace(place, phase="calls", header=(), call=OpenCall(0, stage="arguments", is_started=True))
        return place, (CallStarted(place.calls_told, name),)
    if is_special(piece, *_BREAKS) and (place.header or piece.text != harmony.START):
        return replace(place, phase="held"), ()
    header = place.header
    if header and header[-1].kind == piece.kind == "text":
        header, piece = header[:-1], replace(piece, text=header[-1].text + piece.text)
    return replace(place, phase="held" if len(piece.text) > _LONGEST_HEADER else "header", header=(*header, piece)), ()


def _call_piece(place: Place, piece: Segment, probe: Probe) -> Step:
    """Go on with the arguments of a call. A mark in an open string is text of it, should anything follow."""
    call = place.call or OpenCall(0)
    value, is_mark = JsonText(call.json), is_special(piece, *_BREAKS)
    if is_special(piece, harmony.RETURN, harmony.END_OF_TEXT):
        return replace(place, phase="stopped"), (*untold(place, probe.read()), Stopped(piece.text))
    if is_mark and not value.is_open:
        return _call_closed(place, piece, probe)
    text, waits = call.text + piece.text, ""
    if is_mark or (call.text and not piece.text.strip()):
        text, waits = (call.text, piece.text) if is_mark else ("", text)
    if not call.told:
        text = text.lstrip()
    end = value.read(text)
    is_torn = value.is_broken or text[end:].strip() or (not call.told and text and text[0] != "{")
    if is_torn or is_special(piece, harmony.CALL) or len(waits) > LONGEST_HEAD:
        return replace(place, phase="held"), ()
    told = appended(call.told, text[:end])
    place = replace(place, call=replace(call, text=waits, json=value.state, told=told))
    return place, (ArgumentsDelta(place.calls_told, text[:end]),) if text[:end] else ()


def _call_closed(place: Place, piece: Segment, probe: Probe) -> Step:
    """Give the end of a call that is as it should be, where a mark stands outside of its strings."""
    calls = probe.read().tool_calls[place.calls_told :] if place.probes < MOST_PROBES else ()
    if len(calls) != 1 or calls[0].status not in WELL_FORMED:
        return replace(place, phase="held"), ()
    events = tuple(call_events(calls, place.calls_told, place.call))
    place = replace(place, calls_told=place.calls_told + 1, call=None, probes=place.probes + 1)
    if piece.text == harmony.CALL:  # a message of the model's may follow
        return replace(place, phase="held"), events
    return replace(place, phase="header", header=(piece,) if piece.text == harmony.START else ()), events


def _at_text(place: Place, message: _Spoken) -> Place:
    """Return where the text of a message begins."""
    phase: Phase = "reasoning" if message.thinks else "content"
    if not message.is_own:
        phase = "ignored"
    elif message.header.recipient is not None:
        phase = "held"
    return replace(place, phase=phase, is_lead=True, header=())


FOLLOWS: Final = Follows((), follow_piece=follow_piece)
"""What tells how a turn goes on while it is sampled."""


def ended(sampled: Sampled) -> Ended:
    """Return the segments that complete a turn that was cut off, and the function it called last."""
    messages = _messages(_turn(sampled)[1])
    last = messages[-1]
    names = [name for message in messages if (name := _function(message))]
    turn = AssistantMessage("", tool_calls=tuple(ToolCall(name, {}) for name in names[-1:]))
    closing: tuple[Segment, ...] = ()
    if last.opened and last.close not in _ENDS:
        closing = _closing(last)
    return Ended(closing, last.thinks and last.close != harmony.END, turn)


def _closing(message: _Spoken) -> tuple[Segment, ...]:
    """Return the segments that a message lacks. A message of another role needs no channel."""
    header = message.header
    return harmony.completed(
        role=bool(header.role),
        channel=header.channel if message.is_own else "none",
        text=message.text is not None,
        recipient=header.recipient is not None,
    )


def _turn(sampled: Sampled) -> tuple[int, tuple[Segment, ...]]:
    """Return all segments of the turn, and how many of them the prompt gave."""
    prompted = sampled.prompted or harmony.PROMPT
    return len(prompted), (*prompted, *sampled.segments)


def _messages(segments: tuple[Segment, ...], *, past_calls: bool = False) -> list[_Spoken]:
    """Split a turn into its messages, at least one, up to the first stop.

    `past_calls`: or past the stop of a call, where another message of the model's own follows: nothing stopped there.
    """
    turn = Sampled(segments, ())
    messages: list[_Spoken] = []
    position, stop = 0, find_special(turn, 0, *harmony.STOP_TOKENS)
    while position < len(segments):
        messages.append(_message(turn, position, stop))
        position = messages[-1].after
        goes_on = past_calls and messages[-1].close == harmony.CALL and _is_own(segments[position : position + 2])
        if messages[-1].close in harmony.STOP_TOKENS and not goes_on:
            break
    return messages


def _is_own(segments: Sequence[Segment]) -> bool:
    """Return whether a message of the model begins with these segments."""
    return len(segments) == 2 and is_special(segments[0], harmony.START) and segments[1].text.startswith(harmony.ROLE)


def _message(turn: Sampled, start: int, stop: int) -> _Spoken:
    """Read the message at `start`.

    A mark in a string of a function's arguments is text, unless sampling stops there.
    """
    segments = turn.segments
    opened = is_special(segments[start], harmony.START)
    end = mark = find_special(turn, start + opened, harmony.MESSAGE, *_BREAKS)
    text = None
    if mark < len(segments) and is_special(segments[mark], harmony.MESSAGE):
        text = mark + 1
        end = find_special(turn, text, *_BREAKS)
    header = _header(segments[start + opened : mark], opened=opened)
    if text is not None and (header.recipient or "").startswith(harmony.FUNCTIONS):
        end = min(past_values(segments, text, end, (), _BREAKS, JsonText()), max(stop, end))
    close = segments[end].text if end < len(segments) and not is_special(segments[end], harmony.START) else None
    return _Spoken(header, opened, start, text, end, close)


def _header(segments: Sequence[Segment], *, opened: bool) -> _Header:
    """Read a header from the segments between the marks around it.

    Without a start mark, the text before names no role.
    """
    marks = [place for place, segment in enumerate(segments) if is_special(segment, harmony.CHANNEL)]
    author = spelling(segments[: marks[0]] if marks else segments)
    role = ""
    if opened:
        role = harmony.ROLE if author.startswith(harmony.ROLE) else author
    rest = author[len(role) :]
    recipient = rest.lstrip().removeprefix("to=") if rest.lstrip().startswith("to=") else None
    channel = None
    if marks:
        words = "".join(" " if s.kind == "special" else s.text for s in segments[marks[0] + 1 :])
        addressed = _TO.search(words)
        channel = "".join(_TO.sub(" ", words).split()[:1])
        recipient = addressed.group(1) if addressed and recipient is None else recipient
    return _Header(role, rest, channel, None if recipient in _NOBODY else recipient)


def _function(message: _Spoken) -> str:
    """Return the function that a message calls, or "" where there is no call."""
    recipient = message.header.recipient or ""
    told = message.is_own and message.text is not None and recipient.startswith(harmony.FUNCTIONS)
    return recipient.removeprefix(harmony.FUNCTIONS) if told else ""


def _calls(
    message: _Spoken, sampled: Sampled, segments: Sequence[Segment], prompted: int, tools: Sequence[ToolSpec]
) -> list[ParsedToolCall]:
    """Return the call that a message attempts. Return none where all of the message stood in the prompt."""
    span = sampled.starts[max(message.start - prompted, 0)], sampled.starts[max(message.after - prompted, 0)]
    if span[0] == span[1]:
        return []
    raw = "" if message.text is None else spelling(segments[max(message.text, prompted) : message.end])
    status, name, arguments = _reading(message, raw)
    return [known(ParsedToolCall(raw, name, arguments, span, status), tools)]


def _reading(message: _Spoken, raw: str) -> CallReading:
    """Return status, name and arguments. A call without an end counts as ended where it is the JSON of an object."""
    if message.text is None:
        return "unclosed_block", None, None
    name = (message.header.recipient or "").removeprefix(harmony.FUNCTIONS) or None
    try:
        value = decode_json(raw)
    except ValueError:
        return ("invalid_json" if message.close in _ENDS else "unclosed_block"), name, None
    arguments = value if isinstance(value, dict) else None
    if name is None:
        return "missing_name", None, arguments
    well_ended = message.close in (None, harmony.CALL, harmony.END, harmony.END_OF_TEXT)
    return ("ok" if well_ended and arguments is not None else "malformed_structure"), name, arguments
