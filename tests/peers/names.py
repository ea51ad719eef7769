"""What `renderers` has and `isc.compat` leaves out, with the reason: the table of `docs/compat.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_READING: Final = (
    "readers of one format each, by the ids of its markers; in isc every format is read by `Renderer.parse_response`"
)
_READERS: Final = [
    "parse_deepseek_v3",
    "parse_deepseek_v4",
    "parse_glm",
    "parse_gpt_oss",
    "parse_hy3",
    "parse_inkling",
    "parse_kimi_k2",
    "parse_kimi_k2_section",
    "parse_laguna_xs2",
    "parse_llama_3",
    "parse_minimax",
    "parse_qwen3",
    "parse_qwen35",
    "harmony_blocks",
    "prompt_ends_in_reasoning",
    "scan_reasoning",
]

MODULES: Final[Mapping[str, str]] = {
    "parsing": _READING,
    "reasoning": _READING,
    "tagged": _READING,
}
"""Modules that are left out whole."""
NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(_READERS, _READING),
    "parse_generate_response": "how an answer is read is `isc.client`'s",
    "ROUTED_EXPERTS_DATA_PREFIX": "how an answer is read is `isc.client`'s",
    "VLLM_LOGPROB_SENTINEL": "how an answer is read is `isc.client`'s",
    "load_module": "how a file is loaded is the module's own",
}
"""Names that are left out, in whichever module they are."""
