"""Streams that end early, or that cannot be trusted: a typed error with what was told by then, as `generate` has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

import isc
from engine_server import Received
from isc.client import Retries, TokensSampled
from isc.errors import (
    ClientError,
    EngineAbortedError,
    EngineTimeoutError,
    EngineUnavailableError,
    MalformedResponseError,
)
from streamed_answers import DONE, WAYS, Body, Event, Way, engine_in_memory, sse
from streamed_calls import IDS, PROMPT, begun, check, events_of, outcome, sample_of

Damage = Callable[[Way, Received], bytes]


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
