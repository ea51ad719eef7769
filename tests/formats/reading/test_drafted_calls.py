"""Is reasoning open? One answer for parse, bridge, rollout and traced templates, on calls drafted in reasoning."""

from __future__ import annotations

import random

import pytest

import isc
from isc import testing
from isc.conversation.bridge import Refusal, reasoning_open
from isc.encoding.encoders import embedded
from isc.testing import laws
from isc.types import CallStatus
from spelled_ids import ids_of

# family, a call that is drafted, how a thought ends and content begins, a call that is made, the head of a turn
JSON = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
XML = "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>"
PAIRS = "<tool_call>f<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>"
LINES = "<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n</tool_call>"
KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
    '{"x": 1}<|tool_call_end|><|tool_calls_section_end|>'
)
INVOKE = '<minimax:tool_call>\n<invoke name="f">\n<parameter name="x">1</parameter>\n</invoke>\n</minimax:tool_call>'
FENCED = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
    '{"x": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
PLAIN = '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"x": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'

FAMILIES: list[tuple[isc.Family, str, str]] = [
    (isc.Qwen3(), JSON, "<|im_start|>assistant\n"),
    (isc.Qwen3VL(variant="thinking"), JSON, "<|im_start|>assistant\n"),
    (isc.Qwen35(), XML, "<|im_start|>assistant\n"),
    (isc.Qwen36(), XML, "<|im_start|>assistant\n"),
    (isc.Nemotron3(), XML, "<|im_start|>assistant\n"),
    (isc.Glm45(), LINES, "<|assistant|>"),
    (isc.Glm5(), PAIRS, "<|assistant|>"),
    (isc.Glm51(), PAIRS, "<|assistant|>"),
    (isc.KimiK25(), KIMI, "<|im_assistant|>assistant<|im_middle|>"),
    (isc.MiniMaxM2(), INVOKE, "]~b]ai\n"),
    (isc.DeepSeekR1(), FENCED, "<｜Assistant｜>"),
    (isc.DeepSeekV31(thinking=True), PLAIN, "<｜Assistant｜>"),
    (isc.LagunaXS2(variant="xs-2.1", enable_thinking=True), PAIRS, "<assistant>"),
    (isc.LagunaXS2(variant="xs-2.1", enable_thinking=True, tokens=("<tool_call>", "</tool_call>")), PAIRS,
     "<assistant>"),
]  # fmt: skip
families = pytest.mark.parametrize(
    ("family", "call", "head"),
    FAMILIES,
    ids=[f"{type(family).__name__}-{k}" for k, (family, *_) in enumerate(FAMILIES)],
)


