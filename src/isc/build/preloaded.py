"""What the server that forks workers prepares once for all of them: they share the memory of one vocabulary.

It happens where this module is imported, and only in such a server, which runs nothing else.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress

from isc.errors import EncoderFallbackWarning

_ASKED = "ISC_PREPARE_WORKERS"
LOADED_ONCE = ["__main__", "isc.build.preloaded", "isc.build.workers", "isc.loading"]
"""What such a server imports, so that no worker has to."""

told: list[str] = []
"""What was warned of."""


def start_method() -> str:
    """Return how worker processes are started: forked by a server that never ran anything else, or anew.

    macOS has a fork server, and system libraries that do not bear a fork.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    return "forkserver" if forks else "spawn"


def start_server(prepare: Callable[[], object]) -> None:
    """Start the server that forks workers, which prepares something. One that runs already leaves that to the workers.

    Args:
        prepare: What it does first; can be pickled.
    """
    from multiprocessing import forkserver

    os.environ[_ASKED] = pickle.dumps(prepare).hex()
    try:
        forkserver.set_forkserver_preload(LOADED_ONCE)
        forkserver.ensure_running()
    finally:
        del os.environ[_ASKED]


def load(model: str) -> None:
    """Load the vocabulary of a model. Not imported before: who starts a server for it does not wait for that."""
    from isc.loading import load_encoder

    load_encoder(model)


def one_thread() -> None:
    """Keep engines from making threads: workers are the threads, and a process with threads cannot be forked."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _prepare(pickled: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    one_thread()
    gc.disable()  # of the objects that a vocabulary is read from none is garbage: looking costs a twelfth of the time
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(Exception):  # each worker does the same again, and raises it where somebody listens
            pickle.loads(bytes.fromhex(pickled))()
    told.extend(str(one.message) for one in caught if issubclass(one.category, EncoderFallbackWarning))
    gc.freeze()  # what is never looked at is never copied
    gc.enable()


if _ASKED in os.environ:
    _prepare(os.environ.pop(_ASKED))
