"""The protocols by their names, in the order in which an engine is asked for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from isc._options import checked
from isc.client.completions import Completions
from isc.client.protocols import EngineProtocol
from isc.client.sglang import Sglang
from isc.client.vllm import Vllm

ProtocolName: TypeAlias = Literal["auto", "vllm", "sglang", "completions"]
PROTOCOLS: Mapping[str, EngineProtocol] = {"vllm": Vllm(), "sglang": Sglang(), "completions": Completions()}


def named_protocol(name: ProtocolName) -> EngineProtocol | None:
    """Return the protocol of this name; None for `"auto"`.

    Raises:
        OptionError: There is none of this name.
    """
    return PROTOCOLS.get(checked("protocol", name, ProtocolName))
