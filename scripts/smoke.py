"""Try an installed isc: every public name, the pages' Python, the main commands. `make dist` runs it where it installs.

It needs no more than isc with its extras; what is tried lies in the checkout, isc itself must not.
"""

from __future__ import annotations

import importlib
import os
import sys
import typing
from contextlib import redirect_stdout
from importlib import metadata
from inspect import isclass, isfunction
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import isc  # noqa: E402 - the one that is installed
from isc.cli import main as run  # noqa: E402
from pages import blocks, furnish, pages, run_page  # noqa: E402

MODULES = ("isc", "isc.client", "isc.gateway", "isc.media", "isc.viewer", "isc.testing", "isc.compat", "isc.stages")
BUILD = ["build", "examples/conversations.jsonl", "--family", "qwen3", "--loss", "assistant+tool-bodies"]
COMMANDS = (
    ["--version"],
    ["families"],
    ["show", "examples/tools.json", "--family", "qwen3", "--html", "tools.html"],
    ["render", "examples/chat.json", "--family", "qwen3", "-o", "rendered.jsonl"],
    [*BUILD, "-o", "samples.jsonl", "--report", "report.html"],
    [*BUILD, "-o", "samples.parquet", "--columns", "attribution", "--workers", "2"],
    ["show", "samples.parquet", "--line", "2"],
    ["check", "path/to/model", "examples/tools.json"],
)


def names() -> int:
    """Ask every public function and class for its types; return how many there are."""
    values = [getattr(module, name) for module in map(importlib.import_module, MODULES) for name in module.__all__]
    called = [value for value in values if isfunction(value) or isclass(value)]
    for value in called:
        typing.get_type_hints(value)
    return len(called)


def main() -> int:
    """Try it; an error is left as it is."""
    place = Path(isc.__file__)
    if ROOT in place.parents:
        raise SystemExit(f"{place} is the checkout: install isc and run this without PYTHONPATH")
    found = names()
    shown = [page for page in pages() if any(blocks(page, "python")) and page != "docs/migrating.md"]
    with TemporaryDirectory() as directory, redirect_stdout(StringIO()):
        os.chdir(furnish(Path(directory)))
        for page in shown:
            run_page(page)
        for command in COMMANDS:
            if code := run(command):
                raise SystemExit(f"isc {' '.join(command)} ended with {code}")
        os.chdir(ROOT)
    python = ".".join(map(str, sys.version_info[:3]))
    done = f"{found} names, {len(shown)} pages, {len(COMMANDS)} commands"
    print(f"isc {metadata.version('isc')} on Python {python}: {done}")
    return 0


if __name__ == "__main__":  # worker processes import this module under another name
    sys.exit(main())
