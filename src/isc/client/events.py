"""Server-sent events: the chunks of a streamed answer, as far as they were received."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

_DATA = b"data:"
_DONE = b"[DONE]"


def events(body: bytes | bytearray) -> Iterator[bytes]:
    r"""Yield the data of every whole event; a line without its end was cut off, and is left out.

    >>> list(events(b'data: {"a": 1}\n\ndata: {"a": 2}\n\ndata: [DONE]\n\n')), list(events(b'data: {"a'))
    ([b'{"a": 1}', b'{"a": 2}'], [])
    """
    lines = bytes(body).replace(b"\r\n", b"\n").split(b"\n")
    for line in lines[:-1]:
        if line.startswith(_DATA):
            data = line[len(_DATA) :].strip()
            if data == _DONE:
                return
            yield data


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
