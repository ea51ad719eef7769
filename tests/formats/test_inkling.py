"""Inkling: who owns what nobody says, results and their names, what is refused, bridges from any place of a turn.

What its template does oddly and how turns are read back stands in `inkling_cases.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.conversation.bridge import Extension, Refusal
from isc.encoding.encoders import embedded
from isc.formats.inkling import Inkling
from small_renders import renderer_of, text_of
from spelled_ids import ids_of

FAMILY = Inkling()
RENDERER = renderer_of(FAMILY)
MODEL, END, STOP = "<|message_model|>", "<|end_message|>", "<|content_model_end_sampling|>"
TEXT, THINKING, JSON = "<|content_text|>", "<|content_thinking|>", "<|content_invoke_tool_json|>"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
F, G = (f'{name}{JSON}{{"name":"{name}","args":{{}}}}{END}' for name in ("f", "g"))
ASK = f"<|message_user|>{TEXT}v{END}{MODEL}"


@pytest.mark.parametrize(
    ("messages", "owners"),
    [
        ([user("a")], [-1, 0]),
        ([system("s"), user("a")], [-1, 0, -1, 1]),
        ([system("s"), system("t")], [-1, 0, 1, -1]),
        ([system("s"), assistant("b")], [-1, 0, -1, 1]),
        ([user("a"), system("s"), user("b")], [-1, 0, 1, 2]),
    ],
)
def test_tools_and_effort_are_nobody_s(messages: list[Message], owners: list[int]) -> None:
    said = [segment.message for segment in RENDERER.segments(messages, [TOOL])]
    runs = [owner for place, owner in enumerate(said) if place == 0 or said[place - 1] != owner]
    assert runs == owners


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "max", 0, 0.0, 0.5, 1e-05, 0.99])
def test_an_effort_is_a_name_or_a_share(effort: Any) -> None:  # noqa: ANN401 - of several types
    shares = {"none": "0", "minimal": "0.1", "low": "0.2", "medium": "0.7", "high": "0.9", "max": "0.99", 0: "0"}
    text = text_of(Inkling(effort), [user("a")])
    assert text.startswith(f"<|message_system|>{TEXT}Thinking effort level: {shares.get(effort, effort)}{END}")


@pytest.mark.parametrize("effort", ["hgih", 1.0, -0.1, True, None])
def test_another_effort_is_refused(effort: Any) -> None:  # noqa: ANN401 - of several types
    with pytest.raises(isc.OptionError, match="reasoning_effort"):
        Inkling(effort)


IMAGE = {"type": "image", "hash": "0a", "width": 1, "height": 1}
AGAIN = [assistant("", call("f", {}, "1")), tool("x", "1"), assistant("", call("g", {}, "2"), call("h", {}, "1"))]


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([user("a"), assistant("")], "messages[1].content"),
        ([user("a"), assistant("", reasoning="")], "messages[1].content"),
        ([{"role": "developer", "content": "d"}], "messages[0].role"),
        ([{"role": "system", "content": [IMAGE]}], "messages[0].content[0]"),
        (AGAIN, "messages[2].tool_calls[1].id"),
        ([assistant("", call("f", {"a": {1: 2, "b": 3}}))], "messages[0].tool_calls[0].function.arguments"),
    ],
)
def test_what_the_template_drops_renames_or_cannot_say_is_refused(messages: list[Message], path: str) -> None:
    with pytest.raises(isc.ConversationError) as error:
        text_of(FAMILY, messages)
    assert error.value.path == path


def test_an_id_may_be_given_again_where_no_result_is_renamed() -> None:
    calls = [assistant("", call("f", {}, "1")), tool("x", "1", "f"), assistant("", call("g", {}, "1")), tool("y", "1")]
    assert text_of(FAMILY, calls).endswith(f"<|message_tool|>g{TEXT}y{END}")
    same = [assistant("", call("f", {}, "1")), tool("x", "1"), assistant("", call("f", {}, "1"))]
    assert text_of(FAMILY, same).endswith(f"<|message_tool|>f{TEXT}x{END}{MODEL}{F}{STOP}")


def test_arguments_that_are_no_object_stand_as_they_are() -> None:
    renderer = isc.create_renderer(embedded(FAMILY.specials), FAMILY, invalid_arguments="raw")
    text = "".join(s.text for s in renderer.segments([assistant("", call("f", "{oops"))]))
    assert text.endswith(f'{MODEL}f{JSON}{{"name":"f","args":{{oops}}{END}{STOP}')


def plan(completion: str, *new: Message) -> Extension | Refusal:
    prompt = RENDERER.render_ids([user("u")], None, True)
    return RENDERER.plan_bridge(prompt, ids_of(RENDERER, completion), list(new))


def added(completion: str, *new: Message) -> str:
    """What a bridge adds."""
    planned = plan(completion, *new)
    assert isinstance(planned, Extension), planned
    return "".join(segment.text for segment in planned.segments)


@pytest.mark.parametrize(
    ("completion", "closing"),
    [
        (f"{TEXT}c{END}{STOP}", ""),
        (f"{TEXT}c{END}", STOP),
        (f"{TEXT}c", END + STOP),
        (f"{THINKING}r", END + STOP),
        (f"{THINKING}r{END}", STOP),
        (f"{THINKING}r{END}{MODEL}", TEXT + END + STOP),
        ("", TEXT + END + STOP),
        ("f", TEXT + END + STOP),
        (f'f{JSON}{{"na', END + STOP),
        (f"{TEXT}c{STOP}", ""),
        (STOP, ""),
    ],
)
def test_what_is_open_is_closed_before_the_new_turns(completion: str, closing: str) -> None:
    assert added(completion, user("v")) == closing + ASK


def test_a_stop_inside_a_thought_is_refused() -> None:
    planned = plan(f"{THINKING}r{STOP}", user("v"))
    assert isinstance(planned, Refusal)
    assert planned.reason == "reasoning_stopped"


def result(name: str, text: str) -> str:
    return f"<|message_tool|>{name}{TEXT}{text}{END}"


@pytest.mark.parametrize(
    ("completion", "new", "expected"),
    [
        (F, [tool("x", "1")], result("f", "x")),
        (F, [tool("x")], result("", "x")),
        (F, [tool("x", "1", "h")], result("h", "x")),
        (f"{F}{MODEL}{F}", [tool("x", "2")], result("f", "x")),
        (f"{F}{MODEL}{G}", [tool("x", "1"), tool("y", "2")], result("f", "x") + result("g", "y")),
        (f"{F}{MODEL}{G}", [tool("y", "2", "g")], result("g", "y")),
    ],
)
def test_a_bridge_names_results(completion: str, new: list[Message], expected: str) -> None:
    assert added(completion + STOP, *new) == expected + MODEL


@pytest.mark.parametrize("completion", [f"{F}{MODEL}{G}", f"{TEXT}c{END}"])
def test_a_bridge_that_cannot_tell_a_result_s_name_is_refused(completion: str) -> None:
    planned = plan(completion + STOP, tool("x", "2"))
    assert isinstance(planned, Refusal)
    assert planned.reason == "depends_on_history"
    assert "new_messages[0].tool_call_id" in planned.detail


def test_thoughts_and_contents_are_told_as_they_come() -> None:
    reader = RENDERER.reader(RENDERER.render_ids([user("u")], None, True))
    told: list[isc.reading.ReadingEvent] = []
    text = f"{THINKING}r s{END}{MODEL}{THINKING}t{END}{MODEL}{TEXT}a {END}{MODEL}{TEXT}b"
    for token_id in ids_of(RENDERER, text):
        reader, events = reader.feed([token_id])
        told += events
    assert "".join(event.text for event in told if isinstance(event, isc.reading.ReasoningDelta)) == "r s\nt"
    assert "".join(event.text for event in told if isinstance(event, isc.reading.ContentDelta)) == "a b"


def test_a_text_that_a_prompt_began_is_read_from_where_it_goes_on() -> None:
    prompt = RENDERER.render_ids([user("u"), assistant("Good ")], continue_final_message=True)
    parsed = RENDERER.parse_response(ids_of(RENDERER, f"day{END}{STOP}"), prompt_ids=prompt)
    assert (parsed.content, parsed.reasoning_content) == ("day", None)


def test_who_says_nothing_is_drawn_only_where_a_format_takes_it() -> None:
    assert not FAMILY.shape.empty_answers
    assert isc.Qwen3().shape.empty_answers
