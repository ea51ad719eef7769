"""Declarations of tools as Gemma 4 writes them: `declaration:name{description:<|"|>...<|"|>,parameters:{...}}`.

Keys are sorted without regard to case, texts stand between quote tokens, types are upper case. What a template leaves
out or forgets to close is left out or not closed here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from isc.formats.segments import scaffold, special
from isc.types import Json, Segment, ToolSpec

Revision: TypeAlias = Literal["initial", "current", "2026-05"]
"""Which template: the first; those that followed; the one that keeps properties with the names of schema keys."""

QUOTE: Final = special('<|"|>')

_SCHEMA_KEYS: Final = frozenset(("description", "type", "properties", "required", "nullable"))


def declaration(tool: ToolSpec, revision: Revision) -> Iterator[Segment]:
    """Yield the declaration of a tool."""
    function = tool.function
    yield scaffold(f"declaration:{tool.name}{{description:")
    yield from _quoted(function.get("description", ""))
    parameters = function.get("parameters")
    if parameters:
        yield scaffold(",parameters:{")
        yield from _parameters(_mapping(parameters), revision)
    if "response" in function:
        response = _mapping(function["response"])
        yield scaffold(",response:{")
        if response.get("description"):
            yield scaffold("description:")
            yield from _quoted(response["description"])
            yield scaffold(",")
        if _upper(response) == "OBJECT":
            yield from _closing_type("OBJECT")
    yield scaffold("}")


def _parameters(parameters: Mapping[str, Json], revision: Revision) -> Iterator[Segment]:
    """Yield the schema of all arguments. Its brace is only closed after a type."""
    if parameters.get("properties"):
        yield scaffold("properties:{")
        yield from _properties(_mapping(parameters["properties"]), revision)
        yield scaffold("},")
    if parameters.get("required"):
        yield from _required(parameters["required"])
        yield scaffold(",")
    if parameters.get("type"):
        yield from _closing_type(_upper(parameters))


def _properties(properties: Mapping[str, Json], revision: Revision, *, bare: bool = False) -> Iterator[Segment]:
    """Yield properties. `bare` is an object's schema that has no properties, taken for them."""
    apart = ""
    for key, schema in in_order(properties):
        if key in _SCHEMA_KEYS and (bare or revision != "2026-05"):
            continue
        yield scaffold(f"{apart}{key}:{{")
        yield from _property(_mapping(schema), revision, is_object=isinstance(schema, Mapping))
        apart = ","


def _property(schema: Mapping[str, Json], revision: Revision, *, is_object: bool) -> Iterator[Segment]:
    """Yield the fields of a property, set apart by commas, then its type."""
    kind, apart = _upper(schema), ""
    nullable = "nullable:true" if schema.get("nullable") else ""
    first = revision == "initial"
    if schema.get("description"):
        yield scaffold("description:")
        yield from _quoted(schema["description"])
        apart = ","
    if nullable and first:
        yield scaffold(apart + nullable)
        apart = ","
    if kind == "STRING" and schema.get("enum"):
        yield scaffold(f"{apart}enum:")
        yield from value(schema["enum"], quotes_keys=True)
        apart = ","
    if kind == "ARRAY" and isinstance(schema.get("items"), Mapping) and schema["items"]:
        yield scaffold(f"{',' if first else apart}items:{{")
        yield from _items(_mapping(schema["items"]), revision)
        yield scaffold("}")
        apart = apart if first else ","
    if nullable and not first:
        yield scaffold(apart + nullable)
        apart = ","
    if kind == "OBJECT" and is_object:
        yield scaffold("," if first else apart)
        yield from _object(schema, revision)
        apart = apart if first else ","
    yield scaffold(apart)
    yield from _closing_type(kind)


def _object(schema: Mapping[str, Json], revision: Revision) -> Iterator[Segment]:
    """Yield the properties of an object, or its schema in their place, and which are required."""
    properties = schema.get("properties")
    yield scaffold("properties:{")
    if isinstance(properties, Mapping):
        yield from _properties(properties, revision)
    else:
        yield from _properties(schema, revision, bare=True)
    yield scaffold("}")
    if schema.get("required"):
        yield scaffold(",")
        yield from _required(schema["required"])


def _items(items: Mapping[str, Json], revision: Revision) -> Iterator[Segment]:
    """Yield the schema of a list's items."""
    apart = ""
    for key, told in in_order(items):
        if told is None:
            continue
        yield scaffold(apart)
        apart = ","
        if key == "properties":
            yield scaffold("properties:{")
            yield from _properties(_mapping(told), revision)
            yield scaffold("}")
        elif key == "required":
            yield from _required(told)
        elif key == "type":
            yield scaffold("type:")
            yield from value(_upper(items) if isinstance(told, str) else [_text(one).upper() for one in _list(told)])
        else:
            yield scaffold(f"{key}:")
            yield from value(told, quotes_keys=True)


def value(given: Json, *, quotes_keys: bool = False, say: Callable[[str], Segment] = scaffold) -> Iterator[Segment]:
    """Yield a value: texts between quote tokens, keys in order, all else as Python prints it but for booleans.

    `say` gives the segment of what the value says.
    """
    if isinstance(given, str):
        yield from _quoted(given, say)
    elif isinstance(given, bool):
        yield say("true" if given else "false")
    elif isinstance(given, Mapping):
        apart = "{"
        for key, inner in in_order(given):
            yield scaffold(apart)
            yield from _quoted(key, say) if quotes_keys else (say(key),)
            yield scaffold(":")
            yield from value(inner, quotes_keys=quotes_keys, say=say)
            apart = ","
        yield scaffold("}" if given else "{}")
    elif isinstance(given, Sequence):
        yield scaffold("[")
        for position, inner in enumerate(given):
            yield scaffold("," if position else "")
            yield from value(inner, quotes_keys=quotes_keys, say=say)
        yield scaffold("]")
    else:
        yield say(str(given))


def in_order(fields: Mapping[str, Json]) -> list[tuple[str, Json]]:
    """Return the fields of an object sorted by key without regard to case, as Jinja's `dictsort` does.

    >>> in_order({"b": 1, "A": 2})
    [('A', 2), ('b', 1)]
    """
    return sorted(fields.items(), key=lambda field: field[0].lower())


def _quoted(text: Json, say: Callable[[str], Segment] = scaffold) -> tuple[Segment, ...]:
    return QUOTE, say(_text(text)), QUOTE


def _required(names: Json) -> Iterator[Segment]:
    yield scaffold("required:[")
    for position, name in enumerate(_list(names)):
        yield scaffold("," if position else "")
        yield from _quoted(name)
    yield scaffold("]")


def _closing_type(kind: str) -> Iterator[Segment]:
    yield scaffold("type:")
    yield from _quoted(kind)
    yield scaffold("}")


def _upper(schema: Mapping[str, Json]) -> str:
    """Return the type that a schema names, in upper case. A list of types is printed as Python prints it."""
    return _text(schema.get("type", "")).upper()


def _text(told: Json) -> str:
    return told if isinstance(told, str) else str(told)


def _list(told: Json) -> Sequence[Json]:
    return told if isinstance(told, Sequence) and not isinstance(told, str) else ()


def _mapping(told: Json) -> Mapping[str, Json]:
    return told if isinstance(told, Mapping) else {}
