"""MiniMax-M2's values and their references: every template at hand, each identity; no vocabulary is at hand."""

from __future__ import annotations

import isc
from cases import Case
from isc.formats.minimax_m2 import MiniMaxM2
from references import arguments_as_objects, none_as_empty

_TAGS = ("</parameter>", '<parameter name="q">', "</invoke>", '<invoke name="now">', "\n</parameter>\n", '">')


def _case(name: str, family: isc.Family, model: str, **options: str) -> Case:
    return Case(
        name,
        family,
        f"MiniMaxAI--{model}/chat_template.jinja",
        options=options,
        refuses={"system_in_the_middle": "messages[1].role", "tool_first": "messages[0].role"},
        adaptations=(none_as_empty, arguments_as_objects),
        spells=_TAGS,
    )


CASES = (
    _case("minimax-m2", MiniMaxM2(), "MiniMax-M2"),
    _case("minimax-m2-identity", MiniMaxM2("I am <think>."), "MiniMax-M2", model_identity="I am <think>."),
    _case("minimax-m2.5", isc.family_for("MiniMaxAI/MiniMax-M2.5"), "MiniMax-M2.5"),
    _case("minimax-m2.7", isc.family_for("MiniMaxAI/MiniMax-M2.7"), "MiniMax-M2.7"),
)
