"""The page on builds runs as it stands, and names every option of length and parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import isc

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_python_block_of_the_page_runs(root: Path) -> None:
    page = (root / "docs" / "build.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    (block,) = BLOCK.findall(page)
    exec(compile(block, "build.md", "exec"), names)
    assert names["fitted"].lost == isc.Lost(samples=1, messages=2, tokens=16, trained=3)
    assert names["rows"][0]["seq_lengths"] == (36,)
    assert str(names["fitted"].lost) in page
