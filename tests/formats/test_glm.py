"""GLM's oddities, literally, each with the line of its `zai-org--*/chat_template.jinja` it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.catalogue import family_name
from isc.formats.glm4_5 import Glm45
from isc.formats.glm5 import Glm5
from isc.formats.glm5_1 import Glm51
from references import TemplateReference

FAMILIES: tuple[isc.Family, ...] = (Glm45(), Glm5(), Glm51())
NOW = {"name": "now", "strict": True, "parameters": {"type": "object"}}
LATER = {"name": "later", "defer_loading": True}
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)


def renderer_of(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(embedded(family.specials), family)


def text_of(
    family: isc.Family, messages: list[Message], tools: list[Message] | None = None, *, prompt: bool = False
) -> str:
    return "".join(segment.text for segment in renderer_of(family).segments(messages, tools, prompt))


ODDITIES: dict[str, tuple[isc.Family, list[Message], str]] = {
    "4.5, line 45: everything said starts a line": (Glm45(), [system("s"), user("u")], "<|system|>\ns<|user|>\nu"),
    "4.5, line 47: without thinking a user message ends with /nothink": (
        Glm45(enable_thinking=False),
        [user("a"), system("s"), user("b/nothink")],
        "<|user|>\na/nothink<|system|>\ns<|user|>\nb/nothink",
    ),
    "4.5, line 56: inline reasoning is taken out of the content": (
        Glm45(),
        [user("a"), assistant("<think>\nr\n</think>\n\nb")],
        "<|assistant|>\n<think>r</think>\nb",
    ),
    "4.5, line 52: given reasoning leaves a spelled think block in the content": (
        Glm45(),
        [user("a"), assistant("x</think>y", reasoning="r")],
        "<|assistant|>\n<think>r</think>\nx</think>y",
    ),
    "4.5, line 63: before the last user message every think block is empty": (
        Glm45(),
        [user("a"), assistant("b", reasoning="r"), user("c"), assistant("d")],
        "<|user|>\na<|assistant|>\n<think></think>\nb<|user|>\nc<|assistant|>\n<think></think>\nd",
    ),
    "4.5, line 65: white space around reasoning and content goes, and content that is nothing else": (
        Glm45(),
        [user(" a "), assistant("\n\u3000b\t", reasoning=" r\n"), assistant(" \n")],
        "<|user|>\n a <|assistant|>\n<think>r</think>\nb<|assistant|>\n<think></think>",
    ),
    "4.5, line 73: a call takes a line a part, and a value that is no string is JSON": (
        Glm45(),
        [user("a"), assistant("", call("f", {"s": "x\ny", "n": 1.5, "o": {"k": [None, "ä"]}}), call("g", {}))],
        "\n<think></think>\n<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>x\ny</arg_value>\n"
        "<arg_key>n</arg_key>\n<arg_value>1.5</arg_value>\n"
        '<arg_key>o</arg_key>\n<arg_value>{"k": [null, "ä"]}</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>',
    ),
    "4.5, line 83: results in a row share an observation turn": (
        Glm45(),
        [tool("1"), tool(""), user("b"), tool("3")],
        "[gMASK]<sop><|observation|>\n<tool_response>\n1\n</tool_response>\n<tool_response>\n\n</tool_response>"
        "<|user|>\nb<|observation|>\n<tool_response>\n3\n</tool_response>",
    ),
    "5, line 55: where no reasoning is shown its close stands alone": (
        Glm5(),
        [user("a"), assistant("b", reasoning="r"), user("c"), assistant("d", reasoning=" r "), assistant("e")],
        "[gMASK]<sop><|user|>a<|assistant|></think>b<|user|>c<|assistant|><think>r</think>d<|assistant|></think>e",
    ),
    "5, line 52: clear_thinking=False shows all reasoning, but none that is empty": (
        Glm5(clear_thinking=False),
        [user("a"), assistant("b", reasoning="r"), user("c"), *(assistant("", reasoning=text) for text in (" ", ""))],
        "<|user|>a<|assistant|><think>r</think>b<|user|>c<|assistant|><think></think><|assistant|></think>",
    ),
    "5, line 66: a call has no line breaks": (
        Glm5(),
        [user("a"), assistant("b", call("f", {"s": "x", "t": True}))],
        "</think>b<tool_call>f<arg_key>s</arg_key><arg_value>x</arg_value>"
        "<arg_key>t</arg_key><arg_value>true</arg_value></tool_call>",
    ),
    "5.1, line 71: an answer to the last query has a think block even without reasoning": (
        Glm51(),
        [user("a"), assistant("b"), user("c"), assistant("d")],
        "<|user|>a<|assistant|></think>b<|user|>c<|assistant|><think></think>d",
    ),
    "5.1, line 70: but not without thinking": (
        Glm51(enable_thinking=False),
        [user("a"), assistant("b"), assistant("c", reasoning="")],
        "<|user|>a<|assistant|></think>b<|assistant|><think></think>c",
    ),
    "5.1, line 73: an earlier one has it if another answer to that query was reasoned": (
        Glm51(clear_thinking=False),
        [user("a"), assistant("b"), assistant("c", reasoning="r"), user("d"), assistant("e"), user("f")],
        "<|user|>a<|assistant|><think></think>b<|assistant|><think>r</think>c<|user|>d<|assistant|></think>e<|user|>f",
    ),
    "5.1, line 68: reasoning keeps its white space, also inline": (
        Glm51(),
        [user("a"), assistant("b", reasoning=" r\n"), assistant("<think>\ns </think>\n\nc")],
        "<|assistant|><think> r\n</think>b<|assistant|><think>\ns </think>c",
    ),
}  # fmt: skip


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(oddity: str) -> None:
    family, messages, expected = ODDITIES[oddity]
    assert text_of(family, messages).endswith(expected)


TOOLS_TEXT = {
    "glm-4.5": ('{"type": "function", "function": {"name": "now", "strict": true, "parameters": {"type": "object"}}}\n'
                '{"type": "function", "function": {"name": "later", "defer_loading": true}}\n'),
    "glm-5.1": '{"name": "now", "parameters": {"type": "object"}}\n',
}  # fmt: skip
TOOLS_TEXT["glm-5"] = TOOLS_TEXT["glm-4.5"]


@families
def test_tools_stand_before_the_system_message_in_a_turn_that_is_nobody_s(family: isc.Family) -> None:
    renderer = renderer_of(family)
    segments = list(renderer.segments([system("s"), user("u")], [NOW, LATER]))
    text = "".join(segment.text for segment in segments)
    lines = "\n" if isinstance(family, Glm45) else ""
    shown = TOOLS_TEXT[family_name(family)]
    assert text.startswith("[gMASK]<sop><|system|>\n# Tools\n\nYou may call")
    assert f"<tools></tools> XML tags:\n<tools>\n{shown}</tools>\n\nFor each function call, output" in text
    assert text.endswith(f"...{lines}</tool_call><|system|>{lines}s<|user|>{lines}u")
    owners = ["[gMASK]<sop>", f"<|system|>{lines}s", f"<|user|>{lines}u"]
    assert ["".join(s.text for s in segments if s.message == owner) for owner in (0, 1)] == [
        "".join(owners[:2]),
        owners[2],
    ]
    nobody_s = "".join(segment.text for segment in segments if segment.message == -1)
    assert text == owners[0] + nobody_s + owners[1] + owners[2]
    assert [segment.text for segment in segments if segment.body] == ["s", "u"]


REFERENCES = {"glm-4.5": "GLM-4.5", "glm-5": "GLM-5", "glm-5.1": "GLM-5.1"}
UNADAPTED: dict[str, list[dict[str, Any]]] = {
    "tool results as lists": [user("a"), assistant("b"), tool("1"), {"role": "tool", "content": ["2", "3"]}, tool("4")],
    "tool results without content": [assistant("b"), {"role": "tool"}, tool("1"), {"role": "tool"}, user("c")],
    "an empty list": [tool("1"), {"role": "tool", "content": []}],
    "content that is missing": [{"role": "user"}, {"role": "assistant"}, {"role": "system"}],
    "text parts": [user([{"type": "text", "text": "a"}, "b"]), {"role": "assistant", "content": ["c", "d"]}],
}  # fmt: skip


@families
@pytest.mark.parametrize("name", UNADAPTED)
def test_what_random_conversations_lack_equals_the_template_too(family: isc.Family, name: str, reference: Path) -> None:
    model = REFERENCES[family_name(family)]
    template = TemplateReference(reference / f"templates/zai-org--{model}/chat_template.jinja", None, ())
    for tools in (None, [{"type": "function", "function": NOW}, {"type": "function", "function": LATER}]):
        theirs = template.text((UNADAPTED[name], tools), add_generation_prompt=True)
        assert text_of(family, UNADAPTED[name], tools, prompt=True) == theirs


PREFILLED: list[tuple[isc.Family, str]] = [
    (Glm45(), ""),
    (Glm45(enable_thinking=False), "\n<think></think>"),
    (Glm5(), "<think>"),
    (Glm5(enable_thinking=False), "</think>"),
    (Glm51(), "<think>"),
    (Glm51(enable_thinking=False), "</think>"),
]


@pytest.mark.parametrize(("family", "prefilled"), PREFILLED)
def test_generation_prompt_prefills_and_what_it_prefills_is_scaffold(family: isc.Family, prefilled: str) -> None:
    assert text_of(family, [user("a")], prompt=True).endswith("<|assistant|>" + prefilled)
    answer = assistant("b", reasoning="r" if prefilled in ("", "<think>") else None)
    turn = [segment for segment in renderer_of(family).segments([user("a"), answer]) if segment.message == 1]
    scaffold = [segment.text for segment in turn if not segment.body]
    assert "".join(scaffold) == "<|assistant|>" + prefilled
    assert all(segment.body for segment in turn[len(scaffold) :])


def test_only_the_option_spells_the_nothink_token() -> None:
    segments = list(renderer_of(Glm45(enable_thinking=False)).segments([user("a"), user("b/nothink")]))
    spelled = [(segment.kind, segment.body, segment.message) for segment in segments if "/nothink" in segment.text]
    assert spelled == [("special", False, 0), ("text", True, 1)]


@families
def test_what_the_format_has_no_turn_for_is_refused_by_its_path(family: isc.Family) -> None:
    with pytest.raises(
        isc.ConversationError, match=r"messages\[1\]\.role: glm-\S+ has no such turn; use role 'system'"
    ):
        text_of(family, [user("a"), {"role": "developer", "content": "b"}])
    image = {"type": "image_url", "image_url": {"url": "x"}}
    for message in (
        user([image]),
        {"role": "tool", "content": ["see", image]},
        {"role": "assistant", "content": [image]},
    ):
        with pytest.raises(isc.ConversationError, match=r"messages\[0\]\.content\[\d\]: this format takes text only"):
            text_of(family, [message])


@families
def test_bad_arguments_are_refused_by_their_path(family: isc.Family) -> None:
    for arguments in ("[1]", "{", 3, {"x": float("nan")}, '{"x": "\\ud800"}'):
        with pytest.raises(isc.ConversationError) as error:
            text_of(family, [user("a"), assistant("", call("f", arguments))])
        assert error.value.path.startswith("messages[1].tool_calls[0].function.arguments")


@families
def test_a_vocabulary_without_a_special_is_refused_by_its_name(family: isc.Family) -> None:
    renderer = isc.create_renderer(embedded(tuple(s for s in family.specials if s != "<arg_key>")), family)
    with pytest.raises(isc.MissingSpecialError, match="<arg_key>"):
        renderer.render([user("a"), assistant("", call("f", {"x": 1}))])


@pytest.mark.parametrize(
    ("model", "family"),
    [
        *(("zai-org/GLM-4.5", Glm45()), ("zai-org/GLM-4.5-Air-FP8", Glm45()), ("zai-org/GLM-4.6", Glm45())),
        *(("zai-org/GLM-4.7", Glm5()), ("zai-org/GLM-4.7-Flash", Glm5()), ("zai-org/GLM-5-FP8", Glm5())),
        *(("zai-org/GLM-5.1", Glm51()), ("zai-org/GLM-5.1-FP8", Glm51())),
    ],
)
def test_models_are_known_by_name(model: str, family: isc.Family) -> None:
    assert isc.family_for(model) == family


def test_later_turns_change_earlier_ones_unless_reasoning_is_kept() -> None:
    assert [family.keeps_history for family in FAMILIES] == [False, False, False]
    assert Glm5(clear_thinking=False).keeps_history
    kept = Glm51(clear_thinking=False)
    assert not kept.keeps_history
    assert not text_of(kept, [user("a"), assistant("b"), user("c")]).startswith(
        text_of(kept, [user("a"), assistant("b")])
    )
