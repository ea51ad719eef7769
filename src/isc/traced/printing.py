"""Values as text: as `str`, `repr` and JSON, each character with its origin.

The text is always Python's own; where the pieces that are known do not add up to it, it is of unknown origin.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from typing import Any, Final, TypeAlias

from jinja2.runtime import Undefined
from jinja2.utils import Namespace

from isc.traced.language import attributes_of
from isc.traced.limits import bounded
from isc.traced.markup import TracedMarkup, plain
from isc.traced.origins import TEMPLATE, merged, sole
from isc.traced.strings import Traced, lost, runs_of, traced, whole, whole_of
from isc.traced.values import SCALARS, Container, untraced

Containers: TypeAlias = Mapping[int, Container] | None
"""What is known of containers, by identity; None where nothing is traced."""
OWN_TEXT: Final = (int, float, bool, type(None), range)


def put_together(parts: Sequence[str]) -> str:
    """Join texts. The result is plain where all of them are."""
    text = "".join(parts)
    if all(type(part) is str for part in parts):
        return text
    return traced(text, tuple(merged(chain.from_iterable(map(runs_of, parts)))))


def printed(value: object, containers: Containers) -> str:
    """Return `str` of a value."""
    if isinstance(value, str):
        return plain(value) if isinstance(value, TracedMarkup) or type(value) not in (str, Traced) else value
    if isinstance(value, SCALARS):
        return whole(str(value), value._origin)
    if type(value) in OWN_TEXT or isinstance(value, Undefined):
        return str(value)
    return represented(value, containers)


def represented(value: object, containers: Containers) -> str:
    """Return `repr` of a value."""
    if type(value) in (list, tuple, dict):
        bounded(value)
        if containers is None:
            return repr(value)
        container = containers.get(id(value))
        if container is not None:
            return whole(repr(container.original), container.origin)
        return matching(list(_literal(value, containers)), repr(value), "repr")
    if isinstance(value, Traced):
        return whole_of(plain(value), repr(value), "repr")
    if isinstance(value, SCALARS):
        return whole(repr(value), value._origin)
    if type(value) in (str, *OWN_TEXT):
        return repr(value)
    if isinstance(value, tuple) or type(value).__name__ in ("dict_keys", "dict_values", "dict_items"):
        bounded(list(value))  # type: ignore[call-overload]
    elif isinstance(value, Namespace):
        bounded(list(attributes_of(value).values()))
    return lost(str(value), type(value).__name__)


def matching(parts: Sequence[str], text: str, operation: str) -> str:
    """Join the pieces, if they are this text. Else return the text with an unknown origin."""
    joined = put_together(parts)
    return joined if joined == text else lost(text, operation)


def _literal(value: object, containers: Containers) -> Iterator[str]:
    """Yield the pieces of a container's representation."""
    if isinstance(value, dict):
        yield "{"
        for position, (key, item) in enumerate(value.items()):
            yield ", " if position else ""
            yield from _represented_pieces(key, containers)
            yield ": "
            yield from _represented_pieces(item, containers)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "[" if isinstance(value, list) else "("
        for position, item in enumerate(value):
            yield ", " if position else ""
            yield from _represented_pieces(item, containers)
        yield "]" if isinstance(value, list) else ",)" if len(value) == 1 else ")"


def _represented_pieces(value: object, containers: Containers) -> Iterator[str]:
    """Yield the pieces of an item's representation, so that each is made once, however deep it is nested."""
    if type(value) in (list, tuple, dict) and id(value) not in (containers or ()):
        return _literal(value, containers)
    return iter((represented(value, containers),))


def as_json(value: object, containers: Containers, **options: Any) -> str:  # noqa: ANN401 - as `json.dumps`
    """Return `json.dumps` of a value."""
    if type(value) in (list, tuple, dict):
        bounded(value)
    if type(value) is int:
        return int.__repr__(value)
    if containers is None:
        return json.dumps(untraced(value) if isinstance(value, SCALARS) else value, **options)
    container = containers.get(id(value))
    if container is not None:
        written = whole(json.dumps(container.original, **options), container.origin)
        return written if container.origin.part != "tool_call" else _call_json(value, written, containers, options)
    plain_value = untraced(value)
    nested = isinstance(plain_value, (dict, list))
    text = json.dumps(plain_value, **options) if nested else _json_scalar(plain_value, options)
    if isinstance(value, SCALARS):
        return whole(text, value._origin)
    if isinstance(value, Traced):
        return _json_text(value, text, options)
    if isinstance(value, str) or type(value) in OWN_TEXT or not value:
        return text
    return matching(list(_pieces_inside(value, containers, options, _style(options), "\n")), text, "tojson")


