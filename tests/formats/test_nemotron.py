"""The oddities of Nemotron 3, literally, each with its line of Nano's `chat_template.jinja`."""

from __future__ import annotations

from pathlib import Path

import pytest

import isc
from golden_conversations import TOOLS, Message, assistant, call, system, tool, user
from isc.formats.nemotron_3 import Nemotron3, Variant
from references import TemplateReference
from small_renders import parsed, renderer_of, text_of

MODELS: dict[Variant, str] = {"nano": "Nano-30B-A3B", "super": "Super-120B-A12B", "ultra": "Ultra-550B-A55B"}
HEAD = "<|im_start|>assistant\n"
NANO, SUPER, ULTRA = (Nemotron3(variant=variant) for variant in MODELS)
variants = pytest.mark.parametrize("variant", list(MODELS))
CALL = "<tool_call>\n<function=f>\n</function>\n</tool_call>\n"

ODDITIES: dict[str, tuple[list[Message], str, str]] = {  # messages, the end by Nano and Super, the end by Ultra
    "line 41: a system turn without a system message": (
        [user("a")],
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\na<|im_end|>\n",
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\na<|im_end|>\n",
    ),
    "line 109: thought and content": (
        [user("a"), assistant("b", reasoning=" r\n")],
        HEAD + "<think>\n r\n\n</think>\nb<|im_end|>\n",
        HEAD + "<think>\n r\n</think>b<|im_end|>\n",
    ),
    "line 109: nothing after a thought is trimmed away with the line": (
        [user("a"), assistant(" \n", reasoning="r")],
        HEAD + "<think>\nr\n</think><|im_end|>\n",
        HEAD + "<think>\nr</think><|im_end|>\n",
    ),
    "line 115: no thought, or a blank one, is an empty think block glued to the content": (
        [user("a"), assistant(" b ", reasoning=" ")],
        HEAD + "<think></think> b<|im_end|>\n",
        HEAD + "<think></think> b<|im_end|>\n",
    ),
    "line 114: a content that spells a think tag stays as it is": (
        [user("a"), assistant("x</think>y")],
        HEAD + "x</think>y<|im_end|>\n",
        HEAD + "x</think>y<|im_end|>\n",
    ),
    "line 127: calls follow on a line of their own": (
        [user("a"), assistant("", call("f", {}), call("f", {}))],
        HEAD + f"<think></think>\n{CALL}{CALL}<|im_end|>\n",
        HEAD + f"<think></think>\n{CALL}{CALL}<|im_end|>\n",
    ),
    "line 137: before the last user message calls keep what follows the thought, which Ultra does not trim": (
        [user("a"), assistant(" b ", call("f", {}), reasoning="r"), user("c")],
        HEAD + f"<think></think>b\n{CALL}<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
        HEAD + f"<think></think> b \n{CALL}<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
    ),
    "line 135: of a think block left open there, what stands before it": (
        [user("a"), assistant("b<think>c", call("f", {})), user("d")],
        HEAD + f"<think></think>b\n{CALL}<|im_end|>\n<|im_start|>user\nd<|im_end|>\n",
        HEAD + f"<think></think>b\n{CALL}<|im_end|>\n<|im_start|>user\nd<|im_end|>\n",
    ),
    "line 167: without calls the line after the thought is kept": (
        [user("a"), assistant("b", reasoning="r"), user("c")],
        HEAD + "<think></think>\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
        HEAD + "<think></think>b<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
    ),
    "line 166: without calls a lone think tag is kept": (
        [user("a"), assistant("x</think>y"), user("c")],
        HEAD + "x</think>y<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
        HEAD + "x</think>y<|im_end|>\n<|im_start|>user\nc<|im_end|>\n",
    ),
    "line 183: a result that stands first has no head": (
        [system("s"), tool("1"), tool("2")],
        "s<|im_end|>\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>\n<|im_end|>\n",
        "s<|im_end|>\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>\n<|im_end|>\n",
    ),
    "line 196: a developer has a turn": (
        [user("a"), {"role": "developer", "content": "d"}],
        "<|im_start|>developer\nd<|im_end|>\n",
        "<|im_start|>developer\nd<|im_end|>\n",
    ),
}


