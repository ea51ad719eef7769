"""Agents over HTTP, text in and text out, recorded as exact samples; and the pure library that this is made of.

A `Session` is a tree of turns. `match` says which turn an agent's history goes on from, `step` makes the next prompt of
it, `answered` the turn of what was sampled, `samples` the training samples of all. Nothing of that does any I/O.
`isc serve` is the server, `GatewayClient` what asks it.
"""

from isc.gateway.client import GatewayClient, GatewayError
from isc.gateway.forcing import forced_call
from isc.gateway.matching import New, Node, match
from isc.gateway.meaning import digests
from isc.gateway.samples import BranchSample, SampledSpan, samples
from isc.gateway.stepping import Prompted, Sampling, answered, call_id, step
from isc.gateway.tree import Conversations, Difference, Origin, Piece, Session, Tail, Turn

__all__ = [
    "BranchSample",
    "Conversations",
    "Difference",
    "GatewayClient",
    "GatewayError",
    "New",
    "Node",
    "Origin",
    "Piece",
    "Prompted",
    "SampledSpan",
    "Sampling",
    "Session",
    "Tail",
    "Turn",
    "answered",
    "call_id",
    "digests",
    "forced_call",
    "match",
    "samples",
    "step",
]
