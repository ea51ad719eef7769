"""The values of Qwen3.5, Qwen3.6 and Qwen3.8, and their references: every option of every template."""

from __future__ import annotations

from typing import Any

import isc
from cases import Case
from isc.formats.qwen3_5 import Qwen35
from isc.formats.qwen3_6 import Qwen36
from isc.formats.qwen3_8 import Qwen38
from references import arguments_as_objects

_TAGS = ("</parameter>", "<parameter=q>", "</function>", "<function=now>", "\n</parameter>\n", ">\n")


def _case(name: str, family: isc.Family, model: str, *, images: bool = False, **options: Any) -> Case:  # noqa: ANN401 - a template's own
    return Case(
        name,
        family,
        f"Qwen--{model}/chat_template.jinja",
        "qwen3.5",
        options,
        refuses={"system_in_the_middle": "messages[1].role", "no_user": "messages"},
        adaptations=(arguments_as_objects,),
        spells=_TAGS,
        images=images,
    )


_NINE, _TWO, _MOE, _NEW = "Qwen3.5-9B", "Qwen3.5-2B", "Qwen3.6-35B-A3B", "Qwen3.8-27B"

CASES = (
    _case("qwen3.5", Qwen35(), _NINE),
    _case("qwen3.5-thinking", Qwen35(), _NINE, enable_thinking=True),
    _case("qwen3.5-no-thinking", Qwen35(enable_thinking=False), _NINE, enable_thinking=False),
    _case("qwen3.5-images", Qwen35(), _NINE, images=True),
    _case("qwen3.5-2b", Qwen35(enable_thinking=False), _TWO),
    _case("qwen3.5-2b-thinking", Qwen35(), _TWO, enable_thinking=True),
    _case("qwen3.5-2b-no-thinking", Qwen35(enable_thinking=False), _TWO, enable_thinking=False),
    _case("qwen3.6", Qwen36(), _MOE),
    _case("qwen3.6-no-thinking", Qwen36(enable_thinking=False), _MOE, enable_thinking=False, preserve_thinking=False),
    _case("qwen3.6-images", Qwen36(add_vision_id=True), _MOE, images=True, add_vision_id=True),
    _case("qwen3.6-all-thinking", Qwen36(preserve_thinking=True), _MOE, preserve_thinking=True),
    _case(
        "qwen3.6-all-thinking-but-no-more",
        Qwen36(enable_thinking=False, preserve_thinking=True),
        _MOE,
        enable_thinking=False,
        preserve_thinking=True,
    ),
    _case("qwen3.8", Qwen38(), _NEW),
    _case("qwen3.8-medium", Qwen38(reasoning_effort="medium"), _NEW, reasoning_effort="medium"),
    _case(
        "qwen3.8-low-images",
        Qwen38(reasoning_effort="low", add_vision_id=True),
        _NEW,
        images=True,
        reasoning_effort="low",
        add_vision_id=True,
    ),
    _case("qwen3.8-no-thinking", Qwen38(enable_thinking=False), _NEW, enable_thinking=False),
    _case("qwen3.8-truncated", Qwen38(preserve_thinking=False), _NEW, preserve_thinking=False),
)
