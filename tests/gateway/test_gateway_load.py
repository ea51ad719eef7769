"""Agents at once before failing engines. `make test-load` plays 500 sessions of 10 turns."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gateway_load import load

SESSIONS, TURNS = (int(part) for part in os.environ.get("ISC_LOAD", "24x4").split("x"))


def test_nothing_is_mixed_lost_or_counted_twice(tmp_path: Path) -> None:
    tally = asyncio.run(load(tmp_path / "runs.sqlite", SESSIONS, TURNS))
    assert tally.problems == []
    assert tally.strangers == 0
    assert all(len(ids) == TURNS for ids in tally.answered.values())
    assert tally.outcomes["left"] > 0
    assert tally.outcomes.total() > SESSIONS * TURNS
