"""What of a turn can be told while it is sampled: text that the reading of the whole turn is known to begin with.

The meaning of a turn is said once, by a family's `parse`. What is here only knows where text may stop being what it is
taken for: at a special, at a marker, at white space that a format may trim. `follow` takes a turn piece by piece and
tells what no later piece can change; what it cannot know waits, and is told when the turn stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from isc.formats.reading.coded import encoded
from isc.formats.reading.events import (
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    ContentDelta,
    ReadingEvent,
    ReasoningDelta,
    ReasoningEnded,
    Stopped,
)
from isc.formats.reading.grammars import NOTHING_AROUND, Around, Begins, Grammar, read_calls
from isc.formats.reading.tellers import teller_of
from isc.formats.reading.telling import NOWHERE, OpenCall, Teller, Told, appended, rest_of_arguments
from isc.formats.segments import special, specials_pattern
from isc.types import ParsedResponse, ParsedToolCall, Reasoning, Sampled, Segment, ToolSpec

ANYWHERE: Final = Begins(anywhere=True)
WELL_FORMED: Final = ("ok", "unknown_tool")
MOST_PROBES: Final = 32
"""Closers of calls at which a turn is read. At later ones it is read only where it has grown by much since."""
_LONGEST: Final = 1_024
"""Characters of one word that may wait for its end. A longer one is told when the turn stops."""

_HALF_CHARACTER: Final = "\ufffd"

Phase: TypeAlias = Literal["start", "header", "reasoning", "drafted", "content", "calls", "ignored", "held", "stopped"]


class Probe(Protocol):
    """The turn as far as it goes, and what is offered."""

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """Return the tools offered."""

    @property
    def size(self) -> int:
        """Return the number of ids so far."""

    def read(self) -> ParsedResponse:
        """Read all of it. Asked a few times a turn."""

    def since(self, start: int) -> Sampled:
        """Return what was sampled from token `start` on, which begins with a special."""


class Follows(Struct, frozen=True):
    """What a reader must know of a format to tell its turns while they are sampled.

    `stops`: the specials before which `parse` cuts a turn, whatever follows. `reasoning`: its brackets, as `parse` has
    them. `begins`: what ends content beside `marks`, the specials of calls and sections. `skipped`: specials that are
    no content. `heads`: specials that a turn may begin with. `text_enders`: texts that end reasoning without a closer.
    `is_open`: whether every prompt leaves reasoning open. `closes_unopened`: whether a closer ends reasoning that
    nothing opened, so that content is not known to be such. `trims_before_calls`: whether white space before content
    is content only where no call follows. `follow_piece`: how a format goes on whose turns are messages of their own.
    `halts`: specials at which a turn may have stopped: all that follows waits.
    `grammar`: how calls are spelled, `coded` the specials that are told from text beside and inside of calls.
    `telling`: what tells the calls, where the grammar does not say it.
    """

    stops: tuple[str, ...]
    reasoning: Reasoning | None = None
    begins: Begins = Begins()
    marks: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    text_enders: tuple[str, ...] = ()
    is_open: bool = False
    closes_unopened: bool = False
    trims_before_calls: bool = False
    follow_piece: Callable[[Place, Segment, Follows, Probe], Step] | None = None
    halts: tuple[str, ...] = ()
    grammar: Grammar | None = None
    coded: tuple[str, ...] = ()
    telling: Teller | None = None

    @property
    def teller(self) -> Teller | None:
        """Return what tells calls while they are sampled, where the grammar's can be."""
        if self.telling is not None or self.grammar is None:
            return self.telling
        return teller_of(self.grammar, self.coded)

    @property
    def text_brackets(self) -> tuple[str, ...]:
        """Return the opener and closer of reasoning where they are text."""
        markers = self.reasoning
        if markers is None or special(markers.closer) in markers.closing:
            return ()
        return markers.opener, markers.closer


def followed(
    stops: Sequence[str],
    grammar: Grammar | None,
    reasoning: Reasoning | None = None,
    around: Around = NOTHING_AROUND,
) -> Follows:
    """Return what a reader must know of a format whose turns `read_parts` takes apart, with the same arguments."""
    begins = grammar.begins if grammar is not None else Begins()
    section = around.section or ()
    marks = (*(grammar.marks if grammar is not None else ()), *section)
    return Follows(
        tuple(stops),
        reasoning,
        begins._replace(texts=tuple(dict.fromkeys((*begins.texts, *around.texts, *around.text_enders)))),
        marks,
        tuple(text for text in around.specials if text not in marks),
        text_enders=around.text_enders,
        grammar=grammar,
        coded=around.used_with(grammar),
    )


