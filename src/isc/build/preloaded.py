"""What the server that forks workers prepares once for all of them: they share the memory of one vocabulary.

It happens where this module is imported, and only in such a server, which runs nothing else.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from isc.errors import EncoderFallbackWarning

_ASKED = "ISC_PREPARE_WORKERS"

told: list[str] = []
"""What was warned of."""


@contextmanager
def asked(prepare: bytes) -> Iterator[None]:
    """Ask a server that is started meanwhile to prepare something: a pickled callable."""
    os.environ[_ASKED] = prepare.hex()
    try:
        yield
    finally:
        del os.environ[_ASKED]


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
