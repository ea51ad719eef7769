"""Functions of transformers' torch modules that need no torch, run from their source: oracles where torch is not."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@cache
def torchless(model: str, name: str) -> Callable[..., Any]:
    """A function of `transformers.models.MODEL.image_processing_MODEL`, which cannot be imported without torch."""
    spec = find_spec(f"transformers.models.{model}.image_processing_{model}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    names: dict[str, Any] = {"math": math}
    exec(compile(ast.Module([function], []), spec.origin, "exec"), names)
    found: Callable[..., Any] = names[name]
    return found
