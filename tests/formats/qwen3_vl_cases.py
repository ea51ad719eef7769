"""Qwen3-VL's values and their references; `add_vision_id` changes nothing about text."""

from __future__ import annotations

from collections.abc import Mapping

from cases import Case
from isc.formats.qwen3_vl import Qwen3VL
from references import none_as_empty


def _case(name: str, family: Qwen3VL, *, images: bool = False, **options: bool) -> Case:
    instruct = family.variant == "instruct"
    refuses: Mapping[str, str] = {"system_in_the_middle": "messages[1].role"} if instruct else {}
    return Case(
        name,
        family,
        f"Qwen--Qwen3-VL-8B-{'Instruct' if instruct else 'Thinking'}/chat_template.jinja",
        "qwen3",
        options,
        refuses=refuses,
        adaptations=(none_as_empty,),
        images=images,
    )


CASES = (
    _case("qwen3-vl", Qwen3VL()),
    _case("qwen3-vl-numbered", Qwen3VL(add_vision_id=True), add_vision_id=True),
    _case("qwen3-vl-images", Qwen3VL(), images=True),
    _case("qwen3-vl-thinking", Qwen3VL(variant="thinking")),
    _case("qwen3-vl-thinking-numbered", Qwen3VL(variant="thinking", add_vision_id=True), add_vision_id=True),
    _case(
        "qwen3-vl-thinking-images",
        Qwen3VL(variant="thinking", add_vision_id=True),
        images=True,
        add_vision_id=True,
    ),
)
