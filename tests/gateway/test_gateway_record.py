"""The record: on disk before the last byte, whole after a kill, held to its model, written out as samples."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet
import pytest
from msgspec.structs import replace as replaced

from engine_server import Received, Reply, generating
from gateway_running import running, saying, streamed
from gateway_sessions import CALL, SEARCH, recorded, user, with_turn
from growing import RATIO, grown
from isc.cli import main
from isc.gateway import GatewayClient, Session, match, samples
from isc.gateway.reports import session_report
from isc.gateway.serving import Bounds
from isc.gateway.store import RecordedSession, RecordedTurn, RecordError, Store, read_all

ASKED = [user("Find cats")]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    session = recorded(tmp_path / "runs.sqlite")
    (found,) = read_all(tmp_path / "runs.sqlite")
    assert tuple(one.turn for one in found.turns) == session.turns
    assert [one.delivery for one in found.turns] == ["sent", "unknown"]


def test_a_record_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    recorded(path, "Qwen3")
    with pytest.raises(RecordError, match="another model"):
        Store(path, "Llama")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE about SET value = '99' WHERE name = 'format'")
    with pytest.raises(RecordError, match="another version"):
        Store(path, "Qwen3")


@pytest.mark.parametrize("content", [None, b"", b"no database", b"SQLite format 3\x00" + b"\xff" * 4000])
def test_what_is_no_record_is_said_to_be_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "runs.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=r"runs\.sqlite"):
        read_all(path)


def test_a_turn_that_cannot_be_written_is_not_answered(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying("Yes.<|im_end|>")) as gateway:
        gateway.chat(ASKED)
        blocker = sqlite3.connect(gateway.record)
        blocker.execute("DROP TABLE turns")
        blocker.commit()
        whole, pieces = gateway.chat(ASKED), gateway.chat(ASKED, stream=True)
        blocker.close()
    assert whole.status_code == 500
    assert "could not be recorded" in whole.json()["error"]["message"]
    assert "could not be recorded" in pieces.text
    assert "[DONE]" not in pieces.text


def test_samples_are_written_as_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, parquet, lines = tmp_path / "runs.sqlite", tmp_path / "e.parquet", tmp_path / "e.jsonl"
    with running(record, saying(f"<think>Hm.</think>{CALL}<|im_end|>", "Yes.<|im_end|>")) as gateway:
        first = gateway.chat(ASKED, tools=SEARCH).json()["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "[]"}
        gateway.chat([*ASKED, first, result], tools=SEARCH)
        gateway.chat(ASKED, session="other")
        gateway.post("/finish", {"reward": 0.75})
        assert main(["export", str(record), "-o", str(parquet)]) == 0  # while it is served
        told = [gateway.get("/samples", session=name).json()["samples"][0]["sample"] for name in ("run-1", "other")]
    assert "2 samples of 2 sessions" in " ".join(capsys.readouterr().out.split())  # a long path breaks the line
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(str(parquet)).to_pylist()
    assert main(["export", str(record), "-o", str(lines), "--finished"]) == 0
    (row,) = [json.loads(line) for line in lines.read_text().splitlines()]
    by_session = {one["session"]: one for one in rows}
    assert [by_session[name]["input_ids"] for name in ("run-1", "other")] == [s["rendered"]["token_ids"] for s in told]
    one = by_session["run-1"]
    assert (one["reward"], one["finished"], one["branch"], by_session["other"]["reward"]) == (0.75, True, 1, None)
    assert [value is not None for value in one["logprobs"]] == one["loss_mask"]
    assert one["logprobs"] == told[0]["logprobs"]
    assert [message["role"] for message in json.loads(one["messages"])] == ["user", "assistant", "tool", "assistant"]
    owners = {owner for owner, mask in zip(one["message_indices"], one["loss_mask"], strict=True) if mask}
    assert {one["message_roles"][owner] for owner in owners} == {"assistant"}
    spans = json.loads(one["spans"])
    assert [[start, end] for start, end, *_ in spans] == told[0]["loss_spans"]
    same = {**one, "messages": json.loads(one["messages"]), "spans": spans}
    assert row == same


def test_export_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "runs.sqlite"
    recorded(record)
    for arguments, problem in (
        (["-o", "x.csv"], "must end in .jsonl or .parquet"),
        (["-o", str(tmp_path / "x.jsonl"), "--session", "b"], "no such session"),
        (["-o", str(record)], "exists already"),
    ):
        assert main(["export", str(record), *arguments]) == 2
        assert problem in capsys.readouterr().err
    assert main(["export", str(tmp_path / "never"), "-o", str(tmp_path / "x.jsonl")]) == 2


def test_serve_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["serve", "--engine", "http://127.0.0.1:1", "--family", "qwen3", "--record", str(tmp_path / "r.sqlite")]
    assert main([*given, "--host", "0.0.0.0"]) == 2
    assert "give them a --token" in capsys.readouterr().err
    assert main([*given, "--keep-for", "5m"]) == 2
    assert "5m is no age" in capsys.readouterr().err
    recorded(tmp_path / "r.sqlite", "another")
    assert main(given) == 2
    assert "another model" in capsys.readouterr().err


@contextmanager
def served(record: Path, engine: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`isc serve` in a process of its own, and its URL."""
    command = [sys.executable, "-m", "isc.cli", "serve", "--engine", engine, "--family", "qwen3", "--protocol", "vllm"]
    command += ["--record", str(record), "--port", "0", "--thinking-retention", "all"]
    log = record.with_suffix(".log").open("a")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on "), record.with_suffix(".log").read_text()
        yield process, line.split()[2].rstrip(",")
    finally:
        process.kill()
        process.wait()
        log.close()


