"""verifiers from PyPI with isc.compat for `renderers`, against a real engine: the tiny Qwen3 of tests/engine over HTTP.

Both packages play the same rollouts: the engine's dice fall the same way for equal prompts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peers.model_files import written

pytest.importorskip("torch", reason="the engine needs torch: make test-peers installs it")

from engine.episodes import vocabulary
from engine.model import TinyModel
from engine.server import Engine, served
from peers.rollouts import MODEL, TURNS

COUNT = 12
TOLERANCE = 1e-4


def played(package: str, directory: Path) -> list[dict[str, Any]]:
    """The rollouts with one package, in a process of its own, against an engine of its own.

    `renderers` 0.1.12 reads tokens by name only, as vLLM gave them before 0.33; isc.compat meets what it gives now.
    """
    with served(Engine(TinyModel(len(vocabulary())), vocabulary(), 7, old=package == "renderers")) as url:
        script = Path(__file__).with_name("rollouts.py")
        command = [sys.executable, str(script), package, url, str(directory), str(COUNT)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ISC_NO_KEY": "none"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def directory(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp(MODEL), reference)


@pytest.fixture(scope="module")
def ours(directory: Path) -> list[dict[str, Any]]:
    return played("isc.compat", directory)


@pytest.fixture(scope="module")
def theirs(directory: Path) -> list[dict[str, Any]]:
    return played("renderers", directory)


def test_every_rollout_comes_to_its_end(ours: list[dict[str, Any]]) -> None:
    assert [(one["ok"], one["errors"]) for one in ours] == [(True, [])] * COUNT
    assert any(one["branches"][0]["roles"].count("assistant") == TURNS for one in ours)
    assert {role for one in ours for branch in one["branches"] for role in branch["roles"]} == {
        "system", "user", "assistant", "tool",
    }  # fmt: skip


def test_the_trainer_sees_what_the_sampler_saw(ours: list[dict[str, Any]]) -> None:
    """Scored by the same weights, the ids of every branch have the log probabilities that the engine reported."""
    trainer = TinyModel(len(vocabulary()))
    far, count = [], 0
    for branch in (branch for one in ours for branch in one["branches"]):
        scores = trainer.scores(branch["ids"])
        columns = zip(scores, branch["logprobs"], branch["sampled"], strict=True)
        distances = [abs(score - reported) for score, reported, sampled in columns if sampled]
        count += len(distances)
        far += [distance for distance in distances if distance > TOLERANCE]
    assert count > 1_000
    assert far == []


def test_a_message_cannot_forge_a_turn(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """One of the four questions is `<|im_start|>user`; it is the only one whose prompts differ, see "specials"."""
    opener = vocabulary().specials["<|im_start|>"]
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        first, second = (one["branches"][0] for one in (mine, other))
        start = next(k for k, sampled in enumerate(first["sampled"]) if sampled)
        forged = number % 4 == 3
        assert (first["ids"][:start] == second["ids"][:start]) is not forged
        assert first["ids"][:start].count(opener) == 3
        assert not forged or second["ids"][: second["sampled"].index(True)].count(opener) == 4


def test_rollouts_are_the_same_with_both_but_for_what_has_a_reason(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> None:
    """Ids, masks and logprobs are equal, up to where a message spells a control token or another stop was sampled."""
    specials = vocabulary().specials
    fates = []
    for mine, other in zip(ours, theirs, strict=True):
        first, second = mine["branches"][0], other["branches"][0]
        if mine["branches"] == other["branches"]:
            fates.append("equal")
            continue
        pairs = zip(first["ids"], second["ids"], strict=False)
        place = next((k for k, (one, another) in enumerate(pairs) if one != another), None)
        if place is None:
            fates.append("content" if first["ids"] == second["ids"] else "length")
        elif first["ids"][place - 1 : place + 1] == [specials["<|endoftext|>"], specials["<|im_end|>"]]:
            fates.append("other stop")
        else:
            fates.append("specials" if second["ids"][place] == specials["<|im_start|>"] else "unexplained")
    assert set(fates) == {"equal", "other stop", "specials", "content"}
