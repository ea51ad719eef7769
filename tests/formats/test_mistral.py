"""Mistral, literally: where system message and tools stand, calls with their ids, thoughts; the template's lines."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import NOW, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.mistral import Mistral, Variant
from spelled_ids import ids_of

VARIANTS: tuple[Variant, ...] = ("v3", "v3-tekken", "v11", "v13", "devstral")
RENDERERS: dict[Variant, isc.Renderer] = {
    variant: isc.create_renderer(embedded(Mistral(variant=variant).specials), Mistral(variant=variant))
    for variant in VARIANTS
}
SHOWN = '{"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}'  # fmt: skip # noqa: E501
CALLING = assistant("", call("now", {"zone": "é"}, "abcdef123"), call("now", "{}", "abcdef124"))
Messages = list[dict[str, Any]]


def told(variant: Variant, messages: Messages, tools: Messages | None = None) -> list[tuple[str, int, bool]]:
    """The runs of a conversation: text, owner, body."""
    runs: list[tuple[str, int, bool]] = []
    for segment in RENDERERS[variant].segments(messages, tools):
        if runs and runs[-1][1:] == (segment.message, segment.body):
            runs[-1] = (runs[-1][0] + segment.text, segment.message, segment.body)
        else:
            runs.append((segment.text, segment.message, segment.body))
    return runs


def text(variant: Variant, messages: Messages, tools: Messages | None = None) -> str:
    return "".join(run[0] for run in told(variant, messages, tools))


def refused(variant: Variant, messages: Messages) -> str:
    with pytest.raises(isc.ConversationError) as error:
        RENDERERS[variant].render(messages)
    return error.value.path


def test_v3_says_the_system_message_in_the_user_s_turn_that_is_last() -> None:
    # {{- "[INST]" + system_message + "\n\n" + message["content"] + "[/INST]" }}, under loop.last
    said = [system("s"), user("a"), assistant("b"), user("c")]
    assert told("v3-tekken", said) == [
        *(("<s>", 0, False), ("[INST]", 1, False), ("a", 1, True), ("[/INST]", 1, False), ("b</s>", 2, True)),
        *(("[INST]", 3, False), ("s", 0, True), ("\n\n", 3, False), ("c", 3, True), ("[/INST]", 3, False)),
    ]
    assert text("v3-tekken", said[:3]) == "<s>[INST]a[/INST]b</s>"
    # {{- "[INST] " + system_message + "\n\n" ... }}; {{- " " + message["content"]|trim + eos_token}}
    assert text("v3", said) == "<s>[INST] a[/INST] b</s>[INST] s\n\nc[/INST]"
    assert told("v3", [user("a"), assistant(" b\n")])[3:] == [("[/INST]", 0, False), (" b</s>", 1, True)]


@pytest.mark.parametrize(
    ("variant", "begins"),
    [
        ("v11", "<s>[SYSTEM_PROMPT]You are Mistral Small 3, a Large Language Model (LLM) created by Mistral AI, a "),
        ("v13", "<s>[SYSTEM_PROMPT]# HOW YOU SHOULD THINK AND ANSWER\n\nFirst draft your thinking process (inner "),
        ("devstral", "<s>[SYSTEM_PROMPT]You are Devstral, a helpful agentic model trained by Mistral AI and using "),
    ],
)
def test_later_versions_have_a_system_turn_and_a_default_that_is_nobody_s(variant: Variant, begins: str) -> None:
    # {{- '[SYSTEM_PROMPT]' + system_prompt + '[/SYSTEM_PROMPT]' }}
    assert text(variant, [system("s"), user("a")]) == "<s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]a[/INST]"
    ((default, owner, is_body), *_) = told(variant, [user("a")])
    assert (default[: len(begins)], owner, is_body) == (begins, -1, False)
    assert default.endswith("[/SYSTEM_PROMPT]")


def test_the_default_of_v11_names_the_day_and_that_of_v13_spells_specials() -> None:
    # {%- set today = strftime_now("%Y-%m-%d") %}
    dated = isc.create_renderer(RENDERERS["v11"].encoder, Mistral(variant="v11").dated("2026-03-01"))
    assert any("The current date is 2026-03-01.\n" in segment.text for segment in dated.segments([user("a")]))
    assert Mistral(variant="v11", current_date="2026-03-01").dated("2027-01-01").day == "2026-03-01"
    assert Mistral(variant="v13").dated("2026-03-01") == Mistral(variant="v13")
    with pytest.raises(isc.OptionError, match="current_date"):
        Mistral(current_date="2026-03-01")
    specials = [segment.text for segment in RENDERERS["v13"].segments([user("a")]) if segment.kind == "special"]
    assert specials == ["<s>", "[SYSTEM_PROMPT]", "[THINK]", "[/THINK]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"]


def test_tools_stand_before_the_last_user_and_every_equal_one_up_to_v11() -> None:
    # {%- if tools is not none and (message == user_messages[-1]) %}
    said = [user("a"), assistant("b"), user("c"), assistant("d"), user("a")]
    shown = f"[AVAILABLE_TOOLS][{SHOWN}][/AVAILABLE_TOOLS]"
    assert text("v3-tekken", said, [NOW]) == (f"<s>{shown}[INST]a[/INST]b</s>[INST]c[/INST]d</s>{shown}[INST]a[/INST]")
    assert text("v3", said[:1], [NOW]) == f"<s>[AVAILABLE_TOOLS] [{SHOWN}][/AVAILABLE_TOOLS][INST] a[/INST]"
    assert text("v11", [system("s"), *said[:3]], [NOW]).endswith(f"b</s>{shown}[INST]c[/INST]")
    assert told("v3-tekken", said[:3], [NOW])[5] == (f"{shown}[INST]", 2, False)


@pytest.mark.parametrize("variant", ["v13", "devstral"])
def test_tools_stand_after_the_system_turn_later(variant: Variant) -> None:
    # {{- tools_definition }}, before the messages
    shown = told(variant, [system("s"), user("a"), assistant("b")], [NOW])
    assert shown[2] == (f"[/SYSTEM_PROMPT][AVAILABLE_TOOLS][{SHOWN}][/AVAILABLE_TOOLS]", 0, False)


def test_v3_shows_tools_with_texts_as_they_are_and_without_what_they_return() -> None:
    # {%- for key, val in tool.items() if key != "return" %} ... {{- '"' + key + '": "' + val + '"' }}
    odd = {"type": "function", "function": {"name": "f", "return": {"type": "string"}, "description": 'a "b"\\'}}
    shown = '{"type": "function", "function": {"name": "f", "description": "a "b"\\"}}'
    assert f"[AVAILABLE_TOOLS][{shown}][/AVAILABLE_TOOLS]" in text("v3-tekken", [user("a")], [odd])


@pytest.mark.parametrize(
    ("variant", "calls", "result"),
    [
        (
            # {%- set out = tool_call.function|tojson %} {{- out[:-1] }} {{- ', "id": "' + tool_call.id + '"}' }}
            "v3",
            '[TOOL_CALLS] [{"name": "now", "arguments": {"zone": "é"}, "id": "abcdef123"}, '
            '{"name": "now", "arguments": {}, "id": "abcdef124"}]</s>',
            '[TOOL_RESULTS] {"content": 12:00, "call_id": "abcdef124"}[/TOOL_RESULTS]',
        ),
        (
            "v3-tekken",
            '[TOOL_CALLS][{"name": "now", "arguments": {"zone": "é"}, "id": "abcdef123"}, '
            '{"name": "now", "arguments": {}, "id": "abcdef124"}]</s>',
            '[TOOL_RESULTS]{"content": 12:00, "call_id": "abcdef124"}[/TOOL_RESULTS]',
        ),
        (
            # {{- '[TOOL_CALLS]' + tool_call.function.name }} {{- '[CALL_ID]' + tool_call.id }} {{- '[ARGS]' + ... }}
            "v11",
            '[TOOL_CALLS]now[CALL_ID]abcdef123[ARGS]{"zone": "é"}[TOOL_CALLS]now[CALL_ID]abcdef124[ARGS]{}</s>',
            "[TOOL_RESULTS]abcdef124[TOOL_CONTENT]12:00[/TOOL_RESULTS]",
        ),
        (
            # {{- name + '[ARGS]' + arguments }}; {{- '[TOOL_RESULTS]' + message['content']|string ... }}
            "v13",
            '[TOOL_CALLS]now[ARGS]{"zone": "é"}[TOOL_CALLS]now[ARGS]{}</s>',
            "[TOOL_RESULTS]12:00[/TOOL_RESULTS]",
        ),
        (
            "devstral",
            '[TOOL_CALLS]now[ARGS]{"zone": "é"}[TOOL_CALLS]now[ARGS]{}</s>',
            "[TOOL_RESULTS]12:00[/TOOL_RESULTS]",
        ),
    ],
)
def test_calls_and_results(variant: Variant, calls: str, result: str) -> None:
    runs = told(variant, [user("?"), CALLING, tool("12:00", "abcdef124")])
    assert (calls, 1, True) in runs
    assert "".join(run[0] for run in runs if run[1] == 2) == result
    assert [run[0] for run in runs if run[1] == 2 and run[2]] == ["12:00"]
    parsed = RENDERERS[variant].parse_response(ids_of(RENDERERS[variant], calls), [NOW])
    read = [(one.status, one.name, one.arguments) for one in parsed.tool_calls]
    assert read == [("ok", "now", {"zone": "é"}), ("ok", "now", {})]
    said = [None, None] if variant in ("v13", "devstral") else ["abcdef123", "abcdef124"]
    assert [one.id for one in parsed.tool_calls] == said
    assert (parsed.content, parsed.reasoning_content) == ("", None)


@pytest.mark.parametrize("variant", ["v3", "v3-tekken", "v11"])
def test_ids_that_are_not_given_are_numbers_and_places(variant: Variant) -> None:
    # raise_exception("Tool call IDs should be alphanumeric strings with length 9!")
    calling = assistant("", call("now", {}), call("now", {}))
    said = [user("?"), calling, tool("a"), tool("b"), calling, tool("c"), tool("d")]
    named = [user("?"), *_named(0, "a", "b"), *_named(2, "c", "d")]
    assert text(variant, said) == text(variant, named)
    assert refused(variant, [*said, tool("e")]) == "messages[7].tool_call_id"
    for wrong in ("abc", "abcdef1234", 'abcdef"12', "abcdef é1"):
        assert refused(variant, [user("?"), assistant("", call("now", {}, wrong))]) == "messages[1].tool_calls[0].id"
        assert refused(variant, [user("?"), CALLING, tool("a", wrong)]) == "messages[2].tool_call_id"


def _named(first: int, *results: str) -> Messages:
    ids = [f"{first + k:09d}" for k in range(len(results))]
    calls = [call("now", {}, identity) for identity in ids]
    return [assistant("", *calls), *(tool(said, identity) for said, identity in zip(results, ids, strict=True))]


@pytest.mark.parametrize("variant", VARIANTS)
def test_users_and_assistants_take_turns(variant: Variant) -> None:
    # raise_exception("After the optional system message, conversation roles must alternate user/assistant/...")
    calling = [user("?"), CALLING, tool("a", "abcdef123"), CALLING]
    disorderly = {
        "messages[1].role": [user("a"), user("b")],
        "messages[0].role": [assistant("a"), user("b")],
        "messages[2].role": [user("a"), assistant("b"), assistant("c")],
        "messages[4].role": [*calling, user("b")],
    }
    for path, messages in disorderly.items():
        if variant == "devstral":
            assert text(variant, messages)
        else:
            assert refused(variant, messages) == path
    assert text(variant, [*calling, tool("b", "abcdef124"), assistant("c"), user("d")]).endswith("d[/INST]")


def test_a_system_message_in_the_middle_is_a_turn_where_the_template_has_one() -> None:
    # {%- if message['role'] == 'system' %}: in the order of turns it counts as an assistant's
    said = [user("a"), system("s"), user("b")]
    assert text("v11", said).endswith("[INST]a[/INST][SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]b[/INST]")
    assert text("devstral", said).endswith("[INST]a[/INST][SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]b[/INST]")
    for variant in ("v3", "v3-tekken", "v13"):
        assert refused(variant, said) == "messages[1].role"


def test_a_turn_that_calls_says_nothing_else_up_to_v11() -> None:
    # {%- if message.get('tool_calls') %} ... {%- elif message['content'] is string %}
    said = [user("?"), {**CALLING, "content": "Looking."}]
    for variant in ("v3", "v3-tekken", "v11"):
        assert refused(variant, said) == "messages[1].content"
    for later in ("v13", "devstral"):
        assert "[/INST]Looking.[TOOL_CALLS]now[ARGS]" in text(later, said)


def test_thoughts_stand_before_what_is_said_in_v13() -> None:
    # {{- '[THINK]' + block['thinking'] + '[/THINK]' }}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": " hm\n"}]}
    in_parts = {"role": "assistant", "content": [thought, {"type": "text", "text": " so"}]}
    for said in (in_parts, assistant(" so", reasoning=" hm\n")):
        assert told("v13", [user("?"), said])[-1] == ("[THINK] hm\n[/THINK] so</s>", 1, True)
    assert "hm" not in text("v11", [user("?"), assistant("so", reasoning="hm")])


@pytest.mark.parametrize(
    ("variant", "sampled", "thought", "content", "calls"),
    [
        ("v3", " Hi </s>", None, "Hi", []),
        ("v3-tekken", " Hi </s>", None, " Hi ", []),
        ("v3-tekken", '[TOOL_CALLS][{"name": "now", "arguments": {"a": ', None, "", [("unclosed_block", None)]),
        ("v11", '[TOOL_CALLS]now[CALL_ID]abcdef123[ARGS]{"a": "[ARGS]"}</s>', None, "", [("ok", "abcdef123")]),
        ("v11", "[TOOL_CALLS]now[ARGS]{}</s>", None, "", [("ok", None)]),  # the id is left out, as the models do
        ("v11", "[TOOL_CALLS]find[CALL_ID]abcdef123[ARGS]{}</s>", None, "", [("unknown_tool", "abcdef123")]),
        ("v11", "[TOOL_CALLS]now[CALL_ID]abcdef123</s>", None, "", [("unclosed_block", None)]),
        ("v13", "[THINK]hm[/THINK]so[TOOL_CALLS]now[ARGS]{}</s>", "hm", "so", [("ok", None)]),
        ("v13", "[THINK]hm[TOOL_CALLS]now[ARGS]{}</s>", "hm", "", [("ok", None)]),
        ("v13", "[TOOL_CALLS]now[ARGS]{</s>", None, "", [("unclosed_block", None)]),
        ("devstral", "so[TOOL_CALLS]now[ARGS]3</s>", None, "so", [("malformed_structure", None)]),
    ],
)
def test_a_sampled_turn_is_read(
    variant: Variant, sampled: str, thought: str | None, content: str, calls: list[tuple[str, str | None]]
) -> None:
    parsed = RENDERERS[variant].parse_response(ids_of(RENDERERS[variant], sampled), [NOW])
    assert (parsed.reasoning_content, parsed.content) == (thought, content)
    assert [(one.status, one.id) for one in parsed.tool_calls] == calls


@pytest.mark.parametrize(
    ("variant", "completion", "new", "added"),
    [
        ("v11", "Hi</s>", user("b"), "[INST]b[/INST]"),
        ("v11", "Hi", user("b"), "</s>[INST]b[/INST]"),
        ("v13", "[THINK]hm", user("b"), "[/THINK]</s>[INST]b[/INST]"),
        (
            "v11",
            "[TOOL_CALLS]now[CALL_ID]abcdef123[ARGS]{}</s>",
            tool("12:00"),
            "[TOOL_RESULTS]abcdef123[TOOL_CONTENT]12:00[/TOOL_RESULTS]",
        ),
        (
            "v3",
            '[TOOL_CALLS] [{"name": "now", "arguments": {}, "id": "abcdef123"}]',
            tool("12:00"),
            '</s>[TOOL_RESULTS] {"content": 12:00, "call_id": "abcdef123"}[/TOOL_RESULTS]',
        ),
        ("v13", "[TOOL_CALLS]now[ARGS]{}</s>", tool("12:00"), "[TOOL_RESULTS]12:00[/TOOL_RESULTS]"),
    ],
)
def test_a_bridge_closes_what_is_open_and_knows_the_ids_of_calls(
    variant: Variant, completion: str, new: dict[str, Any], added: str
) -> None:
    renderer = RENDERERS[variant]
    prompt, sampled = renderer.render_ids([user("a")], None, True), ids_of(renderer, completion)
    bridged = renderer.bridge_to_next_turn(prompt, sampled, [new])
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(sampled)] == prompt + sampled
    tail = renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(sampled) :]).decode()
    assert tail == added


def test_a_bridge_refuses_a_result_of_no_call() -> None:
    renderer = RENDERERS["v11"]
    with pytest.raises(isc.ConversationError, match=r"new_messages\[0\].role: is the result of no call"):
        renderer.bridge_to_next_turn(renderer.render_ids([user("a")]), ids_of(renderer, "Hi</s>"), [tool("b")])
