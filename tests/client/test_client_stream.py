"""Turns told while they are sampled: what is told, that it ends in what `generate` returns, and when it ends early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from engine_server import Received, Reply, engine, generating
from isc.client import Generation, Retries, StreamEvent, TokensSampled, TurnFinished, connect, generate, stream
from isc.conversation.reading import (
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    ContentDelta,
    ReasoningDelta,
    ReasoningEnded,
    Stopped,
)
from isc.errors import (
    ClientError,
    EngineAbortedError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MalformedResponseError,
    OptionError,
    OverlongPromptError,
)
from isc.formats.segments import spelled
from isc.types import ParsedToolCall
from streamed_answers import DONE, WAYS, Body, Event, Sample, Way, cut, engine_in_memory, sse

PROMPT = (5, 6)
ONCE = Retries(attempts=1, timeout=5, total=9)
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


def sample_of(token_ids: tuple[int, ...], sizes: tuple[int, ...] = (), reason: str | None = "stop") -> Sample:
    """Ids as a stream: in events of these sizes, or each in its own."""
    logprobs = [-0.125 * (place % 7) for place in range(len(token_ids))]
    return Sample(token_ids, logprobs, sizes or (1,) * len(token_ids), reason)


async def collect(events: AsyncIterator[StreamEvent], told: list[StreamEvent]) -> None:
    """Take all events; those before an error are kept."""
    async for event in events:
        told.append(event)  # noqa: PERF401 - a comprehension would lose them all


async def events_of(client: object, renderer: isc.Renderer, **options: Any) -> list[StreamEvent]:  # noqa: ANN401
    """All that a stream tells."""
    asked: dict[str, Any] = {"prompt_ids": PROMPT, "max_prompt_len": 99, "retries": ONCE, **options}
    return [event async for event in stream(client, renderer, **asked)]


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


def ids_told(events: list[StreamEvent]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Ids and log probabilities of all events together."""
    told = [event for event in events if isinstance(event, TokensSampled)]
    assert all(event.token_ids for event in told)
    return (
        tuple(token_id for event in told for token_id in event.token_ids),
        tuple(logprob for event in told for logprob in event.logprobs),
    )


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


# a stream that ends early

IDS = (72, 105, 33, 7)
Damage = Callable[[Way, Received], bytes]


def begun(way: Way, received: Received, count: int = 2) -> bytes:
    """The first events of a stream of four tokens."""
    events = way.events(received, sample_of(IDS, reason=None))
    return b"".join(map(sse, events[:count]))


def changed(change: Callable[[Event], object]) -> Damage:
    """Two sound events and a third in which something is wrong."""

    def damage(way: Way, received: Received) -> bytes:
        event = way.events(received, sample_of(IDS, reason=None))[2]
        change(event)
        return begun(way, received) + sse(event) + DONE

    return damage


def inner(event: Event) -> Event:
    """The part of an event that tells tokens."""
    part: Event = event["choices"][0] if "choices" in event else event
    return part


def twice(event: Event) -> None:
    """Two turns in an event, as each engine would tell them."""
    if "choices" in event:
        event["choices"] *= 2
    else:
        event["index"] = 1


def of_another_turn(event: Event) -> None:
    inner(event)["index"] = 1


def other_logprobs(event: Event) -> None:
    """Log probabilities of another token than the one sampled."""
    if "meta_info" in event:
        event["meta_info"]["output_token_logprobs"][-1][1] = 9
    elif "content" in (told := inner(event)["logprobs"]):
        told["content"][-1] = {"token": "token_id:9", "token_id": 9, "logprob": -1.0}
    else:
        told["tokens"][-1] = "token_id:9"


def no_logprobs(event: Event) -> None:
    if "meta_info" in event:
        event["meta_info"]["output_token_logprobs"] = None
    else:
        inner(event)["logprobs"] = None


def impossible_logprob(event: Event) -> None:
    if "meta_info" in event:
        event["meta_info"]["output_token_logprobs"][-1][0] = 0.5
    elif "content" in (told := inner(event)["logprobs"]):
        told["content"][-1]["logprob"] = 0.5
    else:
        told["token_logprobs"][-1] = 0.5


