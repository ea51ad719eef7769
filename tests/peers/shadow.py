"""A pytest plugin for the peer's own suite.

Models that the stand-in hub lacks are left out; `ISC_PEER=isc` puts `isc.compat` in the peer's place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import isc.compat
from isc import loading

SIDE = "ISC_PEER"
"""Which package the suite meets under the name `renderers`: `isc` or `renderers`."""


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Put `isc.compat` in the peer's place before the suite's first file is imported, and load every tokenizer once."""
    AutoTokenizer.from_pretrained = _once(AutoTokenizer.from_pretrained)  # type: ignore[method-assign]
    loading.load_encoder = _once(loading.load_encoder)
    if os.environ[SIDE] == "isc":
        isc.compat.install()


def _once(load: Callable[..., Any]) -> Callable[..., Any]:
    """The same loader, which keeps what it has loaded from a model's directory."""
    kept: dict[str, Any] = {}

    def loaded(name: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        if name not in kept:
            kept[name] = load(name, *arguments, **options)
        return kept[name]

    return loaded


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of a model that is not here."""
    catalog = sys.modules["parity"].MODEL_CATALOG
    absent = [case.model for case in catalog if not Path(case.model).is_dir()]
    left_out = [item for item in items if _names(item.nodeid, absent)]
    config.hook.pytest_deselected(items=left_out)
    dropped = set(left_out)
    items[:] = [item for item in items if item not in dropped]


def _names(nodeid: str, models: list[str]) -> bool:
    _, _, parameters = nodeid.partition("[")
    return any(_follows(parameters, model) for model in models)


def _follows(parameters: str, model: str) -> bool:
    """Whether a model's name stands there, and not the beginning of a longer one."""
    _, found, rest = parameters.partition(model)
    return bool(found) and not rest[:1].isalnum() and rest[:1] != "."