class Place(Struct, frozen=True):
    """How far a turn was followed: what is being said, what was told of it, what waits.

    `blank` is white space that waits, in pieces, `half` what follows it and may become a marker. `is_lead`: whether
    nothing of this phase was told yet. `has_head`: whether a head of the turn was passed. `header`: what stands before
    the text of a message, in formats whose turns are messages; before the first piece what the prompt said of the turn.
    `probes`: how often the turn was read for its calls. `grown`: how many characters came since. `call`: the call that
    is being said.
    """

    phase: Phase = "start"
    is_first: bool = True
    is_lead: bool = True
    has_head: bool = False
    blank: tuple[str, ...] = ()
    half: str = ""
    reasoning_told: int = 0
    content_told: int = 0
    reasoning_ended: bool = False
    calls_told: int = 0
    header: tuple[Segment, ...] = ()
    probes: int = 0
    grown: int = 0
    call: OpenCall | None = None


Step: TypeAlias = tuple[Place, tuple[ReadingEvent, ...]]


def follow(place: Place, piece: Segment, follows: Follows, probe: Probe, *, is_open: bool) -> Step:
    """Go on with a piece of a turn: a special, or text that goes on from the text before it.

    Args:
        place: How far the turn was followed.
        piece: The piece.
        follows: The format.
        probe: Reads the turn up to the piece, with it. Asked a few times a turn.
        is_open: Whether the prompt left reasoning open.

    Returns:
        How far it is followed now, and what can be told.
    """
    if place.phase == "stopped":
        return place, ()
    if piece.kind == "special" and piece.text in follows.stops:
        return replace(place, phase="stopped"), (*untold(place, probe.read()), Stopped(piece.text))
    if piece.kind == "special" and piece.text in follows.halts:
        return replace(place, phase="held"), ()
    if follows.follow_piece is not None and place.phase != "held":
        return follows.follow_piece(place, piece, follows, probe)
    pieces: tuple[Segment, ...] = (piece,)
    if place.phase == "start":
        place, pieces = _begun(place, piece, follows, is_open=is_open or follows.is_open)
    told: list[ReadingEvent] = []
    while pieces and place.phase not in ("start", "held"):
        place, events, rest = _said(place, pieces[0], follows, probe)
        told += events
        pieces = (*((Segment(rest),) if rest else ()), *pieces[1:])
    return replace(place, is_first=False) if place.is_first else place, tuple(told)


def _begun(place: Place, piece: Segment, follows: Follows, *, is_open: bool) -> tuple[Place, tuple[Segment, ...]]:
    """Find out what a turn begins with. Return the place, and the pieces to go on with."""
    markers, pieces = follows.reasoning, (*((Segment(place.half),) if place.half else ()), piece)
    if piece.kind == "text":
        return _begun_by_text(place, place.half + piece.text, follows, is_open=is_open)
    if place.half or markers is None or piece.text not in (markers.opener, markers.closer):
        if piece.text in follows.heads and not place.half and not place.has_head:
            return replace(place, has_head=True, blank=()), ()
        return _decided(place, follows, is_open=is_open), pieces
    if piece.text == markers.opener:
        return replace(place, phase="reasoning", blank=()), ()
    if is_open:
        return _decided(place, follows, is_open=True), pieces
    is_head = place.is_first or not follows.closes_unopened
    return replace(_content(place, follows) if is_head else replace(place, phase="held"), blank=()), ()


def _begun_by_text(place: Place, text: str, follows: Follows, *, is_open: bool) -> tuple[Place, tuple[Segment, ...]]:
    """Find out the same of a turn that goes on with text, in which brackets of reasoning may be spelled."""
    bare = text.lstrip()
    if not bare:
        return replace(place, blank=appended(place.blank, text)), ()
    if follows.text_brackets:
        opener, closer = follows.text_brackets
        if bare.startswith(opener):
            return replace(place, phase="reasoning", blank=(), half=""), _pieces(bare[len(opener) :])
        if bare.startswith(closer) and not is_open:
            return replace(_content(place, follows), blank=(), half=""), _pieces(bare[len(closer) :])
        if opener.startswith(bare) or closer.startswith(bare):
            return replace(place, blank=appended(place.blank, text[: len(text) - len(bare)]), half=bare), ()
    return _decided(place, follows, is_open=is_open), _pieces(text)


def _pieces(text: str) -> tuple[Segment, ...]:
    return (Segment(text),) if text else ()


