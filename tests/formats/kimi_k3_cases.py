"""Kimi K3's values and their reference, a twin of its encoder; no vocabulary is at hand."""

from __future__ import annotations

from cases import Case
from format_encoders import kimi_k3
from isc.formats.kimi_k3 import KimiK3


def _case(name: str, family: KimiK3, *, images: bool = False, **options: object) -> Case:
    return Case(
        name,
        family,
        "moonshotai--Kimi-K3/FORMAT.md",
        options=options,
        refuses={"tool_first": "messages[0]"},
        adaptations=(),
        spells=("<|open|>think<|sep|>", 'message role="user"', "</think>"),
        twin=kimi_k3,
        images=images,
    )


CASES = (
    _case("kimi-k3", KimiK3(), thinking_effort="max"),
    _case("kimi-k3-bare", KimiK3(thinking_effort=None)),
    _case("kimi-k3-images", KimiK3(), images=True, thinking_effort="max"),
    _case("kimi-k3-no-thinking", KimiK3(thinking=False), thinking=False),
)
