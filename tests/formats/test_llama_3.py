"""Llama's oddities, literally, each with its line of `meta-llama--Llama-3.1-8B-Instruct/chat_template.jinja`."""

from __future__ import annotations

import pickle
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.formats.llama_3 import Llama3
from isc.testing import Shape, Writer
from isc.traced.template import TracedTemplate
from references import TemplateReference, parts_joined_but_in_results
from small_renders import renderer_of, text_of

BOS = "<|begin_of_text|>"
NOW: Message = {"type": "function", "function": {"name": "now", "description": "é"}}
PRINTED = (
    '{\n    "type": "function",\n    "function": {\n        "name": "now",\n        "description": "é"\n    }\n}\n\n'
)
DAY = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
FORMAT = (
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    "Do not use variables.\n\n"
)
SYSTEM_TOOLS = (
    "You have access to the following functions. To call a function, please respond with JSON for a function call."
)
USER_TOOLS = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    "answers the given prompt.\n\n"
)


def turn(role: str, text: str, close: str = "<|eot_id|>") -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}{close}"


Oddity = tuple[dict[str, Any], list[Message], list[Message] | None, str]
ODDITIES: dict[str, Oddity] = {
    "line 24: there is always a system turn": ({}, [user("a")], None, BOS + turn("system", DAY) + turn("user", "a")),
    "line 17: what the system says comes after the day, trimmed": (
        {},
        [system(" s\n"), user("a")],
        None,
        BOS + turn("system", DAY + "s") + turn("user", "a"),
    ),
    "line 32: the day is the caller's, even none": (
        {"date_string": ""},
        [user("a")],
        None,
        turn("system", DAY.replace("26 Jul 2024", "")) + turn("user", "a"),
    ),
    "line 34: tools in the system turn": (
        {"tools_in_user_message": False},
        [system("s"), user("a")],
        [NOW, NOW],
        turn("system", f"Environment: ipython\n{DAY}{SYSTEM_TOOLS}{FORMAT}{PRINTED}{PRINTED}s") + turn("user", "a"),
    ),
    "line 63: tools in the first user message": (
        {},
        [system("s"), user(" a"), user("b")],
        [NOW, NOW],
        turn("system", f"Environment: ipython\n{DAY}s")
        + turn("user", f"{USER_TOOLS}{FORMAT}{PRINTED}{PRINTED}a")
        + turn("user", "b"),
    ),
    "line 63: tools in a user message that says nothing": (
        {},
        [user("\n")],
        [NOW],
        turn("system", f"Environment: ipython\n{DAY}") + turn("user", f"{USER_TOOLS}{FORMAT}{PRINTED}"),
    ),
    "line 3: custom tools take the place of tools": (
        {"custom_tools": [{"name": "f"}]},
        [user("a")],
        [NOW],
        turn("user", f'{USER_TOOLS}{FORMAT}{{\n    "name": "f"\n}}\n\na'),
    ),
    "line 46: custom tools that are none are told all the same": (
        {"custom_tools": []},
        [user("a")],
        [NOW],
        turn("system", f"Environment: ipython\n{DAY}") + turn("user", f"{USER_TOOLS}{FORMAT}a"),
    ),
    "line 29: the code interpreter is not listed": (
        {"builtin_tools": ["brave_search", "code_interpreter", "wolfram_alpha"]},
        [user("a")],
        None,
        turn("system", f"Environment: ipython\nTools: brave_search, wolfram_alpha\n\n{DAY}") + turn("user", "a"),
    ),
    "line 68: any other role has its turn, wherever it stands": (
        {},
        [user("a"), {"role": "developer", "content": " d "}, system("s"), assistant("\nb ")],
        None,
        turn("user", "a") + turn("developer", "d") + turn("system", "s") + turn("assistant", "b"),
    ),
    "line 86: a call is JSON but for its name": (
        {},
        [user("a"), assistant(" \n", call("f", {"k": ["é", 1.0, None]}))],
        None,
        turn("assistant", '{"name": "f", "parameters": {"k": ["é", 1.0, null]}}'),
    ),
    "line 76: a call of a built-in tool quotes nothing": (
        {"builtin_tools": ["f"]},
        [user("a"), assistant("", call("f", {"k": 'x"y', "l": "2"})), assistant("", call("f", {}))],
        None,
        turn("assistant", '<|python_tag|>f.call(k="x"y", l="2")', "<|eom_id|>")
        + turn("assistant", "<|python_tag|>f.call()", "<|eom_id|>"),
    ),
    "line 93: where there are built-in tools, none even, every call ends a message and no turn": (
        {"builtin_tools": []},
        [user("a"), assistant("", call("f", {})), tool("1"), assistant("b")],
        None,
        turn("assistant", '{"name": "f", "parameters": {}}', "<|eom_id|>")
        + turn("ipython", '"1"')
        + turn("assistant", "b"),
    ),
    "line 100: a text is iterable, so a result is quoted, and is not trimmed": (
        {},
        [user("a"), tool(' "é"\n'), tool("")],
        None,
        turn("ipython", '" \\"é\\"\\n"') + turn("ipython", '""'),
    ),
    "line 100: a list of parts is printed whole": (
        {},
        [user("a"), {"role": "tool", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": ""}]}],
        None,
        turn("ipython", '[{"type": "text", "text": "x"}, {"type": "text", "text": ""}]'),
    ),
}


def family(options: dict[str, Any], variant: str = "3.1") -> Llama3:
    return msgspec.convert({"family": "llama-3", "variant": variant, **options}, Llama3)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(oddity: str) -> None:
    options, messages, tools, expected = ODDITIES[oddity]
    assert text_of(family(options), messages, tools).endswith(expected)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity_is_the_template_s(oddity: str, reference: Path) -> None:
    options, messages, tools, _ = ODDITIES[oddity]
    path = reference / "templates" / "meta-llama--Llama-3.1-8B-Instruct" / "chat_template.jinja"
    template = TemplateReference(path, None, (parts_joined_but_in_results,), bos_token=BOS, **options)
    theirs = template.text((messages, tools), add_generation_prompt=True)
    assert text_of(family(options), messages, tools, prompt=True) == theirs


def test_the_3_2_models_name_the_present_day_unless_told() -> None:
    days = [datetime.now().astimezone() + timedelta(days=days) for days in (-1, 0, 1)]  # it may be midnight just now
    told = {text_of(Llama3("3.2", f"{day:%d %b %Y}"), [user("a")]) for day in days}
    assert text_of(Llama3("3.2"), [user("a")]) in told
    assert text_of(Llama3("3.2", "26 Jul 2024"), [user("a")]) == text_of(Llama3(), [user("a")])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"variant": "3.2", "builtin_tools": ()}, "no builtin_tools"),
        ({"custom_tools": ({"description": "x"},)}, r"custom_tools\[0\] must be a tool with a name"),
        (
            {"custom_tools": ({"name": "f"}, {"function": {"name": ""}})},
            r"custom_tools\[1\] must be a tool with a name",
        ),
        ({"custom_tools": ("f",)}, r"custom_tools\[0\]='f' must be a mapping"),
        ({"custom_tools": ({"name": "f", "x": float("nan")},)}, r"custom_tools\[0\].x"),
    ],
)
def test_options_that_no_template_takes(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(isc.OptionError, match=problem):
        Llama3(**options)


def test_a_value_with_tools_is_a_value_like_any_other() -> None:
    found = Llama3(custom_tools=(NOW,), builtin_tools=("f",))
    assert hash(found) == hash(pickle.loads(pickle.dumps(found)))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Llama3) == found
    assert hash(found) != hash(Llama3())


