"""A directory that stands for the model hub: the reference's templates and tokenizers under the models' own names.

A relative path that exists is a model's directory for transformers and for isc alike, so in this directory
`from_pretrained("Qwen/Qwen3-8B")` needs no network. Where the reference has no tokenizer, the vocabulary that isc
carries stands in, with the format's specials added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from isc.formats.catalogue import models
from references import stand_in

_CLASS: Final = {"tokenizer_class": "PreTrainedTokenizerFast"}

SAME_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "Qwen/Qwen3-8B": ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B"),
    "Qwen/Qwen3.5-2B": ("Qwen/Qwen3.5-0.8B",),
    "Qwen/Qwen3.5-9B": (
        "Qwen/Qwen3.5-4B",
        "Qwen/Qwen3.5-35B-A3B",
        "Qwen/Qwen3.5-122B-A10B",
        "Qwen/Qwen3.5-397B-A17B",
    ),
    "Qwen/Qwen3-VL-8B-Instruct": ("Qwen/Qwen3-VL-4B-Instruct",),
    "zai-org/GLM-4.5": ("THUDM/GLM-4.5-Air", "zai-org/GLM-4.5-Air"),
    "meta-llama/Llama-3.2-1B-Instruct": (
        "meta-llama/Llama-3.2-3B-Instruct",
        "unsloth/Llama-3.2-1B-Instruct",
        "unsloth/Llama-3.2-3B-Instruct",
    ),
}
"""Models that share a template and a vocabulary with one of the reference."""

_LACKING: Final = ("meta-llama/Llama-3.2-1B-Instruct",)
"""Models whose tokenizer in the reference lacks a special that `renderers` wants."""
_ALSO: Final = ("<|media_begin|>", "<|media_content|>", "<|media_pad|>", "<|media_end|>", "<tool_call>", "</tool_call>")
"""Specials that `renderers` wants of a vocabulary though it is to render no media, or has them as text."""


def write(directory: Path, reference: Path) -> None:
    """Write the files of every model that has a template, and a tokenizer or a family, and of those that share them."""
    rows: list[dict[str, Any]] = json.loads((reference / "models.json").read_text(encoding="utf-8"))
    for row in rows:
        if row["template"] is not None and (row["tokenizer"] is not None or row["model"] in models()):
            for name in (row["model"], *SAME_FILES.get(row["model"], ())):
                _write(directory / name, row, reference)


def _write(place: Path, row: Mapping[str, Any], reference: Path) -> None:
    place.mkdir(parents=True)
    template = (reference / row["template"]).read_text(encoding="utf-8")
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    files = None if row["tokenizer"] is None else reference / row["tokenizer"]
    settings: dict[str, Any] = dict(_CLASS)
    settings |= {key: row[key] for key in ("bos_token", "eos_token") if row[key]}
    if files is not None and (files / "tokenizer.json").is_file() and row["model"] not in _LACKING:
        (place / "tokenizer.json").symlink_to(files / "tokenizer.json")
    else:
        stand_in(_specials(row)).save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    (place / "config.json").write_text("{}", encoding="utf-8")


def _specials(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The specials of a format, and what `renderers` wants besides."""
    named = tuple(row[key] for key in ("bos_token", "eos_token") if row[key])
    return tuple(dict.fromkeys((*models()[row["model"]].specials, *named, *_ALSO)))
