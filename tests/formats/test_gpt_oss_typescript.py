"""gpt-oss: tools as TypeScript, held to the macros of the template on literal and on random schemas."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from cases import CASES
from isc.formats._harmony_typescript import namespace, typescript_type
from isc.types import ToolSpec

Schema = dict[str, Any]

_KEYS = ("type", "description", "items", "properties", "required", "enum", "oneOf", "anyOf", "nullable", "default")
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null", "any")

TYPES: list[tuple[Schema, str]] = [
    ({}, "any"),
    ({"type": "string"}, "string"),
    ({"type": "string", "nullable": True}, "string | null"),
    ({"type": "string", "enum": ["a", "b"], "nullable": True}, '"a" | "b"'),
    ({"type": "string", "enum": [1, None, True]}, '"1" | "None" | "True"'),
    ({"type": "integer", "nullable": True}, "number"),  # only strings and arrays heed it
    ({"type": "boolean"}, "boolean"),
    ({"type": "null"}, "any"),
    ({"type": ["string", "null"]}, "string | null"),
    ({"type": ["array"], "items": {"type": "string"}}, "array"),
    ({"type": []}, "any"),
    ({"type": "array"}, "any[]"),
    ({"type": "array", "items": {"type": "integer"}, "nullable": True}, "number[] | null"),
    ({"type": "array", "items": {"type": "string", "enum": ["a"]}}, "string[]"),
    ({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}, "boolean[][]"),
    ({"type": "array", "items": {"type": ["object", "object"]}}, "any[]"),
    ({"type": "array", "items": {"type": "object", "properties": {"a" * 30: {}}}}, "any[]"),  # longer than 50
    ({"type": "object"}, "object"),
    ({"type": "object", "properties": {"a": {}, "b": {"type": "string"}}, "required": ["b"]},
     "{\na?: \n                any, b: \n                string}"),
    ({"anyOf": [{"type": "string"}]}, "any"),
    ({"oneOf": [{"type": "string", "description": "d"}, {"type": "object"}]}, "string// d | \nobject"),
    ({"type": "string", "oneOf": [{"type": "number", "default": 1}]}, "number                    // default: 1"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "wanted"), TYPES)
def test_the_type_of_a_schema(schema: Schema, wanted: str) -> None:
    assert typescript_type(schema) == wanted


def declared(properties: Schema, **function: str | None) -> str:
    parameters: Schema = {"type": "object", "properties": properties, "required": ["needed"]}
    return namespace("n", [ToolSpec({"function": {"name": "f", "parameters": parameters, **function}})])


def test_arguments_stand_a_line_each_below_what_describes_them() -> None:
    text = declared({"needed": {"type": "string", "description": "Two\nlines."}, "other": {}}, description="Does it.")
    assert text == (
        "## n\n\nnamespace n {\n\n// Does it.\ntype f = (_: {\n"
        "// Two\nlines.\nneeded: string,\nother?: any,\n}) => any;\n\n} // namespace n"
    )


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "string", "default": "x"}, 'string, // default: "x"'),
        ({"type": "string", "enum": ["x"], "default": "x"}, '"x", // default: x'),
        ({"oneOf": [{"type": "string"}], "default": "x"}, "string// default: x"),
        ({"type": "integer", "default": None}, "number, // default: null"),
        ({"type": "string", "enum": ["x"], "default": 5}, '"x", // default: 5'),  # the template raises
    ],
)
def test_a_default_follows_its_type(schema: Schema, wanted: str) -> None:
    assert f"\nneeded: {wanted},\n" in declared({"needed": schema})


@pytest.mark.parametrize("description", ["", None])
def test_a_tool_without_a_description_has_an_empty_one(description: str | None) -> None:
    assert "{\n\n// \ntype f = () => any;\n\n}" in declared({}, description=description)


def _schema(source: random.Random, depth: int = 0) -> Schema:
    """A schema as the macros take it: what is concatenated is text."""
    chosen = {key for key in _KEYS if source.random() < 0.3} | {"type"}
    found: Schema = {"type": source.choice(_TYPES) if source.random() < 0.8 else source.sample(_TYPES, 2)}
    if "description" in chosen:
        found["description"] = source.choice(("", "what", "<|end|>\n// x", "naïve 漢字"))
    if "nullable" in chosen:
        found["nullable"] = source.random() < 0.7
    if "default" in chosen:
        found["default"] = source.choice(("a", "", "é"))
    if "enum" in chosen:
        found["enum"] = source.sample(("a", "b", '"', "漢", 7, None, True, 0.5), source.randint(0, 3))
    if "required" in chosen:
        found["required"] = source.sample("pqr", source.randint(0, 3))
    if depth < 3:
        if "items" in chosen:
            found["items"] = _schema(source, depth + 1)
        if "oneOf" in chosen:
            found["oneOf"] = [_schema(source, depth + 1) for _ in range(source.randint(0, 3))]
        if "properties" in chosen:
            found["properties"] = {name: _schema(source, depth + 1) for name in source.sample("pqr", 2)}
    return {
        key: found[key] for key in source.sample(sorted(found), len(found)) if key != "type" or source.random() < 0.9
    }


def test_random_schemas_are_declared_as_the_template_does(reference: Path) -> None:
    template = next(case for case in CASES if case.name == "gpt-oss").reference(reference)
    for seed in range(300):
        source = random.Random(seed)
        functions: list[Schema] = [
            {"name": name, "description": "d", "parameters": {**_schema(source), "properties": {"p": _schema(source)}}}
            for name in ("f", "g")
        ]
        tools: list[Schema] = [{"type": "function", "function": function} for function in functions]
        text = template.text(([{"role": "user", "content": "x"}], tools), add_generation_prompt=False)
        assert f"# Tools\n\n{namespace('functions', [ToolSpec(tool) for tool in tools])}<|end|>" in text