def test_an_option_that_is_not_set_is_not_given_to_the_template() -> None:
    assert Llama3(date_string="").template_arguments() == {
        "variant": "3.1",
        "date_string": "",
        "tools_in_user_message": True,
    }


IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
CALL = call("f", {"k": 1})
REFUSED: dict[str, tuple[dict[str, Any], list[Message], list[Message] | None, str]] = {
    "line 71: two calls": ({}, [user("a"), assistant("", CALL, CALL)], None, "messages[1].tool_calls"),
    "line 69: content that would be dropped": ({}, [user("a"), assistant("b", CALL)], None, "messages[1].content"),
    "line 52: no message for the tools": ({}, [system("a")], [NOW], "messages"),
    "line 49: an answer that would be the user's": ({}, [assistant("a"), user("b")], [NOW], "messages[0].role"),
    "line 49: a later system message likewise": ({}, [system("a"), system("b")], [NOW], "messages[1].role"),
    "line 49: a result likewise": ({"custom_tools": []}, [tool("a"), user("b")], None, "messages[0].role"),
    "line 78: a number for a built-in tool": (
        {"builtin_tools": ["f"]},
        [user("a"), assistant("", CALL)],
        None,
        "messages[1].tool_calls[0].function.arguments.k",
    ),
    "an image": ({}, [user([IMAGE])], None, "messages[0].content[0]"),
    "an image from a tool": ({}, [user("a"), {"role": "tool", "content": [IMAGE]}], None, "messages[1].content[0]"),
}


