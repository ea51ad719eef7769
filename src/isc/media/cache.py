"""A cache with a bound, safe to share between threads: what two ask for at once is made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class BoundedCache(Generic[_Value]):
    """Values by key, the least recently used dropped first.

    Args:
        limit: Largest sum of the sizes of what is kept; a value larger than that is made but not kept.
        size: Size of a value, e.g. in bytes.

    >>> cache = BoundedCache[bytes](limit=4, size=len)
    >>> [cache.get(key, lambda: made) for key, made in ((1, b"abc"), (1, b"new"), (2, b"xyz"), (1, b"new"))]
    [b'abc', b'abc', b'xyz', b'new']
    """

    def __init__(self, limit: int, size: Callable[[_Value], int]) -> None:
        self.limit = limit
        self.held = 0
        self._size = size
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()
        self._making: dict[Hashable, Future[_Value]] = {}
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """Return the value of a key, made on first use.

        An error of `make` is raised for every caller who waits for the value, and nothing is kept.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            mine: Future[_Value] = Future()
            pending = self._making.setdefault(key, mine)
        if pending is not mine:
            return pending.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            raise
        self._keep(key, value)
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: _Value) -> None:
        with self._lock:
            del self._making[key]
            if self._size(value) <= self.limit:
                self._values[key] = value
                self.held += self._size(value)
            while self.held > self.limit:
                self.held -= self._size(self._values.popitem(last=False)[1])
