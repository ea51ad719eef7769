"""Tools in TypeScript: the worked examples of the reference's FORMAT.md, and each rule of it by a small schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from isc.formats._kimi_typescript import declarations

FORMAT = "templates/moonshotai--Kimi-K2.5/FORMAT.md"
EXAMPLES = ("A", "B", "C", "D")
HEAD, TAIL = "# Tools\n\n## functions\nnamespace functions {\n", "\n}\n"


def test_every_worked_example_is_tried(reference: Path) -> None:
    assert tuple(re.findall(r"^([A-Z])\. ", (reference / FORMAT).read_text(encoding="utf-8"), re.MULTILINE)) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_example(name: str, reference: Path) -> None:
    text = (reference / FORMAT).read_text(encoding="utf-8").split(f"\n{name}. ")[1]
    tools, expected = (re.search(pattern, text) for pattern in (r"`(\[.*\])`", r'`(".*")`'))
    assert tools
    assert expected
    assert declarations(json.loads(tools[1])) == json.loads(expected[1])


def declared(function: dict[str, Any]) -> str:
    """What is declared of one function."""
    text = declarations([{"type": "function", "function": {"name": "f", **function}}])
    assert text.startswith(HEAD)
    assert text.endswith(TAIL)
    return text.removeprefix(HEAD).removesuffix(TAIL)


def field(schema: Any) -> str:  # noqa: ANN401 - any JSON
    """What is declared of a required property `x`."""
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    text = declared({"parameters": parameters})
    assert text.startswith("type f = (_: {\n")
    return text.removeprefix("type f = (_: {\n").removesuffix("\n}) => any;")


FIELDS: list[tuple[Any, str]] = [
    ({"type": "string"}, "  x: string"),
    ({"type": "integer"}, "  x: number"),
    ({"type": "custom"}, "  x: custom"),
    ({"type": "null"}, "  x: null"),
    ({}, "  x: any"),
    (True, "  x: any"),
    (False, "  x: null"),
    ({"type": ["integer", "object", "array", "null"]}, "  x: number | {} | Array<any> | null"),
    ({"type": "object"}, "  x: {}"),
    ({"type": "object", "additionalProperties": True}, "  x: {\n    [k: string]: any\n  }"),
    ({"type": "object", "additionalProperties": {}}, "  x: {\n    [k: string]: any\n  }"),
    (
        {"type": "object", "properties": {"b": {}, "a": {}}, "required": ["b"], "additionalProperties": False},
        "  x: {\n    b: any,\n    a?: any,\n    [k: string]: never\n  }",
    ),
    ({"type": "array"}, "  x: Array<any>"),
    ({"type": "array", "items": {"type": "array", "items": {}}}, "  x: Array<Array<any>>"),
    (
        {"type": "array", "items": {"type": "string", "minLength": 2}},
        "  x: Array<\n    // minLength: 2\n    string\n  >",
    ),
    (
        {"type": "array", "items": {"type": "object", "description": "d", "properties": {"a": {}}}},
        "  x: Array<\n    // d\n    {\n      a?: any\n    }\n  >",
    ),
    ({"enum": ["a", 1.5, False, None]}, '  x: "a" | 1.5 | False | None'),
    ({"type": ["string", "null"], "enum": ["a", None]}, '  x: "a" | None'),
    ({"anyOf": [{"type": "integer"}, {"enum": [1]}], "enum": ["no"], "type": "no"}, "  x: number | 1"),
    ({"$ref": "#/$defs/X", "anyOf": []}, "  x: X"),
    ({"description": "one\n\ntwo", "type": "string"}, "  // one\n\n  // two\n  x: string"),
    ({"description": "", "type": "string"}, "  x: string"),
    (
        {"type": "string", "pattern": "^a", "minLength": 1, "description": "d", "default": "ä"},
        '  // d\n  // minLength: 1, pattern: ^a\n  // Default: "ä"\n  x: string',
    ),
    (
        {"type": "number", "minimum": 0.5, "maxLength": 3, "default": False},
        "  // minimum: 0.5\n  // Default: False\n  x: number",
    ),
    ({"type": "array", "maxItems": 3, "default": []}, "  // maxItems: 3\n  // Default: []\n  x: Array<any>"),
    ({"type": "string", "default": None}, "  x: string"),
]


@pytest.mark.parametrize(("schema", "expected"), FIELDS)
def test_a_property(schema: Any, expected: str) -> None:  # noqa: ANN401 - any JSON
    assert field(schema) == expected


E: dict[str, Any] = {"type": "array", "items": {"$ref": "#/$defs/E"}}
B: dict[str, Any] = {"anyOf": [{"$ref": "#/$defs/B"}]}
FUNCTIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "type f = (_: {}) => any;"),
    ({"description": "a\n\nb", "parameters": None}, "// a\n\n// b\ntype f = (_: {}) => any;"),
    (
        {"parameters": {"properties": {"x": {"$ref": "#"}, "a": {}}}},
        "interface parameters {\n  x?: parameters,\n  a?: any\n}\ntype f = (_: parameters) => any;",
    ),
    (
        {"parameters": {"properties": {"x": E}, "$defs": {"E": {"enum": [1]}}}},
        "interface E 1\ntype f = (_: {\n  x?: Array<E>\n}) => any;",
    ),
    (
        {"parameters": {"properties": {"x": B}, "$defs": {"B": {"type": "object", "description": "b"}, "A": {}}}},
        "// b\ninterface B {}\ninterface A any\ntype f = (_: {\n  x?: B\n}) => any;",
    ),
]


@pytest.mark.parametrize(("function", "expected"), FUNCTIONS)
def test_a_function(function: dict[str, Any], expected: str) -> None:
    assert declared(function) == expected


@pytest.mark.parametrize("tools", [[], [{"type": "_plugin"}], [{"function": {"name": "f"}}], [{"type": "function"}]])
def test_without_a_function_there_is_nothing_to_declare(tools: list[Any]) -> None:
    assert declarations(tools) == ""


def test_functions_stand_in_their_order() -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": name}} for name in ("b", "a")]
    assert declarations(tools) == f"{HEAD}type b = (_: {{}}) => any;\ntype a = (_: {{}}) => any;{TAIL}"


def arrays(depth: int) -> Any:  # noqa: ANN401 - any JSON
    """Arrays of arrays."""
    return {"type": "array", "items": arrays(depth - 1)} if depth else {}


def test_a_schema_is_declared_down_to_a_fixed_depth() -> None:
    assert field(arrays(122)) == f"  x: {'Array<' * 122}any{'>' * 122}"
    with pytest.raises(ValueError, match="nested less deeply"):
        field(arrays(123))


@pytest.mark.parametrize(
    "schema",
    [
        {"description": "no type"},
        {"oneOf": [{"type": "string"}]},
        {"const": 1},
        {"$ref": "other.json"},
        {"$ref": 3},
        {"type": "string", "enum": ["a", 1]},
        {"type": "integer", "enum": ["1"]},
        {"type": "string", "description": ["d"]},
        {"type": "object", "properties": None},
        {"type": "object", "required": "x"},
        {"type": "array", "items": [{"type": "string"}]},
        {"anyOf": {"type": "string"}},
        None,
        "string",
    ],
)
def test_what_typescript_cannot_say_raises(schema: Any) -> None:  # noqa: ANN401 - any JSON
    with pytest.raises(ValueError, match=r"must be|cannot be declared|are of type"):
        field(schema)
