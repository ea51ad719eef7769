"""Who owns what a template writes, and what of it is body: turns in loops, outside of them, in macros, by position.

Expectations are written by owner, body in brackets: `1(«user~[hi]»~)`.
"""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

from typing import Any

import pytest

from isc.traced.template import TracedTemplate
from owners_shown import shown
from small_templates import ASSISTANT, CHATML, PROMPT, SPECIALS, SYSTEM, TALK, USER, template

OWNERS = {
    "one_loop": (CHATML, "0(«system~[S]»~)1(«user~[U]»~)2(«assistant~[A»]~)3(«user~[V]»~)"),
    "prompt_in_the_loop": (
        "{% for m in messages %}«{{ m.role }}~{{ m.content }}»{% if loop.last and add_generation_prompt %}«assistant~{% endif %}{% endfor %}",
        "0(«system~[S]»)1(«user~[U]»)2(«assistant~[A»])3(«user~[V]»)",
    ),
    "system_outside": (
        "{{ '«system~' + messages[0].content + '»~' }}{% for m in messages[1:] %}«{{ m.role }}~{{ m.content }}»~{% endfor %}{% if add_generation_prompt %}«assistant~{% endif %}",
        "0(«system~[S]»~)1(«user~[U]»~)2(«assistant~[A»]~)3(«user~[V]»~)",
    ),
    "first_user_outside": (
        "{{ '«system~' + messages[0].content + '»' }}{{ '«user~' + messages[1].content + '»' }}{% for m in messages[2:] %}«{{ m.role }}~{{ m.content }}»{% endfor %}",
        "0(«system~[S]»)1(«user~[U]»)2(«assistant~[A»])3(«user~[V]»)",
    ),
    "separators_first": (
        "{% for m in messages %}{{ '~' if not loop.first }}«{{ m.role }}~{{ m.content }}»{% endfor %}",
        "0(«system~[S]»~)1(«user~[U]»~)2(«assistant~[A»]~)3(«user~[V]»)",
    ),
    "by_position": (
        "{% for i in range(messages | length) %}{% set m = messages[i] %}«{{ m.role }}~{{ m.content }}»{% endfor %}",
        "0(«system~[S]»)1(«user~[U]»)2(«assistant~[A»])3(«user~[V]»)",
    ),
    "by_macro": (
        "{% macro turn(m) %}«{{ m.role }}~{{ m.content }}»{% endmacro %}{{ turn(messages[0]) }}{{ turn(messages[1]) if messages[1] }}{{ turn(messages[2]) if messages[2] }}{{ turn(messages[3]) if messages[3] }}",
        "0(«system~[S]»)1(«user~[U]»)2(«assistant~[A»])3(«user~[V]»)",
    ),
    "by_macro_that_loops": (
        "{% macro all(list) %}{% for m in list %}«{{ m.role }}~{{ m.content }}»{% endfor %}{% endmacro %}{{ all(messages) }}",
        "0(«system~[S]»)1(«user~[U]»)2(«assistant~[A»])3(«user~[V]»)",
    ),
    "collected_first": (
        "{% set ns = namespace(out='') %}{% for m in messages %}{% set ns.out = ns.out + '«' + m.role + '~' + m.content + '»' %}{% endfor %}{{ ns.out }}",
        "0(«system~[S]»)1(«user~[U]»)2(«assistant~[A»])3(«user~[V]»)",
    ),
    "looks_ahead_and_back": (
        "{% for m in messages %}{% for n in messages %}{% if n.role == 'x' %}{{ n.content }}{% endif %}{% endfor %}«{{ m.role }}{{ ' after ' + loop.previtem.role if loop.previtem }}~{{ m.content }}»{% endfor %}",
        "0(«system~[S]»)1(«user after system~[U]»)2(«[assistant after user~A»])3(«user after assistant~[V]»)",
    ),
    "backwards_pass_first": (
        "{% set ns = namespace(last='') %}{% for m in messages[::-1] %}{% set ns.last = m.role %}{% endfor %}<{{ ns.last }}>{% for m in messages %}«{{ m.role }}~{{ m.content }}»{% endfor %}",
        "0(<system>«system~[S]»)1(«user~[U]»)2(«assistant~[A»])3(«user~[V]»)",
    ),
    "left_early": (
        "{% for m in messages %}{% if loop.index0 == 3 %}{% break %}{% endif %}{% if m.role == 'system' %}{% continue %}{% endif %}«{{ m.role }}~{{ m.content }}»{% endfor %}end",
        "1(«user~[U]»)2(«assistant~[A»]end)",
    ),
    "nothing_said": (
        "{% for m in messages %}«{{ m.role }}»{% endfor %}",
        "0(«system»)1(«user»)2(«assistant[»])3(«user»)",
    ),
    "no_loop": (
        "{{ messages | map(attribute='content') | join(' ') }}",
        "0([S] )1([U])( )2([A])( )3([V])",
    ),
    "no_prompt": (
        "{% for m in messages %}«{{ m.role }}~{{ m.content }}»~{% endfor %}",
        "0(«system~[S]»~)1(«user~[U]»~)2([«assistant~A»]~)3(«user~[V]»~)",
    ),
}


