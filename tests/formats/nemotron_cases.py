"""The values of Nemotron 3 Nano, Super and Ultra, and their references: every option of every template."""

from __future__ import annotations

from typing import Any

from cases import Case
from isc.formats.nemotron_3 import Nemotron3, Variant
from references import arguments_as_objects, none_as_empty, parts_joined

_TAGS = ("</parameter>", "<parameter=q>", "</function>", "<function=now>", "\n</parameter>\n", ">\n")
MODELS: dict[Variant, str] = {"nano": "Nano-30B-A3B", "super": "Super-120B-A12B", "ultra": "Ultra-550B-A55B"}


def _case(name: str, variant: Variant, **options: Any) -> Case:  # noqa: ANN401 - the template's own
    return Case(
        f"nemotron-3-{variant}{name}",
        Nemotron3(variant=variant, **options),
        f"nvidia--NVIDIA-Nemotron-3-{MODELS[variant]}-BF16/chat_template.jinja",
        "nemotron-3",
        options,
        adaptations=(parts_joined, none_as_empty, arguments_as_objects),
        spells=_TAGS,
    )


CASES = (
    _case("", "nano"),
    _case("-no-thinking", "nano", enable_thinking=False),
    _case("-all-thinking", "nano", truncate_history_thinking=False),
    _case("-all-thinking-but-no-more", "nano", truncate_history_thinking=False, enable_thinking=False),
    _case("", "super"),
    _case("-low-effort", "super", low_effort=True, truncate_history_thinking=False),
    _case("", "ultra"),
    _case("-no-thinking", "ultra", enable_thinking=False),
    _case("-all-thinking", "ultra", truncate_history_thinking=False),
    _case("-medium-effort", "ultra", medium_effort=True),
)
