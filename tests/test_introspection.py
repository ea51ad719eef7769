"""Public names survive what tools ask of them: type hints, signatures, help, dir and one-line reprs."""

from __future__ import annotations

import importlib
import inspect
import pydoc
import subprocess
import sys
import typing
from collections.abc import Iterator

import pytest

import isc

MODULES = {
    "isc": isc,
    **{name: getattr(isc, name) for name in isc.__all__ if inspect.ismodule(getattr(isc, name))},
    **{name: importlib.import_module(name) for name in ("isc.testing", "isc.compat", "isc.loading", "isc.rendered")},
}
"""Every public module."""


def public(module: object) -> Iterator[tuple[str, object]]:
    """The names that a module makes public: its `__all__`, or what has no underscore and is its own."""
    listed = getattr(module, "__all__", None)
    for name in listed if listed is not None else [name for name in vars(module) if not name.startswith("_")]:
        value = getattr(module, name)
        if getattr(value, "__module__", "").startswith("isc"):
            yield name, value


def callables(module: object) -> Iterator[tuple[str, object]]:
    """Functions, classes and the methods and properties of classes."""
    for name, value in public(module):
        if inspect.isfunction(value):
            yield name, value
        if not inspect.isclass(value):
            continue
        yield name, value
        for member, found in vars(value).items():
            function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
            if inspect.isfunction(function) and not member.startswith("_"):
                yield f"{name}.{member}", function


NAMES = [(place, name, value) for place, module in MODULES.items() for name, value in callables(module)]


def test_the_public_names_are_many() -> None:
    assert len(NAMES) > 300
    assert {"Renderer.render", "load", "Qwen3", "fold"} <= {name for _, name, _ in NAMES}


@pytest.mark.parametrize(("place", "name", "value"), NAMES, ids=[f"{place}.{name}" for place, name, _ in NAMES])
def test_type_hints_and_signatures_can_be_asked_for(place: str, name: str, value: object) -> None:
    hints = typing.get_type_hints(value)
    assert not any(isinstance(hint, str) for hint in hints.values())
    if inspect.isfunction(value):
        assert set(hints) >= {
            name for name, parameter in inspect.signature(value).parameters.items() if parameter.annotation
        } - {"self", "cls"}
    elif inspect.isclass(value) and not issubclass(value, BaseException):
        try:
            inspect.signature(value)
        except ValueError as error:
            assert "no signature found" in str(error)  # noqa: PT017 - a protocol of builtins has none


@pytest.mark.parametrize("place", MODULES)
def test_help_can_be_read(place: str) -> None:
    for name, value in [*public(MODULES[place]), (place, MODULES[place])]:
        assert pydoc.render_doc(value).count("\n") > 2, name


def test_help_of_the_renderer_names_its_arguments() -> None:
    text = pydoc.plain(pydoc.render_doc(isc.Renderer))
    for wanted in ("sampling_cuts", "append(self, token_ids", "invalid_arguments: Literal"):
        assert wanted in text


def test_dir_lists_the_public_names() -> None:
    assert set(isc.__all__) <= set(dir(isc))
    assert all(name in isc.__all__ or name.startswith("__") for name in dir(isc))


@pytest.mark.parametrize("place", MODULES)
def test_a_public_module_can_be_imported_by_its_public_path(place: str) -> None:
    assert importlib.import_module(place if place.startswith("isc") else f"isc.{place}") is MODULES[place]


def test_what_a_public_path_holds_can_be_imported_from_it() -> None:
    code = (
        "from isc.stages import ToSamples; import isc, isc.build.stages as s; assert isc.stages is s; print(ToSamples)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == f"{isc.stages.ToSamples}\n"


def test_a_render_is_one_short_line(small: isc.Renderer) -> None:
    messages = [{"role": "user", "content": "word " * 5000}, {"role": "assistant", "content": "line\n" * 100}]
    rendered = small.render(messages)
    assert "\n" not in repr(rendered)
    assert len(repr(rendered)) < 100
    counts = rendered.tokens_by_role()
    assert repr(rendered) == (
        f"<RenderedTokens: {len(rendered)} tokens (user {counts['user']}, assistant {counts['assistant']}), "
        f"{sum(rendered.sampled_mask)} sampled>"
    )
    assert repr(isc.RenderedTokens((), ())) == "<RenderedTokens: 0 tokens (of nobody), 0 sampled>"
    assert len(repr(isc.build_training_sample(small, messages))) < 200
