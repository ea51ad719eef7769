"""Inkling's turns read back: the messages of a sampled turn, complete or cut off anywhere.

Who speaks, the kind of a content and its end are specials by id; what stands between is text, never scanned. The first
message goes on from the prompt, or begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from isc.formats import _inkling as inkling
from isc.formats.reading.coded import encoded
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
    said_of_call,
)
from isc.formats.reading.json_calls import JsonCalls, strict_reading
from isc.formats.reading.json_telling import JsonTeller
from isc.formats.reading.scanners import CallReading, find_special, known, spelling, until
from isc.formats.reading.telling import LONGEST_HEAD, OpenCall
from isc.formats.reading.values import JsonText, past_values
from isc.formats.segments import is_special
from isc.types import AssistantMessage, Ended, ParsedResponse, ParsedToolCall, Sampled, Segment, ToolCall, ToolSpec

_KINDS: Final = (inkling.TEXT, inkling.THINKING, inkling.CALL)
_SPEAKERS: Final = tuple(inkling.SPEAKERS.values())
_ENDS: Final = (inkling.END, inkling.END_SAMPLING)
_BREAKS: Final = (*_ENDS, *_SPEAKERS)
_STOPS: Final = (inkling.END_SAMPLING,)
_CALLS: Final = JsonCalls(inkling.CALL, inkling.END, inkling.SPECIALS, keys=("args",))
_TELLER: Final = JsonTeller(_CALLS, _CALLS.marks)


class _Message(Struct, frozen=True):
    """A message's place among the segments: where it starts, where its head and its content do, where that ends.

    `speaker` is None where no mark says who speaks, `kind` where the head was not finished. `is_closed`: whether it
    ends as messages do.
    """

    speaker: str | None
    start: int
    kind: str | None
    content: int
    end: int
    is_closed: bool

    @property
    def after(self) -> int:
        """Return the index at which the next message starts."""
        return self.end + self.is_closed

    @property
    def head(self) -> int:
        """Return the index at which the text before the kind starts."""
        return self.start + (self.speaker is not None)

    @property
    def is_own(self) -> bool:
        """Return whether the message is the model's: nobody else is named."""
        return self.speaker in (None, inkling.MODEL)

    @property
    def is_thinking(self) -> bool:
        """Return whether it is reasoning that nothing ends."""
        return self.kind == inkling.THINKING and self.is_own and not self.is_closed


def parse(sampled: Sampled, tools: Sequence[ToolSpec]) -> ParsedResponse:
    """Read a turn up to its stop. Contents are joined as parts of one are, thoughts as lines."""
    sampled = until(sampled, _STOPS)
    prompted, segments = _turn(sampled)
    thoughts: list[str] = []
    contents: list[str] = []
    calls: list[ParsedToolCall] = []
    messages = _messages(segments)
    for message in messages:
        if not message.is_own or (message.is_closed and message.after <= prompted):
            continue
        if message.kind == inkling.CALL:
            calls += [known(call, tools) for call in _calls(message, sampled, segments, prompted)]
        else:
            start = message.head if message.kind is None else message.content
            text = spelling(segments[max(start, prompted) : message.end])
            (thoughts if message.kind == inkling.THINKING else contents).append(text)
    complete = not (messages and messages[-1].is_thinking)
    thought = "\n".join(filter(None, thoughts)) if thoughts else None
    return ParsedResponse("".join(contents), thought, tuple(calls), complete)


def ended(sampled: Sampled) -> Ended:
    """Return the segments that complete a turn that was cut off, and the calls it made."""
    messages = _messages(_turn(until(sampled, _STOPS))[1])
    calls = tuple(ToolCall(call.name or "", {}) for call in parse(sampled, ()).tool_calls)
    turn = AssistantMessage("", tool_calls=calls)
    last = messages[-1] if messages else None
    is_thinking = last is not None and last.is_thinking
    if find_special(sampled, 0, *_STOPS) < len(sampled.segments):
        return Ended((), is_thinking, turn)
    is_closed = last is None or last.is_closed
    has_kind = last is not None and last.kind is not None
    return Ended(inkling.completed(content=has_kind, ended=is_closed), is_thinking, turn)


def follow_piece(place: Place, piece: Segment, follows: Follows, probe: Probe) -> Step:
    """Go on with a piece of a turn: messages are told as they come. One that lacks its head waits, with what follows.

    A call is read once, at its end; after many of them the others wait.
    """
    del follows  # there is one such format
    if place.phase == "start":
        place = _started(place)
    if place.phase == "held":
        return place, ()
    if place.phase == "header":
        return _head_piece(place, piece), ()
    if place.phase == "calls":
        return _call_piece(place, piece, probe)
    if is_special(piece, *_SPEAKERS):
        return replace(place, phase="header", header=(piece,)), ()
    if is_special(piece, inkling.END):
        return replace(place, phase="header", header=()), ()
    return said_in_message(place, piece.text, "\n" if place.phase == "reasoning" else "")


FOLLOWS: Final = Follows(_STOPS, follow_piece=follow_piece)
"""What tells how a turn goes on while it is sampled."""


