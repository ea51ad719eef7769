"""What Kimi samples, read back: native ids, every status, markers as text, reasoning that calls or nothing end."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.encoding.fold import fold
from isc.formats.kimi_k2 import KimiK2
from isc.formats.kimi_k2_5 import KimiK25
from isc.formats.segments import scaffold, spelled
from isc.types import Segment

K2, THINKING, K25 = KimiK2(), KimiK2(variant="thinking"), KimiK25()
BEGIN, END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
OPEN = "<|im_assistant|>assistant<|im_middle|><think>"


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


def a_call(identity: str, arguments: str = "{}") -> str:
    return f"<|tool_call_begin|>{identity}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"


def test_calls_keep_their_native_ids_in_order() -> None:
    calls = a_call("functions.search:3", '{"q": "é", "n": [1]}') + a_call("functions.now:4")
    found = parsed(K2, f"Both.{BEGIN}{calls}{END}<|im_end|>")
    assert (found.content, found.reasoning_content) == ("Both.", None)
    assert [(call.id, call.name, call.arguments, call.status) for call in found.tool_calls] == [
        ("functions.search:3", "search", {"q": "é", "n": [1]}, "ok"),
        ("functions.now:4", "now", {}, "ok"),
    ]
    assert found.tool_calls[0].raw == 'functions.search:3<|tool_call_argument_begin|>{"q": "é", "n": [1]}'


def test_the_span_of_a_call_has_its_markers_and_nothing_else() -> None:
    encoder = embedded(K2.specials)
    ids = fold(spelled(f"x{BEGIN}{a_call('functions.f:0')}{END}", K2.specials), encoder).token_ids
    (found,) = isc.create_renderer(encoder, K2).parse_response(ids).tool_calls
    assert encoder.decode_bytes(ids[slice(*found.token_span)]).decode() == a_call("functions.f:0")


CALLS: list[tuple[str, str | None, str | None, str]] = [
    (a_call("functions.a.b:c:12"), "a.b:c", "functions.a.b:c:12", "ok"),
    (a_call("functions.functions.f:0:1"), "functions.f:0", "functions.functions.f:0:1", "ok"),
    (a_call("\nfunctions.f:0 "), "f", "\nfunctions.f:0 ", "ok"),
    (a_call("call_0"), None, "call_0", "missing_name"),
    (a_call("f:0"), None, "f:0", "missing_name"),
    (a_call("functions.f"), None, "functions.f", "missing_name"),
    (a_call("functions.:0"), None, "functions.:0", "missing_name"),
    (a_call("functions.f:x"), None, "functions.f:x", "missing_name"),
    (a_call(""), None, None, "missing_name"),
    (a_call("functions.f:0", '{"a": 1'), "f", "functions.f:0", "invalid_json"),
    (a_call("functions.f:0", '{"a": NaN}'), "f", "functions.f:0", "invalid_json"),
    (a_call("functions.f:0", ""), "f", "functions.f:0", "invalid_json"),
    (a_call("functions.f:0", "{}<|tool_call_argument_begin|>"), "f", "functions.f:0", "invalid_json"),
    (a_call("functions.f:0", "[1]"), "f", "functions.f:0", "malformed_structure"),
    ("<|tool_call_begin|>functions.f:0<|tool_call_end|>", "f", "functions.f:0", "malformed_structure"),
    ("<|tool_call_begin|><|tool_call_end|>", None, None, "malformed_structure"),
    ("<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}", "f", "functions.f:0", "unclosed_block"),
    ("<|tool_call_begin|>functions.f", None, "functions.f", "unclosed_block"),
]


@pytest.mark.parametrize("family", [K2, K25], ids=["k2", "k2.5"])
@pytest.mark.parametrize(("text", "name", "identity", "status"), CALLS)
def test_every_attempted_call_is_kept_with_a_status(
    family: isc.Family, text: str, name: str | None, identity: str | None, status: str
) -> None:
    (found,) = parsed(family, BEGIN + text + "<|im_end|>").tool_calls
    assert (found.name, found.id, found.status) == (name, identity, status)


def test_calls_after_an_unclosed_one_are_read() -> None:
    found = parsed(K2, f"{BEGIN}<|tool_call_begin|>functions.f:0{a_call('functions.g:1')}{END}")
    assert [(call.name, call.status) for call in found.tool_calls] == [("f", "unclosed_block"), ("g", "ok")]


def test_calls_need_no_section() -> None:
    (found,) = parsed(K2, a_call("functions.f:0")).tool_calls
    assert (found.name, found.status) == ("f", "ok")


def test_a_section_without_calls_says_nothing() -> None:
    found = parsed(K2, f"a{BEGIN}{END}b")
    assert (found.content, found.tool_calls) == ("ab", ())


def test_text_around_calls_is_content_but_for_what_their_section_holds() -> None:
    assert parsed(K2, f"a\n{BEGIN} {a_call('functions.f:0')}\n{END} b").content == "a\n b"
    assert parsed(K2, f"a{BEGIN} noise {a_call('functions.f:0')} noise {a_call('functions.f:1')}{END}b").content == "ab"
    assert parsed(K2, f"a{BEGIN}{a_call('functions.f:0')} b").content == "a b"
    assert parsed(K2, f"a{BEGIN} b").content == "a b"


def test_a_call_of_another_tool_is_told() -> None:
    tools = [{"name": "f", "parameters": {}}]
    found = parsed(K2, a_call("functions.f:0") + a_call("functions.g:1"), tools=tools)
    assert [(call.status, call.id) for call in found.tool_calls] == [
        ("ok", "functions.f:0"),
        ("unknown_tool", "functions.g:1"),
    ]


def test_markers_that_are_spelled_as_text_are_content() -> None:
    text = f"<think>{BEGIN}{a_call('functions.f:0')}{END}"
    found = parsed(K25, scaffold(text), "<|im_end|>")
    assert (found.content, found.reasoning_content, found.tool_calls) == (text, None, ())


def test_arguments_that_spell_markers_are_read() -> None:
    text = '{"a": "<|tool_call_end|>"}'
    pieces = ("<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>", scaffold(text), "<|tool_call_end|>")
    (found,) = parsed(K2, *pieces).tool_calls
    assert found.arguments == {"a": "<|tool_call_end|>"}


REASONING: list[tuple[isc.Family, str, str, tuple[str | None, str, bool]]] = [
    (K25, OPEN, "r\n</think>\n a\n<|im_end|>", ("r\n", "\n a\n", True)),
    (K25, OPEN, "</think>a<|im_end|>", ("", "a", True)),
    (K25, OPEN, "r", ("r", "", False)),
    (K25, OPEN, "r<|im_end|>", ("r", "", False)),
    (K25, OPEN, f"r{BEGIN}{a_call('functions.f:0')}{END}", ("r", "", True)),
    (K25, OPEN, f"r{a_call('functions.f:0')}", ("r", "", True)),
    (K25, OPEN + "</think>", "a</think>b", (None, "a</think>b", True)),
    (THINKING, "", "<think>r</think>a<|im_end|>", ("r", "a", True)),
    (THINKING, "", " \n<think>r</think>a", ("r", "a", True)),
    (THINKING, "", "a<think>r</think>", (None, "a<think>r</think>", True)),
    (THINKING, "", "a[EOS]b", (None, "a", True)),
    (K2, "", "a<think>r</think>", (None, "a<think>r</think>", True)),
]


@pytest.mark.parametrize(("family", "prompt", "text", "expected"), REASONING)
def test_reasoning(family: isc.Family, prompt: str, text: str, expected: tuple[str | None, str, bool]) -> None:
    found = parsed(family, text, prompt=prompt)
    assert (found.reasoning_content, found.content, found.reasoning_complete) == expected
