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
from isc.formats.segments import spelled
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
        stops = {encoder.specials[text] for text in template.stop_tokens}
        unsampled = 1 if stops and sampled[1][-1] not in stops else 0  # the close that was not sampled here
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


def extended(template: TracedTemplate, turn: str, new: dict[str, Any], retention: ThinkingRetention | None = None, prompt: tuple[dict[str, Any], ...] = (QUESTION,)) -> str | Refusal:  # fmt: skip
    """What follows a turn that was sampled as this text, its specials by id."""
    encoder = embedded(template.specials)
    prompt_ids = fold(template.stream(list(prompt), None, True), encoder, [str(m["role"]) for m in prompt]).token_ids
    completion = fold(spelled(turn, template.specials), encoder).token_ids
    plan = planned(template, encoder, retention, prompt_ids, completion, [new])
    return plan if isinstance(plan, Refusal) else text_of(plan)


def reason(found: str | Refusal) -> str:
    assert isinstance(found, Refusal)
    return found.reason


GATHERING = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}<|eos|>{% elif m.role == 'assistant' %}"
    "{% if loop.previtem.role == 'user' %}<|assistant|>{% endif %}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>{% for t in messages if t.role == 'tool' %}<|tool|>{{ t.content }}</tool>{% endfor %}{% endfor %}"
    "{{ m.content }}{% if m.content %}<|eos|>{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1].role == 'user' %}<|assistant|>{% endif %}"
)
"""Gemma 4's way: results are written inside the turn that called, before its content."""


@pytest.mark.parametrize("retention", [None, "all"])
def test_a_result_that_a_fresh_render_shows_is_in_the_bridge(retention: ThinkingRetention | None) -> None:
    template = TracedTemplate(GATHERING, specials=(*SPECIALS, "<call>", "</call>", "</tool>"), eos_token="<|eos|>", stop_tokens=("<|eos|>", "<|tool|>"))  # fmt: skip
    for turn in ("<call>look</call>", "<call>look</call><|tool|>"):
        found = extended(template, turn, RESULT, retention)
        assert found == "<|tool|>result</tool>"[len(turn) - len("<call>look</call>") :]


def test_a_special_that_ended_the_turn_is_not_given_again() -> None:
    """A close that nobody declared as a stop, and that the template writes behind calls only."""
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}{% if m.tool_calls %}(look)<|tool|>{% else %}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
    )
    template = TracedTemplate(source, specials=SPECIALS)
    assert extended(template, "(look)<|tool|>", RESULT) == "<|im_start|>tool result<|im_end|><|im_start|>assistant "


MOVING = (
    "<|im_start|>{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}{{ m.content }}]"
    "{% else %}{{ m.content }}<|eos|>{% endif %}{% endfor %}"
)
"""Mistral's way: the system message stands in the last user turn, and moves."""


def test_a_context_that_the_prompt_is_not_of_is_no_reason_to_refuse() -> None:
    template = TracedTemplate(MOVING, specials=SPECIALS, eos_token="<|eos|>")
    assert extended(template, "answer<|eos|>", NEXT) == "[and now?]"
    moved = extended(template, "answer<|eos|>", NEXT, prompt=({"role": "system", "content": "kind"}, QUESTION))
    assert reason(moved) == "rewrites_history"


THINKING = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Qwen3's way: only what follows the last user message shows a think block, be it empty."""


def test_the_turn_at_hand_decides_and_not_one_like_it() -> None:
    template = TracedTemplate(THINKING, specials=SPECIALS)
    extension = "\n<|im_start|>user\nand now?<|im_end|>\n<|im_start|>assistant\n"
    assert extended(template, "answer<|im_end|>", NEXT) == extension
    assert reason(extended(template, "<think>\n\n</think>\n\nanswer<|im_end|>", NEXT)) == "rewrites_history"
    assert reason(extended(template, "<think>\nhm\n</think>\n\nanswer<|im_end|>", NEXT)) == "rewrites_history"
    assert extended(template, "<think>\nhm\n</think>\n\nanswer<|im_end|>", NEXT, "all") == extension


