"""The house: imports point down, files and functions stay small, `Any` stays at the edges, `import isc` stays light."""

from __future__ import annotations

import ast
import functools
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import isc

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "isc"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(layer.split())
    for layer in (
        "errors _later _brief",
        "types _options _runs",
        "_parts",
        "_json rendered",
        "convert",
        "formats",
        "encoding media",
        "conversation",
        "traced client _sources",
        "loading",
        "build gateway",
        "viewer",
        "__init__ stages rollout reading template encoders",
        "testing",
        "compat cli",
        "__main__",
    )
)
"""From the bottom up: a module imports from lower layers only. A package is one module."""

FORMAT_IMPORTS = frozenset(("errors", "types", "_json", "_later", "_options", "_runs", "_brief"))
EDGES = "types _json convert loading _sources rendered client media compat"
TYPED_EDGES = "conversation.flags formats.catalogue encoding.vocabulary encoding.encoders encoding._held"
ROWS = "build.conversations build.forms build.nulls build.tables build.saved"
AGENTS = "gateway.dialects.chat_completions gateway.dialects.responses gateway.dialects.anthropic_messages"
"""What agents send."""
ANY = frozenset((*EDGES.split(), *TYPED_EDGES.split(), *ROWS.split(), *AGENTS.split(), "traced", "testing"))
"""Where input that nobody has checked is read: JSON, dicts, files, objects of other libraries."""

AT_HOME = {
    "fastokens": {"encoding"},
    "tokenizers": {"encoding", "testing"},
    "tiktoken": {"encoding", "testing"},
    "huggingface_hub": {"_sources"},
    "jinja2": {"traced", "testing"},
    "hypothesis": {"testing"},
    "pyarrow": {"build", "gateway"},
    "datasets": {"build"},
    "ray": {"build"},
    "rich": {"cli"},
    "cyclopts": {"cli"},
    "httpx": {"client", "gateway"},
    "starlette": {"gateway"},
    "uvicorn": {"gateway"},
    "pydantic": {"compat"},
    "openai": set[str](),
    "transformers": {"media", "compat"},
    "PIL": {"media"},
    "numpy": {"media", "rendered", "conversation"},
    "torch": set[str](),
    "pytest": set[str](),
}
"""Dependencies and the only modules that may import them."""

MODULES = sorted(path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.py"))
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for directory in ("src", "tests", "scripts", "benchmarks")
    for path in (ROOT / directory).rglob("*.py")
)


def _unit(module: str) -> str:
    """What a module counts as: its package, or itself."""
    return module.partition("/")[0]


def _may_hold_any(module: str) -> bool:
    return not {_unit(module), module.replace("/", ".")}.isdisjoint(ANY)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(module: str) -> frozenset[str]:
    """Every imported module, wherever the import stands, dotted."""
    return frozenset(_imported(module))


def _imported(module: str) -> Iterator[str]:
    for node in ast.walk(_tree(SOURCE / f"{module}.py")):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                place = SOURCE.joinpath(*inner.split(".")[1:])
                is_module = place.is_dir() or place.with_suffix(".py").is_file()
                yield inner if inner.startswith("isc.") and is_module else str(node.module)


def _units(module: str) -> set[str]:
    """The parts of isc that a module imports, other than its own."""
    own = [name.split(".")[1:] or ["__init__"] for name in _imports(module) if name.split(".")[0] == "isc"]
    return {_unit("/".join(parts)) for parts in own} - {_unit(module)}


def _layer(unit: str) -> int:
    found = [position for position, layer in enumerate(LAYERS) if unit in layer]
    assert found, f"{unit} has no place in LAYERS of {Path(__file__).name}"
    return found[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = _layer(_unit(module))
    assert {unit for unit in _units(module) if _layer(unit) >= own} == set()


FORMATS = [module for module in MODULES if module.startswith("formats/") and module != "formats/catalogue"]


@pytest.mark.parametrize("module", FORMATS)
def test_a_format_knows_records_and_errors_only(module: str) -> None:
    assert _units(module) <= FORMAT_IMPORTS


@pytest.mark.parametrize("module", FORMATS)
def test_formats_import_no_other_format(module: str) -> None:
    formats = {inspect.getmodule(family) for family in isc.list_families().values()}
    names = {format.__name__ for format in formats if format is not None}
    assert set(_imports(module)) & names == set()


@pytest.mark.parametrize("dependency", AT_HOME)
def test_a_dependency_is_imported_where_it_is_at_home(dependency: str) -> None:
    users = {_unit(module) for module in MODULES if dependency in {name.split(".")[0] for name in _imports(module)}}
    assert users - _typing_only(dependency) <= AT_HOME[dependency]


def _typing_only(dependency: str) -> set[str]:
    """Modules that import it for type checkers alone."""
    return {
        _unit(module)
        for module in MODULES
        for node in ast.walk(_tree(SOURCE / f"{module}.py"))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and dependency in ast.unparse(node)
    } - AT_HOME[dependency]


@pytest.mark.parametrize("module", [module for module in MODULES if not _may_hold_any(module)])
def test_any_is_for_the_edges(module: str) -> None:
    names = [node for node in ast.walk(_tree(SOURCE / f"{module}.py")) if isinstance(node, ast.Name)]
    assert [node.lineno for node in names if node.id == "Any"] == []


@pytest.mark.parametrize("file", FILES)
def test_a_function_has_at_most_30_lines_besides_its_docstring(file: str) -> None:
    functions = [n for n in ast.walk(_tree(ROOT / file)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {node.name: _lines(node) for node in functions if _lines(node) > 30} == {}


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(_tree(SOURCE / f"{module}.py"))


def _public() -> Iterator[tuple[str, object]]:
    """Public functions and classes, and the public methods and properties that isc itself gives them."""
    for name in isc.__all__:
        value = getattr(isc, name)
        if not getattr(value, "__module__", "").startswith("isc"):
            continue
        yield name, value
        for part, member in vars(value).items() if isinstance(value, type) else ():
            if not part.startswith("_") and (callable(member) or isinstance(member, _METHODS)):
                yield f"{name}.{part}", getattr(member, "__func__", member)


_METHODS = (classmethod, staticmethod, property, functools.cached_property)


@pytest.mark.parametrize(("name", "value"), [pytest.param(*found, id=found[0]) for found in _public()])
def test_what_is_public_says_what_it_does(name: str, value: object) -> None:
    assert value.__doc__, f"isc.{name} has no docstring"


@pytest.mark.parametrize("name", isc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(isc, name) is not None


@cache
def _loaded_by_import() -> frozenset[str]:
    code = "import isc, sys; print(*sys.modules)"
    return frozenset(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    "name", ["transformers", "torch", "pydantic", "httpx", "httpx2", "requests", "huggingface_hub", "rich"]
)
def test_import_isc_loads_no_heavy_module(name: str) -> None:
    assert name not in _loaded_by_import()


@pytest.mark.parametrize("name", ["jinja2", "cyclopts", "hypothesis", "pyarrow", "numpy", "http.client", "asyncio"])
def test_import_isc_loads_nothing_that_a_render_does_not_need(name: str) -> None:
    assert name not in _loaded_by_import()
