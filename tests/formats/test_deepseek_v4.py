"""DeepSeek-V4 literally, each with the line of FORMAT.md it comes from; what is refused; bridges; the ports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import isc
from golden_conversations import NOW, Message, assistant, call, system, tool, user
from isc.conversation.bridge import Refusal
from isc.encoding.encoders import embedded
from isc.formats.deepseek_v4 import DeepSeekV4
from isc.testing import Conversation
from ports import TOOL, answers_kept, family_text, port_text, system_said, written
from spelled_ids import ids_of

CHAT, THINKING, KEPT = DeepSeekV4(), DeepSeekV4(thinking=True), DeepSeekV4(thinking=True, drop_thinking=False)
BOS, EOS, U, A = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
CALL = '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n{}\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>'
CALLS = CALL.format("").replace("\n</｜DSML｜tool", '\n<｜DSML｜invoke name="g">\n\n</｜DSML｜invoke>\n</｜DSML｜tool')
NUMBER = '<｜DSML｜parameter name="a" string="false">1</｜DSML｜parameter>'
TWO = [user("u"), assistant("", call("f", {}, "1"), call("g", {}, "2"))]


def with_keys(message: Message, **keys: object) -> Message:
    return {**message, **keys}


def reminder(text: str) -> Message:
    return {"role": "latest_reminder", "content": text}


def developer(text: str) -> Message:
    return {"role": "developer", "content": text}


def text_of(
    family: DeepSeekV4, messages: list[Message], tools: list[Message] | None = None, *, asks: bool = False
) -> str:
    return family_text(family, (messages, tools), asks=asks)


ODDITIES: dict[str, tuple[DeepSeekV4, list[Message], str]] = {
    "line 12: what a user says after results shares their turn": (
        CHAT,
        [tool("r"), user("x"), assistant("y")],
        f"{BOS}{U}<tool_result>r</tool_result>\n\nx{A}</think>y{EOS}",
    ),
    "line 13: the texts of a result stand apart": (
        CHAT,
        [tool([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
        f"{BOS}{U}<tool_result>a\n\nb</tool_result>",
    ),
    "line 15: results stand in the order of the calls before them": (
        CHAT,
        [*TWO, tool("second", "2"), user("x"), tool("first", "1")],
        f"{BOS}{U}u{A}</think>{CALLS}"
        f"{EOS}{U}<tool_result>first</tool_result>\n\nx\n\n<tool_result>second</tool_result>",
    ),
    "line 16: a result of no known call counts as one of the first": (
        CHAT,
        [*TWO[:1], assistant("", call("f", {"a": 1}, "1")), tool("a"), tool("b", "1")],
        f"{BOS}{U}u{A}</think>{CALL.format(NUMBER)}"
        f"{EOS}{U}<tool_result>a</tool_result>\n\n<tool_result>b</tool_result>",
    ),
    "line 18: tools anywhere keep all reasoning": (
        THINKING,
        [with_keys(system("s"), tools=[NOW]), user("u"), assistant("a", reasoning="r"), user("v")],
        f"{BOS}s…{U}u{A}<think>r</think>a{EOS}{U}v",
    ),
    "line 19: else what is before the last user loses it": (
        THINKING,
        [user("u"), assistant("a", reasoning="r"), user("v"), assistant("b", reasoning="q")],
        f"{BOS}{U}u{A}</think>a{EOS}{U}v{A}<think>q</think>b{EOS}",
    ),
    "line 19: a result is a user's too": (
        THINKING,
        [user("u"), assistant("a", call("f", {}), reasoning="r"), tool("t"), assistant("b", reasoning="q")],
        f"{BOS}{U}u{A}</think>a{CALL.format('')}{EOS}{U}<tool_result>t</tool_result>{A}<think>q</think>b{EOS}",
    ),
    "line 24: a response format stands after all else": (
        CHAT,
        [with_keys(system("s"), response_format={"type": "object"}), user("u")],
        f"{BOS}s\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"
        f'{{"type": "object"}}{U}u',
    ),
    "line 27: a developer speaks as a user": (CHAT, [developer("d"), assistant("a")], f"{BOS}{U}d{A}</think>a{EOS}"),
    "line 28: a reminder": (CHAT, [system("s"), reminder("now"), user("u")], f"{BOS}s<｜latest_reminder｜>now{U}u"),
    "line 29: a turn that is left open": (
        CHAT,
        [user("u"), with_keys(assistant("a"), wo_eos=True)],
        f"{BOS}{U}u{A}</think>a",
    ),
    "line 30: empty reasoning is closed all the same": (
        THINKING,
        [user("u"), assistant("a")],
        f"{BOS}{U}u{A}<think></think>a{EOS}",
    ),
    "line 32: the answer to a task thinks nothing": (
        THINKING,
        [with_keys(user("u"), task="query"), assistant("q", reasoning="r")],
        f"{BOS}{U}u<｜query｜>q{EOS}",
    ),
    "line 32: an answer after an answer is asked by nothing": (
        THINKING,
        [user("u"), assistant("a", reasoning="r"), assistant("b", reasoning="q")],
        f"{BOS}{U}u{A}<think>r</think>a{EOS}q</think>b{EOS}",
    ),
    "line 33: a call without parameters has an empty line": (
        CHAT,
        [user("u"), assistant("c", call("f", {}))],
        f"{BOS}{U}u{A}</think>c{CALL.format('')}{EOS}",
    ),
    "line 38: a reminder comes after what asks for an answer": (
        THINKING,
        [user("u"), reminder("r"), user("v"), assistant("a")],
        f"{BOS}{U}u{A}</think><｜latest_reminder｜>r{U}v{A}<think></think>a{EOS}",
    ),
    "line 41: a task of an assistant's turn stands after its close": (
        CHAT,
        [user("u"), with_keys(assistant("a"), task="title"), assistant("t")],
        f"{BOS}{U}u{A}</think>a{EOS}<｜title｜>t{EOS}",
    ),
    "line 42: an action is asked of the assistant": (
        THINKING,
        [with_keys(user("u"), task="action"), assistant("Search")],
        f"{BOS}{U}u{A}<think><｜action｜>Search{EOS}",
    ),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity(name: str) -> None:
    family, messages, expected = ODDITIES[name]
    before, cut, after = expected.partition("…")  # a tools block is left out
    text = text_of(family, messages)
    assert text == expected if not cut else text.startswith(before) and text.endswith(after)


@pytest.mark.parametrize(
    ("family", "last", "prompt"),
    [
        (CHAT, user("u"), f"{A}</think>"),
        (THINKING, user("u"), f"{A}<think>"),
        (THINKING, tool("r"), f"{A}<think>"),
        (CHAT, developer("d"), f"{A}</think>"),
        (CHAT, system("s"), ""),
        (CHAT, reminder("r"), ""),
        (CHAT, assistant("a"), ""),
        (CHAT, with_keys(user("u"), task="domain"), "<｜domain｜>"),
        (CHAT, with_keys(user("u"), task="action"), f"{A}</think><｜action｜>"),
        (THINKING, with_keys(assistant("a"), task="title"), "<｜title｜>"),
    ],
)
def test_the_generation_prompt_is_what_the_encoder_ends_with(family: DeepSeekV4, last: Message, prompt: str) -> None:
    """Lines 38 to 42."""
    bare = text_of(family, [system("x"), last])
    assert text_of(family, [system("x"), last], asks=True) == bare + prompt


def test_tools_of_the_chat_stand_with_a_leading_system_or_developer_message_or_alone() -> None:
    tools = [TOOL]
    block = text_of(CHAT, [user("u")], tools).removeprefix(BOS).removesuffix(f"{U}u")
    assert block.startswith("\n\n## Tools\n\nYou have access")
    assert block.endswith("to invoke tool calls.\n")
    assert text_of(CHAT, [system("s"), user("u")], tools) == f"{BOS}s{block}{U}u"
    assert text_of(CHAT, [developer("d"), assistant("a")], tools) == f"{BOS}{U}d{block}{A}</think>a{EOS}"
    assert text_of(CHAT, [with_keys(system("s"), tools=tools), user("u")]) == f"{BOS}s{block}{U}u"
    assert text_of(CHAT, [user("u"), with_keys(developer("d"), tools=tools)]) == f"{BOS}{U}u{U}d{block}"


def test_a_result_is_owned_by_its_message_wherever_it_stands() -> None:
    renderer = isc.create_renderer(embedded(CHAT.specials), CHAT)
    messages = [*TWO, tool("second", "2"), tool("first", "1")]
    bodies = {s.message: s.text for s in renderer.segments(messages) if s.body and s.message > 1}
    assert bodies == {2: "second", 3: "first"}


@pytest.mark.parametrize(
    ("family", "messages", "path"),
    [
        (THINKING, [developer("d"), assistant("a"), user("u")], "messages[0].role"),
        (CHAT, [with_keys(user("u"), tools=[NOW])], "messages[0].tools"),
        (CHAT, [with_keys(user("u"), response_format={"a": 1})], "messages[0].response_format"),
        (CHAT, [with_keys(system("s"), tools="none"), user("u")], "messages[0].tools"),
        (CHAT, [with_keys(system("s"), tools=[{"name": "f"}]), user("u")], "messages[0].tools[0].function"),
        (CHAT, [with_keys(user("u"), task="sing")], "messages[0].task"),
        (CHAT, [with_keys(user("u"), task=["title"])], "messages[0].task"),
        (CHAT, [tool("r"), with_keys(user("u"), task="title")], "messages[1].task"),
        (CHAT, [with_keys(tool("r"), task="title")], "messages[0].task"),
        (CHAT, [with_keys(user("u"), task="title"), system("s")], "messages[0].task"),
        (CHAT, [tool([{"type": "image", "hash": "0a", "width": 1, "height": 1}])], "messages[0].content[0]"),
    ],
)
def test_what_the_encoder_leaves_out_or_cannot_show_is_refused(
    family: DeepSeekV4, messages: list[Message], path: str
) -> None:
    with pytest.raises(isc.ConversationError) as error:
        text_of(family, messages)
    assert error.value.path == path


def test_a_developer_is_kept_where_nothing_is_dropped() -> None:
    messages = [developer("d"), assistant("a"), user("u")]
    for family, given, tools in ((CHAT, messages, None), (KEPT, messages, None), (THINKING, messages, [TOOL])):
        assert f"{U}d" in text_of(family, given, tools)


def test_tools_are_given_in_one_place() -> None:
    with pytest.raises(isc.ConversationError, match="give them in one place"):
        text_of(CHAT, [with_keys(system("s"), tools=[TOOL]), user("u")], [TOOL])


def test_other_formats_have_no_reminder() -> None:
    with pytest.raises(isc.ConversationError, match=r"messages\[1\].role: must be one of system, developer") as error:
        family_text(isc.Qwen3(), ([user("u"), reminder("r")], None), asks=False)
    assert error.value.path == "messages[1].role"
    assert "latest_reminder" not in error.value.problem


def test_the_release_knows_no_low_effort() -> None:
    with pytest.raises(isc.OptionError, match="flash-0731"):
        DeepSeekV4(reasoning_effort="low")


@pytest.mark.parametrize(
    ("family", "tools", "completion", "new", "added"),
    [
        (
            THINKING,
            [TOOL],
            f"r</think>{CALL.format('')}{EOS}",
            [tool("t")],
            f"{U}<tool_result>t</tool_result>{A}<think>",
        ),
        (THINKING, None, "r", [tool("t")], f"</think>{EOS}{U}<tool_result>t</tool_result>{A}<think>"),
        (CHAT, None, "a", [user("v")], f"{EOS}{U}v{A}</think>"),
        (CHAT, None, f"a{EOS}", [reminder("r"), user("v")], f"<｜latest_reminder｜>r{U}v{A}</think>"),
    ],
)
def test_a_bridge(
    family: DeepSeekV4, tools: list[Message] | None, completion: str, new: list[Message], added: str
) -> None:
    renderer = isc.create_renderer(embedded(family.specials), family)
    prompt = renderer.render_ids([user("u")], tools, True)
    ids = ids_of(renderer, completion)
    bridged = renderer.bridge_to_next_turn(prompt, ids, new, tools)
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(ids)] == (*prompt, *ids)
    assert renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(ids) :]).decode() == added


def test_a_user_drops_reasoning_and_so_needs_a_render() -> None:
    renderer = isc.create_renderer(embedded(THINKING.specials), THINKING)
    prompt = renderer.render_ids([user("u")], None, True)
    planned = renderer.plan_bridge(prompt, ids_of(renderer, f"r</think>a{EOS}"), [user("v")])
    assert isinstance(planned, Refusal)
    assert planned.reason == "retention"


PORTS = {"v4": "chat_template.llama-cpp.jinja", "flash-0731": "chat_template.flash-0731.llama-cpp.jinja"}


def port(reference: Path, family: DeepSeekV4, conversation: Conversation, *, asks: bool) -> str:
    path = reference / "templates" / "deepseek-ai--DeepSeek-V4" / PORTS[family.variant]
    options: Mapping[str, Any] = {"thinking": family.thinking, "drop_thinking": family.drop_thinking}
    effort = {"reasoning_effort": family.reasoning_effort} if family.reasoning_effort else {}
    return port_text(path, conversation, asks=asks, **options, **effort)


DIFFERENCES: dict[str, tuple[DeepSeekV4, list[Message], list[Message] | None, bool, str, str]] = {
    "systems stand where they are (line 21)": (
        *(CHAT, [user("u"), system("s"), user("v")], None, False),
        *(f"{BOS}{U}us{U}v", f"{BOS}s{U}u\n\nv"),
    ),
    "results are sorted (line 15)": (
        *(CHAT, [assistant("", call("f", {}, "1"), call("f", {}, "2")), tool("b", "2"), tool("a", "1")], None, False),
        *("<tool_result>a</tool_result>\n\n<tool_result>b", "<tool_result>b</tool_result>\n\n<tool_result>a"),
    ),
    "a result alone keeps no reasoning (line 18)": (
        *(THINKING, [user("u"), assistant("a", reasoning="r"), tool("t")], None, False),
        *(f"{A}</think>a", f"{A}<think>r</think>a"),
    ),
    "an answer after an answer has no head (line 38)": (
        *(CHAT, [user("u"), assistant("a"), assistant("b")], None, False),
        *(f"a{EOS}b", f"a{EOS}{A}</think>b"),
    ),
    "a developer's turn is its own (line 27)": (
        *(CHAT, [user("u"), developer("d")], None, False),
        *(f"{U}u{U}d", f"{U}u\n\nd"),
    ),
    "a reminder is said (line 28)": (
        *(CHAT, [reminder("r"), user("u")], None, False),
        *("<｜latest_reminder｜>r", f"{BOS}{U}u"),
    ),
    "a task is asked (line 41)": (
        *(CHAT, [with_keys(user("u"), task="title")], None, True),
        *("u<｜title｜>", f"u{A}</think>"),
    ),
    "a system message asks for nothing (line 38)": (
        *(CHAT, [user("u"), system("s")], None, True),
        *(f"{U}us", f"s{U}u{A}</think>"),
    ),
    "the tools block stands apart without a system message (line 24)": (
        *(CHAT, [user("u")], [TOOL], False),
        *(f"{BOS}\n\n## Tools", f"{BOS}## Tools"),
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_port_differs_as_is_said(name: str, reference: Path) -> None:
    family, messages, tools, asks, ours, theirs = DIFFERENCES[name]
    assert ours in text_of(family, messages, tools, asks=asks)
    assert ours not in port(reference, family, (messages, tools), asks=asks)
    assert theirs in port(reference, family, (messages, tools), asks=asks)


def without_differences(family: DeepSeekV4, conversation: Conversation) -> Conversation:
    messages, tools = conversation
    messages = [{key: item for key, item in message.items() if key != "tool_call_id"} for message in messages]
    kept = answers_kept(messages, ("user", "tool"))
    if family.thinking and any(message["role"] == "tool" for message in kept):
        tools = tools or [TOOL]
    return system_said((kept, tools)) if kept else (kept, tools)


@pytest.mark.parametrize(
    "family",
    [CHAT, THINKING, KEPT, DeepSeekV4(thinking=True, reasoning_effort="max", variant="flash-0731")],
    ids=["chat", "thinking", "kept", "flash"],
)
def test_otherwise_the_port_renders_the_same(family: DeepSeekV4, reference: Path) -> None:
    roles = ("system", "user", "assistant", "tool")
    shape = structs.replace(family.shape, roles=roles, system_first=True, reasoning=True)
    checked = 0
    for conversation in written(shape, lambda given: without_differences(family, given), 400):
        asks = conversation[0][-1]["role"] in ("user", "tool")
        assert family_text(family, conversation, asks=asks) == port(reference, family, conversation, asks=asks)
        checked += 1
    assert checked > 300
