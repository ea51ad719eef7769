"""DeepSeek's models by name and by their files, whose configuration names a class that would drop every space."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tokenizers import Tokenizer

import isc
from isc.formats.deepseek_r1 import DeepSeekR1
from isc.formats.deepseek_v3 import DeepSeekV3
from isc.formats.deepseek_v3_1 import DeepSeekV31

SAID = "two  spaces, and\n\n  Wörter 漢字 12345 "


@pytest.mark.parametrize(
    ("tokenizer", "model", "family"),
    [
        ("deepseek-v3", "DeepSeek-V3", DeepSeekV3()),
        ("deepseek-v3", "DeepSeek-V3-0324", DeepSeekV3(variant="v3_0324")),
        ("deepseek-r1", "DeepSeek-R1", DeepSeekR1()),
        ("deepseek-r1", "DeepSeek-V3.1", DeepSeekV31()),
    ],
)
def test_a_directory_is_read_by_its_tokenizer_file_whatever_class_its_configuration_names(
    tokenizer: str, model: str, family: isc.Family, tmp_path: Path, reference: Path
) -> None:
    file = reference / "tokenizers" / tokenizer / "tokenizer.json"
    template = reference / "templates" / f"deepseek-ai--{model}" / "chat_template.jinja"
    source = template.read_text(encoding="utf-8")
    configuration = {"tokenizer_class": "LlamaTokenizerFast", "legacy": True, "chat_template": source}
    (tmp_path / "tokenizer.json").symlink_to(file)
    (tmp_path / "tokenizer_config.json").write_bytes(msgspec.json.encode(configuration))
    renderer = isc.load(tmp_path)
    assert renderer.family == family
    rendered = renderer.render([{"role": "user", "content": SAID}, {"role": "assistant", "content": "a b"}])
    body = [
        token_id
        for token_id, content, owner in zip(
            rendered.token_ids, rendered.is_content, rendered.message_indices, strict=True
        )
        if content and owner == 0
    ]
    assert body == Tokenizer.from_file(str(file)).encode(SAID, add_special_tokens=False).ids
    assert renderer.encoder.decode_bytes(body).decode() == SAID


def test_the_shipped_configuration_names_that_class_and_finds_v3(tmp_path: Path, reference: Path) -> None:
    shipped = reference / "tokenizers" / "deepseek-v3"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(shipped / name)
    assert '"LlamaTokenizerFast"' in (tmp_path / "tokenizer_config.json").read_text(encoding="utf-8")
    assert isc.load(tmp_path).family == DeepSeekV3()


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("deepseek-ai/DeepSeek-V3", DeepSeekV3()),
        ("deepseek-ai/DeepSeek-V3-0324", DeepSeekV3(variant="v3_0324")),
        ("deepseek-ai/DeepSeek-R1", DeepSeekR1()),
        ("deepseek-ai/DeepSeek-V3.1", DeepSeekV31()),
    ],
)
def test_models_are_known_by_name(model: str, family: isc.Family) -> None:
    assert isc.family_for(model) == family


@pytest.mark.parametrize("model", ["deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"])
def test_models_that_were_taught_by_r1_have_formats_of_their_own(model: str) -> None:
    with pytest.raises(isc.UnknownModelError):
        isc.family_for(model)


def test_one_vocabulary_lacks_what_another_format_spells(reference: Path) -> None:
    """V3's tokenizer has no `<think>`: R1's format on it is refused, not rendered as text."""
    renderer = isc.load(reference / "tokenizers" / "deepseek-v3", DeepSeekR1())
    with pytest.raises(isc.errors.MissingSpecialError, match="<think>"):
        renderer.render([{"role": "user", "content": "a"}], add_generation_prompt=True)