UNREAD = (
    "{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ '<|user|>' if messages[loop.index0 - 1].content == '' else '<|tool|>' }}{{ m.content }}<|im_end|>"
    "{% else %}<|im_start|>{{ m.role + '\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}!{% endfor %}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Calls that no grammar reads, and results whose marker tells whether anything was said beside the call."""


def test_what_depends_on_a_turn_that_cannot_be_read_is_refused() -> None:
    template = TracedTemplate(UNREAD, specials=SPECIALS)
    assert reason(extended(template, "look!<|im_end|>", RESULT)) == "depends_on_history"


def test_a_close_of_several_pieces_is_not_written_twice() -> None:
    source = CHATML.replace("'<|im_end|>\n'", "'<|eos|><|im_end|>\n'")
    template = TracedTemplate(source, specials=SPECIALS)
    expected = "\n<|im_start|>user\nand now?<|eos|><|im_end|>\n<|im_start|>assistant\n"
    assert extended(template, "answer<|eos|><|im_end|>", NEXT) == expected
    assert extended(template, "answer", NEXT) == "<|eos|><|im_end|>" + expected


def test_a_close_that_is_given_in_the_models_place_is_no_body() -> None:
    template, encoder, prompt = chatml()
    renderer = isc.create_renderer(encoder, template)
    previous = renderer.render([QUESTION], add_generation_prompt=True)
    assert previous.token_ids == prompt
    cut_off = next(iter(encoder.encode_batch(["answ"])))
    end = encoder.specials["<|im_end|>"]
    for completion, trained in (((*cut_off, end), [*cut_off, end]), (tuple(cut_off), list(cut_off))):
        rendered = renderer.extend(previous, completion, [NEXT])
        assert rendered is not None
        assert rendered.token_ids[len(prompt) + len(cut_off)] == end
        assert [t for t, own in zip(rendered.token_ids, rendered.sampled_mask, strict=True) if own] == trained
        assert rendered.message_indices[len(prompt) + len(cut_off)] == 1


NUMBERED = (
    "{% set ns = namespace(calls=0) %}{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>{% endfor %}"
    "{% if m.role == 'tool' %} of call {{ ns.calls }}{% set ns.calls = ns.calls + 1 %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
"""Cohere's way: results are numbered by the calls of the whole conversation."""


def test_a_result_numbered_by_earlier_calls_is_that_of_a_fresh_render() -> None:
    template = TracedTemplate(NUMBERED, specials=(*SPECIALS, "<call>", "</call>"), stop_tokens=("<|im_end|>",))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    earlier: list[dict[str, Any]] = [QUESTION, calling("a"), {**RESULT, "tool_call_id": "a"}]
    result = {**RESULT, "tool_call_id": "b"}
    renderer = isc.create_renderer(embedded(template.specials), template)
    prompt = renderer.render(earlier, [tool], add_generation_prompt=True).token_ids
    completion = fold(spelled("<call>look</call><|im_end|>", template.specials), renderer.encoder).token_ids
    fresh = renderer.render([*earlier, calling("b"), result], [tool], add_generation_prompt=True)
    bridged = renderer.bridge_to_next_turn(prompt, completion, [result], [tool])
    assert bridged is not None
    assert bridged.token_ids == fresh.token_ids


def calling(identity: str) -> dict[str, Any]:
    """A turn that looks, and says nothing."""
    call = {"id": identity, "type": "function", "function": {"name": "look", "arguments": {}}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def test_a_bridge_shows_nothing_that_an_earlier_message_says() -> None:
    """A result that waits for the next user's turn is written there, and no context knows its words."""
    source = (
        "{% set ns = namespace(held='') %}{% for m in messages %}{% if m.role == 'tool' %}{% set ns.held = ns.held + m.content %}"
        "{% else %}<|im_start|>{{ m.role }} {{ (ns.held if m.role == 'user' else '') + m.content }}<|im_end|>"
        "{% set ns.held = '' if m.role == 'user' else ns.held %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
    )
    template = TracedTemplate(source, specials=SPECIALS, stop_tokens=("<|im_end|>",))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    renderer = isc.create_renderer(embedded(template.specials), template)
    earlier: list[dict[str, Any]] = [QUESTION, calling("a"), {**RESULT, "tool_call_id": "a"}]
    prompt = renderer.render(earlier, [tool], add_generation_prompt=True).token_ids
    completion = fold(spelled("well<|im_end|>", template.specials), renderer.encoder).token_ids
    plan = renderer.plan_bridge(prompt, completion, [NEXT], [tool])
    assert isinstance(plan, Refusal)
    assert plan.reason == "depends_on_history"
