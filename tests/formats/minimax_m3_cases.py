"""MiniMax-M3's values and their references: each thinking mode; what its template does oddly; no vocabulary is at hand.

The lines are those of `MiniMaxAI--MiniMax-M3/chat_template.jinja`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cases import Case, Oddity, Reading
from golden_conversations import assistant, call, system, tool, user
from image_files import MINIMAX_M3
from isc.formats.minimax_m3 import MiniMaxM3
from references import arguments_as_objects, none_as_empty

_NOBODY = "]~b]developer\nYou are a helpful assistant.[e~[\n"
_MARK = "]<]minimax[>["
_MEDIA = ("]<]image[>[", "]<]start of image[>[", "]<]end of image[>[")
_TAGS = (f"{_MARK}</q>", f"{_MARK}<q>", f'{_MARK}<invoke name="now">', "</invoke>", "</q>", '">', "<item>")


def _is_developed(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a developer speaks first: a trace takes what stands around their words for the opening."""
    return bool(messages[0]["role"] == "developer")


def _case(name: str, family: MiniMaxM3, *, images: bool = False, **options: str) -> Case:
    return Case(
        name,
        family,
        "MiniMaxAI--MiniMax-M3/chat_template.jinja",
        options=options,
        refuses={"system_in_the_middle": "messages[1].role", "tool_first": "messages[0].role"},
        adaptations=(none_as_empty, arguments_as_objects),
        spells=_TAGS,
        unspelled=_MEDIA,  # one without its last bracket, before `[e~[`, is one in the reference
        untraced=_is_developed,
        images=images,
        image_settings=MINIMAX_M3,
    )


CASES = (
    _case("minimax-m3", MiniMaxM3()),
    _case("minimax-m3-enabled", MiniMaxM3(thinking_mode="enabled"), thinking_mode="enabled"),
    _case(
        "minimax-m3-disabled",
        MiniMaxM3("I am <mm:think>.", thinking_mode="disabled"),
        model_identity="I am <mm:think>.",
        thinking_mode="disabled",
    ),
    _case("minimax-m3-images", MiniMaxM3(), images=True),
)
_ADAPTIVE, _ENABLED, _DISABLED, _ = CASES
_EXPLICIT = _case("minimax-m3-adaptive", MiniMaxM3(), thinking_mode="adaptive")


def _marked(text: str) -> str:
    """A text with the mark for each `@`."""
    return text.replace("@", _MARK)


def _called(arguments: str, name: str = "f") -> str:
    return _marked(f'@<tool_call>\n@<invoke name="{name}">{arguments}@</invoke>\n@</tool_call>')


def _told(text: str) -> dict[str, Any]:
    return {"role": "developer", "content": text}


