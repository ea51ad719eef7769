"""Training samples as Arrow: record batches that can be appended to a file one by one, and that file as Parquet.

A Parquet file is worthless until its footer is written; a stream of record batches is good up to any batch. So a build
appends to a stream, which can be cut and continued, and makes Parquet of it at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from isc._later import Later
from isc.errors import OptionError

if TYPE_CHECKING:
    import pyarrow
else:
    pyarrow = Later

_INTEGERS = frozenset(("input_ids", "labels", "target_ids", "position_ids", "seq_lengths", "message_indices"))
_SMALL = frozenset(("completion_mask", "assistant_masks"))
_MASKS = frozenset(("loss_mask", "is_content", "sampled_mask"))
_ROW_GROUP_BYTES = 64 * 1024 * 1024


def require(what: str = "a .parquet output") -> None:
    """Raise unless pyarrow is installed.

    Args:
        what: What needs it.

    Raises:
        OptionError: It is not; says how to install it.
    """
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise OptionError(f'{what} needs pyarrow: pip install "isc[arrow]"') from None


def stream_start(columns: Sequence[str]) -> bytes:
    """Return the bytes that begin a stream of samples with these columns."""
    return schema_of(columns).serialize().to_pybytes()


def record_batch(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return one or more rows of the same columns as the next piece of a stream."""
    return batch_of(rows, tuple(rows[0])).serialize().to_pybytes()


def batch_of(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pyarrow.RecordBatch:
    """Return rows as a record batch of these columns."""
    import pyarrow

    values = {name: [value_of(name, row[name]) for row in rows] for name in columns}
    return pyarrow.RecordBatch.from_pydict(values, schema=schema_of(columns))


def to_parquet(stream: Path, target: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a stream as a Parquet file, in row groups of about 64 MB, with metadata in its footer."""
    import pyarrow

    with pyarrow.OSFile(str(stream)) as source:
        _write_parquet(source, str(target), metadata)


def parquet_of(stream: bytes, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a stream as the content of a Parquet file, with metadata in its footer."""
    import pyarrow

    with pyarrow.BufferOutputStream() as target:
        _write_parquet(pyarrow.BufferReader(stream), target, metadata)
        return target.getvalue().to_pybytes()


def _write_parquet(
    source: pyarrow.NativeFile, target: str | pyarrow.NativeFile, metadata: Mapping[str, str] | None
) -> None:
    import pyarrow
    from pyarrow import ipc, parquet

    reader = ipc.open_stream(source)
    with parquet.ParquetWriter(target, reader.schema, compression="zstd") as writer:
        writer.add_key_value_metadata(metadata or {})
        group: list[pyarrow.RecordBatch] = []
        for batch in reader:
            group.append(batch)
            if sum(item.nbytes for item in group) >= _ROW_GROUP_BYTES:
                writer.write_table(pyarrow.Table.from_batches(group))
                group = []
        if group:
            writer.write_table(pyarrow.Table.from_batches(group))


def value_of(name: str, value: object) -> object:
    """Return a value as its column has it. What is carried along, of any form, is text: JSON, but of a text itself."""
    return as_text(value) if _kind(name) is None else value


def as_text(value: object) -> str | None:
    """Return a value as JSON, but a text as it is and None as None."""
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def schema_of(columns: Sequence[str]) -> pyarrow.Schema:
    """Return the types of these columns; those that are no sample's own are text."""
    import pyarrow

    return pyarrow.schema([(name, _kind(name) or pyarrow.string()) for name in columns])


def _kind(name: str) -> pyarrow.DataType | None:
    """Return the type of a sample's own column, or None where it is another."""
    import pyarrow

    if name == "length":
        return pyarrow.int32()
    if name == "loss_spans":
        return pyarrow.list_(pyarrow.list_(pyarrow.int32()))
    if name == "message_roles":
        return pyarrow.list_(pyarrow.string())
    kinds = ((_INTEGERS, pyarrow.int32), (_SMALL, pyarrow.int8), (_MASKS, pyarrow.bool_))
    return next((pyarrow.list_(kind()) for names, kind in kinds if name in names), None)
