"""Gemma 3's value and its reference; no tokenizer is at hand."""

from __future__ import annotations

from cases import Case
from isc.formats.gemma3 import Gemma3
from references import none_as_empty

CASES = (
    Case(
        "gemma-3",
        Gemma3(),
        "google--gemma-3-4b-it/chat_template.jinja",
        bos_token="<bos>",
        eos_token="<eos>",
        refuses={
            "nested_arguments": "messages[1].tool_calls",
            "system_in_the_middle": "messages[1].role",
            "no_user": "messages[1].role",
        },
        adaptations=(none_as_empty,),
    ),
)
