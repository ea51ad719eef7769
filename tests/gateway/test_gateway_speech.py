"""What an agent is told while an answer is sampled: the same in any pieces, and what is recorded is what was told."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from gateway_sessions import CALL, KIMI, QWEN, SEARCH, ids_of
from isc.conversation.rollout import assistant_message
from isc.gateway.dialect import ArgumentsTold, CallClosed, CallTold, ReasoningTold, TextTold, TokensTold, Told
from isc.gateway.speech import Manner, Speech
from isc.gateway.stepping import call_id
from isc.types import AssistantMessage, ToolCall

SAID = f"<think>\nCats.\n</think>\n\nI look.\n\n{CALL}<|im_end|>"
TEXTS = (
    SAID,
    "Good day.<|im_end|>",
    CALL + "\n" + CALL.replace("cats", "dogs") + "<|im_end|>",
    "Look.<tool_call>\n{oops\n</tool_call><|im_end|>",
    '<tool_call>\n{"name": "search", "arguments": {"q": "ca',
    '<tool_call>\n{"name": "shell", "arguments": {}}\n</tool_call>\n<tool_call>\n{}\n</tool_call><|im_end|>',
    "<think>\nnever closed",
    "",
)


def spoken(text: str, cuts: Sequence[int] = (), **options: Any) -> tuple[Speech, list[Told]]:  # noqa: ANN401
    """The speech of a text and what was told of it, fed in pieces."""
    ids = ids_of(QWEN, text)
    speech = Speech(QWEN.reader(tools=SEARCH), QWEN.encoder, Manner(0, "turn-1", **options))
    told: list[Told] = []
    edges = sorted({0, *(cut % (len(ids) + 1) for cut in cuts), len(ids)})
    for start, end in pairwise(edges):
        told += speech.feed(ids[start:end], [-0.5] * (end - start))
    return speech, [*told, *speech.finish()]


def content(told: Sequence[Told]) -> str:
    return "".join(event.text for event in told if isinstance(event, TextTold))


@pytest.mark.parametrize("text", TEXTS)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_any_pieces_tell_what_is_recorded(text: str, cuts: list[int]) -> None:
    speech, told = spoken(text, cuts)
    if text.endswith("<|im_end|>"):  # of a call that is as it should be nothing else is recorded
        in_pieces, _ = spoken(text, cuts, in_pieces=None)
        assert in_pieces.said == speech.said
    ids = ids_of(QWEN, text)
    assert speech.said == assistant_message(QWEN.encoder, ids, QWEN.parse_response(ids, SEARCH))
    assert content(told) == speech.said.content
    reasoning = "".join(event.text for event in told if isinstance(event, ReasoningTold))
    assert reasoning == (speech.said.reasoning_content or "")
    begun = [event for event in told if isinstance(event, CallTold)]
    assert [(event.name, event.id) for event in begun] == [
        (call.name, call_id("turn-1", index)) for index, call in enumerate(speech.said.tool_calls)
    ]
    assert tuple(speech.completion_ids) == ids


def test_a_call_is_told_from_its_name_to_its_end() -> None:
    speech, told = spoken(SAID, range(200))
    kinds = [type(event) for event in told if not isinstance(event, (ReasoningTold, TextTold))]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == (CallTold, CallClosed, {ArgumentsTold})
    arguments = "".join(event.text for event in told if isinstance(event, ArgumentsTold))
    assert arguments == '{"q": "cats", "limit": 3}'
    assert speech.finish_reason("stop") == "tool_calls"


def test_a_malformed_call_is_told_as_text() -> None:
    speech, told = spoken("Look.<tool_call>\n{oops\n</tool_call><|im_end|>")
    assert content(told) == "Look.\n<tool_call>\n{oops\n</tool_call>"
    assert not speech.said.tool_calls
    assert speech.finish_reason("stop") == "stop"


TORN = {
    '{"name": "search", "arguments": {"q": "ca': '{"q": "ca',
    '{"name": "search", "arguments": {"q": "cats"}': '{"q": "cats"',
    '{"name": "search", "arguments": {"q": "}}"}, "name": "g"}\n</tool_call><|im_end|>': '{"q": "}}"',
    '{"name": "search", "arguments": {"q": {}} x}\n</tool_call><|im_end|>': '{"q": {',
    '{"name": "search", "arguments": {"q': '{"q',
    '{"name": "search", "arguments": {}': None,
    '{"name": "search", "arguments": { ': None,
}
"""What of the arguments of a torn call is told: never the JSON of an object. None: it is text.

