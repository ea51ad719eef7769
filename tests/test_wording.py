"""A function's docstring begins with a verb in the imperative, so that its first word says what the function does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "isc"

ROOMS = (
    "__init__.py",
    "_brief.py",
    "_json.py",
    "_later.py",
    "_options.py",
    "_runs.py",
    "_sources.py",
    "build",
    "cli",
    "client",
    "compat",
    "conversation",
    "convert.py",
    "encoding",
    "errors.py",
    "formats",
    "gateway",
    "loading.py",
    "media",
    "rendered.py",
    "testing",
    "traced",
    "types.py",
    "viewer",
)
"""Modules and packages whose docstrings are held to this."""

_VERBS = """
    Adapt Add Append Ask Assemble Assign Attach
    Build
    Carry Change Check Choose Close Code Collect Compare Compile Convert Copy Count Cut
    Decide Decode Describe Drop
    Encode Escape Evaluate Explain Extend
    Fill Find
    Give Go Group
    Have Hold
    Import Infer
    Join
    Keep
    List Load
    Make Mark Measure Merge
    Normalize Note
    Open
    Parse Prepare Print Put
    Raise Read Rebuild Refuse Remove Render Renumber Replace Report Resolve Return Rewrite Run
    Send Serve Show Skip Spell Split Start
    Tabulate Take Tell Trace Try Turn
    Wait Warn Wrap Write
    Yield
"""
"""The first words in use; a docstring that begins with another verb adds the verb here."""

_NO_VERBS = """
    A All An Any Each Every Everything For How If It Its No None Nothing One Some That The There These They This Those
    What Whatever When Where Whether Which Who Whose Why
"""
"""Words that begin a description of a thing: none of them may be added to the verbs."""

VERBS = frozenset(_VERBS.split())


def _docstrings(room: str) -> Iterator[tuple[str, str]]:
    """Yield the place and the docstring of every function of a module or package that has one."""
    path = SOURCE / room
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring is not None:
                    yield f"{file.relative_to(SOURCE)}:{node.lineno} {node.name}", docstring


def _first_word(docstring: str) -> str:
    return (docstring.split() or [""])[0].rstrip(",.:;")


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_of_functions_begin_with_a_verb(room: str) -> None:
    docstrings = list(_docstrings(room))
    assert [f"{place}: {text.splitlines()[0]}" for place, text in docstrings if _first_word(text) not in VERBS] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_there(room: str) -> None:
    assert (SOURCE / room).exists()


def test_no_word_for_a_thing_is_among_the_verbs() -> None:
    assert VERBS.isdisjoint(_NO_VERBS.split())
