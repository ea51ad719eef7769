"""Files that are packed: what their names end in, and members that follow each other in one file.

A member is whole by itself, and so is a file of any number of them: a build appends one a batch, and can be cut off
behind any of them. Members are the same whenever and wherever they are made.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias, cast

from isc.build.arrow import require

Compression: TypeAlias = Literal["", "gzip", "zstd"]

ENDINGS: Final[Mapping[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}

_GZIP_LEVEL = 4  # level 6 takes three times as long for files that are a twentieth smaller
_ZSTD_LEVEL = 6


def split_name(path: Path) -> tuple[str, str]:
    """Return a file's name without what it ends in, and that: the form of the file and how it is packed.

    >>> split_name(Path("runs/samples.v2.jsonl.gz")), split_name(Path("samples.jsonl"))
    (('samples.v2', '.jsonl.gz'), ('samples', '.jsonl'))
    """
    packing = path.suffix if path.suffix in ENDINGS else ""
    form = Path(path.name.removesuffix(packing)).suffix
    return path.name.removesuffix(form + packing), form + packing


def compression_of(path: Path) -> Compression:
    """Return what a file's name says that it is packed with."""
    return ENDINGS.get(path.suffix, "")


def member(content: bytes, compression: Compression) -> bytes:
    """Return content packed, as a whole member; of nothing there is none.

    Args:
        content: What to pack.
        compression: How. Content that is not to be packed is returned as it is.

    >>> gzip.decompress(member(b"one ", "gzip") + member(b"file", "gzip"))
    b'one file'
    """
    if not content or not compression:
        return content
    if compression == "gzip":
        return gzip.compress(content, _GZIP_LEVEL, mtime=0)
    import pyarrow

    return pyarrow.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(content).to_pybytes()


def unpacked(stream: BinaryIO, compression: Compression) -> BinaryIO:
    """Return a stream as the bytes that it holds, read as they are asked for."""
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    return _unpacked_zstd(stream) if compression == "zstd" else stream


def _unpacked_zstd(stream: BinaryIO) -> BinaryIO:
    require("a .zst file")
    import pyarrow

    packed = pyarrow.PythonFile(stream, mode="r")
    return io.BufferedReader(pyarrow.CompressedInputStream(packed, "zstd"), 1 << 20)
