"""The page on what goes in runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import isc

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_python_block_of_the_page_runs_in_order(root: Path) -> None:
    names: dict[str, Any] = {}
    blocks = BLOCK.findall((root / "docs" / "input.md").read_text(encoding="utf-8"))
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "input.md", "exec"), names)
    assert '{"city": ' in names["encoder"].decode_bytes(names["rendered"].token_ids).decode()
    assert isinstance(names["appended"], isc.Appended)
    assert names["appended"].token_ids[: len(names["stream"])] == tuple(names["stream"])
