"""Twins of encoders, and families, render the worked examples of each FORMAT.md and the pairs shipped with a model."""

from __future__ import annotations

import json
import re
import warnings
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import isc
from format_encoders import Encoder, deepseek_v3_2, deepseek_v4
from isc.encoding.encoders import embedded
from isc.formats.deepseek_v3_2 import DeepSeekV32
from isc.formats.deepseek_v4 import DeepSeekV4, ReasoningEffort

EXAMPLE = re.compile(
    r"- \*\*(?P<name>.+)\*\* \((?P<options>[^()]*)\)\n  - in: `(?P<given>.*)`\n  - out: `(?P<text>.*)`\n?"
)
TOOLS_BLOCK = re.compile(r"## Tools block.*\n```\n(?P<text>(?:.*\n)+?)```\n")
HELD = "⟦TOOLS BLOCK⟧\n"


class Worked(NamedTuple):
    name: str
    options: dict[str, Any]
    messages: list[dict[str, Any]]
    text: str


def worked(reference: Path, model: str) -> list[Worked]:
    page = (reference / "templates" / model / "FORMAT.md").read_text(encoding="utf-8")
    block = TOOLS_BLOCK.search(page)
    assert block is not None
    return [
        Worked(
            found["name"],
            dict(_option(option) for option in re.split(r", (?=\w+=)", found["options"])),
            json.loads(found["given"]),
            json.loads(found["text"]).replace(HELD, block["text"]),
        )
        for found in EXAMPLE.finditer(page)
    ]


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return ("thinking", value == "'thinking'") if name == "thinking_mode" else (name, literal_eval(value))


def text_of(family: isc.Family, messages: list[dict[str, Any]], tools: Any = None) -> str:  # noqa: ANN401
    renderer = isc.create_renderer(embedded(family.specials), family)
    asks = messages[-1]["role"] != "assistant"  # where the encoders end with a generation prompt
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", isc.UnreadKeyWarning)  # `mask` is nothing to a renderer
        return "".join(segment.text for segment in renderer.segments(messages, tools, asks))


@pytest.mark.parametrize(
    ("model", "family", "twin", "fixed", "count"),
    [
        ("deepseek-ai--DeepSeek-V4", DeepSeekV4, deepseek_v4, {}, 10),
        ("deepseek-ai--DeepSeek-V3.2", DeepSeekV32, deepseek_v3_2, {"variant": "sglang"}, 8),
    ],
)
def test_every_worked_example_comes_out_byte_for_byte(
    reference: Path, model: str, family: Callable[..., isc.Family], twin: Encoder, fixed: dict[str, Any], count: int
) -> None:
    examples = worked(reference, model)
    assert len(examples) == count
    for example in examples:
        options = {**example.options, **fixed}
        assert text_of(family(**options), example.messages) == example.text, example.name
        assert twin(example.messages, **options) == example.text, example.name


def test_every_shipped_pair_comes_out_byte_for_byte(reference: Path) -> None:
    place = reference / "templates" / "deepseek-ai--DeepSeek-V4" / "examples"
    for number in (1, 2, 3, 4):
        given = json.loads((place / f"test_input_{number}.json").read_text(encoding="utf-8"))
        messages, tools = (given["messages"], given["tools"]) if isinstance(given, dict) else (given, None)
        wanted = (place / f"test_output_{number}.txt").read_text(encoding="utf-8")
        assert text_of(DeepSeekV4(thinking=number < 4), messages, tools) == wanted
        assert deepseek_v4(messages, tools, thinking=number < 4) == wanted


def test_efforts_are_worded_as_format_md_has_them(reference: Path) -> None:
    page = (reference / "templates" / "deepseek-ai--DeepSeek-V4" / "FORMAT.md").read_text(encoding="utf-8")
    quoted = [
        json.loads(found)
        for found in re.findall(r'^ +(?:- (?:low|high|max): )?`("(?:Reasoning Effort.*)?")`$', page, re.M)
    ]
    release, *flash = quoted
    asked = [{"role": "user", "content": "x"}]
    rest = "<｜User｜>x<｜Assistant｜><think>"
    efforts: tuple[ReasoningEffort, ...] = ("low", "high", "max")
    for effort, words in zip(efforts, flash, strict=True):
        family = DeepSeekV4(thinking=True, reasoning_effort=effort, variant="flash-0731")
        assert text_of(family, asked) == f"<｜begin▁of▁sentence｜>{words}{rest}"
    assert (
        text_of(DeepSeekV4(thinking=True, reasoning_effort="max"), asked) == f"<｜begin▁of▁sentence｜>{release}{rest}"
    )
    assert text_of(DeepSeekV4(thinking=True, reasoning_effort="high"), asked) == f"<｜begin▁of▁sentence｜>{rest}"
    assert (
        text_of(DeepSeekV4(reasoning_effort="max"), asked)
        == "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜></think>"
    )
