"""Grammars: how a format spells tool calls, as values that are read with and proven.

A grammar finds the attempts of a turn in one string (`coded`); what is common to all of them is here: the text around
the calls, the tokens of each, and the turn as a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from isc.formats.reading.coded import Coded, coded, decoded, encoded
from isc.formats.reading.scanners import CallReading, known, reasoning
from isc.formats.reading.text_markers import cut_markers
from isc.formats.segments import special
from isc.types import ParsedResponse, ParsedToolCall, Reasoning, Sampled, ToolSpec


class Attempt(NamedTuple):
    """An attempted call in a turn's text: from its first marker to the last, what is between, what was read of it."""

    start: int
    end: int
    inside: tuple[int, int]
    reading: CallReading
    closed: bool = True
    identity: str | None = None


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

    def attempts(self, turn: Coded, tools: Sequence[ToolSpec]) -> list[Attempt]:
        """Return the calls after the reasoning, in order."""


class Around(NamedTuple):
    """Markers that a format writes around content and calls, by their spelling. They are no content."""

    texts: tuple[str, ...] = ()
    specials: tuple[str, ...] = ()


def read_turn(
    sampled: Sampled,
    markers: Reasoning | None,
    grammar: Grammar | None,
    around: Around,
    tools: Sequence[ToolSpec],
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
    position, thought, complete = 0, None, True
    if markers is not None:
        sampled = _with_text_markers(sampled, markers)
        position, (thought, complete) = reasoning(sampled, 0, markers)
        if thought is not None:
            thought = thought.removeprefix(markers.label)
    marks = tuple(dict.fromkeys((*(grammar.marks if grammar else ()), *around.specials)))
    turn = coded(sampled, position, marks)
    attempts = grammar.attempts(turn, tools) if grammar is not None else []
    spans = turn.spans([(attempt.start, attempt.end) for attempt in attempts])
    calls = tuple(known(_call(turn, attempt, span), tools) for attempt, span in zip(attempts, spans, strict=True))
    edges = [0, *(edge for attempt in attempts for edge in (attempt.start, attempt.end)), len(turn.text)]
    pieces = [_said(turn, start, end, around) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return _response(pieces, thought, calls, complete=complete)


def _with_text_markers(sampled: Sampled, markers: Reasoning) -> Sampled:
    """Cut out reasoning markers that the vocabulary has as text. Markers that are specials need no cut."""
    if special(markers.closer) in markers.closing:
        return sampled
    return cut_markers(sampled, (markers.opener, markers.closer))


def _call(turn: Coded, attempt: Attempt, span: tuple[int, int]) -> ParsedToolCall:
    status, name, arguments = attempt.reading
    raw = turn.spelled(*attempt.inside)
    return ParsedToolCall(raw, name, arguments, span, status if attempt.closed else "unclosed_block", attempt.identity)


def _said(turn: Coded, start: int, end: int, around: Around) -> str:
    """Return a piece of content without the markers that the format writes around it."""
    text = turn.text[start:end]
    for marker in (*around.texts, *reversed(around.texts)):  # they may stand in a row
        spelled = encoded(marker, turn.marks)
        if text.lstrip().startswith(spelled):
            text = text.lstrip().removeprefix(spelled)
        if text.rstrip().endswith(spelled):
            text = text.rstrip().removesuffix(spelled)
    return decoded(text.translate(dict.fromkeys(_codes(around.specials, turn.marks))), turn.marks)


def _codes(specials: Sequence[str], marks: Sequence[str]) -> list[int]:
    """Return the characters of specials."""
    return [ord(encoded(text, marks)) for text in specials]


def _response(
    pieces: list[str], thought: str | None, calls: tuple[ParsedToolCall, ...], *, complete: bool
) -> ParsedResponse:
    content = pieces[0].removesuffix("\n") if calls else pieces[0]
    content += "".join(piece for piece in pieces[1:] if piece.strip())
    if thought is not None:
        thought = thought.strip("\n")
        content = content.lstrip("\n") or ("\n" if calls and len(pieces[0]) > len("\n\n") else "")
    return ParsedResponse(content, thought, calls, complete)
