"""Bridges of templates: granted only where the extension is proven, and then equal to a fresh render."""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

import json
from typing import Any

import pytest

import isc
from isc.conversation.bridge import Extension, Refusal
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.encoding.fold import fold
from isc.traced.template import TemplateError, TracedTemplate
from isc.types import ThinkingRetention
from traced_references import TEMPLATES, traced_template

QUESTION = {"role": "user", "content": "question"}
NEXT = {"role": "user", "content": "and now?"}
RESULT = {"role": "tool", "content": "result", "tool_call_id": "call00001", "name": "look"}
TOOLS = [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}]  # fmt: skip
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|eos|>", "<think>", "</think>", "<|user|>", "<|assistant|>", "<|tool|>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def answer(*, reasoning: bool, call: Any = None) -> dict[str, Any]:  # noqa: ANN401 - arguments, an object or text
    turn: dict[str, Any] = {"role": "assistant", "content": "" if call is not None else "answer"}
    if reasoning:
        turn["reasoning_content"] = "because"
    if call is not None:
        function = {"name": "look", "arguments": call}
        turn["tool_calls"] = [{"id": "call00001", "type": "function", "function": function}]
    return turn


def planned(
    template: TracedTemplate,
    encoder: VocabularyEncoder,
    retention: ThinkingRetention | None,
    *given: Any,  # noqa: ANN401 - prompt, completion, new messages and tools
) -> Extension | Refusal:
    """The plan of a bridge, as `Renderer.plan_bridge` takes what is given."""
    return isc.Renderer(template, encoder, retention).plan_bridge(*given)