def unknown_id(event: Event) -> None:
    """An id that no model of this vocabulary has, in all places where it is told."""
    if "meta_info" in event:
        event["output_ids"][-1] = event["meta_info"]["output_token_logprobs"][-1][1] = 10**6
        return
    inner(event)["token_ids"][-1] = 10**6
    told = inner(event)["logprobs"]
    if "content" in told:
        told["content"][-1] |= {"token": "token_id:1000000"} | (
            {"token_id": 10**6} if "rank" in told["content"][-1] else {}
        )
    else:
        told["tokens"][-1] = "token_id:1000000"


def renamed(event: Event) -> None:
    """The event of another call of ours."""
    for part, name in ((event, "request_id"), (event, "id"), (event.get("meta_info", {}), "id")):
        if name in part:
            part[name] = "isc-" + "0" * 32


CONTRADICTIONS: dict[str, tuple[Damage, str]] = {
    "half an event": (lambda way, got: begun(way, got) + b'data: {"choices": [{"token_\n\n', "is not JSON"),
    "no JSON": (lambda way, got: begun(way, got) + b"data: <html>\n\n", "is not JSON"),
    "another type": (lambda way, got: begun(way, got) + b"data: []\n\n", "Expected `object`"),
    "two turns": (changed(twice), "one"),
    "another turn": (changed(of_another_turn), "one turn was asked for"),
    "logprobs of another token": (changed(other_logprobs), "is not of token id 33"),
    "no logprobs": (changed(no_logprobs), "logprobs for 1 token ids"),
    "an impossible logprob": (changed(impossible_logprob), "above zero"),
    "an unknown id": (changed(unknown_id), "padding included"),
    "another request": (changed(renamed), "another request"),
    "bytes that are no text": (lambda way, got: begun(way, got) + b'data: {"\xff\xfe\n\n', "is not JSON"),
    "brackets": (lambda way, got: begun(way, got) + b"data: " + b"[" * 100_000 + b"\n\n", ""),
}


