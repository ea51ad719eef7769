"""Engines that agreed once are not compared again; the note of it can be lost, unwritable or unwanted."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

import isc
from isc.encoding import _verdicts, encoders, engines
from isc.encoding._held import HeldEncoders, state_of
from isc.encoding.encoders import as_encoder, embedded, from_tokenizer_json
from tokenizer_files import metaspace_bpe, qwen3_file, text_of, transformers_tokenizer


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("ISC_NO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "isc" / "engines"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for every time that the reference engine is built."""
    built: list[str] = []
    reference = engines.TokenizersEngine

    def counted(document: str) -> engines.TokenizersEngine:
        built.append(document)
        return reference(document)

    monkeypatch.setattr("isc.encoding.encoders.TokenizersEngine", counted)
    return built


def test_engines_are_compared_once(noted: Path, compared: list[str]) -> None:
    first = from_tokenizer_json(qwen3_file())
    second = from_tokenizer_json(qwen3_file())
    assert len(compared) == 1
    assert first.engine_name == second.engine_name == "fastokens"
    texts = ["Hello, wörld e\u0301 \r\n", "", " x" * 200]
    assert [list(ids) for ids in first.encode_batch(texts)] == [list(ids) for ids in second.encode_batch(texts)]
    assert second.normalize("e\u0301") == first.normalize("e\u0301")
    assert second.specials == first.specials


def test_another_document_is_compared(noted: Path, compared: list[str]) -> None:
    from_tokenizer_json(qwen3_file())
    from_tokenizer_json(qwen3_file("<|more|>"))
    assert len(compared) == 2


def test_other_versions_are_compared(noted: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from_tokenizer_json(qwen3_file())
    monkeypatch.setattr("importlib.metadata.version", lambda _: "99")
    from_tokenizer_json(qwen3_file())
    assert len(compared) == 2


def test_what_needs_the_reference_is_not_noted(noted: Path, compared: list[str]) -> None:
    for _ in range(2):
        assert from_tokenizer_json(text_of(metaspace_bpe("never"))).engine_name == "tokenizers"
    assert len(compared) == 2
    assert not noted.exists()


@pytest.mark.parametrize("value", ["1", "yes"])
def test_the_note_can_be_ignored(noted: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    from_tokenizer_json(qwen3_file())
    monkeypatch.setenv("ISC_NO_CACHE", value)
    from_tokenizer_json(qwen3_file())
    assert len(compared) == 2


def test_a_place_that_cannot_be_written_is_no_error(noted: Path, compared: list[str]) -> None:
    noted.parent.write_text("a file where the directory would be")
    for _ in range(2):
        from_tokenizer_json(qwen3_file())
    assert len(compared) == 2


def test_processes_note_without_mixing_their_lines(noted: Path) -> None:
    code = "from isc.encoding._verdicts import remember\nfor k in range(200): remember(f'{k:064d}')"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: subprocess.run([sys.executable, "-c", code], check=True), range(4)))
    lines = noted.read_bytes().splitlines()
    assert len(lines) == 800
    assert {len(line) for line in lines} == {64}


def test_the_note_stays_small(noted: Path) -> None:
    for number in range(1200):
        _verdicts.remember(f"{number:064d}")
    assert noted.stat().st_size < 70_000
    assert _verdicts.is_known(f"{1199:064d}")


@pytest.mark.filterwarnings("ignore::isc.errors.EncoderFallbackWarning")
def test_a_tokenizer_is_written_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read a second time is told by what decides its ids, and made anew when that changed."""
    written: list[str] = []
    make = encoders._from_text

    def counted(text: str) -> encoders.VocabularyEncoder:
        written.append(text)
        return make(text)

    monkeypatch.setattr(encoders, "_from_text", counted)
    tokenizer = transformers_tokenizer(qwen3_file())
    first = isc.create_renderer(tokenizer, isc.Qwen3())
    assert isc.create_renderer(tokenizer, isc.Qwen3()).encoder is first.encoder
    assert len(written) == 1
    for change in (
        lambda: tokenizer.add_tokens(["<|new|>"], special_tokens=True),
        lambda: setattr(tokenizer.backend_tokenizer, "normalizer", normalizers.NFD()),
        lambda: setattr(tokenizer.backend_tokenizer, "pre_tokenizer", pre_tokenizers.ByteLevel(False, use_regex=True)),
        lambda: setattr(tokenizer.backend_tokenizer.model, "ignore_merges", True),
        lambda: setattr(tokenizer.backend_tokenizer, "model", swapped(tokenizer.backend_tokenizer)),
    ):
        change()
        before = len(written)
        encoder = as_encoder(tokenizer)
        assert len(written) == before + 1
        assert encoder is as_encoder(tokenizer)
        assert len(written) == before + 1


def swapped(backend: Tokenizer) -> models.BPE:
    """The same model with the ids of its first two tokens exchanged."""
    model = json.loads(backend.to_str())["model"]
    first, other = sorted(model["vocab"], key=model["vocab"].__getitem__)[:2]
    model["vocab"][first], model["vocab"][other] = 1, 0
    return models.BPE(model["vocab"], [tuple(merge) for merge in model["merges"]])


def test_a_tokenizer_that_is_gone_takes_its_encoder_along() -> None:
    held = HeldEncoders()
    kept = [transformers_tokenizer(qwen3_file(f"<|{number}|>")).backend_tokenizer for number in range(6)]
    for backend in kept:
        held.get(backend, state_of(backend), lambda: embedded(()))
    assert len(held._encoders) == 4, "the last ones"
    del kept, backend
    gc.collect()
    assert len(held._encoders) == 0


def test_a_tiktoken_encoding_is_read_once() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=".", mergeable_ranks=ranks, special_tokens={"<|end|>": 256})
    assert as_encoder(encoding) is as_encoder(encoding)


def test_equal_tokenizers_share_an_encoder() -> None:
    first, second = (transformers_tokenizer(qwen3_file()) for _ in range(2))
    assert as_encoder(first) is as_encoder(second)
    assert isc.create_renderer(first, isc.Qwen3()).encoder is as_encoder(second)
    first.add_tokens(["<|new|>"], special_tokens=True)
    assert "<|new|>" in as_encoder(first).specials
    assert "<|new|>" not in as_encoder(second).specials
