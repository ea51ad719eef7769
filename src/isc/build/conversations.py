"""JSON and JSON Lines as conversations, one at a time. What a message holds is checked by `isc.convert`, not here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from isc.errors import Error, shown

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FORM = 'a conversation is {"messages": [...], "tools": [...]} or a bare list of messages'


class InputError(Error, ValueError):
    """An input that holds no conversation: not JSON, or JSON of another form."""


class Conversation(Struct, frozen=True):
    """Messages and tools as a file gives them, unchecked, and the other fields of the row they stand in."""

    messages: list[Any]
    tools: list[Any] | None = None
    fields: Mapping[str, Any] = {}


def conversation(document: bytes) -> Conversation:
    """Read the conversation in one JSON document.

    Args:
        document: UTF-8 JSON: an object with `messages` and perhaps `tools`, or a bare list of messages.

    Returns:
        What `Renderer.render` and `build_training_sample` take.

    Raises:
        InputError: Not JSON, or not of that form.

    >>> conversation(b'[{"role": "user", "content": "hi"}]').messages[0]["content"]
    'hi'
    """
    value = _decoded(document)
    if isinstance(value, list):
        if value and isinstance(value[0], Mapping) and "messages" in value[0]:
            raise InputError("this is a list of conversations; write one a line instead (jq -c '.[]')")
        return Conversation(value)
    if not isinstance(value, dict):
        raise InputError(f"{_FORM} (got {shown(value)})")
    return conversation_in(value)


def conversation_in(row: Mapping[str, Any]) -> Conversation:
    """Read the conversation in one row.

    Raises:
        InputError: The row has no messages, or they or the tools are no list.

    >>> conversation_in({"messages": [{"role": "user", "content": "hi"}], "id": 7}).fields
    {'id': 7}
    """
    if "messages" not in row:
        raise InputError(f"{_FORM} (got {shown(row)})")
    fields = {name: field for name, field in row.items() if name not in ("messages", "tools")}
    return Conversation(_listed(row, "messages") or [], _listed(row, "tools"), fields)


def tools(document: bytes) -> list[Any]:
    """Read the tools in one JSON document: a list of tools, or an object with `tools`.

    Raises:
        InputError: Not JSON, or not of that form.
    """
    value = _decoded(document)
    listed = _listed(value if isinstance(value, dict) else {"tools": value}, "tools")
    if listed is None:
        raise InputError('tools are a list of tool specs, or {"tools": [...]}')
    return listed


def _listed(fields: Mapping[str, Any], key: str) -> list[Any] | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, list):
        raise InputError(f"{key} must be a list (got {shown(value)})")
    return value


def _decoded(document: bytes) -> object:
    """Return the value of a JSON document.

    Where msgspec refuses a document, the slower reader of the standard library decides: its reasons are better,
    and it lets values pass that `isc.convert` then names by their path.
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
        return isinstance(_decoded(line), (dict, list))
    except InputError:
        return False
