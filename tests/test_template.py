"""`TracedTemplate` as a family value: owners, bodies, prompts, what is inferred, parsing, and agreement with Qwen3."""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import isc
from cases import CASES, Case
from golden_conversations import CONVERSATIONS
from isc import convert
from isc.encoders import embedded
from isc.render import stream
from isc.strategies import Writer
from isc.template import LostPiece, TemplateError, TracedTemplate
from isc.tokens import fold
from isc.types import Family, Segment
from references import as_the_template_takes_it

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|eos|>", "<think>", "</think>")
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
USER = {"role": "user", "content": "U"}
ASSISTANT = {"role": "assistant", "content": "A"}
SYSTEM = {"role": "system", "content": "S"}
TALK = [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "V"}]


def template(source: str, **options: Any) -> TracedTemplate:  # noqa: ANN401 - as `TracedTemplate`
    return TracedTemplate(source, specials=SPECIALS, **options)


def shown(segments: Sequence[Segment]) -> str:
    """Segments by owner, body in brackets, ChatML's specials and line breaks as one character each."""
    found = ""
    for owner, group in groupby(segments, lambda segment: segment.message):
        parts = ""
        for body, run in groupby(group, lambda segment: segment.body):
            text = "".join(segment.text for segment in run)
            parts += f"[{text}]" if body else text
        found += f"{owner if owner >= 0 else ''}({parts})"
    return found.replace("\n", "~").replace("<|im_start|>", "«").replace("<|im_end|>", "»")


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
        "1(«user~[U]»)2(«assistant~[A»])3(end)",
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


def test_without_a_system_message_the_opening_is_nobodys() -> None:
    chosen = template("<s>{{ 'You are helpful.' }}" + CHATML)
    assert shown(list(chosen.stream([USER]))) == "(<s>You are helpful.)0(«user~[U]»~)"


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


def test_a_value_is_immutable_hashable_picklable_and_equal_by_value() -> None:
    first, second = (
        template(CHATML, enable_thinking=False, nested={"a": [1]}),
        template(CHATML, nested={"a": [1]}, enable_thinking=False),
    )
    assert isinstance(first, Family)
    assert first == second
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first
    assert first != template(CHATML)
    assert first.options == {"enable_thinking": False, "nested": {"a": [1]}}
    with pytest.raises(AttributeError, match="immutable"):
        first.now = "x"
    with pytest.raises(AttributeError, match="immutable"):
        del first.format


def test_options_must_have_a_json_form() -> None:
    with pytest.raises(isc.OptionError, match="JSON"):
        template(CHATML, x=object())
    assert template("{{ specials }}", template_kwargs={"specials": "x"}).options == {"specials": "x"}


def test_the_clock_is_an_option() -> None:
    source = "{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}"
    assert template(source).stream([USER]).__next__().text == "15 Jan 2025"
    assert template(source, now="2030-02-03").stream([USER]).__next__().text == "03 Feb 2030"
    assert template(source, now=None).stream([USER]).__next__().text[-4:].isdigit()


def test_content_that_is_none_is_left_out_or_null_as_the_template_needs_it() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}
    chat = convert.chat([USER, {"role": "assistant", "content": None, "tool_calls": [call]}])
    undefined = template("{% for m in messages %}[{{ m.content }}]{% endfor %}")
    assert "".join(s.text for s in undefined.conversation(chat)) == "[U][]"
    needed = template(
        "{% for m in messages %}{% if m['content'] is none %}-{% else %}{{ m['content'] + '' }}{% endif %}{% endfor %}"
    )
    assert "".join(s.text for s in needed.conversation(chat)) == "U-"
    refused = template("{% for m in messages %}{{ raise_exception('never') }}{% endfor %}")
    with pytest.raises(TemplateError, match="never"):
        refused.conversation(chat)


