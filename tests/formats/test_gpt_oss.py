"""gpt-oss: what its template does that others do not, each with the template line it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import isc
from cases import CASES
from golden_conversations import TOOLS, assistant, call, system, tool, user
from isc.conversation.renderer import stream
from isc.convert import chat
from isc.encoding.encoders import embedded
from isc.errors import ConversationError, OptionError
from isc.formats import gpt_oss
from isc.formats.gpt_oss import GptOss
from isc.types import Segment

Messages = list[dict[str, Any]]

GPT = GptOss(conversation_start_date="2025-08-05")
SEARCH = call("search", {"query": "cats"})
PREAMBLE = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
    "Current date: 2025-08-05\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.{}<|end|>"
)
USER = "<|start|>user<|message|>cats<|end|>"
CALL = '<|start|>assistant to=functions.search<|channel|>commentary json<|message|>{"query": "cats"}<|call|>'


def segments(messages: Messages, *, family: GptOss = GPT, prompt: bool = False) -> list[Segment]:
    return list(stream(family, chat(messages), add_generation_prompt=prompt))


def text(found: Iterable[Segment]) -> str:
    return "".join(segment.text for segment in found)


def after_user(*messages: dict[str, Any], family: GptOss = GPT, prompt: bool = False) -> str:
    """What follows a first user message."""
    found = text(segments([user("cats"), *messages], family=family, prompt=prompt))
    return found.removeprefix(PREAMBLE.format("") + USER)


def attributed(messages: Messages, index: int) -> list[tuple[str, bool]]:
    """The segments of a message, and whether each is body."""
    return [(segment.text, segment.body) for segment in segments(messages) if segment.message == index]


def test_the_system_turn_is_the_formats_own() -> None:  # build_system_message
    found = segments([user("cats")])
    assert text(found) == PREAMBLE.format("") + USER
    assert {segment.message for segment in found[:5]} == {-1}


def test_the_date_is_today_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:  # strftime_now("%Y-%m-%d")
    monkeypatch.setattr(gpt_oss, "today", lambda pattern: f"today as {pattern}")
    assert "Current date: today as %Y-%m-%d\n\n" in text(segments([user("")], family=GptOss()))


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_leading_system_or_developer_message_is_the_developer_turn(role: str) -> None:
    found = segments([{"role": role, "content": "Be brief."}, user("cats")])
    wanted = "<|start|>developer<|message|># Instructions\n\nBe brief.\n\n<|end|>"
    assert text(found) == PREAMBLE.format("") + wanted + USER
    assert [segment for segment in found if segment.message == 0 and segment.body] == [
        Segment("Be brief.", "text", True, 0)
    ]


def test_the_preamble_belongs_to_a_system_message_and_to_no_developer_message() -> None:  # law 2
    owners = [segments([{"role": role, "content": "x"}])[0].message for role in ("system", "developer")]
    assert owners == [0, -1]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_tools_follow_instructions(role: str) -> None:  # "# Tools\n\n" + render_tool_namespace
    found = text(stream(GPT, chat([{"role": role, "content": "Be."}], TOOLS)))
    told = "\nCalls to these tools must go to the commentary channel: 'functions'."
    assert found.startswith(
        PREAMBLE.format(told) + "<|start|>developer<|message|># Instructions\n\nBe.\n\n# Tools\n\n## "
    )
    assert found.count("namespace functions {") == 1


@pytest.mark.parametrize("tools", [None, TOOLS])
def test_a_developer_message_is_rendered_as_the_template_does(reference: Path, tools: Messages | None) -> None:
    messages: Messages = [{"role": "developer", "content": "Be brief."}, user("cats"), assistant("a")]
    template = next(case for case in CASES if case.name == "gpt-oss").reference(reference)
    wanted = template.text((messages, tools), add_generation_prompt=False)
    assert text(stream(GPT, chat(messages, tools))) == wanted


def test_empty_instructions_are_none() -> None:  # if developer_message or tools
    assert text(segments([system(""), user("cats")])) == PREAMBLE.format("") + USER


def test_only_the_last_answer_reasons_and_returns() -> None:  # loop.last and not add_generation_prompt
    turns = (assistant("a", reasoning="r"), user("cats"), assistant("b", reasoning="s"))
    first = "<|start|>assistant<|channel|>final<|message|>a<|end|>"
    thought = "<|start|>assistant<|channel|>analysis<|message|>s<|end|>"
    last = "<|start|>assistant<|channel|>final<|message|>b<|return|>"
    assert after_user(*turns) == first + USER + thought + last


def test_before_a_generation_prompt_no_answer_is_the_last() -> None:  # not add_generation_prompt
    found = after_user(assistant("a", reasoning="r"), prompt=True)
    assert found == "<|start|>assistant<|channel|>final<|message|>a<|end|><|start|>assistant"


def test_empty_reasoning_is_an_empty_message_of_an_answer_and_none_of_a_call() -> None:  # "thinking" in message
    assert after_user(assistant("a", reasoning="")).startswith(
        "<|start|>assistant<|channel|>analysis<|message|><|end|>"
    )
    assert after_user(assistant("", SEARCH, reasoning="")) == CALL


@pytest.mark.parametrize(("content", "reasoning"), [("", "Look."), ("Look.", None), ("Look.", "")])
def test_reasoning_or_content_of_a_call_is_analysis(content: str, reasoning: str | None) -> None:
    found = after_user(assistant(content, SEARCH, reasoning=reasoning))
    assert found == "<|start|>assistant<|channel|>analysis<|message|>Look.<|end|>" + CALL


def test_content_beside_reasoning_of_a_call_is_commentary() -> None:  # where the template raises
    found = after_user(assistant("Looking.", SEARCH, reasoning="Look."))
    assert found == (
        "<|start|>assistant<|channel|>analysis<|message|>Look.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>Looking.<|end|>" + CALL
    )


def test_analysis_of_a_call_stays_until_a_later_answer() -> None:  # future_final_message.found
    called = (assistant("", SEARCH, reasoning="Look."), tool("x"))
    result = '<|start|>functions.search to=assistant<|channel|>commentary<|message|>"x"<|end|>'
    assert after_user(*called).endswith("Look.<|end|>" + CALL + result)
    assert after_user(*called, user("cats"), prompt=True).endswith(
        f"Look.<|end|>{CALL}{result}{USER}<|start|>assistant"
    )
    assert after_user(*called, assistant("")).startswith(CALL + result)


def test_all_analysis_is_kept_where_it_is_not_dropped() -> None:
    keeping = GptOss(conversation_start_date="2025-08-05", auto_drop_analysis=False)
    turns = (assistant("", SEARCH, reasoning="1"), tool("x"), assistant("a", reasoning="2"), user("cats"))
    found = after_user(*turns, family=keeping)
    assert found.count("<|channel|>analysis<|message|>") == 2
    assert "<|channel|>final<|message|>a<|end|>" in found


def test_the_prompt_gives_the_first_header_and_the_model_samples_the_second() -> None:  # law 4
    turn = attributed([user("cats"), assistant("", SEARCH, reasoning="Look.")], 1)
    assert turn[:2] == [("<|start|>", False), ("assistant", False)]
    assert all(is_body for _, is_body in turn[2:])
    assert [spelled for spelled, _ in turn[6:9]] == ["<|end|>", "<|start|>", "assistant to=functions.search"]


def test_a_recipient_is_sampled_behind_the_prompt() -> None:  # law 4
    turn = attributed([user("cats"), assistant("", SEARCH)], 1)
    assert turn[:4] == [
        ("<|start|>", False),
        ("assistant", False),
        (" to=functions.search", True),
        ("<|channel|>", True),
    ]
    assert turn[-1] == ("<|call|>", True)


def test_a_result_is_a_json_string_of_the_last_calls_function() -> None:  # message.content|tojson
    turns = [user("cats"), assistant("", SEARCH), tool('a "b"\n'), tool("", name="now")]
    assert attributed(turns, 2) == [
        ("<|start|>", False),
        ("functions.search to=assistant", False),  # law 3: the name is another message's
        ("<|channel|>", False),
        ("commentary", False),
        ("<|message|>", False),
        ('"a \\"b\\"\\n"', True),
        ("<|end|>", False),
    ]
    assert attributed(turns, 3)[1] == ("functions.search to=assistant", False)
    assert attributed(turns, 3)[5] == ('""', False)  # nothing was said


def test_a_result_that_follows_no_call_takes_its_own_name() -> None:  # where the template raises
    found = after_user(assistant("a"), tool("x", name="now"))
    assert found.endswith('<|start|>functions.now to=assistant<|channel|>commentary<|message|>"x"<|end|>')


def test_arguments_given_as_text_stand_as_they_are() -> None:  # where the template makes a JSON string of them
    found = after_user(assistant("", call("search", '{"query":  "a\\u00e9"}')))
    assert found.endswith('json<|message|>{"query":  "a\\u00e9"}<|call|>')


def test_texts_that_spell_channel_marks_stay_texts() -> None:  # where the template raises
    spelled = "<|channel|>analysis<|message|>"
    found = segments([user("cats"), assistant(spelled, reasoning=spelled)])
    assert [segment for segment in found if spelled in segment.text] == [Segment(spelled, "text", True, 1)] * 2


@pytest.mark.parametrize("tools", [("browser",), ("python",), ("browser", "python")])
def test_builtin_tools_stand_in_the_system_turn(tools: tuple[Any, ...]) -> None:
    found = text(segments([user("")], family=GptOss(builtin_tools=tools)))
    assert ["browser" in tools, "python" in tools] == [f"## {name}\n\n" in found for name in ("browser", "python")]
    assert found.index("# Tools\n\n## ") < found.index("\n\n# Valid channels")


def test_a_builtin_tool_that_does_not_exist() -> None:
    with pytest.raises(OptionError, match=r"builtin_tools\[0\]='shell' is none of 'browser', 'python'"):
        GptOss(builtin_tools=("shell",))  # type: ignore[arg-type]


CALLING = assistant("", SEARCH)
BAD: list[tuple[Messages, str, str]] = [
    ([user("a"), assistant("", SEARCH, call("now", {}))], "messages[1].tool_calls[1]", "makes one call a turn"),
    ([user("a"), system("b")], "messages[1].role", "must be the first"),
    ([system("a"), {"role": "developer", "content": "b"}], "messages[1].role", "must be the first"),
    ([tool("x"), user("a")], "messages[0]", "is the result of no call"),
    ([user("a"), CALLING, tool("x"), assistant("b"), tool("y")], "messages[4]", "is the result of no call"),
    ([user([{"type": "image", "image": "x"}])], "messages[0].content[0]", "takes text only"),
]


@pytest.mark.parametrize(("messages", "path", "problem"), BAD)
def test_what_cannot_be_rendered_is_refused(messages: Messages, path: str, problem: str) -> None:
    with pytest.raises(ConversationError, match=problem) as error:
        segments(messages)
    assert error.value.path == path


def test_names_and_stops() -> None:
    assert isc.family_for("openai/gpt-oss-120b") == GptOss()
    renderer = isc.create_renderer(embedded(GptOss().specials), GptOss())
    specials = renderer.encoder.specials
    stops = [specials[token] for token in ("<|return|>", "<|call|>", "<|endoftext|>")]
    assert list(renderer.get_stop_token_ids()) == stops