def sampled_ids(
    template: TracedTemplate, encoder: VocabularyEncoder, turn: dict[str, Any], tools: list[dict[str, Any]] | None
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Ids of a prompt and of a turn sampled for it; None where the format would not have sampled the turn like that."""
    prompt = fold(template.stream([QUESTION], tools, add_generation_prompt=True), encoder, ["user"]).token_ids
    full = fold(template.stream([QUESTION, turn], tools), encoder, ["user", "assistant"])
    if full.token_ids[: len(prompt)] != prompt:
        return None
    end = max(stop for run, (_, stop) in full.spans() if run.body and run.message == 1)
    return prompt, full.token_ids[len(prompt) : end]


@pytest.mark.skipif(not TEMPLATES, reason="no reference templates; set ISC_REFERENCE to their directory")
@pytest.mark.parametrize("kind", ["user", "user after reasoning", "tool"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_granted_bridge_is_a_fresh_render(name: str, kind: str) -> None:
    template = traced_template(name)
    encoder = embedded(template.specials)
    tools, new = (TOOLS if kind == "tool" else None), (RESULT if kind == "tool" else NEXT)
    for arguments in ({"a": 1}, '{"a": 1}'):
        turn = answer(reasoning=kind != "user", call=arguments if kind == "tool" else None)
        try:
            sampled = sampled_ids(template, encoder, turn, tools)
            fresh = fold(
                template.stream([QUESTION, turn, new], tools, add_generation_prompt=True),
                encoder,
                ["user", "assistant", new["role"]],
            )
        except TemplateError:
            continue
        if sampled is None:
            continue
        plan = planned(template, encoder, None, *sampled, [new], tools)
        if isinstance(plan, Refusal):
            assert plan.reason in ("rewrites_history", "depends_on_history", "reasoning_stopped")
            continue
        tail = plan.tail(encoder, 1, "text")
        assert sampled[0] + sampled[1] + tail.token_ids == fresh.token_ids
        close = encoder.specials.get(template.turn_close or "")
        added = close is not None and tail.token_ids[0] == close and sampled[1][-1] != close
        unsampled = 1 if template.turn_close is None or added else 0  # the marker that was not sampled here
        assert tail.is_content[unsampled:] == fresh.is_content[-len(tail) :][unsampled:]
        owners = tuple(owner - 2 if owner >= 2 else owner for owner in fresh.message_indices[-len(tail) :])
        assert tuple(owner - 2 if owner >= 2 else owner for owner in tail.message_indices) == owners


GRANTED = {
    "Qwen--Qwen2.5-0.5B-Instruct/chat_template.jinja": ("user", "tool"),
    "Qwen--Qwen3-30B-A3B-Instruct-2507/chat_template.jinja": ("user", "tool"),
    "Qwen--Qwen3-8B/chat_template.jinja": ("tool",),
    "meta-llama--Llama-3.1-8B-Instruct/chat_template.jinja": ("user", "tool"),
    "zai-org--GLM-4.5/chat_template.jinja": ("tool",),
    "moonshotai--Kimi-K2-Instruct/chat_template.reconstructed.jinja": ("user", "tool"),
    "openai--gpt-oss-20b/chat_template.jinja": ("tool",),
}


@pytest.mark.skipif(not TEMPLATES, reason="no reference templates; set ISC_REFERENCE to their directory")
@pytest.mark.parametrize("name", GRANTED)
def test_what_is_granted(name: str) -> None:
    template = traced_template(name)
    encoder = embedded(template.specials)
    for kind, tools, new in (("user", None, NEXT), ("tool", TOOLS, RESULT)):
        turn = answer(reasoning=True, call={} if kind == "tool" else None)
        sampled = sampled_ids(template, encoder, turn, tools)
        if sampled is not None:
            plan = planned(template, encoder, None, *sampled, [new], tools)
            assert isinstance(plan, Extension) == (kind in GRANTED[name])
            everything = planned(template, encoder, "all", *sampled, [new], tools)
            assert isinstance(everything, Extension)


def chatml() -> tuple[TracedTemplate, VocabularyEncoder, tuple[int, ...]]:
    template = TracedTemplate(CHATML, specials=SPECIALS)
    encoder = embedded(SPECIALS)
    prompt = fold(template.stream([QUESTION], None, add_generation_prompt=True), encoder, ["user"]).token_ids
    return template, encoder, prompt


def text_of(plan: Extension | Refusal) -> str:
    assert isinstance(plan, Extension)
    return "".join(segment.text for segment in plan.segments)


def test_the_turn_close_is_added_where_it_is_missing() -> None:
    template, encoder, prompt = chatml()
    cut_off = next(iter(encoder.encode_batch(["answ"])))
    expected = "\n<|im_start|>user\nand now?<|im_end|>\n<|im_start|>assistant\n"
    assert text_of(planned(template, encoder, None, prompt, cut_off, [NEXT])) == "<|im_end|>" + expected
    closed = [*cut_off, encoder.specials["<|im_end|>"]]
    assert text_of(planned(template, encoder, None, prompt, closed, [NEXT])) == expected


def test_refusals_without_rendering() -> None:
    template, encoder, prompt = chatml()
    cases: list[tuple[tuple[Any, Any, Any], str]] = [
        (((), [], [NEXT]), "no_prompt"),
        ((prompt, [], []), "no_new_messages"),
        ((prompt, [], [{"role": "assistant", "content": "x"}]), "assistant_message"),
    ]
    for given, reason in cases:
        plan = planned(template, encoder, None, *given)
        assert isinstance(plan, Refusal)
        assert plan.reason == reason
    kept = planned(template, encoder, "tool_cycle", prompt, [], [NEXT])
    assert isinstance(kept, Refusal)
    assert kept.reason == "retention"


def test_a_stop_inside_open_reasoning_is_refused_and_unfinished_reasoning_is_closed() -> None:
    source = CHATML.replace(
        "m.content", "('<think>' + m.reasoning_content + '</think>' if m.reasoning_content else '') + m.content"
    )
    template = TracedTemplate(source, specials=SPECIALS)
    _, encoder, prompt = chatml()
    think, end = encoder.specials["<think>"], encoder.specials["<|im_end|>"]
    stopped = planned(template, encoder, None, prompt, [think, end], [NEXT])
    assert isinstance(stopped, Refusal)
    assert stopped.reason == "reasoning_stopped"
    assert text_of(planned(template, encoder, None, prompt, [think], [NEXT])).startswith("</think><|im_end|>")


def test_a_marker_that_was_sampled_is_not_given_again() -> None:
    source = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}{{ '<|assistant|>' if add_generation_prompt }}"
    template = TracedTemplate(source, specials=SPECIALS, eos_token="<|eos|>")
    encoder = embedded(template.specials)
    prompt = fold(template.stream([QUESTION], None, add_generation_prompt=True), encoder, ["user"]).token_ids
    expected = "and now?<|assistant|>"
    for stop, text in (("<|user|>", expected), ("<|eos|>", "<|user|>" + expected)):
        assert text_of(planned(template, encoder, None, prompt, [encoder.specials[stop]], [NEXT])) == text
    wrong = planned(template, encoder, None, prompt, [encoder.specials["<|tool|>"]], [NEXT])
    assert isinstance(wrong, Refusal)
    assert wrong.reason == "wrong_turn_close"


def test_text_that_depends_on_what_came_before_is_refused() -> None:
    counting = CHATML.replace("m.content", "loop.index ~ m.content")
    template = TracedTemplate(counting, specials=SPECIALS)
    _, encoder, prompt = chatml()
    plan = planned(template, encoder, None, prompt, [encoder.specials["<|im_end|>"]], [NEXT])
    assert isinstance(plan, Refusal)
    assert plan.reason == "depends_on_history"
    assert json.dumps(plan.detail)


def test_the_name_of_an_unread_call_must_not_matter() -> None:
    """The result's turn names the call, whose name cannot be read from the ids: no extension is proven."""
    source = (
        "{% set ns = namespace(name='') %}{% for m in messages %}{% for c in m.tool_calls or [] %}{% set ns.name = c.function.name %}{% endfor %}"
        "{{ '<|im_start|>' + m.role + ' ' + (ns.name if m.role == 'tool' else '') + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant \n' }}{% endif %}"
    )
    template = TracedTemplate(source, specials=SPECIALS)
    _, encoder, prompt = chatml()
    nameless = {"role": "tool", "content": "result"}
    plan = planned(template, encoder, None, prompt, [encoder.specials["<|im_end|>"]], [nameless])
    assert isinstance(plan, Refusal)
    assert plan.reason == "depends_on_history"
    named = planned(template, encoder, None, prompt, [encoder.specials["<|im_end|>"]], [{**nameless, "name": "look"}])
    assert "tool look" in text_of(named)
