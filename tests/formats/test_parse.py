"""Reading ids back: every status, hostile JSON, markers as ids and as text."""

from __future__ import annotations

import json
import random

import pytest

import isc
from isc import testing
from isc.formats.qwen3 import Qwen3
from isc.types import ParsedResponse
from spelled_ids import ids_of

TOOLS = [{"name": "search", "parameters": {"type": "object"}}]


def parse(renderer: isc.Renderer, text: str, *, tools: object = None, prompt: str | None = None) -> ParsedResponse:
    given = None if tools is None else TOOLS
    before = None if prompt is None else ids_of(renderer, prompt)
    return renderer.parse_response(ids_of(renderer, text), given, before)


@pytest.mark.parametrize(
    ("raw", "status", "name"),
    [
        ('{"name": "search", "arguments": {"q": 1}}', "ok", "search"),
        ('{"name": "search", "arguments": {"q": 1}', "invalid_json", None),
        ("search cats", "invalid_json", None),
        ("", "invalid_json", None),
        ('{"arguments": {}}', "missing_name", None),
        ('{"name": "", "arguments": {}}', "missing_name", None),
        ('{"name": null, "arguments": {}}', "missing_name", None),
        ('{"name": 5, "arguments": {}}', "malformed_structure", None),
        ('{"name": "search"}', "malformed_structure", "search"),
        ('{"name": "search", "arguments": "{}"}', "malformed_structure", "search"),
        ('{"name": "search", "arguments": [1]}', "malformed_structure", "search"),
        ('[{"name": "search"}]', "malformed_structure", None),
        ("null", "malformed_structure", None),
        ('{"name": "find", "arguments": {}}', "unknown_tool", "find"),
        ('{"name": "search", "arguments": {"q": NaN}}', "invalid_json", None),
        ('{"name": "search", "arguments": {"q": "\\ud800"}}', "invalid_json", None),
        ('{"name": "search", "arguments": {"q": ' + "9" * 6000 + "}}", "invalid_json", None),
        ('{"name": "search", "arguments": ' + '{"a":' * 3000 + "1" + "}" * 3000 + "}", "invalid_json", None),
    ],
)
def test_call_status(small: isc.Renderer, raw: str, status: str, name: str | None) -> None:
    parsed = parse(small, f"x\n<tool_call>\n{raw}\n</tool_call><|im_end|>", tools=TOOLS)
    (call,) = parsed.tool_calls
    assert (call.status, call.name) == (status, name)
    assert call.raw == f"\n{raw}\n"
    assert parsed.content == "x"


def test_unclosed_call_is_kept_with_what_could_be_read(small: isc.Renderer) -> None:
    (call,) = parse(small, '<tool_call>\n{"name": "search", "arguments": {}}\n<|im_end|>').tool_calls
    assert (call.status, call.name, call.arguments) == ("unclosed_block", "search", {})


def test_opener_inside_an_unclosed_call_starts_the_next(small: isc.Renderer) -> None:
    text = '<tool_call>{"name": <tool_call>\n{"name": "search", "arguments": {}}\n</tool_call>'
    assert [call.status for call in parse(small, text).tool_calls] == ["unclosed_block", "ok"]


def test_token_span_covers_the_markers(small: isc.Renderer) -> None:
    ids = ids_of(small, 'ab\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>')
    (call,) = small.parse_response(ids).tool_calls
    start, end = call.token_span
    spelling = small.encoder.decode_bytes(ids[start:end]).decode()
    assert spelling == '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


def test_markers_spelled_as_text_are_text(small: isc.Renderer) -> None:
    arguments = json.dumps({"q": "</tool_call></think><tool_call>"})
    rendered = small.render(
        [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "a </think> b", "reasoning_content": "r",
             "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
        ]
    )  # fmt: skip
    ids = [k for k, drawn in zip(rendered.token_ids, rendered.sampled_mask, strict=True) if drawn]
    parsed = small.parse_response(ids)
    assert (parsed.reasoning_content, parsed.content) == ("r", "a </think> b")
    assert [call.arguments for call in parsed.tool_calls] == [{"q": "</tool_call></think><tool_call>"}]


@pytest.mark.parametrize(
    ("text", "prompt", "reasoning", "content", "complete"),
    [
        ("<think>\nr\n</think>\n\nc<|im_end|>", None, "r", "c", True),
        ("\n <think>\nr\n</think>\n\nc", None, "r", "c", True),
        ("c <think>\nr\n</think>", None, None, "c <think>\nr\n</think>", True),
        ("c", None, None, "c", True),
        ("<think>\nr", None, "r", "", False),
        ("<think>\nr<|im_end|>", None, "r", "", False),
        ("r\n</think>\n\nc", "<think>\n", "r", "c", True),
        ("r\n</think>\n\nc", None, None, "r\n</think>\n\nc", True),
        ("r\n</think>\n\nc </think> d", "<think>\n", "r", "c </think> d", True),
        ("c", "<think>\n\n</think>\n\n", None, "c", True),
        ("r", "<think>\n", "r", "", False),
        ("", None, None, "", True),
    ],
)
def test_reasoning(
    small: isc.Renderer, text: str, prompt: str | None, reasoning: str | None, content: str, complete: bool
) -> None:
    parsed = parse(small, text, prompt=prompt)
    assert (parsed.reasoning_content, parsed.content, parsed.reasoning_complete) == (reasoning, content, complete)


def test_call_opener_ends_unclosed_reasoning(small: isc.Renderer) -> None:
    parsed = parse(small, '<think>\nr\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>')
    assert (parsed.reasoning_content, parsed.content) == ("r", "")
    assert [call.status for call in parsed.tool_calls] == ["ok"]


def test_text_after_a_call_is_not_lost(small: isc.Renderer) -> None:
    parsed = parse(small, 'a\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\nand b<|im_end|>ignored')
    assert parsed.content == "a\nand b"


def test_ids_outside_the_vocabulary_stand_for_nothing(small: isc.Renderer) -> None:
    assert small.parse_response([-1, 10**9, *ids_of(small, "ok"), -(10**12)]).content == "ok"


def test_ten_thousand_mangled_turns_never_raise() -> None:
    """Truncated renders, shuffled specials and noise, as ids."""
    renderer = isc.create_renderer(testing.adversarial_encoder(Qwen3().specials), Qwen3())
    shape = testing.Shape(specials=renderer.family.specials)
    special_ids = list(renderer.encoder.specials.values())
    for seed in range(2_000):
        source = random.Random(seed)
        ids = list(renderer.render(*testing.Writer(source, shape).conversation(4)).token_ids)
        for _ in range(5):
            start = source.randrange(len(ids) + 1)
            mangled = ids[start : source.randrange(start, len(ids) + 1)]
            for _ in range(source.randrange(6)):
                noise = source.choice([*special_ids, source.randrange(-9, len(special_ids) + 9000)])
                mangled.insert(source.randrange(len(mangled) + 1), noise)
            testing.parsing(renderer, mangled, TOOLS)
