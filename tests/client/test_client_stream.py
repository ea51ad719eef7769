"""Turns told while they are sampled: what is told, and that it ends in what `generate` returns."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import isc
from engine_server import Received
from isc.client import Generation, StreamEvent, TokensSampled, TurnFinished, generate
from isc.conversation.reading import (
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    ContentDelta,
    ReasoningDelta,
    ReasoningEnded,
    Stopped,
)
from isc.formats.segments import spelled
from isc.types import ParsedToolCall
from streamed_answers import WAYS, Body, Event, Sample, Way, cut, engine_in_memory
from streamed_calls import PROMPT, events_of, ids_told, sample_of

WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
TURNS = (
    "Hello, wörld! 日本語",
    "<think>\nHm. It is 3 < 4.\n</think>\n\nWell <b>then</b>, 🙂",
    '<think>\nHm\n</think>\n\nLook:\n<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>',
    '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>\n<tool_call>\nno call\n</tool_call>',
    "<think>\nnever closed",
    "",
)


def ids_of(renderer: isc.Renderer, text: str) -> tuple[int, ...]:
    """A completion: text with Qwen's specials, closed."""
    return isc.fold(spelled(f"{text}<|im_end|>", renderer.family.specials), renderer.encoder).token_ids


def streamed(renderer: isc.Renderer, way: Way, sample: Sample, places: list[int], **options: Any) -> list[StreamEvent]:  # noqa: ANN401
    client = engine_in_memory(lambda got: Body(cut(way.body(got, sample), places)))
    return asyncio.run(events_of(client, renderer, protocol=way.protocol, **options))


def generated(renderer: isc.Renderer, way: Way, sample: Sample, **options: Any) -> Generation:  # noqa: ANN401 - of generate
    """The same completion, asked for and answered in one piece."""

    def answer(received: Received) -> Event:
        return whole_with(way.response(received, sample.token_ids, sample.reason), sample)

    client = engine_in_memory(answer)
    asked: dict[str, Any] = {"prompt_ids": PROMPT, "max_prompt_len": 99, "protocol": way.protocol, **options}
    return asyncio.run(generate(client, renderer, **asked))


def whole_with(response: Event, sample: Sample) -> Event:
    """A response in one piece with these log probabilities."""
    if "meta_info" in response:
        pairs = zip(sample.logprobs, sample.token_ids, strict=True)
        response["meta_info"]["output_token_logprobs"] = [[logprob, token_id, None] for logprob, token_id in pairs]
        return response
    told = response["choices"][0]["logprobs"]
    if "content" in told:
        for entry, logprob in zip(told["content"], sample.logprobs, strict=True):
            entry["logprob"] = logprob
    else:
        told["token_logprobs"] = [*sample.logprobs]
    return response


def nameless(generation: Generation) -> Generation:
    return msgspec.structs.replace(generation, request_id="")


@given(
    way=st.sampled_from(sorted(WAYS)),
    text=st.sampled_from(TURNS),
    reason=st.sampled_from(["stop", "length"]),
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6).filter(any),
    places=st.lists(st.integers(0, 10**6), max_size=40),
)
def test_a_stream_ends_in_what_generate_returns(
    small: isc.Renderer, way: str, text: str, reason: str, sizes: list[int], places: list[int]
) -> None:
    """However the engine cuts tokens into events and the network cuts bytes into pieces."""
    token_ids = ids_of(small, text)[: None if reason == "stop" else -1] or (5,)
    all_sizes: list[int] = []
    while sum(all_sizes) < len(token_ids):
        all_sizes.append(min(sizes[len(all_sizes) % len(sizes)], len(token_ids) - sum(all_sizes)))
    sample = sample_of(token_ids, tuple(all_sizes), reason)
    events = streamed(small, WAYS[way], sample, places, tools=WEATHER)
    last = events[-1]
    assert isinstance(last, TurnFinished)
    assert nameless(last.generation) == nameless(generated(small, WAYS[way], sample, tools=WEATHER))
    assert ids_told(events) == (token_ids, tuple(sample.logprobs))
    assert events[:-1] == told_by_a_reader(small, sample)


def told_by_a_reader(renderer: isc.Renderer, sample: Sample) -> list[StreamEvent]:
    """What the renderer's reader says of the same ids, event by event."""
    reader, told = renderer.reader(prompt_ids=PROMPT, tools=WEATHER), list[StreamEvent]()
    for start, end, _ in sample.parts():
        if start < end:
            told.append(TokensSampled(tuple(sample.token_ids[start:end]), tuple(sample.logprobs[start:end])))
            reader, events = reader.feed(sample.token_ids[start:end])
            told += events
    return [*told, *reader.finished()[0]]


def test_what_is_told_of_a_turn(small: isc.Renderer) -> None:
    """In words, whatever the events of calls come in."""
    text = (
        '<think>\nHm\n</think>\n\nLook:\n<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
    )
    sample = sample_of(ids_of(small, text))
    *told, last = streamed(small, WAYS["vllm"], sample, [], tools=WEATHER)
    assert isinstance(last, TurnFinished)
    assert last.generation.finish_reason == "tool_calls"
    said = [event for event in told if not isinstance(event, TokensSampled | ArgumentsDelta)]
    reasoning = "".join(event.text for event in said if isinstance(event, ReasoningDelta))
    content = "".join(event.text for event in said if isinstance(event, ContentDelta))
    arguments = "".join(event.text for event in told if isinstance(event, ArgumentsDelta))
    assert (reasoning, content, msgspec.json.decode(arguments)) == ("Hm", "Look:", {"city": "Ulm"})
    kinds = [type(event) for event in said if not isinstance(event, ReasoningDelta | ContentDelta)]
    assert kinds == [ReasoningEnded, CallStarted, CallEnded, Stopped]
    (ended,) = (event for event in said if isinstance(event, CallEnded))
    assert isinstance(ended.call, ParsedToolCall)
    assert (ended.call,) == last.generation.tool_calls


def test_events_travel(small: isc.Renderer) -> None:
    events = streamed(small, WAYS["sglang"], sample_of(ids_of(small, TURNS[2])), [], tools=WEATHER)
    assert msgspec.json.decode(msgspec.json.encode(events), type=list[StreamEvent]) == events
