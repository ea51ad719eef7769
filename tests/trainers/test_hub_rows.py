"""Rows of a data set by its name, `hf://...`, through `datasets`: of a directory, which needs no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from command_line import EXAMPLE, rows, run
from isc.build import sources
from isc.build.recognition import recognized
from isc.build.sources import read_batches


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    place = tmp_path / "talks"
    place.mkdir()
    lines = [json.loads(line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines()] * 2
    talks = [{"id": number, "messages": json.dumps(line["messages"])} for number, line in enumerate(lines)]
    Dataset.from_list(talks[:20]).to_parquet(place / "train.parquet")
    Dataset.from_list(talks[20:]).to_parquet(place / "test.parquet")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    return place


def test_a_data_set_is_read_by_its_name_from_any_row_on(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "in.jsonl", tmp_path / "wanted.jsonl", "--keep", "id") == 0
    wanted = rows(tmp_path / "wanted.jsonl")
    assert run(f"hf://{hub}", tmp_path / "out.jsonl", f"hf://{hub}?split=test", "--keep", "id") == 0
    assert rows(tmp_path / "out.jsonl") == wanted
    assert f"hf://{hub} and 1 more: a data set of the form messages" in capsys.readouterr().err
    monkeypatch.setattr(sources, "BATCH_BYTES", 4000)
    found = recognized(f"hf://{hub}")
    assert len(list(read_batches(found))) > 2
    rest = [row for batch in read_batches(found, 0, 8, 7) for row in batch.rows()]
    assert [row["id"] for row in rest if isinstance(row, dict)] == list(range(7, 20))


@pytest.mark.parametrize(
    ("name", "problem"),
    [("?split=val", "Available splits: "), ("?splt=val", "'splt' is none of name, revision, split"), ("/no", "find")],
)
def test_what_is_not_there_is_named(
    tmp_path: Path, hub: Path, name: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"hf://{hub}{name}", tmp_path / "out.jsonl") == 2
    assert problem in capsys.readouterr().err
