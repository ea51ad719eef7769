"""The record of `canitoolcall`: what models sampled, as ids, and what a correct parser makes of it.

An oracle that knows nothing of isc: completions rendered by the models' own templates, or taken from the tests and bug
reports of engines. Read through families and through traced templates alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import isc
from isc.encoding.encoders import embedded, from_rank_file
from isc.encoding.fold import fold
from isc.encoding.rank_files import KIMI_K2
from isc.formats.kimi_k3 import KimiK3
from isc.formats.segments import spelled
from references import encoder_of
from traced_references import PLACE, traced_template

KIMI_K3 = "kimi-k3"
"""No tokenizer of the reference: the ranks of Kimi K2, by which every recorded completion decodes to its text."""

TOKENIZERS: Mapping[str, str] = {
    "Qwen/Qwen3-0.6B": "qwen3",
    "Qwen/Qwen3-4B-Instruct-2507": "qwen3",
    "Qwen/Qwen3-4B-Thinking-2507": "qwen3",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen3",
    "Qwen/Qwen3-Coder-Next": "qwen3",
    "Qwen/Qwen3.5-9B": "qwen3.5",
    "Qwen/Qwen3.8-27B": "qwen3.5",
    "zai-org/GLM-4.5": "glm-4.5",
    "zai-org/GLM-4.7": "glm-4.5",
    "zai-org/GLM-5.3": "glm-5",
    "openai/gpt-oss-20b": "gpt-oss",
    "moonshotai/Kimi-K2-Instruct-0905": "kimi-k2",
    "moonshotai/Kimi-K2.6": "kimi-k2.5",
    "moonshotai/Kimi-K3": KIMI_K3,
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-v3",
    "deepseek-ai/DeepSeek-V3.1": "deepseek-r1",
    "deepseek-ai/DeepSeek-V4-Flash": "deepseek-v4",
    "deepseek-ai/DeepSeek-V4.1-Flash": "deepseek-v4",
}
"""The tokenizers of the reference whose ids are those of the record. The ids of other models are read from the text."""

TEMPLATES: Mapping[str, str] = {
    "Qwen/Qwen3-0.6B": "Qwen--Qwen3-8B/chat_template.jinja",
    "Qwen/Qwen3-4B-Instruct-2507": "Qwen--Qwen3-30B-A3B-Instruct-2507/chat_template.jinja",
    "Qwen/Qwen3-4B-Thinking-2507": "Qwen--Qwen3-30B-A3B-Thinking-2507/chat_template.jinja",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "Qwen--Qwen3-Coder-30B-A3B-Instruct/chat_template.jinja",
    "Qwen/Qwen3.5-9B": "Qwen--Qwen3.5-9B/chat_template.jinja",
    "Qwen/Qwen3.8-27B": "Qwen--Qwen3.8-27B/chat_template.jinja",
    "zai-org/GLM-4.5": "zai-org--GLM-4.5/chat_template.jinja",
    "zai-org/GLM-4.7": "zai-org--GLM-4.7-Flash/chat_template.jinja",
    "openai/gpt-oss-20b": "openai--gpt-oss-20b/chat_template.jinja",
    "moonshotai/Kimi-K2.6": "moonshotai--Kimi-K2.6/chat_template.backport-miles.jinja",
    "meta-llama/Llama-3.3-70B-Instruct": "meta-llama--Llama-3.1-8B-Instruct/chat_template.jinja",
    "zai-org/GLM-5.3": "zai-org--GLM-5.3/chat_template.reassembled.jinja",
    "moonshotai/Kimi-K2-Instruct-0905": "moonshotai--Kimi-K2-Instruct/chat_template.reconstructed.jinja",
    "moonshotai/Kimi-K3": "moonshotai--Kimi-K3/chat_template.llama-cpp.jinja",
    "deepseek-ai/DeepSeek-V3.2": "deepseek-ai--DeepSeek-V3.2/chat_template.llama-cpp.jinja",
    "deepseek-ai/DeepSeek-V4-Flash": "deepseek-ai--DeepSeek-V4/chat_template.llama-cpp.jinja",
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-ai--DeepSeek-V3-0324/chat_template.jinja",
    "deepseek-ai/DeepSeek-V3.1": "deepseek-ai--DeepSeek-V3.1/chat_template.jinja",
    "google/gemma-4-31B-it": "google--gemma-4-31B-it/chat_template.jinja",
    "mistralai/Devstral-Small-2507": "mistralai--Devstral-Small-2507/chat_template.unsloth.jinja",
    "mistralai/Ministral-3-14B-Reasoning-2512": "mistralai--Ministral-3-14B-Reasoning-2512/chat_template.jinja",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistralai--Mistral-7B-Instruct-v0.3/chat_template.jinja",
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506":
        "mistralai--Mistral-Small-3.2-24B-Instruct-2506/chat_template.jinja",
}  # fmt: skip
"""The templates of the reference that are read as if nobody knew the format."""


class Recorded(NamedTuple):
    """A recorded completion, as the record has it; `prompt` is the end of its prompt."""

    row: Mapping[str, Any]
    prompt: str

    @property
    def name(self) -> str:
        return str(self.row["id"])

    @property
    def model(self) -> str:
        return str(self.row["models"][0])

    @property
    def is_parse(self) -> bool:
        """Whether a parse is expected; else the completion is cut off or malformed."""
        return "expected" in self.row


def has_record() -> bool:
    return find_spec("canitoolcall") is not None


def recorded() -> Iterator[Recorded]:
    found = find_spec("canitoolcall")
    assert found is not None
    assert found.submodule_search_locations
    for place in sorted(Path(found.submodule_search_locations[0]).glob("_data/fixtures/*/family.json")):
        models = json.loads(place.read_text(encoding="utf-8"))["reference_models"]
        prompts = {model["repo"]: model["default_generation_prompt"] for model in models}
        for path in sorted(place.parent.glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                prompt = row.get("generation_prompt")
                yield Recorded(row, prompts[row["models"][0]] if prompt is None else prompt)


def family_of(one: Recorded) -> isc.Family | None:
    """The family that serves the model by its name, thinking where the prompt does."""
    try:
        family = isc.family_for(one.model)
    except isc.UnknownModelError:
        return None
    thinks = one.prompt.endswith("<think>") and family.reasoning is None and "thinking" in family.__struct_fields__
    return family.with_options({"thinking": True}) if thinks else family


def traced_of(one: Recorded) -> isc.Family | None:
    """The model's own template, traced."""
    name = TEMPLATES.get(one.model)
    return traced_template(name) if name else None


