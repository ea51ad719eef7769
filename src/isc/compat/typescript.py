"""Tools as TypeScript, as `openai-harmony` declares them: otherwise than the template of gpt-oss does.

Its oddities are kept: only the first line of a description is set off as a comment, an object inside of an object has
its description twice, and a union's first description is dropped where the argument has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from isc.types import Json, ToolSpec

_PLAIN: Final = {"number": "number", "integer": "number", "boolean": "boolean"}
_STEP: Final = " " * 4
_VARIANT: Final = " " * 3


def namespace(tools: Sequence[ToolSpec]) -> str:
    """Return the namespace of functions.

    >>> print(namespace([ToolSpec({"function": {"name": "now", "description": "The time."}})]))
    ## functions
    <BLANKLINE>
    namespace functions {
    <BLANKLINE>
    // The time.
    type now = (_: any) => any;
    <BLANKLINE>
    } // namespace functions
    """
    declared = "".join(map(_declaration, tools))
    return f"## functions\n\nnamespace functions {{\n\n{declared}}} // namespace functions"


def _declaration(tool: ToolSpec) -> str:
    *lines, last = str(tool.function.get("description") or "").split("\n")
    lines += [last] if last else []
    described = "".join(f"// {line.removesuffix(chr(13))}\n" for line in lines)
    return f"{described}type {tool.name} = (_: {typescript_type(tool.parameters)}) => any;\n\n"


def typescript_type(schema: Json, indent: str = "") -> str:
    """Return the type of a schema.

    >>> typescript_type({"type": "array", "items": {"type": "string"}})
    'string[]'
    >>> typescript_type({"type": "string", "enum": ["a", "b"]}), typescript_type({"anyOf": []})
    ('"a" | "b"', 'any')
    """
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(schema.get("oneOf"), Sequence) and not isinstance(schema["oneOf"], str):
        return "".join(f"\n{line}" for line in _variants(schema["oneOf"], indent))
    kind = schema.get("type")
    if isinstance(kind, Sequence) and not isinstance(kind, str):
        return " | ".join(_PLAIN.get(name, name) for name in kind if isinstance(name, str)) or "any"
    if kind == "object":
        return "".join(_object(schema, indent))
    if kind == "string":
        return _string(schema)
    if kind == "array":
        return f"{typescript_type(schema['items'], indent)}[]" if "items" in schema else "Array<any>"
    return _PLAIN.get(kind, "any") if isinstance(kind, str) else "any"


def _string(schema: Mapping[str, Json]) -> str:
    values = [f'"{value}"' for value in _items(schema.get("enum")) if isinstance(value, str)]
    return " | ".join(values) or "string"


def _object(schema: Mapping[str, Json], indent: str) -> Iterator[str]:
    """Yield an object's description, then its properties, a line each, below what describes it."""
    yield from _comment(schema, "description", indent)
    yield "{\n"
    required = _items(schema.get("required"))
    properties = schema.get("properties")
    for name, value in properties.items() if isinstance(properties, Mapping) else ():
        argument = value if isinstance(value, Mapping) else {}
        yield from _property(f"{indent}{name}{'' if name in required else '?'}", argument, indent)
    yield f"{indent}}}"


def _property(head: str, schema: Mapping[str, Json], indent: str) -> Iterator[str]:
    for title in _comment(schema, "title", indent):
        yield f"{title}{indent}//\n"
    union = isinstance(schema.get("oneOf"), Sequence) and not isinstance(schema["oneOf"], str)
    if not union:
        yield from _comment(schema, "description", indent)
    examples = _items(schema.get("examples"))
    if examples:
        yield f"{indent}// Examples:\n"
    yield from (f'{indent}// - "{example}"\n' for example in examples if isinstance(example, str))
    if union:
        yield from _union(head, schema, indent)
        return
    default = f" // default: {_default(schema)}" if "default" in schema else ""
    yield f"{head}: {_nullable(typescript_type(schema, indent + _STEP), schema)},{default}\n"


def _union(head: str, schema: Mapping[str, Json], indent: str) -> Iterator[str]:
    """Yield an argument of several types, a line each; a description that the first has, too, is not there at all."""
    first = next(iter(_items(schema["oneOf"])), None)
    if not isinstance(first, Mapping) or first.get("description") != schema.get("description"):
        yield from _comment(schema, "description", indent)
    if "default" in schema:
        yield f"{indent}// default: {_default(schema)}\n"
    yield f"{head}:\n"
    yield from (f"{line}\n" for line in _variants(schema["oneOf"], indent, schema))
    yield f"{indent},\n"


def _variants(variants: Json, indent: str, argument: Mapping[str, Json] | None = None) -> Iterator[str]:
    """Yield a union's types, each with its description. The argument's own one and the first beside it are dropped."""
    whole = None if argument is None else argument.get("description")
    for position, variant in enumerate(_items(variants)):
        schema = variant if isinstance(variant, Mapping) else {}
        description = schema.get("description")
        told = isinstance(description, str) and not (isinstance(whole, str) and (position == 0 or description == whole))
        comments = [str(description)] if told else []
        comments += [f"default: {_default(schema, as_json=argument is None)}"] if "default" in schema else []
        comment = f" // {' '.join(comments)}" if comments else ""
        yield f"{indent} | {_nullable(typescript_type(schema, indent + _VARIANT), schema)}{comment}"


def _nullable(kind: str, schema: Mapping[str, Json]) -> str:
    return f"{kind} | null" if schema.get("nullable") is True and "null" not in kind else kind


def _default(schema: Mapping[str, Json], *, as_json: bool = False) -> str:
    """Return a default value: a text in quotes, or bare where it is one of an enumeration, all else as JSON."""
    value = schema["default"]
    if isinstance(value, str) and not _items(schema.get("enum")):
        return f'"{value}"'
    if isinstance(value, str) and not as_json:
        return value
    return msgspec.json.encode(value).decode()


def _comment(schema: Mapping[str, Json], field: str, indent: str) -> Iterator[str]:
    text = schema.get(field)
    if isinstance(text, str):
        yield f"{indent}// {text}\n"


def _items(value: Json) -> Sequence[Json]:
    """Return the items of a list, or none where something else stands in its place."""
    return value if isinstance(value, (list, tuple)) else ()
