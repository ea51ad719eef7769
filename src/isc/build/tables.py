"""Rows of Parquet and Arrow files, and of data sets by name: read batch by batch, sent to workers as Arrow has them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import parse_qsl

from isc._later import Later
from isc.build.arrow import require
from isc.build.conversations import InputError
from isc.errors import OptionError

if TYPE_CHECKING:
    import pyarrow
    from datasets import DatasetBuilder
else:
    pyarrow = DatasetBuilder = Later

HUB = "hf://"
ARROW_FILE = b"ARROW1\0\0"
"""How an Arrow file begins; what follows is a stream."""

_ROWS = 4096
_NAMED = frozenset(("split", "name", "revision"))


def unpacked_zstd(stream: BinaryIO) -> BinaryIO:
    """Return a zstd stream as the bytes it holds."""
    require("a .zst input")
    import pyarrow

    packed = pyarrow.PythonFile(stream, mode="r")
    return io.BufferedReader(pyarrow.CompressedInputStream(packed, "zstd"), 1 << 20)


def parquet_rows(stream: BinaryIO, skipped: int = 0) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of a Parquet file behind the first `skipped`. Row groups that are skipped are not read."""
    from pyarrow import parquet

    file = parquet.ParquetFile(stream)
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if skipped >= count:
            skipped -= count
        else:
            yield from behind(file.iter_batches(batch_size=_ROWS, row_groups=[group]), skipped)
            skipped = 0


def arrow_rows(stream: BinaryIO, skipped: int = 0) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of an Arrow stream behind the first `skipped`; an Arrow file is a stream with something around."""
    import pyarrow
    from pyarrow import ipc

    yield from behind(iter(ipc.open_stream(pyarrow.PythonFile(stream, mode="r"))), skipped)


def behind(batches: Iterator[pyarrow.RecordBatch], skipped: int) -> Iterator[pyarrow.RecordBatch]:
    """Yield batches without their first `skipped` rows."""
    for batch in batches:
        if skipped < batch.num_rows:
            yield batch.slice(skipped)
        skipped = max(0, skipped - batch.num_rows)


def packed(batch: pyarrow.RecordBatch, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield a batch as Arrow streams of about `size` bytes, each with its number of rows."""
    import pyarrow
    from pyarrow import ipc

    step = max(1, batch.num_rows * size // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, step):
        piece = batch.slice(start, step)
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

    def rows(self, skipped: int = 0) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows behind the first `skipped`, streamed."""
        try:
            split = self._builder.as_streaming_dataset(split=self._split)
        except ValueError as error:
            raise InputError(f"{self._name}: {error}; name one with ?split=") from None
        for table in split.skip(skipped).with_format("arrow").iter(batch_size=_ROWS):
            yield from table.to_batches()
