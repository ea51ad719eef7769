"""Where sampling starts and ends (law 4), kind by kind: a small template each, the expectation written by hand.

Expectations are written by owner, body in brackets: `1(«user~[hi]»~)`.
"""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import isc
from isc.encoding.encoders import embedded
from isc.traced.template import TracedTemplate
from owners_shown import shown

SPECIALS = ("<|im_start|>", "<|im_end|>", "<|eos|>", "<|end|>", "<sep>", "<|block|>", "<|close|>", "<|user|>", "<|assistant|>", "<think>", "</think>")  # fmt: skip
USER = {"role": "user", "content": "U"}
ASSISTANT = {"role": "assistant", "content": "A"}
TALK = [USER, ASSISTANT, USER, ASSISTANT]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
TURNS = "{% for m in messages %}«{{ m.role }}~{{ m.content }}»~{% endfor %}"
ASKED = "{% if add_generation_prompt %}«assistant~{% endif %}"

KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a separator before a turn": (
        "{% for m in messages %}{% if not loop.first %}{{ '~' }}{% endif %}«{{ m.role }}~{{ m.content }}»{% endfor %}{% if add_generation_prompt %}{{ '~«assistant~' }}{% endif %}",
        "0(«user~[U]»~)1(«assistant~[A»]~)2(«user~[U]»~)3(«assistant~[A»])",
        {},
    ),
    "a separator of text, before a turn": (
        "{% for m in messages %}{% if not loop.first %}{{ ' | ' }}{% endif %}{{ m.role + ': ' + m.content }}<|eos|>{% endfor %}{% if add_generation_prompt %}{{ ' | assistant: ' }}{% endif %}",
        "0(user: [U]<|eos|> )1(| assistant: [A<|eos|>] )2(| user: [U]<|eos|> )3(| assistant: [A<|eos|>])",
        {},
    ),
    "a prompt that is printed in any case": (
        TURNS + "{{ '«assistant~' }}",
        "0(«user~[U]»~«assistant~)1([A»]~)2(«user~[U]»~«assistant~)3([A»]~«assistant~)",
        {},
    ),
    "a prompt that the user's turn ends with": (
        "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}<|assistant|>{% else %}{{ ' ' + m.content }}<|eos|>{% endif %}{% endfor %}",
        "0(<|user|>[U]<|assistant|>)1([ A<|eos|>])2(<|user|>[U]<|assistant|>)3([ A<|eos|>])",
        {},
    ),
    "no prompt, but a generation block": (
        "{% for m in messages %}{% if m.role == 'assistant' %}«assistant~{% generation %}{{ m.content }}»{% endgeneration %}{% else %}«user~{{ m.content }}»{% endif %}{% endfor %}",
        "0(«user~[U]»)1(«assistant~[A»])2(«user~[U]»)3(«assistant~[A»])",
        {},
    ),
    "turns gathered in a list, written at the end": (
        "{% set ns = namespace(x=['<|user|>']) %}{% for m in messages %}{% set ns.x = ns.x + [m.role, ': ', m.content, '<sep>'] %}{% endfor %}{% if add_generation_prompt %}{% set ns.x = ns.x + ['assistant: '] %}{% else %}{% set ns.x = ns.x + ['<|eos|>'] %}{% endif %}{{ ns.x | join }}",
        "(<|user|>)0(user: [U]<sep>)1(assistant: [A<sep>])2(user: [U]<sep>)3(assistant: [A<sep>])(<|eos|>)",
        {},
    ),
    "an end of the text behind the last stop": (
        TURNS.replace("»", "<|end|>") + "{% if add_generation_prompt %}«assistant~{% else %}<|eos|>{% endif %}",
        "0(«user~[U]<|end|>~)1(«assistant~[A<|end|>]~)2(«user~[U]<|end|>~)3(«assistant~[A<|end|>]~<|eos|>)",
        {"eos_token": "<|eos|>"},
    ),
    "blocks inside a turn": (
        "{% for m in messages %}«{{ m.role }}~<think>{{ m.content }}<|block|><|close|>{% endfor %}" + ASKED,
        "0(«user~<think>[U]<|block|><|close|>)1(«assistant~[<think>A<|block|><|close|>])2(«user~<think>[U]<|block|><|close|>)3(«assistant~[<think>A<|block|><|close|>])",
        {},
    ),
    "a close that the next turn begins with, declared": (
        "{% for m in messages %}{% if not loop.first %}<|close|>{% endif %}«{{ m.role }} {{ m.content }}{% endfor %}{% if add_generation_prompt %}<|close|>«assistant {% endif %}",
        "0(«user [U])1(<|close|>«assistant [A<|close|>])2(«user [U])3(<|close|>«assistant [A])",
        {"stop_tokens": ("<|close|>",)},
    ),
    "a declared stop of a template that takes no trial": (
        "{% if messages | length < 4 %}{{ raise_exception('too short') }}{% endif %}" + TURNS.replace("»", "<|end|>") + ASKED,
        "0(«user~[U]<|end|>~)1(«assistant~[A<|end|>]~)2(«user~[U]<|end|>~)3(«assistant~[A<|end|>]~)",
        {"stop_tokens": ("<|end|>",)},
    ),
}  # fmt: skip