class Agent(threading.Thread):
    """Asks turn after turn, streamed, and keeps those of which the last byte came."""

    def __init__(self, url: str, name: str, history: list[Any]) -> None:
        super().__init__(daemon=True)
        self.url = f"{url}/sessions/{name}/v1/chat/completions"
        self.history = history
        self.ids: list[str] = []

    def run(self) -> None:
        with suppress(httpx.HTTPError), httpx.Client(timeout=30) as http:
            while True:
                body = {"model": "qwen3", "messages": self.history, "stream": True}
                text, identity = "", ""
                with http.stream("POST", self.url, json=body) as answer:
                    for line in answer.iter_lines():
                        if line == "data: [DONE]":
                            break
                        if line.startswith("data: "):
                            chunk = json.loads(line[6:])
                            identity = chunk["id"].removeprefix("chatcmpl-")
                            text += "".join(one["delta"].get("content") or "" for one in chunk["choices"])
                    else:
                        return
                self.ids.append(identity)
                self.history = [*self.history, {"role": "assistant", "content": text}, user("secret word")]


def test_a_kill_loses_no_answered_turn_and_shows_none_that_was_not_answered(tmp_path: Path) -> None:
    """Killed at any moment, with four agents at work, and started again."""
    record = tmp_path / "runs.sqlite"
    histories: dict[str, list[Any]] = {f"agent-{number}": [*ASKED] for number in range(4)}
    ids: dict[str, list[str]] = {name: [] for name in histories}
    unknown = 0
    with running(tmp_path / "unused.sqlite", generating(_numbered)) as other:
        for seconds in (0.31, 0.17, 0.43):
            with served(record, other.engines[0].url) as (process, url):
                agents = {name: Agent(url, name, history) for name, history in histories.items()}
                for agent in agents.values():
                    agent.start()
                _until_answered(agents, seconds)
                os.kill(process.pid, signal.SIGKILL)
                for name, agent in agents.items():
                    agent.join(30)
                    histories[name], ids[name] = agent.history, ids[name] + agent.ids
            unknown = _held(record, ids)
        with served(record, other.engines[0].url) as (_, url):  # goes on from what it was
            body = {"model": "qwen3", "messages": histories["agent-0"]}
            answer = httpx.post(f"{url}/sessions/agent-0/v1/chat/completions", json=body, timeout=30)
            assert answer.headers["x-isc-continued"] == "extended"
    assert sum(map(len, ids.values())) > 12
    assert unknown <= 4 * 3
    assert "secret word" not in record.with_suffix(".log").read_text()


def _numbered(received: Received) -> Reply:
    """An answer of its own for every prompt."""
    return streamed(received, f"Answer {sum(received.prompt_ids) % 9973}.<|im_end|>")


