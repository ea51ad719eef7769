"""Engines that agreed once are not compared again; the note of it can be lost, unwritable or unwanted."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
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


@pytest.mark.parametrize("steps", [[], [{"type": "NFC"}], [{"type": "Sequence", "normalizers": []}]])
def test_a_sequence_of_one_step_or_none_needs_no_reference(
    noted: Path, compared: list[str], steps: list[dict[str, object]]
) -> None:
    """DeepSeek's files have an empty one."""
    document = json.loads(qwen3_file()) | {"normalizer": {"type": "Sequence", "normalizers": steps}}
    for _ in range(2):
        assert from_tokenizer_json(text_of(document)).engine_name == "fastokens"
    assert len(compared) == 1


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


def test_a_line_that_is_wrong_is_compared_anew(noted: Path, compared: list[str]) -> None:
    """Whatever the file says of this vocabulary, an engine that gives other ids is not taken."""
    from_tokenizer_json(qwen3_file())
    digest, ids = noted.read_text().split()
    wrong = (f"{digest} {'0' * 64}", digest, f"{digest} {ids[:-1]}", f"{digest} {ids} more", "\0\xff" * 99)
    for content in wrong:
        noted.write_bytes(content.encode("latin-1"))
        before = len(compared)
        assert from_tokenizer_json(qwen3_file()).engine_name == "fastokens"
        assert len(compared) == before + 1


def test_an_engine_that_no_longer_agrees_is_not_taken(noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of the engine under an old version's number, say."""
    from_tokenizer_json(qwen3_file())
    fast = engines.FastokensEngine

    class Other(fast):  # type: ignore[valid-type, misc]
        def encode_batch(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
            return (list(reversed(ids)) for ids in super().encode_batch(texts))

    monkeypatch.setattr(encoders, "FastokensEngine", Other)
    monkeypatch.setattr(engines, "FastokensEngine", Other)
    with pytest.warns(isc.EncoderFallbackWarning, match="differently"):
        assert from_tokenizer_json(qwen3_file()).engine_name == "tokenizers"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_not_read(noted: Path, compared: list[str], mode: int) -> None:
    from_tokenizer_json(qwen3_file())
    assert noted.stat().st_mode & 0o777 == 0o600
    assert noted.parent.stat().st_mode & 0o777 == 0o700
    noted.chmod(mode)
    from_tokenizer_json(qwen3_file())
    assert len(compared) == 2


def test_a_link_and_a_pipe_are_not_read(noted: Path, compared: list[str], tmp_path: Path) -> None:
    from_tokenizer_json(qwen3_file())
    noted.rename(tmp_path / "elsewhere")
    noted.symlink_to(tmp_path / "elsewhere")
    from_tokenizer_json(qwen3_file())
    noted.unlink()
    os.mkfifo(noted)
    from_tokenizer_json(qwen3_file())
    assert len(compared) == 3


def test_the_place_can_be_chosen(
    noted: Path, compared: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISC_CACHE", str(tmp_path / "chosen"))
    for _ in range(2):
        from_tokenizer_json(qwen3_file())
    assert len(compared) == 1
    assert (tmp_path / "chosen" / "engines").is_file()
    assert not noted.exists()


def test_processes_note_without_mixing_their_lines(noted: Path) -> None:
    code = "from isc.encoding._verdicts import remember\nfor k in range(100): remember(f'{k:064d}', 'f' * 64)"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: subprocess.run([sys.executable, "-c", code], check=True), range(4)))
    lines = noted.read_bytes().splitlines()
    assert len(lines) == 400
    assert {len(line) for line in lines} == {129}


def test_the_note_stays_small(noted: Path) -> None:
    for number in range(1200):
        _verdicts.remember(f"{number:064d}", "f" * 64)
    assert noted.stat().st_size < 70_000
    assert _verdicts.recorded(f"{1199:064d}") == "f" * 64


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
