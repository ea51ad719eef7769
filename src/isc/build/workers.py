"""Batches built on many processes: results come in the order of the input, and few are held at a time.

They load the vocabulary before it is known what they build: the parent loads no engine. Where a server forks them, it
loads the vocabulary once, and they share it.
"""

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
from contextlib import suppress
from functools import partial
from multiprocessing.queues import Queue
from typing import TypeAlias

from isc.build import preloaded
from isc.build.preloaded import start_method
from isc.build.samples import Batch, Built, Settings, build_batch
from isc.conversation.renderer import Renderer
from isc.errors import EncoderFallbackWarning, Error

_BATCHES_A_WORKER = 4

Work: TypeAlias = Callable[[Batch], Built]


class WorkerError(Error, RuntimeError):
    """A worker process ended before its work was done."""


class Pool:
    """Processes that wait for their work and prepare for it.

    Args:
        workers: How many.
        prepare: What each does first, such as loading a vocabulary; whatever it raises is left to the work to raise.
    """

    def __init__(self, workers: int, prepare: Callable[[], object] | None = None) -> None:
        method = start_method()
        context = multiprocessing.get_context(method)
        self._workers = workers
        self._works: Queue[bytes] = context.Queue()
        self._works.cancel_join_thread()  # a worker that died takes nothing, and is not waited for
        self._pool = ProcessPoolExecutor(workers, context, _start_worker, (pickle.dumps(prepare), self._works))
        self._told: list[Future[list[str]]] = []
        if method != "forkserver":
            self._start()
        elif prepare is not None:
            preloaded.start_server(prepare)

    def _start(self) -> None:
        """Build the processes, unless they are there. A server forks them once it has prepared."""
        while len(self._told) < self._workers:
            self._told.append(self._pool.submit(_warnings_told))

    def built(self, groups: Iterable[Batch], work: Work) -> Generator[Built, None, None]:
        """Yield the result of each batch in the order of the input. The processes end with it.

        Raises:
            WorkerError: A worker process died.
            Error: The work could not be started, such as for a vocabulary that cannot be loaded.
        """
        pickled = pickle.dumps(work)
        self._start()
        for _ in range(self._workers):
            self._works.put(pickled)
        waiting: deque[Future[Built]] = deque()
        try:
            for group in groups:
                waiting.append(self._pool.submit(_work, group))
                if len(waiting) >= _BATCHES_A_WORKER * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            self._warn()
        except BrokenProcessPool:
            raise WorkerError("a worker process died: killed, or out of memory; try fewer --workers") from None
        finally:
            self.close()

    def close(self) -> None:
        """Close the processes. Those without work are told that there is none.

        Where none was built, nobody is told: the thread that tells would still be at it when this process ends.
        """
        for _ in self._told:
            self._works.put(b"")
        self._pool.shutdown(cancel_futures=True)

    def _warn(self) -> None:
        """Warn as the workers would have, once for all of them."""
        for text in dict.fromkeys(text for told in self._told for text in told.result()):
            warnings.warn(text, EncoderFallbackWarning, stacklevel=2)


def built(
    groups: Iterable[Batch],
    renderer: Renderer,
    settings: Settings,
    *,
    strict: bool = False,
    workers: int = 1,
    pool: Pool | None = None,
) -> Generator[Built, None, None]:
    """Yield the result of each batch in the order of the input.

    Only a few batches a worker are held at a time.

    Args:
        groups: The lines.
        renderer: Format and vocabulary; each worker loads it once, from where it came.
        settings: What to train on, and how rows are written.
        strict: Whether a batch ends at its first bad line.
        workers: Processes; 1 works in this one.
        pool: Processes that were started before, in place of new ones.

    Raises:
        WorkerError: A worker process died.
        Error: The renderer cannot be loaded in a worker.
    """
    work = partial(build_batch, renderer, settings, strict)
    if workers == 1 and pool is None:
        yield from map(work, groups)
    else:
        yield from (pool or Pool(workers)).built(groups, work)


_works_here: list[Work] = []
_told_here: list[str] = []


def _start_worker(prepare: bytes, works: Queue[bytes]) -> None:
    """Prepare a worker process and wait for its work. Leave Ctrl-C and warnings to the parent, and end with it."""
    preloaded.one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(Error):  # the work loads the same, and raises it where somebody listens
            (pickle.loads(prepare) or bool)()
        _works_here.append(_unpickled(works.get()))
    _told_here.extend(preloaded.told)
    _told_here.extend(str(one.message) for one in caught if issubclass(one.category, EncoderFallbackWarning))
    warnings.simplefilter("ignore")


def _unpickled(pickled: bytes) -> Work:
    """Return the work, or work that raises why there is none: an error in here would be told as a dead process."""
    try:
        work: Work = pickle.loads(pickled) if pickled else _none
    except Error as error:
        return partial(_raise, error)
    return work


def _raise(error: Error, _: Batch) -> Built:
    raise error


def _none(_: Batch) -> Built:
    raise WorkerError("a worker process was given no work")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _warnings_told() -> list[str]:
    return _told_here


def _work(batch: Batch) -> Built:
    return _works_here[0](batch)
