"""MiniMax-M3's values and their references: each thinking mode; no vocabulary is at hand."""

from __future__ import annotations

from cases import Case
from isc.formats.minimax_m3 import MiniMaxM3
from references import arguments_as_objects, none_as_empty

_MARK = "]<]minimax[>["
_TAGS = (f"{_MARK}</q>", f"{_MARK}<q>", f'{_MARK}<invoke name="now">', "</invoke>", "</q>", '">', "<item>")


def _case(name: str, family: MiniMaxM3, **options: str) -> Case:
    return Case(
        name,
        family,
        "MiniMaxAI--MiniMax-M3/chat_template.jinja",
        options=options,
        refuses={"system_in_the_middle": "messages[1].role", "tool_first": "messages[0].role"},
        adaptations=(none_as_empty, arguments_as_objects),
        spells=_TAGS,
    )


CASES = (
    _case("minimax-m3", MiniMaxM3()),
    _case("minimax-m3-enabled", MiniMaxM3(thinking_mode="enabled"), thinking_mode="enabled"),
    _case(
        "minimax-m3-disabled",
        MiniMaxM3("I am <mm:think>.", thinking_mode="disabled"),
        model_identity="I am <mm:think>.",
        thinking_mode="disabled",
    ),
)
