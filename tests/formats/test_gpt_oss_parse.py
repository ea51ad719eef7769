"""gpt-oss: sampled turns read back, whole, cut off anywhere and malformed."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import TOOLS, assistant, call, tool, user
from isc.formats.gpt_oss import GptOss
from small_renders import parsed, renderer_of
from spelled_ids import ids_of

GPT = GptOss(conversation_start_date="2025-08-05")
ANALYSIS = "<|channel|>analysis<|message|>Look.<|end|>"
NEXT = "<|start|>assistant"
FINAL = "<|channel|>final<|message|>"
BY_ROLE = " to=functions.now<|channel|>commentary json<|message|>{}"
BY_CHANNEL = "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}"

TURNS: list[tuple[str, str, str | None, bool]] = [
    ("", "", None, True),
    ("<|return|>", "", None, True),
    (FINAL + "4<|return|>", "4", None, True),
    (FINAL + "4", "4", None, True),
    (FINAL + "4<|endoftext|>more", "4", None, True),
    (FINAL + " 4\n<|return|>" + NEXT + FINAL + "5", " 4\n", None, True),
    (ANALYSIS + NEXT + FINAL + "4<|return|>", "4", "Look.", True),
    (ANALYSIS, "", "Look.", True),
    (ANALYSIS + NEXT, "", "Look.", True),
    (ANALYSIS + NEXT + "<|channel|>fin", "", "Look.", True),
    ("<|channel|>analysis<|message|>Loo", "", "Loo", False),
    ("<|channel|>analysis<|message|>", "", "", False),
    ("<|channel|>analysis<|message|>Loo<|return|>", "", "Loo", False),
    ("<|channel|>analysis", "", None, True),
    ("<|channel|>analysis<|message|>Loo" + NEXT + FINAL + "4", "4", "Loo", True),
    (ANALYSIS + NEXT + ANALYSIS + NEXT + FINAL + "4", "4", "Look.\nLook.", True),
    ("<|channel|>commentary<|message|>First.<|end|>" + NEXT + FINAL + "Then.<|return|>", "First.\nThen.", None, True),
    (
        FINAL + "a<|channel|>b<|message|>c<|constrain|>d<|return|>",
        "a<|channel|>b<|message|>c<|constrain|>d",
        None,
        True,
    ),
    ("<|channel|>mind<|message|>x<|end|>", "x", None, True),  # a channel that does not exist
    ("<|message|>x<|end|>", "x", None, True),  # no channel
    ("Hello.<|return|>", "Hello.", None, True),  # no header
    (FINAL + "4<|end|>more", "4\nmore", None, True),
    (FINAL + "4<|end|><|start|>user<|message|>5?<|end|>", "4", None, True),  # somebody else's
    ("<|channel|>final to=all<|message|>4<|end|>", "4", None, True),
]


@pytest.mark.parametrize(("text", "content", "reasoning", "complete"), TURNS)
def test_what_a_turn_says(text: str, content: str, reasoning: str | None, complete: bool) -> None:
    assert parsed(GPT, text) == isc.ParsedResponse(content, reasoning, (), complete)


CALLS: list[tuple[str, str | None, dict[str, Any] | None, str]] = [
    (BY_ROLE + "<|call|>", "now", {}, "ok"),
    (BY_CHANNEL + "<|call|>", "now", {}, "ok"),
    (BY_ROLE, "now", {}, "ok"),  # the stop may have been left out
    (BY_ROLE + "<|endoftext|>", "now", {}, "ok"),
    (" to=functions.now<|channel|>analysis code<|message|>{}<|call|>", "now", {}, "ok"),
    ("<|channel|>commentary to=functions.now<|message|>{}<|call|>", "now", {}, "ok"),
    (" to=functions.now<|message|>{}<|call|>", "now", {}, "ok"),
    (" to=functions.now<|channel|>commentary json<|message|>{", "now", None, "unclosed_block"),
    (" to=functions.now<|channel|>commentary json<|message|>{<|call|>", "now", None, "invalid_json"),
    (" to=functions.now<|channel|>commentary json<|message|>[1]<|call|>", "now", None, "malformed_structure"),
    (BY_ROLE + "<|end|>", "now", {}, "ok"),  # the end of a message, of any kind
    (BY_ROLE + "<|return|>", "now", {}, "malformed_structure"),
    (" to=functions.<|channel|>commentary json<|message|>{}<|call|>", None, {}, "missing_name"),
    (" to=<|channel|>commentary json<|message|>{}<|call|>", None, {}, "missing_name"),
    (" to=functions.n", None, None, "unclosed_block"),
    (" to=functions.now<|channel|>commentary", None, None, "unclosed_block"),
    ("<|channel|>commentary to=functions.n<|call|>", None, None, "unclosed_block"),
    (" to=functions.then<|channel|>commentary json<|message|>{}<|call|>", "then", {}, "unknown_tool"),
    (" to=browser.search<|channel|>analysis json<|message|>{}<|call|>", "browser.search", {}, "unknown_tool"),
    ("<|channel|>analysis to=python code<|message|>1 + 1<|call|>", "python", None, "invalid_json"),
    (" to=functions.two words<|channel|>commentary json<|message|>{}<|call|>", "two words", {}, "unknown_tool"),
]


@pytest.mark.parametrize(("text", "name", "arguments", "status"), CALLS)
def test_what_goes_to_a_recipient_is_a_call(
    text: str, name: str | None, arguments: dict[str, Any] | None, status: str
) -> None:
    (found,) = parsed(GPT, ANALYSIS + NEXT + text, TOOLS).tool_calls
    assert (found.name, found.arguments, found.status) == (name, arguments, status)


@pytest.mark.parametrize("before", ["", ANALYSIS + NEXT])
def test_a_call_spans_its_tokens_from_its_header_to_its_stop(before: str) -> None:
    renderer = renderer_of(GPT)
    ids = ids_of(renderer, before + BY_ROLE + "<|call|>")
    (found,) = renderer.parse_response(ids).tool_calls
    spanned = renderer.encoder.decode_bytes(ids[slice(*found.token_span)]).decode()
    assert spanned == ("<|start|>assistant" if before else "") + BY_ROLE + "<|call|>"


def test_messages_of_the_model_after_a_call_that_nothing_stopped_are_read() -> None:
    other = " to=functions.now<|channel|>commentary json<|message|>[1]"
    for rest, statuses, content in (
        (NEXT + other, ["ok", "malformed_structure"], ""),
        (NEXT + FINAL + "4", ["ok"], "4"),
        (
            "<|start|>functions.now to=assistant<|channel|>commentary<|message|>1<|end|>" + NEXT + FINAL + "4",
            ["ok"],
            "",
        ),
        (FINAL + "4", ["ok"], ""),
    ):
        found = parsed(GPT, f"{BY_CHANNEL}<|call|>{rest}", TOOLS)
        assert ([one.status for one in found.tool_calls], found.content) == (statuses, content)


def test_a_preamble_before_a_call_is_content() -> None:
    found = parsed(GPT, ANALYSIS + NEXT + "<|channel|>commentary<|message|>Looking.<|end|>" + NEXT + BY_CHANNEL)
    assert (found.content, found.reasoning_content, len(found.tool_calls)) == ("Looking.", "Look.", 1)


PREFILLED: list[tuple[str, str, str, str | None]] = [
    ("<|channel|>analysis<|message|>", "Look.<|end|>" + NEXT + FINAL + "4<|return|>", "4", "Look."),
    ("<|channel|>analysis<|message|>Well, ", "look.<|end|>", "", "look."),
    (FINAL, "4<|return|>", "4", None),
    ("<|channel|>", "final<|message|>4<|return|>", "4", None),
    (ANALYSIS + NEXT, FINAL + "4<|return|>", "4", None),
    (ANALYSIS, NEXT + FINAL + "4<|return|>", "4", None),
]


@pytest.mark.parametrize(("prefix", "text", "content", "reasoning"), PREFILLED)
def test_a_prompt_may_hold_the_first_words_of_a_turn(
    prefix: str, text: str, content: str, reasoning: str | None
) -> None:
    found = parsed(GPT, text, prompt=f"<|start|>user<|message|>x<|end|>{NEXT}{prefix}")
    assert (found.content, found.reasoning_content) == (content, reasoning)


def test_a_call_whose_header_stands_in_the_prompt() -> None:
    (found,) = parsed(GPT, "{}<|call|>", prompt=NEXT + BY_ROLE.removesuffix("{}")).tool_calls
    assert (found.name, found.arguments, found.status, found.raw) == ("now", {}, "ok", "{}")
    assert found.token_span[0] == 0


def test_a_preamble_and_reasoning_are_read_back_and_rendered_the_same() -> None:
    renderer = renderer_of(GPT)
    turn = assistant("Looking.", call("now", {}), reasoning="Look.")
    isc.testing.inverse(renderer, ([user("x"), turn], TOOLS))
    isc.testing.sampled(renderer, ([user("x"), turn, tool("y")], TOOLS))
