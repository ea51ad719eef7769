"""DeepSeek's values and their references: V3, R1 and V3.1, every option and every revision of their templates."""

from __future__ import annotations

import isc
from cases import Case
from isc.formats.deepseek_r1 import DeepSeekR1
from isc.formats.deepseek_v3 import DeepSeekV3
from isc.formats.deepseek_v3_1 import DeepSeekV31
from references import arguments_as_text, empty_as_none_beside_calls, none_as_empty, parts_joined


def _case(
    name: str, family: isc.Family, template: str, *, tokenizer: str = "deepseek-r1", refuses: str = "", **options: bool
) -> Case:
    """A case; `refuses` names the golden conversation whose content beside calls the template drops."""
    return Case(
        name,
        family,
        f"deepseek-ai--DeepSeek-{template}.jinja",
        tokenizer,
        options,
        bos_token="<｜begin▁of▁sentence｜>",
        eos_token="<｜end▁of▁sentence｜>",
        refuses=dict.fromkeys(refuses.split(), "messages[1].content"),
        adaptations=(parts_joined, none_as_empty, empty_as_none_beside_calls, arguments_as_text),
    )


_NO_PREFILL = DeepSeekR1(variant="no_prefill")
_V3_0324 = DeepSeekV3(variant="v3_0324")
_DROPPED = "call_after_content parallel_calls"

CASES = (
    _case("deepseek-v3", DeepSeekV3(), "V3/chat_template", tokenizer="deepseek-v3", refuses=_DROPPED),
    _case("deepseek-v3-0324", _V3_0324, "V3-0324/chat_template", tokenizer="deepseek-v3"),
    _case("deepseek-r1", DeepSeekR1(), "R1/chat_template"),
    _case("deepseek-r1-no-prefill", _NO_PREFILL, "R1/chat_template.rev-no-think-prefill"),
    _case("deepseek-v3.1", DeepSeekV31(), "V3.1/chat_template"),
    _case("deepseek-v3.1-thinking", DeepSeekV31(thinking=True), "V3.1/chat_template", thinking=True),
)
