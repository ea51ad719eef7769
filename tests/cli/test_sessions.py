"""`isc show RECORD --session`: all samples of a session, in the terminal and, with log-probabilities, on a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway_sessions import recorded
from isc.cli import Exit, main
from isc.cli.formats import EMBEDDED
from isc.gateway import samples

pytestmark = pytest.mark.usefixtures("eighty_columns")


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record of one session of two branches."""
    recorded(tmp_path / "runs.sqlite", f"qwen3 {EMBEDDED}")
    return tmp_path / "runs.sqlite"


def test_a_page_has_every_sample_of_a_session(record: Path, tmp_path: Path, output: Callable[..., str]) -> None:
    session = recorded(tmp_path / "again.sqlite")
    said = output("show", record, "--session", "a", "--family", "qwen3", "--html", tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert block is not None
    data: dict[str, Any] = json.loads(block[1])
    expected = samples(session)
    assert len(expected) == 2
    assert "2 samples of a" in said
    assert [sequence["ids"] for sequence in data["sequences"]] == [list(sample.token_ids) for sample in expected]
    for sequence, sample in zip(data["sequences"], expected, strict=True):
        assert sequence["trained"] == [list(span) for span in sample.loss_spans]
        assert [value is None for value in sequence["logprobs"]] == [value is None for value in sample.logprobs]


def test_the_terminal_shows_them_one_after_another(record: Path, output: Callable[..., str]) -> None:
    text = output("show", record, "--session", "a", "--family", "qwen3")
    assert re.sub("[│┃]", "", text).count("Find·cats") == 2
    assert text.count("--legend") == 1
    assert "a, up to turn 0" in text
    assert "a, up to turn 1" in text


def test_what_is_wrong_is_said(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(record), "--session", "b", "--family", "qwen3"]) == Exit.FAILED
    assert "it has a" in capsys.readouterr().err
    other = tmp_path / "other.sqlite"
    recorded(other, "qwen3 0123abcd")
    assert main(["show", str(other), "--session", "a", "--family", "qwen3"]) == Exit.FAILED
    assert "another vocabulary" in capsys.readouterr().err
    (tmp_path / "no.sqlite").write_text("no record")
    assert main(["show", str(tmp_path / "no.sqlite"), "--session", "a", "--family", "qwen3"]) == Exit.FAILED
    assert "is no record" in capsys.readouterr().err
