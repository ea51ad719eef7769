"""Real templates of models without a family, held to oracles that know nothing of isc (`tools/corpus.py`).

A sample that spans the kinds of what went wrong before: `docs/any-model.md` gives the figures of all that we have.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from traced_references import PLACE

CORPUS = PLACE / "corpus"
MEASURE = PLACE.parent / "tools" / "corpus.py"
SAMPLE = """
007ac2f8f8fbfeba 01dfd1eb4bbe2b40 04d07eb516b13f56 0800c03b537cb0d6 1839b811093c7cdc 1ff8c79185d6c6b4 2c17243a977fd064
2f7c55cb19ff3f84 3544d1fbadb80940 3d38602e1fd79008 3f87c5bbc4d6dbca 431a851520d77cec 43aa4d58cf34af30 44f0c6f9d6b22a94
48744ac4c007c342 59f02ac710b23baa 595ccbaadafd2d36 6611d0818fc877c2 706dd26d4e11d560 77a3969410da1a46 7be550651ae51dfe
808ef9be6ae1bba0 819fbcedc3c78cc0 830005085ddd94ce 914ccd80356f5822 98ba9089e440874c 9d60451176fe52dc a1064734fd427d4c
a4c752e3c1ed8500 bbd2a360282273b2 ceae4b6352781914 cf69ff19b5e663c8 d0b344b129f52056 d3ef6b3abc3dd05e d51b5191cbaec7aa
d7629650a9ec7238 dc4c51f66b77d5e0 e222f7f91710d060 f5571e69ea1c7b72 f9badd94da977842
"""
NAMES = tuple(re.findall(r"\w+", SAMPLE))
TOLD_BY_GENERATION = ("595ccbaadafd2d36", "f9badd94da977842")
"""Templates without a generation prompt, whose `{% generation %}` says that the header is not sampled."""
RESULT_INSIDE_THE_TURN = ("3f87c5bbc4d6dbca", "98ba9089e440874c", "a1064734fd427d4c")
"""Templates that write a tool's result between the call and what was said beside it: that turn has a hole."""

pytestmark = pytest.mark.skipif(
    not (MEASURE.is_file() and CORPUS.is_dir()),
    reason="no corpus of templates; set ISC_REFERENCE to its directory",
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the measure says of each template of the sample."""
    out: Path = tmp_path_factory.mktemp("corpus") / "rows.jsonl"
    files = [str(CORPUS / f"{name}.jinja") for name in NAMES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, str(MEASURE), str(out), *files], check=True, env=environment)
    return {row["name"]: row for row in map(json.loads, out.read_text(encoding="utf-8").splitlines())}


def conversations(rows: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, row in rows.items():
        yield from ((name, kind, told) for kind, told in row["convs"].items() if "plain" not in told)


def bridges(rows: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What is told of each bridge for which the measure knows what the model would have sampled."""
    for name, row in rows.items():
        for stops in ("declared", "inferred"):
            for kind, told in row[f"bridge_{stops}"].items():
                if "extends" in told and "stop_behind_next" not in told:
                    yield name, f"{stops} {kind}", told


def test_every_template_was_measured(rows: dict[str, dict[str, Any]]) -> None:
    assert sorted(rows) == sorted(NAMES)
    assert not [row for row in rows.values() if {"late", "harness_error", "compile", "report_error"} & row.keys()]


def test_texts_are_exact_and_no_special_is_forged(rows: dict[str, dict[str, Any]]) -> None:
    told = list(conversations(rows))
    assert len(told) > 400
    assert not [(name, kind) for name, kind, one in told if not one.get("text")]
    assert not [name for name, row in rows.items() if any(more for _, _, more, _ in row["forged"])]


def test_sampling_starts_where_the_prompt_ends(rows: dict[str, dict[str, Any]]) -> None:
    for name, kind, told in conversations(rows):
        wrong = [text for text in (told.get("sampled_declared") or told["sampled"])[2] if "without a stop" not in text]
        if name in RESULT_INSIDE_THE_TURN and kind.startswith("tools-content"):
            assert all("holes" in text for text in wrong)
        elif name not in TOLD_BY_GENERATION:
            assert not wrong, (name, kind)


def test_masks_are_the_completion(rows: dict[str, dict[str, Any]]) -> None:
    told = [(name, kind, one) for name, kind, one in bridges(rows) if kind.startswith("declared")]
    wrong = [(name, kind) for name, kind, one in told if one.get("mask_is_completion") is False]
    assert len(told) > 90
    assert {name for name, _ in wrong} <= set(TOLD_BY_GENERATION)


def test_bridges_are_fresh_renders_and_granted_where_these_extend(rows: dict[str, dict[str, Any]]) -> None:
    granted = extending = 0
    for name, kind, told in bridges(rows):
        if told.get("granted"):
            assert told["extends"], (name, kind)
            assert told["prefix"], (name, kind)
            assert told["equal"], (name, kind, told.get("diff"))
        if told["extends"]:
            extending += 1
            granted += bool(told.get("granted"))
    assert extending > 180
    assert granted == extending
