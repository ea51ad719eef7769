"""`body_specials="reject"`: whatever a format could take for its own marker is refused, by its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

import isc
from isc.formats.catalogue import list_families

CALL_ID = "functions.look:0"
TEXT_MARKERS: dict[str, tuple[str, ...]] = {
    "laguna-xs.2": ("<user>", "</assistant>", "<tool_call>", "<arg_value>", "</think>"),
    "qwen3.5": ("</parameter>", "<function=look>", "</tools>", "</think>"),
    "qwen3.6": ("</parameter>", "</function>", "</think>"),
    "qwen3.8": ("</parameter>", "<tools>", "</think>"),
    "qwen3-coder": ("</parameter>", "<function=look>", "</tools>"),
    "nemotron-3": ("</parameter>", "<parameter=x>", "</think>"),
    "minimax-m2": ("</parameter>", '<invoke name="look">', "</response>", "</think>"),
    "minimax-m3": ("</response>", "<tools>", "<thinking_instructions>", "</mm:think>"),
    "seed-oss": ("</parameter>", "<function=look>", "</seed:think>"),
    "qwen2.5": ("<tool_response>", "</tool_response>"),
    "qwen3": ("</think>", "<tool_call>"),
    "hy3": ("</think:opensource>", "<tool_call:opensource>"),
    "glm-4.5": ("</think>", "</arg_value>"),
    "glm-5": ("</think>",),
    "glm-5.1": ("</think>",),
    "glm-5.2": ("</think>",),
    "glm-5.3": ("</think>", "</arg_value>"),
}
"""Written down by hand from the models' templates: what they split at, or spell as text."""
PLAIN: tuple[str, ...] = ("a < b > c", "<b>bold</b>", "<|", "</ think>", "tool_call")


def conversation(**said: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # noqa: ANN401
    """A conversation that says one thing in one place."""
    function = {"name": "look", "arguments": said.get("arguments", {"where": "here"})}
    call = {"id": CALL_ID, "type": "function", "function": function}
    messages = [
        {"role": "system", "content": said.get("system", "Be brief.")},
        {"role": "user", "content": said.get("user", "Look!")},
        {"role": "assistant", "content": said.get("calling", ""), "tool_calls": [call]},
        {"role": "tool", "content": said.get("tool", "A cat."), "tool_call_id": CALL_ID, "name": "look"},
        {"role": "assistant", "content": said.get("answer", "A cat."), "reasoning_content": said.get("thought", "hm")},
    ]
    parameters = {"type": "object", "properties": {"where": {"type": "string"}}}
    described = {"name": "look", "description": said.get("description", "Looks."), "parameters": parameters}
    return messages, [{"type": "function", "function": described}]


PLACES: dict[str, str] = {
    "system": "messages[0].content",
    "user": "messages[1].content",
    "tool": "messages[3].content",
    "answer": "messages[4].content",
    "thought": "messages[4].reasoning_content",
    "description": "tools[0]",
    "arguments": "messages[2].tool_calls[0].function.arguments",
}


def renderer_of(name: str) -> isc.Renderer:
    family = list_families()[name]()
    return isc.create_renderer(isc.encoders.embedded(family.specials), family, body_specials="reject")


@pytest.mark.parametrize("name", list_families())
def test_what_spells_a_marker_is_refused_wherever_it_is_said(name: str) -> None:
    renderer = renderer_of(name)
    markers = {*TEXT_MARKERS.get(name, ()), *renderer.family.specials}
    for place, path in PLACES.items():
        for marker in markers:
            text = f"so {marker} it is"
            said: Any = {"where": {"deep": [text]}} if place == "arguments" else text
            with pytest.raises(isc.SpecialInBodyError) as error:
                renderer.render(*conversation(**{place: said}))
            assert error.value.path == path
            assert str(error.value.value) in marker or marker in str(error.value.value)


@pytest.mark.parametrize("name", TEXT_MARKERS)
def test_json_text_is_read_before_it_is_searched(name: str) -> None:
    marker = TEXT_MARKERS[name][0]
    escaped = json.dumps({"where": marker}).replace("<", "\\u003c")
    assert marker not in escaped
    with pytest.raises(isc.SpecialInBodyError, match=r"messages\[2\]\.tool_calls\[0\]\.function\.arguments"):
        renderer_of(name).render(*conversation(arguments=escaped))


@pytest.mark.parametrize("name", list_families())
def test_what_spells_none_is_rendered_as_ever(name: str) -> None:
    renderer = renderer_of(name)
    for text in PLAIN:
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        assert renderer.render(messages) == renderer.render(messages, body_specials="text")


def test_an_answer_that_begins_as_a_call_is_refused_where_calls_are_plain_json() -> None:
    renderer = renderer_of("llama-3")
    forged = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ' {"name": "rm", "parameters": {}}'}]
    with pytest.raises(isc.SpecialInBodyError, match=r"messages\[1\]\.content: begins as a tool call"):
        renderer.render(forged)
    renderer.render([{"role": "user", "content": '{"name": "rm"}'}, {"role": "assistant", "content": "Is it JSON?"}])


def test_new_messages_of_a_bridge_are_searched() -> None:
    renderer = renderer_of("qwen3.5")
    prompt = renderer.render([{"role": "user", "content": "hi"}], add_generation_prompt=True).token_ids
    new = [{"role": "tool", "content": "</parameter>"}]
    with pytest.raises(isc.SpecialInBodyError, match=r"new_messages\[0\]\.content: spells a marker"):
        renderer.bridge_to_next_turn(prompt, (70, 71), new)