def template(reference: Path, variant: Variant) -> TemplateReference:
    path = reference / "templates" / f"nvidia--NVIDIA-Nemotron-3-{MODELS[variant]}-BF16" / "chat_template.jinja"
    return TemplateReference(path, None, ())


@variants
@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(variant: Variant, oddity: str) -> None:
    messages, older, ultra = ODDITIES[oddity]
    assert text_of(Nemotron3(variant=variant), messages).endswith(ultra if variant == "ultra" else older)


@variants
@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity_is_the_templates(variant: Variant, oddity: str, reference: Path) -> None:
    messages = ODDITIES[oddity][0]
    theirs = template(reference, variant).text((messages, None), add_generation_prompt=True)
    assert text_of(Nemotron3(variant=variant), messages, prompt=True) == theirs


STRANGE_TOOLS: list[Message] = [
    {"type": "function", "function": {"name": "bare"}},
    {"function": {"name": "f", "description": None, "parameters": {"properties": {}}, "strict": True}},
    {
        "type": "function",
        "function": {
            "name": "g",
            "description": " trimmed ",
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "$defs": {"x": [1]},
                "required": [],
                "properties": {
                    "any": True,
                    "a": {"type": ["string", "null"], "description": "\nd", "enum": ["é", None], "default": None},
                    "b": {"anyOf": [{"type": "integer"}], "minimum": 1.5, "items": {"type": "string"}},
                },
            },
        },
    },
]  # fmt: skip


@variants
def test_tools_of_every_kind_are_the_templates(variant: Variant, reference: Path) -> None:
    for tools in (STRANGE_TOOLS, TOOLS):
        theirs = template(reference, variant).text(([system("s"), user("a")], tools), add_generation_prompt=False)
        assert text_of(Nemotron3(variant=variant), [system("s"), user("a")], tools) == theirs


def test_tools_as_xml() -> None:
    text = text_of(NANO, [user("a")], STRANGE_TOOLS[2:])
    assert "<|im_start|>system\n# Tools\n\n" in text
    assert (
        "<parameter>\n<name>a</name>\n<type>['string', 'null']</type>\n<description>d</description>\n"
        '<enum>["é", null]</enum>\n<default>None</default>\n</parameter>' in text
    )
    assert (
        '\n<additionalProperties>False</additionalProperties>\n<$defs>{"x": [1]}</$defs>\n<required>[]</required>'
        in text
    )


@pytest.mark.parametrize("leading", [[], [system("s")]])
def test_the_inserted_system_turn_is_nobodys_and_shifts_no_owner(leading: list[Message]) -> None:
    messages = [*leading, user("a"), assistant("b"), user("c")]
    rendered = renderer_of(NANO).render(messages, TOOLS, True)
    assert rendered.message_roles == tuple(message["role"] for message in messages)
    spans = [span for found in rendered.message_token_spans() for span in found]
    decoded = [renderer_of(NANO).encoder.decode_bytes(rendered.token_ids[slice(*span)]).decode() for span in spans]
    assert decoded[-3:] == [
        "<|im_start|>user\na<|im_end|>\n",
        HEAD + "<think></think>b<|im_end|>\n",
        "<|im_start|>user\nc<|im_end|>\n",
    ]
    assert rendered.message_indices[0] == (0 if leading else -1)
    assert rendered.message_indices[-1] == -1


@pytest.mark.parametrize(
    ("family", "wording"),
    [
        (Nemotron3(variant="super", low_effort=True), "\n\n{reasoning effort: low}"),
        (Nemotron3(variant="ultra", medium_effort=True), "\n\n{reasoning effort: efficient}"),
    ],
)
def test_effort_is_scaffold_of_the_last_user_message(family: Nemotron3, wording: str) -> None:
    messages = [system("s"), user("a"), assistant("b"), user("c"), assistant("d")]
    found = [s for s in renderer_of(family).segments(messages) if "effort" in s.text]
    assert [(s.text, s.message, s.body) for s in found] == [(wording, 3, False)]
    assert not family.keeps_history


