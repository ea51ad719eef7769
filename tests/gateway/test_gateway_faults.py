"""Engines that fail and agents that go away: requests end in an answer or an error, and nothing else is recorded."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine_server import Received, Reply, generating, json_reply
from gateway_running import Running, running, saying, streamed
from gateway_sessions import QWEN, ids_of, user

ASKED = [user("Find cats")]
TEXT = "One two three four five six seven eight.<|im_end|>"


def half(received: Received) -> Reply:
    """A stream that breaks off in the middle of the answer."""
    whole = streamed(received, TEXT).body
    return Reply(whole, sent=100 + len(whole) // 2)


def going_on(received: Received) -> Reply:
    """The rest of the text behind what the prompt holds of it."""
    ids = ids_of(QWEN, TEXT)
    prompt = received.prompt_ids
    known = next(k for k in range(len(ids), -1, -1) if prompt[len(prompt) - k :] == list(ids[:k]))
    rest = QWEN.encoder.decode_bytes(ids[known:]).decode()
    assert ids_of(QWEN, rest) == ids[known:]
    return streamed(received, rest)


def turns(gateway: Running) -> list[dict[str, Any]]:
    answer = gateway.get("")
    found: list[dict[str, Any]] = answer.json()["turns"] if answer.status_code == 200 else []
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_breaks_off_is_gone_on_with_from_the_sampled_ids(tmp_path: Path, stream: bool) -> None:
    asked: list[Received] = []

    def once_half(received: Received) -> Reply:
        asked.append(received)
        return half(received) if len(asked) == 1 else going_on(received)

    engine = generating(once_half)
    with running(tmp_path / "runs.sqlite", engine, engine) as gateway:
        answer = gateway.chat(ASKED, stream=stream)
        (turn,) = turns(gateway)
        (rewarded,) = gateway.get("/samples").json()["samples"]
    if stream:
        chunks = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    else:
        text = answer.json()["choices"][0]["message"]["content"]
    assert text == TEXT.removesuffix("<|im_end|>")
    first, second = (request.prompt_ids for request in asked)
    assert second[: len(first)] == first
    assert 0 < len(second) - len(first) < len(ids_of(QWEN, TEXT))
    assert rewarded["sample"]["rendered"]["token_ids"] == [*first, *ids_of(QWEN, TEXT)]
    sizes = [piece[0] for piece in turn["pieces"]]
    assert sizes == [len(second) - len(first), len(ids_of(QWEN, TEXT)) - sizes[0]]
    assert len({piece[2] for piece in turn["pieces"]}) == 2


FAULTS: dict[str, Callable[[Received], Reply]] = {
    "no answer": lambda _: Reply(b"", sent=0),
    "500": lambda _: json_reply({"error": "out of memory"}, status=500),
    "half": half,
    "garbage": lambda _: Reply(b"data: {oops\n\n"),
    "an abort": lambda received: streamed(received, TEXT, "abort"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_of_the_dialect_and_no_turn(tmp_path: Path, fault: str, stream: bool) -> None:
    with running(tmp_path / "runs.sqlite", generating(FAULTS[fault]), attempts=2) as gateway:
        answer = gateway.chat(ASKED, stream=stream)
        assert turns(gateway) == []
    if answer.status_code == 200:  # something was told before
        assert stream
        assert fault in ("half", "an abort")
        *_, last = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
        assert last["error"]["type"] == "server_error"
    else:
        assert answer.status_code == 502
        assert answer.json()["error"]["type"] == "server_error"
        assert "127.0.0.1" not in answer.text


def test_what_the_engine_refuses_is_the_agents_mistake(tmp_path: Path) -> None:
    engine = generating(lambda _: json_reply({"error": {"message": "seed is too large"}}, status=400))
    with running(tmp_path / "runs.sqlite", engine) as gateway:
        answer = gateway.chat(ASKED, seed=2**40)
    assert answer.status_code == 400
    assert "seed is too large" in answer.json()["error"]["message"]


def test_an_engine_that_is_slow_is_a_timeout(tmp_path: Path) -> None:
    slow = generating(lambda received: replace(streamed(received, TEXT), delay=5.0))
    with running(tmp_path / "runs.sqlite", slow, attempts=1, timeout=0.3) as gateway:
        assert gateway.chat(ASKED).status_code == 504


def test_sessions_keep_to_an_engine_and_leave_one_that_is_down(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying(TEXT), saying(TEXT), saying(TEXT)) as gateway:
        names = [f"session-{number}" for number in range(12)]
        for name in names * 2:
            gateway.chat(ASKED, session=name)
        counts = [len(engine.generates) for engine in gateway.engines]
        assert sum(counts) == 24
        assert all(count % 2 == 0 and count for count in counts)
        down = gateway.gateway.engines.engines[0]
        down.is_up = False
        before = [gateway.gateway.engines.order(name)[0].url for name in names]
        assert down.url not in before
        assert set(before) == {engine.url for engine in gateway.engines[1:]}


def test_engines_that_come_back_are_asked_again(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying(TEXT), watch=0.05) as gateway:
        gateway.gateway.engines.engines[0].is_up = False
        deadline = time.monotonic() + 10
        while httpx.get(f"{gateway.url}/health").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert httpx.get(f"{gateway.url}/health").json()["engines_up"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_that_goes_away_stops_the_engine_and_leaves_no_turn(tmp_path: Path, stream: bool) -> None:
    def hanging(received: Received) -> Reply:
        body = streamed(received, TEXT).body
        return Reply(body, sent=120 + len(body) // 2, hang=30.0)

    with running(tmp_path / "runs.sqlite", generating(hanging)) as gateway:
        body = json.dumps({"model": "m", "messages": ASKED, "stream": stream}).encode()
        host, _, port = gateway.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as agent:
            head = f"POST /sessions/run-1/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}"
            agent.sendall(f"{head}\r\n\r\n".encode() + body)
            _until(lambda: len(gateway.engines[0].generates) == 1)
            if stream:
                assert b"200" in agent.recv(4096)
        _until(lambda: gateway.engines[0].abandoned == 1)
        assert turns(gateway) == []


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_answer_that_was_not_sent_is_no_turn_to_go_on_from(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying(TEXT)) as gateway:
        gateway.chat(ASKED)
        _until(lambda: [turn["delivery"] for turn in turns(gateway)] == ["sent"])  # noted after the agent has it
        gateway.gateway.note("run-1", [0], "dropped")
        history = [*ASKED, {"role": "assistant", "content": TEXT.removesuffix("<|im_end|>")}, user("?")]
        assert gateway.chat(history).headers["x-isc-continued"] == "rendered"
        assert [turn["number"] for turn in turns(gateway)] == [1]
        assert len(gateway.get("/samples").json()["samples"]) == 1
