"""Batches built on many processes: results come in the order of the input, and few are held at a time."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from isc.build.samples import Batch, Built, Settings, build_batch
from isc.conversation.renderer import Renderer
from isc.errors import Error

_BATCHES_A_WORKER = 4


class WorkerError(Error, RuntimeError):
    """A worker process ended before its work was done."""


def built(
    groups: Iterable[Batch], renderer: Renderer, settings: Settings, *, strict: bool = False, workers: int = 1
) -> Generator[Built, None, None]:
    """Yield the result of each batch in the order of the input.

    Only a few batches a worker are held at a time.

    Args:
        groups: The lines.
        renderer: Format and vocabulary; each worker loads it once, from where it came.
        settings: What to train on, and how rows are written.
        strict: Whether a batch ends at its first bad line.
        workers: Processes; 1 works in this one.

    Raises:
        WorkerError: A worker process died.
    """
    work = partial(build_batch, renderer, settings, strict)
    if workers == 1:
        yield from map(work, groups)
        return
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method), _start_worker, (pickle.dumps(work),))
    waiting: deque[Future[Built]] = deque()
    try:
        for group in groups:
            waiting.append(pool.submit(_work, group))
            if len(waiting) >= _BATCHES_A_WORKER * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise WorkerError("a worker process died: killed, or out of memory; try fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


_work_here: list[Callable[[Batch], Built]] = []


def _start_worker(work: bytes) -> None:
    """Prepare a worker process: load its work, leave Ctrl-C and warnings to the parent, and end with the parent."""
    os.environ["RAYON_NUM_THREADS"] = "1"  # the workers are the threads; engines that make more only wait for them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work_here.append(pickle.loads(work))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(batch: Batch) -> Built:
    return _work_here[0](batch)
