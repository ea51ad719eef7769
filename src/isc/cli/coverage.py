"""What is proven for each model, and on what: the table that `isc families --models` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final

import msgspec
from msgspec import Struct

COLUMNS: Final = ("model", "family", "text", "ids", "attribution", "sampled", "bridge", "calls", "reasoning", "images")


class Coverage(Struct, frozen=True, array_like=True):
    """A model, the family that serves it, and what each thing that isc says of it rests on."""

    model: str
    family: str
    text: str
    ids: str
    attribution: str
    sampled: str
    bridge: str
    calls: str
    reasoning: str
    images: str


def known_coverage() -> tuple[Coverage, ...]:
    """Return every known model with what is proven of it."""
    document = files("isc").joinpath("data/coverage.json").read_bytes()
    return msgspec.json.decode(document, type=tuple[Coverage, ...])


def rows_of(coverage: Sequence[Coverage]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table, as long as `COLUMNS`."""
    return (msgspec.structs.astuple(row) for row in coverage)