_ASKED = "]~b]user\na[e~[\n"
_CALL = assistant("", call("f", {}))
ODDITIES = (
    Oddity(
        "line 84: thinking is adaptive where nothing says so, and opens nothing",
        _ADAPTIVE,
        [user("a")],
        "Current thinking mode: adaptive. You are encouraged to think for complex decision-making, multi-step "
        "reasoning, or when analyzing function/tool results.\n</thinking_instructions>[e~[\n"
        f"{_NOBODY}{_ASKED}]~b]ai\n",
        prompt=True,
    ),
    Oddity("line 239: nor where it is said", _EXPLICIT, [user("a")], f"{_NOBODY}{_ASKED}]~b]ai\n", prompt=True),
    Oddity(
        "line 77: enabled, a thought is opened",
        _ENABLED,
        [user("a")],
        "Current thinking mode: enabled. You MUST think step by step before every response, including after receiving "
        f"function/tool results.\n</thinking_instructions>[e~[\n{_NOBODY}{_ASKED}"
        "]~b]ai\n<mm:think>",
        prompt=True,
    ),
    Oddity(
        "line 79: disabled, the end of a thought stands first",
        _DISABLED,
        [user("a")],
        "Current thinking mode: disabled. Do not output any thinking process.\n</thinking_instructions>[e~[\n"
        f"]~b]developer\nI am <mm:think>.[e~[\n{_ASKED}]~b]ai\n</mm:think>",
        prompt=True,
    ),
    Oddity(
        "line 89: an empty system message says nothing",
        _ADAPTIVE,
        [system(""), user("a")],
        f"{_NOBODY}{_ASKED}",
    ),
    Oddity(
        "line 110: a developer says what a system message does",
        _ADAPTIVE,
        [_told(" d"), user("a")],
        f"</thinking_instructions>[e~[\n]~b]developer\n d[e~[\n{_ASKED}",
    ),
    Oddity(
        "line 122: the tools stand in the developer turn, without their wrapper",
        _ADAPTIVE,
        [system("s"), user("a")],
        _marked(
            "]~b]developer\ns\n\n# Tools\nYou may call one or more tools to assist with the user query.\nHere are the "
            'tools available in JSONSchema format:\n\n<tools>\n<tool>{"name": "now", "description": "é"}</tool>\n'
            "</tools>\n\nTo call tools, wrap all invocations in a single @<tool_call>@</tool_call> block. Parameter "
            "values containing nested objects or arrays are recursively expanded into XML elements. Example:\n\n"
            '@<tool_call>\n@<invoke name="tool-name-1">@<param-1>value-1@</param-1>@<param-2>@<item>@<key-a>val-a'
            '@</key-a>@<key-b>val-b@</key-b>@</item>@</param-2>@</invoke>\n@<invoke name="tool-name-2">@<param-1>'
            f"value-1@</param-1>@</invoke>\n@</tool_call>[e~[\n{_ASKED}"
        ),
        [{"type": "function", "function": {"name": "now", "description": "é"}}],
    ),
    Oddity(
        "line 164: reasoning is kept as it stands, whatever follows",
        _ADAPTIVE,
        [assistant("\nb ", reasoning=" r\n"), user("a")],
        f"]~b]ai\n<mm:think> r\n</mm:think>\nb [e~[\n{_ASKED}",
    ),
    Oddity(
        "line 167: without it a turn begins with the end of a thought",
        _ENABLED,
        [user("a"), assistant("b", reasoning="")],
        "]~b]ai\n</mm:think>b[e~[\n",
    ),
    Oddity(
        "line 157: inline reasoning is taken out of the content, newlines around both",
        _ADAPTIVE,
        [user("a"), assistant("x<mm:think>\n\nr \n</mm:think>\n\n b\n\n")],
        "]~b]ai\n<mm:think>r </mm:think> b[e~[\n",
    ),
    Oddity(
        "line 153: given reasoning, none even, leaves it in the content",
        _ADAPTIVE,
        [user("a"), assistant("x</mm:think>y\n", reasoning="")],
        "]~b]ai\n</mm:think>x</mm:think>y\n[e~[\n",
    ),
    Oddity(
        "line 23: objects and lists are elements in elements",
        _ADAPTIVE,
        [user("a"), assistant("b", call("f", {"k": {"x": [1, {"y": " \n"}], "z": 2.5}}), call("g", {}))],
        _marked(
            ']~b]ai\n</mm:think>b@<tool_call>\n@<invoke name="f">@<k>@<x>@<item>1@</item>@<item>@<y> \n@</y>@</item>'
            '@</x>@<z>2.5@</z>@</k>@</invoke>\n@<invoke name="g">@</invoke>\n@</tool_call>[e~[\n'
        ),
    ),
    Oddity(
        "line 182: null is left out of objects, and of a list its text",
        _ADAPTIVE,
        [user("a"), assistant("", call("f", {"k": None, "l": {"x": None}, "m": [None, True]}))],
        _called("@<l>@</l>@<m>@<item>@</item>@<item>true@</item>@</m>") + "[e~[\n",
    ),
    Oddity(
        "line 34: what is empty looks alike, numbers are Python's",
        _ADAPTIVE,
        [user("a"), assistant("", call("f", {"a": [], "b": {}, "c": "", "d": 1e-7, "e": 1e22, "f": False}))],
        _called("@<a>@</a>@<b>@</b>@<c>@</c>@<d>1e-07@</d>@<e>1e+22@</e>@<f>false@</f>") + "[e~[\n",
    ),
    Oddity(
        "line 205: results in a row share a turn",
        _ADAPTIVE,
        [_CALL, tool("1"), tool(""), user("a"), tool([{"type": "text", "text": "2"}, {"type": "text", "text": " 3"}])],
        f"]~b]tool\n<response>1</response>\n<response></response>[e~[\n{_ASKED}"
        "]~b]tool\n<response>2 3</response>[e~[\n",
    ),
)

_TYPES: dict[str, Any] = {
    "text": {"type": "string"},
    "items": {"type": "array", "items": {"type": "string"}},
    "holder": {"type": "object", "properties": {"item": {"type": "integer"}, "maybe": {"type": ["integer", "null"]}}},
    "either": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "object"}}]},
    "count": {"type": "integer"},
}
_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": _TYPES}}}]


def _reading(
    what: str, text: str, *calls: tuple[str, str | None, dict[str, Any] | None], content: str = "", typed: bool = True
) -> Reading:
    return Reading(what, _ADAPTIVE.family, _marked(text), _marked(content), calls, tools=_TOOLS if typed else None)


