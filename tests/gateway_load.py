"""Many agents at once before engines that fail: what became of every request, and whether the record is true.

Engines say whose turn it is, so an answer to another session is known as such.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from engine_server import Received, Reply, engine, generating, json_reply
from gateway_running import streamed
from gateway_sessions import QWEN, ids_of, user
from isc.gateway import Session
from isc.gateway.store import read_all
from isc.testing.gateway import sampled_once

_WHO = re.compile(r"session-\d+")
_ERRORS = {400, 429, 500, 502, 503, 504}


@dataclass
class Tally:
    """What became of a load: outcomes of requests, and whatever must not be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    strangers: int = 0
    answered: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def turns(self) -> int:
        """How many turns agents got."""
        return sum(map(len, self.answered.values()))


def says(received: Received) -> str:
    """The answer to a prompt, whole: whose it is, and how many times its user has spoken."""
    text = QWEN.encoder.decode_bytes(tuple(received.prompt_ids)).decode("utf-8", "replace")
    name = _WHO.search(text)
    spoken = text.count("<|im_start|>user")
    return f"{name[0] if name else '?'} hears {spoken} times and says one two three four five six.<|im_end|>"


def going_on(received: Received) -> Reply:
    """The rest of the answer behind what the prompt holds of it."""
    ids, prompt = ids_of(QWEN, says(received)), received.prompt_ids
    known = next(k for k in range(len(ids) - 1, -1, -1) if prompt[len(prompt) - k :] == list(ids[:k]))
    rest = QWEN.encoder.decode_bytes(ids[known:]).decode()
    return streamed(received, rest)


def failing(seed: int, share: float) -> Callable[[Received], Reply]:
    """An engine that answers this share of requests with a fault, of every kind there is."""
    dice = random.Random(seed)

    def answer(received: Received) -> Reply:
        whole = going_on(received)
        kind = dice.choice(("drop", "half", "500", "slow", "garbage")) if dice.random() < share else ""
        if kind == "drop":
            return Reply(b"", sent=0)
        if kind == "half":
            return replace(whole, sent=100 + dice.randrange(len(whole.body)))
        if kind == "500":
            return json_reply({"error": "overloaded"}, status=500)
        if kind == "garbage":
            return Reply(b"data: {oops\n\n")
        return replace(whole, delay=0.5 * dice.random()) if kind == "slow" else whole

    return generating(answer)


@asynccontextmanager
async def served(record: Path, engines: list[str]) -> AsyncIterator[tuple[str, int]]:
    """`isc serve` in a process of its own: its URL and its process."""
    command = [sys.executable, "-m", "isc.cli", "serve", "--family", "qwen3", "--protocol", "vllm", "--port", "0"]
    command += [*(word for url in engines for word in ("--engine", url)), "--record", str(record)]
    command += ["--thinking-retention", "all"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("serving on "), line
        yield line.split()[2].rstrip(","), process.pid
    finally:
        process.terminate()
        await process.communicate()


def cpu_seconds(pid: int) -> float:
    """The processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Agent:
    """One session: asks, retries what failed, goes away from some answers in the middle, and goes on."""

    def __init__(self, http: httpx.AsyncClient, url: str, name: str, dice: random.Random, tally: Tally) -> None:
        self.http = http
        self.url = f"{url}/sessions/{name}/v1/chat/completions"
        self.name = name
        self.dice = dice
        self.tally = tally
        self.history: list[Any] = [user(f"I am {name}")]
        self.tally.answered[name] = []

    async def run(self, turns: int, leaving: float) -> None:
        """Play so many turns."""
        for _ in range(turns):
            text = None
            for _ in range(40):
                stream = self.dice.random() < 0.5
                text = await self._asked(stream, leaves=stream and self.dice.random() < leaving)
                if text is not None:
                    break
            if text is None:
                self.tally.problems.append(f"{self.name} never got an answer")
                return
            expected = f"{self.name} hears {sum(m['role'] == 'user' for m in self.history)} times"
            self.tally.strangers += not text.startswith(expected)
            self.history += [{"role": "assistant", "content": text}, user(f"Go on, {self.name}")]

    async def _asked(self, stream: bool, *, leaves: bool) -> str | None:
        """The next answer; None where there was an error, or the agent went away."""
        body = {"model": "qwen3", "messages": self.history, "stream": stream}
        try:
            if not stream:
                answer = await self.http.post(self.url, json=body)
                return self._read(answer.status_code, answer.content)
            async with self.http.stream("POST", self.url, json=body) as answer:
                if answer.status_code != 200:
                    return self._read(answer.status_code, await answer.aread())
                return await self._streamed(answer, leaves=leaves)
        except httpx.HTTPError as error:
            self.tally.problems.append(f"{self.name}: {type(error).__name__} {error}")
            return None

    def _read(self, status: int, content: bytes) -> str | None:
        told = json.loads(content)
        if status == 200:
            return self._got(told["id"], str(told["choices"][0]["message"]["content"]))
        if status not in _ERRORS or not told["error"]["message"]:
            self.tally.problems.append(f"{self.name}: {status} {told}")
        self.tally.outcomes[f"error {status}"] += 1
        return None

    async def _streamed(self, answer: httpx.Response, *, leaves: bool) -> str | None:
        text, identity = "", ""
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                return self._got(identity, text)
            if not line.startswith("data: "):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                self.tally.outcomes["error in a stream"] += 1
                return None
            identity = chunk["id"]
            text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
            if leaves and text:
                self.tally.outcomes["left"] += 1
                return None
        self.tally.problems.append(f"{self.name}: a stream without an end")
        return None

    def _got(self, identity: str, text: str) -> str:
        self.tally.outcomes["answered"] += 1
        self.tally.answered[self.name].append(identity.removeprefix("chatcmpl-"))
        return text


async def load(
    record: Path, sessions: int, turns: int, *, share: float = 0.25, leaving: float = 0.05, seed: int = 0
) -> Tally:
    """Play so many sessions at once before two engines that fail, and hold the record to what agents got."""
    tally, dice = Tally(), random.Random(seed)
    limits = httpx.Limits(max_connections=None)
    async with (
        engine(failing(seed, share)) as first,
        engine(failing(seed + 1, share)) as second,
        served(record, [first.url, second.url]) as (url, pid),
        httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as http,
    ):
        names = [f"session-{number}" for number in range(sessions)]
        agents = [Agent(http, url, name, random.Random(dice.random()), tally) for name in names]
        start, before = time.perf_counter(), cpu_seconds(pid)
        await asyncio.gather(*(agent.run(turns, leaving) for agent in agents))
        tally.seconds, tally.cpu_seconds = time.perf_counter() - start, cpu_seconds(pid) - before
    hold(record, tally)
    return tally


def hold(record: Path, tally: Tally) -> None:
    """Hold a record to what agents got: nothing is lost, mixed or counted twice."""
    recorded = {session.name: session for session in read_all(record)}
    if recorded.keys() != tally.answered.keys():
        tally.problems.append("there are other sessions than agents")
    for name, ids in tally.answered.items():
        kept = [one for one in recorded[name].turns if one.delivery != "dropped"]
        shown = Counter(one.turn.id for one in kept)
        if set(shown.values()) - {1} or len(set(ids)) != len(ids):
            tally.problems.append(f"{name}: a turn is there twice")
        if not set(ids) <= set(shown):
            tally.problems.append(f"{name}: an answered turn is lost")
        if any(not str(one.turn.said.content).startswith(f"{name} hears") for one in kept):
            tally.problems.append(f"{name}: another's turn")
        sampled_once(Session.of(name, tuple(one.turn for one in recorded[name].turns)))
