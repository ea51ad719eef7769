"""Runs the peer's own test suite on both packages, and writes what passes there and fails here into `docs/compat.md`.

    PYTHONPATH=tests python tests/peers/suite.py             # runs both sides: 10 minutes each
    PYTHONPATH=tests python tests/peers/suite.py A.xml B.xml # of results that are there: isc's, the peer's

The suite is that of the peer's source distribution, fetched by pip; the models are those of `hub`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from msgspec import Struct

from peers import hub
from peers.shadow import SIDE
from peers.suite_reasons import CLASSES
from references import write_harmony_ranks

VERSION: Final = "0.1.12"
PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "compat.md"
_BLOCK: Final = re.compile(r"(<!-- suite: start -->\n).*(<!-- suite: end -->)", re.DOTALL)
SHARE: Final = 0.98
"""Of the tests that the peer passes, how many isc.compat has to pass."""


class Outcome(Struct, frozen=True):
    """What became of a test: `passed`, `failed` or `skipped`, and what was said."""

    state: str
    message: str = ""


def results(file: Path) -> dict[str, Outcome]:
    """Read the outcomes of a JUnit file by test."""
    return {_name(case): _outcome(case) for case in ElementTree.parse(file).getroot().iter("testcase")}


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"


def _outcome(case: ElementTree.Element) -> Outcome:
    for child in case:
        if child.tag in ("failure", "error"):
            return Outcome("failed", f"{child.get('message')}\n{child.text}")
        if child.tag == "skipped":
            return Outcome("skipped")
    return Outcome("passed")


def _environment(side: str, place: Path) -> dict[str, str]:
    """Offline, with the plugin and this tree's isc on the path, and the vocabulary of Harmony at hand."""
    here = Path(__file__).resolve().parents[1]
    return {
        **os.environ,
        SIDE: side,
        "PYTHONPATH": f"{here}{os.pathsep}{here.parent / 'src'}",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TIKTOKEN_ENCODINGS_BASE": str(place / "ranks"),
    }


def _run(side: str, place: Path) -> Path:
    """Run the suite with one of the packages under the name `renderers`, and return where its results are."""
    file = place / f"{side}.xml"
    options = ["-c", os.devnull, f"--rootdir={place}", "-p", "no:cacheprovider", "-p", "peers.shadow", "-q"]
    options += ["--tb=line", "--continue-on-collection-errors", f"--junitxml={file}"]
    command = [sys.executable, "-m", "pytest", *options, "tests"]
    subprocess.run(command, cwd=place, env=_environment(side, place), check=False, stdout=subprocess.DEVNULL)
    return file


def _prepare(place: Path) -> None:
    """Write hub and suite into a directory."""
    reference = Path(os.environ.get("ISC_REFERENCE") or PAGE.parents[2] / "shared" / "reference")
    hub.write(place, reference)
    (place / "ranks").mkdir()
    write_harmony_ranks(reference, place / "ranks")
    wanted = ["--no-deps", "--no-binary", "renderers", f"renderers=={VERSION}"]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", str(place), *wanted], check=True)
    with tarfile.open(place / f"renderers-{VERSION}.tar.gz") as archive:
        archive.extractall(place, filter="data")
    (place / "tests").symlink_to(place / f"renderers-{VERSION}" / "tests")


def lost(ours: Mapping[str, Outcome], theirs: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Sort the tests that pass on the peer and do not here by class; those without one are under `?`."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, outcome in theirs.items():
        mine = ours.get(name, Outcome("failed", "not collected"))
        if outcome.state == "passed" and mine.state != "passed":
            found[_class(name, mine.message)].append(name)
    return dict(found)


def _class(name: str, message: str) -> str:
    return next((kind for kind, rule in CLASSES.items() if rule.fits(name, message)), "?")


def page(ours: Mapping[str, Outcome], theirs: Mapping[str, Outcome]) -> Iterator[str]:
    """The lines of the page: totals, the classes with their reasons, and every test by class."""
    passed = [name for name, outcome in theirs.items() if outcome.state == "passed"]
    kept = sum(ours.get(name, Outcome("failed")).state == "passed" for name in passed)
    counts = {
        side: Counter(o.state for o in found.values()) for side, found in (("isc.compat", ours), ("peer", theirs))
    }
    for side, count in counts.items():
        yield f"- {side}: {count['passed']:,} passed, {count['failed']:,} failed, {count['skipped']:,} skipped."
    yield f"- Of the {len(passed):,} that the peer passes, `isc.compat` passes {kept:,}: {kept / len(passed):.1%}."
    yield ""
    found = lost(ours, theirs)
    yield "| class | tests | what | why |"
    yield "|---|---|---|---|"
    for kind in [*CLASSES, *(["?"] if "?" in found else [])]:
        if kind in found:
            rule = CLASSES.get(kind)
            yield f"| {kind} | {len(found[kind]):,} | {rule.what if rule else ''} | {rule.why if rule else ''} |"
    yield ""
    for kind in found:
        yield f"<details><summary>{kind}: every test</summary>\n"
        yield from (f"- `{name}`" for name in _grouped(found[kind]))
        yield "\n</details>\n"


def _grouped(names: list[str]) -> Iterator[str]:
    """A line a test function, with its parameters."""
    parameters: dict[str, list[str]] = defaultdict(list)
    for name in names:
        function, _, rest = name.partition("[")
        parameters[function].append(rest.removesuffix("]"))
    for function, rows in sorted(parameters.items()):
        yield function + (f"[{'; '.join(rows)}]" if any(rows) else "")


def main() -> int:
    """Run or read, write, and say whether enough passes and every loss has a reason."""
    if len(sys.argv) == 3:
        ours, theirs = (results(Path(argument)) for argument in sys.argv[1:])
    else:
        with tempfile.TemporaryDirectory() as directory:
            _prepare(Path(directory))
            ours, theirs = (results(_run(side, Path(directory))) for side in ("isc", "renderers"))
    block = "\n".join(page(ours, theirs)).replace("\\", r"\\")
    PAGE.write_text(_BLOCK.sub(rf"\1{block}\n\2", PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    gone = lost(ours, theirs)
    passed = sum(outcome.state == "passed" for outcome in theirs.values())
    share = 1 - sum(map(len, gone.values())) / passed
    print(f"{share:.2%} of {passed:,}", {kind: len(names) for kind, names in gone.items()})
    return int(share < SHARE or "?" in gone)


if __name__ == "__main__":
    sys.exit(main())
