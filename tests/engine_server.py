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


class Received(NamedTuple):
    """A request as it arrived; `number` counts those to its path from 1."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def prompt_ids(self) -> list[int]:
        ids: list[int] = self.body.get("token_ids") or self.body["input_ids"]
        return ids

    @property
    def name(self) -> str:
        return str(self.body.get("request_id") or self.body["rid"])


@dataclass(frozen=True)
class Reply:
    """What is sent back: after `delay` seconds, and only the first `sent` bytes before the connection is dropped."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    sent: int | None = None
    length: int | None = None  # what Content-Length says, where that is not the truth

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


def vllm_response(received: Received, ids: Sequence[int] | None = None, finish_reason: str = "stop") -> dict[str, Any]:
    """The answer of vLLM: these ids, or those of the prompt."""
    found, logprobs = sampled(received.prompt_ids, received.body.get("sampling_params", {}).get("min_tokens"))
    if ids is not None:
        found, logprobs = [*ids], [-0.25] * len(ids)
    content: list[dict[str, Any]] = [
        {"token": f"token_id:{k}", "logprob": p, "bytes": None, "top_logprobs": []}
        for k, p in zip(found, logprobs, strict=True)
    ]
    choice = {"index": 0, "token_ids": found, "logprobs": {"content": content}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": len(received.prompt_ids), "completion_tokens": len(found)}
    return {"request_id": f"generate-tokens-{received.name}", "choices": [choice], "usage": usage}


def sglang_response(received: Received, finish_reason: str = "stop") -> dict[str, Any]:
    """The answer of SGLang to a prompt."""
    ids, logprobs = sampled(received.prompt_ids)
    meta = {
        "id": received.name,
        "finish_reason": {"type": finish_reason},
        "prompt_tokens": len(received.prompt_ids),
        "completion_tokens": len(ids),
        "output_token_logprobs": [[p, k, None] for k, p in zip(ids, logprobs, strict=True)],
    }
    return {"text": "", "output_ids": ids, "meta_info": meta}


def healthy(received: Received) -> Reply:
    """What an engine without a fault answers, of whichever kind."""
    match received.path:
        case "/inference/v1/generate":
            return json_reply(vllm_response(received))
        case "/generate":
            return json_reply(sglang_response(received))
        case "/v1/models":
            return json_reply({"object": "list", "data": [{"id": "m", "max_model_len": MAX_MODEL_LEN}]})
        case "/get_server_info":
            return json_reply({"context_length": MAX_MODEL_LEN, "max_total_num_tokens": 2 * MAX_MODEL_LEN})
        case _:
            return json_reply({"detail": "Not Found"}, status=404)


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
        return sum(request.path == path for request in self.requests)

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
