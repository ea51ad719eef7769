"""Agents through the gateway before the real engine: trainer and sampler agree on every exported id."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

import isc
from engine.episodes import vocabulary
from engine.model import TinyModel
from engine.server import Engine, served
from golden_conversations import TOOLS, user
from isc.gateway import GatewayClient, Session, samples
from isc.gateway.access import Access
from isc.gateway.answering import Gateway
from isc.gateway.engines import Engines
from isc.gateway.export import rows
from isc.gateway.reports import session_samples
from isc.gateway.server import application
from isc.gateway.serving import Bounds
from isc.gateway.store import RecordedSession, Store, read_all

TOLERANCE = 1e-4
EPISODES = 16
RENDERER = isc.Renderer(isc.Qwen3(), vocabulary(), "all")
_RESULTS = ("12:00", "\nline\n", "3.14 e\u0301", "", "<|im_end|> said a tool", "漢字", '{"hits": []}')


@contextmanager
def gateway(record: Path, engine: str, protocol: str) -> Iterator[str]:
    """A gateway's root URL, up until the end."""

    def made() -> Gateway:
        engines = Engines(RENDERER, [engine], protocol=protocol)  # type: ignore[arg-type]  # one of the names
        return Gateway(RENDERER, engines, Store(record, "tiny"), Bounds())

    configuration = uvicorn.Config(application(made, Access(("tiny",))), "127.0.0.1", 0, log_level="error")
    server = uvicorn.Server(configuration)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def play(url: str, name: str, dice: random.Random) -> int:
    """Play one episode as a plain agent does: by OpenAI's SDK, reasoning dropped. Return how many turns it had."""
    client: Any = openai.OpenAI(base_url=f"{url}/sessions/{name}/v1", api_key="x", max_retries=0)
    history: list[Any] = [user(dice.choice(("What time is it?", "Find cats", "?")))]
    count = dice.randint(3, 6)
    for _ in range(count):
        limits: dict[str, Any] = {"max_tokens": dice.choice((32, 96, 96)), "temperature": 1.0}
        if dice.random() < 0.5:
            whole = client.chat.completions.create(model="tiny", messages=history, tools=TOOLS, **limits)
            message = whole.choices[0].message.model_dump(exclude_none=True)
        else:
            message = _streamed(client, history, limits)
        message.pop("reasoning_content", None)
        history.append(message)
        calls = message.get("tool_calls") or []
        results = [{"role": "tool", "tool_call_id": call["id"], "content": dice.choice(_RESULTS)} for call in calls]
        history += results or [user("Go on.")]
    return count


def _streamed(client: Any, history: list[Any], limits: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """The next message, put together from chunks."""
    text, calls = "", dict[int, dict[str, Any]]()
    chunks = client.chat.completions.create(model="tiny", messages=history, tools=TOOLS, stream=True, **limits)
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for part in choice.delta.tool_calls or ():
                known = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
                call = calls.setdefault(part.index, known)
                call["id"] += part.id or ""
                call["function"]["name"] += part.function.name or ""
                call["function"]["arguments"] += part.function.arguments or ""
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls.values())} if calls else {})}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[RecordedSession]:
    record = tmp_path_factory.mktemp("gateway") / "runs.sqlite"
    dice = random.Random(7)
    with served(Engine(TinyModel(len(vocabulary())), vocabulary(), 7)) as engine:
        for protocol in ("vllm", "sglang"):
            with gateway(record, engine, protocol) as url:
                turns = {f"{protocol}-{number}": 0 for number in range(EPISODES // 2)}
                for name in turns:
                    turns[name] = play(url, name, dice)
                with GatewayClient(url) as trainer:
                    assert {name: len(trainer.session(name).turns) for name in turns} == turns
    return read_all(record)


def test_the_trainer_sees_what_the_sampler_saw(recorded: list[RecordedSession]) -> None:
    trainer = TinyModel(len(vocabulary()))
    distances: list[float] = []
    for row in rows(map(session_samples, recorded)):
        columns = zip(trainer.scores(row.input_ids), row.logprobs, row.loss_mask, strict=True)
        pairs = [(ours, told) for ours, told, trained in columns if trained]
        distances += [abs(ours - told) for ours, told in pairs if told is not None]
        assert all(told is not None for _, told in pairs)
    assert len(distances) == sum(len(one.turn.completion_ids) for session in recorded for one in session.turns)
    assert len(distances) > 1000
    assert max(distances) <= TOLERANCE


def test_no_id_is_rewritten(recorded: list[RecordedSession]) -> None:
    """Each episode is one sample: prompts begin with all that was sampled, but after reasoning that was cut off."""
    origins = Counter((one.turn.origin.continued, one.turn.origin.reason) for s in recorded for one in s.turns)
    assert set(origins) <= {("rendered", "first"), ("extended", ""), ("rendered", "reasoning_stopped")}
    assert origins["rendered", "first"] == EPISODES
    assert origins["extended", ""] > 30
    for session in recorded:
        tree = Session.of(session.name, tuple(one.turn for one in session.turns))
        stopped = sum(one.turn.origin.reason == "reasoning_stopped" for one in session.turns)
        assert len(samples(tree)) <= 1 + stopped


def test_the_episodes_are_worth_the_name(recorded: list[RecordedSession]) -> None:
    turns = [one.turn for session in recorded for one in session.turns]
    calls = [call for turn in turns for call in turn.said.tool_calls]
    assert len(calls) > 15
    texts = [str(turn.shown.content) for turn in turns]
    assert any("<tool_call>" in text for text in texts), "malformed calls are shown as text"
    assert {turn.finish_reason for turn in turns} == {"stop", "length", "tool_calls"}
