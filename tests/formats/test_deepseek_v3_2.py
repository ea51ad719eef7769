"""DeepSeek-V3.2 literally, each with the line of FORMAT.md it comes from; what is refused; bridges; the port."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest
from msgspec import structs

import isc
from golden_conversations import NOW, Message, assistant, call, system, tool, user
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.formats.deepseek_v3_2 import DeepSeekV32
from isc.formats.reading.dsml_calls import DSML
from isc.testing import Conversation
from ports import TOOL, answers_kept, family_text, port_text, system_said, written
from spelled_ids import ids_of

CHAT, THINKING, KEPT = DeepSeekV32(), DeepSeekV32(thinking=True), DeepSeekV32(thinking=True, drop_thinking=False)
BOS, EOS, U, A = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
CALL = '\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="f">\n\n</｜DSML｜invoke>\n</｜DSML｜function_calls>'
CALLS = CALL.replace("\n</｜DSML｜function", '\n<｜DSML｜invoke name="f">\n\n</｜DSML｜invoke>\n</｜DSML｜function')


def with_keys(message: Message, **keys: object) -> Message:
    return {**message, **keys}


def developer(text: str) -> Message:
    return {"role": "developer", "content": text}


def text_of(
    family: DeepSeekV32, messages: list[Message], tools: list[Message] | None = None, *, asks: bool = False
) -> str:
    return family_text(family, (messages, tools), asks=asks)


CALLED = [user("u"), assistant("", call("f", {}), reasoning="r")]
CALLED_TWICE = [user("u"), assistant("", call("f", {}, "1"), call("f", {}, "2"))]

ODDITIES: dict[str, tuple[DeepSeekV32, list[Message], str]] = {
    "line 12: every user is followed by what asks for an answer": (
        THINKING,
        [user("u"), user("v"), assistant("a", reasoning="r")],
        f"{BOS}{U}u{A}</think>{U}v{A}<think>r</think>a{EOS}",
    ),
    "line 14: what a developer says comes last of all": (
        CHAT,
        [with_keys(developer("d"), response_format={"a": 1}), assistant("a")],
        f"{BOS}{U}\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"
        f'{{"a": 1}}\n\n# The user\'s message is: d{A}</think>a{EOS}',
    ),
    "line 15: results do not end reasoning": (
        THINKING,
        [*CALLED, tool("t"), assistant("a", reasoning="q")],
        f"{BOS}{U}u{A}<think>r</think>{CALL}{EOS}\n\n<function_results>\n<result>t</result>\n</function_results>\n\n"
        f"<think>q</think>a{EOS}",
    ),
    "line 19: results stand as they are given": (
        CHAT,
        [*CALLED_TWICE, tool("b", "2"), tool("a", "1"), assistant("x")],
        f"{BOS}{U}u{A}</think>{CALLS}{EOS}\n\n<function_results>\n<result>b</result>\n<result>a</result>\n"
        f"</function_results>\n\n</think>x{EOS}",
    ),
    "line 22: fewer results than calls leave the tag open and ask for nothing": (
        CHAT,
        [*CALLED_TWICE, tool("b", "2"), assistant("x")],
        f"{BOS}{U}u{A}</think>{CALLS}{EOS}\n\n<function_results>\n<result>b</result>x{EOS}",
    ),
    "line 23: reasoning before the last user is dropped": (
        THINKING,
        [user("u"), assistant("a", reasoning="r"), user("v")],
        f"{BOS}{U}u{A}</think>a{EOS}{U}v",
    ),
    "line 25: and stays dropped without drop_thinking, which keeps developers": (
        KEPT,
        [developer("d"), assistant("a", reasoning="r"), user("v"), assistant("b", reasoning="q")],
        f"{BOS}{U}\n\n# The user's message is: d{A}</think>a{EOS}{U}v{A}<think>q</think>b{EOS}",
    ),
    "an answer after an answer is asked by nothing": (
        THINKING,
        [user("u"), assistant("a", reasoning="r"), assistant("b", reasoning="q")],
        f"{BOS}{U}u{A}<think>r</think>a{EOS}q</think>b{EOS}",
    ),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_oddity(name: str) -> None:
    family, messages, expected = ODDITIES[name]
    assert text_of(family, messages) == expected


@pytest.mark.parametrize(
    ("family", "messages", "prompt"),
    [
        (CHAT, [user("u")], f"{A}</think>"),
        (THINKING, [user("u")], f"{A}<think>"),
        (THINKING, [developer("d")], f"{A}<think>"),
        (THINKING, [*CALLED, tool("t")], "\n\n<think>"),
        (CHAT, [*CALLED, tool("t")], "\n\n</think>"),
        (CHAT, [*CALLED_TWICE, tool("t")], ""),
        (THINKING, [user("u"), system("s")], ""),
        (CHAT, [user("u"), assistant("a")], ""),
    ],
)
def test_the_generation_prompt_is_what_the_encoder_ends_with(
    family: DeepSeekV32, messages: list[Message], prompt: str
) -> None:
    """Lines 12 and 20."""
    assert text_of(family, messages, asks=True) == text_of(family, messages) + prompt


def test_the_tools_block_has_blank_lines_but_in_the_copy_of_sglang() -> None:
    """What the model ships with its encoder has them, as the ports of llama.cpp and mlx-lm do."""
    shipped, copied = (
        text_of(DeepSeekV32(variant=variant), [system("s"), user("u")], [NOW]) for variant in ("shipped", "sglang")
    )
    assert shipped.startswith(f"{BOS}s\n\n## Tools\n\nYou have access to a set of tools you can use")
    assert copied.startswith(f"{BOS}s\n\n## Tools\nYou have access to a set of tools you can use")
    assert shipped.count("\n\n") == 8
    assert copied.count("\n\n") == 1
    block = shipped.removeprefix(f"{BOS}s").removesuffix(f"{U}u")
    assert copied == f"{BOS}s\n\n{block[2:].replace(2 * chr(10), chr(10))}{U}u"
    assert block.endswith('<functions>\n{"name": "now", "description": "", "parameters": {"type": "object", "propert'
                          'ies": {}}}\n</functions>\n')  # fmt: skip


@pytest.mark.parametrize(
    ("family", "messages", "path"),
    [
        (CHAT, [tool("t")], "messages[0].role"),
        (CHAT, [user("u"), tool("t")], "messages[1].role"),
        (CHAT, [*CALLED, tool("t"), tool("t")], "messages[3].role"),
        (CHAT, [*CALLED, user("v"), tool("t")], "messages[3].role"),
        (THINKING, [developer("d"), assistant("a"), user("u")], "messages[0].role"),
        (CHAT, [with_keys(user("u"), tools=[NOW])], "messages[0].tools"),
        (CHAT, [{"role": "latest_reminder", "content": "r"}], "messages[0].role"),
    ],
)
def test_what_the_encoder_refuses_or_leaves_out_is_refused(
    family: DeepSeekV32, messages: list[Message], path: str
) -> None:
    with pytest.raises(isc.ConversationError) as error:
        text_of(family, messages)
    assert error.value.path == path


def test_the_mark_of_tags_is_a_token_where_the_vocabulary_has_it(reference: Path, real_encoder: object) -> None:
    assert callable(real_encoder)
    older: VocabularyEncoder = real_encoder("deepseek-r1")
    newer: VocabularyEncoder = real_encoder("deepseek-v4")
    assert DSML not in older.specials
    for encoder, tokens in ((older, ()), (newer, (DSML,))):
        family = CHAT.for_vocabulary(encoder.specials)
        assert family.tokens == tokens
        ids = isc.create_renderer(encoder, family).render_ids([user("u"), assistant("", call("f", {}))])
        assert ids.count(encoder.specials.get(DSML, -1)) == (4 if tokens else 0)
    with pytest.raises(isc.OptionError, match="is not"):
        DeepSeekV32(tokens=("<x>",))


ONE, TWO = (f"</think>{calls}{EOS}" for calls in (CALL, CALLS))


@pytest.mark.parametrize(
    ("family", "completion", "new", "added"),
    [
        (THINKING, ONE, [tool("t")], "\n\n<function_results>\n<result>t</result>\n</function_results>\n\n<think>"),
        (THINKING, TWO, [tool("t")], "\n\n<function_results>\n<result>t</result>"),
        (
            THINKING,
            TWO,
            [tool("t"), tool("s")],
            "\n\n<function_results>\n<result>t</result>\n<result>s</result>\n</function_results>\n\n<think>",
        ),
        (CHAT, CALL, [tool("t")], f"{EOS}\n\n<function_results>\n<result>t</result>\n</function_results>\n\n</think>"),
        (CHAT, "a", [user("v"), user("w")], f"{EOS}{U}v{A}</think>{U}w{A}</think>"),
    ],
)
def test_a_bridge_knows_the_calls_that_were_sampled(
    family: DeepSeekV32, completion: str, new: list[Message], added: str
) -> None:
    renderer = isc.create_renderer(embedded(family.specials), family)
    prompt, ids = renderer.render_ids([user("u")], None, True), ids_of(renderer, completion)
    bridged = renderer.bridge_to_next_turn(prompt, ids, new)
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(ids)] == (*prompt, *ids)
    assert renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(ids) :]).decode() == added


def test_a_bridge_refuses_more_results_than_calls() -> None:
    renderer = isc.create_renderer(embedded(CHAT.specials), CHAT)
    prompt = renderer.render_ids([user("u")], None, True)
    with pytest.raises(isc.ConversationError, match=r"new_messages\[1\].role"):
        renderer.bridge_to_next_turn(prompt, ids_of(renderer, CALL + EOS), [tool("t"), tool("s")])


def port(reference: Path, family: DeepSeekV32, conversation: Conversation, *, asks: bool) -> str:
    path = reference / "templates" / "deepseek-ai--DeepSeek-V3.2" / "chat_template.llama-cpp.jinja"
    return port_text(path, conversation, asks=asks, thinking=family.thinking)


DIFFERENCES: dict[str, tuple[DeepSeekV32, list[Message], list[Message] | None, bool, str, str]] = {
    "systems stand where they are (line 9)": (
        *(CHAT, [user("u"), assistant("a"), system("s")], None, False),
        *(f"a{EOS}s", f"{BOS}s{U}"),
    ),
    "the tools block stands apart without a system message (line 10)": (
        *(CHAT, [user("u")], [TOOL], False),
        *(f"{BOS}\n\n## Tools", f"{BOS}## Tools"),
    ),
    "a call without parameters has an empty line (line 18)": (
        *(CHAT, CALLED, None, False),
        *('name="f">\n\n</', 'name="f">\n</'),
    ),
    "a user is followed by what asks for an answer (line 12)": (
        *(CHAT, [user("u"), user("v")], None, False),
        *(f"u{A}</think>{U}v", f"u{U}v"),
    ),
    "results are, too (line 20)": (
        *(CHAT, [*CALLED, tool("t"), user("v")], None, False),
        *(f"results>\n\n</think>{U}", f"results>{U}"),
    ),
    "a turn after a turn says its reasoning (line 15)": (
        *(THINKING, [user("u"), assistant("a", reasoning="r"), assistant("b", reasoning="q")], None, False),
        *("q</think>b", f"a{EOS}b"),
    ),
    "so does one after fewer results than calls (line 22)": (
        *(THINKING, [*CALLED_TWICE, tool("t"), assistant("b", reasoning="q")], None, False),
        *("</result>q</think>b", "</result>b"),
    ),
    "a developer is heard (line 14)": (
        *(CHAT, [user("u"), assistant("a"), developer("d")], None, False),
        *("is: d", f"a{EOS}"),
    ),
    "without thinking nothing is opened (line 13)": (
        *(CHAT, [user("u")], None, True),
        *(f"{A}</think>", f"{A}<think></think>"),
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_port_differs_as_is_said(name: str, reference: Path) -> None:
    family, messages, tools, asks, ours, theirs = DIFFERENCES[name]
    assert ours in text_of(family, messages, tools, asks=asks)
    assert ours not in port(reference, family, (messages, tools), asks=asks)
    assert theirs in port(reference, family, (messages, tools), asks=asks)


def without_differences(conversation: Conversation) -> Conversation:
    messages, tools = conversation
    messages = [{key: item for key, item in message.items() if key != "tool_call_id"} for message in messages]
    kept: list[Message] = []
    for message in answers_kept(messages, ("user", "tool")):
        if kept and message["role"] == "user" and kept[-1]["role"] in ("user", "tool"):
            break
        kept.append(message)
    for index, message in enumerate(kept):
        results = len(list(takewhile(lambda after: after["role"] == "tool", kept[index + 1 :])))
        if results and message["role"] == "assistant":
            message["tool_calls"] = message["tool_calls"][:results]
    calls = [one["function"] for message in kept for one in message.get("tool_calls") or ()]
    for function in calls:
        if function["arguments"] in ({}, "{}"):
            function["arguments"] = {"a": None}
    return system_said((kept, tools)) if kept else (kept, tools)


@pytest.mark.parametrize("family", [CHAT, THINKING], ids=["chat", "thinking"])
def test_otherwise_the_port_renders_the_same(family: DeepSeekV32, reference: Path) -> None:
    roles = ("system", "user", "assistant", "tool")
    shape = structs.replace(family.shape, roles=roles, system_first=True, reasoning=True)
    checked = 0
    for conversation in written(shape, without_differences, 400):
        last = conversation[0][-1]["role"]
        asks = family.thinking and last in ("user", "tool")
        assert family_text(family, conversation, asks=asks) == port(reference, family, conversation, asks=asks)
        checked += 1
    assert checked > 300