@pytest.mark.parametrize("name", OWNERS)
def test_owners(name: str) -> None:
    source, expected = OWNERS[name]
    source = source.replace("«", "<|im_start|>").replace("»", "<|im_end|>").replace("~", "\n")
    chosen = template(source if "add_generation_prompt" in source or name.endswith("no_prompt") else source + PROMPT)
    assert shown(list(chosen.stream(TALK))) == expected


HOISTING = (
    "{% set ns = namespace(last='') %}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}«{{ m.content }}{% set ns.last = 'user' %}"
    "{% elif m.role == 'assistant' %}{{ '~end~' + m.content + '»' if ns.last == 'user' else m.content + '»' }}{% set ns.last = '' %}{% endif %}{% endfor %}"
    "{% if ns.last == 'user' %}~end~{% endif %}"
)
"""Systems first; a user's turn is closed by what follows it: the assistant's turn, or the end."""


def test_a_message_said_elsewhere_owns_nothing_where_it_stood() -> None:
    chosen = template(HOISTING.replace("«", "<|im_start|>").replace("»", "<|im_end|>"))
    assert shown(list(chosen.stream([USER, SYSTEM]))) == "1([S])0(«[U]~end~)"
    assert shown(list(chosen.stream([USER, SYSTEM, ASSISTANT]))) == "1([S])0(«[U]~end~)2([A»])"


def test_without_a_system_message_the_opening_is_nobodys() -> None:
    chosen = template("<s>{{ 'You are helpful.' }}" + CHATML)
    assert shown(list(chosen.stream([USER]))) == "(<s>You are helpful.)0(«user~[U]»~)"


@pytest.mark.parametrize(
    ("option", "expected"),
    [("custom_tools", '0(«user~{"name": "f"}~[U]»)'), ("documents", '0(«user~{"name": "f"}~[U]»)')],
)
def test_tools_that_an_option_gives_belong_to_the_turn_that_holds_them(option: str, expected: str) -> None:
    source = f"<|im_start|>user\n{{% for t in {option} %}}{{{{ t | tojson }}}}\n{{% endfor %}}{{{{ messages[0].content }}}}<|im_end|>"
    chosen = template(source, **{option: [{"name": "f"}]})
    assert shown(list(chosen.stream([USER]))) == expected


def test_a_default_that_is_said_in_the_first_iteration_is_nobodys() -> None:
    default = "{% if loop.first and m.role != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}"
    chosen = template(CHATML.replace("%}", "%}" + default, 1))
    assert shown(list(chosen.stream([USER, ASSISTANT]))) == "(«system~Help.»~)0(«user~[U]»~)1(«assistant~[A»]~)"
    assert shown(list(chosen.stream([{"role": "user", "content": ""}]))) == "(«system~Help.»~)0(«user~»~)"


