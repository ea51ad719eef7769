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
from isc.build.survey import Survey
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
        files: The Parquet files that hold its samples, by their split, or one under ""; none where there is no sample.
        rejected: Rows that became no sample.
        tally: What became of the rows.
        lines: How many rows there were. Under `strict` those before the first bad one.
        survey: What a report shows of them, where one is taken.
    """

    number: int
    digest: str
    files: dict[str, bytes]
    rejected: tuple[Rejected, ...]
    tally: Tally
    lines: int
    survey: Survey | None = None


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
    streams: dict[str, list[bytes]] = {}
    rejected: list[Rejected] = []
    tally, lines, survey = Tally(), 0, Survey()
    for batch in part.batches:
        built = build_batch(renderer, settings, strict, batch)
        for split, rows in built.parts.items():
            streams.setdefault(split, [arrow.stream_start(columns(settings))]).append(rows)
        rejected += built.rejected
        tally, lines, survey = tally + built.tally, lines + built.lines, survey + (built.survey or Survey())
        if strict and rejected:
            break
    metadata = {FOOTER: msgspec.json.encode(metadata_of(settings, columns(settings), tally)).decode()}
    files = {split: arrow.parquet_of(b"".join(stream), metadata) for split, stream in sorted(streams.items())}
    taken = survey if settings.surveyed else None
    return BuiltPart(part.number, part.digest, files, tuple(rejected), tally, lines, taken)
