"""What every protocol is: how an engine is asked, and how its answer is read. Pure: nothing is sent here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from isc.client.responses import Answer, Chunk, Completion
from isc.errors import OptionError
from isc.rendered import MultiModalData
from isc.types import Json


class Asked(Struct, frozen=True):
    """What a call asks for, in any protocol; `token_ids` is JSON already, since it is the same at every attempt."""

    model: str | None
    token_ids: Raw
    sampling_params: Mapping[str, Json]
    cache_salt: str | None = None
    priority: int | None = None
    features: Mapping[str, Json] | None = None
    content_parts: Sequence[Mapping[str, Json]] | None = None
    extra_body: Mapping[str, Json] = {}
    stream: bool = False


class EngineProtocol(Protocol):
    """How an engine is asked and how it answers."""

    @property
    def path(self) -> str:
        """Return the path of requests, from the server's root."""

    @property
    def limit_paths(self) -> tuple[tuple[str, ...], ...]:
        """Return the paths at which the engine tells how long prompts may be: each with its older names after it."""

    @property
    def extra_places(self) -> tuple[str, ...]:
        """Return the members of a response that hold further fields."""

    @property
    def counts(self) -> str:
        """Return the name of the member that counts tokens."""

    @property
    def scores(self) -> str:
        """Return the name of the member that tells log probabilities."""

    @property
    def media_fields(self) -> frozenset[str]:
        """Return the request fields with which the engine may read more tokens than it is sent."""

    def body(self, asked: Asked, request_id: str) -> dict[str, object]:
        """Return the request."""

    def completion(self, answer: Answer) -> Completion:
        """Return the completion in a response, checked. Its `finish_reason` may say that the engine gave up."""

    def chunk(self, answer: Answer, data: bytes) -> Chunk:
        """Return what the data of an event of a stream say. Whether it goes with the rest is not checked."""

    def aborted(self, answer: Answer) -> str | None:
        """Return why the engine gave up, whatever else the response holds; None where it did not."""

    def limit(self, answers: Sequence[Answer], model: str | None) -> int | None:
        """Return the longest prompt in tokens; None where the engine does not tell."""


def media_features(media: MultiModalData) -> dict[str, Json]:
    """Return the media fields of a request to vLLM: hashes of items that it holds, since only vLLM encodes items."""
    places = {
        modality: [{"offset": place.offset, "length": place.length} for place in ranges]
        for modality, ranges in media.placeholders.items()
    }
    return {"mm_hashes": dict(media.hashes), "mm_placeholders": places, "kwargs_data": None}


def refuse_fields(asked: Asked, names: Sequence[str], way_out: str) -> None:
    """Refuse arguments for which a protocol has no field.

    Raises:
        OptionError: Something of it was asked for; says what to do instead.
    """
    for name in names:
        if getattr(asked, name) is not None:
            raise OptionError(f"{name} {way_out}")


def wire(protocol: EngineProtocol, asked: Asked, request_id: str) -> bytes:
    """Return the request as bytes.

    Raises:
        OptionError: `extra_body` would replace a field, or a field is not this protocol's or no JSON.
    """
    body = protocol.body(asked, request_id)
    taken = sorted(body.keys() & asked.extra_body.keys())
    if taken:
        raise OptionError(f"extra_body: {taken[0]!r} is a field that generate fills itself")
    try:
        return msgspec.json.encode({**body, **asked.extra_body})
    except TypeError as error:
        raise OptionError(f"the request has no JSON form: {error}") from None
