"""The oddities of Kimi K2.5 and K2.6, literally, each with the line of K2.5's template it comes from; bridges."""

from __future__ import annotations

import pytest

import isc
from golden_conversations import TOOLS, Message, assistant, call, system, tool, user
from isc.conversation.bridge import Refusal
from isc.encoding.encoders import embedded
from isc.formats.kimi_k2_5 import KimiK25

K25, FAST = KimiK25(), KimiK25(thinking=False)
ALL, ALL_FAST = (KimiK25(thinking=thinking, preserve_thinking=True, variant="k2.6") for thinking in (True, False))
ASSISTANT = "<|im_assistant|>assistant<|im_middle|>"
U = "<|im_user|>user<|im_middle|>u<|im_end|>"
CALL = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>"
    "<|tool_calls_section_end|><|im_end|>"
)
CYCLE = [
    user("u"),
    assistant("a", reasoning="p"),
    user("u"),
    assistant("", call("f", {}, "functions.f:0"), reasoning="q"),
]
PLAIN_AFTER_CALL = [
    user("u"),
    assistant("", call("f", {}, "functions.f:0"), reasoning="q"),
    assistant("a", reasoning="r"),
]


def renderer_of(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(embedded(family.specials), family)


def text_of(
    family: isc.Family, messages: list[Message], tools: list[Message] | None = None, *, prompt: bool = False
) -> str:
    return "".join(segment.text for segment in renderer_of(family).segments(messages, tools, prompt))


ODDITIES: dict[str, tuple[KimiK25, list[Message], str]] = {
    "no default system message": (K25, [user("u")], U),
    "line 64: up to the last plain answer think blocks are empty": (
        K25,
        PLAIN_AFTER_CALL,
        f"{U}{ASSISTANT}<think></think>{CALL}{ASSISTANT}<think></think>a<|im_end|>",
    ),
    "line 85: after it reasoning stays": (
        K25,
        CYCLE,
        f"{U}{ASSISTANT}<think></think>a<|im_end|>{U}{ASSISTANT}<think>q</think>{CALL}",
    ),
    "line 82: without thinking no reasoning is kept": (
        FAST,
        CYCLE,
        f"{U}{ASSISTANT}<think></think>a<|im_end|>{U}{ASSISTANT}<think></think>{CALL}",
    ),
    "K2.6, line 43: preserve_thinking keeps all": (
        ALL,
        PLAIN_AFTER_CALL,
        f"{U}{ASSISTANT}<think>q</think>{CALL}{ASSISTANT}<think>r</think>a<|im_end|>",
    ),
    "K2.6, line 85: but nothing without thinking": (
        ALL_FAST,
        PLAIN_AFTER_CALL,
        f"{U}{ASSISTANT}<think></think>{CALL}{ASSISTANT}<think></think>a<|im_end|>",
    ),
    "line 70: a result is framed by id and name": (
        K25,
        [*CYCLE[2:], tool("r", "functions.f:0", "f")],
        f"{U}{ASSISTANT}<think>q</think>{CALL}<|im_system|>f<|im_middle|>## Return of functions.f:0\nr<|im_end|>",
    ),
    "line 85: reasoning and content stand as they are": (
        K25,
        [user("u"), assistant(" \nc\n", call("f", {}), reasoning="\n r")],
        f"{U}{ASSISTANT}<think>\n r</think> \nc\n{CALL}",
    ),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity(name: str) -> None:
    family, messages, expected = ODDITIES[name]
    assert text_of(family, messages) == expected


@pytest.mark.parametrize(
    ("family", "think"), [(K25, "<think>"), (FAST, "<think></think>"), (ALL, "<think>"), (ALL_FAST, "<think></think>")]
)
def test_the_prompt_opens_the_think_block_or_closes_it(family: KimiK25, think: str) -> None:
    """Lines 103 to 107."""
    assert text_of(family, [user("u")], prompt=True) == f"{U}{ASSISTANT}{think}"


@pytest.mark.parametrize(("family", "sampled"), [(K25, ["</think>", "a", "<|im_end|>"]), (FAST, ["a", "<|im_end|>"])])
def test_what_the_prompt_gave_is_not_sampled(family: KimiK25, sampled: list[str]) -> None:
    segments = renderer_of(family).segments([user("u"), assistant("a", reasoning="dropped")])
    assert [segment.text for segment in segments if segment.body and segment.message == 1] == sampled


DECLARED = """# Tools

## functions
namespace functions {
// Search the web; returns <b>HTML</b> & "quotes".
type search = (_: {
  // What to search for, e.g. naïve 漢字
  query: string,
  filters?: {
    lang?: "de" | "en"
  },
  // Default: 10
  limit?: number
}) => any;
type now = (_: {}) => any;
}
"""


def test_tools_are_declared_in_typescript() -> None:
    """Line 55."""
    tools = f"<|im_system|>tool_declare<|im_middle|>{DECLARED}<|im_end|>"
    assert text_of(K25, [user("u")], TOOLS) == tools + U
    assert text_of(K25, [system("s")], TOOLS) == f"{tools}<|im_system|>system<|im_middle|>s<|im_end|>"


def nested(depth: int) -> Message:
    """A schema so deep."""
    return {"type": "object", "properties": {"x": nested(depth - 1) if depth else {"type": "string"}}}


UNDECLARED: dict[str, list[Message]] = {
    "a schema without a type": [*TOOLS, {"name": "g", "parameters": {"properties": {"x": {"description": "?"}}}}],
    "no function": [{"type": "plugin", "function": {"name": "g"}}],
    "a schema too deep": [*TOOLS, {"name": "g", "parameters": nested(100)}],
}


@pytest.mark.parametrize("name", UNDECLARED)
def test_what_typescript_cannot_say_makes_all_tools_json(name: str) -> None:
    """Line 57, by FORMAT.md."""
    text = text_of(K25, [user("u")], UNDECLARED[name])
    assert text.startswith('<|im_system|>tool_declare<|im_middle|>[{"function":{')
    assert "namespace" not in text


def test_tools_that_spell_specials_stay_text() -> None:
    tools = [{"name": "f", "description": "<|im_end|><think>", "parameters": {}}]
    segments = list(renderer_of(K25).segments([user("u")], tools))
    assert [segment.text for segment in segments if segment.kind == "special"] == [
        "<|im_system|>", "<|im_middle|>", "<|im_end|>", "<|im_user|>", "<|im_middle|>", "<|im_end|>",
    ]  # fmt: skip


def test_k2_5_cannot_preserve_thinking() -> None:
    with pytest.raises(isc.OptionError, match=r"K2\.5 cannot preserve_thinking"):
        KimiK25(preserve_thinking=True)


@pytest.mark.parametrize(("family", "keeps"), [(K25, False), (FAST, True), (ALL, True), (ALL_FAST, True)])
def test_whether_history_is_kept(family: KimiK25, keeps: bool) -> None:
    assert renderer_of(family).is_prefix_stable is keeps


def _completion(renderer: isc.Renderer, *pieces: str) -> list[int]:
    specials = renderer.encoder.specials
    return [
        token_id
        for piece in pieces
        for token_id in ([specials[piece]] if piece in specials else next(iter(renderer.encoder.encode_batch([piece]))))
    ]


def test_a_bridge_over_a_tool_result_equals_a_fresh_render() -> None:
    renderer = renderer_of(K25)
    prompt = renderer.render_ids(CYCLE[:3], None, True)
    completion = renderer.render_ids(CYCLE)[len(prompt) :]
    result = [tool("r", "functions.f:0")]
    bridged = renderer.bridge_to_next_turn(prompt, completion, result)
    assert bridged is not None
    assert bridged.token_ids == renderer.render_ids([*CYCLE, *result], None, True)


def test_a_bridge_closes_reasoning_and_turn_that_were_cut_off() -> None:
    renderer = renderer_of(K25)
    prompt = renderer.render_ids([user("u")], None, True)
    bridged = renderer.bridge_to_next_turn(prompt, _completion(renderer, "hm"), [tool("r")])
    assert bridged is not None
    text = renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) :]).decode()
    assert text == f"hm</think><|im_end|><|im_system|>tool<|im_middle|>## Return of \nr<|im_end|>{ASSISTANT}<think>"


@pytest.mark.parametrize("opener", ["<|tool_calls_section_begin|>", "<|tool_call_begin|>"])
def test_calls_end_open_reasoning_in_a_bridge_too(opener: str) -> None:
    renderer = renderer_of(K25)
    prompt = renderer.render_ids([user("u")], None, True)
    bridged = renderer.bridge_to_next_turn(prompt, _completion(renderer, "hm", opener, "<|im_end|>"), [tool("r")])
    assert bridged is not None
    assert renderer.encoder.specials["</think>"] not in bridged.token_ids


def test_a_user_message_is_bridged_only_where_thinking_is_kept() -> None:
    for family, refused in ((K25, True), (FAST, False), (ALL, False)):
        renderer = renderer_of(family)
        prompt = renderer.render_ids([user("u")], None, True)
        plan = renderer.plan_bridge(prompt, _completion(renderer, "</think>", "a", "<|im_end|>"), [user("v")])
        assert isinstance(plan, Refusal) is refused


def test_the_models_that_are_known() -> None:
    assert isc.family_for("moonshotai/Kimi-K2.5") == K25
    assert isc.family_for("moonshotai/Kimi-K2.6") == KimiK25(variant="k2.6")
