"""The call surface of PrimeIntellect's `renderers` (0.1.12) that verifiers and prime-rl use, on top of isc.

Adapters only: values are converted, what they say is isc's. `docs/compat.md` lists every class of difference. The
modules `base`, `client`, `configs`, `custom` and `parsers` hold the names of theirs, `install` makes the others.
Configurations need pydantic (`isc[compat]`).
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from isc.compat import base
from isc.compat.base import *  # noqa: F403 - the names of `renderers` are those of its `base`, and these
from isc.compat.classes import ALSO, CLASSES, MODULES
from isc.compat.client import MalformedGenerateResponseError, OverlongPromptError, generate
from isc.compat.custom import custom_renderer_config, load_custom_renderer, load_target
from isc.compat.renderer import FamilyRenderer
from isc.errors import OptionError

if TYPE_CHECKING:
    from isc.compat.classes import *  # noqa: F403
    from isc.compat.configs import *  # noqa: F403

__version__ = "0.1.12"
"""The version of `renderers` whose call surface this is."""

__all__ = [  # noqa: PLE0604
    *base.__all__,
    *CLASSES,
    "FamilyRenderer",
    "MalformedGenerateResponseError",
    "OverlongPromptError",
    "__version__",
    "custom_renderer_config",
    "generate",
    "install",
    "load_custom_renderer",
    "load_target",
]

globals().update(CLASSES)
_FILES = ("base", "client", "configs", "custom", "parsers")


def install() -> None:
    """Make `import renderers` in this process mean this package, for code that cannot be edited, such as verifiers.

    Raises:
        OptionError: `renderers` was imported before: some of its objects are in use already.
    """
    here = sys.modules[__name__]
    present = sys.modules.get("renderers", here)
    if present is not here and hasattr(present, "create_renderer"):  # a file of the caller's that calls this has none
        raise OptionError("renderers is imported already: call isc.compat.install() before whatever imports it")
    sys.modules["renderers"] = here
    for name in _FILES:
        sys.modules[f"renderers.{name}"] = import_module(f"{__name__}.{name}")
    made = {name: _module(name) for name in MODULES}
    vars(here).update(made)
    sys.modules |= {f"renderers.{name}": module for name, module in made.items()}


def _module(name: str) -> ModuleType:
    """Make a module of `renderers` that holds one format. It has all names: there each imports what it needs."""
    module = ModuleType(f"renderers.{name}", f"The classes of `renderers.{name}`.")
    configs = import_module(f"{__name__}.configs")
    vars(module).update({shared: getattr(base, shared) for shared in base.__all__})
    vars(module).update({shared: getattr(configs, shared) for shared in configs.__all__})
    vars(module).update(CLASSES)
    vars(module).update(ALSO.get(name, {}))
    return module


if not TYPE_CHECKING:  # a type checker would take every misspelled name for a configuration

    def __getattr__(name: str) -> object:
        """Import a configuration, and with it pydantic, when one is first asked for."""
        if name == "config_from_name" or name.endswith("Config"):
            try:
                return getattr(import_module(f"{__name__}.configs"), name)
            except ModuleNotFoundError as error:
                raise ImportError(f"configurations need pydantic ({error}): pip install 'isc[compat]'") from error
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
