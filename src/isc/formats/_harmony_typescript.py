"""Tools as TypeScript, as gpt-oss declares them: the template's macros `render_typescript_type` and `..._namespace`.

Their oddities are kept: `nullable` counts for strings and arrays only, a default in a `oneOf` is set off by 20 blanks,
an object variant does not make it `any`. Where the macros raise, for they expect texts, values are spelled as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from isc._json import json_text
from isc.types import Json, ToolSpec

_LONGEST_ITEM: Final = 50
_BEFORE_DEFAULT: Final = " " * 20
_BEFORE_PROPERTY: Final = "\n" + " " * 16
_PLAIN: Final = {"number": "number", "integer": "number", "boolean": "boolean"}
_ITEMS: Final = {"string": "string", **_PLAIN}


def namespace(name: str, tools: Sequence[ToolSpec]) -> str:
    """Return a namespace of functions.

    >>> print(namespace("functions", [ToolSpec({"function": {"name": "now", "description": "The time."}})]))
    ## functions
    <BLANKLINE>
    namespace functions {
    <BLANKLINE>
    // The time.
    type now = () => any;
    <BLANKLINE>
    } // namespace functions
    """
    declared = "".join(map(_declaration, tools))
    return f"## {name}\n\nnamespace {name} {{\n\n{declared}}} // namespace {name}"


def _declaration(tool: ToolSpec) -> str:
    description = _text(tool.function.get("description") or "")
    properties = _mapping(tool.parameters.get("properties"))
    parameters = "".join(_parameters(properties, _required(tool.parameters)))
    signature = f"(_: {{\n{parameters}}})" if properties else "()"
    return f"// {description}\ntype {tool.name} = {signature} => any;\n\n"


def _parameters(properties: Mapping[str, Json], required: Sequence[Json]) -> Iterator[str]:
    """Yield the arguments of a function, a line each, below what describes it."""
    for name, value in properties.items():
        schema = _mapping(value)
        if schema.get("description"):
            yield f"// {_text(schema['description'])}\n"
        yield f"{name}{_mark(name, required)}: {typescript_type(schema)}{_default(schema)},\n"


def _default(schema: Mapping[str, Json]) -> str:
    if "default" not in schema:
        return ""
    if schema.get("enum"):
        return f", // default: {_text(schema['default'])}"
    if schema.get("oneOf"):
        return f"// default: {_text(schema['default'])}"
    return f", // default: {json_text(schema['default'])}"


def typescript_type(schema: Mapping[str, Json]) -> str:
    """Return the type of a schema.

    >>> typescript_type({"type": "array", "items": {"type": "string"}, "nullable": True})
    'string[] | null'
    >>> typescript_type({"type": "string", "enum": ["a", "b"]}), typescript_type({"anyOf": []})
    ('"a" | "b"', 'any')
    """
    kind = schema.get("type")
    if kind == "array":
        return _array(schema) + _null(schema)
    if isinstance(kind, (list, tuple)) and kind:
        return " | ".join(map(str, kind))
    if schema.get("oneOf"):
        return "".join(_variants(schema["oneOf"]))
    if kind == "string":
        return _string(schema)
    if kind == "object":
        return _object(schema)
    return _PLAIN.get(kind, "any") if isinstance(kind, str) else "any"


def _array(schema: Mapping[str, Json]) -> str:
    items = schema.get("items")
    if not items:
        return "any[]"
    schema = _mapping(items)
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _ITEMS:
        return f"{_ITEMS[kind]}[]"
    item = typescript_type(schema)
    return "any[]" if item == "object | object" or len(item) > _LONGEST_ITEM else f"{item}[]"


def _variants(variants: Json) -> Iterator[str]:
    """Yield the types of a union, each with what describes it."""
    schemas = [_mapping(variant) for variant in variants] if isinstance(variants, (list, tuple)) else []
    for position, schema in enumerate(schemas, 1):
        yield typescript_type(schema)
        if schema.get("description"):
            yield f"// {_text(schema['description'])}"
        if "default" in schema:
            yield f"{_BEFORE_DEFAULT}// default: {json_text(schema['default'])}"
        if position < len(schemas):
            yield " | \n"


def _string(schema: Mapping[str, Json]) -> str:
    values = schema.get("enum")
    if values:
        return '"' + '" | "'.join(map(str, values if isinstance(values, (list, tuple)) else (values,))) + '"'
    return "string" + _null(schema)


def _object(schema: Mapping[str, Json]) -> str:
    properties = _mapping(schema.get("properties"))
    required = _required(schema)
    typed = (
        f"{name}{_mark(name, required)}: {_BEFORE_PROPERTY}{typescript_type(_mapping(value))}"
        for name, value in properties.items()
    )
    return "{\n" + ", ".join(typed) + "}" if properties else "object"


def _null(schema: Mapping[str, Json]) -> str:
    return " | null" if schema.get("nullable") else ""


def _mark(name: str, required: Sequence[Json]) -> str:
    return "" if name in required else "?"


def _required(schema: Mapping[str, Json]) -> Sequence[Json]:
    names = schema.get("required")
    return names if isinstance(names, (list, tuple)) else ()


def _mapping(value: Json) -> Mapping[str, Json]:
    """Return a schema, or an empty one where something else stands in its place."""
    return value if isinstance(value, Mapping) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json_text(value)
