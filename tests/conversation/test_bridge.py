"""Extension: what is granted, what is refused and why, and that no previous id is ever rewritten."""

from __future__ import annotations

import pytest

import isc
from golden_conversations import TOOLS, assistant, call, tool, user
from isc.encoding.encoders import embedded
from isc.formats.qwen3 import Qwen3
from isc.types import ThinkingRetention
from spelled_ids import ids_of

ASK = [user("go")]
CALL = '<think>\nr\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
INSTRUCT = isc.create_renderer(embedded(Qwen3().specials), Qwen3(variant="instruct_2507"))


def added(renderer: isc.Renderer, completion: str, *new: dict[str, object]) -> str:
    """The text a bridge adds after prompt and completion."""
    prompt = renderer.render_ids(ASK, TOOLS, True)
    sampled = ids_of(renderer, completion)
    bridged = renderer.bridge_to_next_turn(prompt, sampled, list(new), TOOLS)
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(sampled)] == prompt + sampled
    return renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(sampled) :]).decode()


NEXT = "<|im_start|>user\n<tool_response>\n12:00\n</tool_response><|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (CALL + "<|im_end|>", "\n" + NEXT),
        (CALL, "<|im_end|>\n" + NEXT),
        ("<think>\nstill think", "\n</think>\n\n<|im_end|>\n" + NEXT),
        ("", "<|im_end|>\n" + NEXT),
        ("text<|endoftext|>", "<|im_end|>\n" + NEXT),
        ("<think>\nr<tool_call>\n{", "<|im_end|>\n" + NEXT),
    ],
)
def test_what_is_missing_is_closed_before_the_new_turns(small: isc.Renderer, completion: str, expected: str) -> None:
    assert added(small, completion, tool("12:00")) == expected


def test_reasoning_the_prompt_opened_is_closed() -> None:
    thinking = isc.create_renderer(embedded(Qwen3().specials), Qwen3(variant="thinking_2507"))
    assert added(thinking, "still", tool("12:00")) == "\n</think>\n\n<|im_end|>\n" + NEXT + "<think>\n"


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\nso far", True),
        ("<think>\n", True),
        ("<|im_start|>assistant\nit says <think>", False),
        ("it says <think>", False),
        ("<|im_start|>assistant\n<think>\nr\n</think>\n\n<think>", False),
        ("<|im_start|>assistant\n<think>\nr\n</think>\n\nit says <think>", False),
        ("<|im_start|>assistant\n<think>\nr\n</think>\n\n", False),
    ],
)
def test_an_opener_opens_reasoning_at_the_start_of_a_turn_alone(
    small: isc.Renderer, prompt: str, is_open: bool
) -> None:
    before, sampled = ids_of(small, prompt), ids_of(small, "still")
    parsed = small.parse_response(sampled, prompt_ids=before)
    assert (parsed.reasoning_content, parsed.content) == (("still", "") if is_open else (None, "still"))
    bridged = small.bridge_to_next_turn(before, sampled, [tool("12:00")])
    assert bridged is not None
    tail = small.encoder.decode_bytes(bridged.token_ids[len(before) + len(sampled) :]).decode()
    assert tail.startswith("\n</think>") == is_open


@pytest.mark.parametrize(
    ("completion", "new", "reason"),
    [
        (CALL + "<|im_end|>", [assistant("x")], "assistant_message"),
        (CALL + "<|im_end|>", [tool("1"), user("now this")], "retention"),
        ("<think>\nr<|im_end|>", [tool("1")], "reasoning_stopped"),
        (CALL + "<|im_end|>", [], "no_new_messages"),
    ],
)
def test_refusal_has_a_reason(small: isc.Renderer, completion: str, new: list[dict[str, object]], reason: str) -> None:
    prompt, sampled = small.render_ids(ASK, None, True), ids_of(small, completion)
    plan = small.plan_bridge(prompt, sampled, new)
    assert isinstance(plan, isc.Refusal)
    assert plan.reason == reason
    assert plan.detail
    assert small.bridge_to_next_turn(prompt, sampled, new) is None


def test_nothing_prompted_is_refused(small: isc.Renderer) -> None:
    plan = small.plan_bridge([], [1, 2], [user("x")])
    assert isinstance(plan, isc.Refusal)
    assert plan.reason == "no_prompt"


@pytest.mark.parametrize(
    ("family", "retention", "granted"),
    [
        (Qwen3(), None, False),
        (Qwen3(), "tool_cycle", False),
        (Qwen3(), "all", True),
        (Qwen3(variant="instruct_2507"), None, True),
        (Qwen3(variant="instruct_2507"), "tool_cycle", False),
    ],
)
def test_a_user_turn_is_granted_by_retention(family: Qwen3, retention: ThinkingRetention | None, granted: bool) -> None:
    renderer = isc.create_renderer(embedded(family.specials), family, thinking_retention=retention)
    plan = renderer.plan_bridge(renderer.render_ids(ASK, None, True), ids_of(renderer, "a<|im_end|>"), [user("b")])
    assert isinstance(plan, isc.Extension) is granted


