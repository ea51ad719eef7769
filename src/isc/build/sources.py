"""Files of conversations: a record of what each is, and its rows in batches from any place on.

A place is a number of bytes of the text that a file holds or, in files of tables, a number of rows.
"""

from __future__ import annotations

import glob
import hashlib
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, TypeAlias, cast

from msgspec import Struct

from isc._later import Later
from isc.build import tables
from isc.build.compression import Compression, unpacked
from isc.build.conversations import InputError
from isc.build.forms import Form
from isc.build.json_arrays import elements
from isc.build.samples import Batch, batches
from isc.errors import OptionError

if TYPE_CHECKING:
    import pyarrow
else:
    pyarrow = Later

STDIN = "-"
BATCH_BYTES = 256 * 1024

Container: TypeAlias = Literal["lines", "array", "document", "parquet", "arrow", "dataset"]

BROKEN = (OSError, EOFError, zlib.error, ValueError)
"""What reading a file that is cut off or damaged raises: of gzip, zstd, Parquet and Arrow."""

_COMPARED_BYTES = 64 * 1024
_BYTES_A_TOKEN, _PACKS, _MOST_PACKED = 4, 64, 8 << 20
_SAID: Final[dict[Container, str]] = {
    "lines": "JSON Lines",
    "array": "a JSON array",
    "document": "one JSON document",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "dataset": "a data set",
}


class Source(Struct, frozen=True):
    """An input, and what it was found to be.

    Attributes:
        name: A path, `-`, or the name of a data set.
        container: How rows stand in it.
        form: How a row holds a conversation.
        compression: What the file is packed with.
        size: Its bytes on disk, 0 where nobody knows.
        head: What was read of standard input already.
    """

    name: str
    container: Container = "lines"
    form: Form = "messages"
    compression: Compression = ""
    size: int = 0
    head: bytes = b""

    def __str__(self) -> str:
        """Describe what it was found to be."""
        packed = f" ({self.compression})" if self.compression else ""
        return f"{_SAID[self.container]}{packed} of the form {self.form}"

    @property
    def is_table(self) -> bool:
        """Return whether places in it are numbers of rows."""
        return self.container in ("parquet", "arrow", "dataset")

    @property
    def can_be_read_again(self) -> bool:
        """Return whether the rows can be read a second time."""
        return can_be_read_again(self.name)


def can_be_read_again(name: str) -> bool:
    """Return whether an input is no pipe."""
    return name.startswith(tables.HUB) or (name != STDIN and Path(name).is_file())


