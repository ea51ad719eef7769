"""What a process does that loads from the hub: `python hub_client.py` reads calls as JSON and prints their outcomes.

The hub's client reads its environment when it is imported, so only a process of its own tells how isc behaves.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import SupportsIndex

import msgspec

import isc

CHAT = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "Four."}]


class Call(msgspec.Struct):
    """One `isc.load`; without a family it has to find one."""

    source: str
    family: str | None = None
    revision: str | None = None


class Outcome(msgspec.Struct):
    """What came of a call. `seconds` is what a user would have waited: sleeps are counted, not slept."""

    seconds: float
    error: str = ""
    message: str = ""
    family: str = ""
    token_ids: tuple[int, ...] = ()
    pickled_bytes: int = 0
    same_unpickled: bool = False


def outcomes(calls: Sequence[Call], environment: Mapping[str, str]) -> list[Outcome]:
    """The outcomes of calls in a process with this environment."""
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).resolve())],
        input=msgspec.json.encode(calls),
        capture_output=True,
        env=dict(environment),
        timeout=120,
        check=False,
    )
    if finished.returncode:
        raise AssertionError(finished.stderr.decode())
    return msgspec.json.decode(finished.stdout, type=list[Outcome])


def _outcome(call: Call, slept: list[float]) -> Outcome:
    slept.clear()
    start = time.perf_counter()
    try:
        renderer = isc.load(call.source, isc.list_families()[call.family]() if call.family else None, call.revision)
    except Exception as error:
        waited = time.perf_counter() - start + sum(slept)
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind in vars(isc).values()]
        return Outcome(waited, kinds[0] if kinds else repr(type(error)), str(error))
    waited = time.perf_counter() - start + sum(slept)
    token_ids = renderer.render_ids(CHAT)
    pickled = pickle.dumps(renderer)
    same = pickle.loads(pickled).render_ids(CHAT) == token_ids
    return Outcome(waited, "", "", repr(renderer.family), token_ids, len(pickled), same)


def main() -> None:
    """Read calls, print outcomes."""
    slept: list[float] = []

    def count(seconds: float | SupportsIndex, /) -> None:
        slept.append(float(seconds))

    time.sleep = count
    calls = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Call])
    print(json.dumps(msgspec.to_builtins([_outcome(call, slept) for call in calls])))


if __name__ == "__main__":
    main()
