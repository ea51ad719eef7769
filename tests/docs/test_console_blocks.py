"""Every line of every console block is tried: run where it can be, else held to what it names, for a reason told here.

Models and files that the lines name lie in the directory they run in. A line that stands on several pages is run on the
first.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway_sessions import recorded
from isc.cli import Exit, main
from isc.cli.commands import app
from isc.loading import vocabulary_digest
from pages import MODELS, ROOT, blocks, furnish, pages


class Line(NamedTuple):
    """A command of a console block."""

    place: str
    text: str


HELD: dict[str, str] = {
    r"^make \S+": "runs the project's own suites and tools: its target is there",
    r"^(python3? -m )?pip install ": "asks an index, or builds: its extras are there (make dist installs them)",
    r"^vllm serve ": "needs vLLM: tests/engine plays one",
    r"^\w+=\S+ .*python my_agent\.py$": "any agent: tests/gateway and make test-agents play some",
    r"^(\w+=\S+ )*python examples/gateway/": "a server, and its agent: tests/docs/test_gateway_page.py runs them",
    r"^isc serve ": "serves until it is stopped: tests/gateway/test_gateway_record.py; its options are read",
    r"^isc build .* --engine ray": "needs Ray: make test-ray; its options are read",
}
"""Lines that are not run, by pattern, each with its reason."""


def lines(page: str) -> Iterator[Line]:
    """The commands of a page, their continuations joined, comments and what they print left out."""
    for block in blocks(page, "console"):
        text = block.code.replace("\\\n", " ")
        for offset, line in enumerate(text.splitlines()):
            if line.startswith("$ "):
                command = re.sub(r"\s+#\s.*$", "", line[2:])
                yield Line(f"{page}:{block.line + offset}", " ".join(command.removesuffix("&").split()))


ELSEWHERE = "docs/cli.md"
"""Written from the commands' help, whose examples tests/cli/test_cli.py runs."""
ALL = [line for page in pages() if page != ELSEWHERE for line in lines(page)]
SAME = {"path/to/my-finetune": "path/to/model", "my-conversations.jsonl": "examples/tools.json"}
"""Names of the same thing in the directory that the lines run in."""
FIRST = {re.sub("|".join(SAME), lambda name: SAME[name[0]], line.text): line for line in reversed(ALL)}
"""Each command once, where it stands first."""
SHELL = frozenset("|>&;")
"""What only a shell understands: without it a line is run in this process, which is sooner done."""
RUN = [line for line in FIRST.values() if not any(re.search(pattern, line.text) for pattern in HELD)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with all that the lines name, and `isc` on the path."""
    furnish(tmp_path)
    example = tmp_path / "examples" / "conversations.jsonl"
    for name in ("conversations.jsonl", "my-conversations.jsonl"):
        shutil.copy(example, tmp_path / name)
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(example.read_bytes()))
    shutil.copytree(tmp_path / "path" / "to" / "model", tmp_path / "path" / "to" / "my-finetune")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "isc"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m isc.cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "runs.sqlite", f"qwen3 {vocabulary_digest(MODELS[1])}", "my-run-1")
    (tmp_path / "data").mkdir()
    rows = [json.loads(row) for row in example.read_text(encoding="utf-8").splitlines()]
    table = pa.Table.from_pylist([{"messages": json.dumps(row["messages"])} for row in rows])
    pq.write_table(table, str(tmp_path / "data" / "a.parquet"))
    return tmp_path


@pytest.mark.parametrize("line", RUN, ids=lambda line: line.place)
def test_a_line_runs(line: Line, place: Path) -> None:
    if line.text.startswith("isc ") and not SHELL & set(line.text):
        assert main(shlex.split(line.text)[1:]) == Exit.OK
    else:
        done = subprocess.run(["bash", "-c", line.text], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == Exit.OK, (line, done.stdout, done.stderr)


def test_a_line_that_is_not_run_names_what_there_is() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert main(["--version"]) == Exit.OK  # which imports the modules of all commands
    for line in ALL:
        words = shlex.split(line.text)
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        for extras in re.findall(r"(?:isc|\.|\.whl)\[([\w,]+)\]", line.text):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), line
        if words[0] == "isc" and not SHELL & set(line.text):
            app.parse_args(words[1:], print_error=False, exit_on_error=False)


def test_every_reason_is_needed() -> None:
    used = [pattern for pattern in HELD if any(re.search(pattern, line.text) for line in ALL)]
    assert set(used) == set(HELD)
