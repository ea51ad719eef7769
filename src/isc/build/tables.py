"""Rows of Parquet and Arrow files, and of data sets by name: read batch by batch, sent to workers as Arrow has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias
from urllib.parse import parse_qsl

from isc._later import Later
from isc.build.conversations import InputError
from isc.errors import OptionError

if TYPE_CHECKING:
    import pyarrow
    from datasets import DatasetBuilder
    from pyarrow import parquet
else:
    pyarrow = parquet = DatasetBuilder = Later

HUB = "hf://"
ARROW_FILE = b"ARROW1\0\0"
"""How an Arrow file begins; what follows is a stream."""

Rows: TypeAlias = "tuple[pyarrow.RecordBatch, int]"
"""A batch, and how many of its first rows are skipped."""

_MOST_ROWS = 4096
_STREAMED_ROWS = 256
_LOOKED_AT = 8
BATCH_BYTES = 1 << 20
_READ_AHEAD = 1 << 18
_NAMED = frozenset(("split", "name", "revision"))


def parquet_rows(stream: BinaryIO, skipped: int = 0, size: int = BATCH_BYTES) -> Iterator[Rows]:
    """Yield the rows of a Parquet file behind the first `skipped`. Row groups that are skipped are not read.

    A row group, which may be as large as the file, is read page by page and given in batches of about `size` bytes.
    """
    from pyarrow import parquet

    file = parquet.ParquetFile(stream, buffer_size=_READ_AHEAD, pre_buffer=False)
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if skipped >= count:
            skipped -= count
        else:
            yield from behind(_group_rows(file, group, _rows_at_once(file, group, size)), skipped)
            skipped = 0


def _rows_at_once(file: parquet.ParquetFile, group: int, size: int) -> int:
    """Return how many rows of a group have about `size` bytes.

    A row is as wide as the first are, which may be far wider than in the file: there equal texts are written once.
    """
    about = file.metadata.row_group(group)
    first = next(_group_rows(file, group, _LOOKED_AT), None)
    seen = first.nbytes // first.num_rows if first is not None and first.num_rows else 0
    width = max(1, seen, about.total_byte_size // max(about.num_rows, 1))
    return max(1, min(_MOST_ROWS, size // width))


def _group_rows(file: parquet.ParquetFile, group: int, rows: int) -> Iterator[pyarrow.RecordBatch]:
    # every thread of Arrow's keeps memory of its own, and one reads faster than many workers build
    return file.iter_batches(batch_size=rows, row_groups=[group], use_threads=False)


def arrow_rows(stream: BinaryIO, skipped: int = 0) -> Iterator[Rows]:
    """Yield the rows of an Arrow stream behind the first `skipped`; an Arrow file is a stream with something around."""
    import pyarrow
    from pyarrow import ipc

    yield from behind(iter(ipc.open_stream(pyarrow.PythonFile(stream, mode="r"))), skipped)


def behind(batches: Iterator[pyarrow.RecordBatch], skipped: int) -> Iterator[Rows]:
    """Yield batches behind the first `skipped` rows, but for those that are skipped whole."""
    import pyarrow

    for batch in batches:
        if skipped < batch.num_rows:
            yield batch, skipped
        skipped = max(0, skipped - batch.num_rows)
        pyarrow.default_memory_pool().release_unused()  # Arrow would keep the batches of seconds


def packed(rows: Rows, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield a batch as Arrow streams of about `size` bytes, each with its number of rows.

    It is cut where it is cut if no row is skipped, so that a build that goes on has the batches of one in one go.
    """
    import pyarrow
    from pyarrow import ipc

    batch, skipped = rows
    step = max(1, batch.num_rows * size // max(batch.nbytes, 1))
    for start in range(skipped - skipped % step, batch.num_rows, step):
        piece = batch.slice(max(start, skipped), min(step, start + step - skipped))
        sink = pyarrow.BufferOutputStream()
        with ipc.new_stream(sink, piece.schema) as writer:
            writer.write_batch(piece)
        yield piece.num_rows, sink.getvalue().to_pybytes()


def rows(table: bytes) -> list[dict[str, Any]]:
    """Return the rows of an Arrow stream."""
    from pyarrow import ipc

    return ipc.open_stream(table).read_all().to_pylist()


def row_text(row: object) -> bytes:
    """Return a row as JSON, for people to look at: what JSON has no value for is a text."""
    return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


class HubRows:
    """The rows of a data set by its name: `hf://OWNER/NAME?split=train&name=CONFIGURATION&revision=...`.

    A path of a directory may stand in the place of the name.

    Raises:
        OptionError: `datasets` is not installed, or the name has a part that is not known.
        InputError: There is no such data set or split.
    """

    def __init__(self, name: str) -> None:
        path, _, asked = name.removeprefix(HUB).partition("?")
        self._path = path.removeprefix("datasets/")
        self._asked = dict(parse_qsl(asked, keep_blank_values=True))
        unknown = sorted(self._asked.keys() - _NAMED)
        if unknown:
            raise OptionError(f"{name}: {unknown[0]!r} is none of {', '.join(sorted(_NAMED))}")
        self._name = name
        self._split = self._asked.pop("split", "train")
        self._builder = self._loaded()

    def _loaded(self) -> DatasetBuilder:
        try:
            import datasets
        except ModuleNotFoundError:
            raise OptionError(f"{self._name}: needs datasets: pip install datasets") from None
        try:
            return datasets.load_dataset_builder(self._path, **self._asked)
        except (OSError, ValueError) as error:
            raise InputError(f"{self._name}: {error}") from None

    @property
    def fingerprint(self) -> str:
        """Return what changes with the data set."""
        return f"{self._builder.hash} {self._split}"

    def rows(self, skipped: int = 0) -> Iterator[Rows]:
        """Yield the rows behind the first `skipped`, streamed."""
        try:
            split = self._builder.as_streaming_dataset(split=self._split)
        except ValueError as error:
            raise InputError(f"{self._name}: {error}; name one with ?split=") from None
        begun = skipped - skipped % _STREAMED_ROWS
        tables = split.skip(begun).with_format("arrow").iter(batch_size=_STREAMED_ROWS)
        yield from behind((batch for table in tables for batch in table.to_batches()), skipped - begun)
