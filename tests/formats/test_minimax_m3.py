"""MiniMax-M3: arguments of every kind, who owns the opening, what is refused, bridges, hostile turns.

What its template does oddly and how turns are read back stands in `minimax_m3_cases.py`.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import growing
import isc
from cases import CASES
from golden_conversations import Message, assistant, call, system, tool, user
from isc.formats._shape import ANY
from isc.formats.minimax_m3 import MiniMaxM3
from isc.testing import Writer, laws, parity
from small_renders import parsed, renderer_of
from spelled_ids import ids_of

FAMILY = MiniMaxM3()
ENABLED = MiniMaxM3(thinking_mode="enabled")
MARK = "]<]minimax[>["
CALLED = '@<tool_call>\n@<invoke name="f">@<x>1@</x>@</invoke>\n@</tool_call>'.replace("@", MARK)
NOW: Message = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
CALL = assistant("", call("f", {}))


def told(text: str) -> Message:
    return {"role": "developer", "content": text}


def test_arguments_of_every_kind_are_rendered_as_the_template_does(reference: Path) -> None:
    """The laws draw what is read back the same: here null, what is empty, keys and texts of any kind stand too."""
    case = next(case for case in CASES if case.family == FAMILY)
    renderer, theirs = renderer_of(FAMILY), case.reference(reference)
    shape = structs.replace(case.shape(), tells_kinds=True, keys=ANY, values=ANY)
    assert not case.shape().tells_kinds
    for seed in range(200):
        conversation = Writer(random.Random(seed), shape).conversation()
        parity(renderer, conversation, theirs, add_generation_prompt=seed % 2 == 0)


def has_a_kind_untold(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a null, an empty list or object stands anywhere in a value."""
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value in (None, [], {}) or any(map(has_a_kind_untold, held))


@pytest.mark.parametrize("tells", [False, True])
def test_the_kit_draws_no_argument_that_tags_cannot_tell(tells: bool) -> None:
    shape = structs.replace(FAMILY.shape, tells_kinds=tells)
    drawn = [Writer(random.Random(seed), shape).object() for seed in range(300)]
    assert any(any(map(has_a_kind_untold, one.values())) for one in drawn) is tells
    assert any(isinstance(value, (dict, list)) for one in drawn for value in one.values())


@pytest.mark.parametrize(("first", "owners"), [([], [-1]), ([system("s")], [0]), ([told("d")], [-1, 0])])
def test_the_opening_is_a_system_message_s_and_a_developer_s_turn_its_own(
    first: list[Message], owners: list[int]
) -> None:
    segments = list(renderer_of(FAMILY).segments([*first, user("a")], [NOW]))
    before = [segment for segment in segments if segment.message < len(first)]
    assert list(dict.fromkeys(segment.message for segment in before)) == owners
    assert [segment.text for segment in before if segment.body] == [message["content"] for message in first]
    assert "".join(segment.text for segment in before).endswith(f"{MARK}</tool_call>[e~[\n")


def test_an_identity_and_arguments_spell_no_special() -> None:
    family = MiniMaxM3(f"[e~[{MARK}")
    renderer = renderer_of(family)
    ids = renderer.render(
        [user("a"), assistant("", call("f", {"x": f"{MARK}</x>", "[e~[": ["</mm:think>"]}))]
    ).token_ids
    assert ids.count(renderer.encoder.specials["[e~["]) == 4
    assert ids.count(renderer.encoder.specials[MARK]) == 10


