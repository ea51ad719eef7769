"""DeepSeek's turns read back, well-formed or not, and bridges across sections of tool outputs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import structs

import isc
from golden_conversations import assistant, call, system, tool, user
from isc.conversation.bridge import Refusal
from isc.encoding.fold import fold
from isc.formats.deepseek_r1 import DeepSeekR1
from isc.formats.deepseek_v3 import DeepSeekV3
from isc.formats.deepseek_v3_1 import DeepSeekV31
from isc.formats.segments import spelled
from isc.testing import Shape, Writer, shape_of
from small_renders import narrow, parsed, renderer_of

V3, V3_0324, R1, V31 = DeepSeekV3(), DeepSeekV3(variant="v3_0324"), DeepSeekR1(), DeepSeekV31()
THINKING = DeepSeekV31(thinking=True)
CALLS: tuple[isc.Family, ...] = (V3, V3_0324, R1)
BLOCK = "<tool_call_begin>function<tool_sep>{name}\n```json\n{arguments}\n```<tool_call_end>"
PLAIN = "<tool_call_begin>{name}<tool_sep>{arguments}<tool_call_end>"
END = "<tool_calls_end><end_of_sentence>"


def wide(family: isc.Family, text: str) -> str:
    """The inverse of `narrow`."""
    for special in family.specials:
        text = text.replace(narrow(special), special)
    return text


def ids_of(family: isc.Family, text: str) -> tuple[int, ...]:
    return fold(spelled(wide(family, text), family.specials), renderer_of(family).encoder).token_ids


def read(
    family: isc.Family, text: str, prompt: str = "", tools: list[dict[str, Any]] | None = None
) -> isc.ParsedResponse:
    return parsed(family, wide(family, text), tools, wide(family, prompt))


def block(name: str, arguments: str, form: str = BLOCK) -> str:
    return form.replace("{name}", name).replace("{arguments}", arguments)


Reading = tuple[str, str | None, Mapping[str, Any] | None]
MALFORMED: list[tuple[isc.Family, str, Reading]] = [
    (R1, block("f", '{"a": 1}'), ("ok", "f", {"a": 1})),
    (R1, block("f", ' {"a": "\\n```json\\n"} '), ("ok", "f", {"a": "\n```json\n"})),
    (R1, block("f", "{}").replace("```<", "```\n<"), ("ok", "f", {})),
    (R1, block("f", "{"), ("invalid_json", "f", None)),
    (R1, block("f", "[1]"), ("malformed_structure", "f", None)),
    (R1, block("", "{}"), ("missing_name", None, {})),
    (R1, block("f", "{}").removesuffix("<tool_call_end>"), ("unclosed_block", "f", {})),
    (R1, "<tool_call_begin>function<tool_sep>f\n{}<tool_call_end>", ("malformed_structure", "f", None)),
    (R1, block("f", "{}").replace("function", "custom"), ("malformed_structure", "f", None)),
    (R1, block("f", "{}").replace("<tool_sep>", ""), ("malformed_structure", None, None)),
    (R1, "<tool_call_begin><tool_call_end>", ("malformed_structure", None, None)),
    (V31, block("f", '{"a": 1}', PLAIN), ("ok", "f", {"a": 1})),
    (V31, block("f", "null", PLAIN), ("malformed_structure", "f", None)),
    (V31, block("f", "", PLAIN), ("invalid_json", "f", None)),
    (V31, block("", "{}", PLAIN), ("missing_name", None, {})),
    (V31, "<tool_call_begin>f<tool_call_end>", ("malformed_structure", "f", None)),
    (V31, "<tool_call_begin>", ("unclosed_block", None, None)),
]


@pytest.mark.parametrize(("family", "text", "reading"), MALFORMED)
def test_every_attempted_call_is_kept_with_what_is_wrong(family: isc.Family, text: str, reading: Reading) -> None:
    found = read(family, f"said<tool_calls_begin>{text}{END}")
    assert found.content == "said"
    (one,) = found.tool_calls
    assert (one.status, one.name, one.arguments) == reading


def test_all_calls_of_a_section_are_read_with_their_tokens() -> None:
    text = f"\n a \n<tool_calls_begin>{block('f', '{}')}\n{block('g', '{}')}\n{block('h', '{}')}{END}"
    found = read(V3_0324, text, tools=[{"name": "f"}, {"name": "h"}])
    assert found.content == "\n a \n"
    assert [(one.name, one.status) for one in found.tool_calls] == [("f", "ok"), ("g", "unknown_tool"), ("h", "ok")]
    encoder, ids = renderer_of(V3_0324).encoder, ids_of(V3_0324, text)
    spans = [encoder.decode_bytes(ids[slice(*one.token_span)]).decode() for one in found.tool_calls]
    assert [narrow(span) for span in spans] == [block(name, "{}") for name in "fgh"]


@pytest.mark.parametrize("family", CALLS, ids=repr)
def test_calls_outside_of_a_section_are_read(family: isc.Family) -> None:
    found = read(family, f"\n{block('f', '{}')}\n{block('g', '{}')}{END}")
    assert (found.content, [one.name for one in found.tool_calls]) == ("", ["f", "g"])


def test_v3_goes_on_calling_after_a_close() -> None:
    text = f"<tool_calls_begin>{block('f', '{}')}\n{block('g', '{}')}{END}\n{block('h', '{}')}{END}"
    assert [one.name for one in read(V3, text).tool_calls] == ["f", "g", "h"]
    assert [one.name for one in read(V3_0324, text).tool_calls] == ["f", "g"]
    assert read(V3, f"a<end_of_sentence>{block('f', '{}')}").tool_calls == ()


REASONED: list[tuple[isc.Family, str, str, tuple[str | None, str, bool]]] = [
    (R1, "<think>\n", "why\n</think>\n\nyes<end_of_sentence>", ("why", "yes", True)),
    (R1, "", "<think>\nwhy\n</think>\n\nyes</think>no", ("why", "yes</think>no", True)),
    (R1, "<think>\n", "why", ("why", "", False)),
    (R1, "<tool_outputs_end>", "yes<think>no", (None, "yes<think>no", True)),
    (R1, "<think>\n", f"why<tool_calls_begin>{block('f', '{}')}{END}", ("why", "", True)),
    (THINKING, "<Assistant><think>", "why\n</think>\nyes", ("why\n", "\nyes", True)),
    (THINKING, "<Assistant><think>", "</think>yes", ("", "yes", True)),
    (V31, "<Assistant></think>", "yes", (None, "yes", True)),
    (V31, "<Assistant></think>", "<think>why</think>yes", ("why", "yes", True)),
]


@pytest.mark.parametrize(("family", "prompt", "text", "expected"), REASONED)
def test_reasoning_is_what_the_prompt_or_the_model_opens(
    family: isc.Family, prompt: str, text: str, expected: tuple[str | None, str, bool]
) -> None:
    found = read(family, text, prompt)
    assert (found.reasoning_content, found.content, found.reasoning_complete) == expected


def bridged(family: isc.Family, prompt: str, completion: str, new: list[dict[str, Any]], **options: Any) -> str | None:  # noqa: ANN401
    """What a bridge adds."""
    renderer = structs.replace(renderer_of(family), **options)
    previous, sampled = ids_of(family, prompt), ids_of(family, completion)
    found = renderer.bridge_to_next_turn(previous, sampled, new)
    if found is None:
        return None
    assert found.token_ids[: len(previous) + len(sampled)] == previous + sampled
    return narrow(renderer.encoder.decode_bytes(found.token_ids[len(previous) + len(sampled) :]).decode())


TWO = [tool("1"), tool("2")]
ONE = "<tool_output_begin>1<tool_output_end>"
OTHER = "<tool_output_begin>2<tool_output_end>"
CALLED = f"<tool_calls_begin>{block('f', '{}')}{END}"
BRIDGES: list[tuple[isc.Family, str, list[dict[str, Any]], str]] = [
    (V3, CALLED, TWO, f"<tool_outputs_begin>{ONE}\n{OTHER}<tool_outputs_end>"),
    (V3, CALLED, [*TWO, user("a")], f"<tool_outputs_begin>{ONE}\n{OTHER}<User>a<Assistant>"),
    (V3, "a<end_of_sentence>", [user("b")], "<User>b<Assistant>"),
    (V3_0324, CALLED, TWO, f"<tool_outputs_begin>{ONE}\n{OTHER}<tool_outputs_end>"),
    (V3_0324, "a", [user("b")], "<end_of_sentence><User>b<Assistant>"),
    (R1, "why\n</think>\n\n" + CALLED, TWO, f"<tool_outputs_begin>{ONE}{OTHER}<tool_outputs_end>"),
    (R1, "why", TWO, f"\n</think>\n\n<end_of_sentence><tool_outputs_begin>{ONE}{OTHER}<tool_outputs_end>"),
    (V31, CALLED, TWO, ONE + OTHER),
    (V31, CALLED, [*TWO, user("a")], f"{ONE}{OTHER}<User>a<Assistant></think>"),
    (V31, "a", [user("b")], "<end_of_sentence><User>b<Assistant></think>"),
    (THINKING, "why</think>" + CALLED, TWO, ONE + OTHER),
    (THINKING, "why", TWO, "</think><end_of_sentence>" + ONE + OTHER),
]
PROMPTS: dict[isc.Family, str] = {R1: "<User>q<Assistant><think>\n", THINKING: "<User>q<Assistant><think>"}


@pytest.mark.parametrize(("family", "completion", "new", "added"), BRIDGES)
def test_a_bridge_adds_outputs_in_a_section_of_their_own(
    family: isc.Family, completion: str, new: list[dict[str, Any]], added: str
) -> None:
    assert bridged(family, PROMPTS.get(family, "<User>q<Assistant>"), completion, new) == added


@pytest.mark.parametrize("family", [V3_0324, V31], ids=repr)
def test_a_bridge_after_calls_equals_a_fresh_render_cycle_after_cycle(family: isc.Family) -> None:
    renderer = renderer_of(family)
    messages = [user("a")]
    prompt = renderer.render(messages, None, True)
    for new in (TWO, [tool("3")], [tool("4"), user("b"), user("c")], TWO):
        messages.append(assistant("x", call("f", {}), call("g", {})))
        completion = renderer.render_ids(messages)[len(prompt) :]
        closed = completion[: completion.index(renderer.encoder.specials["<｜end▁of▁sentence｜>"]) + 1]
        extended = renderer.extend(prompt, closed, new)
        assert extended is not None
        messages += new
        fresh = renderer.render(messages, None, True)
        assert (extended.token_ids, extended.sampled_mask) == (fresh.token_ids, fresh.sampled_mask)
        prompt = extended


def test_v3_1_without_thinking_keeps_history_but_for_system_messages() -> None:
    renderer, shape = renderer_of(V31), structs.replace(shape_of(V31), reasoning=False)
    compared = 0
    for seed in range(400):
        source = random.Random(seed)
        (*messages, answer), _ = Writer(source, shape).conversation()
        new, _ = Writer(source, Shape(("user", "tool"), specials=V31.specials)).conversation(3)
        if not messages or answer["role"] != "assistant":
            continue
        prompt, full = renderer.render(messages, None, True), renderer.render([*messages, answer])
        extended = renderer.extend(prompt, full.token_ids[len(prompt) :], new)
        fresh = renderer.render([*messages, answer, *new], None, True)
        assert extended is not None
        assert (extended.token_ids, extended.sampled_mask) == (fresh.token_ids, fresh.sampled_mask)
        compared += 1
    assert compared > 100


@pytest.mark.parametrize("family", [V3, V3_0324, R1, V31], ids=repr)
def test_a_system_message_is_not_bridged_since_it_is_said_in_the_opening(family: isc.Family) -> None:
    renderer = renderer_of(family)
    prompt = renderer.render_ids([user("a")], None, True)
    found = renderer.plan_bridge(prompt, ids_of(family, "</think>b<end_of_sentence>"), [tool("1"), system("S")])
    assert isinstance(found, Refusal)
    assert found.reason == "rewrites_history"
    assert "new_messages[1] is a system message" in found.detail


@pytest.mark.parametrize("family", [R1, THINKING], ids=repr)
def test_a_user_s_message_drops_the_reasoning_before_it_unless_told_to_keep_it(family: isc.Family) -> None:
    given = (family, PROMPTS[family], "why</think>b<end_of_sentence>", [user("c")])
    assert bridged(*given) is None
    assert bridged(*given, thinking_retention="all") == "<User>c" + PROMPTS[family].removeprefix("<User>q")
