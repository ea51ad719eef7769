"""A small engine on 127.0.0.1 over raw sockets, so that every fault of a real one can be had: drops, halves, garbage.

What it "samples" is a function of the prompt, so that an answer to another prompt is known as such.
`python engine_server.py` serves in a process of its own and prints its URL.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

MAX_MODEL_LEN = 200_000
VOCABULARY = 4000  # ids that every vocabulary of the tests has
GENERATE = "/inference/v1/generate"
SGLANG = "/generate"
COMPLETIONS = "/v1/completions"


class Received(NamedTuple):
    """A request as it arrived; `number` counts those to its path from 1."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def prompt_ids(self) -> list[int]:
        ids: list[int] = self.body.get("token_ids") or self.body.get("input_ids") or self.body["prompt"]
        return ids

    @property
    def probes(self) -> bool:
        """Whether it asks no more than whether an endpoint is there."""
        return self.method == "GET" and self.path in RESPONSES

    @property
    def name(self) -> str:
        """What the engine calls it: vLLM goes by a header first."""
        return str(self.body.get("rid") or self.headers.get("x-request-id") or self.body["request_id"])


@dataclass(frozen=True)
class Reply:
    """What is sent back: after `delay` seconds, and only the first `sent` bytes before the connection is dropped.

    With `hang` the connection stays open for so many seconds after the last byte that is sent.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    sent: int | None = None
    length: int | None = None  # what Content-Length says, where that is not the truth
    hang: float = 0.0

    def raw(self) -> bytes:
        length = len(self.body) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} .", f"Content-Length: {length}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


Answer = Callable[[Received], Reply]


def json_reply(value: object, **options: Any) -> Reply:  # noqa: ANN401 - a Reply's own
    return Reply(msgspec.json.encode(value), **options)


def sampled(prompt_ids: Sequence[int], length: int | None = None) -> tuple[list[int], list[float]]:
    """The completion of a prompt, of so many tokens, and its logprobs."""
    source = random.Random(zlib.crc32(msgspec.json.encode(prompt_ids)))
    ids = [source.randrange(VOCABULARY) for _ in range(length or source.randint(5, 40))]
    return ids, [-source.random() for _ in ids]


def vllm_response(
    received: Received, ids: Sequence[int] | None = None, finish_reason: str = "stop", *, numbered: bool = False
) -> dict[str, Any]:
    """The answer of vLLM: these ids, or those of the prompt; `numbered` is how 0.33 names a token."""
    found, logprobs = _completion(received, ids)
    content = [logprob_entry(k, p, numbered=numbered) for k, p in zip(found, logprobs, strict=True)]
    choice = {"index": 0, "token_ids": found, "logprobs": {"content": content}, "finish_reason": finish_reason}
    return {"request_id": f"generate-tokens-{received.name}", "choices": [choice], "usage": usage(received, found)}


def logprob_entry(token_id: int, logprob: float, *, numbered: bool) -> dict[str, Any]:
    """The log probability of a token, as vLLM 0.33 tells it, or as versions before it do."""
    if numbered:
        return {"token_id": token_id, "logprob": logprob, "rank": 1, "top_logprobs": []}
    return {"token": f"token_id:{token_id}", "logprob": logprob, "bytes": None, "top_logprobs": []}


def completions_response(
    received: Received, ids: Sequence[int] | None = None, finish_reason: str = "stop"
) -> dict[str, Any]:
    """The answer of vLLM's `/v1/completions` to a prompt of ids: these ids, or those of the prompt."""
    found, logprobs = _completion(received, ids)
    told = {"tokens": [f"token_id:{k}" for k in found], "token_logprobs": logprobs, "top_logprobs": None}
    choice = {
        "index": 0, "text": "", "logprobs": told, "finish_reason": finish_reason, "stop_reason": None,
        "token_ids": found, "prompt_token_ids": received.prompt_ids,
    }  # fmt: skip
    return {"id": f"cmpl-{received.name}", "choices": [choice], "usage": usage(received, found)}


def usage(received: Received, ids: Sequence[int]) -> dict[str, int]:
    """How vLLM counts."""
    return {"prompt_tokens": len(received.prompt_ids), "completion_tokens": len(ids)}


