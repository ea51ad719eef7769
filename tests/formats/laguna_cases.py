"""The values of Laguna XS.2 and XS-2.1, and their references: every option, tags as text and as tokens."""

from __future__ import annotations

from typing import Final

from cases import Case
from isc.formats.laguna_xs_2 import TAGS, LagunaXS2
from references import arguments_as_objects, parts_joined

_CALL_TAGS = ("</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
_CALLS = (
    *("one_call", "call_after_content", "parallel_calls", "arguments_as_text", "nested_arguments"),
    *("arguments_spell_markers", "several_cycles", "content_none"),
)


def _case(name: str, family: LagunaXS2, template: str = "chat_template", **options: bool) -> Case:
    model = "Laguna-XS.2" if family.variant == "xs.2" else "Laguna-XS-2.1"
    raw = family.render_assistant_messages_raw
    calling = {"several_cycles": "messages[1].tool_calls"}
    return Case(
        name,
        family,
        f"poolside--{model}/{template}.jinja",
        options=options,
        refuses={name: calling.get(name, "messages[1].tool_calls") for name in _CALLS} if raw else {},
        adaptations=(parts_joined, arguments_as_objects),
        spells=_CALL_TAGS,
        unspelled=("</assistant>",)
        if raw
        else (),  # the template takes a spelled close for the turn's, a bridge does not
        bridges=not family.preserve_thinking,  # prompts with `</think>`, renders `<think>`
    )


_NEW: Final = "xs-2.1"
_THINKS_BY_DEFAULT: Final = "chat_template.think-default"

CASES = (
    _case("laguna-xs.2", LagunaXS2()),
    _case("laguna-xs.2-thinking", LagunaXS2(enable_thinking=True), enable_thinking=True),
    _case("laguna-xs.2-tokens", LagunaXS2(enable_thinking=True, tokens=TAGS), enable_thinking=True),
    _case(
        "laguna-xs.2-raw",
        LagunaXS2(render_assistant_messages_raw=True, tokens=TAGS),
        render_assistant_messages_raw=True,
    ),
    _case(
        "laguna-xs.2-raw-thinking",
        LagunaXS2(render_assistant_messages_raw=True, enable_thinking=True, tokens=TAGS),
        render_assistant_messages_raw=True,
        enable_thinking=True,
    ),
    _case("laguna-xs-2.1", LagunaXS2(variant=_NEW)),
    _case("laguna-xs-2.1-thinking", LagunaXS2(variant=_NEW, enable_thinking=True), enable_thinking=True),
    _case("laguna-xs-2.1-tokens", LagunaXS2(variant=_NEW, enable_thinking=True, tokens=TAGS), enable_thinking=True),
    _case("laguna-s-2.1", LagunaXS2(variant="s-2.1", enable_thinking=True), _THINKS_BY_DEFAULT),
    _case(
        "laguna-xs-2.1-kept",
        LagunaXS2(variant=_NEW, preserve_thinking=True),
        _THINKS_BY_DEFAULT,
        enable_thinking=False,
        preserve_thinking=True,
    ),
)
