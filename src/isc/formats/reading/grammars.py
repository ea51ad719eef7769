"""Grammars: how a format spells tool calls, as values that are read with and proven.

A grammar finds the attempts of a turn in one string (`coded`), from its front to its end and never back. What is common
to all grammars is here: the text around the calls, the tokens of each, and the turn as a message. A format that keeps
white space in its own way takes a turn apart with `read_parts`; `read_turn` is for all others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from msgspec.structs import replace

from isc.formats.reading.coded import IDENTITY, NAME, NUMBER, Coded, coded, decoded, encoded
from isc.formats.reading.scanners import CallReading, known, reasoning, reasoning_start
from isc.formats.reading.text_markers import cut_markers
from isc.formats.segments import special, specials_pattern
from isc.types import ParsedResponse, ParsedToolCall, Reasoning, Sampled, Span, ToolSpec


class Attempt(NamedTuple):
    """An attempted call in a turn's text: from its first marker to the last, what is between, what was read of it.

    `own` is the call's own place, where markers around several calls belong to the first and the last of them.
    """

    start: int
    end: int
    inside: Span
    reading: CallReading
    closed: bool = True
    identity: str | None = None
    own: Span | None = None


class Begins(NamedTuple):
    """What a call begins with besides the specials of its grammar, so that text before it is known to be content.

    `texts`: what its markers begin with, where they are text. `front`: what a call at the very front of the text begins
    with, which no marker tells; `may_be_front` matches a text that may become that. `names`: whether a word before a
    marker may belong to the call. `anywhere`: whether nothing tells a call from text. `closers`: the specials at whose
    place a call that is read as it should be has ended, whatever follows. `in_text`: where one of
    `texts` may begin a call that is told as it comes.
    """

    texts: tuple[str, ...] = ()
    front: re.Pattern[str] | None = None
    may_be_front: re.Pattern[str] | None = None
    names: bool = False
    anywhere: bool = False
    closers: tuple[str, ...] = ()
    in_text: Literal["nowhere", "front", "anywhere"] = "nowhere"


class Grammar(Protocol):
    """A format's spelling of calls: a frozen Struct, its fields the markers."""

    @property
    def name(self) -> str:
        """Return the name of the grammar."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Return the specials that the grammar uses."""

    @property
    def enders(self) -> tuple[str, ...]:
        """Return the specials that end reasoning without a closer."""

    @property
    def begins(self) -> Begins:
        """Return what a call begins with that is no special."""

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""


class Around(NamedTuple):
    """Markers that a format writes around content and calls, by their spelling. They are no content.

    `section` brackets calls together: text inside that stands beside calls is no content either. `text_enders` are
    markers of calls that the vocabulary has as text; they end reasoning that nothing else ends.
    """

    texts: tuple[str, ...] = ()
    specials: tuple[str, ...] = ()
    section: tuple[str, str] | None = None
    text_enders: tuple[str, ...] = ()

    def used_with(self, grammar: Grammar | None) -> tuple[str, ...]:
        """Return the specials that are told from text where these calls are read, those of the grammar first."""
        used = (*(grammar.marks if grammar is not None else ()), *self.specials, *(self.section or ()))
        return tuple(dict.fromkeys(used))


NOTHING_AROUND: Final = Around()
_FIRST_WORD: Final = re.compile(rf"[^\s>{NAME}{IDENTITY}{NUMBER}]+>?")


def text_begins(marker: str, marks: Sequence[str]) -> tuple[str, ...]:
    """Return what a marker begins with, where that is text: its first word, up to a tag's end or a control token.

    >>> text_begins("<tool_call> <function=", ()), text_begins("<tool_call> <function=", ("<tool_call>",))
    (('<tool_call>',), ())
    >>> text_begins("<|x|invoke", ("|x|",))
    ('<|x|',)
    """
    first, *others = specials_pattern(tuple(marks)).split(marker) if marks else [marker]
    match = _FIRST_WORD.match(first.lstrip())
    if match is None:
        return ()
    is_glued = bool(others) and first.lstrip() == match.group()
    return (match.group() + (others[0] if is_glued else ""),)


def last_mark(marker: str, marks: Sequence[str]) -> tuple[str, ...]:
    r"""Return the control token that a marker ends with, if it does.

    >>> last_mark("</function>\n</tool_call>\n", ("<tool_call>", "</tool_call>"))
    ('</tool_call>',)
    """
    return tuple(mark for mark in marks if marker.rstrip().endswith(mark))[:1]


class Parts(NamedTuple):
    """A turn taken apart: reasoning and whether it ended, the texts before, between and after the calls, the calls.

    Nothing is trimmed.
    """

    thought: str | None
    complete: bool
    pieces: tuple[str, ...]
    calls: tuple[ParsedToolCall, ...]

    @property
    def content(self) -> str:
        """Return the text before the calls, and what is said beside and after them."""
        return self.pieces[0] + self.rest

    @property
    def rest(self) -> str:
        """Return what is said beside and after calls. White space alone is not."""
        return "".join(piece for piece in self.pieces[1:] if piece.strip())


def read_turn(
    sampled: Sampled,
    markers: Reasoning | None,
    grammar: Grammar | None,
    around: Around = NOTHING_AROUND,
    tools: Sequence[ToolSpec] = (),
) -> ParsedResponse:
    """Read a turn back: reasoning, content, calls.

    Args:
        sampled: The turn, without its stop.
        markers: How reasoning is bracketed, if it is.
        grammar: How calls are spelled, where that is known; else they stay in the content.
        around: What the format writes around them.
        tools: The tools offered.

    Returns:
        The turn; line breaks between the parts are the format's.
    """
    return _response(read_parts(sampled, markers, grammar, around, tools))