def renderer_of(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(embedded(family.specials), family)


def read(
    family: isc.Family, text: str, prompt: str = ""
) -> tuple[str, str | None, list[tuple[CallStatus, str | None]], bool]:
    """What was said and thought, without the white space around it, the calls, and whether the thought ended."""
    renderer = renderer_of(family)
    parsed = renderer.parse_response(ids_of(renderer, text), None, ids_of(renderer, prompt))
    thought = parsed.reasoning_content
    calls = [(call.status, call.name) for call in parsed.tool_calls]
    return parsed.content.strip(), thought and thought.strip(), calls, parsed.reasoning_complete


@families
def test_a_call_drafted_in_reasoning_that_is_closed_later_is_reasoning(
    family: isc.Family, call: str, head: str
) -> None:
    expected = ("So:", f"Maybe {call}, no.", [("ok", "f")], True)
    assert read(family, f"<think>Maybe {call}, no.</think>So:\n{call}") == expected
    assert read(family, f"Maybe {call}, no.</think>So:\n{call}", f"{head}<think>") == expected


@families
def test_a_call_in_reasoning_that_nothing_closes_ends_it(family: isc.Family, call: str, head: str) -> None:
    assert read(family, f"Hm.\n{call}", f"{head}<think>") == ("", "Hm.", [("ok", "f")], True)


@families
def test_an_opener_after_the_prompt_s_is_dropped(family: isc.Family, call: str, head: str) -> None:
    expected: tuple[str, str, list[object], bool] = ("b", f"Hm {call}", [], True)
    for prompt in (f"{head}<think>", f"{head}<think>\n"):
        assert read(family, f"<think>Hm {call}</think>b", prompt) == expected
        assert read(family, f"\n<think>\nHm {call}\n</think>b", prompt) == expected


@families
def test_a_completion_that_begins_with_the_head_of_its_turn_is_read_past_it(
    family: isc.Family, call: str, head: str
) -> None:
    for start in (head, head.rstrip("\n")):
        assert read(family, f"{start}<think>Hm</think>b\n{call}") == ("b", "Hm", [("ok", "f")], True)
        assert read(family, f"{start}<think>Hm</think>b", f"{head}<think>") == ("b", "Hm", [], True)
    assert read(family, f"{head}b") == ("b", None, [], True)
    renderer = renderer_of(family)
    ids = ids_of(renderer, f"{head}b\n{call}")
    (found,) = renderer.parse_response(ids).tool_calls
    spelling = renderer.encoder.decode_bytes(ids[slice(*found.token_span)]).decode()
    assert found.raw
    assert found.raw in spelling
    assert spelling in call


@families
def test_the_bridge_asks_the_same_question(family: isc.Family, call: str, head: str) -> None:
    renderer = renderer_of(family)
    for completion in (
        f"Maybe {call}, no.",
        f"Maybe {call}, no.</think>b",
        f"<think>Maybe {call}",
        "<think>Maybe",
        f"{head}<think>Maybe",
        f"{head}<think>Maybe</think>",
        "Maybe",
        "b</think>",
    ):
        for prompt in (f"{head}<think>", f"{head}<think></think>"):
            ids = ids_of(renderer, prompt), ids_of(renderer, completion)
            parsed = renderer.parse_response(ids[1], None, ids[0])
            assert reasoning_open(family, renderer.encoder, *ids) is not parsed.reasoning_complete, (prompt, completion)


def test_a_drafted_call_is_no_stop_inside_reasoning() -> None:
    renderer = renderer_of(isc.Qwen3())
    prompt = renderer.render([{"role": "user", "content": "a"}], None, True)
    close = ids_of(renderer, "<|im_end|>")
    result = [{"role": "tool", "content": "1"}]
    for text, granted in ((f"<think>x {JSON}", True), (f"<think>x {JSON}</think>y", True), ("<think>x", False)):
        plan = renderer.plan_bridge(prompt.token_ids, ids_of(renderer, text) + close, result)
        assert isinstance(plan, Refusal) is not granted, text


def test_a_rollout_makes_no_call_that_was_only_drafted() -> None:
    renderer = renderer_of(isc.Qwen3())
    rollout = isc.rollout.Rollout.start(renderer, [{"role": "user", "content": "a"}])
    rollout = rollout.after_completion(ids_of(renderer, f"<think>x {JSON} y</think>\n\nSo {JSON}<|im_end|>"))
    assert [call.arguments for call in rollout.response.tool_calls] == [{"x": 1}]
    assert rollout.response.reasoning_content == f"x {JSON} y"


@pytest.mark.parametrize("seed", range(20))
def test_markers_in_any_order_before_the_closer_are_one_thought(seed: int) -> None:
    source = random.Random(seed)
    renderer = renderer_of(isc.Qwen3())
    pieces = ["<tool_call>", "</tool_call>", JSON, "x", "\n", "<think>", '{"name": "f", "arguments": {}}']
    thought = "x" + "".join(source.choice(pieces) for _ in range(source.randint(0, 6)))
    for content in ("b", f"b\n{JSON}"):
        ids = ids_of(renderer, f"<think>\n{thought}</think>\n\n{content}")
        parsed = renderer.parse_response(ids)
        assert parsed.reasoning_content == thought.strip("\n")
        assert (parsed.content, len(parsed.tool_calls)) == ("b", int(content != "b"))
        testing.parsing(renderer, ids)


@families
def test_drafts_of_any_kind_are_reasoning(family: isc.Family, call: str, head: str) -> None:
    """The law `drafts`: markers, calls and halves of calls in any order, after prompts that open reasoning or not."""
    renderer = renderer_of(family)
    ends = {family.reasoning.closer, *family.stop_tokens, "<|system|>", "<|assistant|>"} if family.reasoning else set()
    marks = [text for text in family.specials if text not in ends]
    tried = 0
    for seed in range(60):
        source = random.Random(seed)
        pieces = [*marks, call, call[: len(call) // 2], "x"]
        drafted = ids_of(renderer, "x" + "".join(source.choice(pieces) for _ in range(source.randint(0, 4))) + "x")
        prompt = renderer.render([{"role": "user", "content": "a"}], None, True)
        said = ids_of(renderer, f"<think>Hm</think>b{call if source.random() < 0.5 else ''}")
        tried += laws.drafts(renderer, said, drafted, () if source.random() < 0.5 else prompt.token_ids)
    assert tried
    assert head
