"""Turns of elements: `<|open|>tag key="value"<|sep|>` and `<|close|>tag<|sep|>`, for reasoning, answer and calls.

The three marks are tokens, so no text can be taken for a tag. Values of attributes escape `&` and quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from isc.formats.reading.coded import Coded, coded, decoded, encoded
from isc.formats.reading.events import ReasoningEnded
from isc.formats.reading.following import Follows, Phase, Place, Probe, Step, of_calls, said_exactly
from isc.formats.reading.grammars import Attempt, Begins, calls_of
from isc.formats.reading.pair_telling import Key, PairTeller
from isc.formats.reading.scanners import CallReading, spelling, unquoted
from isc.formats.reading.telling import LONGEST_HEAD
from isc.formats.segments import body, is_special, scaffold, special
from isc.types import (
    AssistantMessage,
    BodyPart,
    CallStatus,
    Ended,
    Json,
    ParsedResponse,
    Sampled,
    Segment,
    ToolCall,
    ToolSpec,
)

OPEN: Final = "<|open|>"
CLOSE: Final = "<|close|>"
SEP: Final = "<|sep|>"
MARKS: Final = (OPEN, CLOSE, SEP)

_THINK, _RESPONSE, _TOOLS = "think", "response", "tools"
_ATTRIBUTE: Final = re.compile(r'(\w+)="([^"]*)"')


def escaped(value: str) -> str:
    """Return the value of an attribute as a tag spells it.

    >>> escaped('a "b" & c')
    'a &quot;b&quot; &amp; c'
    """
    return value.replace("&", "&amp;").replace('"', "&quot;")


def _unescaped(value: str) -> str:
    return value.replace("&quot;", '"').replace("&amp;", "&")


def opening(tag: str, attributes: Mapping[str, str] = {}, parts: Mapping[str, BodyPart] = {}) -> tuple[Segment, ...]:
    """Return the tag that opens an element. Values of attributes may be a caller's, and are never a mark.

    `parts` names the attributes of which a message says the value, with the part of each.
    """
    said: list[Segment] = [special(OPEN)]
    text = tag
    for key, value in attributes.items():
        if key in parts:
            said += (scaffold(f'{text} {key}="'), body(escaped(value), parts[key]))
            text = '"'
        else:
            text += f' {key}="{escaped(value)}"'
    return *said, scaffold(text), special(SEP)


def closing(tag: str, part: BodyPart | None = None) -> tuple[Segment, ...]:
    """Return the tag that closes an element, of this part where it is sampled."""
    return Segment(CLOSE, "special", part=part), Segment(tag, part=part), Segment(SEP, "special", part=part)


def read(sampled: Sampled, tools: Sequence[ToolSpec]) -> ParsedResponse:
    """Read a turn without its stop: the element that the prompt opened, then those that follow it."""
    text = coded(sampled, 0, MARKS).text
    thinks = _channel(sampled) == _THINK or (not sampled.prompted and _unopened_thought(text))
    position, thought, complete = 0, None, True
    opened = _patterns().think.match(text)
    if opened or thinks:
        start = opened.end() if opened else 0
        end = _patterns().end_think.search(text, start) or _patterns().after_think.search(text, start)
        complete = end is not None
        thought = decoded(text[start : end.start()] if end else text[start:], MARKS)
        position = len(text) if end is None else end.end() if end["closer"] else end.start()
    return _said(sampled, position, tools, thought, complete=complete)


def _said(
    sampled: Sampled, position: int, tools: Sequence[ToolSpec], thought: str | None, *, complete: bool
) -> ParsedResponse:
    """Read content and calls from a place on, which begins a segment."""
    places = coded(sampled, 0, MARKS).places
    turn = coded(sampled, places.index(position), MARKS)
    attempts = _CALLS.attempts(turn, tools)
    calls = calls_of(turn, attempts, tools)
    edges = [0, *(edge for attempt in attempts for edge in (attempt.start, attempt.end)), len(turn.text)]
    pieces = [turn.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    response = _patterns().response.match(pieces[0])
    rest = pieces[0][response.end() :] if response else pieces[0]
    end = _patterns().end_response.search(rest)
    content, after = (rest[: end.start()], rest[end.end() :]) if end else (rest, "")
    others = (_patterns().edge.sub("", piece) for piece in (after, *pieces[1:]))
    content += "".join(piece for piece in others if piece.strip())
    return ParsedResponse(decoded(content, MARKS), thought, calls, complete)


class ElementCalls(Struct, frozen=True, cache_hash=True):
    """Calls as elements."""

    marks: tuple[str, ...] = MARKS

    @property
    def name(self) -> str:
        """Return the name of the grammar."""
        return "elements"

    @property
    def enders(self) -> tuple[str, ...]:
        """Return nothing: what ends reasoning is an element."""
        return ()

    @property
    def begins(self) -> Begins:
        """Return nothing: every call begins with a mark."""
        return Begins()

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls of a turn, in order."""
        del tools  # values have types of their own
        attempts: list[Attempt] = []
        position = 0
        while opener := _patterns().call.search(turn.text, position):
            attempts.append(_attempt(turn, opener))
            position = max(attempts[-1].end, opener.end())
        return attempts


