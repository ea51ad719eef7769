"""Kimi K3 literally: the worked examples of FORMAT.md, its rules, what is refused, readings, bridges, the port."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import isc
from format_encoders import kimi_k3
from golden_conversations import Message, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.kimi_k3 import KimiK3
from isc.testing import Conversation
from ports import TOOL, family_text, port_text, written
from spelled_ids import ids_of

BARE, FAST = KimiK3(thinking_effort=None), KimiK3(thinking=False)
HEAD = '<|open|>message role="assistant"<|sep|>'
RESULT = '<|open|>message role="tool" tool="{}" index="{}"<|sep|>'
CLOSE, END = "<|close|>message<|sep|>", "<|end_of_msg|>"
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
ASKED, CALLED = user("weather?"), assistant("", call("get_weather", {"city": "Paris"}, "1"))
WORKED: Mapping[str, tuple[list[Message], list[Message] | None, dict[str, Any]]] = {
    "plain_user_thinking": ([user("Hi")], None, {}),
    "system_user_thinking": ([system("You are helpful"), user("Hi")], None, {}),
    "plain_user_no_thinking": ([user("Hi")], None, {"thinking": False}),
    "assistant_prior_turn": ([user("Hi"), assistant("Hello!"), user("Bye")], None, {}),
    "with_tools": ([user("weather in Paris?")], [WEATHER], {}),
    "assistant_tool_call_then_result": ([ASKED, CALLED, tool("sunny", "1")], [WEATHER], {}),
    "thinking_effort_low": ([user("Hi")], None, {"thinking_effort": "low"}),
}


def test_every_worked_example_comes_out_byte_for_byte(reference: Path) -> None:
    page = (reference / "templates" / "moonshotai--Kimi-K3" / "FORMAT.md").read_text(encoding="utf-8")
    examples = {name: json.loads(text) for name, text in re.findall(r'^- (\w+): `(".*")`$', page, re.MULTILINE)}
    assert examples.keys() == WORKED.keys()
    for name, (messages, tools, options) in WORKED.items():
        family = structs.replace(BARE, **options)
        assert family_text(family, (messages, tools), asks=True) == examples[name], name
        assert kimi_k3(messages, tools, **options) == examples[name], name


def body_of(text: str) -> str:
    return text.removeprefix(HEAD).removesuffix(CLOSE + END)


RULES: dict[str, tuple[list[Message], str]] = {
    "line 9: values of attributes are escaped": (
        [{**user("u"), "name": 'a "b" & c'}],
        f'<|open|>message role="user" name="a &quot;b&quot; &amp; c"<|sep|>u{CLOSE}{END}',
    ),
    "line 13: a system message declares more tools": (
        [{"role": "system", "tools": [{"b": 1, "a": 2}]}],
        '<|open|>message role="system" type="tool-declare"<|sep|>## New Tools Available\nThe system dynamically '
        "extends the toolset via lazy-loading.\nYou have access to all existing and extended tools.\nHere are the "
        f'specs for the extended tools.\n\n```json\n[{{"a":2,"b":1}}]\n```{CLOSE}{END}',
    ),
    "line 18: blank reasoning is none": (
        [assistant("a", reasoning=" \n")],
        f"{HEAD}<|open|>think<|sep|><|close|>think<|sep|><|open|>response<|sep|>a<|close|>response<|sep|>{CLOSE}{END}",
    ),
    "line 23: results stand in the order of their calls": (
        [assistant("", call("f", {}, "1"), call("g", {}, "2")), tool("b", "2"), tool("a", "1")],
        f"{RESULT.format('f', 1)}a{CLOSE}{END}{RESULT.format('g', 2)}b{CLOSE}{END}",
    ),
    "line 23: one that names no call leaves them as they are": (
        [assistant("", call("f", {}, "1"), call("g", {}, "2")), tool("b", "2"), tool("a")],
        f"{RESULT.format('g', 1)}b{CLOSE}{END}{RESULT.format('g', 2)}a{CLOSE}{END}",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rule(name: str) -> None:
    messages, expected = RULES[name]
    assert family_text(BARE, (messages, None), asks=False).endswith(expected)


def test_arguments_say_their_types() -> None:
    """Line 20."""
    given = {"s": "x", "n": 1.5, "b": True, "z": None, "o": {"a": [1, 2]}, "l": [], 'k"': "<|sep|>"}
    text = family_text(FAST, ([assistant("", call("f", given))], None), asks=False)
    kinds = ("string", "number", "boolean", "null", "object", "array", "string")
    values = ("x", "1.5", "true", "null", '{"a": [1, 2]}', "[]", "<|sep|>")
    said = "".join(
        f'<|open|>argument key="{key}" type="{kind}"<|sep|>{value}<|close|>argument<|sep|>'
        for key, kind, value in zip(("s", "n", "b", "z", "o", "l", "k&quot;"), kinds, values, strict=True)
    )
    assert f'<|open|>call tool="f" index="1"<|sep|>{said}<|close|>call<|sep|>' in text


def test_arguments_that_are_no_object_are_one_element() -> None:
    """Line 21."""
    renderer = isc.create_renderer(embedded(FAST.specials), FAST, invalid_arguments="raw")
    text = "".join(s.text for s in renderer.segments([assistant("", call("f", "{oops"))]))
    assert '<|open|>json type="object"<|sep|>{oops<|close|>json<|sep|><|close|>call' in text


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([tool("t")], "messages[0]"),
        ([assistant("", call("f", {})), tool("t"), tool("t")], "messages[2]"),
        ([{"role": "developer", "content": "d"}], "messages[0].role"),
        ([{"role": "user", "content": "", "tools": [TOOL]}], "messages[0].tools"),
        ([{"role": "system", "content": "s", "tools": [TOOL]}], "messages[0].content"),
        ([{"role": "system", "tools": "f"}], "messages[0].tools"),
        ([{"role": "system", "tools": ["f"]}], "messages[0].tools"),
        (
            [{"role": "system", "content": [{"type": "image", "hash": "0a", "width": 1, "height": 1}]}],
            "messages[0].content[0]",
        ),
    ],
)
def test_what_the_encoder_leaves_out_or_cannot_show_is_refused(messages: list[Message], path: str) -> None:
    with pytest.raises(isc.ConversationError) as error:
        family_text(BARE, (messages, None), asks=False)
    assert error.value.path == path


THINK, RESPONSE = "<|open|>think<|sep|>", "<|open|>response<|sep|>"
ENDED = "<|close|>think<|sep|>"
F = '<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|>{}<|close|>call<|sep|><|close|>tools<|sep|>'
X = '<|open|>argument key="x" type="{}"<|sep|>{}<|close|>argument<|sep|>'
SAID = f"{RESPONSE}c<|close|>response<|sep|>"


@pytest.mark.parametrize(
    ("prompt", "text", "thought", "content", "calls"),
    [
        (THINK, f" r\n{ENDED}{SAID}{CLOSE}{END}", " r\n", "c", []),
        (RESPONSE, f"c<|close|>response<|sep|>{CLOSE}{END}", None, "c", []),
        (THINK, "r", "r", "", []),
        (THINK, f"r{ENDED}{RESPONSE}c", "r", "c", []),
        (THINK, f"r{SAID}", "r", "c", []),
        (None, f"r{ENDED}{SAID}", "r", "c", []),
        (None, "c", None, "c", []),
        (THINK, f"{ENDED}{SAID}{F.format('')}{CLOSE}", "", "c", [("ok", "f", {})]),
        (THINK, f"{ENDED}{SAID}{F.format(X.format('string', '1'))}", "", "c", [("ok", "f", {"x": "1"})]),
        (THINK, f"{ENDED}{SAID}{F.format(X.format('number', '1'))}", "", "c", [("ok", "f", {"x": 1})]),
        (THINK, f"{ENDED}{SAID}{F.format(X.format('number', 'a'))}", "", "c", [("invalid_json", "f", {"x": "a"})]),
        (THINK, f"{ENDED}{SAID}{F.format(X.format('number', '1') * 2)}", "", "c", [("malformed_structure", "f", None)]),
        (THINK, f"{ENDED}{SAID}{F.format('what')}", "", "c", [("malformed_structure", "f", None)]),
        (THINK, f"{ENDED}{SAID}{F.format('').replace('tool=', 'x=')}", "", "c", [("missing_name", None, {})]),
        (THINK, f"{ENDED}{SAID}{F.format('')[:-41]}", "", "c", [("unclosed_block", "f", {})]),
        (
            THINK,
            f"{ENDED}{SAID}{F.format(X.format('string', '</think><|end_of_msg|'))}",
            *("", "c", [("ok", "f", {"x": "</think><|end_of_msg|"})]),
        ),
    ],
)
def test_reading(prompt: str | None, text: str, thought: str | None, content: str, calls: list[Any]) -> None:
    renderer = isc.create_renderer(embedded(BARE.specials), BARE)
    before = None if prompt is None else ids_of(renderer, HEAD + prompt)
    parsed = renderer.parse_response(ids_of(renderer, text), None, before)
    assert (parsed.reasoning_content, parsed.content) == (thought, content)
    assert [(one.status, one.name, one.arguments) for one in parsed.tool_calls] == calls
    assert parsed.reasoning_complete == (text != "r")


NEXT = f'<|open|>message role="user"<|sep|>v{CLOSE}{END}{HEAD}{THINK}'


@pytest.mark.parametrize(
    ("completion", "new", "added"),
    [
        (f"r{ENDED}{SAID}{CLOSE}{END}", user("v"), NEXT),
        (f"r{ENDED}{SAID}{CLOSE}", user("v"), END + NEXT),
        ("r", user("v"), f"{ENDED}{RESPONSE}<|close|>response<|sep|>{CLOSE}{END}{NEXT}"),
        (f"r{ENDED}{RESPONSE}c", user("v"), f"<|close|>response<|sep|>{CLOSE}{END}{NEXT}"),
        (
            f"r{ENDED}{SAID}{F.format('')}{CLOSE}{END}",
            tool("t"),
            f'<|open|>message role="tool" tool="f" index="1"<|sep|>t{CLOSE}{END}{HEAD}{THINK}',
        ),
    ],
)
def test_a_bridge(completion: str, new: Message, added: str) -> None:
    renderer = isc.create_renderer(embedded(BARE.specials), BARE)
    prompt, ids = renderer.render_ids([user("u")], None, True), ids_of(renderer, completion)
    bridged = renderer.bridge_to_next_turn(prompt, ids, [new])
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(ids)] == (*prompt, *ids)
    assert renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(ids) :]).decode() == added


def port(reference: Path, family: KimiK3, conversation: Conversation, *, asks: bool) -> str:
    path = reference / "templates" / "moonshotai--Kimi-K3" / "chat_template.llama-cpp.jinja"
    messages, tools = conversation
    objects = [_with_objects(message) for message in messages]  # the template quotes the text
    return port_text(
        path, (objects, tools), asks=asks, thinking=family.thinking, thinking_effort=family.thinking_effort
    )


def _with_objects(message: Message) -> Message:
    calls = [
        {**one, "function": {**one["function"], "arguments": json.loads(one["function"]["arguments"])}}
        if isinstance(one["function"]["arguments"], str)
        else one
        for one in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else message


def test_the_port_sorts_keys_of_tools_without_regard_to_case(reference: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f", "B": 1, "a": 2}}]
    assert '{"B":1,"a":2,"name":"f"}' in family_text(BARE, ([user("u")], tools), asks=False)
    assert '{"a":2,"B":1,"name":"f"}' in port(reference, BARE, ([user("u")], tools), asks=False)


def test_the_port_names_a_result_by_its_place_where_another_names_no_call(reference: Path) -> None:
    messages = [assistant("", call("f", {}, "1"), call("g", {}, "2")), tool("b", "2"), tool("a")]
    assert RESULT.format("g", 1) in family_text(BARE, (messages, None), asks=False)
    assert RESULT.format("f", 1) in port(reference, BARE, (messages, None), asks=False)


def without_differences(conversation: Conversation) -> Conversation:
    """The conversation without ids of results, unless each is of a call of the last turn."""
    messages, tools = conversation
    calls: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            calls = [one["id"] for one in message.get("tool_calls") or ()]
        elif message["role"] == "tool" and message.get("tool_call_id") not in calls:
            return [{k: item for k, item in one.items() if k != "tool_call_id"} for one in messages], tools
    return messages, tools


@pytest.mark.parametrize("family", [KimiK3(), BARE, FAST], ids=["max", "bare", "fast"])
def test_otherwise_the_port_renders_the_same(family: KimiK3, reference: Path) -> None:
    shape = structs.replace(family.shape, reasoning=True)
    for conversation in written(shape, without_differences, 400):
        theirs = port(reference, family, conversation, asks=True)
        assert family_text(family, conversation, asks=True) == theirs