def named(source: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if source == STDIN else source


def expanded(names: Sequence[str]) -> tuple[str, ...]:
    """Return the inputs that names and patterns (`*`, `?`, `[...]`, `**`) stand for; those of a pattern are sorted.

    Raises:
        InputError: A pattern finds nothing.
        OptionError: No name is given, one is a directory, or one comes twice.
    """
    found = [match for name in names for match in _matches(name)]
    for position, name in enumerate(found):
        if name in found[:position]:
            raise OptionError(f"{named(name)} is named twice")
        if name != STDIN and not name.startswith(tables.HUB) and Path(name).is_dir():
            raise OptionError(f"{name} is a directory; name its files, e.g. '{Path(name) / '*.jsonl'}'")
    if not found:
        raise OptionError("name a file of conversations, or - for standard input")
    return tuple(found)


def _matches(name: str) -> list[str]:
    if name == STDIN or name.startswith(tables.HUB) or Path(name).exists() or not glob.has_magic(name):
        return [name]
    files = [match for match in sorted(glob.glob(name, recursive=True)) if not Path(match).is_dir()]  # noqa: PTH207
    if not files:
        raise InputError(f"{name}: no file has such a name")
    return files


@contextmanager
def opened(source: str) -> Iterator[BinaryIO]:
    """Open a file for reading, or standard input for `-`.

    Raises:
        InputError: It cannot be opened; says why.
    """
    if source == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from None
    with stream:
        yield stream


def batch_bytes(pack: int | None) -> int:
    """Return the bytes of a batch. Samples are packed within a batch, so it has many times the length of a pack."""
    return max(BATCH_BYTES, min(_BYTES_A_TOKEN * _PACKS * pack, _MOST_PACKED)) if pack else BATCH_BYTES


def read_batches(
    source: Source, file: int = 0, first: int = 1, place: int = 0, *, size: int | None = None
) -> Iterator[Batch]:
    """Yield the rows of a file in batches.

    Args:
        source: The file.
        file: Its number among the inputs.
        first: The number of the row at `place`.
        place: Where to begin: 0, or an end that a batch has.
        size: The bytes of a batch; by default `BATCH_BYTES`.

    Raises:
        InputError: The file cannot be read, or is damaged; names the last row that was read.
    """
    row = first
    read = _table_batches if source.is_table else _text_batches
    try:
        for batch in read(source, file, first, place, size or BATCH_BYTES):
            yield batch
            row = batch.first + len(batch.ends)
    except InputError as error:
        told = str(error).startswith(source.name)
        raise error if told else InputError(f"{named(source.name)}: {error}") from None
    except BROKEN as error:
        raise InputError(f"{named(source.name)}: cannot be read behind row {row - 1:,}: {error}") from None


def _text_batches(source: Source, file: int, first: int, place: int, size: int) -> Iterator[Batch]:
    with opened(source.name) as stream:
        text = unpacked(stream, source.compression)
        if source.head:
            text = chained(source.head, text)
        _skip(text, place)
        if source.container == "lines":
            found = _line_batches(text, place, first, size)
        else:
            found = batches(_pairs(source, text, place), first, size)
        for batch in found:
            read = stream.tell() if source.compression else batch.ends[-1]
            yield Batch(batch.first, batch.lines, batch.ends, form=source.form, file=file, read=read)


def _line_batches(text: BinaryIO, place: int, first: int, size: int) -> Iterator[Batch]:
    """Yield the lines of a text as `batches` would: read and measured many at a time."""
    while lines := text.readlines(size):
        ends = tuple(accumulate(map(len, lines), initial=place))[1:]
        yield Batch(first, tuple(lines), ends)
        first, place = first + len(lines), ends[-1]


def _pairs(source: Source, text: BinaryIO, place: int) -> Iterator[tuple[int, bytes]]:
    """Yield each row of a text of values, or the one that it is, with the place behind it."""
    if source.container == "array":
        yield from elements(text, place)
    else:
        document = text.read()
        if document.strip():
            yield place + len(document), document


def _skip(stream: BinaryIO, count: int) -> None:
    if isinstance(stream, io.BufferedReader) and stream.seekable():
        stream.seek(count)
        return
    while count:
        piece = stream.read(min(count, 1 << 20))
        if not piece:
            raise EOFError("the file is shorter than it was")
        count -= len(piece)


def _table_batches(source: Source, file: int, first: int, place: int, size: int) -> Iterator[Batch]:
    rows = place
    total = max(1, source.size)
    for found, read in _record_batches(source, place, max(size, tables.BATCH_BYTES)):
        for count, table in tables.packed(found, size):
            ends = tuple(range(rows + 1, rows + count + 1))
            yield Batch(first, ends=ends, table=table, form=source.form, file=file, read=min(read, total))
            first, rows = first + count, rows + count


def _record_batches(source: Source, place: int, size: int) -> Iterator[tuple[tables.Rows, int]]:
    """Yield record batches behind a number of rows, each with how much of the file was read.

    Where the file does not say how its rows are divided, a batch has about `size` bytes.
    """
    if source.container == "dataset":
        yield from ((found, 0) for found in tables.HubRows(source.name).rows(place))
        return
    with opened(source.name) as stream:
        text = unpacked(stream, source.compression)
        if source.container == "arrow":
            head = text.read(len(tables.ARROW_FILE))
            if head != tables.ARROW_FILE:
                text = chained(head, text)
            yield from ((found, stream.tell()) for found in tables.arrow_rows(text, place))
        elif not source.compression:
            yield from ((found, stream.tell()) for found in tables.parquet_rows(text, place, size))
        else:
            with tempfile.TemporaryFile() as whole:  # a Parquet file is read from its end
                shutil.copyfileobj(text, whole)
                yield from ((found, source.size) for found in tables.parquet_rows(whole, place, size))


def chained(head: bytes, rest: BinaryIO) -> BinaryIO:
    """Return a stream of which the first bytes were read already."""
    return cast(BinaryIO, io.BufferedReader(_Chained(head, rest)))


class _Chained(io.RawIOBase):
    """The first bytes of a stream, which were read already, and the rest of it."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer, from the head as long as it lasts."""
        piece = self._head[: len(buffer)] if self._head else memoryview(self._rest.read(len(buffer)))
        self._head = self._head[len(piece) :] if self._head else self._head
        buffer[: len(piece)] = piece
        return len(piece)


def first_table(source: Source) -> pyarrow.RecordBatch | None:
    """Return the first rows of a file of tables, or None where there are none."""
    return next((batch for (batch, _), _ in islice(_record_batches(source, 0, tables.BATCH_BYTES), 1)), None)


def fingerprint(name: str) -> str:
    """Return a digest of a whole input's size, beginning and end."""
    if name.startswith(tables.HUB):
        return tables.HubRows(name).fingerprint
    with opened(name) as stream:
        size = os.fstat(stream.fileno()).st_size
        digest = hashlib.sha256(str(size).encode() + stream.read(_COMPARED_BYTES))
        stream.seek(max(0, size - _COMPARED_BYTES))
        digest.update(stream.read(_COMPARED_BYTES))
        return digest.hexdigest()


def done_digest(source: Source, place: int) -> str:
    """Return a digest of what was read up to a place: of plain text its last 64 KiB, of any other file the whole."""
    if source.is_table or source.compression:
        return fingerprint(source.name)
    with opened(source.name) as stream:
        stream.seek(max(0, place - _COMPARED_BYTES))
        return hashlib.sha256(stream.read(min(place, _COMPARED_BYTES))).hexdigest()