@pytest.mark.parametrize("family", [isc.Hy3(reasoning_effort="high"), isc.DeepSeekV4(thinking=True)])
def test_a_user_turn_is_granted_where_tools_keep_the_reasoning(family: isc.Family) -> None:
    """Their templates drop earlier reasoning but where there are tools."""
    renderer = isc.create_renderer(embedded(family.specials), family)
    said = ids_of(renderer, f"Hm.{family.reasoning.closer if family.reasoning else ''}Yes.{family.turn_close}")
    for tools in (TOOLS, None):
        prompt = renderer.render_ids(ASK, tools, True)
        bridged = renderer.bridge_to_next_turn(prompt, said, [user("more")], tools)
        assert (bridged is not None) == bool(tools)
        fresh = renderer.render_ids([*ASK, assistant("Yes.", reasoning="Hm."), user("more")], tools, True)
        assert bridged is None or bridged.token_ids == fresh


def test_bridge_equals_a_fresh_render_where_history_is_kept() -> None:
    prompt = INSTRUCT.render_ids(ASK, TOOLS, True)
    messages = [*ASK, assistant("so", call("now", {})), tool("12:00"), user("and?")]
    completion = ids_of(INSTRUCT, 'so\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>')
    bridged = INSTRUCT.bridge_to_next_turn(prompt, completion, messages[2:], TOOLS)
    assert bridged is not None
    assert bridged.token_ids == INSTRUCT.render_ids(messages, TOOLS, True)


def test_bridge_owners_index_the_new_messages(small: isc.Renderer) -> None:
    prompt, completion = small.render_ids(ASK, None, True), ids_of(small, CALL)
    bridged = small.bridge_to_next_turn(prompt, completion, [tool("1", name="now"), tool("2")])
    assert bridged is not None
    assert bridged.message_roles == ("tool", "tool")
    assert bridged.message_tool_names == ("now", None)
    assert set(bridged.message_indices) == {-1, 0, 1}
    assert not any(bridged.is_content[: len(prompt) + len(completion)])
    assert not any(bridged.sampled_mask)


def test_extend_keeps_attribution_and_marks_the_completion_as_sampled(small: isc.Renderer) -> None:
    prompt = small.render(ASK, None, True)
    completion = ids_of(small, CALL)
    extended = small.extend(prompt, completion, [tool("12:00")])
    assert extended is not None
    assert extended.message_roles == ("user", "assistant", "tool")
    assert extended.runs[: len(prompt.runs)] == prompt.runs
    sampled = [position for position, drawn in enumerate(extended.sampled_mask) if drawn]
    assert sampled == list(range(len(prompt), len(prompt) + len(completion)))
    synthesized = extended.message_indices[len(prompt) + len(completion)]
    assert synthesized == 1, "the close the model did not sample is scaffold of its turn"


def test_extend_without_new_messages_ends_with_the_completion(small: isc.Renderer) -> None:
    prompt = small.render(ASK, None, True)
    extended = small.extend(prompt, (5, 6))
    assert extended is not None
    assert extended.token_ids == (*prompt.token_ids, 5, 6)
    assert extended.message_roles == ("user", "assistant")


def test_an_episode_of_extensions_has_one_message_table(small: isc.Renderer) -> None:
    rendered = small.render(ASK, TOOLS, True)
    for turn in range(5):
        extended = small.extend(rendered, ids_of(small, CALL + "<|im_end|>"), [tool(str(turn))], TOOLS)
        assert extended is not None
        assert extended.token_ids[: len(rendered)] == rendered.token_ids
        rendered = extended
    assert rendered.message_roles == ("user", *("assistant", "tool") * 5)
    assert rendered.tokens_by_role(sampled_only=True)["tool"] == 0


def test_errors_name_the_new_message_as_the_caller_counts_it(small: isc.Renderer) -> None:
    prompt, completion = small.render_ids(ASK, None, True), ids_of(small, CALL)
    image = {"role": "tool", "content": [{"type": "image", "image": "x"}]}
    with pytest.raises(isc.ConversationError) as refused:
        small.plan_bridge(prompt, completion, [tool("1"), image])
    assert refused.value.path == "new_messages[1].content[0]"
    with pytest.raises(isc.ConversationError) as malformed:
        small.plan_bridge(prompt, completion, [{"role": "bot"}])
    assert malformed.value.path == "new_messages[0].role"
