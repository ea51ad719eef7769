"""Qwen2.5 and QwQ, literally: the identity, marks of results that are text, the reasoning of the last turn."""

from __future__ import annotations

import random
from typing import Any

import pytest

import isc
from golden_conversations import NOW, assistant, call, system, tool, user
from isc import testing
from isc.encoding.encoders import embedded
from isc.formats.qwen2_5 import Qwen25
from spelled_ids import ids_of

TOKENS = Qwen25(response_tokens=True)
PLAIN = isc.create_renderer(embedded(Qwen25().specials), Qwen25())
QWQ = isc.create_renderer(embedded(Qwen25(variant="qwq", response_tokens=True).specials), Qwen25(variant="qwq"))
IDENTITY = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
CALLED = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


def text(renderer: isc.Renderer, messages: list[dict[str, Any]], tools: Any = None, *, asked: bool = False) -> str:  # noqa: ANN401
    return "".join(segment.text for segment in renderer.segments(messages, tools, asked))


def test_the_identity_is_nobody_s_and_gives_way_to_a_system_message() -> None:
    # {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    first = list(PLAIN.segments([user("a")]))[:4]
    assert "".join(segment.text for segment in first) == f"<|im_start|>system\n{IDENTITY}<|im_end|>"
    assert {(segment.message, segment.body) for segment in first} == {(-1, False)}
    assert text(PLAIN, [system(""), user("a")]).startswith("<|im_start|>system\n<|im_end|>\n<|im_start|>user\na")
    assert text(PLAIN, [user("a")], [NOW]).startswith(f"<|im_start|>system\n{IDENTITY}\n\n# Tools\n\n")


def test_qwq_has_no_identity_but_room_for_it() -> None:
    # {%- if tools %} ... {{- '' }} ... {{- "\n\n# Tools; without tools only {%- if messages[0]['role'] == 'system' %}
    assert text(QWQ, [user("a")]).startswith("<|im_start|>user\n")
    assert text(QWQ, [user("a")], [NOW]).startswith("<|im_start|>system\n\n\n# Tools\n\n")
    assert text(QWQ, [user("a")], asked=True).endswith("<|im_start|>assistant\n<think>\n")


@pytest.mark.parametrize("family", [Qwen25(), TOKENS])
def test_marks_of_results_are_tokens_where_the_vocabulary_has_them(family: Qwen25) -> None:
    # {{- '\n<tool_response>\n' }}
    renderer = isc.create_renderer(embedded(family.specials), Qwen25())
    assert renderer.family == family
    messages = [user("?"), assistant("", call("now", {}, "1")), tool("12:00", "1"), tool("!", "1")]
    marks = [segment for segment in renderer.segments(messages) if "tool_response>" in segment.text]
    assert [segment.kind for segment in marks] == ["special" if family.response_tokens else "text"] * 4
    shown = (
        "<|im_start|>user\n<tool_response>\n12:00\n</tool_response>\n<tool_response>\n!\n</tool_response><|im_end|>\n"
    )
    assert text(renderer, messages).endswith(shown)


def test_arguments_given_as_text_are_written_as_what_they_say() -> None:
    # {{- tool_call.arguments | tojson }}, which would quote the text once more
    messages = [user("?"), assistant("so", call("now", '{"a":"\\u00e9"}'), call("now", "{}"))]
    assert text(PLAIN, messages).endswith(
        'so\n<tool_call>\n{"name": "now", "arguments": {"a": "é"}}\n</tool_call>\n' + CALLED + "<|im_end|>\n"
    )


def test_a_developer_is_refused() -> None:
    # no branch of the template is for one
    with pytest.raises(isc.ConversationError, match="no such turn"):
        PLAIN.render([user("?"), {"role": "developer", "content": "x"}])


QWQ_TURNS: dict[str, tuple[list[dict[str, Any]], str]] = {
    # {%- if not loop.last %} {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
    "an earlier turn is cut": (
        [assistant("a</think>\n\nb"), user("!")],
        "b<|im_end|>\n<|im_start|>user\n!<|im_end|>\n",
    ),
    "the last is not": ([assistant("a</think>\n\nb")], "a</think>\n\nb<|im_end|>\n"),
    "reasoning of the last": ([assistant("b", reasoning="\na")], "<think>\na\n</think>\n\nb<|im_end|>\n"),
    "reasoning of an earlier": (
        [assistant("b", reasoning="a"), user("!")],
        "b<|im_end|>\n<|im_start|>user\n!<|im_end|>\n",
    ),
    # {%- if message.content %} {{- '\n' + content }}: white space before the first call although nothing is left
    "a thought alone, then a call": (
        [assistant("a</think>", call("now", {}, "1")), tool("x", "1")],
        f"\n{CALLED}<|im_end|>\n<|im_start|>user\n<tool_response>\nx\n</tool_response><|im_end|>\n",
    ),
    "a call": ([assistant("", call("now", {}), reasoning="a")], f"<think>\na\n</think>\n\n\n{CALLED}<|im_end|>\n"),
}


@pytest.mark.parametrize("what", QWQ_TURNS)
def test_qwq_keeps_the_reasoning_of_the_last_turn(what: str) -> None:
    messages, expected = QWQ_TURNS[what]
    assert text(QWQ, [user("?"), *messages]) == f"<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n{expected}"


def test_the_laws_hold_for_qwq() -> None:
    """No reference has its template, so that it is no case of the tables."""
    inverted = 0
    for seed in range(40):
        messages, tools = testing.Writer(random.Random(seed), QWQ.family.shape).conversation()
        for law in (testing.ownership, testing.body, testing.sampled, testing.homomorphism, testing.no_forgery):
            law(QWQ, (messages, tools))
        if messages[-1]["role"] == "assistant":
            calls = [{**one, "id": None} for one in messages[-1].get("tool_calls", ())]
            testing.inverse(QWQ, ([*messages[:-1], {**messages[-1], "tool_calls": calls}], tools))
            inverted += 1
    assert inverted > 5


def test_a_sampled_turn_is_read_back_and_goes_on() -> None:
    prompt = QWQ.render([user("?")], add_generation_prompt=True)
    completion = ids_of(QWQ, f"hm\n</think>\n\nso\n{CALLED}<|im_end|>")
    parsed = QWQ.parse_response(completion, [NOW], prompt.token_ids)
    assert (parsed.reasoning_content, parsed.content) == ("hm", "so")
    assert [(one.name, one.arguments, one.status) for one in parsed.tool_calls] == [("now", {}, "ok")]
    bridged = QWQ.bridge_to_next_turn(prompt.token_ids, completion, [tool("12:00", "1")])
    assert bridged is not None
    added = QWQ.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(completion) :]).decode()
    assert added == (
        "\n<|im_start|>user\n<tool_response>\n12:00\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    assert PLAIN.parse_response(ids_of(PLAIN, f"so\n{CALLED}<|im_end|>")).content == "so"
