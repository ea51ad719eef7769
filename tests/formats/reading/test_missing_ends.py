"""A value whose end is missing is told: never a wrong argument with status ok. What holds an end of its own is text."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from small_renders import parsed

XML = "<tool_call>\n<function=f>\n%s</function>\n</tool_call>"
PAIRS = "<tool_call>f%s</tool_call>"
INVOKE = '<minimax:tool_call>\n<invoke name="f">\n%s</invoke>\n</minimax:tool_call>'
TAGS = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
# a family, a call, a pair, and what ends a value
FORMATS: list[tuple[isc.Family, str, str, str]] = [
    (isc.Qwen35(), XML, "<parameter=%s>\n%s\n</parameter>\n", "\n</parameter>"),
    (isc.Qwen36(), XML, "<parameter=%s>\n%s\n</parameter>\n", "\n</parameter>"),
    (isc.Qwen38(), XML, "<parameter=%s>\n%s\n</parameter>\n", "\n</parameter>"),
    (isc.Qwen3Coder(), XML, "<parameter=%s>\n%s\n</parameter>\n", "\n</parameter>"),
    (isc.Nemotron3(), XML, "<parameter=%s>\n%s\n</parameter>\n", "\n</parameter>"),
    (isc.Glm45(), PAIRS, "\n<arg_key>%s</arg_key>\n<arg_value>%s</arg_value>", "</arg_value>"),
    (isc.Glm51(), PAIRS, "<arg_key>%s</arg_key><arg_value>%s</arg_value>", "</arg_value>"),
    (isc.LagunaXS2(), PAIRS, "<arg_key>%s</arg_key>\n<arg_value>%s</arg_value>\n", "</arg_value>"),
    (isc.LagunaXS2(tokens=TAGS), PAIRS, "<arg_key>%s</arg_key>\n<arg_value>%s</arg_value>\n", "</arg_value>"),
    (isc.MiniMaxM2(), INVOKE, '<parameter name="%s">%s</parameter>\n', "</parameter>"),
]  # fmt: skip
formats = pytest.mark.parametrize(
    ("family", "call", "pair", "end"), FORMATS, ids=[f"{type(row[0]).__name__}-{k}" for k, row in enumerate(FORMATS)]
)
TOOLS = [{"name": "f", "parameters": {"properties": {key: {"type": "string"} for key in ("city", "state", "unit")}}}]


def read(family: isc.Family, text: str) -> list[tuple[str, str | None, Any]]:
    calls = parsed(family, text, TOOLS).tool_calls
    return [(call.status, call.name, call.arguments) for call in calls]


@formats
def test_a_value_without_its_end_before_another_pair_is_malformed(
    family: isc.Family, call: str, pair: str, end: str
) -> None:
    city, state, unit = pair % ("city", "Dallas"), pair % ("state", "TX"), pair % ("unit", "K")
    whole = {"city": "Dallas", "state": "TX", "unit": "K"}
    assert read(family, call % f"{city}{state}{unit}") == [("ok", "f", whole)]
    for pairs in (f"{city.replace(end, '')}{state}{unit}", f"{city}{state.replace(end, '')}{unit}"):
        assert read(family, call % pairs) == [("malformed_structure", "f", whole)], pairs


@formats
def test_a_last_value_without_its_end_is_malformed(family: isc.Family, call: str, pair: str, end: str) -> None:
    city, state = pair % ("city", "Dallas"), pair % ("state", "TX")
    whole = {"city": "Dallas", "state": "TX"}
    assert read(family, call % f"{city}{state.replace(end, '')}") == [("malformed_structure", "f", whole)]


@formats
def test_a_missing_end_makes_no_call_after_it_wrong(family: isc.Family, call: str, pair: str, end: str) -> None:
    """A value that lacks its end may take what follows with it, but then the call is not ok."""
    broken, good = call % (pair % ("city", "Dallas")).replace(end, ""), call % (pair % ("state", "TX"))
    for status, name, arguments in read(family, f"{broken}\n{good}"):
        assert status != "ok" or (name, arguments) == ("f", {"state": "TX"})


@pytest.mark.parametrize("family", [isc.Qwen35(), isc.Qwen3Coder()])
def test_a_call_without_its_opener_is_read_if_it_is_whole(family: isc.Family) -> None:
    bare = XML.removeprefix("<tool_call>\n") % "<parameter=city>\nDallas\n</parameter>\n"
    good: list[tuple[str, str | None, Any]] = [("ok", "f", {"city": "Dallas"})]
    for text, calls, content in (
        (bare, good, ""),
        (f"So:\n\n{bare}", good, "So:"),
        (f"So:\n{bare}\n{XML % ''}", [*good, ("ok", "f", {})], "So:"),
        (bare.removesuffix("</tool_call>"), [], bare.removesuffix("</tool_call>").strip()),
        (f"Say {bare}", [], f"Say {bare}"),
        ("<function=f>\n</tool_call>", [], "<function=f>\n</tool_call>"),
    ):
        found = parsed(family, text, TOOLS)
        assert [(call.status, call.name, call.arguments) for call in found.tool_calls] == calls, text
        assert found.content.strip() == content


@pytest.mark.parametrize("family", [isc.Qwen35(), isc.Qwen36(), isc.Nemotron3(), isc.Qwen3Coder()])
@pytest.mark.parametrize(
    "value",
    [
        "see <parameter=x> there",
        "a\n<parameter=x>\nb\n</parameter>\nc",
        "<parameter=x>\nb\n</parameter>",
        "</parameter>\n</function>",
        "a <parameter=x>\nb",
    ],
)
def test_a_value_that_spells_a_pair_and_its_end_is_text(family: isc.Family, value: str) -> None:
    text = XML % f"<parameter=city>\n{value}\n</parameter>\n"
    assert read(family, text) == [("ok", "f", {"city": value})]
