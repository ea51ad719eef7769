"""Each agent does its task to the end through the gateway, and its episode is one sample of the very ids.

The model behind the gateway is drafted: it calls a tool, then says that it is done. What the agent makes of that, and
what it sends back, is its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine_server import Received, Reply, generating
from gateway_running import Running, running, streamed
from gateway_sessions import QWEN
from isc.gateway import GatewayClient
from real_agents.libraries import LIBRARIES, SUBMIT, TASK, WRITE

NODE = Path(__file__).parents[2] / ".venv" / "agents" / "node_modules" / ".bin"
DONE = "<think>\nDone.\n</think>\n\nCreated hello.txt.<|im_end|>"
TITLE = "<think>\nA title.\n</think>\n\nA file<|im_end|>"
FILE = {"path": "hello.txt", "content": "hello\n"}


def calling(name: str, arguments: object) -> str:
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<think>\nLook.\n</think>\n\nI create it.\n\n<tool_call>\n{call}\n</tool_call><|im_end|>"


def drafting(*said: str) -> Callable[[Received], Reply]:
    """A model that says these, one for each result it has seen; a title where it is offered no tools."""

    def answer(received: Received) -> Reply:
        prompt = QWEN.encoder.decode_bytes(received.prompt_ids).decode()
        results = prompt.count("<tool_response>") + prompt.count(
            "user\nObservation:"
        )  # smolagents tells results as a user
        return streamed(received, said[min(results, len(said) - 1)] if "<tools>" in prompt else TITLE)

    return generating(answer)


def ran(command: list[str], place: Path, **variables: str) -> str:
    environment = {**os.environ, "PWD": str(place), **variables}  # opencode goes by PWD
    done = subprocess.run(
        command, cwd=place, env=environment, stdin=subprocess.DEVNULL, timeout=120, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def check_episode(gateway: Running, turns: int) -> None:
    """The task's conversation is one sample: every id that the engine saw and sampled, none rewritten."""
    with GatewayClient(gateway.url) as trainer:
        tree, samples = trainer.session("run-1"), trainer.samples("run-1").samples
    assert {turn.delivery for turn in tree.turns} == {"sent"}
    begun = [turn for turn in tree.turns if turn.origin.continued == "rendered"]
    assert {turn.origin.reason for turn in begun} <= {"first", "other_conversation"}
    assert len(samples) == len(begun)
    task = max((one.sample for one in samples), key=lambda sample: len(sample.token_ids))
    prompts = [one.prompt_ids for one in gateway.engines[0].generates if len(one.prompt_ids) < len(task.token_ids)]
    of_task = [ids for ids in prompts if list(task.token_ids[: len(ids)]) == list(ids)]
    assert len(of_task) == turns
    assert len(samples) + turns - 1 == len(gateway.engines[0].generates)


def check_edited(gateway: Running) -> None:
    """An agent that writes its calls anew as text gets a branch a turn, with the reason; no token is in two samples."""
    with GatewayClient(gateway.url) as trainer:
        tree, samples = trainer.session("run-1"), trainer.samples("run-1").samples
    assert [turn.origin.continued for turn in tree.turns] == ["rendered", "rendered"]
    last = tree.turns[-1].origin
    assert last.reason == "other_conversation"
    assert last.difference is not None
    assert len(samples) == 2


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_agent_of_a_library(tmp_path: Path, name: str) -> None:
    said = {
        "smolagents": [calling("write_file", FILE), calling("final_answer", {"answer": "Created hello.txt."})],
        "mini-swe-agent": [calling("bash", {"command": WRITE}), calling("bash", {"command": SUBMIT})],
    }.get(name, [calling("write_file", FILE), DONE])
    with running(tmp_path / "runs.sqlite", drafting(*said)) as gateway:
        url = gateway.base().removesuffix("/v1")
        told = ran([sys.executable, str(Path(__file__).with_name("libraries.py")), name, url], tmp_path)
        assert (tmp_path / "hello.txt").read_text(encoding="utf-8") == "hello\n"
        assert "Submitted" in told if name == "mini-swe-agent" else "Created hello.txt." in told
        if name == "smolagents":
            check_edited(gateway)
        else:
            check_episode(gateway, 2)


def needs(name: str) -> str:
    """The path of a program of npm's that `make test-agents` installs."""
    path = NODE / name
    if not path.exists() or shutil.which("node") is None:
        pytest.skip(f"{name} is not installed here: make test-agents, where npm is")
    return str(path)


def test_codex(tmp_path: Path) -> None:
    codex = needs("codex")
    with running(tmp_path / "runs.sqlite", drafting(calling("exec_command", {"cmd": WRITE}), DONE)) as gateway:
        provider = f'{{name="local",base_url="{gateway.base()}",env_key="KEY",wire_api="responses"}}'
        settings = ['model="m"', 'model_provider="local"', f"model_providers.local={provider}"]
        options = [word for setting in settings for word in ("-c", setting)]
        home = tmp_path / "home"
        home.mkdir()
        command = [codex, "exec", "--skip-git-repo-check", *options, "--dangerously-bypass-approvals-and-sandbox", TASK]
        told = ran(command, tmp_path, CODEX_HOME=str(home), KEY="x")
        assert "Created hello.txt." in told
        assert (tmp_path / "hello.txt").read_text(encoding="utf-8") == "hello\n"
        check_episode(gateway, 2)


def test_opencode(tmp_path: Path) -> None:
    """It holds two conversations at once in one session: the task, and one that asks for a title."""
    opencode = needs("opencode")
    written = calling("write", {"filePath": str(tmp_path / "hello.txt"), "content": "hello\n"})
    with running(tmp_path / "runs.sqlite", drafting(written, DONE)) as gateway:
        options = {"baseURL": gateway.base(), "apiKey": "x"}
        local = {
            "npm": "@ai-sdk/openai-compatible",
            "name": "local",
            "options": options,
            "models": {"m": {"name": "m"}},
        }
        home = tmp_path / "home"
        home.mkdir()
        (tmp_path / "opencode.json").write_text(json.dumps({"provider": {"local": local}}), encoding="utf-8")
        told = ran([opencode, "run", "-m", "local/m", TASK], tmp_path, HOME=str(home))
        assert "Created hello.txt." in told
        assert (tmp_path / "hello.txt").read_text(encoding="utf-8") == "hello\n"
        check_episode(gateway, 2)
