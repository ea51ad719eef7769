"""The values of Qwen2.5 and their references: the marks of results as text and as tokens.

The reference's tokenizer is Qwen3's, which has tokens for them; Qwen2.5's own has none.
"""

from __future__ import annotations

from cases import Case
from isc.formats.qwen2_5 import Qwen25
from references import arguments_as_objects, none_as_empty, parts_joined

_TEMPLATE = "Qwen--Qwen2.5-0.5B-Instruct/chat_template.jinja"
_ADAPTATIONS = (parts_joined, none_as_empty, arguments_as_objects)

CASES = (
    Case("qwen2.5", Qwen25(), _TEMPLATE, adaptations=_ADAPTATIONS, spells=("<tool_response>", "</tool_response>")),
    Case("qwen2.5-tokens", Qwen25(response_tokens=True), _TEMPLATE, "qwen3", adaptations=_ADAPTATIONS),
)
