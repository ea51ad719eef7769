"""A JSON array read element by element: one element and a piece of the file are held, whatever the file's size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from isc.build.conversations import InputError

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[\]{},]', re.DOTALL)
"""A string with its end, if that is there, or what begins, ends or separates values."""

_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[")
_PIECE = 1 << 20
LONGEST = 1 << 28
"""An element of more bytes is taken for a file in which a quote or a bracket is missing."""


class Splitter:
    """Cuts what it is fed at the commas of an array's own level. What follows the array stays in `rest`."""

    def __init__(self, position: int) -> None:
        self.ended = False
        self.rest = b""
        self._position = position
        self._scanned = 0
        self._depth = 0

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        """Return each element that is whole now, with the position behind its comma or the array's end."""
        text, start = self.rest + piece, 0
        elements: list[tuple[int, bytes]] = []
        for token in _TOKEN.finditer(text, self._scanned):
            if token[0].startswith(b'"') and not token[1]:
                break  # the string goes on in the next piece, and is looked at again from its beginning
            self._scanned = token.end()
            if self._ends_element(token[0]):
                elements.append((self._position + token.end(), text[start : token.start()].strip()))
                start = token.end()
            if self.ended:
                break
        self.rest = text[start:]
        self._scanned -= start
        self._position += start
        return [element for element in elements if element[1]]

    def _ends_element(self, token: bytes) -> bool:
        """Count the brackets, and return whether this token ends an element of the array."""
        if token in (b"[", b"{"):
            self._depth += 1
        elif token in (b"]", b"}"):
            self._depth -= 1
            self.ended = self._depth < 0
        return self.ended or (token == b"," and self._depth == 0)


def elements(stream: BinaryIO, position: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield each element of an array with the position behind it, where reading can go on.

    Args:
        stream: The file, at `position`.
        position: 0, or a position that was yielded.

    Raises:
        InputError: The array does not begin, does not end, or is followed by something.
    """
    piece = stream.read(_PIECE)
    if position == 0:
        start = _START.match(piece)
        if start is None:
            raise InputError("no JSON array begins here")
        position, piece = start.end(), piece[start.end() :] or stream.read(_PIECE)
    splitter = Splitter(position)
    while piece and not splitter.ended:
        yield from splitter.feed(piece)
        held = len(splitter.rest)
        if held > LONGEST:
            raise InputError(f"an element of more than {LONGEST >> 20} MB: is a quote or a bracket missing?")
        piece = stream.read(max(_PIECE, held))
    if splitter.rest.strip() or piece.strip():
        if splitter.ended:
            raise InputError("text follows the end of the JSON array; one array or one conversation a line is read")
        raise InputError("the JSON array ends inside an element: the file is cut off, or a bracket is missing")
