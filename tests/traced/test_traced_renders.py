"""How often a conversation is rendered, and what is decided when a template is compiled."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2
import pytest

from isc.traced.limits import Meter
from isc.traced.rendering import Compiled, Written, compiled, write
from isc.traced.template import TracedTemplate
from isc.traced.values import Inputs

_SAID = [{"role": role, "content": f" {role} says {number} "} for number in range(8) for role in ("user", "assistant")]
_LOOP = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
_ASKS = "{% if add_generation_prompt %}<|assistant|>"


@pytest.mark.parametrize(
    ("source", "by_role"),
    [
        (_LOOP + _ASKS + "{% endif %}", True),
        (_LOOP + _ASKS + "{% elif messages[-1]['role'] == 'assistant' %}</s>{% endif %}", True),
        (_LOOP + _ASKS + "{% elif messages[-1].role == 'assistant' %}</s>{% endif %}", True),
        (_LOOP + _ASKS + "{{ messages[-1].content }}{% endif %}", False),
        (_LOOP + _ASKS + "{{ messages[0].role }}{% endif %}", False),
        (_LOOP + _ASKS + "{{ messages | length }}{{ messages[-1].role }}{% endif %}", False),
        ("{% set messages = messages[:1] %}" + _LOOP + _ASKS + "{{ messages[-1].role }}{% endif %}", False),
        (
            "{% macro last() %}{{ messages[0].content }}{% endmacro %}" + _LOOP + _ASKS + "{{ last() }}{% endif %}",
            False,
        ),
    ],
)
def test_what_the_prompt_depends_on_is_read_off_the_syntax(source: str, by_role: bool) -> None:
    assert compiled(source).tail.by_role is by_role


@pytest.mark.parametrize(
    ("ends", "renders"),
    [
        ("{% endif %}", 1),
        ("<think>{% endif %}", 1),
        ("{% elif messages[-1].role == 'assistant' %}</s>{% endif %}", 1),
        ("{% if messages %}{% endif %}{% endif %}", 2),
    ],
    ids=["proven", "never shown", "by role", "by the messages"],
)
def test_prompts_are_rendered_only_where_nothing_else_tells(
    monkeypatch: pytest.MonkeyPatch, ends: str, renders: int
) -> None:
    template = TracedTemplate(_LOOP + _ASKS + ends, specials=("<|user|>", "<|assistant|>", "<|end|>", "</s>"))
    list(template.stream(_SAID))
    made: list[object] = []

    def counted(template: Compiled, variables: Mapping[str, object], inputs: Inputs, meter: Meter) -> Written:
        made.append(template)
        return write(template, variables, inputs, meter)

    monkeypatch.setattr("isc.traced.format.write", counted)
    list(template.stream(_SAID))
    assert len(made) == renders


@pytest.mark.parametrize(
    "shown",
    [
        "{{ 'a' + m.content + 'b' + 'c' }}",
        "{{ m.content + 'b' + 'c' + m.role + 'd' + 'e' }}",
        "{{ 'x' + 'y' }}{{ ' z ' }}",
        "{{ m.content.strip() + ' own '.strip() }}",
        "{{ m.content.split('says')[1].lstrip(' ').upper() }}{{ 'A b'.lower().split()[0] }}",
        "{{ m.content | trim }}{{ m.content.startswith(' u') }}",
        "{{ (m.role == 'user') != (loop.index0 % 2 == 0) }}",
    ],
)
def test_what_is_decided_at_compile_time_changes_no_text(shown: str) -> None:
    source = "{% for m in messages %}" + shown + "{% endfor %}"
    plain = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source).render(messages=_SAID)
    segments = list(TracedTemplate(source).stream(_SAID))
    assert "".join(segment.text for segment in segments) == plain