def _decided(place: Place, follows: Follows, *, is_open: bool) -> Place:
    """Return the place where a turn goes on that began with neither bracket."""
    if follows.reasoning is not None and is_open:
        return replace(place, phase="reasoning", half="")
    if follows.reasoning is not None and follows.closes_unopened:
        return replace(place, phase="held", half="")
    return replace(_content(place, follows), half="")


def _content(place: Place, follows: Follows) -> Place:
    """Return the place where content begins. Content that nothing tells from calls waits."""
    return replace(place, phase="held" if follows.begins.anywhere else "content", is_lead=True)


Said: TypeAlias = tuple[Place, tuple[ReadingEvent, ...], str]
"""A place, what was told, and text that is of the next phase."""


def _said(place: Place, piece: Segment, follows: Follows, probe: Probe) -> Said:
    """Go on with a piece of reasoning or content."""
    if place.phase == "content":
        return _of_content(place, piece, follows, probe)
    if place.phase == "calls":
        return (*of_calls(place, piece, follows, probe), "")
    markers = follows.reasoning
    if markers is not None and piece.kind == "special":
        if piece.text == markers.closer:
            return (*_closed(place, follows, probe), "")
        if place.phase == "drafted":
            return replace(place, half=""), (), ""
        if piece.text in markers.enders or follows.text_enders:
            return replace(place, phase="drafted", half=""), (), ""
        text = place.half + piece.text
        return (*_told(place, text, len(text), follows, probe), "")
    return _of_reasoning(place, place.half + piece.text, follows, probe)


def _of_reasoning(place: Place, text: str, follows: Follows, probe: Probe) -> Said:
    """Go on with text of reasoning, in which its end may be spelled."""
    brackets, enders = follows.text_brackets, follows.text_enders
    for bracket in _any(brackets).finditer(text) if brackets else ():
        if bracket.group() == brackets[1]:
            return (*_closed(place, follows, probe), text[bracket.end() :])
    cut = len(text) - _half(text, (*brackets, *enders))
    if place.phase == "drafted":
        return replace(place, half=text[cut:]), (), ""
    ender = _any(enders).search(text) if enders else None
    if ender is None:
        return (*_told(place, text, cut, follows, probe), "")
    place, told = _told(place, text, ender.start(), follows, probe)
    return replace(place, phase="drafted", half=text[max(cut, ender.start()) :]), told, ""


def _closed(place: Place, follows: Follows, probe: Probe) -> Step:
    """Give what reasoning says that its closer ended, and its end."""
    response = probe.read()
    thought = response.reasoning_content
    if thought is None or not response.reasoning_complete:
        return replace(place, phase="held"), ()
    rest = thought[place.reasoning_told :]
    events = (*((ReasoningDelta(rest),) if rest else ()), ReasoningEnded())
    told = replace(place, reasoning_told=len(thought), reasoning_ended=True, blank=(), half="")
    return _content(told, follows), events


def _of_content(place: Place, piece: Segment, follows: Follows, probe: Probe) -> Said:
    """Go on with content. What may be a call waits, with all that follows."""
    held = replace(place, phase="held", half="")
    if piece.kind == "special" and piece.text in follows.marks:
        return (*of_calls(_at_calls(place, follows, probe), piece, follows, probe), "")
    if piece.kind == "special" and piece.text in follows.skipped:
        return (place if place.is_lead and not place.half else held), (), ""
    begins, text = follows.begins, place.half + piece.text
    marker = _any(begins.texts).search(text) if begins.texts else None
    cut = marker.start() if marker else len(text) - _half(text, begins.texts)
    if marker and follows.teller and _may_call(place, text[:cut], begins):
        place, told = _told(place, text[:cut], cut, follows, probe) if text[:cut].strip() else (place, ())
        calls = replace(place, phase="calls", half="", call=OpenCall(NOWHERE))
        place, more = of_calls(calls, Segment(text[cut:]), follows, probe)
        return place, (*told, *more), ""
    if begins.names:
        cut = min(cut, len(text[:cut]) - len(_last_word(text[:cut])))
    if place.is_lead and text.strip():
        if follows.trims_before_calls and (place.blank or text[0].isspace()):
            return held, (), ""
        if begins.front is not None and begins.front.match(text.lstrip()):
            return held, (), ""
        if begins.may_be_front is not None and begins.may_be_front.fullmatch(text.lstrip()):
            cut = len(text) - len(text.lstrip())
    place, told = _told(place, text, cut, follows, probe)
    return replace(place, phase="held", half="") if marker else place, told, ""


def _may_call(place: Place, before: str, begins: Begins) -> bool:
    """Return whether a marker that is text may begin a call that is told, behind this much of a text."""
    return begins.in_text == "anywhere" or (begins.in_text == "front" and place.is_lead and not before.strip())


