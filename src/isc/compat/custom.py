"""Renderers of a caller's own, by import path: `module.Name`, or `path/to/file.py:Name`."""

from __future__ import annotations

import sys
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from isc.errors import OptionError


def load_target(import_path: str) -> Any:  # noqa: ANN401 - whatever the caller wrote
    """Return what an import path names. A file is run once in a process.

    Raises:
        OptionError: It is no such path, or the module has no such name.
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: There is no such module.

    >>> load_target("json.dumps")([1])
    '[1]'
    """
    file, separator, name = import_path.rpartition(":")
    module_name, _, attribute = import_path.rpartition(".")
    if separator and file.endswith(".py"):
        module = _file_module(Path(file))
    elif module_name and attribute.isidentifier() and attribute != "py" and "/" not in import_path:
        module, name = import_module(module_name), attribute
    else:
        raise OptionError(f"import path {import_path!r}: it must look like 'module.Name' or 'path/to/file.py:Name'")
    try:
        return getattr(module, name)
    except AttributeError:
        raise OptionError(f"import path {import_path!r}: the module has no attribute {name!r}") from None


def _file_module(path: Path) -> ModuleType:
    """Import a file as a module, under a name that its place determines."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} for a custom renderer")
    place = path.resolve()
    name = f"isc_custom_{place.stem}_{sha256(str(place).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise OptionError(f"{path} cannot be imported")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_custom_renderer(import_path: str) -> Any:  # noqa: ANN401
    """Return the renderer class that an import path names; its `config_class` says what configures it.

    Raises:
        TypeError: It has no `config_class`.
        OptionError: See `load_target`.
    """
    from isc.compat.configs import BaseRendererConfig

    kind = load_target(import_path)
    config_class = getattr(kind, "config_class", None)
    if not (isinstance(config_class, type) and issubclass(config_class, BaseRendererConfig)):
        raise TypeError(
            f"{import_path!r} must set config_class to a BaseRendererConfig of its own, not {config_class!r}"
        )
    return kind


def custom_renderer_config(config: Any) -> Any:  # noqa: ANN401
    """Return the renderer's own configuration, made of the fields beside `import_path`.

    Raises:
        pydantic.ValidationError: A field is not one of the renderer's.
    """
    fields = config.model_dump(exclude={"name", "import_path"}, exclude_unset=True)
    return load_custom_renderer(config.import_path).config_class(**fields)
