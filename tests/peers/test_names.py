"""Every name of `renderers` that a caller can import is in `isc.compat`, module by module, or left out by name."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import pytest

import isc.compat
from isc.compat.classes import MODULES as FORMATS
from peers.names import MODULES, NAMES

renderers: Any = import_module("renderers")
import_module("renderers.configs")


def _modules() -> Iterator[str]:
    yield ""
    yield from (module.name for module in iter_modules(renderers.__path__) if not module.name.startswith("_"))


def _theirs(name: str) -> set[str]:
    """The names that a module of theirs has of the package itself, or makes: not those of Python's library."""
    module = import_module(f"renderers.{name}" if name else "renderers")
    return {found for found in dir(module) if not found.startswith("_") and _is_own(module, found)}


def _is_own(module: ModuleType, name: str) -> bool:
    value = getattr(module, name)
    if isinstance(value, ModuleType):
        return False
    origin = getattr(value, "__module__", None)
    assigned = origin is None or origin in ("typing", "types")
    return str(origin).startswith("renderers") or (
        assigned and not hasattr(import_module("typing"), name) and name != "annotations"
    )


def _ours(name: str) -> object:
    if not name:
        return isc.compat
    return import_module(f"isc.compat.{name}") if name in isc.compat._FILES else isc.compat._module(name)


@pytest.mark.parametrize("name", [name for name in _modules() if name not in MODULES])
def test_a_module_has_the_names_that_theirs_has(name: str) -> None:
    lacking = {found for found in _theirs(name) if not hasattr(_ours(name), found)}
    assert lacking <= NAMES.keys()


def test_what_is_said_to_be_left_out_is() -> None:
    lacking = {
        found
        for name in _modules()
        if name not in MODULES
        for found in _theirs(name)
        if not hasattr(_ours(name), found)
    }
    assert lacking == NAMES.keys()
    assert MODULES.keys() == {name for name in _modules() if name and name not in isc.compat._FILES} - FORMATS.keys()


def test_everything_that_theirs_exports_is_there() -> None:
    assert [name for name in renderers.__all__ if not hasattr(isc.compat, name)] == []


def test_maps_of_models_are_theirs() -> None:
    assert isc.compat.base.MODEL_RENDERER_MAP == renderers.base.MODEL_RENDERER_MAP
    theirs = {name: set(media) for name, media in renderers.base.MULTIMODAL_MODELS.items()}
    assert {name: set(media) for name, media in isc.compat.base.MULTIMODAL_MODELS.items()} == theirs
    assert isc.compat.base.TOKENIZER_SOURCE_OVERRIDES == renderers.base.TOKENIZER_SOURCE_OVERRIDES
    assert isc.compat.base.RENDERER_REGISTRY.keys() == _registry()


def _registry() -> set[str]:
    renderers.base._populate_registry()
    return set(renderers.base.RENDERER_REGISTRY)


@pytest.mark.parametrize("name", sorted(renderers.configs._CONFIG_BY_NAME))
def test_a_configuration_has_the_fields_that_theirs_has(name: str) -> None:
    ours, theirs = isc.compat.configs.CONFIGS[name], renderers.configs._CONFIG_BY_NAME[name]
    assert ours.__name__ == theirs.__name__
    assert ours.template_field_names() == theirs.template_field_names()
    expected = {field: info.default for field, info in theirs.model_fields.items()}
    if name == "minimax-m2":
        expected["model_identity"] = None  # the models' own: that of M2.5 is not that of M2
    assert {field: info.default for field, info in ours.model_fields.items()} == expected


def test_the_helpers_answer_as_theirs_do() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": {}}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [call, {"function": {"name": "g", "arguments": {}}}]},
        {"role": "tool", "content": "1", "tool_call_id": "a"},
        {"role": "tool", "content": "1", "tool_call_id": "b"},
        {"role": "tool", "content": "1", "tool_call_id": "a", "name": "h"},
    ]
    for side in (isc.compat.base, renderers.base):
        assert side.extract_message_tool_names(messages) == [None, None, "f", None, "h"]
        assert side.reject_assistant_in_extension(messages)
        assert not side.reject_assistant_in_extension(messages[2:])
        assert side.introduces_user_query(messages)
        assert side.trim_to_turn_close([1, 9], [2, 9, 3, 9, 4], {9}) == [1, 9, 2, 9, 3, 9]
        assert side.trim_to_turn_close([1, 9], [2], {9}) is None
        assert side.trim_to_turn_close([1, 9], [2], {9}, synthesize_close=9) == [1, 9, 2, 9]
        policies = [
            side.should_rerender_for_thinking_retention(policy, given)
            for policy in ("template", "tool_cycle", "all")
            for given in (messages[:1], messages[2:])
        ]
        assert policies == [True, True, True, False, False, False]


TRAINER = """
import isc.compat
isc.compat.install()
from pydantic import BaseModel, Field, model_validator
from renderers import AutoRendererConfig, DefaultRendererConfig, RendererConfig, merge_chat_template_kwargs
from renderers.base import MODEL_RENDERER_MAP, Message, Renderer, ToolSpec, create_renderer, load_tokenizer
from renderers.configs import Qwen35RendererConfig, config_from_name
from renderers.qwen35 import Qwen35Renderer

class SFTConfig(BaseModel):
    model: str
    renderer: RendererConfig = Field(default_factory=AutoRendererConfig)

    @model_validator(mode="after")
    def resolve(self):
        if isinstance(self.renderer, AutoRendererConfig):
            self.renderer = config_from_name(MODEL_RENDERER_MAP.get(self.model, "default"))
        return self

config = SFTConfig.model_validate({"model": "Qwen/Qwen3.5-9B"})
assert type(config.renderer) is Qwen35RendererConfig
assert SFTConfig.model_validate_json(config.model_dump_json()) == config
given = {"model": "x", "renderer": {"name": "qwen3.5", "enable_thinking": False}}
assert SFTConfig.model_validate(given).renderer.enable_thinking is False
assert type(SFTConfig(model="mine").renderer) is DefaultRendererConfig
print(merge_chat_template_kwargs(config.renderer, {"enable_thinking": None}).enable_thinking, Qwen35Renderer.__module__)
"""


def test_a_trainers_configuration_imports_and_validates() -> None:
    """As prime-rl's for SFT and its orchestrator do, which no package registry has; the names are those they import."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(TRAINER)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["None", "isc.compat.classes"], done.stderr
