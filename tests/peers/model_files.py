"""The tiny engine's model as a directory, as trainers have it: for `load_tokenizer` of both."""

from __future__ import annotations

import json
from pathlib import Path

from isc.formats.qwen3 import Qwen3
from references import stand_in


def written(directory: Path, reference: Path) -> Path:
    """The files of a Qwen3 on the vocabulary that isc carries."""
    stand_in(Qwen3().specials).save(str(directory / "tokenizer.json"))
    template = reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja"
    (directory / "chat_template.jinja").write_bytes(template.read_bytes())
    configuration = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(configuration), encoding="utf-8")
    return directory
