"""Discovery: one new module is one new family, known by exact names; the table in docs is fresh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import isc
from isc.formats import catalogue


def test_every_module_under_families_is_found(root: Path) -> None:
    files = (root / "src" / "isc" / "formats").glob("[!_]*.py")
    with_family = [path.stem for path in files if "\nFAMILY" in path.read_text(encoding="utf-8")]
    assert len(isc.list_families()) == len(with_family) > 15


def test_every_family_is_a_public_name() -> None:
    assert {family.__name__ for family in isc.list_families().values()} <= set(isc.__all__)


@pytest.mark.parametrize("name", sorted(catalogue.models()))
def test_a_model_s_family_is_known_by_its_exact_name(name: str) -> None:
    assert isc.family_for(name) == catalogue.models()[name]
    with pytest.raises(isc.UnknownModelError):
        isc.family_for(name.lower() + "-")


@pytest.mark.parametrize("script", ["families_doc.py", "coverage_doc.py"])
def test_the_tables_in_docs_are_fresh(root: Path, script: str) -> None:
    check = [sys.executable, str(root / "scripts" / script), "--check"]
    found = subprocess.run(check, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
