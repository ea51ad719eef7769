"""The law of incremental reading: in any pieces a turn is what it is at once, and nothing told is taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

from isc import convert
from isc._json import decode_json
from isc.conversation.reading import TurnReader
from isc.conversation.renderer import Renderer
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
from isc.testing.laws import require
from isc.types import ParsedResponse, ParsedToolCall


def streaming(
    renderer: Renderer,
    token_ids: Sequence[int],
    prompt_ids: Sequence[int] = (),
    tools: convert.Tools = None,
    sizes: Sequence[int] = (1,),
) -> None:
    """Check that ids read in pieces end in `parse_response`, and that the events say what it says, each thing once.

    Args:
        renderer: The format.
        token_ids: Any ids.
        prompt_ids: The ids before them.
        tools: The tools offered.
        sizes: How many ids a piece has, over and over; at least one is not 0.
    """
    whole = renderer.parse_response(token_ids, tools, prompt_ids)
    reader, told = renderer.reader(prompt_ids=prompt_ids, tools=tools), list[ReadingEvent]()
    for piece in _pieces(token_ids, sizes):
        reader, events = reader.feed(piece)
        told += events
    last, response = reader.finished()
    for ours in (reader.finish(), response):
        require(ours == whole, "read in pieces a turn is another", ours, whole)
    _check([*told, *last], whole)
    stops = [place for place, event in enumerate([*told, *last]) if isinstance(event, Stopped)]
    require(stops in ([], [len(told) + len(last) - 1]), "something is told after the stop", told, last)


def _pieces(token_ids: Sequence[int], sizes: Sequence[int]) -> Iterator[Sequence[int]]:
    position = 0
    for size in cycle(sizes):
        if position >= len(token_ids):
            return
        yield token_ids[position : position + size]
        position += size


def _check(told: Sequence[ReadingEvent], whole: ParsedResponse) -> None:
    """Check that events, put together, are a response."""
    reasoning = "".join(event.text for event in told if isinstance(event, ReasoningDelta))
    content = "".join(event.text for event in told if isinstance(event, ContentDelta))
    require(reasoning == (whole.reasoning_content or ""), "the reasoning that was told differs", reasoning, whole)
    require(content == whole.content, "the content that was told differs", content, whole)
    ends = [place for place, event in enumerate(told) if isinstance(event, ReasoningEnded)]
    is_ended = whole.reasoning_content is not None and whole.reasoning_complete
    require(len(ends) == is_ended, "the end of reasoning is not told once", told, whole)
    after = told[ends[0] :] if ends else ()
    require(not any(isinstance(event, ReasoningDelta) for event in after), "reasoning goes on after its end", told)
    _check_calls(told, whole)


def _check_calls(told: Sequence[ReadingEvent], whole: ParsedResponse) -> None:
    """Check that each call is told from its start to its end, one after another."""
    events = [event for event in told if isinstance(event, (CallStarted, ArgumentsDelta, CallEnded))]
    numbers = [event.index for event in events if isinstance(event, CallStarted)]
    require([event.index for event in events] == sorted(event.index for event in events), "calls are mixed", events)
    require(numbers == list(range(len(whole.tool_calls))), "calls are not told once each", events, whole)
    for index, call in enumerate(whole.tool_calls):
        start, *deltas, end = [event for event in events if event.index == index]
        require(isinstance(start, CallStarted) and isinstance(end, CallEnded), "a call lacks an end", events)
        require(isinstance(end, CallEnded) and end.call == call, "a call ends as another", end, call)
        text = "".join(event.text for event in deltas if isinstance(event, ArgumentsDelta))
        if isinstance(start, CallStarted):
            _check_call(start, text, call)


def _check_call(start: CallStarted, text: str, call: ParsedToolCall) -> None:
    """Check what was told of a call. One that is not as it should be may lack what was told, and says nothing else."""
    if call.status in ("ok", "unknown_tool"):
        require((start.name, start.id) == (call.name, call.id), "a call begins as another", start, call)
        require(decode_json(text) == call.arguments, "the arguments that were told differ", text, call)
        return
    require(call.name in (None, start.name) and call.id in (None, start.id), "a call begins as another", start, call)
    try:
        told = decode_json(text)
    except ValueError:
        return
    require(call.arguments in (None, told), "the arguments that were told differ", text, call)


def held_back(reader: TurnReader) -> int:
    """Return how many characters wait that were read as reasoning or content. 0 where calls or the whole turn wait."""
    return sum(map(len, reader.place.blank)) + len(reader.place.half)
