"""Models with `tiktoken.model` and no tokenizer.json: loaded by what isc knows of the file, never by their code."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_rank_files import configuration

import isc
from isc.formats.kimi_k2 import KimiK2
from isc.formats.kimi_k2_5 import KimiK25
from isc.testing import built_in
from isc.testing.conformance import check_model

CHAT = [{"role": "user", "content": "Wie heißt du? 漢字 👋"}, {"role": "assistant", "content": "Kimi."}]
MODELS: dict[str, tuple[str, str, isc.Family]] = {
    "instruct": ("kimi-k2", "K2-Instruct/chat_template.reconstructed", KimiK2()),
    "instruct of 2025-07": (
        "kimi-k2",
        "K2-Instruct/chat_template.rev-2025-07",
        KimiK2(variant="instruct_2025_07"),
    ),
    "thinking": ("kimi-k2.5", "K2-Thinking/chat_template", KimiK2(variant="thinking")),
    "k2.5": ("kimi-k2.5", "K2.5/chat_template", KimiK25()),
    "k2.6": ("kimi-k2.5", "K2.6/chat_template.backport-miles", KimiK25(variant="k2.6")),
}


@pytest.fixture
def directory(tmp_path: Path, reference: Path) -> Callable[[str], Path]:
    """A directory with a model's files as its repository has them, and code that must not be run."""

    def make(name: str) -> Path:
        tokenizer, template, _ = MODELS[name]
        shutil.copyfile(reference / "tokenizers" / "kimi-k2" / "tiktoken.model", tmp_path / "tiktoken.model")
        shutil.copyfile(
            reference / "templates" / f"moonshotai--Kimi-{template}.jinja", tmp_path / "chat_template.jinja"
        )
        facts = reference / "tokenizers" / tokenizer / "kimi_special_tokens.json"
        kimi = json.loads(facts.read_text(encoding="utf-8"))
        named = {text: token_id for text, token_id in kimi["special_tokens"].items() if "reserved" not in text}
        written = configuration(named, kimi["special_flag_false"])
        (tmp_path / "tokenizer_config.json").write_text(written, encoding="utf-8")
        (tmp_path / "tokenization_kimi.py").write_text("raise SystemExit('remote code was run')", encoding="utf-8")
        return tmp_path

    return make


@pytest.mark.parametrize("name", MODELS)
def test_a_directory_loads_by_its_template_with_the_ids_of_its_tokenizer(
    name: str, directory: Callable[[str], Path], real_encoder: Callable[[str], isc.Encoder]
) -> None:
    tokenizer, _, family = MODELS[name]
    renderer = isc.load(directory(name))
    assert renderer.family == family
    assert renderer.render(CHAT) == isc.create_renderer(real_encoder(tokenizer), family).render(CHAT)


def test_a_renderer_from_a_directory_pickles_small_and_equal(
    directory: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = directory("k2.5")
    monkeypatch.chdir(place.parent)
    renderer = isc.load(place.name)
    pickled = pickle.dumps(renderer)
    assert len(pickled) < 2000
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).render(CHAT) == renderer.render(CHAT)


@pytest.mark.parametrize("name", ["instruct", "thinking", "k2.5"])
def test_a_directory_is_checked_against_its_own_template(name: str, directory: Callable[[str], Path]) -> None:
    report = check_model(str(directory(name)), None, lambda shape: built_in(shape, 12))
    assert report.holds, [outcome for outcome in report.outcomes if outcome.status == "fail"]
    assert all(outcome.tried for outcome in report.outcomes if outcome.check.endswith("parity"))


def test_a_changed_special_is_read_anew(directory: Callable[[str], Path]) -> None:
    place = directory("k2.5")
    before = isc.load(place).encoder
    text = (place / "tokenizer_config.json").read_text(encoding="utf-8")
    (place / "tokenizer_config.json").write_text(text.replace("[EOT]", "<|mine|>"), encoding="utf-8")
    assert isc.load(place).encoder.specials.keys() - before.specials.keys() == {"<|mine|>"}


def test_an_unknown_rank_file_is_an_error_that_names_model_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tiktoken.model").write_bytes(b"IQ== 0\n")
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(isc.LoadError) as caught:
        isc.load(tmp_path, KimiK2())
    assert str(caught.value).startswith(f"tiktoken.model of {tmp_path}: no rank file that isc knows")
    assert "isc.encoders.from_rank_file(path, pattern, specials)" in str(caught.value)


def test_a_rank_file_without_a_configuration_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "tiktoken.model").write_bytes(b"IQ== 0\n")
    with pytest.raises(isc.LoadError, match=r"has no tokenizer_config\.json"):
        isc.load(tmp_path, KimiK2())


def test_a_special_with_the_id_of_text_is_an_error(directory: Callable[[str], Path]) -> None:
    place = directory("k2.5")
    (place / "tokenizer_config.json").write_text(configuration({"<think>": 7}, []), encoding="utf-8")
    with pytest.raises(isc.EncoderError, match=r"tiktoken\.model of .*special '<think>' has the id of b'\('"):
        isc.load(place)
