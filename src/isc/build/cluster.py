"""Parts of a build on a Ray cluster: an existing one, or one of this machine. A part whose worker dies is built again.

The driver reads the input and writes what comes back, so that the nodes need no file system in common; each needs the
model, under the same name.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from isc._later import Later
from isc.build.parts import BuiltPart, Part, PartWork
from isc.build.workers import WorkerError
from isc.errors import OptionError

if TYPE_CHECKING:
    import ray
else:
    ray = Later

_TRIES = 5
_QUEUED = 2  # parts that wait at the cluster, so that no worker waits for the driver


def require() -> None:
    """Raise unless Ray is installed.

    Raises:
        OptionError: It is not; says how to install it.
    """
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError:
        raise OptionError('--engine ray needs Ray: pip install "isc[ray]"') from None


def built_parts(parts: Iterable[Part], work: PartWork, workers: int | None = None) -> Generator[BuiltPart, None, None]:
    """Yield what each part became, as it is done.

    Few parts are held at a time: one a worker, and two.

    Args:
        parts: The parts.
        work: What builds one; it is pickled.
        workers: How many are built at once; None takes as many as the cluster has processors.

    Raises:
        WorkerError: The worker of a part died at every try.
        Error: A part could not be built at all, such as for a vocabulary that cannot be loaded.
    """
    with _connected(workers) as count:
        import ray

        task = ray.remote(num_cpus=1, max_retries=_TRIES)(_build)
        shared = ray.put(pickle.dumps(work))
        running: dict[ray.ObjectRef, int] = {}
        try:
            for part in parts:
                if len(running) >= count + _QUEUED:
                    yield _first(running)
                running[task.remote(shared, part)] = part.number
            while running:
                yield _first(running)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _first(running: dict[ray.ObjectRef, int]) -> BuiltPart:
    """Return the first part that is done, and take it off the list."""
    import ray

    (done, *_), _ = ray.wait([*running], num_returns=1)
    number = running.pop(done)
    try:
        result: BuiltPart = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        problem = str(error).partition("\n")[0]
        raise WorkerError(f"part {number}: its worker died at {_TRIES + 1} tries: {problem}") from error
    return result


@contextmanager
def _connected(workers: int | None) -> Iterator[int]:
    """Join the cluster that is there, or start one of this machine. Give the number of parts to build at once."""
    import ray

    if ray.is_initialized():
        yield workers or _processors()
        return
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of parts that are given up after the first error
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), **quiet)
    except ConnectionError:
        if "RAY_ADDRESS" in os.environ:
            raise OptionError(f"--engine ray: there is no cluster at RAY_ADDRESS={os.environ['RAY_ADDRESS']}") from None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a build tells nobody of itself
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
    try:
        yield workers or _processors()
    finally:
        ray.shutdown()


def _processors() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _build(pickled: bytes, part: Part) -> BuiltPart:
    """Build a part in a worker."""
    os.environ["RAYON_NUM_THREADS"] = "1"  # the workers are the threads
    return _unpickled(pickled)(part)


@lru_cache(maxsize=1)
def _unpickled(pickled: bytes) -> PartWork:
    """Load the work, once a worker."""
    work: PartWork = pickle.loads(pickled)
    return work
