"""DeepSeek's oddities, literally, each with what in the `deepseek-ai--DeepSeek-*` templates it comes from.

Specials are written as `narrow` writes them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest
from msgspec import structs

import isc
from cases import CASES
from golden_conversations import NOW, Message, assistant, call, system, tool, user
from isc.formats.deepseek_r1 import DeepSeekR1
from isc.formats.deepseek_v3 import DeepSeekV3
from isc.formats.deepseek_v3_1 import DeepSeekV31
from isc.testing import Writer
from isc.types import Segment
from small_renders import narrow, renderer_of

V3, V3_0324, R1, V31 = DeepSeekV3(), DeepSeekV3(variant="v3_0324"), DeepSeekR1(), DeepSeekV31()
NO_PREFILL, THINKING = DeepSeekR1(variant="no_prefill"), DeepSeekV31(thinking=True)
FAMILIES: tuple[isc.Family, ...] = (V3, V3_0324, R1, NO_PREFILL, V31, THINKING)
families = pytest.mark.parametrize("family", FAMILIES, ids=repr)
CALL = assistant(None, call("f", {}))
FENCED = "<tool_call_begin>function<tool_sep>f\n```json\n{}\n```<tool_call_end>"
CLOSE = "<tool_calls_end><end_of_sentence>"
PLAIN = "<tool_calls_begin><tool_call_begin>f<tool_sep>{}<tool_call_end>" + CLOSE


def segments_of(family: isc.Family, messages: Sequence[Message], *, prompt: bool = False) -> list[Segment]:
    return list(renderer_of(family).segments(messages, None, prompt))


def text_of(family: isc.Family, messages: Sequence[Message], *, prompt: bool = False) -> str:
    return narrow("".join(segment.text for segment in segments_of(family, messages, prompt=prompt)))


def shown(segments: Sequence[Segment]) -> str:
    """Segments by owner, body in brackets."""
    parts = []
    for owner, group in groupby(segments, lambda segment: segment.message):
        runs = [(body, "".join(s.text for s in run)) for body, run in groupby(group, lambda segment: segment.body)]
        parts.append(f"{owner}" + "".join(f"[{text}]" if body else text for body, text in runs))
    return narrow(" ".join(parts))


ODDITIES: dict[str, tuple[isc.Family, list[Message], str]] = {
    "V3, `ns.is_first`: a call on its own opens the section and is not closed": (
        V3,
        [user("a"), CALL],
        "<User>a<Assistant><tool_calls_begin>" + FENCED,
    ),
    "V3: every later call of a turn closes it": (
        V3,
        [user("a"), assistant(None, *[call("f", {})] * 3)],
        f"<User>a<Assistant><tool_calls_begin>{FENCED}\n{FENCED}{CLOSE}\n{FENCED}{CLOSE}",
    ),
    "V3: `ns.is_first` is never set back, a later turn with calls has no marker": (
        V3,
        [user("a"), CALL, user("b"), CALL],
        f"<User>a<Assistant><tool_calls_begin>{FENCED}<User>b\n{FENCED}{CLOSE}",
    ),
    "V3, `ns.is_output_first`: outputs open one section, each later one is on a line of its own": (
        V3,
        [tool("1"), tool("2"), assistant("a"), tool("3")],
        "<tool_outputs_begin><tool_output_begin>1<tool_output_end>\n<tool_output_begin>2<tool_output_end>"
        "<tool_outputs_end>a<end_of_sentence>\n<tool_output_begin>3<tool_output_end><tool_outputs_end>",
    ),
    "V3: neither a user nor calls close the outputs": (
        V3,
        [tool("1"), user("a"), tool("2"), CALL],
        "<tool_outputs_begin><tool_output_begin>1<tool_output_end><User>a\n<tool_output_begin>2<tool_output_end>"
        f"<Assistant><tool_calls_begin>{FENCED}",
    ),
    "V3-0324: the user's turn ends with the assistant's marker": (
        V3_0324,
        [user("a"), user("b"), assistant("c"), assistant("d")],
        "<User>a<Assistant><User>b<Assistant>c<end_of_sentence>d<end_of_sentence>",
    ),
    "V3-0324: every turn with calls has its section, and the outputs after it theirs": (
        V3_0324,
        [user("a"), assistant("b", *[call("f", {})] * 2), tool("1"), CALL, tool("2"), tool("3")],
        f"<User>a<Assistant>b<tool_calls_begin>{FENCED}\n{FENCED}{CLOSE}"
        "<tool_outputs_begin><tool_output_begin>1<tool_output_end><tool_outputs_end>"
        f"<tool_calls_begin>{FENCED}{CLOSE}<tool_outputs_begin><tool_output_begin>2<tool_output_end>\n"
        "<tool_output_begin>3<tool_output_end><tool_outputs_end>",
    ),
    "R1: content before the first calls; a later turn with calls opens no section": (
        R1,
        [user("a"), assistant("b", *[call("f", {})] * 2), tool("1"), CALL],
        f"<User>a<Assistant>b<tool_calls_begin>{FENCED}\n{FENCED}{CLOSE}"
        f"<tool_outputs_begin><tool_output_begin>1<tool_output_end>\n{FENCED}{CLOSE}",
    ),
    "R1: outputs in a row are not set apart": (
        R1,
        [tool("1"), tool("2")],
        "<tool_outputs_begin><tool_output_begin>1<tool_output_end><tool_output_begin>2<tool_output_end>"
        "<tool_outputs_end>",
    ),
    "R1, `content.split('</think>')[-1]`: of an answer to a user what follows the last closer": (
        R1,
        [user("a"), assistant("<think>b</think>c</think>\n\nd")],
        "<User>a<Assistant>\n\nd<end_of_sentence>",
    ),
    "R1: an answer to outputs is kept whole": (
        R1,
        [tool("1"), assistant("b</think>c")],
        "<tool_outputs_end>b</think>c<end_of_sentence>",
    ),
    "R1: reasoning given apart is dropped": (
        R1,
        [user("a"), assistant("b", reasoning="r")],
        "<User>a<Assistant>b<end_of_sentence>",
    ),
    "V3.1, `content.split('</think>', 1)[1]`: what follows the first closer": (
        V31,
        [user("a"), assistant("b</think>c</think>d", reasoning="r")],
        "<User>a<Assistant></think>c</think>d<end_of_sentence>",
    ),
    "V3.1, `ns.is_last_user`: only an answer to a user has a header": (
        V31,
        [
            user("a"),
            assistant("b", *[call("f", {})] * 2),
            tool("1"),
            tool("2"),
            assistant("c</think>d"),
            assistant("e"),
        ],
        f"<User>a<Assistant></think>b{PLAIN.replace(CLOSE, '')}<tool_call_begin>f<tool_sep>{{}}<tool_call_end>{CLOSE}"
        "<tool_output_begin>1<tool_output_end><tool_output_begin>2<tool_output_end>"
        "c</think>d<end_of_sentence>e<end_of_sentence>",
    ),
    "V3.1: history has no reasoning, with thinking or without": (
        THINKING,
        [user("a"), assistant("b"), user("c"), CALL],
        "<User>a<Assistant></think>b<end_of_sentence><User>c<Assistant></think>" + PLAIN,
    ),
    "V3.1, `message['prefix']`: with thinking, an answer marked so begins with reasoning": (
        THINKING,
        [user("a"), {**assistant("b"), "prefix": True}],
        "<User>a<Assistant><think>b<end_of_sentence>",
    ),
    "V3.1: without thinking it does not": (
        V31,
        [user("a"), {**assistant("b"), "prefix": True}],
        "<User>a<Assistant></think>b<end_of_sentence>",
    ),
    "V3.1: nor does one with calls": (THINKING, [user("a"), {**CALL, "prefix": True}], "<Assistant></think>" + PLAIN),
    "all: JSON text stands as it is given": (
        V31,
        [user("a"), assistant("", call("f", '{"x":  "\\u00e9"}'))],
        '<tool_sep>{"x":  "\\u00e9"}<tool_call_end>' + CLOSE,
    ),
    "all: objects are written as JSON": (
        R1,
        [user("a"), assistant("", call("f", {"x": ["é", None]}))],
        '<tool_sep>f\n```json\n{"x": ["é", null]}\n```<tool_call_end>' + CLOSE,
    ),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity(oddity: str) -> None:
    family, messages, expected = ODDITIES[oddity]
    assert text_of(family, messages).endswith(expected)


@families
def test_systems_are_said_first_in_their_own_names(family: isc.Family) -> None:
    segments = segments_of(family, [user("a"), system("S"), tool("1"), system(""), system("T")])
    assert shown(segments).startswith("-1<begin_of_sentence> 1[S] 3\n\n 4\n\n[T] 0<User>[a]")
    led = segments_of(family, [system("S"), user("a"), system("T")])
    assert shown(led).startswith("0<begin_of_sentence>[S] 2\n\n[T] 1<User>[a]")


OWNERS: dict[str, tuple[isc.Family, list[Message], str]] = {
    "the close of a section of outputs is its last output's, past a system message": (
        V3_0324,
        [tool("1"), system("S"), assistant("a")],
        "-1<begin_of_sentence> 1[S] 0<tool_outputs_begin><tool_output_begin>[1]<tool_output_end><tool_outputs_end> "
        "2[a<end_of_sentence>]",
    ),
    "a line break after a turn close is the closed turn's, and not sampled": (
        V3,
        [tool("1"), assistant("a"), tool("2")],
        "-1<begin_of_sentence> 0<tool_outputs_begin><tool_output_begin>[1]<tool_output_end><tool_outputs_end> "
        "1[a<end_of_sentence>]\n 2<tool_output_begin>[2]<tool_output_end><tool_outputs_end>",
    ),
    "after a user or an unclosed turn it is the output's": (
        V3,
        [tool("1"), user("a"), tool("2"), CALL, tool("3")],
        "-1<begin_of_sentence> 0<tool_outputs_begin><tool_output_begin>[1]<tool_output_end> 1<User>[a] "
        f"2\n<tool_output_begin>[2]<tool_output_end> 3[<Assistant><tool_calls_begin>{FENCED}] "
        "4\n<tool_output_begin>[3]<tool_output_end><tool_outputs_end>",
    ),
    "the assistant's marker that a user's turn ends with is that turn's": (
        V3_0324,
        [user("a"), CALL],
        f"-1<begin_of_sentence> 0<User>[a]<Assistant> 1[<tool_calls_begin>{FENCED}{CLOSE}]",
    ),
    "what a thinking prompt prefills is not in history, so what stands there instead counts as sampled": (
        THINKING,
        [user("a"), assistant("b")],
        "-1<begin_of_sentence> 0<User>[a] 1<Assistant>[</think>b<end_of_sentence>]",
    ),
    "a closer that the prompt prefills is scaffold": (
        V31,
        [user("a"), assistant("b")],
        "-1<begin_of_sentence> 0<User>[a] 1<Assistant></think>[b<end_of_sentence>]",
    ),
}


@pytest.mark.parametrize("interest", OWNERS)
def test_owners_and_body(interest: str) -> None:
    family, messages, expected = OWNERS[interest]
    assert shown(segments_of(family, messages)) == expected


PREFILLS = [
    (V3, "<Assistant>", "<Assistant>"),
    (V3_0324, "", "<Assistant>"),
    (R1, "<Assistant><think>\n", "<Assistant><think>\n"),
    (NO_PREFILL, "<Assistant>", "<Assistant>"),
    (V31, "<Assistant></think>", ""),
    (THINKING, "<Assistant><think>", ""),
]


@pytest.mark.parametrize(("family", "after_user", "after_answer"), PREFILLS, ids=repr)
def test_the_prompt_depends_on_who_spoke_last_and_is_empty_after_outputs(
    family: isc.Family, after_user: str, after_answer: str
) -> None:
    for messages, expected in (
        ([user("a")], after_user),
        ([user("a"), system("S")], after_user),
        ([user("a"), assistant("b")], after_answer),
        ([user("a"), CALL, tool("1"), tool("2")], ""),
    ):
        assert text_of(family, messages, prompt=True) == text_of(family, messages) + expected
        added = segments_of(family, messages, prompt=True)[len(segments_of(family, messages)) :]
        assert not any(segment.body or segment.message >= 0 for segment in added)


TEXT_ONLY = [user("a"), user([{"type": "image_url", "image_url": {"url": "x"}}])]
REFUSED: dict[str, tuple[isc.Family, list[Message], str]] = {
    "a developer": (R1, [user("a"), {"role": "developer", "content": "b"}], "messages[1].role"),
    "an image": (V31, TEXT_ONLY, "messages[1].content[0]"),
    "an image of a system message": (V3, [user("a"), {**TEXT_ONLY[1], "role": "system"}], "messages[1].content[0]"),
    "content beside V3's calls": (V3, [user("a"), assistant("b", call("f", {}))], "messages[1].content"),
    "content beside R1's later calls": (R1, [user("a"), CALL, assistant("b", call("f", {}))], "messages[2].content"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_the_template_would_drop_is_refused_by_its_path(refused: str) -> None:
    family, messages, path = REFUSED[refused]
    with pytest.raises(isc.ConversationError) as error:
        text_of(family, messages)
    assert error.value.path == path


@families
def test_tools_are_refused_since_the_template_shows_none(family: isc.Family) -> None:
    renderer = renderer_of(family)
    with pytest.raises(isc.ConversationError, match=r"^tools: .* shows the model no tools; say what they are in a sys"):
        renderer.render([user("a")], [NOW])


@families
def test_no_special_is_forged(family: isc.Family) -> None:
    renderer = renderer_of(family)
    spelled = "".join(family.specials)
    plain, hostile = (renderer.render_ids([user(text), tool(text), system(text)]) for text in ("", spelled))
    special = set(renderer.encoder.specials.values())
    assert [k for k in hostile if k in special] == [k for k in plain if k in special]
    assert spelled.encode() in renderer.encoder.decode_bytes(hostile)


def test_r1_s_first_calls_may_stand_beside_content_in_any_conversation(reference: Path) -> None:
    """The cases give content to no turn with calls, since later ones are refused: here it is given to all."""
    case = next(case for case in CASES if case.family == R1)
    shape, template = structs.replace(case.shape(), calls_alone=False), case.reference(reference)
    beside = 0
    for seed in range(500):
        messages, _ = Writer(random.Random(seed), shape).conversation()
        try:
            text = "".join(segment.text for segment in segments_of(R1, messages))
        except isc.ConversationError:
            continue
        assert text == template.text((messages, None), add_generation_prompt=False)
        beside += any(message.get("tool_calls") and message["content"] for message in messages)
    assert beside > 50