@lru_cache(maxsize=12)
def _encoder(name: str) -> Any:  # noqa: ANN401 - encoders of any kind
    if name != KIMI_K3:
        return encoder_of(PLACE, name)
    known = {"<|open|>": 163587, "<|close|>": 163588, "<|sep|>": 163589}  # as the record has them
    others = {text: 163700 + place for place, text in enumerate(KimiK3.specials) if text not in known}
    kimi = json.loads((PLACE / "tokenizers" / "kimi-k2.5" / "kimi_special_tokens.json").read_text(encoding="utf-8"))
    ranks = PLACE / "tokenizers" / "kimi-k2" / "tiktoken.model"
    return from_rank_file(ranks, kimi["pat_str"], known | others, KIMI_K2.limits)


def read(one: Recorded, family: isc.Family) -> isc.ParsedResponse:
    """What isc makes of a completion: its own ids where the reference has the model's tokenizer, else its text."""
    tokenizer = TOKENIZERS.get(one.row.get("tokenizer", {}).get("repo", ""))
    renderer = isc.create_renderer(_encoder(tokenizer) if tokenizer else embedded(family.specials), family)
    ids, prompt = (
        fold(spelled(text, tuple(family.specials)), renderer.encoder).token_ids
        for text in (one.row["raw_output"], one.prompt)
    )
    given = one.row.get("output_token_ids") if tokenizer else None
    return renderer.parse_response(given or ids, list(one.row["tools"]), prompt)


def differs(one: Recorded, parsed: isc.ParsedResponse) -> str | None:
    """How a reading differs from the record; None where it does not, but for white space around texts."""
    calls = [[call.name, call.arguments] for call in parsed.tool_calls if call.status in ("ok", "unknown_tool")]
    if not one.is_parse:
        return f"a call of what is cut off or malformed: {calls}" if calls else None
    expected = one.row["expected"]
    wanted = [[call["name"], call["arguments"]] for call in expected["tool_calls"]]
    if json.dumps(calls, sort_keys=True) != json.dumps(wanted, sort_keys=True):
        told = [(call.status, call.name, call.arguments) for call in parsed.tool_calls]
        return f"calls {told}, not {wanted}"
    for field in ("content", "reasoning_content"):
        ours, theirs = ((text or "").strip() for text in (getattr(parsed, field), expected[field]))
        if ours != theirs:
            return f"{field} {ours!r}, not {theirs!r}"
    return None
