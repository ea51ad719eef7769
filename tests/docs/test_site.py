"""What the site is made of is current and whole; `make docs` builds it, and checks what readers get."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import isc
from pages import ROOT, script, text_of


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return script("scripts/reference_doc.py")


@pytest.fixture(scope="module")
def check_site(reference: ModuleType) -> ModuleType:
    return script("scripts/check_site.py")


def test_the_pages_of_names_and_commands_are_current(reference: ModuleType) -> None:
    pages = {**reference.reference_pages(), ROOT / "docs" / "cli.md": reference.cli_page()}
    stale = [path.name for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run python scripts/reference_doc.py"
    assert {path for path in pages if path.parent.name == "api"} == set((ROOT / "docs" / "api").glob("*.md"))


def test_every_public_name_stands_in_the_reference(reference: ModuleType) -> None:
    said = {line for path in (ROOT / "docs" / "api").glob("*.md") for line in path.read_text("utf-8").splitlines()}
    modules = {name for name in isc.__all__ if isinstance(getattr(isc, name), ModuleType)}
    shown = {name for name in dir(isc) if not name.startswith("_")}
    assert shown == set(isc.__all__)
    assert {f"::: isc.{name}" for name in shown - modules} <= said
    for name in modules:
        assert (ROOT / "docs" / "api" / f"isc.{name}.md").is_file()
        listed = getattr(getattr(isc, name), "__all__", ())
        assert {f"::: isc.{name}.{one}" for one in listed} <= said


def test_every_command_and_option_stands_on_the_page_of_commands() -> None:
    from isc.cli.commands import app

    page = text_of("docs/cli.md")
    for name in (name for name in app if not name.startswith("-")):
        section = page.partition(f"\n## isc {name}\n")[2].partition("\n## ")[0]
        for argument in app[name].assemble_argument_collection():
            assert not argument.show or f"`{argument.names[0]}`" in section, (name, argument.names)


def _named(nav: Any) -> Iterator[str]:  # noqa: ANN401 - TOML
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else _named(value)


def test_the_menu_leads_to_every_page() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    named = list(_named(nav))
    docs = ROOT / "docs"
    assert sorted(named) == sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))


def headings(page: str) -> set[str]:
    """The anchors of a page's headings, as the site names them."""
    plain = [
        re.sub(r"[^\w\s-]", "", line).strip().lower() for line in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    ]
    return {re.sub(r"[-\s]+", "-", line) for line in plain}


def test_links_between_pages_lead_somewhere() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*") if path.is_file()}
    for page in sorted(page for page in pages if page.endswith(".md")):
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(page)):
            file, _, anchor = link.partition("#")
            target = os.path.normpath(Path(page).parent / file) if file else page
            assert target in pages, f"{page}: {link} is not in docs/, and so not on the site"
            assert not anchor or anchor in headings(target), f"{page}: {link} is no heading"


def test_what_is_wrong_with_a_site_is_found(check_site: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="one"><a href="b.html#two">b</a><a href="c.html">c</a><a href="#one">')
    (tmp_path / "b.html").write_text('<h1 id="isc.load"><a href="a.html#one">a</a><script src="//cdn.example/x.js">')
    (tmp_path / "s.css").write_text("@import url(https://fonts.example/x.css); p { background: url(own.png) }")
    pages = {path: check_site.Page(path.read_text()) for path in sorted(tmp_path.glob("*.html"))}
    assert [problem.split(": ", 1)[1] for problem in check_site.broken(tmp_path, pages)] == [
        "b.html#two: there is no such heading",
        "c.html: there is no such page",
    ]
    loaded = list(check_site.foreign(tmp_path, pages))
    assert loaded == ["b.html loads //cdn.example/x.js", "s.css loads https://fonts.example/x.css"]
    missing = list(check_site.missing(pages))
    assert "isc.fold is in no page" in missing
    assert "isc.load is in no page" not in missing


def test_examples_of_docstrings_are_fenced() -> None:
    pytest.importorskip("griffe", reason="make docs installs it")
    fenced = script("scripts/docstring_examples.py").fenced
    assert fenced("Add.\n\n>>> 1 + 1\n2") == "Add.\n\n```pycon\n>>> 1 + 1\n2\n```"
    assert fenced("Add.\n\n    >>> 1\n    1\n\nMore.") == "Add.\n\n    ```pycon\n    >>> 1\n    1\n    ```\n\nMore."