def template(source: str, **options: Any) -> TracedTemplate:  # noqa: ANN401 - as `TracedTemplate`
    spelled = source.replace("«", "<|im_start|>").replace("»", "<|im_end|>").replace("~", "\n")
    return TracedTemplate(spelled, specials=SPECIALS, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sampled(kind: str) -> None:
    source, expected, options = KINDS[kind]
    assert shown(list(template(source, **options).stream(TALK))) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_starts_where_the_prompt_ends(kind: str) -> None:
    """The same by renders alone: what precedes a turn's body is the text that asked for it."""
    source, _, options = KINDS[kind]
    chosen = template(source, **options)
    if "takes no trial" in kind or "generation block" in kind:
        pytest.skip("no shorter conversation can be rendered, or there is no prompt")
    for index in (1, 3):
        prompt = "".join(segment.text for segment in chosen.stream(TALK[:index], None, True))
        segments = list(chosen.stream(TALK))
        first = next(place for place, s in enumerate(segments) if s.message == index and s.body)
        assert "".join(segment.text for segment in segments[:first]) == prompt


def test_a_template_that_refuses_without_tools_is_tried_with_tools() -> None:
    chosen = template("{% if not tools %}{{ raise_exception('tools') }}{% endif %}" + TURNS + ASKED)
    assert chosen.stop_tokens == ("<|im_end|>",)
    assert shown(list(chosen.stream(TALK[:2], TOOLS))) == "0(«user~[U]»~)1(«assistant~[A»]~)"


LATE = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.index0 > 4 %}<think>{% endif %}{{ m.content }}<|eos|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if messages | length > 4 %}<think>{% endif %}{% endif %}"
)
"""From the fifth message on the prompt holds a think marker too: a short conversation does not tell."""
_IN_ORDER = f"""
import sys
from isc.traced.template import TracedTemplate
template = TracedTemplate({LATE!r}, specials={SPECIALS!r}, eos_token="<|eos|>")
turns = [{{"role": "user", "content": "U"}}, {{"role": "assistant", "content": "A"}}] * 4
for count in map(int, sys.argv[1:]):
    print(count, [(s.text, s.body) for s in template.stream(turns[:count]) if s.message == count - 1])
"""


def test_masks_do_not_depend_on_what_was_rendered_before() -> None:
    """Two processes render the same conversations, short ones first and long ones first."""
    told = [
        sorted(subprocess.run([sys.executable, "-c", _IN_ORDER, *order], check=True, capture_output=True, text=True).stdout.splitlines())
        for order in (("2", "4", "8"), ("8", "4", "2"))
    ]  # fmt: skip
    assert told[0] == told[1]
    assert told[0][-1] == "8 [('<|assistant|>', False), ('<think>', False), ('A', True), ('<|eos|>', True)]"
    assert told[0][0] == "2 [('<|assistant|>', False), ('A', True), ('<|eos|>', True)]"


