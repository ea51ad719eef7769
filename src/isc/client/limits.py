"""How long a prompt an engine takes: asked once, by however many calls need it at the same time."""

from __future__ import annotations

import asyncio
from typing import TypeAlias
from weakref import WeakKeyDictionary

from msgspec import Struct

from isc.client.protocols import EngineProtocol
from isc.client.responses import Answer
from isc.client.retries import Retries
from isc.client.transport import Endpoint, Request, exchange
from isc.errors import EngineRefusedError

_Key: TypeAlias = tuple[str, str, str | None]
_MOST = 256  # engines and models an HTTP client is asked about; the oldest answers go first
_NOT_TOLD = frozenset((404, 405, 501))


class _Asking(Struct):
    """A question under way and the calls that wait for it; the last to leave takes it back."""

    task: asyncio.Task[int | None]
    waiting: int = 0


class _Limits(Struct):
    """What the engines behind one HTTP client said, by root, path and model; a failure to ask is not kept."""

    known: dict[_Key, int | None] = {}
    asking: dict[_Key, _Asking] = {}


_LIMITS: WeakKeyDictionary[object, _Limits] = WeakKeyDictionary()
"""By HTTP client, as long as that lives."""


async def prompt_limit(
    to: Endpoint, protocol: EngineProtocol, model: str | None, name: str, retries: Retries
) -> int | None:
    """The longest prompt in tokens that an engine takes; None where it does not tell.

    Raises:
        ClientError: It could not be asked.
    """
    limits = _LIMITS.setdefault(to.http, _Limits())
    key = (to.root, protocol.path, model)
    if key in limits.known:
        return limits.known[key]
    found = await _together(limits, key, to, protocol, name, retries)
    limits.known[key] = found
    if len(limits.known) > _MOST:
        limits.known.pop(next(iter(limits.known)))
    return found


async def _together(
    limits: _Limits, key: _Key, to: Endpoint, protocol: EngineProtocol, name: str, retries: Retries
) -> int | None:
    """One question for all that ask at the same time."""
    asking = limits.asking.get(key)
    if asking is None:
        asking = limits.asking[key] = _Asking(asyncio.create_task(_asked(to, protocol, key[2], name, retries)))
    asking.waiting += 1
    try:
        return await asyncio.shield(asking.task)
    finally:
        asking.waiting -= 1
        if not asking.waiting or asking.task.done():
            asking.task.cancel()
            if limits.asking.get(key) is asking:
                del limits.asking[key]


async def _asked(to: Endpoint, protocol: EngineProtocol, model: str | None, name: str, retries: Retries) -> int | None:
    answers: list[Answer] = []
    for path in protocol.limit_paths:
        try:
            answers.append(await exchange(to, Request(path, name), retries))
        except EngineRefusedError as error:
            if error.status not in _NOT_TOLD:
                raise
    return protocol.limit(answers, model)
