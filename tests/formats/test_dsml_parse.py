"""Reading DSML back: what each sampled block is, whether DSML is a token of the vocabulary or text."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import growing
import isc
from isc import testing
from isc.encoding.encoders import embedded
from isc.formats.deepseek_v3_2 import DeepSeekV32
from isc.formats.deepseek_v4 import DeepSeekV4
from isc.formats.reading.dsml_calls import DSML
from isc.types import ParsedResponse
from spelled_ids import ids_of

FAMILIES: list[tuple[isc.Family, str]] = [
    (DeepSeekV4(thinking=True), "tool_calls"),
    (DeepSeekV32(thinking=True), "function_calls"),
    (DeepSeekV32(thinking=True, tokens=(DSML,)), "function_calls"),
]
families = pytest.mark.parametrize(("family", "block"), FAMILIES, ids=["v4", "v3.2", "v3.2-token"])
EOS = "<｜end▁of▁sentence｜>"
TOOLS = [{"name": "f", "parameters": {"type": "object"}}]


def parse(family: isc.Family, text: str, *, prompt: str = "<think>") -> ParsedResponse:
    renderer = isc.create_renderer(embedded(family.specials), family)
    return renderer.parse_response(ids_of(renderer, text), TOOLS, ids_of(renderer, prompt))


def parameter(value: str, key: str = "x", string: str = "true") -> str:
    return f'<｜DSML｜parameter name="{key}" string="{string}">{value}</｜DSML｜parameter>'


def invoke(*parameters: str, name: str = "f") -> str:
    return f'<｜DSML｜invoke name="{name}">\n' + "\n".join(parameters) + "\n</｜DSML｜invoke>"


def called(block: str, *invokes: str) -> str:
    return f"\n\n<｜DSML｜{block}>\n" + "\n".join(invokes) + f"\n</｜DSML｜{block}>"


@families
@pytest.mark.parametrize(
    ("inside", "status", "name", "arguments"),
    [
        (invoke(), "ok", "f", {}),
        (invoke(parameter("1")), "ok", "f", {"x": "1"}),
        (invoke(parameter("1", string="false")), "ok", "f", {"x": 1}),
        (invoke(parameter('{"a": [1, true, null]}', string="false")), "ok", "f", {"x": {"a": [1, True, None]}}),
        (invoke(parameter("\n a \n\n")), "ok", "f", {"x": "\n a \n\n"}),
        (invoke(parameter("")), "ok", "f", {"x": ""}),
        (invoke(parameter("1"), parameter("2", "y")), "ok", "f", {"x": "1", "y": "2"}),
        (invoke(parameter("</think><think>")), "ok", "f", {"x": "</think><think>"}),
        (invoke(parameter('<｜DSML｜invoke name="g">')), "ok", "f", {"x": '<｜DSML｜invoke name="g">'}),
        (invoke(parameter("one", string="false")), "invalid_json", "f", {"x": "one"}),
        (invoke(parameter("1"), parameter("2")), "malformed_structure", "f", None),
        (invoke(name=""), "missing_name", None, {}),
        (invoke(name="g"), "unknown_tool", "g", {}),
        ('<｜DSML｜invoke name="f">\nwhat\n</｜DSML｜invoke>', "malformed_structure", "f", None),
    ],
)
def test_a_call(family: isc.Family, block: str, inside: str, status: str, name: str | None, arguments: Any) -> None:  # noqa: ANN401
    parsed = parse(family, f"r</think>c{called(block, inside)}{EOS}")
    assert (parsed.content, parsed.reasoning_content) == ("c", "r")
    assert [(call.status, call.name, call.arguments) for call in parsed.tool_calls] == [(status, name, arguments)]


@families
def test_a_closing_tag_in_a_value_ends_it_where_its_mark_is_a_token(family: isc.Family, block: str) -> None:
    said = "</｜DSML｜parameter> b"
    (call,) = parse(family, f"</think>c{called(block, invoke(parameter(said)))}").tool_calls
    is_token = DSML in family.specials
    assert (call.status, call.arguments) == (("malformed_structure", None) if is_token else ("ok", {"x": said}))


@families
@pytest.mark.parametrize(
    ("text", "thought", "content", "complete"),
    [
        ("r</think>c", "r", "c", True),
        ("\n r \n</think>\n c \n", "\n r \n", "\n c \n", True),
        ("</think>c", "", "c", True),
        ("r", "r", "", False),
        ("<think>r</think>c", "r", "c", True),
        ("r</think>c</think>d", "r", "c</think>d", True),
    ],
)
def test_nothing_is_trimmed(
    family: isc.Family, block: str, text: str, thought: str, content: str, complete: bool
) -> None:
    for calls in ("", called(block, invoke())) if complete else ("",):
        parsed = parse(family, f"{text}{calls}")
        assert (parsed.reasoning_content, parsed.content, parsed.reasoning_complete) == (thought, content, complete)
        assert len(parsed.tool_calls) == bool(calls)


@families
def test_what_was_dropped_is_not_read_as_said(family: isc.Family, block: str) -> None:
    """History heads an answer with a closer alone; a turn after another has no opener."""
    parsed = parse(family, f"</think>c{called(block, invoke())}", prompt="<｜Assistant｜>")
    assert (parsed.reasoning_content, parsed.content, len(parsed.tool_calls)) == (None, "c", 1)
    parsed = parse(family, "r</think>c", prompt=EOS)
    assert (parsed.reasoning_content, parsed.content) == ("r", "c")


@families
def test_calls_that_were_cut_off_are_kept(family: isc.Family, block: str) -> None:
    whole = f"</think>c{called(block, invoke(parameter('1', string='false')), invoke())}"
    for end in range(whole.index(block), len(whole)):
        parsed = parse(family, whole[:end])
        assert "invoke" not in parsed.content
        statuses = [call.status for call in parsed.tool_calls]
        assert set(statuses[:-1]) <= {"ok"}
        assert statuses or not whole[:end].endswith(">")
    assert [call.status for call in parse(family, whole).tool_calls] == ["ok", "ok"]
    assert [call.status for call in parse(family, f"</think>c\n\n<｜DSML｜{block}>\n").tool_calls] == ["unclosed_block"]
    empty = parse(family, f"</think>c\n\n<｜DSML｜{block}>\n</｜DSML｜{block}>")
    assert [call.status for call in empty.tool_calls] == ["malformed_structure"]
    assert empty.content == "c"


@families
def test_text_around_calls_is_not_lost(family: isc.Family, block: str) -> None:
    parsed = parse(family, f"</think>a{called(block, invoke())} and b{called(block, invoke())}")
    assert (parsed.content, len(parsed.tool_calls)) == ("a and b", 2)


@families
def test_a_token_span_covers_the_tags(family: isc.Family, block: str) -> None:
    renderer = isc.create_renderer(embedded(family.specials), family)
    ids = ids_of(renderer, f"r</think>c{called(block, invoke(parameter('1')))}")
    (call,) = renderer.parse_response(ids, TOOLS, ids_of(renderer, "<think>")).tool_calls
    start, end = call.token_span
    assert invoke(parameter("1")) in renderer.encoder.decode_bytes(ids[start:end]).decode()


def test_a_spelled_tag_is_text_where_the_mark_is_a_token() -> None:
    family = DeepSeekV4()
    renderer = isc.create_renderer(embedded(family.specials), family)
    said = called("tool_calls", invoke())
    (ids,) = renderer.encoder.encode_batch([said])
    assert renderer.parse_response(ids, TOOLS).content == said


@families
def test_mangled_turns_never_raise_and_take_linear_time(family: isc.Family, block: str) -> None:
    renderer = isc.create_renderer(testing.adversarial_encoder(family.specials), family)
    pieces = [
        *renderer.family.specials,
        f"<｜DSML｜{block}>",
        invoke()[:24],
        parameter("1"),
        "</｜DSML｜invoke>",
        "\n",
        "x",
    ]
    for seed in range(300):
        source = random.Random(seed)
        text = "".join(source.choice(pieces) for _ in range(source.randrange(30)))
        testing.parsing(renderer, ids_of(renderer, text), TOOLS)

    def parsing(count: int) -> Callable[[], object]:
        ids = ids_of(renderer, f"</think>\n\n<｜DSML｜{block}>\n" + '<｜DSML｜invoke name="f">\n' * count)
        return lambda: renderer.parse_response(ids)

    assert growing.ratio(parsing(200), parsing(1600), enough=20) < 40
