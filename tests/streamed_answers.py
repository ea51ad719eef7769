"""What engines stream, event by event, and an engine in memory whose answer arrives in pieces as a test cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import httpx
import msgspec

from engine_server import (
    COMPLETIONS,
    GENERATE,
    SGLANG,
    Received,
    completions_response,
    logprob_entry,
    sglang_response,
    usage,
    vllm_response,
)

DONE = b"data: [DONE]\n\n"
Event = dict[str, Any]


class Sample(NamedTuple):
    """A completion, cut into what is sent at a time."""

    token_ids: Sequence[int]
    logprobs: Sequence[float]
    sizes: Sequence[int]
    reason: str | None = "stop"

    def parts(self) -> list[tuple[int, int, str | None]]:
        """Where each event's tokens begin and end, and why it is the last."""
        ends = [*accumulate(self.sizes)]
        starts = [0, *ends[:-1]]
        return [(start, end, self.reason if end == ends[-1] else None) for start, end in zip(starts, ends, strict=True)]


def vllm_events(received: Received, sample: Sample, *, numbered: bool = True) -> list[Event]:
    events: list[Event] = []
    for start, end, reason in sample.parts():
        pairs = zip(sample.token_ids[start:end], sample.logprobs[start:end], strict=True)
        entries = [logprob_entry(token_id, logprob, numbered=numbered) for token_id, logprob in pairs]
        choice = {"index": 0, "token_ids": [*sample.token_ids[start:end]], "logprobs": {"content": entries}}
        events.append(
            {"request_id": f"generate-tokens-{received.name}", "choices": [{**choice, "finish_reason": reason}]}
        )
    return events


def old_vllm_events(received: Received, sample: Sample) -> list[Event]:
    """Tokens by name, as before 0.33."""
    return vllm_events(received, sample, numbered=False)


def completions_events(received: Received, sample: Sample) -> list[Event]:
    events: list[Event] = []
    for start, end, reason in sample.parts():
        ids = [*sample.token_ids[start:end]]
        told = {"tokens": [f"token_id:{k}" for k in ids], "token_logprobs": [*sample.logprobs[start:end]]}
        choice = {"index": 0, "text": "", "token_ids": ids, "logprobs": told, "finish_reason": reason}
        choice["prompt_token_ids"] = None if events else received.prompt_ids
        events.append({"id": f"cmpl-{received.name}", "choices": [choice]})
    return events


def sglang_events(received: Received, sample: Sample, *, whole: bool = True) -> list[Event]:
    """All that was sampled so far, as SGLang tells it unless it is started otherwise."""
    events: list[Event] = []
    for start, end, reason in sample.parts():
        begin = 0 if whole else start
        ids, logprobs = [*sample.token_ids[begin:end]], sample.logprobs[begin:end]
        meta = {
            "id": received.name,
            "finish_reason": None if reason is None else {"type": reason},
            "prompt_tokens": len(received.prompt_ids),
            "completion_tokens": end,
            "output_token_logprobs": [[p, k, None] for k, p in zip(ids, logprobs, strict=True)],
        }
        events.append({"text": "", "output_ids": ids, "meta_info": meta})
    return events


def sglang_new_events(received: Received, sample: Sample) -> list[Event]:
    """The new tokens alone, as SGLang tells them where it was started with `--stream-output`."""
    return sglang_events(received, sample, whole=False)


class Way(NamedTuple):
    """How an engine streams: its protocol and endpoint, the events of a completion, the same in one piece."""

    protocol: str
    path: str
    events: Callable[[Received, Sample], list[Event]]
    response: Callable[..., Event]

    def body(self, received: Received, sample: Sample) -> bytes:
        """A whole stream."""
        counted = {"choices": [], "usage": usage(received, sample.token_ids)}
        last = b"" if self.protocol == "sglang" else sse(counted)
        return b"".join([*map(sse, self.events(received, sample)), last, DONE])


WAYS: dict[str, Way] = {
    "vllm": Way("vllm", GENERATE, vllm_events, vllm_response),
    "vllm before 0.33": Way("vllm", GENERATE, old_vllm_events, vllm_response),
    "completions": Way("completions", COMPLETIONS, completions_events, completions_response),
    "sglang": Way("sglang", SGLANG, sglang_events, sglang_response),
    "sglang --stream-output": Way("sglang", SGLANG, sglang_new_events, sglang_response),
}


def sse(event: object) -> bytes:
    """An event as it is written."""
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


class Body(httpx.AsyncByteStream):
    """A body that arrives in these pieces. Where one is an error it is raised, where one is a number it is slept."""

    def __init__(self, pieces: Sequence[bytes | Exception | float]) -> None:
        self.pieces = pieces
        self.sent = 0
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                self.sent += 1
                yield piece

    async def aclose(self) -> None:
        self.is_closed = True


def engine_in_memory(answer: Callable[[Received], Body | Mapping[str, Any]]) -> httpx.AsyncClient:
    """The client of an engine that answers requests to generate so, in one piece or in many."""
    count = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal count
        if request.method == "GET":
            return httpx.Response(405)
        count += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = msgspec.json.decode(request.content)
        told = answer(Received(count, request.method, request.url.path, headers, body))
        return httpx.Response(200, stream=told) if isinstance(told, Body) else httpx.Response(200, json=told)

    return httpx.AsyncClient(base_url="http://engine", transport=httpx.MockTransport(handle))


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    """A body cut at these places."""
    ends = sorted({place % (len(body) + 1) for place in places} | {0, len(body)})
    return [body[start:end] for start, end in pairwise(ends)]
