"""Tensors of torch, for tests that run with it where it is installed (`make .venv/engine`) and without it elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

HAS_TORCH = importlib.util.find_spec("torch") is not None


def tensor(values: list[Any]) -> Any:  # noqa: ANN401 - a torch.Tensor
    """The values as a tensor."""
    return importlib.import_module("torch").tensor(values)


def tensors(values: list[Any]) -> tuple[Any, ...]:
    """The values as a tensor, where there is torch."""
    return (tensor(values),) if HAS_TORCH else ()
