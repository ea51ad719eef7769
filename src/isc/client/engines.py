"""The protocols by their names, in the order in which an engine is asked for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from isc.client.completions import Completions
from isc.client.protocols import EngineProtocol
from isc.client.sglang import Sglang
from isc.client.vllm import Vllm
from isc.errors import OptionError

ProtocolName: TypeAlias = Literal["auto", "vllm", "sglang", "completions"]
PROTOCOLS: Mapping[str, EngineProtocol] = {"vllm": Vllm(), "sglang": Sglang(), "completions": Completions()}


def named_protocol(name: ProtocolName) -> EngineProtocol | None:
    """Return the protocol of this name; None for `"auto"`.

    Raises:
        OptionError: There is none of this name.
    """
    if name == "auto":
        return None
    if name not in PROTOCOLS:
        raise OptionError(f"protocol is {name!r}: it must be one of auto, {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