@pytest.mark.parametrize("input_", REFUSED)
def test_refused_with_the_place(input_: str) -> None:
    options, messages, tools, path = REFUSED[input_]
    with pytest.raises(isc.ConversationError) as error:
        renderer_of(family(options)).render(messages, tools)
    assert error.value.path == path


@pytest.mark.parametrize("options", [{}, {"custom_tools": [NOW]}])
@pytest.mark.parametrize("first", [[], [system("s")]])
def test_tools_in_a_user_s_turn_are_that_message_s(options: dict[str, Any], first: list[Message]) -> None:
    tools = None if options else [NOW]
    segments = list(renderer_of(family(options)).segments([*first, user(" a")], tools))
    asked = [segment for segment in segments if segment.message == len(first)]
    assert "".join(segment.text for segment in asked) == turn("user", f"{USER_TOOLS}{FORMAT}{PRINTED}a")
    assert [segment.text for segment in asked if segment.body] == ["a"]
    assert all('"now"' not in segment.text for segment in segments if segment not in asked)


def test_a_result_is_body_with_its_quotes_where_it_says_something() -> None:
    segments = list(renderer_of(Llama3()).segments([user("a"), tool("x"), tool("")]))
    assert [s.text for s in segments if s.body and s.message] == ['"x"']


def test_calls_of_built_in_tools_are_attributed_as_the_traced_template_s(reference: Path) -> None:
    path = reference / "templates" / "meta-llama--Llama-3.1-8B-Instruct" / "chat_template.jinja"
    by_hand = renderer_of(Llama3(builtin_tools=("f",)))
    template = TracedTemplate(
        path.read_text(encoding="utf-8"),
        bos_token=BOS,
        specials=Llama3.specials,
        stop_tokens=Llama3.stop_tokens,
        builtin_tools=["f"],
    )
    traced = isc.create_renderer(by_hand.encoder, template)
    for arguments in ({"k": "x"}, {"k": "<|eom_id|>", "l": '", k="'}):
        conversation = [user("a"), assistant("", call("f", arguments)), tool("1"), assistant("b")]
        assert by_hand.render(conversation, None, True) == traced.render(conversation, None, True)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", Llama3()),
        ("meta-llama/Meta-Llama-3.1-405B-Instruct-FP8", Llama3()),
        ("meta-llama/Llama-3.2-3B-Instruct", Llama3("3.2")),
    ],
)
def test_models_are_known_by_name(model: str, value: Llama3) -> None:
    assert isc.family_for(model) == value


def test_the_kit_finds_what_the_format_takes() -> None:
    shape = isc.testing.shape_of(Llama3(date_string="x"))
    assert (shape.user_first, shape.most_calls, shape.calls_alone, shape.results_follow_calls) == (True, 1, True, False)
    assert not isc.testing.shape_of(Llama3(tools_in_user_message=False)).user_first
    for seed in range(100):
        assert text_of(Llama3(), *Writer(random.Random(seed), shape).conversation())


def test_random_built_in_calls_are_read_back() -> None:
    renderer = renderer_of(Llama3(builtin_tools=("f",)))
    for seed in range(300):
        writer = Writer(random.Random(seed), Shape(specials=(*Llama3.specials, '"', ", ", "=", '.call("', ")")))
        keys = (writer.text(2).replace('"', "") for _ in range(3))
        arguments = {key: writer.text(3) for key in keys}
        full = renderer.render([user("a"), assistant("", call("f", arguments))])
        completion = full.token_ids[len(renderer.render([user("a")], None, True)) :]
        (found,) = renderer.parse_response(completion).tool_calls
        assert (found.status, found.name) == ("ok", "f")
        if not any('", ' in value for value in arguments.values()):
            assert found.arguments == arguments
