"""Kimi K2's oddities, literally, each with the line of its template (`moonshotai--Kimi-K2-*`) it comes from."""

from __future__ import annotations

import msgspec
import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.kimi_k2 import KimiK2

INSTRUCT, JULY, THINKING = KimiK2(), KimiK2(variant="instruct_2025_07"), KimiK2(variant="thinking")
DEFAULT = "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>"
ASSISTANT = "<|im_assistant|>assistant<|im_middle|>"
U = "<|im_user|>user<|im_middle|>u<|im_end|>"
SYSTEM = "<|im_system|>system<|im_middle|>s<|im_end|>"
F0 = ("functions.f:0", "{}")
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "a": [{"z": 1, "b": "é"}]}}}


def renderer_of(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(embedded(family.specials), family)


def text_of(
    family: isc.Family, messages: list[Message], tools: list[Message] | None = None, *, prompt: bool = False
) -> str:
    return "".join(segment.text for segment in renderer_of(family).segments(messages, tools, prompt))


def called(*calls: tuple[str, str]) -> str:
    """Calls by id and arguments, and the close of their turn."""
    each = (f"<|tool_call_begin|>{name}<|tool_call_argument_begin|>{text}<|tool_call_end|>" for name, text in calls)
    return f"<|tool_calls_section_begin|>{''.join(each)}<|tool_calls_section_end|><|im_end|>"


ODDITIES: dict[str, tuple[KimiK2, list[Message], str]] = {
    "line 21: the default system message and a line break": (INSTRUCT, [user("u")], f"{DEFAULT}\n{U}"),
    "line 20: a system message, empty or not, takes its place": (
        INSTRUCT,
        [system(""), user("u")],
        f"<|im_system|>system<|im_middle|><|im_end|>{U}",
    ),
    "line 20: a system message that comes later does not": (
        INSTRUCT,
        [user("u"), system("s")],
        f"{DEFAULT}\n{U}<|im_system|>system<|im_middle|>s<|im_end|>",
    ),
    "line 24: a name stands for the role": (
        INSTRUCT,
        [{**user("u"), "name": "Ann"}, {**assistant("a"), "name": "Bob"}, {**system("s"), "name": ""}],
        f"{DEFAULT}\n<|im_user|>Ann<|im_middle|>u<|im_end|><|im_assistant|>Bob<|im_middle|>a<|im_end|>"
        "<|im_system|>system<|im_middle|>s<|im_end|>",
    ),
    "line 30: whoever is neither user nor assistant is a kind of system": (
        INSTRUCT,
        [system("s"), {"role": "developer", "content": "d"}, tool("r")],
        f"{SYSTEM}<|im_system|>developer<|im_middle|>d<|im_end|>"
        "<|im_system|>tool<|im_middle|>## Return of \nr<|im_end|>",
    ),
    "line 37: calls by their own ids, text arguments as they stand, objects as JSON": (
        INSTRUCT,
        [system("s"), assistant("c", call("f", '{"a":  1}', "functions.f:7"), call("g", {"b": "é", "a": 2}, "x"))],
        SYSTEM + ASSISTANT + "c" + called(("functions.f:7", '{"a":  1}'), ("x", '{"b": "é", "a": 2}')),
    ),
    "deviation: a call without an id gets the native one, counted through the conversation": (
        INSTRUCT,
        [system("s"), assistant(None, call("f", {}), call("g", {}, "mine")), assistant("", call("f", {}))],
        SYSTEM + ASSISTANT + called(F0, ("mine", "{}")) + ASSISTANT + called(("functions.f:2", "{}")),
    ),
    "line 42: a result after the id that it answers, from the tool by name": (
        INSTRUCT,
        [system("s"), assistant("", call("f", {}, "functions.f:0")), tool("r", "functions.f:0", "f")],
        SYSTEM + ASSISTANT + called(F0) + "<|im_system|>f<|im_middle|>## Return of functions.f:0\nr<|im_end|>",
    ),
    "instruct: reasoning is not rendered": (
        INSTRUCT,
        [user("u"), assistant("a", reasoning="r")],
        f"{DEFAULT}\n{U}{ASSISTANT}a<|im_end|>",
    ),
    "thinking, line 56: the default system message without a line break": (THINKING, [user("u")], f"{DEFAULT}{U}"),
    "thinking, line 62: the last plain answer loses its reasoning, and so do all before it": (
        THINKING,
        [system("s"), assistant("", call("f", {}, "functions.f:0"), reasoning="q"), assistant("a", reasoning="r")],
        f"{SYSTEM}{ASSISTANT}<think></think>{called(F0)}{ASSISTANT}<think></think>a<|im_end|>",
    ),
    "thinking, line 80: after it reasoning stays, as it stands": (
        THINKING,
        [assistant("a", reasoning="q"), assistant("\nc", call("f", {}), reasoning=" r\n"), user("u")],
        f"{DEFAULT}{ASSISTANT}<think></think>a<|im_end|>{ASSISTANT}<think> r\n</think>\nc{called(F0)}{U}",
    ),
    "2025-07, line 6: another default system message": (
        JULY,
        [user("u")],
        f"<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>{U}",
    ),
    "2025-07, lines 9 to 15: no names": (JULY, [system("s"), {**user("u"), "name": "Ann"}], SYSTEM + U),
    "2025-07, line 22: ids are made anew in every turn": (
        JULY,
        [system("s"), assistant("", call("f", {}, "1"), call("g", '{"a":1}', "2")), assistant("", call("f", {}))],
        SYSTEM + ASSISTANT + called(F0, ("functions.g:1", '{"a": 1}')) + ASSISTANT + called(F0),
    ),
    "2025-07, line 27: a backslash and an n before a result": (
        JULY,
        [system("s"), tool("r")],
        f"{SYSTEM}<|im_system|>tool<|im_middle|>## Return of \\nr<|im_end|>",
    ),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity(name: str) -> None:
    family, messages, expected = ODDITIES[name]
    assert text_of(family, messages) == expected


def test_tools_are_compact_and_sorted_by_key_at_every_depth() -> None:
    expected = (
        "<|im_system|>tool_declare<|im_middle|>"
        '[{"function":{"name":"f","parameters":{"a":[{"b":"é","z":1}],"type":"object"}},"type":"function"}]<|im_end|>'
    )
    assert text_of(INSTRUCT, [user("u")], [F]) == f"{expected}{DEFAULT}\n{U}"


def test_tools_of_2025_07_are_sorted_and_spaced() -> None:
    assert '[{"function": {"name": "f", "parameters": {"a": [{"b"' in text_of(JULY, [user("u")], [F])


def test_no_tools_are_not_declared() -> None:
    assert text_of(INSTRUCT, [user("u")], []) == text_of(INSTRUCT, [user("u")])


@pytest.mark.parametrize("family", [INSTRUCT, JULY, THINKING], ids=lambda family: family.variant)
def test_the_default_system_message_is_nobodys_and_shifts_nobody(family: KimiK2) -> None:
    segments = list(renderer_of(family).segments([user("one"), assistant("two")], [F]))
    first = next(k for k, segment in enumerate(segments) if segment.text == "<|im_user|>")
    assert {(segment.message, segment.body) for segment in segments[:first]} == {(-1, False)}
    assert [(segment.message, segment.text) for segment in segments if segment.text in ("one", "two")] == [
        (0, "one"),
        (1, "two"),
    ]


def test_tools_have_a_turn_that_is_nobody_s() -> None:
    segments = list(renderer_of(INSTRUCT).segments([system("s"), user("u")], [F]))
    assert [segment.message for segment in segments] == [-1] * 5 + [0] * 5 + [1] * 5
    assert segments[1].text == "tool_declare"
    assert segments[6].text == "system"


def test_name_and_id_around_a_result_are_scaffold() -> None:
    messages = [assistant("", call("f", {}, "functions.f:0")), tool("result", "functions.f:0", "f")]
    said = [
        (segment.text, segment.body) for segment in renderer_of(INSTRUCT).segments(messages) if segment.message == 1
    ]
    assert said == [
        ("<|im_system|>", False),
        ("f", False),
        ("<|im_middle|>", False),
        ("## Return of functions.f:0\n", False),
        ("result", True),
        ("<|im_end|>", False),
    ]


def test_the_thinking_model_samples_its_think_block() -> None:
    segments = list(renderer_of(THINKING).segments([user("u"), assistant("a")]))
    sampled = [segment.text for segment in segments if segment.body and segment.message == 1]
    assert sampled == ["<think>", "</think>", "a", "<|im_end|>"]


def test_names_ids_and_tools_that_spell_specials_stay_text() -> None:
    name = "<|im_end|>"
    messages = [
        {**user("u"), "name": name},
        assistant("", call(name, {name: name}, f"functions.{name}:0")),
        tool(name, f"functions.{name}:0", name),
    ]
    tools = [{"type": "function", "function": {"name": name}}]
    segments = list(renderer_of(INSTRUCT).segments(messages, tools))
    assert sum(segment.kind == "special" and segment.text == name for segment in segments) == 5
    assert renderer_of(INSTRUCT).render_ids(messages, tools).count(renderer_of(INSTRUCT).encoder.specials[name]) == 5


@pytest.mark.parametrize(
    ("family", "messages", "path"),
    [
        (INSTRUCT, [user([{"type": "image_url", "image_url": {"url": "x"}}])], "messages[0].content[0]"),
        (THINKING, [system("s"), assistant("", call("f", "[]"))], "messages[1].tool_calls[0].function.arguments"),
        (JULY, [user("u"), {"role": "developer", "content": "d"}], "messages[1].role"),
    ],
)
def test_what_cannot_be_rendered_is_an_error_at_its_path(family: KimiK2, messages: list[Message], path: str) -> None:
    with pytest.raises(isc.ConversationError) as caught:
        renderer_of(family).render(messages)
    assert caught.value.path == path


def test_tools_whose_keys_cannot_be_sorted_are_an_error() -> None:
    schema = {"name": "f", "parameters": {"properties": {1: {}, "a": {}}}}
    with pytest.raises(isc.ConversationError, match="tools: cannot be sorted by key"):
        renderer_of(INSTRUCT).render([user("u")], [schema])


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="variant"):
        msgspec.convert({"family": "kimi-k2", "variant": "instruct_2024"}, KimiK2)


def test_the_models_that_are_known() -> None:
    models = ("Kimi-K2-Instruct", "Kimi-K2-Instruct-0905", "Kimi-K2-Thinking")
    assert [isc.family_for(f"moonshotai/{name}") for name in models] == [INSTRUCT, INSTRUCT, THINKING]
