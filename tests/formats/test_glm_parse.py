"""What GLM samples, read back: argument types, every status, literal tags, both layouts."""

from __future__ import annotations

import json
from typing import Any

import pytest

import isc
from golden_conversations import assistant, call, user
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.encoding.fold import fold
from isc.formats.glm4_5 import Glm45
from isc.formats.glm5 import Glm5
from isc.formats.glm5_1 import Glm51
from isc.formats.segments import spelled
from isc.types import Segment

FAMILIES: tuple[isc.Family, ...] = (Glm45(), Glm5(), Glm51())
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)


def parsed(
    family: isc.Family, *pieces: str | Segment, tools: list[dict[str, Any]] | None = None, prompt: str = ""
) -> isc.ParsedResponse:
    """What these pieces parse to; specials are read in strings, not in segments."""
    renderer = isc.create_renderer(embedded(family.specials), family)
    encoder = renderer.encoder
    assert isinstance(encoder, VocabularyEncoder)
    stream = [s for piece in pieces for s in (spelled(piece, family.specials) if isinstance(piece, str) else (piece,))]
    prompt_ids = fold(spelled(prompt, family.specials), encoder).token_ids
    return renderer.parse_response(fold(stream, encoder).token_ids, tools, prompt_ids)


def declared(schema: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any JSON schema
    return [{"name": "f", "parameters": {"type": "object", "properties": {"x": schema}}}]


STRING_OR_NULL = {"type": ["string", "null"]}
ARGUMENTS: list[tuple[str, Any, Any]] = [
    ("7", None, 7),
    ("7", {"type": "integer"}, 7),
    ("7", {"type": "string"}, "7"),
    ("true", {"type": "boolean"}, True),
    ("true", {"type": "string"}, "true"),
    ("null", None, None),
    ("1.50", {"type": "number"}, 1.5),
    ('{"a": [1, null]}', {"type": "object"}, {"a": [1, None]}),
    ('{"a": [1, null]}', None, {"a": [1, None]}),
    ('{"a": [1, null]}', {"type": "string"}, '{"a": [1, null]}'),
    ("[1, 2", {"type": "array"}, "[1, 2"),
    ("seven", {"type": "integer"}, "seven"),
    ("seven", None, "seven"),
    ('"seven"', None, '"seven"'),
    ('"seven"', {"type": "array"}, '"seven"'),
    ("", {"type": "integer"}, ""),
    (" 7 ", {"type": "string"}, " 7 "),
    ("line\nline\n", None, "line\nline\n"),
    ("null", STRING_OR_NULL, None),
    ("7", STRING_OR_NULL, "7"),
    ("7", {"anyOf": [{"type": "string"}, {"type": "number"}]}, 7),
    ("7", {"enum": ["7", "8"]}, "7"),
    ("7", {"enum": [7, "all"]}, 7),
    ("7", {"$ref": "#/x"}, 7),
    ("7", {"type": "str"}, "7"),
    ("7", {"type": "int"}, 7),
    ("true", {"type": ["str", "NoneType"]}, "true"),
    ("null", {"type": ["str", "NoneType"]}, None),
    ("[1]", {"type": "list"}, [1]),
    ("{}", {"type": "dict"}, {}),
    ("true", {"type": "bool"}, True),
    ("seven", {"type": "int"}, "seven"),
    ("[1", {"type": "list"}, "[1"),
    ("7", {"type": 3}, 7),
    ("7", "no schema", 7),
    ("NaN", {"type": "number"}, "NaN"),
    ("9" * 6000, {"type": "integer"}, "9" * 6000),
    ("[" * 3000, {"type": "array"}, "[" * 3000),
    ('"\\ud800"', {"type": "object"}, '"\\ud800"'),
]


NO_STRINGS = ("integer", "number", "array", "object", "int", "list")


@families
@pytest.mark.parametrize(("text", "schema", "value"), ARGUMENTS)
def test_an_argument_has_the_type_its_schema_declares(
    family: isc.Family,
    text: str,
    schema: Any,  # noqa: ANN401 - JSON
    value: Any,  # noqa: ANN401 - JSON
) -> None:
    sampled = f"<tool_call>f<arg_key>x</arg_key><arg_value>{text}</arg_value></tool_call>"
    tools = None if schema is None else declared(schema)
    (found,) = parsed(family, sampled, tools=tools).tool_calls
    unread = isinstance(value, str) and isinstance(schema, dict) and schema.get("type") in NO_STRINGS
    assert (found.status, found.name, found.arguments) == ("invalid_json" if unread else "ok", "f", {"x": value})
    assert found.arguments is not None
    assert type(found.arguments["x"]) is type(value)


PAIR = "<arg_key>x</arg_key><arg_value>1</arg_value>"
STATUSES: dict[str, tuple[str, isc.types.CallStatus, str | None, Any]] = {
    "no arguments": ("<tool_call>f</tool_call>", "ok", "f", {}),
    "a line a part": (
        "<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n</tool_call>", "ok", "f", {"x": 1},
    ),
    "white space between parts": (
        f"<tool_call> f \n {PAIR} \n\n {PAIR.replace('x', 'y')} </tool_call>", "ok", "f", {"x": 1, "y": 1},
    ),
    "a key twice": (f"<tool_call>f{PAIR}{PAIR}</tool_call>", "malformed_structure", "f", None),
    "a key that is empty": ("<tool_call>f<arg_key></arg_key><arg_value></arg_value></tool_call>", "ok", "f", {"": ""}),
    "a special in a value": (
        "<tool_call>f<arg_key>x</arg_key><arg_value>a<think>b</tool_response></arg_value></tool_call>",
        "ok", "f", {"x": "a<think>b</tool_response>"},
    ),
    "another tool": (f"<tool_call>g{PAIR}</tool_call>", "unknown_tool", "g", {"x": 1}),
    "nothing": ("<tool_call></tool_call>", "missing_name", None, {}),
    "no name": (f"<tool_call>\n{PAIR}</tool_call>", "missing_name", None, {"x": 1}),
    "cut off in a value": ("<tool_call>f<arg_key>x</arg_key><arg_value>ab", "unclosed_block", "f", None),
    "cut off after a pair": (f"<tool_call>f{PAIR}", "unclosed_block", "f", {"x": 1}),
    "cut off in the name": ("<tool_call>f", "unclosed_block", "f", {}),
    "a key alone": ("<tool_call>f<arg_key>x</arg_key></tool_call>", "malformed_structure", "f", None),
    "a value alone": ("<tool_call>f<arg_value>1</arg_value></tool_call>", "malformed_structure", "f", None),
    "a value in a value": (
        "<tool_call>f<arg_key>x</arg_key><arg_value>1<arg_value>2</arg_value></tool_call>",
        "ok", "f", {"x": "1<arg_value>2"},
    ),
    "a key that is not closed": ("<tool_call>f<arg_key>x<arg_value>1</arg_value></tool_call>",
                                 "malformed_structure", "f", None),
    "text between pairs": (f"<tool_call>f{PAIR},{PAIR}</tool_call>", "malformed_structure", "f", None),
    "another special": (f"<tool_call>f<think>{PAIR}</tool_call>", "malformed_structure", "f", None),
    "JSON after the name": ('<tool_call>f\n{"x": 1}</tool_call>', "malformed_structure", "f", None),
}  # fmt: skip


@families
@pytest.mark.parametrize("name", STATUSES)
def test_every_attempted_call_is_kept_with_its_status(family: isc.Family, name: str) -> None:
    sampled, *expected = STATUSES[name]
    (found,) = parsed(family, sampled, tools=declared({})).tool_calls
    assert [found.status, found.name, found.arguments] == expected
    assert found.raw == sampled.removeprefix("<tool_call>").removesuffix("</tool_call>")


@families
def test_an_unclosed_call_ends_where_the_next_begins(family: isc.Family) -> None:
    response = parsed(family, "hm<tool_call>f<arg_key>x<tool_call>g</tool_call>\n<|observation|>never")
    assert [(found.name, found.status) for found in response.tool_calls] == [("f", "unclosed_block"), ("g", "ok")]
    assert response.content == "hm"
    assert response.tool_calls[0].token_span[1] == response.tool_calls[1].token_span[0]


@families
def test_tags_spelled_as_text_end_nothing(family: isc.Family) -> None:
    literal = "</arg_value></tool_call><|user|></think>"
    response = parsed(
        family,
        Segment("so " + literal),
        "<tool_call>f<arg_key>",
        Segment(literal),
        "</arg_key><arg_value>",
        Segment(literal),
        "</arg_value></tool_call>",
    )
    assert response.content == "so " + literal
    assert response.tool_calls[0].arguments == {literal: literal}


LINES = "<|assistant|>"
READINGS: list[tuple[isc.Family, str, str, tuple[str, str | None, bool]]] = [
    (Glm45(), LINES, "\n<think>r</think>\nc<|user|>", ("c", "r", True)),
    (Glm45(), LINES, "\n<think></think>\n\n c \n", ("\n c \n", "", True)),
    (Glm45(), LINES, "\n<think>r", ("", "r", False)),
    (Glm45(), LINES, "\n<think>r<|endoftext|>", ("", "r", False)),
    (Glm45(), LINES, "\nc", ("c", None, True)),
    (Glm45(), LINES, "\n<think>r<tool_call>f\n</tool_call>", ("", "r", True)),
    (Glm45(), LINES, "\n<think>r</think>\nc\n<tool_call>f\n</tool_call>\n<tool_call>f\n</tool_call>", ("c", "r", True)),
    (Glm45(enable_thinking=False), "<|assistant|>\n<think></think>", "\nc", ("c", None, True)),
    (Glm5(), "<|assistant|><think>", "r</think>c<|user|>", ("c", "r", True)),
    (Glm5(), "<|assistant|><think>", "r\n</think>\nc", ("\nc", "r\n", True)),
    (Glm5(), "<|assistant|><think>", "</think>c", ("c", "", True)),
    (Glm5(), "<|assistant|><think>", "r</think>c</think>d", ("c</think>d", "r", True)),
    (Glm5(), "<|assistant|><think>", "r", ("", "r", False)),
    (Glm5(), "<|assistant|>", "</think>c", ("c", None, True)),
    (Glm5(), "", "<think>r</think>c", ("c", "r", True)),
    (Glm5(enable_thinking=False), "<|assistant|></think>", "c<|assistant|>d", ("c", None, True)),
    (Glm51(), "<|assistant|><think>", " r </think>c<|system|>d", ("c", " r ", True)),
]


@pytest.mark.parametrize(("family", "prompt", "sampled", "expected"), READINGS)
def test_reasoning_and_content_are_told_apart(
    family: isc.Family, prompt: str, sampled: str, expected: tuple[str, str | None, bool]
) -> None:
    response = parsed(family, sampled, prompt=prompt)
    assert (response.content, response.reasoning_content, response.reasoning_complete) == expected


@families
def test_what_was_parsed_renders_to_the_ids_it_was_parsed_from(family: isc.Family) -> None:
    renderer = isc.create_renderer(embedded(family.specials), family)
    arguments = {"query": "a\n</arg_value>", "limit": 3, "deep": {"k": [True, None, "ü"]}, "code": "12", "ok": False}
    calls = [call("search", arguments), call("now", {})]
    asked = [user("a"), assistant("Looking.", *calls, reasoning="Because.")]
    rendered = renderer.render(asked)
    prompt = renderer.render(asked[:1], None, True).token_ids
    tools: list[dict[str, Any]] = [
        {"name": "search", "parameters": {"properties": {"code": {"type": "string"}}}},
        {"name": "now"},
    ]
    response = renderer.parse_response(rendered.token_ids[len(prompt) :], tools, prompt)
    assert [found.arguments for found in response.tool_calls] == [arguments, {}]
    again = [call(str(found.name), json.dumps(found.arguments)) for found in response.tool_calls]
    answer = assistant(response.content, *again, reasoning=response.reasoning_content)
    assert renderer.render([asked[0], answer]).token_ids == rendered.token_ids
