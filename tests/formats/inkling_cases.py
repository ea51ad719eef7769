"""Inkling's values and their reference, a repaired copy of its template; no vocabulary is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cases import Case, Oddity, Reading
from golden_conversations import Message, assistant, call, system, tool, user
from image_files import INKLING
from isc.formats.inkling import Inkling
from references import arguments_as_objects, parts_joined


def results_joined(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parts of a result joined: the template shows results that are texts alone."""
    return parts_joined(message) if message["role"] == "tool" else message


def leaves_no_trace(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first message, or the first that no system says, renders to nothing.

    Traced, the tools are then the system message's, and the effort is the other's, or the last system message's where
    there is no other.
    """
    first = next((message for message in messages if message["role"] != "system"), None)
    return first is None or not messages[0]["content"] or (first["role"] == "user" and not first["content"])


def _case(name: str, family: Inkling, *, images: bool = False, **options: object) -> Case:
    return Case(
        name,
        family,
        "thinkingmachines--Inkling/chat_template.fixed.jinja",
        options=options,
        refuses={"empty_bodies": "messages[2].content"} | ({"images": "messages[2].content[0]"} if images else {}),
        adaptations=(arguments_as_objects, results_joined),
        spells=('{"name":"f","args":{}}', "Thinking effort level: 0", "tool_declare"),
        untraced=leaves_no_trace,
        images=images,
        image_settings=INKLING,
        template_takes={"image_roles": ("user",)} if images else {},  # what tools and others show is refused
        writes=("{}",),
    )


CASES = (
    _case("inkling", Inkling()),
    _case("inkling-named-effort", Inkling("low"), reasoning_effort="low"),
    _case("inkling-no-effort", Inkling(0.0), reasoning_effort=0.0),
    _case("inkling-images", Inkling(), images=True),
)

_DEFAULT, _LOW, _NONE, _ = CASES
_END, _STOP = "<|end_message|>", "<|content_model_end_sampling|>"
_MODEL = "<|message_model|>"
_TOOLS: list[Message] = [
    {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"b": 1, "a": {}}}}
]


def _text(speaker: str, text: str) -> str:
    return f"<|message_{speaker}|><|content_text|>{text}{_END}"


def _thought(text: str) -> str:
    return f"{_MODEL}<|content_thinking|>{text}{_END}"


def _called(name: str, text: str) -> str:
    return f"{_MODEL}{name}<|content_invoke_tool_json|>{text}{_END}"


def _effort(share: str) -> str:
    return _text("system", f"Thinking effort level: {share}")


ODDITIES = (
    Oddity(
        "line 45: the effort stands before the first message that is no system message",
        _DEFAULT,
        [system("s"), system("t"), user("a")],
        _text("system", "s") + _text("system", "t") + _effort("0.9") + _text("user", "a"),
    ),
    Oddity(
        "line 128: or at the end",
        _LOW,
        [system("s")],
        f"{_text('system', 's')}{_effort('0.2')}{_MODEL}",
        prompt=True,
    ),
    Oddity("line 19: no effort is an integer", _NONE, [user("a")], _effort("0") + _text("user", "a")),
    Oddity(
        "line 35: tools stand before all, sorted and compact, with what they lack and without other keys",
        _LOW,
        [system("s")],
        '<|message_system|>tool_declare<|content_xml|>[{"description":"","name":"f","parameters":{"a":{},"b":1},'
        f'"type":"function"}}]{_END}{_text("system", "s")}{_effort("0.2")}',
        _TOOLS,
    ),
    Oddity(
        "line 81: each part is a message, an empty one too",
        _DEFAULT,
        [user([{"type": "text", "text": "a"}, {"type": "text", "text": ""}])],
        _effort("0.9") + _text("user", "a") + _text("user", ""),
    ),
    Oddity("line 78: a message without content is none", _DEFAULT, [user("a"), user(""), user("b")],
           _text("user", "a") + _text("user", "b")),
    Oddity(
        "lines 74 and 122: a turn is several messages, its calls sorted and compact, and is closed once",
        _DEFAULT,
        [user("a"), assistant("b", call("f", {"y": 1, "x": [1.5, "é"]}), call("g", {}), reasoning=" r\n")],
        _text("user", "a")
        + _thought(" r\n")
        + _text("model", "b")
        + _called("f", '{"name":"f","args":{"x":[1.5,"é"],"y":1}}')
        + _called("g", '{"name":"g","args":{}}')
        + _STOP,
    ),
    Oddity(
        "line 53: a result is headed by its own name, or that of the call with its id, or by none",
        _DEFAULT,
        [
            assistant("", call("f", {}, "1"), call("g", {}, "2")),
            tool("x", "2"),
            tool("y", "1", "h"),
            tool(None),
        ],
        f"<|message_tool|>g<|content_text|>x{_END}<|message_tool|>h<|content_text|>y{_END}{_text('tool', '')}",
    ),
    Oddity("line 131: the model goes on with a kind of content", _DEFAULT, [user("a")], _text("user", "a") + _MODEL,
           prompt=True),
)  # fmt: skip


def _reading(what: str, text: str, content: str, *calls: Any, **said: Any) -> Reading:  # noqa: ANN401 - see Reading
    return Reading(what, Inkling(), text, content, calls, prompt=_effort("0.9") + _MODEL, **said)


_TURN = _thought(" r\n") + _text("model", "b\n") + _called("f", '{"name":"f","args":{"k":[1]}}')
_OF_F = ("ok", "f", {"k": [1]})

READINGS = (
    _reading("a whole turn, nothing trimmed", _TURN.removeprefix(_MODEL) + _STOP, "b\n", _OF_F, reasoning=" r\n"),
    _reading("the model says once more who speaks", _TURN + _STOP, "b\n", _OF_F, reasoning=" r\n"),
    _reading("a text without a kind", "b", "b"),
    _reading("a thought cut off", "<|content_thinking|>r", "", reasoning="r", complete=False),
    _reading("a thought that the next message ends", f"<|content_thinking|>r{_text('model', 'b')}", "b", reasoning="r"),
    _reading("two thoughts", _thought("r") + _text("model", "b") + _thought("q") + _text("model", "c"), "bc",
             reasoning="r\nq"),
    _reading("what others are made to say", _text("model", "b") + _text("user", "c") + _text("model", "d"), "bd"),
    _reading("a call without an addressee", _called("", '{"name":"f","args":{"k":[1]}}'), "", _OF_F),
    _reading("a call to another", _called("g", '{"name":"f","args":{}}'), "", ("malformed_structure", "f", {})),
    _reading("a call that names nobody", _called("", '{"args":{}}'), "", ("missing_name", None, {})),
    _reading("a call named by its addressee alone", _called("f", '{"args":{}}'), "", ("missing_name", "f", {})),
    _reading("a call that says its name twice", _called("f", '{"name":"f","name":"g","args":{}}'), "",
             ("malformed_structure", "f", None)),
    _reading("a call without arguments", _called("f", '{"name":"f"}'), "", ("malformed_structure", "f", None)),
    _reading("a call that is no JSON", _called("f", '{"name":"f"'), "", ("invalid_json", "f", None)),
    _reading("a call without its end", _called("f", '{"name":"f","args":{}}').removesuffix(_END), "",
             ("unclosed_block", "f", {})),
    _reading("a call cut off", "f<|content_invoke_tool_json|>{", "", ("unclosed_block", "f", None)),
    _reading(
        "marks in a string of a call",
        _called("f", f'{{"name":"f","args":{{"k":"{_END}{_MODEL}"}}}}') + _text("model", "b"),
        "b",
        ("ok", "f", {"k": _END + _MODEL}),
    ),
    _reading("a call of a tool that is not offered", _called("g", '{"name":"g","args":{}}'), "",
             ("unknown_tool", "g", {}), tools=_TOOLS),
)  # fmt: skip
