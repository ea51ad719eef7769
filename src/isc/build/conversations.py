"""JSON and JSON Lines as values, one at a time, and the conversation that a row of a file holds.

What a message holds is checked by `isc.convert`, not here; which key a conversation stands under is told in `forms`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from isc.errors import Error, shown

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InputError(Error, ValueError):
    """An input that holds no conversation: not JSON, or JSON of another form."""


class Conversation(Struct, frozen=True):
    """Messages and tools as a file gives them, unchecked.

    Attributes:
        messages: The messages as dicts, with their flags.
        tools: The tools.
        fields: The other fields of the row.
        untrained: Indices of messages that are never trained on: those of a prompt whose completion is trained on.
    """

    messages: list[Any]
    tools: list[Any] | None = None
    fields: Mapping[str, Any] = {}
    untrained: frozenset[int] = frozenset()


def tools(document: bytes) -> list[Any]:
    """Read the tools in one JSON document: a list of tools, or an object with `tools`.

    Raises:
        InputError: Not JSON, or not of that form.
    """
    value = decoded(document)
    found = listed(value if isinstance(value, dict) else {"tools": value}, "tools")
    if found is None:
        raise InputError('tools are a list of tool specs, or {"tools": [...]}')
    return found


def listed(fields: Mapping[str, Any], key: str) -> list[Any] | None:
    """Return the list under a key, which may be the JSON text of one, or None where there is nothing.

    Raises:
        InputError: It is no list.
    """
    value = fields.get(key)
    if isinstance(value, str):
        text = value.strip()
        value = decoded(text.encode("utf-8", "surrogatepass")) if text else None
    if value is not None and not isinstance(value, list):
        raise InputError(f"{key} must be a list (got {shown(fields[key])})")
    return value


def decoded(document: bytes) -> object:
    """Return the value of a JSON document.

    Where msgspec refuses a document, the slower reader of the standard library decides: its reasons are better,
    and it lets values pass that `isc.convert` then names by their path.

    Raises:
        InputError: It is not JSON; says where.
    """
    text = document.rstrip().removeprefix(_BYTE_ORDER_MARK)
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            value = json.loads(text.decode())
        except RecursionError:
            raise InputError("not JSON that can be read: it is nested too deeply") from None
        except UnicodeDecodeError as error:
            raise InputError(f"not JSON: byte {error.start + 1} is not UTF-8") from None
        except json.JSONDecodeError as error:
            line = f"line {error.lineno}, " if error.lineno > 1 else ""
            raise InputError(f"not JSON: {error.msg} at {line}column {error.colno}") from None
        except ValueError as error:  # an integer of thousands of digits
            raise InputError(f"not JSON that can be read: {error}") from None
    return value


def documents(stream: BinaryIO, *, by_line: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield each JSON document of a file with the number of its first line.

    A file holds one document a line, or one document over many lines.

    Args:
        stream: The file; read line by line, unless its first line is no whole document.
        by_line: Whether the file is known to hold one document a line.
    """
    lines = ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    for number, line in lines:
        if by_line or is_whole(line):
            yield from chain(((number, line),), lines)
        else:
            yield number, line + stream.read()
        return


def is_whole(line: bytes) -> bool:
    """Return whether a line is a JSON document by itself."""
    try:
        return isinstance(decoded(line), (dict, list))
    except InputError:
        return False
