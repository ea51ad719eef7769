"""JSON at the edges: values checked to have a JSON form, sampled text read without ever trusting it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from isc.errors import ConversationError
from isc.types import Json

_Found = TypeVar("_Found")
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_SORTED = json.JSONEncoder(ensure_ascii=False, sort_keys=True)
_COMPACT = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_quoted = msgspec.json.Encoder().encode
_DEEPEST_PATH = 64


def json_text(value: Json, indent: int | None = None) -> str:
    """Return a value as the `tojson` filter of `apply_chat_template` prints it."""
    if indent is not None:
        return json.dumps(value, ensure_ascii=False, indent=indent)
    flat = _flat_text(value) if type(value) is dict else None
    return _ENCODER.encode(value) if flat is None else flat


def sorted_json(value: Json, path: str, *, compact: bool = True) -> str:
    """Return a value as JSON with every object sorted by key.

    Args:
        value: The value.
        path: Where it stands, for the error.
        compact: Whether no spaces stand between the tokens.

    Raises:
        ConversationError: It cannot be sorted so: keys of several types, or nested too deeply.

    >>> sorted_json({"b": 1, "a": [2]}, "tools")
    '{"a":[2],"b":1}'
    """
    try:
        return (_COMPACT if compact else _SORTED).encode(value)
    except (TypeError, RecursionError) as error:
        raise ConversationError(path, f"cannot be sorted by key, which this format does: {error}") from None


def _flat_text(value: dict[Any, Any]) -> str | None:
    """Return an object of texts and integers as `json` writes it, at a fifth of the cost; None for any other.

    Most arguments of calls are such objects, and `json` makes an encoder for each.
    """
    fields: list[str] = []
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            return None
        if type(item) is int:
            fields.append(f"{_quoted(key).decode()}: {item}")
        elif type(item) is str and (item.isascii() or _has_utf_8(item)):
            fields.append(f"{_quoted(key).decode()}: {_quoted(item).decode()}")
        else:
            return None
    return f"{{{', '.join(fields)}}}"


def _has_utf_8(text: str) -> bool:
    """Return whether a text holds no lone surrogate, which `json` writes and msgspec refuses."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_json(text: str) -> Any:
    """Read a JSON value that can be written again.

    Raises:
        ValueError: Not JSON, or nested too deeply, a number too long, NaN, or a lone surrogate.
    """
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            json_text(value).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large a number")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def utf_8_text(value: str, path: str) -> str:
    """Return a text. Refuse one without a UTF-8 form, by an error at `path`."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            place = error.start
            problem = f"holds a lone surrogate at character {place}; replace it (it has no UTF-8 form)"
            raise ConversationError(path, problem, value[max(0, place - 10) : place + 10]) from None
    return value


def json_object_text(value: str, path: str) -> Any:
    """Read a caller's JSON text."""
    text = utf_8_text(value, path)
    return _guarded(lambda: decode_json(text), value, path)


def json_value(value: Any, path: str) -> Any:
    """Return a value. Refuse one without a JSON form in UTF-8, by an error at the innermost path."""
    try:
        text = _STRICT.encode(value)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        _locate(value, path, 0)
        raise ConversationError(path, f"has no JSON form: {error}", value) from None
    return value


def _locate(value: Any, path: str, depth: int) -> None:
    """Raise for the innermost item that has no JSON form, if one is found."""
    children: Iterable[tuple[str, Any]] = ()
    if depth > _DEEPEST_PATH:
        raise ConversationError(path, "is nested too deeply to be JSON")
    if isinstance(value, Mapping):
        children = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, str):
        utf_8_text(value, path)
    else:
        _guarded(lambda: json.dumps(value, allow_nan=False), value, path)
    for place, item in children:
        _locate(item, place, depth + 1)


def _guarded(work: Callable[[], _Found], value: object, path: str) -> _Found:
    try:
        return work()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConversationError(path, f"is not JSON: {error}", value) from None
