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


def test_a_family_by_its_name_imports_no_other_format() -> None:
    """That takes 40 ms, a twelfth of what `isc show` takes."""
    code = "import sys; from isc.formats.catalogue import family_named as f; print(f('qwen3'), *sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("Qwen3(")
    assert "isc.formats.qwen3" in found.split()
    assert "isc.formats.mistral" not in found.split()


def test_every_family_is_found_by_its_name() -> None:
    assert {name: type(catalogue.family_named(name)) for name in isc.list_families()} == isc.list_families()