def _style(options: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return what stands between items and after keys, and what a line is indented by."""
    indent = options.get("indent")
    separators = options.get("separators") or (", " if indent is None else ",", ": ")
    return separators[0], separators[1], " " * indent if isinstance(indent, int) else indent


def _call_json(value: object, text: Traced, containers: Containers, options: Mapping[str, Any]) -> str:
    """Return the JSON of a call, in which name and arguments are told from what stands around them."""
    if not value:
        return text
    around = text._runs[0][1]
    pieces = _pieces_inside(value, containers, options, _style(options), "\n")
    joined = put_together([piece if isinstance(piece, Traced) else whole(piece, around) for piece in pieces])
    return joined if joined == text else text


def _json_scalar(value: object, options: Mapping[str, Any]) -> str:
    return _encoder(bool(options.get("ensure_ascii", False))).encode(value)


@lru_cache(maxsize=2)
def _encoder(ensure_ascii: bool) -> json.JSONEncoder:
    """Return an encoder of texts and numbers, which `json.dumps` would make anew for each. Both are kept."""
    return json.JSONEncoder(ensure_ascii=ensure_ascii)


def _json_text(value: Traced, text: str, options: Mapping[str, Any]) -> str:
    """Return a JSON string. Its quotes belong to the quoted text."""
    origin = sole(value._runs)
    if origin is not None or not value:
        return whole(text, origin or TEMPLATE)
    parts: list[str] = []
    for start, end in pairwise([0, *accumulate(length for length, _, _ in value._runs)]):
        part = plain(value)[start:end]
        inner = json.dumps(str.__str__(part), ensure_ascii=options.get("ensure_ascii", False))[1:-1]
        parts.append(whole_of(plain(part), inner, "tojson"))
    return matching(['"', *parts, '"'], text, "tojson")


def _json_pieces(
    value: object, containers: Containers, options: Mapping[str, Any], style: tuple[str, str, str | None], newline: str
) -> Iterator[str]:
    """Yield the pieces of a container's JSON."""
    if not isinstance(value, (dict, list, tuple)) or not value or (containers and id(value) in containers):
        yield as_json(value, containers, **options).replace("\n", newline)
        return
    yield from _pieces_inside(value, containers, options, style, newline)


def _pieces_inside(
    value: Any,  # noqa: ANN401 - a container of any JSON values
    containers: Containers,
    options: Mapping[str, Any],
    style: tuple[str, str, str | None],
    newline: str,
) -> Iterator[str]:
    """Yield the pieces of a container's JSON, whatever the container is of."""
    between, colon, step = style
    inner = newline + step if step is not None else ""
    yield "{" if isinstance(value, dict) else "["
    items: Sequence[object] = list(value)
    if isinstance(value, dict) and options.get("sort_keys"):
        items = sorted(value)
    for position, item in enumerate(items):
        yield (between if position else "") + inner
        if isinstance(value, dict):
            yield (
                as_json(item, {}, ensure_ascii=options.get("ensure_ascii", False))
                if isinstance(item, str)
                else (f'"{json.dumps(untraced(item))}"')
            )
            yield colon
            item = value[item]  # noqa: PLW2901 - from key to value
        yield from _json_pieces(item, containers, options, style, inner)
    yield (newline if step is not None else "") + ("}" if isinstance(value, dict) else "]")


class Printed:
    """A value that prints within bounds."""

    def __init__(self, value: object, containers: Containers) -> None:
        self._value, self._containers = value, containers

    def __str__(self) -> str:
        return str.__str__(printed(self._value, self._containers))

    def __repr__(self) -> str:
        return str.__str__(represented(self._value, self._containers))
