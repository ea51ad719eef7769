"""Markers as tokens inside an open value of a call are text of it; what is no open value ends the call as before."""

from __future__ import annotations

import random
from typing import Any

import pytest

import isc
from isc.encoding.encoders import embedded
from isc.formats.reading.values import JsonText
from isc.types import Segment
from spelled_ids import ids_of

BOXED = '<tool_call>{"name": "f", "arguments": {"x": "%s", "y": 1}}</tool_call>'
XML = (
    "<tool_call>\n<function=f>\n<parameter=x>\n%s\n</parameter>\n<parameter=y>\n1\n</parameter>\n</function>\n"
    "</tool_call>"
)
PAIRS = (
    "<tool_call>f<arg_key>x</arg_key><arg_value>%s</arg_value><arg_key>y</arg_key><arg_value>1</arg_value></tool_call>"
)
KIMI = '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"x": "%s", "y": 1}<|tool_call_end|>'
INVOKE = (
    '<minimax:tool_call>\n<invoke name="f">\n<parameter name="x">%s</parameter>\n<parameter name="y">1</parameter>\n'
    "</invoke>\n</minimax:tool_call>"
)
NESTED = (
    ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="f">]<]minimax[>[<x>%s]<]minimax[>[</x>]<]minimax[>[<y>1'
    "]<]minimax[>[</y>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>"
)
FENCED = '<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"x": "%s", "y": 1}\n```<｜tool▁call▁end｜>'
PLAIN = '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"x": "%s", "y": 1}<｜tool▁call▁end｜>'
LLAMA = '<|python_tag|>{"name": "f", "parameters": {"x": "%s", "y": 1}}'
BARE = '{"name": "f", "parameters": {"x": "%s", "y": 1}}'
HARMONY = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"x": "%s", "y": 1}<|call|>'
TAGS = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
FAMILIES: list[tuple[isc.Family, str, str]] = [  # with what stands before the call
    (isc.Qwen3(), "", BOXED),
    (isc.Qwen3VL(), "", BOXED),
    (isc.Qwen35(), "", XML),
    (isc.Qwen36(), "", XML),
    (isc.Nemotron3(), "", XML),
    (isc.Glm45(), "", PAIRS),
    (isc.Glm5(), "", PAIRS),
    (isc.Glm51(), "", PAIRS),
    (isc.LagunaXS2(), "", PAIRS),
    (isc.LagunaXS2(tokens=TAGS), "", PAIRS),
    (isc.KimiK2(), "", KIMI),
    (isc.KimiK25(), "<think></think>", KIMI),
    (isc.MiniMaxM2(), "", INVOKE),
    (isc.MiniMaxM3(), "", NESTED),
    (isc.DeepSeekV3(), "", FENCED),
    (isc.DeepSeekR1(), "<think></think>", FENCED),
    (isc.DeepSeekV31(), "", PLAIN),
    (isc.Llama3(), "", LLAMA),
    (isc.Llama3(), "", BARE),
    (isc.GptOss(), "", HARMONY),
]
families = pytest.mark.parametrize(
    ("family", "before", "call"),
    FAMILIES,
    ids=[f"{type(family).__name__}-{number}" for number, (family, *_) in enumerate(FAMILIES)],
)


def calls_of(family: isc.Family, text: str) -> list[tuple[str, str | None, Any]]:
    renderer = isc.create_renderer(embedded(family.specials), family)
    found = renderer.parse_response(ids_of(renderer, text)).tool_calls
    return [(call.status, call.name, call.arguments) for call in found]


def markers_of(family: isc.Family) -> list[str]:
    """Specials that may be sampled in a value: none at which sampling stops, nor what closes a value or a turn."""
    never = (*family.stop_tokens, "</arg_value>", "<|system|>", "<|assistant|>")
    if isinstance(family, isc.GptOss):
        return ["<|end|>", "<|start|>"]
    return [text for text in family.specials if text not in never]


