"""Which renderer a model has by its name, as `renderers` has it, for callers that look it up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MODELS: Final[Mapping[str, str]] = {
    "qwen3": "Qwen/Qwen3-: 0.6B 1.7B 4B 4B-Instruct-2507 4B-Thinking-2507 8B 14B 32B 30B-A3B 30B-A3B-Instruct-2507 "
    "30B-A3B-Thinking-2507 235B-A22B",
    "prime-qwen3": "PrimeIntellect/Qwen3-: 0.6B 1.7B",
    "qwen3.5": "Qwen/Qwen3.5-: 0.8B 2B 4B 9B 35B-A3B 122B-A10B 397B-A17B",
    "qwen3.6": "Qwen/Qwen3.6-: 35B-A3B",
    "qwen3.8": "Qwen/Qwen3.8-: 27B Flash-Next",
    "qwen3-vl": "Qwen/Qwen3-VL-: 4B-Instruct 8B-Instruct 30B-A3B-Instruct",
    "gemma4": "google/gemma-4-: E2B-it E4B-it 26B-A4B-it 31B-it",
    "glm-5": "zai-org/GLM-: 5 5-FP8 4.7-Flash",
    "glm-5.1": "zai-org/GLM-: 5.1",
    "glm-5.3": "zai-org/GLM-: 5.3 5.3-BF16",
    "glm-4.5": "THUDM/GLM-: 4.5-Air; zai-org/GLM-: 4.5-Air",
    "minimax-m2": "MiniMaxAI/MiniMax-: M2 M2.5",
    "deepseek-v3": "deepseek-ai/DeepSeek-: V3 V3-Base",
    "deepseek-r1": "deepseek-ai/DeepSeek-: R1 R1-0528",
    "deepseek-v4": "deepseek-ai/DeepSeek-: V4-Flash-0731",
    "kimi-k2": "moonshotai/Kimi-: K2-Instruct",
    "kimi-k2.5": "moonshotai/Kimi-: K2.5 K2.6",
    "nemotron-3": "nvidia/NVIDIA-Nemotron-3-: Nano-30B-A3B-BF16 Super-120B-A12B-BF16",
    "nemotron-3-ultra": "nvidia/NVIDIA-Nemotron-3-: Ultra-550B-A55B-BF16 Ultra-550B-A55B-FP8",
    "nemotron-3.5": "nvidia/NVIDIA-Nemotron-3.5-: Lightning-30B-A3B-BF16 Super-EA-09112026",
    "llama-3": "meta-llama/Llama-: 3.2-1B-Instruct 3.2-3B-Instruct",
    "laguna-xs.2": "poolside/Laguna-: XS.2",
    "laguna-m.1": "poolside/Laguna-: M.1",
    "laguna-xs-2.1": "poolside/Laguna-: XS-2.1",
    "laguna-s-2.1": "poolside/Laguna-: S-2.1",
    "gpt-oss": "openai/gpt-oss-: 20b 120b",
    "inkling": "thinkingmachines/: Inkling Inkling-Small",
    "hy3": "tencent/: Hy3 Hy3-FP8",
}
"""For each renderer its models: what their names begin with, and how they go on."""
_IMAGES: Final = ("qwen3.5", "qwen3.6", "qwen3.8", "qwen3-vl", "gemma4", "kimi-k2.5")


def _names(models: str) -> list[str]:
    """Return the full names of a row."""
    groups = (group.split(": ") for group in models.split("; "))
    return [beginning + rest for beginning, ends in groups for rest in ends.split()]


MODEL_RENDERER_MAP: dict[str, str] = {name: kind for kind, models in _MODELS.items() for name in _names(models)}
"""The renderer of a model's exact name. `create_renderer` reads it, and knows further models that have a family."""

MULTIMODAL_MODELS: dict[str, frozenset[str]] = {
    **{name: frozenset(("image",)) for kind in _IMAGES for name in _names(_MODELS[kind])},
    **{name: frozenset(("image", "audio")) for name in _names(_MODELS["inkling"])},
    "nvidia/NVIDIA-Nemotron-3.5-Super-EA-09112026": frozenset(("image",)),
}
"""The media that a model takes."""

TOKENIZER_SOURCE_OVERRIDES: dict[str, str] = {
    f"meta-llama/{name}": f"unsloth/{name}" for name in ("Llama-3.2-1B-Instruct", "Llama-3.2-3B-Instruct")
}
"""Gated models, with the open repository that `load_tokenizer` takes the same tokenizer from."""

TRUSTED_REVISIONS: dict[str, str] = {}
"""Models whose own code is run to load their tokenizer: none, isc reads Kimi's rank files itself."""
