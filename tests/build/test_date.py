"""One day for all samples of a build: told, or that on which it began."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

import isc
from command_line import interrupting, rows, write_many
from isc.build import sources
from isc.cli import formats, main, running
from isc.formats.gpt_oss import GptOss
from isc.formats.llama_3 import Llama3
from small_templates import SPECIALS, template

CLOCK = "{{ strftime_now('%d %B %Y') }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


class _Clock(datetime):
    """A clock that a test sets."""

    day = 1

    @classmethod
    def now(cls, tz: object = None) -> _Clock:
        return cls(2026, 3, cls.day)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[_Clock]:
    monkeypatch.setattr(formats, "datetime", _Clock)
    monkeypatch.setattr(_Clock, "day", 1)
    return _Clock


def build(source: Path, output: Path, *more: str) -> int:
    return main(["build", str(source), "-o", str(output), "--family", "gpt-oss", "--loss", "assistant", *more])


def texts(output: Path) -> list[str]:
    encoder = isc.encoders.embedded(GptOss().specials)
    return [encoder.decode_bytes(row["input_ids"]).decode() for row in rows(output)]  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(talk)}\n" * 3)
    return tmp_path / "in.jsonl"


def test_the_day_is_the_one_on_which_the_build_begins(source: Path, tmp_path: Path, clock: type[_Clock]) -> None:
    assert build(source, tmp_path / "out.jsonl") == 0
    assert all("Current date: 2026-03-01" in text for text in texts(tmp_path / "out.jsonl"))


def test_the_day_can_be_told_and_is_said(
    source: Path, tmp_path: Path, clock: type[_Clock], capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(source, tmp_path / "out.jsonl", "--date", "2025-12-24") == 0
    assert all("Current date: 2025-12-24" in text for text in texts(tmp_path / "out.jsonl"))
    assert "the date told 2025-12-24" in capsys.readouterr().out
    assert build(source, tmp_path / "bad.jsonl", "--date", "yesterday") == 2
    assert "yesterday is no day; give YYYY-MM-DD" in " ".join(capsys.readouterr().err.split())


def test_a_resumed_build_keeps_its_day(
    tmp_path: Path, clock: type[_Clock], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many, output = write_many(tmp_path / "many.jsonl"), tmp_path / "out.jsonl"
    monkeypatch.setattr(sources, "BATCH_BYTES", 4000)
    with monkeypatch.context() as patch:
        patch.setattr(running, "closing", interrupting(2))
        assert build(many, output) == 130
    clock.day = 2
    assert build(many, output, "--resume", "--date", "2026-03-02") == 2
    assert "the interrupted build had" in capsys.readouterr().err
    assert build(many, output, "--resume") == 1
    assert {"Current date: 2026-03-01" in text for text in texts(output)} == {True}


@pytest.mark.parametrize(
    ("family", "shown"),
    [
        (Llama3(variant="3.2"), "Today Date: 24 Dec 2025"),
        (Llama3(variant="3.2", date_string="1 May 2020"), "Today Date: 1 May 2020"),
        (Llama3(), "Today Date: 26 Jul 2024"),
        (GptOss(conversation_start_date="2020-05-01"), "Current date: 2020-05-01"),
        (template(CLOCK), "24 December 2025"),
    ],
)
def test_a_format_is_told_the_day_where_it_would_ask_the_clock(family: isc.Family, shown: str) -> None:
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials or SPECIALS), family.dated("2025-12-24"))
    text = "".join(segment.text for segment in renderer.segments([{"role": "user", "content": "hi"}]))
    assert shown in text


def test_a_format_without_a_day_is_the_same() -> None:
    assert isc.Qwen3().dated("2025-12-24") == isc.Qwen3()
