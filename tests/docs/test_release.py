"""What is released: the index's page, the tag, and the workflows, which run what the Makefile has.

`make dist` builds and checks the wheel and the source distribution; here is what can be told without building.
"""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from types import ModuleType
from typing import Any

import pytest

import isc
from pages import script, text_of

yaml: Any = importlib.import_module("yaml")


@pytest.fixture(scope="module")
def dist() -> ModuleType:
    return script("scripts/dist.py")


@pytest.fixture(scope="module")
def described() -> ModuleType:
    """`hatch_build.py`, beside a stand-in for the build tool, which only builds have."""
    name = "hatchling.metadata.plugin.interface"
    stand_in: Any = ModuleType(name)
    stand_in.MetadataHookInterface = object
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, name, stand_in)
        return script("hatch_build.py")


def workflow(name: str) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(text_of(f".github/workflows/{name}.yml"))
    return loaded


def test_the_page_on_an_index_installs_from_there(described: ModuleType) -> None:
    readme = text_of("README.md")
    assert re.search(r'```console\n\$ pip install "\.\[cli\]" ', readme)
    shown = described.described(readme, None)
    assert re.search(r"```console\n\$ (.*)\n```", shown)[1] == 'pip install "isc[cli]"'  # type: ignore[index]
    assert '".[' not in shown
    assert "<!--" not in shown
    assert re.findall(r"\]\((?!https://)[^)]*\)", shown) == []
    linked = described.described(readme, "https://host.example/owner/isc")
    assert "[docs/laws.md](https://host.example/owner/isc/blob/HEAD/docs/laws.md)" in linked
    assert re.sub(r"\[([^\]]+)\]\(https://host[^)]*\)", r"\1", linked) == shown


def test_the_version_has_one_place() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))
    assert "version" in project["project"]["dynamic"]
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/isc/__init__.py"
    heading = re.search(r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert heading is not None
    assert heading[1] == isc.__version__


def test_a_tag_is_the_version_and_its_changelog_is_closed(dist: ModuleType) -> None:
    closed = "# Changelog\n\n## 1.2.0 (2026-12-01)\n\n- A thing.\n"
    assert list(dist.tag_problems("v1.2.0", "1.2.0", closed)) == []
    assert list(dist.tag_problems("v1.3.0", "1.2.0", closed)) == ["the tag is v1.3.0, the version 1.2.0"]
    (problem,) = dist.tag_problems("v1.2.0", "1.2.0", closed.replace("2026-12-01", "unreleased"))
    assert "no heading" in problem


@pytest.mark.parametrize("name", ["ci", "publish"])
def test_workflows_run_what_the_makefile_has(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))
    jobs = workflow(name)["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job.get("steps", ()) if "run" in step]
    suites = [suite for job in jobs.values() for suite in job.get("strategy", {}).get("matrix", {}).get("suite", ())]
    named = [word for command in commands for word in command.split()[1:] if re.fullmatch(r"[\w-]+", word)]
    assert all(command.startswith("make ") for command in commands)
    assert {*named, *suites} <= targets
    assert workflow(name)["permissions"] == {"contents": "read"}


def test_ci_runs_every_python_that_is_promised() -> None:
    matrix = workflow("ci")["jobs"]["test"]["strategy"]["matrix"]
    promised = re.findall(r"Programming Language :: Python :: (3\.\d+)", text_of("pyproject.toml"))
    assert matrix["python"] == promised
    assert matrix["system"] == ["ubuntu-latest", "macos-latest"]


def test_only_what_ci_passed_and_dist_checked_is_published_and_without_a_token() -> None:
    jobs = workflow("publish")["jobs"]
    assert workflow("publish")[True] == {"push": {"tags": ["v*"]}}  # `on` is a truth value in YAML
    assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("ci", "build")
    assert 'make dist TAG="$GITHUB_REF_NAME"' in [step.get("run") for step in jobs["build"]["steps"]]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in text_of(".github/workflows/publish.yml")
    assert all("permissions" not in job for name, job in jobs.items() if name != "publish")