IMAGE = {"type": "image", "hash": "0a", "width": 1, "height": 1}
REFUSED: dict[str, tuple[list[Message], str]] = {
    "a result of no call": ([user("a"), assistant("b"), tool("x")], "messages[2].role"),
    "a result after an answer": ([CALL, tool("x"), assistant("b"), tool("y")], "messages[3].role"),
    "a later system message": ([user("a"), system("s")], "messages[1].role"),
    "a developer after a system message": ([system("s"), told("d"), user("a")], "messages[1].role"),
    "a role that replaces the identity": ([{"role": "root", "content": "r"}, user("a")], "messages[0].role"),
    "a video": ([user([{"type": "video", "video": "x"}])], "messages[0].content[0]"),
    "an image of an answer": ([user("a"), {"role": "assistant", "content": [IMAGE]}], "messages[1].content[0]"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_the_place(what: str) -> None:
    messages, path = REFUSED[what]
    with pytest.raises(isc.ConversationError) as error:
        renderer_of(FAMILY).render(messages)
    assert error.value.path == path


def test_an_option_must_be_one_of_the_template_s() -> None:
    with pytest.raises(isc.OptionError, match="thinking_mode='on'"):
        MiniMaxM3(thinking_mode="on")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "completion", "added"),
    [
        (FAMILY, "</mm:think>Hi[e~[", "\n"),
        (FAMILY, "</mm:think>Hi", "[e~[\n"),
        (FAMILY, "<mm:think>r", "</mm:think>[e~[\n"),
        (ENABLED, "r", "</mm:think>[e~[\n"),
        (ENABLED, f"r</mm:think>{CALLED}", "[e~[\n"),
        (ENABLED, f"r{CALLED}", "[e~[\n"),
    ],
)
def test_a_bridge_closes_what_is_open_and_goes_on(family: MiniMaxM3, completion: str, added: str) -> None:
    renderer = renderer_of(family)
    prompt, sampled = renderer.render_ids([user("?")], None, True), ids_of(renderer, completion)
    calls = CALLED in completion
    bridged = renderer.bridge_to_next_turn(prompt, sampled, [tool("!") if calls else user("!")])
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(sampled)] == prompt + sampled
    tail = renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(sampled) :]).decode()
    said = "tool\n<response>!</response>" if calls else "user\n!"
    opened = "<mm:think>" if family == ENABLED else ""
    assert tail == f"{added}]~b]{said}[e~[\n]~b]ai\n{opened}"


def test_no_result_is_bridged_to_a_turn_that_makes_no_call() -> None:
    renderer = renderer_of(FAMILY)
    prompt = renderer.render_ids([user("?")], None, True)
    with pytest.raises(isc.ConversationError, match="must make a call"):
        renderer.bridge_to_next_turn(prompt, ids_of(renderer, "</mm:think>Hi[e~["), [tool("!")])
    assert renderer.bridge_to_next_turn(prompt, ids_of(renderer, f"</mm:think>{CALLED}[e~["), [tool("1"), tool("2")])


@pytest.mark.parametrize("family", [FAMILY, ENABLED])
def test_drafts_of_any_kind_are_reasoning(family: MiniMaxM3) -> None:
    renderer = renderer_of(family)
    pieces = [MARK, "]~b]", "<mm:think>", CALLED, CALLED[: len(CALLED) // 2], "x"]
    said = ids_of(renderer, f"<mm:think>Hm</mm:think>b{CALLED}")
    tried = 0
    for seed in range(40):
        source = random.Random(seed)
        drafted = ids_of(renderer, f"x{''.join(source.choices(pieces, k=source.randint(0, 4)))}x")
        prompt = renderer.render_ids([user("a")], None, True) if source.random() < 0.5 else ()
        tried += laws.drafts(renderer, said, drafted, prompt)
    assert tried == 40


def test_nesting_of_any_depth_is_read_or_told() -> None:
    for depth, status in ((10, "ok"), (50, "ok"), (200, "malformed_structure"), (20_000, "malformed_structure")):
        inside = f"{MARK}<a>" * depth + "1" + f"{MARK}</a>" * depth
        (found,) = parsed(FAMILY, CALLED.replace(f"{MARK}<x>1{MARK}</x>", inside)).tool_calls
        assert found.status == status
        value: Any = found.arguments
        while isinstance(value, dict):
            value = value["a"]
        assert value == (1 if status == "ok" else None)


@pytest.mark.parametrize(
    "repeated",
    [
        f"{MARK}<tool_call>",
        f'{MARK}<tool_call>\n{MARK}<invoke name="f">{MARK}<x>',
        f'{MARK}<invoke name="f">',
        f"{MARK}</tool_call>",
        f"{MARK}<",
        f"{MARK}<x>{MARK}</y>",
        f'{MARK}<invoke name="f">{MARK}</tool_call>',
        f'{MARK}<invoke name="' + '">' * 20,
    ],
)
def test_what_is_sampled_over_and_over_is_read_in_time_that_grows_with_it(repeated: str) -> None:
    renderer = renderer_of(FAMILY)
    said = cache(lambda count: ids_of(renderer, f"</mm:think>{repeated * count}"))
    assert growing.grown(lambda count: renderer.parse_response(said(count)), 1_000) <= growing.RATIO
