"""The call surface of PrimeIntellect's `renderers` (0.1.12) that verifiers and prime-rl use, on top of isc.

Adapters only: values are converted, what they say is isc's. `docs/compat.md` lists every class of difference. The
modules `base`, `client` and `configs` hold the names of theirs. Configurations need pydantic (`isc[compat]`).
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from isc.compat.base import (
    MultiModalData,
    ParsedResponse,
    ParsedToolCall,
    PlaceholderRange,
    RenderedTokens,
    RenderedTrainingSample,
    Renderer,
    ToolCallParseStatus,
    build_training_sample,
    build_trajectory_step,
    create_renderer,
    is_multimodal,
    load_tokenizer,
)
from isc.compat.client import MalformedGenerateResponseError, OverlongPromptError, generate
from isc.errors import OptionError

if TYPE_CHECKING:
    from isc.compat.configs import *  # noqa: F403

__all__ = [
    "MalformedGenerateResponseError",
    "MultiModalData",
    "OverlongPromptError",
    "ParsedResponse",
    "ParsedToolCall",
    "PlaceholderRange",
    "RenderedTokens",
    "RenderedTrainingSample",
    "Renderer",
    "ToolCallParseStatus",
    "build_training_sample",
    "build_trajectory_step",
    "create_renderer",
    "generate",
    "install",
    "is_multimodal",
    "load_tokenizer",
]

_MODULES = ("base", "client", "configs")


def install() -> None:
    """Let `import renderers` in this process mean this package, for code that cannot be edited, such as verifiers.

    Raises:
        OptionError: `renderers` was imported before: some of its objects are in use already.
    """
    here = sys.modules[__name__]
    found = sys.modules.get("renderers", here)
    if found is not here and hasattr(found, "create_renderer"):  # a file of the caller's that calls this has none
        raise OptionError("renderers is imported already: call isc.compat.install() before whatever imports it")
    sys.modules["renderers"] = here
    for name in _MODULES:
        sys.modules[f"renderers.{name}"] = import_module(f"{__name__}.{name}")


if not TYPE_CHECKING:  # a type checker would take every misspelled name for a configuration

    def __getattr__(name: str) -> object:
        """A configuration, and with it pydantic, when one is first asked for."""
        if name == "config_from_name" or name.endswith("Config"):
            try:
                return getattr(import_module(f"{__name__}.configs"), name)
            except ModuleNotFoundError as error:
                raise ImportError(f"configurations need pydantic ({error}): pip install 'isc[compat]'") from error
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