def _started(place: Place) -> Place:
    """Return where the prompt left a turn."""
    opened = _left_open(place.header)
    if opened and (message := _messages(opened)[-1]).kind is not None:
        return _at(place, message, spelling(opened[message.head : message.content - 1]))
    return replace(place, phase="header", header=opened)


def _head_piece(place: Place, piece: Segment) -> Place:
    """Return where a turn goes on after a piece of a message's head."""
    if is_special(piece, *_SPEAKERS) and not place.header:
        return replace(place, header=(piece,))
    if is_special(piece, *_BREAKS):
        return replace(place, phase="held")
    header = (*place.header, piece)
    if is_special(piece, *_KINDS):
        message = _messages(header)[-1]
        return _at(place, message, spelling(header[message.head : message.content - 1]))
    size = sum(len(segment.text) for segment in header)
    return replace(place, phase="held" if size > LONGEST_HEAD else "header", header=header)


def _at(place: Place, message: _Message, recipient: str) -> Place:
    """Return where a turn goes on in a message."""
    phase: Phase = "reasoning" if message.kind == inkling.THINKING else "content"
    if not message.is_own:
        phase = "ignored"
    elif message.kind == inkling.CALL:
        call = OpenCall(0, text=encoded(inkling.CALL, _CALLS.marks), name=recipient)
        return replace(place, phase="calls", header=(), call=call)
    return replace(place, phase=phase, is_lead=True, header=())


def _call_piece(place: Place, piece: Segment, probe: Probe) -> Step:
    """Go on with a call's JSON. It says the name of the function, which the message's head may have said too."""
    call = place.call or OpenCall(0)
    is_coded = piece.kind == "special" and piece.text in _CALLS.marks
    told = _TELLER.told(call, encoded(piece.text, _CALLS.marks) if is_coded else piece.text, probe.tools)
    if told.named is not None and call.name and told.named.name != call.name:
        return replace(place, phase="held", call=None), ()
    place, events = said_of_call(place, told)
    if told.call.stage != "closed":
        return place, events
    calls = probe.read().tool_calls[place.calls_told :] if place.probes < MOST_PROBES else ()
    if len(calls) != 1 or calls[0].status not in WELL_FORMED:
        return replace(place, phase="held"), events
    ended = tuple(call_events(calls, place.calls_told, place.call))
    place = replace(place, phase="header", header=(), call=None, probes=place.probes + 1)
    return replace(place, calls_told=place.calls_told + 1), (*events, *ended)


def _turn(sampled: Sampled) -> tuple[int, tuple[Segment, ...]]:
    """Return the segments of a turn from the message on that the prompt left open, and how many the prompt gave."""
    opened = _left_open(sampled.prompted)
    return len(opened), (*opened, *sampled.segments)


def _left_open(prompted: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return the message that a prompt ends in, if it is not at its end."""
    messages = _messages(prompted)
    return prompted[messages[-1].start :] if messages and not messages[-1].is_closed else ()


def _messages(segments: tuple[Segment, ...]) -> list[_Message]:
    """Split a turn into its messages."""
    turn = Sampled(segments, ())
    messages: list[_Message] = []
    position = 0
    while position < len(segments):
        messages.append(_message(turn, position))
        position = messages[-1].after
    return messages


def _message(turn: Sampled, start: int) -> _Message:
    """Read the message at `start`. A mark inside a string of a call's JSON is text."""
    segments = turn.segments
    speaker = segments[start].text if is_special(segments[start], *_SPEAKERS) else None
    end = find_special(turn, start + (speaker is not None), *_KINDS, *_BREAKS)
    kind = segments[end].text if end < len(segments) and is_special(segments[end], *_KINDS) else None
    content = end
    if kind is not None:
        content, end = end + 1, find_special(turn, end + 1, *_BREAKS)
    if kind == inkling.CALL:
        end = past_values(segments, content, end, (), _BREAKS, JsonText())
    is_closed = end < len(segments) and is_special(segments[end], *_ENDS)
    return _Message(speaker, start, kind, content, end, is_closed)


def _calls(message: _Message, sampled: Sampled, segments: Sequence[Segment], prompted: int) -> Iterator[ParsedToolCall]:
    """Yield the call that a message attempts. Yield nothing where all of the message stood in the prompt."""
    span = sampled.starts[max(message.start - prompted, 0)], sampled.starts[max(message.after - prompted, 0)]
    raw = spelling(segments[max(message.content, prompted) : message.end])
    status, name, arguments = _reading(spelling(segments[message.head : message.content - 1]), raw)
    if span[0] < span[1]:
        yield ParsedToolCall(raw, name, arguments, span, status if message.is_closed else "unclosed_block")


def _reading(recipient: str, raw: str) -> CallReading:
    """Return status, name and arguments. The JSON must name the function that the message goes to, if it says one."""
    status, name, arguments = strict_reading(raw, ("args",))
    if status == "ok" and recipient and name != recipient:
        return "malformed_structure", name, arguments
    return status, name or recipient or None, arguments
