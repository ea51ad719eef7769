"""Hold the README's Python to pyright: `python scripts/check_readme.py` prints what it reports and fails on an error.

The blocks are checked as one program, in order, as `tests/test_readme.py` runs them. basedpyright is pyright with its
own node, which pip installs; it checks here by pyright's standard rules.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
SHOWN = "reportUnusedExpression"  # a README shows values by naming them


def main() -> int:
    """Check the blocks."""
    code = "\n".join(BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    with TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "readme.py").write_text(code, encoding="utf-8")
        settings = {
            "include": ["readme.py"],
            "extraPaths": [str(ROOT / "src"), str(ROOT / "typings")],
            "typeCheckingMode": "standard",
            SHOWN: "none",
        }
        (place / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "basedpyright", "--project", directory, "--pythonpath", sys.executable]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
