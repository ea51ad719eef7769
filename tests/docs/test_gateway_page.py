"""The first block of docs/gateway.md, line by line as it is printed: from nothing to a first exported episode."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from pages import ROOT, blocks

PORTS = ("8000", "9000")


def free_port() -> str:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return str(asked.getsockname()[1])


def opened(port: str) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", int(port))) == 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone, as far as the lines name it, with its programs on the path."""
    for name, module in (("isc", "-m isc.cli"), ("python", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n', encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@contextmanager
def served(line: str, place: Path, port: str) -> Iterator[None]:
    """What a line starts in the background, once it listens."""
    process = subprocess.Popen(["bash", "-c", f"exec {line.removesuffix('&')}"], cwd=place)
    try:
        deadline = time.monotonic() + 60
        while not opened(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_five_commands_make_an_episode(place: Path) -> None:
    ports = {port: free_port() for port in PORTS}
    code = next(blocks("docs/gateway.md", "console")).code
    lines = [line.removeprefix("$ ") for line in code.splitlines()]
    assert (len(lines), lines[0].split()[0]) == (5, "pip")
    engine, serve, ask, export = (re.sub("|".join(PORTS), lambda port: ports[port[0]], line) for line in lines[1:])
    engine = engine.replace("engine.py", f"engine.py {ports['8000']}")  # where they listen is said to them here
    serve = serve.replace("--record", f"--port {ports['9000']} --record")
    told = b""
    with served(engine, place, ports["8000"]), served(serve, place, ports["9000"]):
        for line in (ask, export):
            told += subprocess.run(["bash", "-c", line], cwd=place, capture_output=True, check=True).stdout
    assert b"It is 42." in told
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(str(place / "episodes.parquet")).to_pylist()
    (row,) = rows
    assert (row["session"], sum(row["loss_mask"]) > 10) == ("my-run-1", True)
    assert [logprob for logprob in row["logprobs"] if logprob is not None] == [-0.25] * sum(row["loss_mask"])
