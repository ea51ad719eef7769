"""Hold the Python of README and docs to pyright: `python scripts/check_pages.py` prints what it reports.

The blocks of a page are checked as one program, in order, as `tests/docs/test_python_blocks.py` runs them; those that
cannot be run are checked too, and what they import beside isc need not be installed. basedpyright is pyright with its
own node, which pip installs; it checks here by pyright's standard rules.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from pages import blocks, pages  # noqa: E402 - found through the path set above

OFF = (
    "reportUnusedExpression",  # a page shows values by naming them
    "reportMissingImports",  # TRL, Ray and their like
    "reportMissingModuleSource",
    "reportOptionalMemberAccess",  # a page shows what is there in its own example
    "reportOptionalSubscript",
)


def program(page: str) -> str:
    """A page's Python, each line where the page has it."""
    lines: list[str] = []
    for block in blocks(page, "python"):
        lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    return "\n".join(lines)


def main() -> int:
    """Check the blocks."""
    with TemporaryDirectory() as directory:
        place = Path(directory)
        for page in pages():
            if code := program(page):
                (place / f"{page.replace('/', '_').removesuffix('.md')}.py").write_text(code, encoding="utf-8")
        settings = {
            "include": ["."],
            "extraPaths": [str(ROOT / "src"), str(ROOT / "typings")],
            "typeCheckingMode": "standard",
            **dict.fromkeys(OFF, "none"),
        }
        (place / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "basedpyright", "--project", directory, "--pythonpath", sys.executable]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
