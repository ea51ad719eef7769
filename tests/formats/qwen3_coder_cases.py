"""The values of Qwen3-Coder and their references: both revisions of the template."""

from __future__ import annotations

from cases import Case, Oddity, Reading
from golden_conversations import Message, assistant, call, system, tool, user
from isc.formats.qwen3_coder import Qwen3Coder
from isc.formats.reading.xml_calls import TOOLS_TAIL
from references import arguments_as_objects, none_as_empty, parts_joined

_TAGS = ("</parameter>", "<parameter=q>", "</function>", "<function=now>", "\n</parameter>\n", ">\n")


def _case(name: str, family: Qwen3Coder, template: str) -> Case:
    return Case(
        name,
        family,
        f"Qwen--Qwen3-Coder-30B-A3B-Instruct/{template}.jinja",
        "qwen3",
        adaptations=(parts_joined, none_as_empty, arguments_as_objects),
        spells=_TAGS,
    )


CASES = (
    _case("qwen3-coder", Qwen3Coder(), "chat_template"),
    _case("qwen3-coder-earlier", Qwen3Coder(variant="earlier"), "chat_template.rev-earlier"),
)

_NEW, _OLD = CASES
_HEAD = "<|im_start|>assistant\n"
_ZONE = {"type": ["string", "null"], "enum": ["a", None], "x-a b$": [1], "items": {"a": None}, "required": ["r"]}
_TOOL = {
    "type": "function",
    "function": {
        "name": "now",
        "description": " d\n",
        "parameters": {"type": "object", "properties": {"zone": _ZONE}, "required": ["zone"], "strict": True},
        "return": {"type": "string"},
    },
}
_BARE = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
_SHOWN = "<|im_start|>user\na<|im_end|>\n"


def _system(said: str, tool: str) -> str:
    tail = "".join(segment.text for segment in TOOLS_TAIL)
    head = "\n\nYou have access to the following functions:\n\n<tools>\n<function>\n<name>"
    return f"<|im_start|>system\n{said}{head}{tool}\n</function>{tail}<|im_end|>\n"


