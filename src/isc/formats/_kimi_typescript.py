"""Tools as Kimi K2.5 declares them: a TypeScript namespace with a type for each function.

Source: FORMAT.md of `moonshotai/Kimi-K2.5` in the reference, with its worked examples. Schemas must have the key order
in which the model's tokenizer passes them on (sorted). What TypeScript cannot say raises: the model is then given JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from isc._json import json_text
from isc.types import Json

_INDENT: Final = "  "
_DEEPEST: Final = 128  # levels of JSON; fixed, so that no declaration depends on how deep the stack is
_ROOT: Final = "parameters"
_DEFINITIONS: Final = "#/$defs/"
_TYPES: Final = {"integer": "number"}
_TYPES_IN_A_LIST: Final = {"integer": "number", "object": "{}", "array": "Array<any>"}
_CONSTRAINTS: Final = {
    "string": ("maxLength", "minLength", "pattern"),
    "number": ("maximum", "minimum"),
    "integer": ("maximum", "minimum"),
    "array": ("maxItems", "minItems"),
}
_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def declarations(tools: Iterable[Json]) -> str:
    """Return the namespace of all functions, or "" where there are none.

    Raises:
        ValueError: A schema says what TypeScript cannot, or is nested too deeply.

    >>> print(declarations([{"type": "function", "function": {"name": "now"}}]))
    # Tools
    <BLANKLINE>
    ## functions
    namespace functions {
    type now = (_: {}) => any;
    }
    <BLANKLINE>
    """
    specs = [_mapping(tool) for tool in tools]
    _check_depth(specs, _DEEPEST)
    functions = [_mapping(tool.get("function") or {}) for tool in specs if tool.get("type") == "function"]
    declared = [_function(function) for function in functions if function]
    if not declared:
        return ""
    return "\n".join(("# Tools\n\n## functions\nnamespace functions {", *declared, "}\n"))


def _check_depth(value: Json, left: int) -> None:
    if not left:
        raise ValueError("schemas must be nested less deeply")
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for child in children:
        _check_depth(child, left - 1)


def _function(function: Mapping[str, Json]) -> str:
    """Return one function: the interfaces it refers to, its description, its type."""
    parameters = _mapping(function.get("parameters") or {})
    references = set(_references(parameters))
    pieces = list(_interfaces(parameters, references)) if references else []
    pieces.extend(_description(function, ""))
    arguments = _ROOT if "#" in references else _object(parameters, "")
    pieces.append(f"type {function.get('name', 'function')} = (_: {arguments}) => any;")
    return "\n".join(pieces)


def _interfaces(parameters: Mapping[str, Json], references: set[str]) -> Iterator[str]:
    if "#" in references:
        fields = _fields(parameters, list(_properties(parameters)), _INDENT)
        yield "\n".join((f"interface {_ROOT} {{", ",\n".join(fields), "}"))
    for name, schema in _mapping(parameters.get("$defs") or {}).items():
        yield from _description(_mapping(schema), "")
        yield f"interface {name} {_type(schema, '')}"


def _references(schema: Json) -> Iterator[str]:
    """Yield every reference in a schema, or in one inside it."""
    if not isinstance(schema, Mapping):
        return
    if "$ref" in schema:
        yield str(schema["$ref"])
        return
    for child in (schema.get("items"), schema.get("additionalProperties"), *_sequence(schema.get("anyOf") or ())):
        yield from _references(child)
    for child in _properties(schema).values():
        yield from _references(child)


def _type(schema: Json, indent: str) -> str:
    """Return a schema as a type. Lines after the first are indented."""
    if isinstance(schema, bool):
        return "any" if schema else "null"
    schema = _mapping(schema)
    if not schema:
        return "any"
    if "$ref" in schema:
        return _reference(schema["$ref"])
    if "anyOf" in schema:
        return " | ".join(_type(one, indent) for one in _sequence(schema["anyOf"]))
    if "enum" in schema:
        return _enum(schema)
    return _plain(schema, indent)


def _plain(schema: Mapping[str, Json], indent: str) -> str:
    """Return the type of a schema that names its type, or several."""
    named = schema.get("type")
    if named == "object":
        return _object(schema, indent)
    if named == "array":
        return _array(schema, indent)
    if isinstance(named, str):
        return _TYPES.get(named, named)
    return " | ".join(_TYPES_IN_A_LIST.get(str(one), str(one)) for one in _sequence(named))


def _reference(target: Json) -> str:
    if target == "#":
        return _ROOT
    if isinstance(target, str) and target.startswith(_DEFINITIONS):
        return target.removeprefix(_DEFINITIONS)
    raise ValueError(f"a reference to {target!r} cannot be declared")


def _enum(schema: Mapping[str, Json]) -> str:
    """Return the values of an enum. Strings are quoted, other values are printed as Python does."""
    values, named = _sequence(schema["enum"]), schema.get("type")
    names = () if named is None else (named,) if isinstance(named, str) else _sequence(named)
    allowed = tuple(kind for name in names for kind in _PYTHON_TYPES.get(str(name), ()))
    if names and not all(isinstance(value, allowed) for value in values):
        raise ValueError(f"not all of {values!r} are of type {named!r}")
    return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in values)


def _array(schema: Mapping[str, Json], indent: str) -> str:
    items = schema.get("items", True)
    inner = indent + _INDENT
    comments = list(_comments(items, inner))
    if not comments:
        return f"Array<{_type(items, indent)}>"
    return "\n".join(("Array<", *comments, f"{inner}{_type(items, inner)}", f"{indent}>"))


def _object(schema: Mapping[str, Json], indent: str) -> str:
    """Return an object type. Required properties come first, then optional ones, each sorted by name.

    The type of other properties is last.
    """
    required = _sequence(schema.get("required", ()))
    inner = indent + _INDENT
    fields = _fields(schema, sorted(_properties(schema), key=lambda name: (name not in required, name)), inner)
    others = schema.get("additionalProperties")
    if others is not None:
        fields.append(f"{inner}[k: string]: {'never' if others is False else _type(others, inner)}")
    return "\n".join(("{", ",\n".join(fields), f"{indent}}}")) if fields else "{}"


def _fields(schema: Mapping[str, Json], names: Sequence[str], indent: str) -> list[str]:
    """Return properties with their comments, in the order given."""
    properties, required = _properties(schema), _sequence(schema.get("required", ()))
    return [
        "\n".join((
            *_comments(properties[name], indent),
            *_default(properties[name], indent),
            f"{indent}{name}{'' if name in required else '?'}: {_type(properties[name], indent)}",
        ))
        for name in names
    ]  # fmt: skip


def _comments(schema: Json, indent: str) -> Iterator[str]:
    """Yield the comments before a schema: its description, and limits on its values that its type leaves out."""
    if not isinstance(schema, Mapping):
        return
    yield from _description(schema, indent)
    named = schema.get("type")
    constraints = _CONSTRAINTS.get(named, ()) if isinstance(named, str) else ()
    limits = [f"{key}: {schema[key]}" for key in constraints if key in schema]
    if limits and not schema.keys() & {"$ref", "anyOf", "enum"}:
        yield f"{indent}// {', '.join(limits)}"


def _description(schema: Mapping[str, Json], indent: str) -> Iterator[str]:
    """Yield the description, a line each. Empty lines stay empty."""
    text = schema.get("description") or ""
    if not isinstance(text, str):
        raise ValueError(f"a description must be text, not {text!r}")
    return (f"{indent}// {line}" if line else "" for line in (text.split("\n") if text else ()))


def _default(schema: Json, indent: str) -> Iterator[str]:
    value = schema.get("default") if isinstance(schema, Mapping) else None
    if value is not None:
        yield f"{indent}// Default: {value if isinstance(value, (int, float)) else json_text(value)}"


def _properties(schema: Mapping[str, Json]) -> Mapping[str, Json]:
    return _mapping(schema.get("properties", {}))


def _mapping(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} must be an object")
    return value


def _sequence(value: Json) -> Sequence[Json]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{value!r} must be a list")
    return value
