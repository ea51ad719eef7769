"""Build the wheel and the source distribution, and check what would be published: `python scripts/dist.py`.

    python scripts/dist.py                     # build into dist/, check, install and try on each Python that is found
    python scripts/dist.py --tag v0.1.0        # besides: is this tag the version, and has the changelog closed it?
    python scripts/dist.py --only-files        # build and check; install nothing

Both are looked at for what they hold and say. Then the wheel is installed with all its light extras in environments of
its own, on the oldest and the newest Python there is, with the lowest dependencies that it allows and with the newest
ones, and `scripts/smoke.py` is run in each. For Pythons and systems that are not here, only that wheels of the lowest
dependencies exist is checked.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from email.message import Message
from email.parser import Parser
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = {"ray"}
"""Extras that are not installed to try the wheel: `make test-ray` does."""
EXTRAS = sorted(set(PROJECT["optional-dependencies"]) - HEAVY)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
RESOLUTIONS = ("lowest-direct", "highest")
SOURCES = ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "hatch_build.py", "docs/index.md")


def main() -> int:
    """Build and check; the exit code is 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", help="the tag that is to be published, such as v0.1.0")
    parser.add_argument("--only-files", action="store_true", help="install nothing")
    arguments = parser.parse_args()
    wheel, source = build()
    problems = [*wheel_problems(wheel), *source_problems(source), *metadata_problems(metadata_of(wheel))]
    if arguments.tag:
        problems += tag_problems(arguments.tag, metadata_of(wheel)["Version"], changelog())
    _run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(source))
    for problem in problems:
        print(f"wrong: {problem}")
    if not problems and not arguments.only_files:
        resolve_everywhere()
        install_everywhere(wheel)
    return int(bool(problems))


def build() -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it."""
    shutil.rmtree(DIST, ignore_errors=True)
    _run(sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT))
    (wheel,), (source,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, source


def _tracked(*places: str) -> set[str]:
    """The files of the repository at these places, as git has them; what lies there where there is no git."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", *places], cwd=ROOT, capture_output=True, text=True, check=True)
        return set(listed.stdout.splitlines())
    files = (path for place in places for path in (ROOT / place).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


def wheel_problems(wheel: Path) -> Iterator[str]:
    """Tell what the wheel lacks, or has too much: it is `src/isc` and its own description, nothing else."""
    held = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in held if ".dist-info/" in name}
    wanted = {name.removeprefix("src/") for name in _tracked("src/isc")}
    yield from (f"the wheel lacks {name}" for name in sorted(wanted - held))
    yield from (f"the wheel has {name}" for name in sorted(held - about - wanted))
    for name in ("licenses/LICENSE", "entry_points.txt", "METADATA"):
        if not any(one.endswith(f".dist-info/{name}") for one in about):
            yield f"the wheel lacks {name}"
    if "isc/py.typed" not in held:
        yield "the wheel is not typed: isc/py.typed is missing"


def source_problems(source: Path) -> Iterator[str]:
    """Tell what the source distribution lacks, or has that git has not."""
    with tarfile.open(source) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    yield from (f"the source distribution lacks {name}" for name in {*SOURCES, *_tracked("src", "tests")} - held)
    yield from (f"the source distribution has {name}" for name in held - _tracked(".") - {"PKG-INFO"})


def metadata_of(wheel: Path) -> Message:
    """Return what the wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def metadata_problems(about: Message) -> Iterator[str]:
    """Tell what the metadata lack."""
    version = re.search(r'^__version__ = "(.+)"$', (ROOT / "src/isc/__init__.py").read_text("utf-8"), re.MULTILINE)
    wanted = {"Name": "isc", "License-Expression": "Apache-2.0", "License-File": "LICENSE", "Requires-Python": ">=3.11"}
    wanted |= {"Version": version[1] if version else "", "Description-Content-Type": "text/markdown"}
    yield from (f"{name} is {about[name]}, not {value}" for name, value in wanted.items() if about[name] != value)
    extras = set(about.get_all("Provides-Extra", []))
    if extras != set(PROJECT["optional-dependencies"]):
        yield f"extras are {sorted(extras)}"
    text = str(about.get_payload())
    if not re.search(r'```console\n\$ pip install "isc\[cli\]"\n```', text):
        yield "the description's first command does not install isc from an index"
    yield from (f"the description links to {link}" for link in re.findall(r"\]\((?!https?://)([^)]*)\)", text))
    if about.get_all("Project-URL") is None and "GITHUB_REPOSITORY" in os.environ:
        yield "there is no Project-URL, though the repository is known"


def changelog() -> str:
    """Return the changelog."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def tag_problems(tag: str, version: str, changes: str) -> Iterator[str]:
    """Tell what a tag contradicts: the version, or a changelog that has not closed it."""
    if tag != f"v{version}":
        yield f"the tag is {tag}, the version {version}"
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changes, re.MULTILINE):
        yield f"CHANGELOG.md has no heading `## {version} (YYYY-MM-DD)`"


def resolve_everywhere() -> None:
    """Find wheels of the lowest dependencies for every supported Python and system."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    for python in PYTHONS:
        for system in SYSTEMS:
            place = ("--python-version", python, "--python-platform", system)
            lowest = ("--resolution", "lowest-direct", "--only-binary", ":all:")
            _run(*_uv(), "pip", "compile", "-q", *place, *lowest, *extras, "pyproject.toml", quiet=True)
    print(f"wheels of the lowest dependencies are there for {', '.join(PYTHONS)} on {', '.join(SYSTEMS)}")


def install_everywhere(wheel: Path) -> None:
    """Install the wheel and try it: the oldest and the newest Python, the lowest and the newest dependencies."""
    found = interpreters()
    for python in dict.fromkeys((found[0], found[-1])):
        for resolution in RESOLUTIONS:
            began = time.perf_counter()
            with TemporaryDirectory() as directory:
                inside = Path(directory) / "venv" / "bin" / "python"
                _run(*_uv(), "venv", "-q", "--python", python, str(inside.parent.parent))
                wanted = f"isc[{','.join(EXTRAS)}] @ {wheel.as_uri()}"
                how = ("--resolution", resolution, "--only-binary", ":all:")
                _run(*_uv(), "pip", "install", "-q", "--python", str(inside), *how, wanted)
                print(f"{resolution}, ", end="", flush=True)
                _run(str(inside), str(ROOT / "scripts" / "smoke.py"))
            print(f"  in {time.perf_counter() - began:.0f} s")


def interpreters() -> list[str]:
    """Return the supported Pythons of this machine, the oldest first."""
    looked = (_found(python) for python in PYTHONS)
    return [path for path in looked if path] or [sys.executable]


def _found(python: str) -> str | None:
    """Where a Python of this version is: on the path, or where pyenv and uv keep them."""
    kept = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    of_pyenv = sorted(kept.glob(f"{python}.*/bin/python{python}"))
    asked = [*_uv(), "python", "find", "--no-python-downloads", "--system", python]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd="/")
    return done.stdout.strip() or (str(of_pyenv[-1]) if of_pyenv else None)


def _uv() -> Sequence[str]:
    return (sys.executable, "-m", "uv")


def _run(*command: str, quiet: bool = False) -> None:
    """Run a command that must succeed, without the checkout on the path of modules."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    output = subprocess.DEVNULL if quiet else None
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=output)


if __name__ == "__main__":
    sys.exit(main())
