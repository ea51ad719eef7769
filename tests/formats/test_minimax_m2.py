"""MiniMax-M2's oddities, literally, each with its line of `MiniMaxAI--MiniMax-M2/chat_template.jinja`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.minimax_m2 import MiniMaxM2
from isc.testing import Writer, adversarial_encoder, parity
from references import TemplateReference
from small_renders import renderer_of, text_of
from spelled_ids import ids_of

NOW = {"type": "function", "function": {"name": "now", "description": "é"}}
CALL = assistant("", call("f", {}))
CALLED = ']~b]ai\n\n<minimax:tool_call>\n<invoke name="f">\n</invoke>\n</minimax:tool_call>[e~[\n'
TEMPLATE = Path("templates") / "MiniMaxAI--MiniMax-M2" / "chat_template.jinja"


def parts(*texts: str) -> list[Message]:
    return [{"type": "text", "text": text} for text in texts]


def results(*texts: str) -> Message:
    return {"role": "tool", "content": parts(*texts)}


ODDITIES: dict[str, tuple[list[Message], list[Message] | None, str]] = {
    "line 31: an identity where no system message speaks": (
        [user("a")],
        None,
        "]~!b[]~b]system\nYou are a helpful assistant.[e~[\n]~b]user\na[e~[\n",
    ),
    "line 27: nor where it says nothing": (
        [system(""), user("a")],
        None,
        "]~!b[]~b]system\nYou are a helpful assistant.[e~[\n]~b]user\na[e~[\n",
    ),
    "line 28: white space is something": ([system(" "), user("a")], None, "]~b]system\n [e~[\n]~b]user\na[e~[\n"),
    "line 28: so is a list of nothing": (
        [{"role": "system", "content": parts("")}, user("a")],
        None,
        "]~b]system\n[e~[\n]~b]user\na[e~[\n",
    ),
    "line 38: a system message may tell the date and the place": (
        [{"role": "system", "content": "s", "current_date": "1 Jan", "current_location": "Rome"}, user("a")],
        None,
        "]~b]system\ns\nCurrent date: 1 Jan\nCurrent location: Rome[e~[\n]~b]user\na[e~[\n",
    ),
    "line 65: tools come last in the system turn, without their wrapper": (
        [system("s"), user("a")],
        [NOW],
        "]~b]system\ns\n\n# Tools\nYou may call one or more tools to assist with the user query.\n"
        'Here are the tools available in JSONSchema format:\n\n<tools>\n<tool>{"name": "now", "description": "é"}'
        "</tool>\n</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n\n"
        '<minimax:tool_call>\n<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n'
        '<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>[e~[\n'
        "]~b]user\na[e~[\n",
    ),
    "line 98: reasoning is kept as it stands where no user message follows": (
        [user("a"), assistant("\nb ", reasoning=" r\n"), CALL, tool("x"), assistant("c", reasoning="s")],
        None,
        "]~b]ai\n<think>\n r\n\n</think>\n\n\nb [e~[\n"
        + CALLED
        + "]~b]tool\n<response>x</response>[e~[\n]~b]ai\n<think>\ns\n</think>\n\nc[e~[\n",
    ),
    "line 97: and dropped before one": (
        [user("a"), assistant("b", reasoning="r"), user("c")],
        None,
        "]~b]ai\nb[e~[\n]~b]user\nc[e~[\n",
    ),
    "line 97: without a user message all is kept": (
        [assistant("b", reasoning="r")],
        None,
        "]~b]ai\n<think>\nr\n</think>\n\nb[e~[\n",
    ),
    "line 97: empty reasoning is none": ([user("a"), assistant("b", reasoning="")], None, "]~b]ai\nb[e~[\n"),
    "line 93: inline reasoning is taken out of the content, newlines around both": (
        [user("a"), assistant("<think>\n\nr \n</think>\n\n b\n\n")],
        None,
        "]~b]ai\n<think>\nr \n</think>\n\n b[e~[\n",
    ),
    "line 89: given reasoning leaves a spelled think block in the content": (
        [user("a"), assistant("x</think>y\n", reasoning="r")],
        None,
        "]~b]ai\n<think>\nr\n</think>\n\nx</think>y\n[e~[\n",
    ),
    "line 104: the calls of a turn share a block": (
        [user("a"), assistant("b", call("f", {"k": "v\n", "l": [1, "é"]}), call("g", {}))],
        None,
        ']~b]ai\nb\n<minimax:tool_call>\n<invoke name="f">\n<parameter name="k">v\n</parameter>\n'
        '<parameter name="l">[1, "é"]</parameter>\n</invoke>\n<invoke name="g">\n</invoke>\n'
        "</minimax:tool_call>[e~[\n",
    ),
    "line 104: a call without content still starts a line": ([user("a"), CALL], None, CALLED),
    "line 132: results in a row share a turn": (
        [CALL, tool("1"), tool(""), user("a"), tool("2")],
        None,
        "]~b]tool\n<response>1</response>\n<response></response>[e~[\n]~b]user\na[e~[\n"
        "]~b]tool\n<response>2</response>[e~[\n",
    ),
    "line 142: a list has a response for each item, closed on a line of its own": (
        [CALL, results("1", "2"), tool("3"), results()],
        None,
        "]~b]tool\n<response>1\n</response>\n<response>2\n</response>\n<response>3</response>[e~[\n",
    ),
    "line 141: an item that is a text is its own": (
        [CALL, {"role": "tool", "content": ["x"]}],
        None,
        "]~b]tool\n<response>x\n</response>[e~[\n",
    ),
    "line 16: parts are joined": ([user(parts("a ", " b"))], None, "]~b]user\na  b[e~[\n"),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(oddity: str) -> None:
    messages, tools, expected = ODDITIES[oddity]
    assert text_of(MiniMaxM2(), messages, tools).endswith(expected)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity_is_the_template_s(oddity: str, reference: Path) -> None:
    messages, tools, _ = ODDITIES[oddity]
    theirs = TemplateReference(reference / TEMPLATE, None, ()).text((messages, tools), add_generation_prompt=True)
    assert text_of(MiniMaxM2(), messages, tools, prompt=True) == theirs


def test_arguments_given_as_text_are_rendered_as_what_the_text_says() -> None:
    text = text_of(MiniMaxM2(), [user("a"), assistant("", call("f", '{"x": 1.50, "y":"\\u00e9"}'))])
    assert '<parameter name="x">1.5</parameter>\n<parameter name="y">é</parameter>\n' in text


@pytest.mark.parametrize("first", [[], [system("")], [system("s")]])
def test_the_opening_belongs_to_a_system_message_or_to_nobody(first: list[Message]) -> None:
    segments = list(renderer_of(MiniMaxM2()).segments([*first, user("a")], [NOW]))
    opening = [segment for segment in segments if segment.message == len(first) - 1]
    assert "".join(segment.text for segment in opening).endswith("</minimax:tool_call>[e~[\n")
    assert [segment.text for segment in opening if segment.body] == (["s"] if first == [system("s")] else [])


def test_date_and_place_are_body_of_the_system_message() -> None:
    told = {"role": "system", "content": "s", "current_date": "1 Jan", "current_location": ""}
    segments = renderer_of(MiniMaxM2()).segments([told, user("a")])
    assert [segment.text for segment in segments if segment.body and segment.message == 0] == ["s", "1 Jan"]


def test_a_token_that_straddles_a_response_and_its_tag_is_body() -> None:
    renderer = isc.create_renderer(adversarial_encoder(MiniMaxM2.specials), MiniMaxM2())
    rendered = renderer.render([CALL, tool("ab")])
    tokens = [renderer.encoder.decode_bytes((token_id,)) for token_id in rendered.token_ids]
    said = [token for k, token in enumerate(tokens) if rendered.is_content[k] and rendered.message_indices[k] == 1]
    assert said == [b">a", b"b"]


def test_a_half_special_that_the_close_completes_is_text(reference: Path) -> None:
    """The reference reads `]~!b` + `[e~[` as `]~!b[` + `e~[`; isc keeps the close (law 7), and parity tells it."""
    renderer = renderer_of(MiniMaxM2())
    conversation = [user("]~!b"), assistant("x")], None
    assert renderer.encoder.specials["[e~["] in renderer.render(*conversation, body_specials="parse").token_ids
    theirs = TemplateReference(reference / TEMPLATE, None, (), specials=MiniMaxM2.specials)
    (found,) = parity(renderer, conversation, theirs)
    assert (found.text, found.cut) == ("]~!b[", 4)


REFUSED: dict[str, tuple[list[Message], str]] = {
    "line 128: a result of no call": ([user("a"), assistant("b"), tool("x")], "messages[2].role"),
    "line 123: an answer after the call": ([CALL, tool("x"), assistant("b"), tool("y")], "messages[3].role"),
    "line 38: a date that is no text": (
        [{"role": "system", "content": "s", "current_date": 5}, user("a")],
        "messages[0].current_date",
    ),
    "line 149: a later system message": ([user("a"), system("s")], "messages[1].role"),
    "line 149: a developer": ([{"role": "developer", "content": "d"}, user("a")], "messages[0].role"),
    "line 19: an image": ([user([{"type": "image_url", "image_url": {"url": "x"}}])], "messages[0].content[0]"),
}


@pytest.mark.parametrize("input_", REFUSED)
def test_refused_with_the_place(input_: str) -> None:
    messages, path = REFUSED[input_]
    with pytest.raises(isc.ConversationError) as error:
        renderer_of(MiniMaxM2()).render(messages)
    assert error.value.path == path


@pytest.mark.parametrize("version", ["M2.1", "M2.5", "M2.7"])
def test_later_models_know_their_name(version: str) -> None:
    text = text_of(isc.family_for(f"MiniMaxAI/MiniMax-{version}"), [user("a")])
    named = f"You are a helpful assistant. Your name is MiniMax-{version} and is built by MiniMax."
    assert text.startswith(f"]~!b[]~b]system\n{named}[e~[\n")
    assert isc.family_for("MiniMaxAI/MiniMax-M2") == MiniMaxM2()


def test_an_identity_spells_no_special() -> None:
    rendered = isc.create_renderer(embedded(MiniMaxM2.specials), MiniMaxM2("[e~[")).render([user("a")])
    closes = [k for k in rendered.token_ids if k == renderer_of(MiniMaxM2()).encoder.specials["[e~["]]
    assert len(closes) == 2


def test_the_kit_finds_what_the_format_takes() -> None:
    shape = isc.testing.shape_of(MiniMaxM2())
    assert shape.roles == ("system", "user", "assistant", "tool")
    assert (shape.system_first, shape.results_follow_calls) == (True, True)
    assert (shape.most_calls, shape.calls_alone, shape.user_first) == (3, False, False)
    for seed in range(100):
        assert text_of(MiniMaxM2(), *Writer(random.Random(seed), shape).conversation())


CALLING = '<minimax:tool_call>\n<invoke name="f">\n</invoke>\n</minimax:tool_call>'


def test_no_result_is_bridged_to_a_turn_that_makes_no_call() -> None:
    renderer = renderer_of(MiniMaxM2())
    prompt = renderer.render_ids([user("?")], None, True)
    with pytest.raises(isc.ConversationError, match="must make a call"):
        renderer.bridge_to_next_turn(prompt, ids_of(renderer, "r\n</think>\n\nHi[e~["), [tool("!")])
    assert renderer.bridge_to_next_turn(
        prompt, ids_of(renderer, f"r\n</think>\n\n{CALLING}[e~["), [tool("1"), tool("2")]
    )


@pytest.mark.parametrize(
    ("completion", "closing"),
    [("r\n</think>\n\na[e~[", "\n"), ("r\n</think>\n\na", "[e~[\n"), ("r", "\n</think>\n\n[e~[\n")],
)
def test_a_bridge_closes_what_is_open(completion: str, closing: str) -> None:
    renderer = isc.create_renderer(embedded(MiniMaxM2.specials), MiniMaxM2(), thinking_retention="all")
    prompt, ids = renderer.render_ids([user("?")], None, True), ids_of(renderer, completion)
    bridged = renderer.bridge_to_next_turn(prompt, ids, [user("!")])
    assert bridged is not None
    added = renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(ids) :]).decode()
    assert added == f"{closing}]~b]user\n![e~[\n]~b]ai\n<think>\n"
