"""The README's Python runs as it stands, and says the truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_python_block_runs_in_order(root: Path) -> None:
    names: dict[str, Any] = {}
    blocks = BLOCK.findall((root / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["bridged"].token_ids[: len(names["prompt"])] == names["prompt"].token_ids
    assert names["episode"].message_roles == ("user", "assistant", "tool")
    assert [call.status for call in names["parsed"].tool_calls] == ["ok"]
    assert names["sample"].trainable_tokens > sum(names["rendered"].sampled_mask)


def test_every_file_the_readme_links_to_is_there(root: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", (root / name).read_text(encoding="utf-8")):
            assert (root / link).exists(), f"{name} links to {link}"
