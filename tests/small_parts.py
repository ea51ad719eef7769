"""Parts of a small build, and clusters whose workers can import the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from command_line import EXAMPLE, NOT_JSON
from isc.build.parts import BuiltPart, Part, cut
from isc.build.samples import Loss, Settings, batches
from tokenizer_files import qwen3_file

SETTINGS = Settings(Loss(True), "parquet")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def some_parts() -> list[Part]:
    lines = EXAMPLE.read_bytes().splitlines(keepends=True) * 8
    lines[20] = NOT_JSON
    return list(cut(batches(enumerate(lines), 1, 2000), 6000))


def alone(work: partial[BuiltPart]) -> list[BuiltPart]:
    return [work(part) for part in some_parts()]


def in_order(built: Iterator[BuiltPart]) -> list[BuiltPart]:
    return sorted(built, key=lambda part: part.number)


def model_in(place: Path) -> Path:
    (place / "tokenizer.json").write_text(qwen3_file())
    return place