_CALLS: Final = ElementCalls()


def _attempt(turn: Coded, opener: re.Match[str]) -> Attempt:
    """Read a call: its arguments one after another, then its close. Text between them makes it malformed."""
    patterns, text, name = _patterns(), turn.text, _attributes(opener["attributes"]).get("tool")
    position = opener.end()
    arguments: dict[str, Json] = {}
    statuses: set[CallStatus] = set()
    while argument := patterns.argument.match(text, position):
        end = patterns.end_argument.search(text, argument.end())
        if end is None:
            return Attempt(opener.start(), len(text), (opener.end(), len(text)), _unread(name), closed=False)
        key, status, value = _argument(argument, turn.spelled(argument.end(), end.start()))
        statuses.add("malformed_structure" if key is None or key in arguments else status)
        arguments[key or ""] = value
        position = end.end()
    closer = patterns.end_call.match(text, position)
    edge = closer or patterns.edge_of_call.search(text, position)
    closed = edge is not None and edge["closer"] is not None
    stop = edge.start() if edge else len(text)
    whole = not text[position:stop].strip() and "malformed_structure" not in statuses
    status = "invalid_json" if "invalid_json" in statuses else "ok"
    reading = (status if name else "missing_name", name or None, arguments) if whole else _unread(name)
    return Attempt(
        opener.start(), edge.end() if edge and closed else stop, (opener.end(), stop), reading, closed=closed
    )


def _argument(tag: re.Match[str], text: str) -> tuple[str | None, CallStatus, Json]:
    """Return the key of an argument, whether its value could be read, and that value."""
    attributes = _attributes(tag["attributes"])
    if attributes.get("type", "string") == "string":
        return attributes.get("key"), "ok", text
    value = unquoted(text)
    return attributes.get("key"), "invalid_json" if isinstance(value, str) else "ok", value


def _attributes(text: str) -> dict[str, str]:
    return {found[1]: _unescaped(found[2]) for found in _ATTRIBUTE.finditer(text)}


def _unread(name: str | None) -> CallReading:
    return "malformed_structure", name or None, None


def ended(sampled: Sampled, stop: str, tools: Sequence[ToolSpec] = ()) -> Ended:
    """Return what completes a turn that was cut off, up to its stop, and the calls it made."""
    text = coded(sampled, 0, (*MARKS, stop)).text
    stopped = text.endswith(encoded(stop, (*MARKS, stop)))
    channel = _channel(sampled)
    before = [channel] if channel else []
    elements = ["message", *before]
    seen = set(before)
    for tag in _patterns().tag.finditer(text):
        name = tag["name"]
        if tag["opens"]:
            seen.add(name)
            elements.append(name)
        elif name in elements:
            del elements[len(elements) - 1 - elements[::-1].index(name) :]
    response = read(_until_stop(sampled, stop), tools)
    calls = tuple(ToolCall(call.name or "?", {}) for call in response.tool_calls)
    missing: list[Segment] = []
    if not stopped:
        missing += [special(SEP)] if _patterns().half.search(text) else []
        for element in reversed(elements):
            if element == "message" and "response" not in seen:
                missing += (*opening("response"), *closing("response"))
            missing += closing(element)
        missing.append(special(stop))
    return Ended(
        tuple(missing), "think" in elements and not response.reasoning_complete, AssistantMessage("", tool_calls=calls)
    )


def _until_stop(sampled: Sampled, stop: str) -> Sampled:
    if sampled.segments and sampled.segments[-1] == special(stop):
        return replace(sampled, segments=sampled.segments[:-1], starts=sampled.starts[:-1], ends=sampled.ends[:-1])
    return sampled


def _channel(sampled: Sampled) -> str:
    """Return the element that the prompt left open."""
    names = [segment.text for segment in sampled.prompted if segment.kind == "text"][:1]
    is_closed = any(is_special(segment, CLOSE) for segment in sampled.prompted)
    return names[0] if names and not is_closed and names[0] in (_THINK, _RESPONSE) else ""


def _unopened_thought(text: str) -> bool:
    """Return whether a turn whose prompt is not known closes reasoning that it did not open."""
    end = _patterns().end_think.search(text)
    opened = _patterns().any_open.search(text)
    return end is not None and (opened is None or end.start() < opened.start())


