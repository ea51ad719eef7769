"""The values of DeepSeek's formats with DSML, V4 and V3.2, and their references: twins of their encoders."""

from __future__ import annotations

from typing import Final

from cases import Case
from format_encoders import deepseek_v3_2, deepseek_v4
from isc.formats.deepseek_v3_2 import DeepSeekV32
from isc.formats.deepseek_v4 import DeepSeekV4
from isc.formats.reading.dsml_calls import DSML

_TAGS: Final = (
    "<tool_result>",
    "</tool_result>",
    "</｜DSML｜parameter>",
    "</｜DSML｜tool_calls>",
    "<｜DSML｜parameter",
)
_TAGS_V3_2: Final = (
    "</function_results>",
    "<result>",
    "</｜DSML｜parameter>",
    "</｜DSML｜invoke>",
    "<｜DSML｜parameter",
)


def _v4(name: str, family: DeepSeekV4, **options: object) -> Case:
    return Case(
        name,
        family,
        "deepseek-ai--DeepSeek-V4/FORMAT.md",
        "deepseek-v4",
        {"variant": family.variant, **options},
        adaptations=(),
        spells=_TAGS,
        twin=deepseek_v4,
    )


def _v3_2(name: str, family: DeepSeekV32, **options: object) -> Case:
    return Case(
        name,
        family,
        "deepseek-ai--DeepSeek-V3.2/FORMAT.md",
        "" if family.tokens else "deepseek-r1",
        {"variant": family.variant, **options},
        refuses={"tool_first": "messages[0].role"},
        adaptations=(),
        spells=_TAGS_V3_2,
        twin=deepseek_v3_2,
    )


CASES = (
    _v4("deepseek-v4", DeepSeekV4()),
    _v4("deepseek-v4-thinking", DeepSeekV4(thinking=True), thinking=True),
    _v4(
        "deepseek-v4-kept",
        DeepSeekV4(thinking=True, drop_thinking=False, reasoning_effort="max"),
        thinking=True,
        drop_thinking=False,
        reasoning_effort="max",
    ),
    _v4(
        "deepseek-v4-flash-0731",
        DeepSeekV4(thinking=True, reasoning_effort="high", variant="flash-0731"),
        thinking=True,
        reasoning_effort="high",
    ),
    _v3_2("deepseek-v3.2", DeepSeekV32()),
    _v3_2("deepseek-v3.2-thinking", DeepSeekV32(thinking=True), thinking=True),
    _v3_2(
        "deepseek-v3.2-token",
        DeepSeekV32(thinking=True, drop_thinking=False, tokens=(DSML,)),
        thinking=True,
        drop_thinking=False,
    ),
)
