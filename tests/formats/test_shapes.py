"""What formats say of their conversations is what they take: a literal table, and whatever is written."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec import structs

import isc
from cases import CASES, Case
from isc.encoding.encoders import embedded
from isc.testing import Shape, Writer, shape_of
from small_templates import template

TOLD: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "qwen3-vl": {"reasoning": False, "system_first": True},
    "qwen3.5": {"system_first": True, "needs_query": True},
    "minimax-m2": {"system_first": True, "results_follow_calls": True},
    "minimax-m3": {
        "roles": ("system", "developer", "user", "assistant", "tool"),
        **{"system_first": True, "results_follow_calls": True, "tells_kinds": False},
    },
    "deepseek-v3": {"reasoning": False, "offers_tools": False, "calls_alone": True},
    "deepseek-v3-0324": {"reasoning": False, "offers_tools": False},
    "kimi-k2.5": {"roles": ("system", "developer", "user", "assistant", "tool")},
    "llama-3.1": {
        "roles": ("system", "developer", "user", "assistant", "tool"),
        **{"reasoning": False, "user_first": True, "calls_alone": True, "most_calls": 1},
    },
    "gpt-oss": {
        "roles": ("system", "developer", "user", "assistant", "tool"),
        **{"system_first": True, "results_follow_calls": True, "most_calls": 1},
    },
    "gemma-4": {
        "roles": ("system", "developer", "user", "assistant", "tool"),
        **{"results_follow_calls": True, "results_at_once": True},
    },
    "gemma-3": {
        "roles": ("system", "user", "assistant"),
        **{"reasoning": False, "tools": False, "offers_tools": False, "text_arguments": False, "most_calls": 1},
        **{"results_follow_calls": True, "system_first": True, "user_first": True, "alternates": True},
    },
}


@pytest.mark.parametrize("name", TOLD)
def test_a_format_is_what_its_template_says(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    plain = structs.replace(shape_of(case.family), specials=(), keys=Shape().keys, values=Shape().values)
    assert plain == Shape(**TOLD[name])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_written_for_a_shape_the_format_takes(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    for seed in range(25):
        messages, tools = Writer(random.Random(seed), case.shape()).conversation()
        assert list(renderer.segments(messages, tools))


STRICT = "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}"
LOOP = "{% for m in messages %}«{}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (LOOP.replace("«{}", STRICT), {"alternates": True, "user_first": True, "roles": ("user", "assistant")}),
        (LOOP.replace("«{}", ""), {"alternates": False, "user_first": False, "system_first": False}),
        (
            LOOP.replace("«{}", "{% if m.role == 'system' and not loop.first %}{{ raise_exception('x') }}{% endif %}"),
            {"alternates": False, "system_first": True},
        ),
        (
            LOOP.replace("«{}", "{% if m.role not in ('user', 'assistant') %}{{ raise_exception('x') }}{% endif %}"),
            {"alternates": False, "roles": ("user", "assistant")},
        ),
    ],
)
def test_a_traced_template_is_asked_inside_conversations_that_are_sound(source: str, told: dict[str, object]) -> None:
    family = template(source)
    shape = family.shape
    assert {name: getattr(shape, name) for name in told} == told
    renderer = isc.create_renderer(embedded(family.specials), family)
    for seed in range(40):
        messages, tools = Writer(random.Random(seed), shape).conversation()
        assert renderer.render(messages, tools).token_ids
