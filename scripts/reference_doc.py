"""Write the pages of public names, docs/api/*.md, which the site fills from docstrings, and of commands, docs/cli.md.

python scripts/reference_doc.py --check   # exit 1 where they are stale
python scripts/reference_doc.py           # write them anew
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

from cyclopts.argument import Argument

import isc
from isc.cli import main as run
from isc.cli.commands import app
from isc.formats.base import Family

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
WRITTEN = "<!-- written by scripts/reference_doc.py: change docstrings, then run the script -->\n"
FURTHER = ("isc.testing", "isc.compat")
"""Public modules that are imported by their own name."""


def modules() -> dict[str, ModuleType]:
    """Every public module by the name that callers use, `isc` first."""
    inner = {f"isc.{name}": getattr(isc, name) for name in isc.__all__ if inspect.ismodule(getattr(isc, name))}
    return {"isc": isc, **inner, **{name: importlib.import_module(name) for name in FURTHER}}


def public_names(module: ModuleType) -> list[str]:
    """The names that a module makes public: its `__all__`, or the functions and classes that are its own."""
    listed = getattr(module, "__all__", None)
    names = vars(module) if listed is None else listed
    found = [(name, getattr(module, name)) for name in names if not name.startswith("_")]
    if listed is None:
        found = [(name, value) for name, value in found if getattr(value, "__module__", "") == module.__name__]
    return sorted((name for name, value in found if not inspect.ismodule(value)), key=str.casefold)


def is_family(value: object) -> bool:
    """Tell whether a value is the class of a chat format."""
    return inspect.isclass(value) and issubclass(value, Family) and value is not Family


def reference_pages() -> dict[Path, str]:
    """The pages of the reference: one a module, and one of the families' classes."""
    pages: dict[Path, str] = {}
    for name, module in modules().items():
        names = public_names(module)
        families = [one for one in names if is_family(getattr(module, one))] if module is isc else []
        kept = [one for one in names if one not in families]
        pages[DOCS / "api" / f"{name}.md"] = _page(name, inspect.getdoc(module) or "", name, kept)
        if families:
            about = "The formats by their classes: a value is a configuration. [Families](../families.md) shows each."
            pages[DOCS / "api" / "families.md"] = _page("Families, by class", about, name, families)
    return pages


def _page(title: str, about: str, module: str, names: list[str]) -> str:
    return "\n".join([WRITTEN, f"# {title}", "", about, "", *(f"::: {module}.{name}\n" for name in names)])


def cli_page() -> str:
    """The page of the command line: each command's own help, and its arguments."""
    with redirect_stdout(StringIO()):
        run(["--version"])  # which imports the modules of all commands
    commands = [name for name in app if not name.startswith("-")]
    head = [WRITTEN, "# The command line", "", _help(str(app.help)), ""]
    return "\n".join([*head, *(line for name in commands for line in _command(name))])


def _command(name: str) -> Iterator[str]:
    command = app[name]
    yield from (f"## isc {name}", "", _help(str(command.help)), "", "| argument | |", "| --- | --- |")
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show:
            yield _argument(argument)
    yield ""


def _argument(argument: Argument) -> str:
    names = [name for name in argument.names if not name.startswith(("--no-", "--empty-"))]
    words = " ".join(str(argument.parameter.help or "").split()).replace("|", "\\|")
    choices = argument.get_choices()
    notes = ["Required."] if argument.required else []
    notes += [f"One of {', '.join(f'`{choice}`' for choice in choices)}."] if choices else []
    return f"| {', '.join(f'`{name}`' for name in names)} | {' '.join([words, *notes]).strip()} |"


def _help(text: str) -> str:
    """Return a help as a page has it: all at one margin, examples as a console's, without the list of arguments."""
    summary, _, rest = text.partition("\n")
    plain = f"{summary}\n{textwrap.dedent(rest)}".partition("\nArgs:\n")[0].strip()
    return re.sub(r"```\n(.*?)```", lambda block: _console(block[1]), plain, flags=re.DOTALL)


def _console(code: str) -> str:
    lines = code.splitlines()
    marked = [line if line.startswith(" ") else f"$ {line}" for line in lines]
    return "\n".join(["```console", *marked, "```"])


def main() -> int:
    """Write or check; the exit code is 1 where a page is stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    pages = {**reference_pages(), DOCS / "cli.md": cli_page()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    stale += set((DOCS / "api").glob("*.md")) - set(pages)
    for path in stale:
        print(f"{path.relative_to(ROOT)} is stale" + (": run python scripts/reference_doc.py" if check else ""))
        if not check and path in pages:
            path.parent.mkdir(exist_ok=True)
            path.write_text(pages[path], encoding="utf-8")
        elif not check:
            path.unlink()
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
