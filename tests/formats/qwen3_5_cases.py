"""The values of Qwen3.5, Qwen3.6 and Qwen3.8, and their references: every option of every template."""

from __future__ import annotations

from typing import Any

import isc
from cases import Case, Oddity
from golden_conversations import assistant, call, system, user
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

_EIGHT = {case.name: case for case in CASES if isinstance(case.family, Qwen38)}
_XHIGH = (
    "Reasoning effort is set to xhigh. Please think carefully through the task, validate key assumptions, consider "
    "plausible alternatives, and prioritize correctness, consistency, and clarity in the final answer."
)
_LOW = (
    "Reasoning effort is set to low. Keep your thinking brief and focused, moving directly to the conclusion without "
    "unnecessary elaboration."
)
_START, _HEAD, _ASKED = "<|im_start|>system\n", "<|im_start|>assistant\n", "<|im_start|>user\na<|im_end|>\n"

ODDITIES = (
    Oddity(
        "line 85: the effort has a system turn of its own",
        _EIGHT["qwen3.8"],
        [user("a")],
        f"{_START}{_XHIGH}<|im_end|>\n{_ASKED}",
    ),
    Oddity(
        "line 80: the effort before the system text",
        _EIGHT["qwen3.8-low-images"],
        [system(" s\n"), user("a")],
        f"{_START}{_LOW}\n\ns<|im_end|>\n{_ASKED}",
    ),
    Oddity(
        "line 82: an empty system text is nothing",
        _EIGHT["qwen3.8"],
        [system(" \n"), user("a")],
        f"{_START}{_XHIGH}<|im_end|>\n{_ASKED}",
    ),
    Oddity("line 81: and nothing without an effort", _EIGHT["qwen3.8-medium"], [system(" "), user("a")], _ASKED),
    Oddity("line 46: who does not think is told no effort", _EIGHT["qwen3.8-no-thinking"], [user("a")], _ASKED),
    Oddity(
        "line 111: a think block in the content stays there",
        _EIGHT["qwen3.8"],
        [user("a"), assistant("<think>r</think>b")],
        f"{_HEAD}<think>\n\n</think>\n\n<think>r</think>b<|im_end|>\n",
    ),
    Oddity(
        "line 116: every turn keeps its thoughts",
        _EIGHT["qwen3.8"],
        [user("a"), assistant("b", reasoning=" r "), user("a")],
        f"{_HEAD}<think>\nr\n</think>\n\nb<|im_end|>\n{_ASKED}",
    ),
    Oddity(
        "line 119: or loses them to a new query",
        _EIGHT["qwen3.8-truncated"],
        [user("a"), assistant("b", reasoning="r"), user("a")],
        f"{_HEAD}b<|im_end|>\n{_ASKED}",
    ),
    Oddity(
        "line 138: values other than texts are JSON",
        _EIGHT["qwen3.8"],
        [user("a"), assistant("b", call("f", {"k": None, "l": [True], "m": "None"}))],
        f"{_HEAD}<think>\n\n</think>\n\nb\n\n<tool_call>\n<function=f>\n<parameter=k>\nnull\n</parameter>\n"
        "<parameter=l>\n[true]\n</parameter>\n<parameter=m>\nNone\n</parameter>\n</function>\n</tool_call>"
        "<|im_end|>\n",
    ),
)
