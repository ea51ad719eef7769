"""gpt-oss: a bridge closes what a completion left open, wherever that was, and rewrites nothing."""

from __future__ import annotations

import pytest

import isc
from golden_conversations import TOOLS, Message, assistant, call, tool, user
from isc.conversation.bridge import Extension, Refusal
from isc.formats.gpt_oss import GptOss
from small_renders import renderer_of
from spelled_ids import ids_of

RENDERER = renderer_of(GptOss(conversation_start_date="2025-08-05"))
KEEPING = isc.Renderer(RENDERER.family, RENDERER.encoder, thinking_retention="all")
PROMPT = RENDERER.render_ids([user("go")], TOOLS, True)
NEXT = "<|start|>assistant"
ANALYSIS = "<|channel|>analysis<|message|>Look."
FINAL = "<|channel|>final<|message|>"
CALL = " to=functions.now<|channel|>commentary json<|message|>{}"
RESULT = '<|start|>functions.now to=assistant<|channel|>commentary<|message|>"12:00"<|end|>' + NEXT
THANKS = "<|start|>user<|message|>thanks<|end|>" + NEXT


def plan(completion: str, *new: Message, prefix: str = "") -> Extension | Refusal:
    prompt = PROMPT + ids_of(RENDERER, prefix)
    return KEEPING.plan_bridge(prompt, ids_of(RENDERER, completion), list(new), TOOLS)


def added(completion: str, *new: Message, prefix: str = "") -> str:
    """The text that a bridge adds."""
    found = plan(completion, *new, prefix=prefix)
    assert isinstance(found, Extension), found
    assert not any(segment.body for segment in found.segments if segment.message == 0)
    return "".join(segment.text for segment in found.segments)


CUT: list[tuple[str, str]] = [
    (FINAL + "4<|return|>", ""),
    (FINAL + "4<|end|>", ""),
    (FINAL + "4", "<|end|>"),
    (FINAL + "4<|endoftext|>", "<|end|>"),
    (ANALYSIS, "<|end|>"),
    (ANALYSIS + "<|end|>", ""),
    (ANALYSIS + "<|end|><|start|>", "assistant<|channel|>final<|message|><|end|>"),
    (ANALYSIS + "<|end|>" + NEXT, "<|channel|>final<|message|><|end|>"),
    (ANALYSIS + NEXT + FINAL + "4", "<|end|>"),
    ("", "<|channel|>final<|message|><|end|>"),
    ("<|channel|>", "final<|message|><|end|>"),
    ("<|channel|>analysis", "<|message|><|end|>"),
    ("<|channel|>commentary<|message|>First.", "<|end|>"),
    (" to=functions.now", "<|channel|>commentary<|message|><|call|>"),
    (" to=functions.now<|channel|>", "commentary<|message|><|call|>"),
    (CALL, "<|call|>"),
    (CALL + "<|call|>", ""),
    ("<|channel|>final<|return|>", ""),
    (FINAL + "4<|end|><|start|>user", "<|message|><|end|>"),
    (FINAL + "4<|end|>more", ""),
]


@pytest.mark.parametrize(("completion", "closing"), CUT)
def test_what_is_open_is_closed_before_the_new_turns(completion: str, closing: str) -> None:
    assert added(completion, user("thanks")) == closing + THANKS


@pytest.mark.parametrize("stop", ["<|return|>", "<|endoftext|>", "<|call|>"])
def test_a_stop_inside_analysis_is_refused(stop: str) -> None:
    found = plan(ANALYSIS + stop, user("thanks"))
    assert isinstance(found, Refusal)
    assert found.reason == "reasoning_stopped"


@pytest.mark.parametrize(
    ("prefix", "completion", "closing"),
    [
        ("<|channel|>analysis<|message|>", "Look.", "<|end|>"),
        ("<|channel|>analysis<|message|>", "Look.<|end|>" + NEXT + FINAL + "4<|return|>", ""),
        (FINAL, "", "<|end|>"),
        ("<|channel|>", "", "final<|message|><|end|>"),
    ],
)
def test_a_prompt_may_hold_the_first_words_of_a_turn(prefix: str, completion: str, closing: str) -> None:
    assert added(completion, user("thanks"), prefix=prefix) == closing + THANKS


@pytest.mark.parametrize(
    ("completion", "closing"),
    [
        (ANALYSIS + "<|end|>" + NEXT + CALL + "<|call|>", ""),
        (CALL, "<|call|>"),
        ("<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>", ""),
    ],
)
def test_a_result_names_the_function_that_was_sampled(completion: str, closing: str) -> None:
    assert added(completion, tool("12:00", name="search")) == closing + RESULT


def test_a_result_after_a_call_that_cannot_be_read_needs_a_name() -> None:
    assert added(" to=functions.n", tool("12:00", name="now")).endswith(RESULT)
    with pytest.raises(isc.ConversationError, match="is the result of no call") as error:
        plan(" to=functions.n", tool("12:00"))
    assert error.value.path == "new_messages[0]"


def test_a_result_of_a_builtin_tool_has_no_turn() -> None:
    with pytest.raises(isc.ConversationError, match="is the result of no call"):
        plan("<|channel|>analysis to=python code<|message|>1<|call|>", tool("1"))


def test_a_tool_cycle_equals_a_fresh_render() -> None:
    turn = assistant("", call("now", {}), reasoning="Look.")
    fresh = RENDERER.render([user("go"), turn, tool("12:00")], TOOLS, True)
    completion = ids_of(RENDERER, ANALYSIS + "<|end|>" + NEXT + CALL + "<|call|>")
    prompt = RENDERER.render([user("go")], TOOLS, True)
    extended = RENDERER.extend(prompt, completion, [tool("12:00")], TOOLS)
    assert extended is not None
    assert (extended.token_ids, extended.sampled_mask) == (fresh.token_ids, fresh.sampled_mask)


def test_a_user_message_asks_for_a_fresh_render_unless_all_is_kept() -> None:
    found = RENDERER.plan_bridge(PROMPT, ids_of(RENDERER, FINAL + "4<|return|>"), [user("thanks")], TOOLS)
    assert isinstance(found, Refusal)
    assert found.reason == "retention"


def test_a_trajectory_is_what_its_sampler_saw() -> None:
    turns = [assistant("", call("now", {}), reasoning="Look."), tool("12:00"), assistant("Noon.", reasoning="Easy.")]
    step = isc.build_trajectory_step(RENDERER, [user("go")], turns, TOOLS)
    text = RENDERER.encoder.decode_bytes(step.completion_ids).decode()
    answer = "<|channel|>analysis<|message|>Easy.<|end|>" + NEXT + FINAL + "Noon.<|return|>"
    assert text == f"{ANALYSIS}<|end|>{NEXT}{CALL}<|call|>{RESULT}{answer}"
    drawn = [token for token, sampled in zip(step.completion_ids, step.completion_mask, strict=True) if sampled]
    assert RENDERER.encoder.decode_bytes(drawn).decode() == text.replace(RESULT, "")