@families
def test_a_marker_in_an_open_value_is_text_of_it(family: isc.Family, before: str, call: str) -> None:
    for marker in markers_of(family):
        for value in (f"a {marker} b", marker, f"{marker}{marker}"):
            expected = [("ok", "f", {"x": value, "y": 1})]
            assert calls_of(family, before + call % value) == expected, value


@families
def test_markers_in_any_order_in_an_open_value_are_text_of_it(family: isc.Family, before: str, call: str) -> None:
    source = random.Random(str(family))
    for _ in range(20):
        pieces = [*markers_of(family), "a", " ", ",", "f"]
        value = "a" + "".join(source.choice(pieces) for _ in range(source.randint(0, 6))) + "b"
        assert calls_of(family, before + call % value) == [("ok", "f", {"x": value, "y": 1})], value


def test_the_example_of_the_rule() -> None:
    text = "<tool_call>get<arg_key>city</arg_key><arg_value><tool_call>literal</arg_value></tool_call>"
    assert calls_of(isc.Glm5(), text) == [("ok", "get", {"city": "<tool_call>literal"})]


GOOD = '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
READ: tuple[str, str | None, Any] = ("ok", "g", {})
BROKEN: list[tuple[str, list[tuple[str, str | None, Any]]]] = [  # Qwen3's JSON: where no value is open
    ('<tool_call>{"name": "oops</tool_call> then ' + GOOD, [("invalid_json", None, None), READ]),
    ('<tool_call>{"name": ' + GOOD, [("unclosed_block", None, None), READ]),
    ('<tool_call>"' + GOOD, [("unclosed_block", None, None), READ]),
    ('<tool_call>{"a": "x\\' + GOOD, [("unclosed_block", None, None), READ]),
    ("<tool_call>{'name': '" + GOOD, [("unclosed_block", None, None), READ]),
    ('<tool_call>{"name": "f", "arguments": {"x": "<tool_call>"}</tool_call>' + GOOD,
     [("invalid_json", None, None), READ]),
    ('<tool_call>{"name": "f", "arguments": {"x": "</tool_call>', [("invalid_json", None, None)]),
    ('<tool_call>{"name": "f", "arguments": {"x": "<tool_call> cut', [("unclosed_block", None, None)]),
    ('<tool_call>{"name": "f", "arguments": {"x": "\\"<tool_call>\\""}}</tool_call>',
     [("ok", "f", {"x": '"<tool_call>"'})]),
    ('<tool_call>{"<tool_call>": 1}</tool_call>' + GOOD, [("missing_name", None, None), READ]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN)
def test_what_is_no_open_value_ends_the_call_as_before(text: str, expected: list[tuple[str, str | None, Any]]) -> None:
    assert calls_of(isc.Qwen3(), text) == expected


@pytest.mark.parametrize(
    ("text", "is_open", "is_broken"),
    [
        ("", False, False),
        ('{"a', True, False),
        ('{"a"', False, False),
        ('{"a": [1, {"b": null}], "c": "d', True, False),
        ('{"a": "\\', True, False),
        ('{"a": "\\"', True, False),
        ('["a" "b', True, True),
        ('{"a" 1', False, True),
        ("[1,]", False, True),
        ("{,", False, True),
        ('{"a": 1]', False, True),
        ("}", False, True),
        ('{"a": 1} and "b', False, False),
        ("{1: 2}", False, True),
        ('{"a": 1, "b', True, False),
        ('{"a": 1, }', False, True),
    ],
)
def test_whether_a_json_string_is_open(text: str, is_open: bool, is_broken: bool) -> None:
    for cut in range(len(text) + 1):
        if text[:cut][-1:].isalnum() and text[cut:][:1].isalnum():
            continue  # specials stand between pieces, and none of them in the middle of a word
        value = JsonText()
        value.feed(Segment(text[:cut]))
        value.feed(Segment(text[cut:]))
        assert value.is_broken is is_broken
        assert is_broken or value.is_open is is_open
