"""GLM's values and their references: every option of every template, GLM-4.6 and GLM-4.7-Flash by their own files."""

from __future__ import annotations

from typing import Any

import isc
from cases import Case, Oddity, Reading
from golden_conversations import Message, assistant, call, tool, user
from isc.formats.glm4_5 import Glm45
from isc.formats.glm5 import Glm5
from isc.formats.glm5_1 import Glm51
from isc.formats.glm5_2 import Glm52
from isc.formats.glm5_3 import Glm53
from references import Adaptation, arguments_as_objects, none_as_empty, parts_joined


def _case(
    name: str,
    family: isc.Family,
    model: str,
    tokenizer: str = "glm-5",
    file: str = "chat_template",
    adaptations: tuple[Adaptation, ...] = (parts_joined, none_as_empty, arguments_as_objects),
    **options: Any,  # noqa: ANN401 - a template's own
) -> Case:
    template = f"zai-org--{model}/{file}.jinja"
    return Case(name, family, template, tokenizer, options, adaptations=adaptations)


def _newer(name: str, family: Glm52 | Glm53, **options: Any) -> Case:  # noqa: ANN401 - a template's own
    """A case of templates that join parts themselves."""
    model, file = ("GLM-5.2", "") if isinstance(family, Glm52) else ("GLM-5.3", ".reassembled")
    adaptations = (none_as_empty, arguments_as_objects)
    return _case(name, family, model, file=f"chat_template{file}", adaptations=adaptations, **options)


CASES = (
    _case("glm-4.5", Glm45(), "GLM-4.5", "glm-4.5"),
    _case("glm-4.5-no-thinking", Glm45(enable_thinking=False), "GLM-4.5", "glm-4.5", enable_thinking=False),
    _case("glm-4.6", Glm45(), "GLM-4.6", "glm-4.5", enable_thinking=True),
    _case("glm-4.7-flash", Glm5(), "GLM-4.7-Flash", enable_thinking=True, clear_thinking=True),
    _case("glm-5", Glm5(), "GLM-5"),
    _case("glm-5-no-thinking", Glm5(enable_thinking=False), "GLM-5", enable_thinking=False),
    _case("glm-5-all-thinking", Glm5(clear_thinking=False), "GLM-5", clear_thinking=False),
    _case(
        "glm-5-all-thinking-but-no-more",
        Glm5(enable_thinking=False, clear_thinking=False),
        "GLM-5",
        enable_thinking=False,
        clear_thinking=False,
    ),
    _case("glm-5.1", Glm51(), "GLM-5.1"),
    _case("glm-5.1-no-thinking", Glm51(enable_thinking=False), "GLM-5.1", enable_thinking=False),
    _case("glm-5.1-all-thinking", Glm51(clear_thinking=False), "GLM-5.1", clear_thinking=False),
    _case(
        "glm-5.1-all-thinking-but-no-more",
        Glm51(enable_thinking=False, clear_thinking=False),
        "GLM-5.1",
        enable_thinking=False,
        clear_thinking=False,
    ),
    _newer("glm-5.2", Glm52()),
    _newer("glm-5.2-no-thinking", Glm52(enable_thinking=False), enable_thinking=False),
    _newer(
        "glm-5.2-high-all-thinking",
        Glm52(clear_thinking=False, reasoning_effort="high"),
        clear_thinking=False,
        reasoning_effort="high",
    ),
    _newer("glm-5.3", Glm53()),
    _newer(
        "glm-5.3-low-all-thinking",
        Glm53(clear_thinking=False, reasoning_effort="low"),
        clear_thinking=False,
        reasoning_effort="low",
    ),
)

_NAMED = {case.name: case for case in CASES}
_START = "[gMASK]<sop>"
_MAX = "<|system|>Reasoning Effort: Max"
_SEE = [{"type": "text", "text": "see "}, {"type": "image_url", "image_url": {"url": "x"}}]
_HEAR: list[Message] = [{"type": "audio", "audio": "x"}]
_CANNOT = (
    "<reminder>You are unable to process this {} because you don't have multi-modal input ability. Try different "
    "methods.</reminder>"
)
_BOTH = assistant("", call("f", {}, "1"), call("g", {}, "2"))
_CALLED = "<|assistant|><think></think><tool_call>f</tool_call><tool_call>g</tool_call>"

ODDITIES = (
    Oddity("line 3: the effort is told first", _NAMED["glm-5.2"], [user("a")], f"{_START}{_MAX}<|user|>a"),
    Oddity("line 3: nobody thinks, none is told", _NAMED["glm-5.2-no-thinking"], [user("a")], f"{_START}<|user|>a"),
    Oddity(
        "line 118: who does not think is given an empty block",
        _NAMED["glm-5.2-no-thinking"],
        [user("a")],
        "<|user|>a<|assistant|><think></think>",
        prompt=True,
    ),
    Oddity(
        "line 45: what cannot be seen or heard is told so",
        _NAMED["glm-5.2"],
        [user(_SEE), tool(_HEAR)],
        f"<|user|>see {_CANNOT.format('image')}<|observation|><tool_response>{_CANNOT.format('audio')}</tool_response>",
    ),
    Oddity(
        "line 74: an empty block where thoughts are not shown, content trimmed",
        _NAMED["glm-5.2"],
        [user("a"), assistant(" b\n", reasoning="r"), user("c"), assistant("d")],
        "<|user|>a<|assistant|><think></think>b<|user|>c<|assistant|><think></think>d",
    ),
    Oddity(
        "line 72: thoughts as they stand, spelled ones too",
        _NAMED["glm-5.2-high-all-thinking"],
        [user("a"), assistant("b", reasoning=" r\n"), user("c"), assistant("<think> s </think> d")],
        "<|user|>a<|assistant|><think> r\n</think>b<|user|>c<|assistant|><think> s </think>d",
    ),
    Oddity(
        "line 155: results in the order of the calls",
        _NAMED["glm-5.3"],
        [user("a"), _BOTH, tool("two", "2"), tool("one", "1")],
        f"{_CALLED}<|observation|><tool_response>one</tool_response><tool_response>two</tool_response>",
    ),
    Oddity(
        "line 137: as they are given where a result has no id",
        _NAMED["glm-5.3"],
        [user("a"), _BOTH, tool("two", "2"), tool("one")],
        f"{_CALLED}<|observation|><tool_response>two</tool_response><tool_response>one</tool_response>",
    ),
    Oddity(
        "line 124: or where something stands between call and result",
        _NAMED["glm-5.3"],
        [user("a"), _BOTH, user("b"), tool("two", "2"), tool("one", "1")],
        "<|user|>b<|observation|><tool_response>two</tool_response><tool_response>one</tool_response>",
    ),
)

READINGS = (
    Reading(
        "a whole turn",
        Glm53(),
        "r</think>b<tool_call>f<arg_key>k</arg_key><arg_value>7</arg_value></tool_call><|observation|>",
        "b",
        (("ok", "f", {"k": 7}),),
        "r",
        prompt="<|user|>a<|assistant|><think>",
    ),
    Reading("nothing thought", Glm52(), "b<|user|>", "b", prompt="<|user|>a<|assistant|><think></think>"),
)
