"""What README and the pages on architecture and laws say is so; their code: `tests/docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import isc.testing

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_file_the_readme_links_to_is_there(root: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", (root / name).read_text(encoding="utf-8")):
            assert (root / link).exists(), f"{name} links to {link}"


def test_the_picture_in_the_architecture_shows_what_comes_out(root: Path) -> None:
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in BLOCK.findall(page):
        exec(compile(block, "architecture.md", "exec"), names)
    picture = " ".join(page.partition("```text")[2].partition("```")[0].split())
    assert f"token_ids {' '.join(map(str, names['rendered'].token_ids))} " in picture
    assert f"engine gives {' '.join(map(str, names['completion']))} |" in picture
    trained = " ".join(map(str, names["sample"].labels[9:]))
    assert f"labels -100 ... {trained} what" in picture
    parsed = names["parsed"]
    assert f'content="{parsed.content}", reasoning_content="{parsed.reasoning_content or ""}", tool_calls=()' in picture
    previous = (*names["prompt"].token_ids, *names["completion"])
    assert names["bridged"].token_ids[: len(previous)] == previous
    added = names["bridged"].token_ids[len(previous) :]
    assert f"{previous[0]} ... {previous[-1]} | {added[0]} {added[1]}" in picture


def test_every_place_that_the_architecture_names_is_there(root: Path) -> None:
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Where to look")[2].partition("## What holds")[0]
    places = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(places) > 15
    assert [place for place in places if not (root / "src" / "isc" / place).exists()] == []


def test_every_law_has_a_number_a_name_and_its_functions(root: Path) -> None:
    page = (root / "docs" / "laws.md").read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^### (\d+)\. ", page, re.MULTILINE)] == list(range(1, 11))
    names = re.findall(r"`isc\.testing\.(\w+)`", page)
    assert len(names) == 12
    assert [name for name in names if not callable(getattr(isc.testing, name))] == []
