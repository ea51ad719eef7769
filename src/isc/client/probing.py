"""Which protocol an engine speaks: asked once, by looking which of the endpoints is there.

`GET` of an endpoint that takes `POST` alone is refused with 405 where it is there, and with 404 where it is not.
Nothing is sampled for it.
"""

from __future__ import annotations

from functools import partial

from isc.client.attempts import Request
from isc.client.engines import PROTOCOLS
from isc.client.exchange import exchange
from isc.client.once import forget, once
from isc.client.protocols import EngineProtocol
from isc.client.retries import Retries
from isc.client.transport import Endpoint
from isc.errors import EngineRefusedError

_ABSENT = frozenset((404, 501))
_NO_ANSWER = frozenset((401, 403, 407))  # who may not ask learns nothing
NO_ENDPOINT = (
    'there is none of the endpoints that take token ids: vLLM\'s /inference/v1/generate (protocol "vllm": in newer '
    "versions when started with --enable-scale-out), SGLang's /generate (\"sglang\"), vLLM's /v1/completions "
    '("completions"); see '
    "whether the base URL is the server's root, or its /v1, and name the protocol where a proxy hides the endpoint"
)


async def spoken_protocol(to: Endpoint, name: str, retries: Retries) -> EngineProtocol:
    """Return the protocol of an engine.

    Raises:
        EngineRefusedError: It has none of the endpoints, or does not let this caller ask.
        ClientError: It could not be asked.
    """
    return await once(to.http, _question(to), partial(_asked, to, name, retries))


def forget_protocol(to: Endpoint) -> None:
    """Have the engine asked anew: the endpoint that it had is gone, so it was started in another way since."""
    forget(to.http, _question(to))


def _question(to: Endpoint) -> tuple[str, str]:
    return ("protocol", to.root)


async def _asked(to: Endpoint, name: str, retries: Retries) -> EngineProtocol:
    excerpt = ""
    for protocol in PROTOCOLS.values():
        try:
            await exchange(to, Request(protocol.path, name), retries)
        except EngineRefusedError as error:
            if error.status in _ABSENT:
                excerpt = error.excerpt
                continue
            if error.status in _NO_ANSWER or error.status < 400:
                raise
        return protocol
    raise EngineRefusedError(to.root, name, NO_ENDPOINT, 404, excerpt)
