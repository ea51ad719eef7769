"""Gemma 3, literally: the system's words in the first user's turn, trimmed texts, strict alternation, no tools."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from isc.encoding.encoders import embedded
from isc.formats.gemma3 import Gemma3

RENDERER = isc.create_renderer(embedded(Gemma3().specials), Gemma3())
SYSTEM = {"role": "system", "content": " Be brief. "}
USER = {"role": "user", "content": " Hi \n"}
SAID = {"role": "assistant", "content": "\nHello ", "reasoning_content": "dropped"}


def told(messages: list[dict[str, Any]], *, asked: bool = False) -> list[tuple[str, int, bool]]:
    return [(s.text, s.message, s.body) for s in RENDERER.segments(messages, None, asked)]


def test_the_system_message_is_body_of_its_own_in_the_user_s_turn() -> None:
    # {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}, the prefix as it stands
    assert told([SYSTEM, USER, SAID], asked=True) == [
        ("<bos>", 0, False),
        *(("<start_of_turn>", 1, False), ("user\n", 1, False)),
        *((" Be brief. ", 0, True), ("\n\n", 1, False), ("Hi", 1, True), ("<end_of_turn>", 1, False), ("\n", 1, False)),
        *(("<start_of_turn>", 2, False), ("model\n", 2, False), ("Hello", 2, True), ("<end_of_turn>", 2, True)),
        *(("\n", 2, False), ("<start_of_turn>", -1, False), ("model\n", -1, False)),
    ]


def test_each_text_of_a_list_is_trimmed() -> None:
    # {{ item['text'] | trim }}
    parts = [{"type": "text", "text": " one "}, {"type": "text", "text": "two "}]
    assert ("onetwo", 0, True) in told([{"role": "user", "content": parts}])


CALLING = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "two users in a row": ([USER, USER], "messages[1].role"),
    "two assistants in a row": ([USER, SAID, SAID], "messages[2].role"),
    "an assistant first": ([SAID, USER], "messages[0].role"),
    "an assistant after the system": ([SYSTEM, SAID], "messages[1].role"),
    "the system alone, which the template drops": ([SYSTEM], "messages"),
    "a system message that is not the first": ([USER, SYSTEM], "messages[1].role"),
    "a developer": ([USER, {"role": "developer", "content": "x"}], "messages[1].role"),
    "a result": ([USER, {"role": "tool", "content": "x"}], "messages[1].role"),
    "a call": ([USER, CALLING], "messages[1].tool_calls"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_template_drops_or_refuses_is_refused(what: str) -> None:
    messages, path = REFUSED[what]
    with pytest.raises(isc.ConversationError) as error:
        RENDERER.render(messages)
    assert error.value.path == path


def test_tools_are_refused() -> None:
    with pytest.raises(isc.ConversationError, match="shows the model no tools"):
        RENDERER.render([USER], [{"name": "f"}])


def test_a_completion_is_read_back_as_content_and_goes_on() -> None:
    prompt = RENDERER.render([USER], add_generation_prompt=True)
    completion = RENDERER.render_ids([USER, SAID])[len(prompt) : -1]
    assert RENDERER.parse_response(completion) == isc.ParsedResponse("Hello")
    bridged = RENDERER.bridge_to_next_turn(prompt.token_ids, completion, [USER])
    assert bridged is not None
    assert bridged.token_ids == RENDERER.render_ids([USER, SAID, USER], None, True)
    refused = RENDERER.plan_bridge(prompt.token_ids, completion, [SAID])
    assert isinstance(refused, isc.Refusal)
