"""A pytest plugin for the peer's own suite: models that the stand-in hub lacks are left out; `ISC_PEER=isc` puts
`isc.compat` in the peer's place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

SIDE = "ISC_PEER"
"""Which package the suite meets under the name `renderers`: `isc` or `renderers`."""


def pytest_configure() -> None:
    """Put `isc.compat` in the peer's place before a test module is imported."""
    if os.environ[SIDE] == "isc":
        import isc.compat

        isc.compat.install()


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