def _at_calls(place: Place, follows: Follows, probe: Probe) -> Place:
    """Return the place where calls begin with a special. One of which a text is missing before it is no such call."""
    teller = follows.teller
    held = replace(place, phase="held", half="")
    if teller is None or not teller.lead:
        return replace(held, phase="calls") if follows.begins.closers or teller else held
    if not place.half.endswith(teller.lead):
        return held
    return replace(held, phase="calls", call=OpenCall(probe.size - 1, text=teller.lead))


def of_calls(place: Place, piece: Segment, follows: Follows, probe: Probe) -> Step:
    """Give what of calls is certain. One that is not as it should be may go on: it waits, with all that follows."""
    if follows.teller is None or follows.grammar is None:
        return _of_whole_calls(place, piece, follows, probe)
    call = place.call
    if call is None and piece.kind == "text":  # it may be a call that lacks its first marker
        return replace(place, phase="held") if follows.begins.texts and piece.text.strip() else place, ()
    if call is None and piece.text not in follows.teller.openers:
        return place, ()
    if piece.kind == "special" and piece.text in follows.skipped:
        return replace(place, phase="held"), ()
    is_coded = piece.kind == "special" and piece.text in follows.coded
    code = encoded(piece.text, follows.coded) if is_coded else piece.text
    place, told = said_of_call(place, follows.teller.told(call or OpenCall(probe.size - 1), code, probe.tools))
    if place.call is None or place.call.stage != "closed":
        return place, told
    place, ended = _call_closed(place, place.call, follows, probe)
    return place, (*told, *ended)


def said_of_call(place: Place, told: Told) -> Step:
    """Give what a teller tells of a call."""
    call, named, text = told
    events: tuple[ReadingEvent, ...] = ()
    if named is not None:
        events += (CallStarted(place.calls_told, *named),)
    if text:
        call = replace(call, told=appended(call.told, text))
        events += (ArgumentsDelta(place.calls_told, text),)
    return replace(place, call=call, phase="held" if call.stage == "lost" else "calls"), events


def _call_closed(place: Place, call: OpenCall, follows: Follows, probe: Probe) -> Step:
    """Give the end of calls that are as they should be, where the closer stands."""
    grammar, teller = follows.grammar, follows.teller
    assert grammar is not None, "it told that the closer stands there"
    if call.start == NOWHERE:
        calls = probe.read().tool_calls[place.calls_told : place.calls_told + 1]
    else:
        calls = read_calls(probe.since(call.start), grammar, follows.coded, probe.tools, call.start)
    if not calls or any(one.status not in WELL_FORMED for one in calls):
        is_lost = call.reads + 1 >= MOST_PROBES
        call = replace(call, stage="loose", reads=call.reads + 1)
        return replace(place, call=call, phase="held" if is_lost else "calls"), ()
    events = tuple(call_events(calls, place.calls_told, call))
    place = replace(place, calls_told=place.calls_told + len(calls), probes=place.probes + (call.start == NOWHERE))
    if place.probes > MOST_PROBES:
        return replace(place, phase="held", call=None), events
    start = NOWHERE if call.start == NOWHERE else probe.size - 1
    return replace(place, call=OpenCall(start, text=call.text) if teller and teller.lead else None), events


def _of_whole_calls(place: Place, piece: Segment, follows: Follows, probe: Probe) -> Step:
    """Give the calls that have ended where a closer stands.

    The whole turn is read for that, so only the first closers are tried, and later ones where the turn has grown.
    """
    grown = place.grown + len(piece.text)
    is_due = place.probes < MOST_PROBES or 8 * grown > place.content_told + place.reasoning_told
    if piece.kind == "text" or piece.text not in follows.begins.closers or not is_due:
        return replace(place, grown=grown), ()
    calls = probe.read().tool_calls[place.calls_told :]
    ended = tuple(takewhile(lambda call: call.status in WELL_FORMED, calls))
    events = call_events(ended, place.calls_told)
    return replace(place, probes=place.probes + 1, grown=0, calls_told=place.calls_told + len(ended)), tuple(events)


def _last_word(text: str) -> str:
    """Return the characters after the last white space."""
    return "" if not text or text[-1].isspace() else text.rsplit(None, 1)[-1]