@pytest.mark.parametrize(
    ("variant", "option"),
    [
        ("nano", "low_effort"),
        ("nano", "medium_effort"),
        ("super", "medium_effort"),
        ("ultra", "low_effort"),
        ("3.5", "medium_effort"),
    ],
)
def test_an_option_of_another_variant_is_refused(variant: Variant, option: str) -> None:
    with pytest.raises(isc.OptionError, match=f"{variant} has no {option}"):
        Nemotron3(variant=variant, **{option: True})


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(isc.OptionError, match=r"variant='mini' is none of 'nano', 'super', 'ultra', '3\.5'"):
        Nemotron3(variant="mini")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "prompt", "text", "expected"),
    [
        (NANO, "<think>\n", "\n r \n</think>\n\n b \n<|im_end|>", isc.ParsedResponse("\n b", "\n r ")),
        (NANO, "", "<think>\nr\n</think>\nb", isc.ParsedResponse("b", "r")),
        (NANO, "<think>\n", "</think> b", isc.ParsedResponse(" b", "")),
        (NANO, "<think>\n", "half", isc.ParsedResponse("", "half", reasoning_complete=False)),
        (NANO, "<think></think>", "\nb</think>c</s>", isc.ParsedResponse("\nb</think>c")),
        (ULTRA, "<think>\n", "r\n</think>\nb", isc.ParsedResponse("\nb", "r\n")),
        (ULTRA, "", "<think>\nr</think>b", isc.ParsedResponse("b", "r")),
    ],
)
def test_reasoning_is_read_as_the_variant_glues_it(
    family: Nemotron3, prompt: str, text: str, expected: isc.ParsedResponse
) -> None:
    assert parsed(family, text, prompt=prompt) == expected


def test_calls_are_read_with_a_status_for_every_attempt() -> None:
    good = "<tool_call>\n<function=f>\n<parameter=k>\nTrue\n</parameter>\n</function>\n</tool_call>\n"
    found = parsed(
        NANO, f"<think></think>b\n{good}<tool_call>\n<function=g>\n</function>\n</tool_call>\n<tool_call>\nx"
    )
    assert found.content == "b"
    assert [(c.status, c.name, c.arguments) for c in found.tool_calls] == [
        ("ok", "f", {"k": True}),
        ("ok", "g", {}),
        ("unclosed_block", None, None),
    ]
    assert [c.status for c in parsed(NANO, good, [{"name": "g"}]).tool_calls] == ["unknown_tool"]


def test_a_tool_result_extends_a_turn_and_a_new_query_only_where_thoughts_stay() -> None:
    for family in (NANO, Nemotron3(truncate_history_thinking=False)):
        renderer = renderer_of(family)
        prompt = renderer.render([user("a")], None, True)
        turn = assistant("b", call("f", {}), reasoning="r")
        completion = renderer.render([user("a"), turn]).token_ids[len(prompt) : -1]
        result = renderer.bridge_to_next_turn(prompt.token_ids, completion, [tool("1")])
        assert result is not None
        tail = renderer.encoder.decode_bytes(result.token_ids[len(prompt) + len(completion) :]).decode()
        assert tail == f"\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<|im_end|>\n{HEAD}<think>\n"
        query = renderer.bridge_to_next_turn(prompt.token_ids, completion, [user("c")])
        assert (query is not None) == family.keeps_history


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", NANO),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", SUPER),
        ("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", ULTRA),
    ],
)
def test_models_are_known_by_name(model: str, family: Nemotron3) -> None:
    assert isc.family_for(model) == family


def test_3_5_is_ultra_without_an_effort() -> None:
    newer = Nemotron3(variant="3.5")
    assert isc.family_for("nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16") == newer
    said = [user("a"), assistant("b", call("f", {"k": None}), reasoning="r"), tool("1"), user("c"), assistant("d")]
    for family in (newer, Nemotron3(variant="3.5", enable_thinking=False)):
        older = Nemotron3(variant="ultra", enable_thinking=family.enable_thinking)
        assert text_of(family, said, prompt=True) == text_of(older, said, prompt=True)
    assert "<think>\nr</think>" in text_of(newer, said[:3])