def _completion(received: Received, ids: Sequence[int] | None) -> tuple[list[int], list[float]]:
    if ids is not None:
        return [*ids], [-0.25] * len(ids)
    return sampled(received.prompt_ids, received.body.get("sampling_params", received.body).get("min_tokens"))


def sglang_response(
    received: Received, ids: Sequence[int] | None = None, finish_reason: str = "stop"
) -> dict[str, Any]:
    """The answer of SGLang: these ids, or those of the prompt."""
    ids, logprobs = _completion(received, ids)
    meta = {
        "id": received.name,
        "finish_reason": {"type": finish_reason},
        "prompt_tokens": len(received.prompt_ids),
        "completion_tokens": len(ids),
        "output_token_logprobs": [[p, k, None] for k, p in zip(ids, logprobs, strict=True)],
    }
    return {"text": "", "output_ids": ids, "meta_info": meta}


RESPONSES: dict[str, Callable[[Received], dict[str, Any]]] = {
    GENERATE: vllm_response,
    SGLANG: sglang_response,
    COMPLETIONS: completions_response,
}
"""The endpoints that take ids, and how they answer."""

TELLING: dict[str, dict[str, Any]] = {
    "/v1/models": {"object": "list", "data": [{"id": "m", "max_model_len": MAX_MODEL_LEN}]},
    "/server_info": {
        "context_length": None,
        "max_req_input_len": MAX_MODEL_LEN,
        "max_total_num_tokens": 2 * MAX_MODEL_LEN,
    },
    "/get_server_info": {"context_length": MAX_MODEL_LEN, "max_total_num_tokens": 2 * MAX_MODEL_LEN},
}


def healthy(received: Received) -> Reply:
    """What an engine without a fault answers, of whichever kind."""
    if received.path in TELLING:
        return json_reply(TELLING[received.path])
    if received.path not in RESPONSES:
        return json_reply({"detail": "Not Found"}, status=404)
    if received.method != "POST":
        return json_reply({"detail": "Method Not Allowed"}, status=405)
    return json_reply(RESPONSES[received.path](received))


def only(*paths: str) -> Answer:
    """An engine that has these endpoints and no others."""
    return lambda got: healthy(got) if got.path in paths else json_reply({"detail": "Not Found"}, status=404)


def generating(answer: Answer) -> Answer:
    """An engine that answers requests to generate in this way, and all others as it should."""
    return lambda received: answer(received) if received.method == "POST" else healthy(received)


@dataclass
class Engine:
    """A running server: where it is, what it was asked, how many requests were given up by who sent them."""

    answer: Answer
    url: str = ""
    requests: list[Received] = field(default_factory=list)
    abandoned: int = 0
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def generates(self) -> list[Received]:
        return [request for request in self.requests if request.method == "POST"]

    def count(self, path: str) -> int:
        """How many requests there were; questions whether an endpoint is there are no requests to it."""
        return sum(request.path == path and not request.probes for request in self.requests)

    @property
    def probes(self) -> list[str]:
        """The endpoints that were looked for, in order."""
        return [request.path for request in self.requests if request.probes]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while await self._answered(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client or the test is done
        finally:
            self.connections.discard(task)
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on after one more request."""
        received = await self._received(reader)
        self.requests.append(received)
        reply = self.answer(received)
        if reply.delay and await _left(reader, reply.delay):
            self.abandoned += 1
            return False
        raw = reply.raw()
        writer.write(raw[: reply.sent])
        await writer.drain()
        if reply.hang and await _left(reader, reply.hang):
            self.abandoned += 1
            return False
        return reply.sent is None and reply.length is None

    async def _received(self, reader: asyncio.StreamReader) -> Received:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Received(self.count(path) + 1, method, path, headers, msgspec.json.decode(body) if body else {})


async def _left(reader: asyncio.StreamReader, delay: float) -> bool:
    """Whether the client goes away within so many seconds."""
    try:
        async with asyncio.timeout(delay):
            return await reader.read(1) == b""
    except TimeoutError:
        return False


@asynccontextmanager
async def engine(answer: Answer = healthy) -> AsyncIterator[Engine]:
    """A server, up while the block runs."""
    found = Engine(answer)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, limit=2**24, backlog=1024)
    found.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield found
    finally:
        server.close()
        for task in found.connections:
            task.cancel()


async def _forever() -> None:
    async with engine() as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_forever())