class _Patterns(NamedTuple):
    think: re.Pattern[str]
    end_think: re.Pattern[str]
    after_think: re.Pattern[str]
    response: re.Pattern[str]
    end_response: re.Pattern[str]
    edge: re.Pattern[str]
    tag: re.Pattern[str]
    half: re.Pattern[str]
    any_open: re.Pattern[str]
    call: re.Pattern[str]
    argument: re.Pattern[str]
    end_argument: re.Pattern[str]
    end_call: re.Pattern[str]
    edge_of_call: re.Pattern[str]


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    opens, closes, ends = (encoded(mark, MARKS) for mark in MARKS)
    after = f"(?:{opens}(?:response|tools)|{closes}message){ends}"
    half = rf"[{opens}{closes}][^{opens}{closes}{ends}]*\Z"
    attributes = f"(?P<attributes>[^{opens}{closes}{ends}]*)"
    call = f"{opens}call{attributes}{ends}"
    tags = f"(?:{opens}|{closes})(?:response|tools|message){ends}"
    return _Patterns(
        think=re.compile(rf"\s*{opens}think{ends}"),
        end_think=re.compile(f"(?P<closer>{closes}think{ends})"),
        after_think=re.compile(f"(?P<closer>(?!))?{after}"),
        response=re.compile(rf"\s*{opens}response{ends}"),
        end_response=re.compile(f"{closes}(?:response|message){ends}|{opens}tools{ends}|{half}"),
        edge=re.compile(f"{tags}|{half}"),
        tag=re.compile(f"(?:(?P<opens>{opens})|{closes})(?P<name>[a-z]+)[^{opens}{closes}{ends}]*(?:{ends}|\\Z)"),
        half=re.compile(half),
        any_open=re.compile(opens),
        call=re.compile(call),
        argument=re.compile(rf"\s*{opens}argument{attributes}{ends}"),
        end_argument=re.compile(f"{closes}argument{ends}"),
        end_call=re.compile(rf"\s*(?P<closer>{closes}call{ends})"),
        edge_of_call=re.compile(f"(?P<closer>{closes}call{ends})|{call}|{closes}(?:tools|message){ends}"),
    )


def _teller() -> PairTeller:
    """Return what tells calls while they are sampled."""
    patterns = _patterns()
    end, last = (encoded(f"{CLOSE}{tag}{SEP}", MARKS) for tag in ("argument", "call"))
    return PairTeller(
        MARKS,
        (OPEN,),
        lead="",
        head=patterns.call,
        pair=patterns.argument,
        end=end,
        closer=patterns.end_call,
        last=last,
        name_of=lambda head: _attributes(head["attributes"]).get("tool"),
        key_of=_key_of,
    )


def _key_of(tag: re.Match[str]) -> Key:
    attributes = _attributes(tag["attributes"])
    return Key(attributes.get("key"), attributes.get("type", "string") == "string")


def follows(stops: Sequence[str]) -> Follows:
    """Return what tells how a turn goes on while it is sampled."""
    return Follows(tuple(stops), grammar=_CALLS, coded=MARKS, telling=_teller(), follow_piece=_follow_piece)


def _follow_piece(place: Place, piece: Segment, follows: Follows, probe: Probe) -> Step:
    """Go on with a piece of a turn whose elements come in the order in which they are rendered.

    Anything else between them waits, with all that follows.
    """
    if place.phase == "start":
        place = _started(place)
    if place.phase == "calls":
        return of_calls(place, piece, follows, probe)
    if place.header or is_special(piece, *MARKS):
        return _of_tag(place, piece)
    if place.phase == "header":  # white space beside calls says nothing
        return place if place.has_head and not piece.text.strip() else replace(place, phase="held"), ()
    text = place.half + piece.text
    if place.is_lead and not text.strip():  # the model may open once more what the prompt has opened
        return replace(place, half=text), ()
    return said_exactly(replace(place, half="", is_lead=False), text)


def _started(place: Place) -> Place:
    """Return where the prompt left a turn."""
    channel = _channel(Sampled((), (0,), prompted=place.header))
    phase: Phase = "header"
    if channel:
        phase = "reasoning" if channel == _THINK else "content"
    return replace(place, phase=phase, header=(), is_lead=bool(channel))


def _of_tag(place: Place, piece: Segment) -> Step:
    """Go on with a piece of a tag. One that is none, or another than may follow, is told when the turn is read."""
    held = replace(place, phase="held", header=())
    tag = spelling((*place.header, piece))
    if not is_special(piece, SEP):
        return replace(place, header=(*place.header, piece)) if len(tag) <= LONGEST_HEAD else held, ()
    place = replace(place, header=())
    is_next = not place.has_head and place.phase == "header"
    if tag == f"{CLOSE}{_THINK}{SEP}" and place.phase == "reasoning":
        place, told = said_exactly(place, place.half)
        return replace(place, phase="header", half="", reasoning_ended=True), (*told, ReasoningEnded())
    if tag == f"{CLOSE}{_RESPONSE}{SEP}" and place.phase == "content":
        place, told = said_exactly(place, place.half)
        return replace(place, phase="header", half="", has_head=True), told
    if tag == f"{OPEN}{_THINK}{SEP}" and ((is_next and not place.reasoning_ended) or _opens_again(place, "reasoning")):
        return replace(place, phase="reasoning", half="", is_lead=False), ()
    if tag == f"{OPEN}{_RESPONSE}{SEP}" and (is_next or _opens_again(place, "content")):
        return replace(place, phase="content", half="", is_lead=False), ()
    if tag == f"{OPEN}{_TOOLS}{SEP}" and place.phase == "header":
        return replace(place, phase="calls"), ()
    return held, ()


def _opens_again(place: Place, phase: Phase) -> bool:
    """Return whether a tag opens what the prompt has opened, and nothing was said before."""
    return place.phase == phase and place.is_lead