def _told(place: Place, text: str, cut: int, follows: Follows, probe: Probe) -> Step:
    """Give a text up to a place, but for the white space before it, which waits as the rest does."""
    said = text[:cut].rstrip()
    label = follows.reasoning.label if follows.reasoning is not None and place.phase == "reasoning" else ""
    if len(text) - cut > _LONGEST:
        return replace(place, phase="held", blank=(), half=""), ()
    if label and place.is_lead and (whole := "".join(place.blank) + text) and label.startswith(whole.lstrip()):
        return replace(place, blank=(), half=whole), ()
    if not said:
        return replace(place, blank=appended(place.blank, text[:cut]), half=text[cut:]), ()
    waiting = replace(place, is_lead=False, blank=appended((), text[len(said) : cut]), half=text[cut:])
    if place.is_lead:
        lead = _lead(place, said, label, probe.read(), text[len(said) :])
        if lead is None:
            return replace(place, phase="held", blank=(), half=""), ()
        told = lead
    else:
        told = "".join(place.blank) + said
    if place.phase == "content":
        return replace(waiting, content_told=place.content_told + len(told)), (ContentDelta(told),)
    return replace(waiting, reasoning_told=place.reasoning_told + len(told)), (ReasoningDelta(told),)


def _lead(place: Place, said: str, label: str, response: ParsedResponse, waits: str) -> str | None:
    """Return the first words of content or reasoning, with as much of the white space before as the reading keeps.

    None where the reading says something else, or more than these words and what waits: then it has to be waited for.
    """
    read = response.content if place.phase == "content" else response.reasoning_content
    if not read:
        return None
    space = read[: len(read) - len(read.lstrip())]
    for words in (said.lstrip(), ("".join(place.blank) + said).lstrip().removeprefix(label).lstrip()):
        if words and read.startswith(words, len(space)):
            is_all = waits.startswith(read[len(space) + len(words) :].rstrip(_HALF_CHARACTER))
            return space + words if is_all else None
    return None


@lru_cache(maxsize=256)
def _any(texts: tuple[str, ...]) -> re.Pattern[str]:
    return specials_pattern(texts)


@lru_cache(maxsize=256)
def _beginnings(texts: tuple[str, ...]) -> tuple[int, frozenset[str]]:
    """Return the length of the longest proper beginning of these texts, and all such beginnings."""
    beginnings = frozenset(text[:size] for text in texts for size in range(1, len(text)))
    return max(map(len, beginnings), default=0), beginnings


def _half(text: str, markers: tuple[str, ...]) -> int:
    """Return the size of the longest end of a text that may become one of these markers.

    >>> _half("say <too", ("<tool_call>",)), _half("say <b", ("<tool_call>",))
    (4, 0)
    """
    longest, beginnings = _beginnings(markers)
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if text[-size:] in beginnings), 0)


def said_in_message(place: Place, text: str, between: str) -> Step:
    """Give a piece of a message's text, in formats whose turns are messages of their own.

    `between` stands between messages of one kind. In a message of somebody else nothing is told.
    """
    if place.phase == "ignored" or not text:
        return place, ()
    told = place.reasoning_told if place.phase == "reasoning" else place.content_told
    if place.is_lead and told:
        text = between + text
    return said_exactly(replace(place, is_lead=False), text)


def said_exactly(place: Place, text: str) -> Step:
    """Give a text of reasoning or content of which nothing is trimmed."""
    if not text:
        return place, ()
    if place.phase == "reasoning":
        return replace(place, reasoning_told=place.reasoning_told + len(text)), (ReasoningDelta(text),)
    return replace(place, content_told=place.content_told + len(text)), (ContentDelta(text),)


def untold(place: Place, response: ParsedResponse) -> Iterator[ReadingEvent]:
    """Yield what a turn's reading says beyond what was told of it."""
    thought = response.reasoning_content
    if thought is not None:
        if len(thought) > place.reasoning_told:
            yield ReasoningDelta(thought[place.reasoning_told :])
        if response.reasoning_complete and not place.reasoning_ended:
            yield ReasoningEnded()
    if len(response.content) > place.content_told:
        yield ContentDelta(response.content[place.content_told :])
    yield from call_events(response.tool_calls[place.calls_told :], place.calls_told, place.call)


def call_events(calls: Sequence[ParsedToolCall], first: int, begun: OpenCall | None = None) -> Iterator[ReadingEvent]:
    """Yield what is left to tell of calls, the first of which may have been told in part."""
    for index, call in enumerate(calls, first):
        is_begun = index == first and begun is not None and begun.is_started
        if not is_begun:
            yield CallStarted(index, call.name, call.id)
        said = "".join(begun.told) if begun is not None and is_begun else ""
        rest = rest_of_arguments(call, said)
        if rest:
            yield ArgumentsDelta(index, rest)
        yield CallEnded(index, call)
