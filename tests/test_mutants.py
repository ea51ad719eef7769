"""The table of `make mutants` follows the code: each row changes one place, and names tests that are there."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS: list[dict[str, Any]] = tomllib.loads((ROOT / "scripts" / "mutants.toml").read_text(encoding="utf-8"))["mutants"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_mutation_applies_in_one_place_and_its_tests_are_there(row: dict[str, Any]) -> None:
    assert (ROOT / row["file"]).read_text(encoding="utf-8").count(row["before"]) == 1
    assert row["after"] != row["before"]
    assert row["tests"]
    assert [test for test in row["tests"] if not (ROOT / test.partition("::")[0]).exists()] == []


def test_there_are_sixty_and_more_of_their_own_names() -> None:
    assert len({row["name"] for row in ROWS}) == len(ROWS) >= 60