def outcome(renderer: isc.Renderer, way: Way, body: Callable[[Received], Body], **options: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """What a stream told, the error that it ended in, and that of `generate` for the same answer."""

    async def run() -> tuple[Any, Any, Any]:
        client, told = engine_in_memory(body), list[StreamEvent]()
        asked: dict[str, Any] = {"prompt_ids": PROMPT, "max_prompt_len": 99, "retries": ONCE, **options}
        asked["protocol"] = way.protocol
        with pytest.raises(ClientError) as raised:
            await collect(stream(client, renderer, **asked), told)
        with pytest.raises(ClientError) as other:
            await generate(client, renderer, stream=True, **asked)
        return told, raised.value, other.value

    return asyncio.run(run())


def check(told: list[StreamEvent], error: ClientError, other: ClientError, count: int = 2) -> None:
    """The partial completion is what was told, of the stream as of `generate`."""
    assert type(error) is type(other)
    for one in (error, other):
        partial = one.partial
        assert partial is not None
        assert (partial.prompt_ids, partial.completion_ids) == (PROMPT, IDS[:count])
        assert one.request_id in partial.request_id
    assert error.partial is not None
    assert ids_told(told) == (error.partial.completion_ids, error.partial.completion_logprobs)
    assert not any(isinstance(event, TurnFinished) for event in told)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("damage", "problem"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_event_that_cannot_be_trusted(damage: Damage, problem: str, way: str, small: isc.Renderer) -> None:
    one = WAYS[way]
    told, error, other = outcome(small, one, lambda got: Body([damage(one, got)]))
    assert isinstance(error, MalformedResponseError)
    assert problem in str(error)
    check(told, error, other)


EARLY: dict[str, tuple[Callable[[Way, Received], list[Any]], type[ClientError], str]] = {
    "the connection is lost": (
        lambda way, got: [begun(way, got), httpx.ReadError("gone")], EngineUnavailableError, "connection was lost"
    ),
    "lost inside an event": (
        lambda way, got: [begun(way, got) + b'data: {"cho', httpx.RemoteProtocolError("incomplete")],
        EngineUnavailableError, "connection was lost",
    ),
    "too slow": (lambda way, got: [begun(way, got), 9.0], EngineTimeoutError, "no complete answer"),
    "it just ends": (lambda way, got: [begun(way, got)], EngineAbortedError, "ended before the completion did"),
    "it ends inside an event": (
        lambda way, got: [begun(way, got) + b'data: {"choi'], EngineAbortedError, "ended before the completion did"
    ),
    "an event without its blank line": (
        lambda way, got: [begun(way, got, 3)[:-1]], EngineAbortedError, "ended before the completion did"
    ),
    "done, but for the reason": (lambda way, got: [begun(way, got) + DONE], EngineAbortedError, "ended before"),
    "an error": (
        lambda way, got: [begun(way, got) + sse({"error": {"message": "out of blocks", "code": 500}})],
        EngineAbortedError, "out of blocks",
    ),
    "an error in short": (
        lambda way, got: [begun(way, got) + sse({"object": "error", "message": "out of blocks"})],
        EngineAbortedError, "out of blocks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("pieces", "kind", "problem"), EARLY.values(), ids=EARLY)
def test_a_stream_that_ends_early(
    pieces: Callable[[Way, Received], list[Any]], kind: type[ClientError], problem: str, way: str, small: isc.Renderer
) -> None:
    one, retries = WAYS[way], Retries(attempts=1, timeout=0.1)
    told, error, other = outcome(small, one, lambda got: Body(pieces(one, got)), retries=retries)
    assert isinstance(error, kind)
    assert problem in str(error)
    check(told, error, other)


@pytest.mark.parametrize("way", WAYS)
def test_an_abort_comes_after_its_tokens(way: str, small: isc.Renderer) -> None:
    one = WAYS[way]
    told, error, other = outcome(
        small, one, lambda got: Body([*map(sse, one.events(got, sample_of(IDS[:3], reason="abort")))])
    )
    assert isinstance(error, EngineAbortedError)
    check(told, error, other, count=3)


def test_an_abort_of_sglang_that_counts_nothing(small: isc.Renderer) -> None:
    """Taken from its queue a request is told without ids."""
    way = WAYS["sglang"]

    def answer(received: Received) -> Body:
        meta = {"id": received.name, "finish_reason": {"type": "abort", "message": "no room"}, "completion_tokens": 0}
        return Body([begun(way, received) + sse({"text": "", "meta_info": meta})])

    told, error, other = outcome(small, way, answer)
    assert isinstance(error, EngineAbortedError)
    assert "no room" in str(error)
    check(told, error, other)


def test_tokens_after_the_end_are_not_taken(small: isc.Renderer) -> None:
    for way in (WAYS["vllm"], WAYS["completions"], WAYS["sglang"]):

        def answer(received: Received, way: Way = way) -> Body:
            ended = way.events(received, sample_of(IDS[:2]))
            return Body([*map(sse, ended), sse(way.events(received, sample_of(IDS))[2]), DONE])

        told, error, other = outcome(small, way, answer)
        assert isinstance(error, MalformedResponseError)
        assert "after the completion has ended" in str(error)
        check(told, error, other)


def test_tokens_that_were_lost_on_the_way(small: isc.Renderer) -> None:
    """At the end vLLM counts, SGLang at every event. What has a gap is not handed on as a partial completion."""
    for name in ("vllm", "completions"):
        way = WAYS[name]
        counted = {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 4}}

        def answer(received: Received, way: Way = way, counted: Event = counted) -> Body:
            events = way.events(received, sample_of(IDS))
            return Body([*map(sse, [events[0], events[1], events[3], counted]), DONE])

        _, error, other = outcome(small, way, answer)
        for one in (error, other):
            assert isinstance(one, MalformedResponseError)
            assert one.path == "usage.completion_tokens"
            assert one.partial is None
    new = WAYS["sglang --stream-output"]
    told, error, other = outcome(
        small, new, lambda got: Body([sse(event) for k, event in enumerate(new.events(got, sample_of(IDS))) if k != 2])
    )
    assert isinstance(error, MalformedResponseError)
    assert error.path == "meta_info.completion_tokens"
    check(told, error, other)


def test_tokens_that_are_told_again_are_the_same(small: isc.Renderer) -> None:
    way = WAYS["sglang"]

    def other_id(event: Event) -> None:
        event["output_ids"][0] = event["meta_info"]["output_token_logprobs"][0][1] = 9

    def other_logprob(event: Event) -> None:
        event["meta_info"]["output_token_logprobs"][0][0] = -0.75

    for change in (other_id, other_logprob):
        damage = changed(change)
        told, error, other = outcome(small, way, lambda got, damage=damage: Body([damage(way, got)]))  # type: ignore[misc]
        assert isinstance(error, MalformedResponseError)
        assert "not those that were told before" in str(error)
        check(told, error, other)


def test_a_stream_of_sglang_that_does_not_count(small: isc.Renderer) -> None:
    """A token that is sampled twice and one that is told twice look alike."""
    way = WAYS["sglang --stream-output"]

    def answer(received: Received) -> Body:
        events = way.events(received, sample_of((7, 7)))
        for event in events:
            del event["meta_info"]["completion_tokens"]
        return Body([*map(sse, events), DONE])

    _, error, _ = outcome(small, way, answer)
    assert isinstance(error, MalformedResponseError)
    assert error.path == "meta_info.completion_tokens"


def test_nothing_is_told_of_a_stream_that_may_be_anothers(small: isc.Renderer) -> None:
    """Without name and prompt ids there is no proof; one that comes later is for all before it."""
    way = WAYS["vllm"]
    events = way.events(Received(1, "POST", way.path, {"x-request-id": "x"}, {"token_ids": [*PROMPT]}), sample_of(IDS))
    bare = [{**event, "request_id": ""} for event in events]
    told, error, other = outcome(small, way, lambda _: Body([*map(sse, bare), DONE]))
    assert told == []
    for one in (error, other):
        assert isinstance(one, MalformedResponseError)
        assert (one.path, one.partial) == ("request_id", None)

    late = [*bare[:2], {**bare[2], "prompt_token_ids": [*PROMPT]}, bare[3]]
    client = engine_in_memory(lambda _: Body([*map(sse, late), DONE]))
    found = asyncio.run(events_of(client, small, protocol="vllm"))
    assert [event.token_ids for event in found if isinstance(event, TokensSampled)] == [IDS[:3], IDS[3:]]


def test_what_is_no_stream(small: isc.Renderer) -> None:
    """A server that does not know of streams answers in one piece."""
    way = WAYS["vllm"]
    for body in (msgspec.json.encode({"choices": []}), b"", b"<html>\n\n</html>\n\n", b": waiting\n\n"):
        told, error, _ = outcome(small, way, lambda _, body=body: Body([body]))  # type: ignore[misc]
        assert told == []
        assert isinstance(error, MalformedResponseError)
        assert "no event" in str(error)


# attempts, time, closing


def answered(way: Way, *beginnings: Callable[[Received], Body]) -> Callable[[Received], Body]:
    """An engine that answers so at first, and then as it should."""

    def answer(received: Received) -> Body:
        if received.number <= len(beginnings):
            return beginnings[received.number - 1](received)
        return Body([way.body(received, sample_of(IDS))])

    return answer


def test_attempts_end_with_the_first_id(small: isc.Renderer) -> None:
    way, retries = WAYS["vllm"], Retries(attempts=3, pause=0)

    def silent(_: Received) -> Body:
        return Body([b": waiting\n\n", httpx.ReadError("gone")])

    def speaking(received: Received) -> Body:
        return Body([begun(way, received), httpx.ReadError("gone")])

    client = engine_in_memory(answered(way, silent, silent))
    found = asyncio.run(events_of(client, small, protocol="vllm", retries=retries))
    assert ids_told(found)[0] == IDS

    told: list[StreamEvent] = []

    client = engine_in_memory(answered(way, silent, speaking))
    events = stream(client, small, prompt_ids=PROMPT, max_prompt_len=9, protocol="vllm", retries=retries)
    with pytest.raises(EngineUnavailableError) as raised:
        asyncio.run(collect(events, told))
    assert raised.value.attempts == 2
    assert raised.value.partial is not None
    assert ids_told(told)[0] == IDS[:2] == raised.value.partial.completion_ids


def test_generate_tries_again_what_it_told_nobody(small: isc.Renderer) -> None:
    way = WAYS["vllm"]
    broken = lambda got: Body([begun(way, got), httpx.ReadError("gone")])  # noqa: E731
    call = generate(
        engine_in_memory(answered(way, broken)), small,
        prompt_ids=PROMPT, max_prompt_len=9, protocol="vllm", stream=True, retries=Retries(pause=0),
    )  # fmt: skip
    assert asyncio.run(call).completion_ids == IDS


def test_refusals_are_those_of_generate(small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine(lambda _: Reply(b'{"detail": "Not Found"}', 404)) as server, connect(server.url) as client:
            with pytest.raises(EngineRefusedError, match="--enable-scale-out"):
                await events_of(client, small, protocol="vllm")
            with pytest.raises(OverlongPromptError):
                await events_of(client, small, protocol="vllm", max_prompt_len=1)

    asyncio.run(run())


def test_arguments_are_checked_at_the_call(small: isc.Renderer) -> None:
    with pytest.raises(OptionError):
        stream(connect("http://engine"), small, prompt_ids=[5], protocol="grpc")  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        stream(connect("http://engine"), small, prompt_ids=[5], sampling_params={"n": 2})


def test_the_time_of_who_reads_is_not_the_engines(small: isc.Renderer) -> None:
    way = WAYS["vllm"]

    async def run() -> int:
        body = lambda got: Body([*cut(way.body(got, sample_of(IDS)), [*range(0, 4000, 40)])])  # noqa: E731
        count, retries = 0, Retries(attempts=1, timeout=0.2)
        events = stream(
            engine_in_memory(body), small, prompt_ids=PROMPT, max_prompt_len=9, protocol="vllm", retries=retries
        )
        async for event in events:
            count += isinstance(event, TokensSampled)
            await asyncio.sleep(0.1)
        return count

    assert asyncio.run(run()) == len(IDS)


def hanging(way: Way, received: Received) -> Reply:
    """Two tokens, and then an engine that goes on sampling."""
    return Reply(begun(way, received), length=10**6, hang=30)


async def closed(events: AsyncGenerator[StreamEvent, None]) -> None:
    await anext(events)
    await events.aclose()


async def left(events: AsyncGenerator[StreamEvent, None]) -> None:
    async with aclosing(events):
        async for _ in events:
            break


async def forgotten(events: AsyncGenerator[StreamEvent, None]) -> None:
    async for _ in events:
        break


async def failed(events: AsyncGenerator[StreamEvent, None]) -> None:
    async with aclosing(events):
        async for _ in events:
            raise ZeroDivisionError


async def cancelled(events: AsyncGenerator[StreamEvent, None]) -> None:
    told: list[StreamEvent] = []
    task = asyncio.create_task(collect(events, told))
    while not told:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def timed_out(events: AsyncGenerator[StreamEvent, None]) -> None:
    async with asyncio.timeout(0.3):
        await collect(events, [])


@pytest.mark.parametrize("way", ["vllm", "sglang", "completions"])
@pytest.mark.parametrize("leave", [closed, left, forgotten, failed, cancelled, timed_out])
def test_leaving_a_stream_closes_its_connection(
    leave: Callable[[AsyncGenerator[StreamEvent, None]], Awaitable[None]], way: str, small: isc.Renderer
) -> None:
    """The engine sees it at once. All leave after a first token, which is told while the answer is under way."""

    async def run() -> None:
        async with engine(generating(lambda got: hanging(WAYS[way], got))) as server, connect(server.url) as client:
            protocol: Any = WAYS[way].protocol
            with suppress(ZeroDivisionError, TimeoutError):
                await leave(stream(client, small, prompt_ids=PROMPT, max_prompt_len=9, protocol=protocol))
            start = time.monotonic()
            while not server.abandoned and time.monotonic() - start < 5:
                await asyncio.sleep(0.01)
            assert (server.abandoned, len(server.generates)) == (1, 1)
            assert asyncio.all_tasks() - server.connections == {asyncio.current_task()}

    asyncio.run(run())


def test_a_body_is_closed_after_the_last_event(small: isc.Renderer) -> None:
    way, bodies = WAYS["vllm"], list[Body]()

    def answer(received: Received) -> Body:
        bodies.append(Body([way.body(received, sample_of(IDS))]))
        return bodies[-1]

    asyncio.run(events_of(engine_in_memory(answer), small, protocol="vllm"))
    assert [body.is_closed for body in bodies] == [True]
