"""`isc build --engine ray` and a stage in Ray Data, on clusters of this machine whose workers and nodes are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

import isc
from isc.build import cluster
from isc.build.parts import BuiltPart, Part, build_part
from isc.build.workers import WorkerError
from isc.errors import EncoderError
from small_parts import SETTINGS, alone, in_order, model_in, some_parts

QUIET: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, **QUIET)
    yield
    ray.shutdown()


def dies_once(renderer: isc.Renderer, marks: Path, tries: int, part: Part) -> BuiltPart:
    """Kill the worker in the middle of part 3, so many times."""
    if part.number == 3:
        mark = next((marks / str(k) for k in range(tries) if not (marks / str(k)).exists()), None)
        if mark is not None:
            mark.touch()
            build_part(renderer, SETTINGS, False, Part(3, part.batches[:1]))
            os.kill(os.getpid(), signal.SIGKILL)
    return build_part(renderer, SETTINGS, False, part)


@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize("tries", [0, 1, 3])
def test_a_worker_that_is_killed_loses_nothing(small: isc.Renderer, tmp_path: Path, tries: int) -> None:
    work = partial(dies_once, small, tmp_path, tries)
    assert in_order(cluster.built_parts(some_parts(), work, 2)) == alone(partial(build_part, small, SETTINGS, False))
    assert len(list(tmp_path.iterdir())) == tries


@pytest.mark.usefixtures("two_workers")
def test_a_part_that_kills_every_worker_is_named(small: isc.Renderer, tmp_path: Path) -> None:
    work = partial(dies_once, small, tmp_path, 99)
    with pytest.raises(WorkerError, match=r"part 3: its worker died at 6 tries"):
        list(cluster.built_parts(some_parts(), work, 2))


def refuses(_: Part) -> BuiltPart:
    raise EncoderError("this vocabulary cannot be loaded")


@pytest.mark.usefixtures("two_workers")
def test_an_error_of_the_work_is_the_error_of_the_build() -> None:
    with pytest.raises(EncoderError, match="this vocabulary cannot be loaded"):
        list(cluster.built_parts(some_parts(), refuses, 2))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_in(tmp_path_factory.mktemp("model"))


@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize("kind", ["class", "object"])
@pytest.mark.parametrize("form", ["pyarrow", "numpy"])
def test_a_stage_runs_in_ray_data(model: Path, kind: str, form: str) -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    talks = [talk * (1 + number % 4) if number % 3 else talk[:1] for number in range(30)]
    data = ray.data.from_items([{"messages": talk, "id": number} for number, talk in enumerate(talks)])
    choices = {"model": str(model), "family": "qwen3", "keep": ("id",)}
    stage: Any = isc.stages.ToSamples(str(model), family="qwen3", keep=("id",))
    if kind == "class":
        pool: dict[str, Any] = {"fn_constructor_kwargs": choices, "concurrency": 2}
        done = data.map_batches(isc.stages.ToSamples, batch_format=form, batch_size=5, **pool)
    else:
        done = data.map_batches(stage, batch_format=form, batch_size=5)
    expected = stage({"messages": talks, "id": list(range(30))})
    taken = sorted(done.take_all(), key=lambda row: int(row["id"]))
    assert [None if row["labels"] is None else tuple(row["labels"]) for row in taken] == expected["labels"]
    assert [row["error"] for row in taken] == expected["error"]
