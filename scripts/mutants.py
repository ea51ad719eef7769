"""Put plausible bugs into copies of the tree, one at a time, and see that the named tests catch each.

    python scripts/mutants.py               # all of scripts/mutants.toml; exit 1 where one survives
    python scripts/mutants.py --only boundary   # those with "boundary" in their names
    python scripts/mutants.py --jobs 2

A mutation is a line of the table: the file, the text before (it stands there once) and after, and the tests that should
fail. The tests are first run without any mutation. What survives needs a test; what no longer applies needs a new line.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).resolve().with_suffix(".toml")
COPIED = ("src", "tests", "scripts", "docs", "examples", "benchmarks", "typings", "pyproject.toml", "mypy.ini")
SECONDS = 600
FAILED = 1  # pytest's exit code where a test failed; others mean that it could not try


@dataclass(frozen=True)
class Mutant:
    """A mutation: `before` becomes `after` in `file`, and the tests at `caught_by` should see it."""

    name: str
    file: str
    before: str
    after: str
    caught_by: tuple[str, ...]

    def problem(self, root: Path) -> str | None:
        """Say why the mutation cannot be applied; None where it can."""
        path = root / self.file
        count = path.read_text(encoding="utf-8").count(self.before) if path.is_file() else 0
        if count != 1:
            return f"{self.file} has {self.before!r} {count} times, not once"
        return None if self.before != self.after else "it changes nothing"

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """Change the file, and put it back afterwards."""
        path = root / self.file
        original = path.read_text(encoding="utf-8")
        path.write_text(original.replace(self.before, self.after), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(original, encoding="utf-8")


def table() -> list[Mutant]:
    """Read every mutation."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutants"]
    mutants = [Mutant(row["name"], row["file"], row["before"], row["after"], tuple(row["tests"])) for row in rows]
    names = [mutant.name for mutant in mutants]
    if len(set(names)) < len(names):
        raise SystemExit(f"two mutants are called {max(names, key=names.count)!r}")
    return mutants


def copied(place: Path) -> Path:
    """Copy what the tests need into a directory."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, place / name)
    for path in ROOT.glob("*.md"):
        shutil.copy2(path, place / path.name)
    return place


def run(root: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests in a copy; return pytest's exit code, -1 after too long a time, and what it printed."""
    reference = os.environ.get("ISC_REFERENCE") or str(ROOT.parent / "shared" / "reference")
    settings = {"PYTHONPATH": str(root / "src"), "ISC_REFERENCE": reference, "ISC_PROFILE": "mutants"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **settings},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end after {SECONDS} seconds"
    return done.returncode, done.stdout + done.stderr


def verdict(root: Path, mutant: Mutant) -> tuple[str, str]:
    """Try one mutation: `caught`, `SURVIVES` or `BROKEN`, and why."""
    problem = mutant.problem(root)
    if problem is not None:
        return "BROKEN", problem
    with mutant.applied(root):
        code, printed = run(root, mutant.caught_by)
    if code in (FAILED, -1):
        return "caught", ""
    return ("SURVIVES", " ".join(mutant.caught_by)) if code == 0 else ("BROKEN", printed[-2000:])


def baseline(root: Path, mutants: Sequence[Mutant]) -> None:
    """Stop unless the named tests exist, import the copy, and pass as the tree is."""
    where = subprocess.run(
        [sys.executable, "-c", "import isc; print(isc.__file__)"],
        env={**os.environ, "PYTHONPATH": str(root / "src")}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if not where.startswith(str(root)):
        raise SystemExit(f"the tests would run against {where.strip()}, not against the copy")
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.caught_by))
    code, printed = run(root, tests)
    if code != 0 or "skipped" in printed:
        raise SystemExit(f"{printed[-3000:]}\nthe named tests must pass, none skipped, before anything is changed")


def tried(roots: queue.SimpleQueue[Path], mutant: Mutant) -> tuple[Mutant, str, str, float]:
    """Try one mutation in whichever copy is free."""
    root = roots.get()
    started = time.monotonic()
    try:
        return (mutant, *verdict(root, mutant), time.monotonic() - started)
    finally:
        roots.put(root)


def main() -> int:
    """Try mutations, a line each; return 1 where one survives or does not apply."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="NAME", help="those with one of these in their names"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    arguments = parser.parse_args()
    mutants = [mutant for mutant in table() if any(part in mutant.name for part in arguments.only)]
    if not mutants:
        raise SystemExit(f"no mutant has {' or '.join(arguments.only)} in its name")
    wrong = []
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.jobs) as pool:
        roots: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(arguments.jobs):
            roots.put(copied(Path(temporary, str(number)).resolve()))
        baseline(Path(temporary, "0").resolve(), mutants)
        for done in as_completed([pool.submit(tried, roots, mutant) for mutant in mutants]):
            mutant, result, why, seconds = done.result()
            print(f"{result:9}{seconds:6.1f} s  {mutant.name}  {why}".rstrip(), flush=True)
            wrong += [mutant.name] if result != "caught" else []
    print(f"{len(mutants)} mutants, {len(mutants) - len(wrong)} caught" + "".join(f"\n  not: {name}" for name in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