def _until_answered(agents: dict[str, Agent], seconds: float) -> None:
    deadline = time.monotonic() + 20
    while not all(agent.ids for agent in agents.values()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(seconds)


def _held(record: Path, ids: dict[str, list[str]]) -> int:
    """Hold a record to what agents got, and count the turns of which it is not known whether they were sent."""
    unknown = 0
    for session in read_all(record):
        shown = {one.turn.id: one.delivery for one in session.turns if one.delivery != "dropped"}
        assert set(ids[session.name]) <= set(shown)
        others = Counter(delivery for name, delivery in shown.items() if name not in ids[session.name])
        assert set(others) <= {"unknown"}, "a turn that no agent got is said to be sent"
        unknown += others["unknown"]
    return unknown


def test_who_stops_waiting_does_not_stop_the_record(tmp_path: Path) -> None:
    session = with_turn(Session("a"), ASKED, "Yes.<|im_end|>")
    store = Store(tmp_path / "runs.sqlite")

    async def leave() -> None:
        waiting = [asyncio.ensure_future(store.session("a")) for _ in range(20)]
        writing = asyncio.ensure_future(store.add("a", session.turns))
        await asyncio.sleep(0)
        for task in (*waiting, writing):
            task.cancel()
        await asyncio.gather(*waiting, writing, return_exceptions=True)
        found = await asyncio.wait_for(store.session("a"), 10)
        assert found is not None
        assert [one.turn for one in found.turns] == list(session.turns)

    asyncio.run(leave())
    store.close()


def test_a_turn_that_could_not_be_written_leaves_its_number_empty() -> None:
    session = with_turn(with_turn(Session("a"), ASKED, "No.<|im_end|>"), ASKED, "Yes.<|im_end|>")
    history = [*ASKED, {"role": "assistant", "content": "Yes."}, user("?")]
    session = with_turn(session, history, "Sure.<|im_end|>")
    read = Session.of("a", session.turns[1:])
    assert read.sequence(2) == session.sequence(2)
    assert match(read, history, SEARCH) == match(session, history, SEARCH)
    assert [sample.branch for sample in samples(read)] == [2]


def test_sessions_go_by_age_but_for_those_that_are_being_answered(tmp_path: Path) -> None:
    delays = iter([0.0] * 4 + [1.0, 0.0])
    answers = generating(lambda received: replace(streamed(received, "Yes.<|im_end|>"), delay=next(delays)))
    bounds = Bounds(keep_seconds=3600)
    with running(tmp_path / "runs.sqlite", answers, bounds=bounds) as gateway, ThreadPoolExecutor() as pool:
        for name in ("old", "busy", "finished"):
            gateway.chat(ASKED, session=name)
        gateway.post("/finish", {}, "finished")
        moment = time.time()
        gateway.chat(ASKED, session="new")
        answer = pool.submit(gateway.chat, ASKED, session="busy")
        while len(gateway.engines[0].generates) < 5:  # the engine has it
            assert not answer.done()
            time.sleep(0.01)
        removing = asyncio.run_coroutine_threadsafe(gateway.gateway.remove_idle(moment), gateway.loop)
        assert removing.result(10) == 2
        assert answer.result().status_code == 200
        assert httpx.get(f"{gateway.url}/sessions", timeout=10).json() == {"sessions": ["busy", "new"]}
        again = gateway.chat(ASKED, session="finished")
        assert (again.status_code, gateway.get("", "finished").json()["turns"][0]["origin"]["reason"]) == (200, "first")


def test_a_gateway_removes_sessions_by_itself(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying("Yes.<|im_end|>"), bounds=Bounds(keep_seconds=0.2)) as gateway:
        assert gateway.chat(ASKED).status_code == 200
        deadline = time.monotonic() + 20
        while gateway.get("").status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert read_all(tmp_path / "runs.sqlite") == []


def test_a_record_without_ages_is_gone_on_with(tmp_path: Path) -> None:
    path, before = tmp_path / "runs.sqlite", time.time()
    recorded(path)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE sessions DROP COLUMN answered")
    store = Store(path, "m")
    assert asyncio.run(store.idle(before)) == ()  # it is not known when they were answered: counted from now
    assert asyncio.run(store.idle(time.time())) == ("a",)
    store.close()


def test_the_tree_of_a_session_grows_with_its_turns() -> None:
    @cache
    def session(count: int) -> RecordedSession:
        turn = with_turn(Session("a"), ASKED, "Yes.<|im_end|>").turns[0]
        turns = [replaced(turn, number=number, parent=number - 1, base=number - 1) for number in range(1, count)]
        return RecordedSession("a", 0.0, turns=tuple([RecordedTurn(one, "sent") for one in (turn, *turns)]))

    assert grown(lambda count: session_report(session(count))) <= RATIO
    tree = with_turn(Session("a"), ASKED, "Yes.<|im_end|>")
    tree = with_turn(tree, [*ASKED, {"role": "assistant", "content": "Yes."}, user("?")], "No.<|im_end|>")
    told = session_report(RecordedSession("a", 0.0, turns=tuple([RecordedTurn(turn, "sent") for turn in tree.turns])))
    assert [turn.prompt_tokens for turn in told.turns] == [len(tree.prompt(number)) for number in range(2)]


def test_a_session_that_is_removed_takes_no_answer_on_its_way(tmp_path: Path) -> None:
    slow = generating(lambda received: replace(streamed(received, "Yes.<|im_end|>"), delay=0.5))
    with running(tmp_path / "runs.sqlite", slow) as gateway, ThreadPoolExecutor() as pool:
        gateway.chat(ASKED)
        answer = pool.submit(gateway.chat, ASKED)
        time.sleep(0.2)
        with GatewayClient(gateway.url) as trainer:
            trainer.remove("run-1")
        assert answer.result().status_code == 404
        assert gateway.get("").status_code == 404
        assert gateway.chat(ASKED).status_code == 200
