"""The values of gpt-oss and their references: every option of the template, and its clock."""

from __future__ import annotations

from typing import Any

from cases import Case
from isc.formats.gpt_oss import GptOss
from references import none_as_empty, parts_joined, reasoning_as_thinking

_DAY = "2025-08-05"


def _case(name: str, family: GptOss, **options: Any) -> Case:  # noqa: ANN401 - a template's own
    return Case(
        name,
        family,
        "openai--gpt-oss-20b/chat_template.jinja",
        "gpt-oss",
        options,
        bos_token="<|startoftext|>",
        eos_token="<|return|>",
        refuses={
            "parallel_calls": "messages[1].tool_calls[1]",
            "tool_first": "messages[0]",
            "system_in_the_middle": "messages[1].role",
        },
        adaptations=(parts_joined, none_as_empty, reasoning_as_thinking),
        spells=("\n\n# Tools", "functions.", " to=", "} // namespace functions"),
        now=_DAY,
        # the template makes JSON strings of arguments as text, refuses content beside reasoning in a turn that calls
        template_takes={"text_arguments": False, "content_with_calls": False},
    )


CASES = (
    _case("gpt-oss", GptOss(conversation_start_date=_DAY)),
    _case(
        "gpt-oss-all-options",
        GptOss("high", "You are Robin.", ("python", "browser"), _DAY),
        reasoning_effort="high",
        model_identity="You are Robin.",
        builtin_tools=["python", "browser"],
    ),
    _case(
        "gpt-oss-python",
        GptOss("low", builtin_tools=("python",), conversation_start_date=_DAY),
        reasoning_effort="low",
        builtin_tools=["python"],
    ),
)