Fed in larger pieces, less may be told.
"""


@pytest.mark.parametrize("text", TORN)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_a_torn_call_stays_told_as_far_as_it_was(text: str, cuts: list[int]) -> None:
    for pieces, expected in ((range(200), TORN[text] or ""), (cuts, None)):
        speech, told = spoken("<tool_call>\n" + text, pieces, in_pieces=None)
        arguments = "".join(event.text for event in told if isinstance(event, ArgumentsTold))
        if not arguments:
            assert speech.said.tool_calls == ()
            assert content(told).startswith("<tool_call>")
        else:
            assert arguments == speech.said.tool_calls[0].arguments
            assert (told[-1], content(told)) == (CallClosed(0, 0, is_whole=False), "")
            with pytest.raises(ValueError, match=r".*"):
                json.loads(arguments)
        assert (arguments == expected) if expected is not None else (TORN[text] or "").startswith(arguments)


def test_a_call_is_told_in_pieces_only_of_tools_that_want_it() -> None:
    for tools, pieces in ((("search",), True), (("other",), False), ((), False), (None, True)):
        _, told = spoken(SAID, range(200), in_pieces=tools)
        assert (sum(isinstance(event, ArgumentsTold) for event in told) > 1) == pieces


def test_calls_that_are_not_allowed_are_text() -> None:
    speech, told = spoken(SAID, as_calls=False)
    assert content(told).startswith("I look.")
    assert '"cats"' in content(told)
    assert speech.said.tool_calls == ()


@given(source=st.randoms(use_true_random=False))
def test_a_stop_text_ends_the_answer_wherever_ids_are_cut(source: random.Random) -> None:
    text = "One two three. Observation: four<|im_end|>"
    cuts = [source.randrange(60) for _ in range(8)]
    speech, told = spoken(text, cuts, stop=("Observation:", "five"))
    assert content(told) == "One two three. " == speech.said.content
    assert (speech.ended, speech.stop, speech.finish_reason("length")) == (True, "Observation:", "stop")
    ids = ids_of(QWEN, text)
    kept = tuple(speech.completion_ids)
    assert kept == ids[: len(kept)]
    assert QWEN.encoder.decode_bytes(kept).decode().rstrip(" four").endswith("Observation:")
    assert "Observation:" not in QWEN.encoder.decode_bytes(kept[:-1]).decode()


def test_what_only_began_like_a_stop_text_is_told() -> None:
    speech, told = spoken("One tw", range(20), stop=("two",))
    assert content(told) == "One tw"
    assert not speech.ended


def test_an_answer_can_end_with_its_first_call() -> None:
    speech, _ = spoken(CALL + "\n" + CALL + "<|im_end|>", one_call=True)
    assert len(speech.said.tool_calls) == 1
    assert QWEN.encoder.decode_bytes(speech.completion_ids).decode() == CALL
    assert speech.finish_reason("stop") == "tool_calls"


def test_tokens_are_told_once_each() -> None:
    speech, told = spoken(SAID, range(0, 200, 7), tells_tokens=True)
    tokens = [token for event in told if isinstance(event, TokensTold) for token in event.tokens]
    assert tuple(token.id for token in tokens) == ids_of(QWEN, SAID)
    assert b"".join(token.data for token in tokens).decode() == SAID
    assert tuple(tokens) == speech.tokens()


def test_the_models_own_ids_are_recorded() -> None:
    call = '<|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{"q": 1}<|tool_call_end|>'
    ids = ids_of(KIMI, f"<|tool_calls_section_begin|>{call}<|tool_calls_section_end|><|im_end|>")
    speech = Speech(KIMI.reader(tools=SEARCH), KIMI.encoder, Manner(0, "turn-1"))
    speech.feed(ids, [None] * len(ids))
    speech.finish()
    assert speech.said == AssistantMessage("", tool_calls=(ToolCall("search", {"q": 1}, "functions.search:0"),))
    assert isinstance(speech.said, isc.AssistantMessage)
