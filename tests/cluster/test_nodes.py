"""`isc build --engine ray` where a node dies, a worker is killed, and the build itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow
import pytest
import ray
from pyarrow import parquet
from ray.cluster_utils import Cluster

import isc
from command_line import EXAMPLE, NOT_JSON, rows
from isc.build import cluster
from isc.build.parts import BuiltPart, Part, build_part
from isc.cli import main
from small_parts import SETTINGS, alone, in_order, model_in, some_parts


def slow(renderer: isc.Renderer, part: Part) -> BuiltPart:
    time.sleep(0.4)
    return build_part(renderer, SETTINGS, False, part)


def test_a_node_that_dies_loses_nothing(small: isc.Renderer) -> None:
    """A head that builds nothing, and two nodes, one of which is taken away under way."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        first, _ = nodes.add_node(num_cpus=1), nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        built = []
        for part in cluster.built_parts(some_parts(), partial(slow, small), 2):
            built.append(part)
            if len(built) == 3:
                nodes.remove_node(first, allow_graceful=False)
        assert in_order(iter(built)) == alone(partial(build_part, small, SETTINGS, False))
    finally:
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_in(tmp_path_factory.mktemp("model"))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """An input of several parts of sixteen megabytes, a bad line in the second."""
    lines = EXAMPLE.read_bytes().splitlines(keepends=True)
    with (tmp_path / "in.jsonl").open("wb") as stream:
        while stream.tell() < 36 << 20:
            stream.writelines(lines)
            if 20 << 20 < stream.tell() < (20 << 20) + sum(map(len, lines)) * 1.5:
                stream.write(NOT_JSON)
    return tmp_path / "in.jsonl"


def command(source: Path, output: Path, model: Path, *more: str) -> list[str]:
    told = ["build", str(source), "-o", str(output), "--model", str(model), "--family", "qwen3", "--loss", "assistant"]
    return [*told, *more]


def workers_of(process: int) -> list[int]:
    """The Ray workers among the descendants of a process that are building."""
    parents, titles = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(place.name)] = (place / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue

    def below(number: int) -> bool:
        return number == process or (number in parents and below(parents[number]))

    return [number for number, title in titles.items() if title.startswith(b"ray::_build") and below(number)]


def kill_a_worker_and_the_build(asked: list[str], output: Path) -> None:
    """Start a build; kill the first worker that builds, and the build itself once a part is done."""
    process = subprocess.Popen([sys.executable, "-m", "isc.cli", *asked], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (building := workers_of(process.pid)):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(building[0], signal.SIGKILL)
    while not list(output.glob("part-*.parquet")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()


def test_the_command_survives_killed_workers_and_its_own_end(many: Path, model: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.parquet", tmp_path / "parts"
    assert main(command(many, whole, model, "--split", "train=0.5,val=0.5")) == 1
    merged, report = tmp_path / "rejects.jsonl", tmp_path / "report.html"
    more = ("--split", "train=0.5,val=0.5", "--rejects", str(merged), "--report", str(report))
    asked = command(many, output, model, "--engine", "ray", "--workers", "2", *more)
    kill_a_worker_and_the_build(asked, output)
    assert not (output / "summary.json").exists()
    assert main([*asked, "--resume"]) == 1
    samples = 0
    for name in ("train", "val"):
        files = sorted(output.glob(f"part-*-{name}.parquet"))
        assert len(files) == 3
        built = pyarrow.concat_tables([parquet.read_table(str(file)) for file in files])
        samples += built.num_rows
        assert built.equals(parquet.read_table(str(whole.with_stem(f"whole-{name}"))))
    (rejects,) = output.glob("part-*.rejects.jsonl")
    assert rows(rejects) == rows(merged) == rows(tmp_path / "whole.rejects.jsonl")
    assert f'"samples":{samples}' in report.read_text(encoding="utf-8")
