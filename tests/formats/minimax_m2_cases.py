"""MiniMax-M2's values and their references: every template at hand, each identity; no vocabulary is at hand."""

from __future__ import annotations

import isc
from cases import Case
from isc.formats.minimax_m2 import MiniMaxM2
from references import arguments_as_objects, none_as_empty

_TAGS = ("</parameter>", '<parameter name="q">', "</invoke>", '<invoke name="now">', "\n</parameter>\n", '">')
_KEYS = r'(?s:(?!.*">).*)'
"""No name with `">` in it: it cannot be told from the end of its tag."""
_VALUES = r"(?s:(?!\u0338).*)"
"""No text that begins with U+0338: where a vocabulary composes (NFC), `">` before it loses its last character."""


def _case(name: str, family: isc.Family, model: str, **options: str) -> Case:
    return Case(
        name,
        family,
        f"MiniMaxAI--{model}/chat_template.jinja",
        options=options,
        refuses={"system_in_the_middle": "messages[1].role", "tool_first": "messages[0].role"},
        adaptations=(none_as_empty, arguments_as_objects),
        spells=_TAGS,
        system_first=True,
        results_follow_calls=True,
        keys=_KEYS,
        values=_VALUES,
    )


CASES = (
    _case("minimax-m2", MiniMaxM2(), "MiniMax-M2"),
    _case("minimax-m2-identity", MiniMaxM2("I am <think>."), "MiniMax-M2", model_identity="I am <think>."),
    _case("minimax-m2.5", isc.family_for("MiniMaxAI/MiniMax-M2.5"), "MiniMax-M2.5"),
    _case("minimax-m2.7", isc.family_for("MiniMaxAI/MiniMax-M2.7"), "MiniMax-M2.7"),
)
