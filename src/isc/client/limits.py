"""How long a prompt an engine takes: asked once."""

from __future__ import annotations

from functools import partial

from isc.client.attempts import Request
from isc.client.exchange import exchange
from isc.client.once import once
from isc.client.protocols import EngineProtocol
from isc.client.responses import Answer
from isc.client.retries import Retries
from isc.client.transport import Endpoint
from isc.errors import EngineRefusedError

_NOT_TOLD = frozenset((404, 405, 501))


async def prompt_limit(
    to: Endpoint, protocol: EngineProtocol, model: str | None, name: str, retries: Retries
) -> int | None:
    """Return the longest prompt in tokens that an engine takes; None where it does not tell.

    Raises:
        ClientError: It could not be asked.
    """
    question = ("limit", to.root, protocol.path, model)
    return await once(to.http, question, partial(_asked, to, protocol, model, name, retries))


async def _asked(to: Endpoint, protocol: EngineProtocol, model: str | None, name: str, retries: Retries) -> int | None:
    """Ask one question after another until one answer tells."""
    for names in protocol.limit_paths:
        answer = await _first(to, names, name, retries)
        limit = None if answer is None else protocol.limit([answer], model)
        if limit is not None:
            return limit
    return None


async def _first(to: Endpoint, paths: tuple[str, ...], name: str, retries: Retries) -> Answer | None:
    """Return the answer at the first of these paths that the engine has."""
    for path in paths:
        try:
            return await exchange(to, Request(path, name), retries)
        except EngineRefusedError as error:
            if error.status not in _NOT_TOLD:
                raise
    return None