def read_parts(
    sampled: Sampled,
    markers: Reasoning | None,
    grammar: Grammar | None,
    around: Around = NOTHING_AROUND,
    tools: Sequence[ToolSpec] = (),
) -> Parts:
    """Take a turn apart, see `read_turn`. A closer of reasoning that is sampled first closes nothing: it is skipped."""
    position, thought, complete = 0, None, True
    if markers is not None:
        sampled = with_text_markers(sampled, markers)
        position, (thought, complete) = reasoning(sampled, 0, markers)
        if thought is None:
            position += reasoning_start(sampled.segments[position:], markers.closer) or 0
        else:
            thought = thought.removeprefix(markers.label)
    turn = coded(sampled, position, around.used_with(grammar))
    if markers is not None and not complete and around.text_enders:
        turn, thought, complete = _ended_by_text(sampled, markers, around, turn.marks)
    attempts = grammar.attempts(turn, tools) if grammar is not None else []
    calls = calls_of(turn, attempts, tools)
    edges = [0, *(edge for attempt in attempts for edge in (attempt.start, attempt.end)), len(turn.text)]
    texts = [turn.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    if around.section is not None and calls:
        texts = _outside(texts, *(encoded(marker, turn.marks) for marker in around.section))
    return Parts(thought, complete, tuple(_said(text, turn.marks, around) for text in texts), calls)


def read_calls(
    sampled: Sampled, grammar: Grammar, marks: Sequence[str], tools: Sequence[ToolSpec], start: int
) -> tuple[ParsedToolCall, ...]:
    """Return the calls of a part of a turn that begins with a call, at token `start` of the turn."""
    turn = coded(sampled, 0, marks)
    calls = calls_of(turn, grammar.attempts(turn, tools), tools)
    return tuple(replace(call, token_span=(call.token_span[0] + start, call.token_span[1] + start)) for call in calls)


def calls_of(turn: Coded, attempts: Sequence[Attempt], tools: Sequence[ToolSpec]) -> tuple[ParsedToolCall, ...]:
    """Return the attempts of a turn as parsed calls, with the tokens of each."""
    spans = turn.spans([attempt.own or (attempt.start, attempt.end) for attempt in attempts])
    return tuple(known(_call(turn, attempt, span), tools) for attempt, span in zip(attempts, spans, strict=True))


def _ended_by_text(
    sampled: Sampled, markers: Reasoning, around: Around, marks: tuple[str, ...]
) -> tuple[Coded, str, bool]:
    """Return what follows reasoning that nothing but a marker in its text may end, the reasoning, and if it ended."""
    turn = coded(sampled, reasoning_start(sampled.segments, markers.opener) or 0, marks)
    places = [place for ender in around.text_enders if (place := turn.text.find(ender)) >= 0]
    end = min(places, default=len(turn.text))
    return turn.after(end), turn.spelled(0, end).removeprefix(markers.label), bool(places)


def _outside(texts: Sequence[str], begin: str, end: str) -> list[str]:
    """Cut out of the texts around calls what a section holds beside its calls."""
    outside: list[str] = []
    is_inside = False
    for number, piece in enumerate(texts):
        text, is_last = piece, number + 1 == len(texts)
        if is_inside:
            _, mark, after = text.partition(end)
            text = text if is_last and not mark else after
            is_inside = not mark
        begun = text.rfind(begin)
        if begun >= 0 and end not in text[begun:]:
            is_inside = True
            text = text if is_last else text[:begun]
        outside.append(text)
    return outside


def with_text_markers(sampled: Sampled, markers: Reasoning) -> Sampled:
    """Cut out reasoning markers that the vocabulary has as text. Markers that are specials need no cut."""
    if special(markers.closer) in markers.closing:
        return sampled
    return cut_markers(sampled, (markers.opener, markers.closer))


def _call(turn: Coded, attempt: Attempt, span: tuple[int, int]) -> ParsedToolCall:
    status, name, arguments = attempt.reading
    raw = turn.spelled(*attempt.inside)
    return ParsedToolCall(raw, name, arguments, span, status if attempt.closed else "unclosed_block", attempt.identity)


def _said(text: str, marks: Sequence[str], around: Around) -> str:
    """Return a piece of content without the markers that the format writes around it."""
    for marker in (*around.texts, *reversed(around.texts)):  # they may stand in a row
        spelled = encoded(marker, marks)
        if text.lstrip().startswith(spelled):
            text = text.lstrip().removeprefix(spelled)
        if text.rstrip().endswith(spelled):
            text = text.rstrip().removesuffix(spelled)
    for marker in (*around.specials, *(around.section or ())):
        text = text.replace(encoded(marker, marks), "")
    return decoded(text, marks)


def _response(parts: Parts) -> ParsedResponse:
    before, thought = parts.pieces[0], parts.thought
    content = (before.removesuffix("\n") if parts.calls else before) + parts.rest
    if thought is not None:
        thought = thought.strip("\n")
        content = content.lstrip("\n") or ("\n" if parts.calls and len(before) > len("\n\n") else "")
    return ParsedResponse(content, thought, parts.calls, parts.complete)