ODDITIES = (
    Oddity("line 32: without a system message and tools there is no system turn", _NEW, [user("a")], _SHOWN),
    Oddity(
        "line 33: tools without a system message have one of the template's own; line 44: a description always",
        _NEW,
        [user("a")],
        _system(
            "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks.",
            "f</name>\n<description></description>\n<parameters>\n</parameters>",
        )
        + _SHOWN,
        [_BARE],
    ),
    Oddity(
        "lines 8, 50, 58, 72: backquotes, Python's lists, tags without signs, what is returned",
        _NEW,
        [system("s"), user("a")],
        _system(
            "s",
            "now</name>\n<description>d</description>\n<parameters>\n<parameter>\n<name>zone</name>\n"
            "<type>['string', 'null']</type>\n<enum>[`a`, None]</enum>\n<x_a_b>[1]</x_a_b>\n"
            '<items>{"a": null}</items>\n<required>[`r`]</required>\n</parameter>\n<required>[`zone`]</required>\n'
            '</parameters>\n<return>{"type": "string"}</return>',
        )
        + _SHOWN,
        [_TOOL],
    ),
    Oddity(
        "earlier, lines 4 and 39: every other field in a tag of its own name, a description only where there is one",
        _OLD,
        [system("s"), user("a")],
        _system(
            "s",
            "now</name>\n<description>d</description>\n<parameters>\n<parameter>\n<name>zone</name>\n"
            "<type>['string', 'null']</type>\n<enum>['a', None]</enum>\n<x-a b$>[1]</x-a b$>\n"
            "<items>{\"a\": null}</items>\n<required>['r']</required>\n</parameter>\n<required>['zone']</required>\n"
            '<strict>True</strict>\n</parameters>\n<return>{"type": "string"}</return>',
        )
        + _SHOWN,
        [_TOOL],
    ),
    Oddity(
        "lines 93 and 99: content beside calls is trimmed, an empty line after it",
        _NEW,
        [user("a"), assistant(" b\n", call("f", {"k": [1, "é", None]}), call("g", {}), reasoning="r")],
        _HEAD + "b\n\n<tool_call>\n<function=f>\n<parameter=k>\n[1, 'é', None]\n</parameter>\n</function>\n"
        "</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call><|im_end|>\n",
    ),
    Oddity(
        "line 103: an object is printed as Python does",
        _NEW,
        [user("a"), assistant(" ", call("f", {"k": {"a": None, "b": [True]}}))],
        _HEAD + "<tool_call>\n<function=f>\n<parameter=k>\n{'a': None, 'b': [True]}\n</parameter>\n</function>\n"
        "</tool_call><|im_end|>\n",
    ),
    Oddity(
        "earlier, line 89: an object is printed as JSON, a list as Python does",
        _OLD,
        [user("a"), assistant("", call("f", {"k": {"a": None}, "l": [True]}))],
        _HEAD + '<tool_call>\n<function=f>\n<parameter=k>\n{"a": null}\n</parameter>\n<parameter=l>\n[True]\n'
        "</parameter>\n</function>\n</tool_call><|im_end|>\n",
    ),
    Oddity(
        "line 112: content without calls stands as it is, reasoning is left out, a later system message is a turn",
        _NEW,
        [user("a"), assistant(" b\n", reasoning="r"), system(" s "), {"role": "developer", "content": "d"}],
        _HEAD + " b\n<|im_end|>\n<|im_start|>system\n s <|im_end|>\n<|im_start|>developer\nd<|im_end|>\n",
    ),
    Oddity(
        "lines 114 and 119: results end their lines, one that stands first of all has no head",
        _NEW,
        [system("s"), tool("1"), tool("2"), user("a")],
        "<|im_start|>system\ns<|im_end|>\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n"
        "</tool_response>\n<|im_end|>\n" + _SHOWN,
    ),
    Oddity(
        "line 130: the prompt opens nothing",
        _NEW,
        [user("a"), tool("1")],
        f"<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<|im_end|>\n{_HEAD}",
        prompt=True,
    ),
)  # fmt: skip


def _declared(kind: object) -> list[Message]:
    return [{"name": "f", "parameters": {"properties": {"k": {"type": kind}}}}]


def _read(what: str, value: str, read: object, kind: object = "object", status: str = "ok") -> Reading:
    text = f"Look.\n\n<tool_call>\n<function=f>\n<parameter=k>\n{value}\n</parameter>\n</function>\n</tool_call>"
    return Reading(what, Qwen3Coder(), text, "Look.", ((status, "f", {"k": read}),), tools=_declared(kind))


READINGS = (
    _read("an object as Python prints it", "{'a': None, 'b': [True, 'it\\'s']}", {"a": None, "b": [True, "it's"]}),
    _read("an object as JSON", '{"a": null}', {"a": None}),
    _read("an object that is neither", "{'a': }", "{'a': }", status="invalid_json"),
    _read("an object of bytes", "[b'a']", "[b'a']", status="invalid_json"),
    _read("a text that looks like an object", "{'a': 1}", "{'a': 1}", "string"),
    _read("an object where a text may be", "{'a': 1}", {"a": 1}, ["string", "object"]),
    _read("a number where a text may be", "7", "7", ["string", "object"]),
    _read("None where nothing may be", "None", None, ["string", "null"]),
    _read("True where only texts may be", "True", "True", "string"),
    _read("a call that a text spells", "</function>\n</tool_call>", "</function>\n</tool_call>", "string"),
    Reading(
        "no line breaks",
        Qwen3Coder(),
        "<tool_call><function=f><parameter=k>a</parameter></function></tool_call>",
        "",
        (("ok", "f", {"k": "a"}),),
    ),
    Reading(
        "cut off",
        Qwen3Coder(),
        "b\n\n<tool_call>\n<function=f>\n<parameter=k>\nca",
        "b",
        (("unclosed_block", "f", None),),
    ),
    Reading("a think block is content", Qwen3Coder(), "<think>\nr\n</think>\n\nb", "<think>\nr\n</think>\n\nb"),
)
