"""What a file of conversations is, told from its first bytes and rows: the name's ending decides only what is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec

from isc.build import tables
from isc.build.arrow import require
from isc.build.compression import Compression, unpacked
from isc.build.conversations import InputError, decoded, is_whole
from isc.build.forms import Form, form_of, unknown_form
from isc.build.json_arrays import Splitter
from isc.build.sources import BROKEN, STDIN, Container, Source, first_table, named, opened
from isc.errors import Error, shown

_LINES: Final = (".jsonl", ".ndjson")
_COMPRESSED: Final[Mapping[bytes, Compression]] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_TABLES: Final[Mapping[bytes, Container]] = {
    b"PAR1": "parquet",
    tables.ARROW_FILE: "arrow",
    b"\xff\xff\xff\xff": "arrow",
}
_Kind = TypeVar("_Kind")

_FIRST_LOOK = 1 << 18
_LONGEST_LOOK = 1 << 26
_ROWS = 100


def recognized(name: str, form: Form | None = None) -> Source:
    """Tell what an input is by its first bytes and rows.

    Args:
        name: A path, `-` or the name of a data set.
        form: The form of its rows; None finds it.

    Raises:
        InputError: It cannot be read, or its rows are of no known form; says what was found and what to give.
        OptionError: A package that it needs is not installed.
    """
    try:
        if name == STDIN:
            with opened(name) as stream:
                return _standard_input(stream, form)
        return _table(Source(name, "dataset"), form) if name.startswith(tables.HUB) else _file(name, form)
    except Error:
        raise
    except BROKEN as error:
        raise InputError(f"{named(name)}: cannot be read: {error}") from None


def _file(name: str, form: Form | None) -> Source:
    with opened(name) as stream:
        compression = _by_magic(stream.read(8), _COMPRESSED, "")
        stream.seek(0)
        text = unpacked(stream, compression)
        head = text.read(8)
        source = Source(name, compression=compression, size=Path(name).stat().st_size)
        container = _by_magic(head, _TABLES, "lines")
        if container == "lines":
            return _text(source, head, text, form)
    require(f"{name}: {container}")
    return _table(msgspec.structs.replace(source, container=container), form)


def _standard_input(stream: BinaryIO, form: Form | None) -> Source:
    head = stream.read(8)
    if any(map(head.startswith, (*_COMPRESSED, *_TABLES))):
        raise InputError("standard input is packed or a table: unpack it (zcat FILE | isc build -), or name the file")
    return _text(Source(STDIN), head, stream, form)


def _by_magic(head: bytes, kinds: Mapping[bytes, _Kind], default: _Kind) -> _Kind:
    return next((kind for start, kind in kinds.items() if head.startswith(start)), default)


def _table(source: Source, form: Form | None) -> Source:
    """Return a file of tables with the form that the names of its columns tell."""
    batch = None if form else first_table(source)
    if batch is not None:
        columns = dict.fromkeys(batch.schema.names)
        form = form_of(columns)
        if form is None:
            raise InputError(f"{source.name}: {unknown_form([columns])}")
    return msgspec.structs.replace(source, form=form or "messages")


def _text(source: Source, head: bytes, text: BinaryIO, form: Form | None) -> Source:
    """Read as much of a text as it takes to tell its container and form."""
    wanted = _FIRST_LOOK
    while True:
        piece = text.read(wanted - len(head))
        head += piece
        ended = not piece or len(head) > _LONGEST_LOOK
        container = _container(head, Path(source.name).name, ended=ended)
        rows = list(islice(_rows(head, container, ended=ended), _ROWS)) if container else []
        told = form or next(filter(None, map(form_of, rows)), None)
        if container and (told or ended or len(rows) == _ROWS):
            break
        wanted = 2 * len(head) + _FIRST_LOOK
    if told is None and rows:
        raise InputError(f"{named(source.name)}: {unknown_form(rows)}")
    if told is None and head.strip() and not _begins_json(head):
        found = f"begins with {shown(head.strip()[:40].decode(errors='replace'))}"
        give = "give conversations as .jsonl, .json, .parquet or .arrow, also .gz or .zst"
        raise InputError(f"{named(source.name)} {found}, which is not JSON: {give}")
    kept = head if source.name == STDIN else b""
    return msgspec.structs.replace(source, container=container, form=told or "messages", head=kept)


def _begins_json(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{")


def _container(head: bytes, name: str, *, ended: bool) -> Container | None:
    """Return how rows stand in a text that begins so, or None where more of it must be seen."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    line, newline, rest = text.partition(b"\n")
    if text[:1] not in (b"[", b"{"):
        return "lines" if text or ended else None
    if newline or ended:
        if is_whole(line):
            return "array" if not rest.strip() and _is_array(line) else "lines"
        if len(line.strip()) > 1 and any(ending in name for ending in _LINES):
            return "lines"
        if text[:1] == b"{":
            return "document"
    elif text[:1] == b"{":
        return None
    first = _elements(text)[:1]
    if not first:
        return "document" if ended else None
    return "array" if _is_array(b"[" + first[0] + b"]") else "document"


def _elements(text: bytes) -> list[bytes]:
    return [element for _, element in Splitter(1).feed(text.removeprefix(b"\xef\xbb\xbf").lstrip()[1:])]


def _is_array(document: bytes) -> bool:
    """Return whether a document is an array of rows, and not a row that is a bare list of messages."""
    with suppress(InputError):
        value = decoded(document)
        return isinstance(value, list) and bool(value) and form_of(value) is None
    return True


def _rows(head: bytes, container: Container, *, ended: bool) -> Iterator[object]:
    """Yield the rows that can be read in the first bytes of a text."""
    texts: Sequence[bytes] = [head] if ended else []
    if container == "array":
        texts = _elements(head)
    elif container == "lines":
        texts = head.splitlines() if ended else head.splitlines()[:-1]
    for text in texts:
        with suppress(InputError):
            if text.strip():
                yield decoded(text)
