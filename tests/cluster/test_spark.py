"""A stage in Spark's `mapInArrow`, as docs/stages.md has it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession  # type: ignore[import-not-found, unused-ignore]
from pyspark.sql.pandas.types import from_arrow_schema  # type: ignore[import-not-found, unused-ignore]

import isc
from tokenizer_files import qwen3_file

TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_stage_runs_in_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PYSPARK_PYTHON", sys.executable)
    (tmp_path / "tokenizer.json").write_text(qwen3_file())
    talks = [TALK * (1 + number % 4) if number % 3 else TALK[:1] for number in range(30)]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    builder: Any = SparkSession.builder
    for name, value in {"ui.enabled": "false", "driver.host": "127.0.0.1", "driver.bindAddress": "127.0.0.1"}.items():
        builder = builder.config(f"spark.{name}", value)
    spark = builder.master("local[2]").getOrCreate()
    try:
        frame = spark.read.json(str(source))
        stage = isc.stages.ToSamples(str(tmp_path), loss="assistant", family="qwen3")
        done = frame.mapInArrow(stage.over, from_arrow_schema(stage.schema)).collect()
    finally:
        spark.stop()
    expected = stage({"messages": talks})
    assert [None if row["labels"] is None else tuple(row["labels"]) for row in done] == expected["labels"]
    assert [row["error"] for row in done] == expected["error"]