READINGS = (
    _reading(
        "by the schema: a text, items that are texts, an object of one item, null",
        _called(
            "@<text>7@</text>@<items>@<item>7@</item>@<item>@</item>@</items>@<holder>@<item>7@</item>@<maybe>@</maybe>"
            "@</holder>"
        ),
        ("ok", "f", {"text": "7", "items": ["7", ""], "holder": {"item": 7, "maybe": None}}),
    ),
    _reading(
        "by the schema: what is empty",
        _called("@<text>@</text>@<items>@</items>@<holder>@</holder>@<either>@<item>\n@</item>@</either>"),
        ("ok", "f", {"text": "", "items": [], "holder": {}, "either": [{}]}),
    ),
    _reading(
        "without a schema",
        _called(
            "@<text>7@</text>@<items>@</items>@<holder>@<item>7@</item>@</holder>@<deep>@<a>@<b>x@</b>@</a>@</deep>"
        ),
        ("ok", "f", {"text": 7, "items": "", "holder": [7], "deep": {"a": {"b": "x"}}}),
        typed=False,
    ),
    _reading(
        "a text where a number should be", _called("@<count>seven@</count>"), ("invalid_json", "f", {"count": "seven"})
    ),
    _reading(
        "JSON where elements should be",
        _called('@<items>["a"]@</items>'),
        ("ok", "f", {"items": ["a"]}),
    ),
    _reading(
        "white space between tags says nothing",
        '@<tool_call>@<invoke name="f">\n  @<holder>\n    @<item>1@</item>\n  @</holder>\n@</invoke>@</tool_call>',
        ("ok", "f", {"holder": {"item": 1}}),
    ),
    _reading(
        "calls in a text are text of it",
        _called("@<text>say @" + _called("@<x>1@</x>") + ".@</text>"),
        ("ok", "f", {"text": _marked("say @" + _called("@<x>1@</x>") + ".")}),
    ),
    _reading(
        "a key of a mark's name",
        _called("@<tool_call>1@</tool_call>@<invoke>2@</invoke>"),
        ("ok", "f", {"tool_call": 1, "invoke": 2}),
        typed=False,
    ),
    _reading("text beside elements", _called("@<k>x@<y>1@</y>@</k>"), ("malformed_structure", "f", None), typed=False),
    _reading("elements of one key twice", _called("@<k>1@</k>@<k>2@</k>"), ("malformed_structure", "f", None)),
    _reading("an argument without its mark", _called("<k>1</k>"), ("malformed_structure", "f", None)),
    _reading(
        "an element without its end", _called("@<text>Dallas@<count>1@</count>"), ("malformed_structure", "f", None)
    ),
    _reading("an end of another", _called("@<text>Dallas@</txt>@</text>"), ("malformed_structure", "f", None)),
    _reading("no name", _called("@<count>1@</count>", ""), ("missing_name", None, {"count": 1})),
    _reading("no tool of this name", _called("", "g"), ("unknown_tool", "g", {})),
    _reading("no call in a block", "@<tool_call>now()@</tool_call>", ("malformed_structure", None, None)),
    _reading(
        "text beside a call",
        '@<tool_call>\nfirst @<invoke name="f">@</invoke>\n@<invoke name="f">@</invoke>\n@</tool_call>',
        ("malformed_structure", "f", None),
        ("ok", "f", {}),
    ),
    _reading("a call cut off", '@<tool_call>\n@<invoke name="f">@<text>x', ("unclosed_block", "f", None)),
    _reading("a block cut off", '@<tool_call>\n@<invoke name="f">@</invoke>\n', ("unclosed_block", "f", {})),
    _reading(
        "a call cut off before another",
        '@<tool_call>\n@<invoke name="f">@<text>x' + _called("@<count>1@</count>"),
        ("unclosed_block", "f", None),
        ("ok", "f", {"count": 1}),
    ),
    _reading(
        "a call without its opener",
        'So:\n@<invoke name="f">@<count>1@</count>@</invoke>\n@</tool_call>',
        ("ok", "f", {"count": 1}),
        content="So:\n",
    ),
    _reading(
        "one without its closer too is text", '@<invoke name="f">@</invoke>', content='@<invoke name="f">@</invoke>'
    ),
    _reading(
        "what is said around calls",
        "a\n" + _called("") + "\nb" + _called("") + " ",
        ("ok", "f", {}),
        ("ok", "f", {}),
        content="a\n\nb",
    ),
    Reading(
        "a thought, a draft in it",
        _ENABLED.family,
        f"Hm {_called('')} no.</mm:think>\nb",
        "\nb",
        reasoning=f"Hm {_called('')} no.",
        prompt="]~b]ai\n<mm:think>",
    ),
    Reading(
        "a call ends a thought that nothing else ends",
        _ENABLED.family,
        f"Hm.{_called('')}",
        "",
        (("ok", "f", {}),),
        "Hm.",
        prompt="]~b]ai\n<mm:think>",
    ),
    Reading("no thought", _ADAPTIVE.family, "</mm:think> b[e~[", " b"),
    Reading("a thought cut off", _ADAPTIVE.family, "<mm:think>Hm", "", reasoning="Hm", complete=False),
)
