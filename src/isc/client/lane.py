"""One thread beside the event loop for what takes long: rendering, checking and parsing.

One thread, not many: this work holds the interpreter lock most of the time, and the loop waits for the lock behind
every thread that wants it, 5 ms each (`sys.getswitchinterval`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


async def off_loop(
    work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **options: _Arguments.kwargs
) -> _Result:
    """Return the result of `work`, done beside the event loop.

    Cancelling does not stop work that has begun: it ends by itself, and its result is dropped.
    """
    return await asyncio.get_running_loop().run_in_executor(_lane(os.getpid()), lambda: work(*arguments, **options))


@lru_cache(maxsize=1)
def _lane(_process: int) -> ThreadPoolExecutor:
    """Return the thread of this process. A forked child gets its own."""
    return ThreadPoolExecutor(1, thread_name_prefix="isc-client")
