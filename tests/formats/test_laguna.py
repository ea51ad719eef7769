"""The oddities of Laguna, literally, each with its line of XS.2's or XS-2.1's `chat_template.jinja`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import isc
from golden_conversations import TOOLS, Message, assistant, call, system, tool, user
from isc import testing
from isc.encoding.encoders import embedded
from isc.formats.laguna_xs_2 import TAGS, LagunaXS2
from references import TemplateReference
from small_renders import parsed, renderer_of, text_of

OLD, NEW = LagunaXS2(), LagunaXS2(variant="xs-2.1")
OLD_THINKS, NEW_THINKS = (LagunaXS2(variant=old.variant, enable_thinking=True) for old in (OLD, NEW))
RAW = LagunaXS2(render_assistant_messages_raw=True)
DEFAULT = (
    "You are a helpful, conversationally-fluent assistant made by Poolside. You are here to be helpful to users "
    "through natural language conversations."
)

ODDITIES: dict[str, tuple[LagunaXS2, list[Message], str]] = {
    "XS.2, line 9: a default system turn": (
        OLD,
        [user("a")],
        f"〈|EOS|〉<system>\n\n{DEFAULT}\n</system>\n<user>\na\n</user>\n",
    ),
    "XS-2.1, line 9: a default system turn": (
        NEW,
        [user("a")],
        f"〈|EOS|〉<system>{DEFAULT}</system>\n<user>a</user>\n",
    ),
    "XS.2, line 14: an empty system message is no turn": (
        OLD,
        [system(" \n"), user("a")],
        "〈|EOS|〉<user>\na\n</user>\n",
    ),
    "XS-2.1, line 16: to think is a turn": (
        NEW_THINKS,
        [system(""), user("a")],
        "〈|EOS|〉<system></system>\n<user>a</user>\n",
    ),
    "XS.2, line 18: only the end of a system text is trimmed": (
        OLD,
        [system(" s \n"), user("a")],
        "〈|EOS|〉<system>\n\n s\n</system>\n<user>\na\n</user>\n",
    ),
    "XS.2, line 94: thought and content are trimmed": (
        OLD,
        [user("a"), assistant(" b\n", reasoning="\n r ")],
        "<assistant>\n<think>\nr\n</think>\nb\n</assistant>\n",
    ),
    "XS.2, line 94: a blank thought is one": (
        OLD,
        [user("a"), assistant("b", reasoning=" ")],
        "<assistant>\n<think>\n\n</think>\nb\n</assistant>\n",
    ),
    "XS.2, line 89: a spelled think block is taken out": (
        OLD,
        [user("a"), assistant("<think>\nr\n</think>\n\nb")],
        "<assistant>\n<think>\nr\n</think>\nb\n</assistant>\n",
    ),
    "XS.2, line 91: a given thought takes the spelled one's place": (
        OLD,
        [user("a"), assistant("x</think>b", reasoning="r")],
        "<assistant>\n<think>\nr\n</think>\nb\n</assistant>\n",
    ),
    "XS-2.1, line 54: without thinking no thought is rendered": (
        NEW,
        [user("a"), assistant(" b\n", reasoning="r")],
        "<assistant></think> b\n</assistant>\n",
    ),
    "XS-2.1, line 55: with thinking every turn has a think block": (
        NEW_THINKS,
        [user("a"), assistant(" b", reasoning=" r"), user("c"), assistant("d")],
        "<assistant><think> r</think> b</assistant>\n<user>c</user>\n<assistant><think></think>d</assistant>\n",
    ),
    "XS.2, line 107: calls": (
        OLD,
        [user("a"), assistant("b", call("f", {"k": [1], "l": "x"}), call("g", {}))],
        "<assistant>\n</think>\nb\n<tool_call>f\n<arg_key>k</arg_key>\n<arg_value>[1]</arg_value>\n"
        "<arg_key>l</arg_key>\n<arg_value>x</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>\n</assistant>\n",
    ),
    "XS-2.1, line 66: calls": (
        NEW,
        [user("a"), assistant("b", call("f", {"k": True}), call("g", {}))],
        "<assistant></think>b<tool_call>f<arg_key>k</arg_key><arg_value>true</arg_value></tool_call>"
        "<tool_call>g</tool_call></assistant>\n",
    ),
    "XS.2, line 119: a result": (OLD, [user("a"), tool("1")], "<tool_response>\n1\n</tool_response>\n"),
    "XS.2, line 122: a later system message": (OLD, [user("a"), system("s ")], "<system>\ns \n</system>\n"),
    "XS.2, line 57: raw content gets what it lacks": (
        RAW,
        [user("a"), assistant("b")],
        "<assistant>\n</think>b\n</assistant>\n",
    ),
    "XS.2, line 63: raw content that has it": (
        RAW,
        [user("a"), assistant("</think>b</assistant>\n")],
        "<assistant>\n</think>b</assistant>\n\n",
    ),
}


def template(reference: Path, family: LagunaXS2) -> TemplateReference:
    model = "Laguna-XS.2" if family.variant == "xs.2" else "Laguna-XS-2.1"
    options: dict[str, Any] = {"enable_thinking": family.enable_thinking}
    if family.render_assistant_messages_raw:
        options["render_assistant_messages_raw"] = True
    path = reference / "templates" / f"poolside--{model}" / "chat_template.jinja"
    return TemplateReference(path, None, (), (), **options)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(oddity: str) -> None:
    family, messages, expected = ODDITIES[oddity]
    assert text_of(family, messages).endswith(expected)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity_is_the_templates(oddity: str, reference: Path) -> None:
    family, messages, _ = ODDITIES[oddity]
    for tools in (None, TOOLS):
        theirs = template(reference, family).text((messages, tools), add_generation_prompt=True)
        assert text_of(family, messages, tools, prompt=True) == theirs


def test_the_default_system_text_is_nobodys() -> None:
    segments = list(renderer_of(OLD).segments([user("a")], TOOLS))
    assert [(s.message, s.body) for s in segments if DEFAULT in s.text] == [(-1, False)]


@pytest.mark.parametrize("family", [OLD, NEW])
def test_a_renderer_finds_which_tags_are_tokens(family: LagunaXS2) -> None:
    encoder = embedded((*family.specials, "<tool_call>", "</tool_call>", "<user>"))
    renderer = isc.create_renderer(encoder, family)
    assert renderer.family == LagunaXS2(variant=family.variant, tokens=("<user>", "<tool_call>", "</tool_call>"))
    messages = [user("<tool_call>"), assistant("", call("f", {"k": "</tool_call>"}))]
    ids = renderer.render_ids(messages)
    assert [ids.count(encoder.specials[tag]) for tag in ("<user>", "<tool_call>", "</tool_call>")] == [1, 1, 1]
    assert "<user>" not in renderer_of(family).family.specials


CALL = "<tool_call>f\n<arg_key>k</arg_key>\n<arg_value>{}</arg_value>\n</tool_call>\n"


@pytest.mark.parametrize("tokens", [(), TAGS, ("<tool_call>", "</tool_call>"), TAGS[-4:]])
@pytest.mark.parametrize(
    "value", ["", "</arg_value>", "a</tool_call>b", "<arg_key>", "</arg_value>\n</tool_call>x", "\n<think>\n"]
)
def test_a_tag_that_a_value_spells_is_the_values(tokens: tuple[str, ...], value: str) -> None:
    for variant in (OLD, NEW):
        renderer = renderer_of(LagunaXS2(variant=variant.variant, tokens=tokens))
        prompt = renderer.render([user("a")], None, True)
        turn = assistant("b", call("f", {"k": value, "l": value}), call("g", {}))
        ids = renderer.render_ids([user("a"), turn])[len(prompt) :]
        found = renderer.parse_response(ids, prompt_ids=prompt.token_ids)
        assert [(c.status, c.name, c.arguments) for c in found.tool_calls] == [
            ("ok", "f", {"k": value, "l": value}),
            ("ok", "g", {}),
        ]
        assert found.content == "b"
        for one in found.tool_calls:
            text = renderer.encoder.decode_bytes(ids[slice(*one.token_span)]).decode()
            assert f"<tool_call>{one.raw}</tool_call>" in text


def test_the_span_of_a_call_that_is_text_shares_tokens_with_what_stands_beside_it() -> None:
    renderer = isc.create_renderer(testing.adversarial_encoder(NEW.specials), NEW)
    prompt = renderer.render([user("a")], None, True)
    ids = renderer.render_ids([user("a"), assistant("b ", call("f", {"k": "v"}), call("g", {}))])[len(prompt) :]
    first, second = renderer.parse_response(ids, prompt_ids=prompt.token_ids).tool_calls
    texts = [renderer.encoder.decode_bytes(ids[slice(*one.token_span)]).decode() for one in (first, second)]
    assert texts[0].strip(" <") == "tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value></tool_call>"
    assert texts[1].endswith("<tool_call>g</tool_call>")
    assert first.token_span[1] - second.token_span[0] in (0, 1)


@pytest.mark.parametrize(
    ("family", "prompt", "text", "expected"),
    [
        (OLD_THINKS, "<think>", "\n r\n</think>\nb\n</assistant>\n", isc.ParsedResponse("b", "r")),
        (OLD_THINKS, "<think>", "half", isc.ParsedResponse("", "half", reasoning_complete=False)),
        (OLD, "</think>", "\nb\n</assistant>", isc.ParsedResponse("b")),
        (OLD, "", "</think>\nb〈|EOS|〉", isc.ParsedResponse("b")),
        (NEW_THINKS, "<think>", " r</think> b\n</assistant>", isc.ParsedResponse(" b\n", " r")),
        (NEW, "</think>", "a</think>b", isc.ParsedResponse("a</think>b")),
        (RAW, "</think>", "\nb\n</assistant>", isc.ParsedResponse("\nb")),
    ],
)
def test_reasoning(family: LagunaXS2, prompt: str, text: str, expected: isc.ParsedResponse) -> None:
    assert parsed(family, text, prompt=prompt) == expected


def test_a_call_that_is_text_ends_reasoning_only_where_nothing_else_does() -> None:
    text = CALL.format(1)
    cut = parsed(OLD_THINKS, f"\nr\n{text}</assistant>", prompt="<think>")
    assert (cut.reasoning_content, [c.arguments for c in cut.tool_calls]) == ("r", [{"k": 1}])
    closed = parsed(OLD_THINKS, f"\nr {text}</think>\nb\n</assistant>", prompt="<think>")
    assert (closed.reasoning_content, closed.content, closed.tool_calls) == (f"r {text}".strip(), "b", ())


def test_a_raw_turn_has_its_calls_in_its_content() -> None:
    text = f"\nb\n{CALL.format(1)}"
    found = parsed(RAW, text + "</assistant>", prompt="</think>")
    assert (found.content, [c.arguments for c in found.tool_calls]) == (text[:-1], [{"k": 1}])
    turn = {**assistant(found.content, call("f", {"k": 1}, "1"))}
    assert text_of(RAW, [user("a"), turn, tool("2", "1")]).endswith(
        f"</think>{text}</assistant>\n<tool_response>\n2\n</tool_response>\n"
    )


@pytest.mark.parametrize("family", [OLD, NEW, OLD_THINKS, NEW_THINKS, RAW])
def test_a_turn_is_extended_by_anything_and_its_close_given_once(family: LagunaXS2) -> None:
    renderer = renderer_of(family)
    thinks = family.enable_thinking
    prompt = renderer.render([user("a")], None, True)
    turn = assistant("b", reasoning="r" if thinks else None)
    full = renderer.render([user("a"), turn])
    completion = full.token_ids[len(prompt) : -1]
    fresh = renderer.render([user("a"), turn, tool("1"), user("c")], None, True)
    for sampled in (completion, completion[:-1]):
        bridged = renderer.bridge_to_next_turn(prompt.token_ids, sampled, [tool("1"), user("c")])
        assert bridged is not None
        assert renderer.encoder.decode_bytes(bridged.token_ids) == renderer.encoder.decode_bytes(fresh.token_ids)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"preserve_thinking": True}, "xs.2 has no preserve_thinking"),
        ({"variant": "m.1", "preserve_thinking": True}, "m.1 has no preserve_thinking; xs-2.1 and s-2.1 have"),
        ({"variant": "s-2.1", "render_assistant_messages_raw": True}, "no render_assistant_messages_raw; xs.2 and m.1"),
        ({"variant": "xs-3"}, "variant='xs-3' is none of 'xs.2', 'xs-2.1', 's-2.1', 'm.1'"),
        ({"tokens": ("<assistant>",)}, "none of the tags"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(isc.OptionError, match=problem):
        LagunaXS2(**options)  # type: ignore[arg-type]


def test_what_the_template_drops_is_refused() -> None:
    for family, message, path in (
        (OLD, {"role": "developer", "content": "d"}, "messages[1].role"),
        (RAW, assistant("b", call("f", {})), "messages[1].tool_calls"),
    ):
        with pytest.raises(isc.ConversationError) as error:
            renderer_of(family).render([user("a"), message])
        assert error.value.path == path


def test_models_are_known_by_name() -> None:
    assert [isc.family_for(f"poolside/Laguna-{name}") for name in ("XS.2", "XS-2.1")] == [OLD, NEW]
    assert isc.family_for("poolside/Laguna-M.1") == LagunaXS2(variant="m.1")
    assert isc.family_for("poolside/Laguna-S-2.1") == LagunaXS2(variant="s-2.1", enable_thinking=True)


@pytest.mark.parametrize("thinks", [False, True])
def test_m_1_is_xs_2_without_a_system_message_of_its_own(*, thinks: bool) -> None:
    large = LagunaXS2(variant="m.1", enable_thinking=thinks)
    small = LagunaXS2(enable_thinking=thinks)
    said = [user("a"), assistant(" b\n", call("now", {"k": [1]}), reasoning="r"), tool("1")]
    for tools in (None, TOOLS):
        given = [system("s"), *said]
        assert text_of(large, given, tools, prompt=True) == text_of(small, given, tools, prompt=True)
        given = [system(""), *said]
        assert text_of(large, said, tools, prompt=True) == text_of(small, given, tools, prompt=True)
    assert text_of(large, [user("a")]) == "〈|EOS|〉<user>\na\n</user>\n"