def test_text_that_a_template_puts_over_a_body_is_not_the_templates() -> None:
    """A body whose words the template replaces by a special's spelling holds no special."""
    chosen = template(
        TURNS.replace("m.content", "m.content.replace('U', '<|im_end|>') | replace('V', '<|end|>')") + ASKED
    )
    segments = list(chosen.stream([{"role": "user", "content": "U V"}, ASSISTANT]))
    assert [s.text for s in segments if s.body and s.message == 0] == ["<|im_end|> <|end|>"]
    assert [s.text for s in segments if s.kind == "special"] == ["<|im_start|>", "<|im_end|>"] * 2


TAKES = {
    "an object as JSON": ("{{ call.arguments | tojson }}", '{"p": "x"}', '{"p": "x"}'),
    "an object, field by field": ("{% for k, v in call.arguments.items() %}{{ k }}={{ v }}{% endfor %}", "p=x", "p=x"),
    "an object, or text in braces": ("{{ '{' }}{% if call.arguments is mapping %}{% for k, v in call.arguments.items() %}{{ k }}:{{ v }}{% endfor %}{% else %}{{ call.arguments }}{% endif %}{{ '}' }}", "{p:x}", "{p:x}"),
    "text": ("{{ 'args ' + call.arguments }}", None, 'args {"p":"x"}'),
    "text that prints": ("{{ call.arguments }}", "{'p': 'x'}", '{"p":"x"}'),
    "both": ("{{ call.arguments if call.arguments is string else call.arguments | tojson }}", '{"p": "x"}', '{"p":"x"}'),
}  # fmt: skip
"""How a call is written; what an object and the JSON text `{"p":"x"}` become."""


@pytest.mark.parametrize("kind", TAKES)
def test_arguments_are_given_in_the_form_that_the_template_takes(kind: str) -> None:
    written, from_object, from_text = TAKES[kind]
    source = f"{{% for m in messages %}}«{{{{ m.role }}}}~{{{{ m.content }}}}{{% for t in m.tool_calls or [] %}}{{% set call = t.function %}}({written}){{% endfor %}}»{{% endfor %}}{ASKED}"
    chosen = template(source)
    renderer = isc.create_renderer(embedded(chosen.specials), chosen)
    for arguments, expected in (({"p": "x"}, from_object), ('{"p":"x"}', from_text)):
        call = {"id": "call00001", "type": "function", "function": {"name": "look", "arguments": arguments}}
        messages: list[dict[str, Any]] = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
        if expected is None:
            with pytest.raises(isc.errors.TemplateError):
                renderer.render(messages)
            continue
        text = "".join(segment.text for segment in renderer.segments(messages))
        assert f"({expected})" in text


def test_a_system_turn_that_a_template_makes_up_for_an_assistant_that_speaks_first_is_not_sampled() -> None:
    source = (
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    segments = template(source).stream(
        [{"role": "assistant", "content": "I begin."}, {"role": "user", "content": "Do."}]
    )
    assert (
        "".join(segment.text for segment in segments if segment.body and segment.message == 0) == "I begin.<|im_end|>"
    )


def test_a_turn_that_the_next_marker_closes_is_closed_by_a_generation_prompt_too() -> None:
    source = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    shown = template(source).stream(
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], None, True
    )
    assert [(s.text, s.body, s.message) for s in shown][-2:] == [("a", True, 1), ("<|assistant|>", True, 1)]


def test_a_prompt_behind_the_last_message_is_not_sampled_though_nobody_asks_for_it() -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>"
        "{% if loop.last and m.role != 'assistant' %}<|im_start|>assistant {% endif %}{% endfor %}"
    )
    chosen = TracedTemplate(source, specials=("<|im_start|>", "<|im_end|>"))
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
    ]
    sampled = "".join(piece.text for piece in chosen.stream(messages) if piece.body and piece.message == 1)
    assert sampled == "a<|im_end|>"
