"""Server-sent events: a streamed answer, cut into the data of its events however it arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from isc.client.bodies import UnreadableError

_LINE_END = re.compile(rb"\r\n|\n|\r")
_DONE = b"[DONE]"


class EventReader(Struct):
    r"""Reads the events of a body. An event is the `data:` lines before a blank line; without that line it is none.

    It keeps the event that has begun, `bound` bytes at most. After `[DONE]` nothing is an event.

    >>> reader = EventReader(bound=100)
    >>> list(reader.feed(b'data: {"a": 1}\n\nda')), list(reader.feed(b"ta: [DONE]\n\ndata: 7\n\n")), reader.is_done
    ([b'{"a": 1}'], [], True)
    """

    bound: int
    is_done: bool = False
    has_read: bool = False
    _line: bytearray = bytearray()
    _data: list[bytes] = []
    _size: int = 0
    _ends_half: bool = False

    def feed(self, piece: bytes | bytearray) -> Iterator[bytes]:
        """Yield the data of every event that ends in this piece of the body.

        Raises:
            UnreadableError: An event is larger than the bound.
        """
        for line in self._lines(bytes(piece)):
            if self.is_done:
                return
            if line:
                self._read(line)
            elif self._data:
                data = b"\n".join(self._data)
                self._data, self._size, self.has_read = [], 0, True
                self.is_done = data.strip() == _DONE
                if not self.is_done:
                    yield data
        if not self.is_done:
            self._check()

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        """Yield the lines that end in a piece, without their ends: CR, LF or both."""
        if self._ends_half and piece:  # its last byte was CR: the LF of the same end may follow
            piece = piece.removeprefix(b"\n")
        self._ends_half = piece.endswith(b"\r") if piece else self._ends_half
        *ended, rest = _LINE_END.split(piece)
        for line in ended:
            yield bytes(self._line + line)
            self._line.clear()
        if not self.is_done:
            self._line += rest

    def _read(self, line: bytes) -> None:
        """Take the data of a line; comments and other fields say nothing."""
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(line)
            self._check()

    def _check(self) -> None:
        if self._size + len(self._line) > self.bound:
            raise UnreadableError(
                f"has an event of more than {self.bound} bytes, which was read no further; allow more with "
                "max_response_bytes"
            )


def error_of(data: bytes) -> str | None:
    """Return the message of an event that is an error; None of any other.

    >>> error_of(b'{"error": {"message": "out of blocks", "code": 500}}'), error_of(b'{"choices": []}')
    ('out of blocks', None)
    """
    if b'"error"' not in data:
        return None
    try:
        event = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return None
    error = event.get("error") if isinstance(event, dict) else None
    if error is None and isinstance(event, dict) and event.get("object") == "error":
        error = event
    if isinstance(error, dict):
        error = error.get("message", "error")
    return None if error is None else str(error)