def test_inference_and_report() -> None:
    found = template(CHATML, eos_token="<|eos|>").report()
    assert (found.turn_close, found.stop_tokens) == ("<|im_end|>", ("<|im_end|>", "<|eos|>"))
    assert (found.reasoning, found.tool_calls, found.keeps_history) == (None, None, True)
    assert template(CHATML, turn_close="<|eos|>", stop_tokens=("<|eos|>",)).stop_tokens == ("<|eos|>",)
    lost = template("{{ messages[0].content.encode().decode() }}").report([USER]).lost
    assert lost == (LostPiece("U", "decode"),)


def test_grammars_are_recognized_or_chosen_and_otherwise_not_claimed() -> None:
    thinking = CHATML.replace(
        "m.content", "('<think>' + m.reasoning_content + '</think>' if m.reasoning_content else '') + m.content"
    )
    chosen = template(thinking)
    assert chosen.report().reasoning == "think"
    segments = (Segment("<think>", "special"), Segment("hm"), Segment("</think>", "special"), Segment("yes"))
    parsed = chosen.parse(isc.types.Sampled(segments, (0, 1, 2, 3, 4)), ())
    assert (parsed.reasoning_content, parsed.content) == ("hm", "yes")
    plain = template(CHATML).parse(isc.types.Sampled(segments, (0, 1, 2, 3, 4)), ())
    assert (plain.reasoning_content, plain.content) == (None, "<think>hm</think>yes")
    assert template(CHATML, reasoning="think").report().reasoning == "think"
    with pytest.raises(isc.OptionError, match="no known grammar"):
        template(CHATML, reasoning="dreams")
    with pytest.raises(isc.OptionError, match="no known grammar"):
        template(CHATML, tool_calls="json")


def test_images() -> None:
    source = "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    chosen = TracedTemplate(source, specials=("<|vision_start|>", "<|image_pad|>", "<|vision_end|>"))
    messages = [{"role": "user", "content": [{"type": "image", "image": "x.png"}, {"type": "text", "text": "what?"}]}]
    assert shown(list(chosen.stream(messages))) == "0(<|vision_start|>[<|image_pad|>]<|vision_end|>[what?])"


def _agreement(case: Case, seeds: range) -> Iterator[tuple[list[dict[str, Any]], Any]]:
    yield from CONVERSATIONS.values()
    for path in sorted((Path(__file__).parent.parent / "examples").glob("*.json")):
        example = json.loads(path.read_text(encoding="utf-8"))
        yield example["messages"], example.get("tools")
    for seed in seeds:
        yield Writer(random.Random(seed), case.shape()).conversation(8)


@pytest.mark.parametrize("case", [case for case in CASES if case.template.startswith("Qwen--Qwen3-") and "VL" not in case.template], ids=lambda case: case.name)  # fmt: skip
def test_qwen3_by_family_and_by_template_agree(case: Case, reference: Path) -> None:
    """Text, owners, bodies and what is sampled are the same, for the golden table, the examples and random chats."""
    source = (reference / "templates" / case.template).read_text(encoding="utf-8")
    chosen = TracedTemplate(
        source, specials=case.family.specials, stop_tokens=case.family.stop_tokens, **dict(case.options)
    )
    assert (chosen.turn_close, chosen.keeps_history) == (case.family.turn_close, case.family.keeps_history)
    encoder = embedded(case.family.specials)
    compared = 0
    for messages, tools in _agreement(case, range(120)):
        for asked in (False, True):
            chat = convert.chat(messages, tools)
            family = [segment for segment in stream(case.family, chat, add_generation_prompt=asked) if segment.text]
            traced = list(chosen.stream(as_the_template_takes_it(messages, case.adaptations), tools, asked))
            roles = [str(chat.role(index)) for index in range(len(chat.messages))]
            assert fold(family, encoder, roles) == fold(traced, encoder, roles)
            assert _merged(family) == traced
            compared += 1
    assert compared > 200


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    found: list[Segment] = []
    for segment in segments:
        last = found[-1] if found else None
        if (
            last
            and last.kind == segment.kind == "text"
            and (last.message, last.body) == (segment.message, segment.body)
        ):
            found[-1] = Segment(last.text + segment.text, "text", last.body, last.message)
        else:
            found.append(segment)
    return found
