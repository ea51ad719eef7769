"""Qwen3's values and their references."""

from __future__ import annotations

from cases import Case
from isc.formats.qwen3 import Qwen3

_INSTRUCT = "Qwen--Qwen3-30B-A3B-Instruct-2507/chat_template.jinja"
_THINKING = "Qwen--Qwen3-30B-A3B-Thinking-2507/chat_template.jinja"
_HYBRID = "Qwen--Qwen3-8B/chat_template.jinja"

CASES = (
    Case("qwen3", Qwen3(), _HYBRID, "qwen3"),
    Case("qwen3-no-thinking", Qwen3(enable_thinking=False), _HYBRID, "qwen3", {"enable_thinking": False}),
    Case("qwen3-instruct-2507", Qwen3(variant="instruct_2507"), _INSTRUCT, "qwen3"),
    Case("qwen3-thinking-2507", Qwen3(variant="thinking_2507"), _THINKING, "qwen3"),
)
