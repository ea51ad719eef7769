"""A build cut into parts that are built anywhere, in any order, and again if need be. Pure: no file, no cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import TypeAlias

import msgspec
from msgspec import Struct

from isc.build import arrow
from isc.build.metadata import FOOTER, metadata_of
from isc.build.samples import Batch, Rejected, Settings, Tally, build_batch, columns
from isc.conversation.renderer import Renderer

PART_BYTES = 16 * 1024 * 1024
"""Bytes of input that are one part."""


class Part(Struct, frozen=True):
    """Consecutive batches of the input. The same input has the same parts."""

    number: int
    batches: tuple[Batch, ...]

    @property
    def digest(self) -> str:
        """Return a digest of the input in this part, and of where it stands there."""
        digest = sha256()
        for batch in self.batches:
            digest.update(f"{batch.file} {batch.first} {batch.form}\n".encode())
            for content in (*batch.lines, batch.table):
                digest.update(content)
        return digest.hexdigest()


class BuiltPart(Struct, frozen=True):
    """What a part became.

    Attributes:
        number: The part's.
        digest: Of the part's input.
        parquet: The file that holds its samples; empty where there is none.
        rejected: Rows that became no sample.
        tally: What became of the rows.
        lines: How many rows there were. Under `strict` those before the first bad one.
    """

    number: int
    digest: str
    parquet: bytes
    rejected: tuple[Rejected, ...]
    tally: Tally
    lines: int


PartWork: TypeAlias = Callable[[Part], BuiltPart]


def cut(batches: Iterable[Batch], size: int = PART_BYTES) -> Iterator[Part]:
    """Yield the batches as parts of about `size` bytes of input, numbered from 0."""
    group: list[Batch] = []
    held = number = 0
    for batch in batches:
        group.append(batch)
        held += sum(map(len, batch.lines)) + len(batch.table)
        if held >= size:
            yield Part(number, tuple(group))
            group, held, number = [], 0, number + 1
    if group:
        yield Part(number, tuple(group))


def build_part(renderer: Renderer, settings: Settings, strict: bool, part: Part) -> BuiltPart:
    """Build the samples of a part.

    Args:
        renderer: Format and vocabulary.
        settings: What to train on, and the columns.
        strict: Whether to stop at a bad row.
        part: The rows.
    """
    stream: list[bytes] = []
    rejected: list[Rejected] = []
    tally, lines = Tally(), 0
    for batch in part.batches:
        built = build_batch(renderer, settings, strict, batch)
        stream.append(built.rows)
        rejected += built.rejected
        tally, lines = tally + built.tally, lines + built.lines
        if strict and rejected:
            break
    rows = b"".join(stream)
    metadata = {FOOTER: msgspec.json.encode(metadata_of(settings, columns(settings), tally)).decode()}
    parquet = arrow.parquet_of(arrow.stream_start(columns(settings)) + rows, metadata) if rows else b""
    return BuiltPart(part.number, part.digest, parquet, tuple(rejected), tally, lines)
