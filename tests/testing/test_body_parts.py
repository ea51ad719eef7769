"""Parts of bodies, for every family value: they refine bodies, and a field stands in tokens of its part (law 10)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from cases import CASES, Case
from isc import testing
from isc.testing import Conversation

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cases
def test_parts_refine_bodies(case: Case) -> None:
    renderer = case.renderer(testing.adversarial_encoder(case.family.specials))

    @given(testing.conversations(case.shape()))
    @settings(max_examples=settings().max_examples // 4)
    def check(conversation: Conversation) -> None:
        testing.parts(renderer, conversation)

    check()


@cases
def test_a_field_stands_in_tokens_of_its_part(case: Case) -> None:
    renderer = case.renderer(testing.adversarial_encoder(case.family.specials))

    @given(testing.conversations(case.shape(), longest=4))
    @settings(max_examples=settings().max_examples // 8)
    def check(conversation: Conversation) -> None:
        testing.fields(renderer, conversation)

    check()


@cases
def test_each_field_that_a_format_has_is_told(case: Case) -> None:
    """No law of fields holds because a format shows none: of a call, its result and a thought all fields are shown."""
    renderer = case.renderer(testing.adversarial_encoder(case.family.specials))
    shape = case.shape()
    conversation = weather(says=not shape.calls_alone, calls=shape.tools)
    text = "".join(segment.text for segment in renderer.segments(*conversation))
    said = {"reasoning": "Thinking", "content": "It rains", "tool_name": "get_weather", "tool_arguments": "Oslo"}
    expected = {part for part, words in {**said, "tool_result": "24 degrees"}.items() if words in text}
    assert {"content", *(("tool_arguments", "tool_result") if shape.tools else ())} <= expected
    assert testing.fields(renderer, conversation) == expected


def weather(*, says: bool, calls: bool) -> Conversation:
    """A question, a call with its result, and an answer, each answer with reasoning."""
    function = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    call = {"id": "abcdefgh1", "type": "function", "function": function}
    asked: dict[str, Any] = {
        "role": "assistant",
        "content": "Let me see." * says,
        "reasoning_content": "Thinking: which city?",
    }
    called = [{**asked, "tool_calls": [call]}, {"role": "tool", "content": "24 degrees", "tool_call_id": "abcdefgh1"}]
    answer = {"role": "assistant", "content": "It rains.", "reasoning_content": "Thinking: it rains."}
    return [{"role": "user", "content": "Weather?"}, *(called if calls else []), answer], None