def test_a_name_of_another_turn_is_scaffold() -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }} "
        "{% for before in messages %}{% for call in before.tool_calls or [] %}"
        "{% if call.id == m.tool_call_id %}{{ call.function.name }}{% endif %}{% endfor %}{% endfor %}"
        "{% for call in m.tool_calls or [] %}{{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %}"
        "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
    )
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": {"a": 1}}}
    messages: list[dict[str, Any]] = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "T", "tool_call_id": "1"},
    ]
    assert shown(list(template(source).stream(messages))).endswith('1(«assistant [look{"a": 1}»])2(«tool look[T]»)')


def test_a_turn_closed_by_the_next_roles_marker() -> None:
    source = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}{{ '<|assistant|>' if add_generation_prompt }}"
    chosen = template(source, eos_token="<|eos|>")
    assert chosen.turn_close is None
    assert chosen.stop_tokens == ("<|eos|>", "<|user|>", "<|tool|>")
    found = list(chosen.stream([USER, ASSISTANT, USER], add_generation_prompt=True))
    assert shown(found) == "0(<|user|>[U])1(<|assistant|>[A<|user|>])2([U])(<|assistant|>)"


def test_what_closes_tool_results_belongs_to_them() -> None:
    """DeepSeek's way: the end of the outputs is written by the turn that follows, or at the end of the text."""
    source = (
        "{% set ns = namespace(tool=false) %}{% for m in messages %}{% if m.role == 'tool' %}{% set ns.tool = true %}"
        "<|tool|>{{ m.content }}{% elif m.role == 'user' %}<|user|>{{ m.content }}{% else %}"
        "{% if ns.tool %}</tools>{% set ns.tool = false %}{% else %}<|assistant|>{% endif %}{{ m.content }}<|eos|>{% endif %}"
        "{% endfor %}{% if ns.tool %}</tools>{% endif %}{% if add_generation_prompt and not ns.tool %}<|assistant|>{% endif %}"
    )
    chosen = TracedTemplate(source, specials=(*SPECIALS, "</tools>"))
    messages = [USER, ASSISTANT, {"role": "tool", "content": "T"}]
    assert shown(list(chosen.stream(messages, add_generation_prompt=True))).endswith("2(<|tool|>[T]</tools>)")
    found = shown(list(chosen.stream([*messages, ASSISTANT])))
    assert found == "0(<|user|>[U])1(<|assistant|>[A<|eos|>])2(<|tool|>[T]</tools>)3([A<|eos|>])"


PREFILLED = (
    "{% set ns = namespace(quiet=false) %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.quiet = '/quiet' in m.content %}{% endif %}"
    "{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' and ns.quiet %}<think></think>{% endif %}{{ m.content }}<|eos|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% if ns.quiet %}<think></think>{% endif %}{% endif %}"
)


def test_a_prompt_that_heeds_what_is_said() -> None:
    """Each assistant turn is compared with the prompt of its own moment."""
    quiet = {"role": "user", "content": "hush /quiet"}
    talk = [USER, ASSISTANT, quiet, ASSISTANT, USER, ASSISTANT]
    found = shown(list(template(PREFILLED, eos_token="<|eos|>").stream(talk)))
    assert found.count("(<|assistant|>[A<|eos|>])") == 2
    assert "3(<|assistant|><think></think>[A<|eos|>])" in found


def test_a_prompt_that_depends_on_how_long_the_conversation_is() -> None:
    """A stand-in of the last messages would not tell: it is found out, and everything is rendered."""
    source = (
        "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' and loop.index0 > 4 %}<think>{% endif %}"
        "{{ m.content }}<|eos|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% if messages | length > 4 %}<think>{% endif %}{% endif %}"
    )
    found = shown(list(template(source, eos_token="<|eos|>").stream([USER, ASSISTANT] * 4)))
    assert found.count("(<|assistant|>[A<|eos|>])") == 2
    assert found.count("(<|assistant|><think>[A<|eos|>])") == 2


def test_images() -> None:
    source = "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    chosen = TracedTemplate(source, specials=("<|vision_start|>", "<|image_pad|>", "<|vision_end|>"))
    messages = [{"role": "user", "content": [{"type": "image", "image": "x.png"}, {"type": "text", "text": "what?"}]}]
    assert shown(list(chosen.stream(messages))) == "0(<|vision_start|>[<|image_pad|>]<|vision_end|>[what?])"
