"""Tools that a template was given and does not show: told once, since nothing else would tell."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import lru_cache
from html import escape

from isc.errors import IgnoredToolsWarning
from isc.types import Segment, ToolSpec


def tell_ignored_tools(source: str, tools: Sequence[ToolSpec], segments: Sequence[Segment]) -> None:
    """Warn, once for a template, where a text shows the name of none of its tools."""
    if not tools:
        return
    text = "".join(segment.text for segment in segments)
    if not any(spelled in text for tool in tools for spelled in _spellings(tool.name)):
        _tell(source)


def _spellings(name: str) -> tuple[str, ...]:
    """Return a name as it is, and as JSON and HTML write it."""
    return name, json.dumps(name)[1:-1], escape(name)


@lru_cache(maxsize=256)
def _tell(source: str) -> None:
    """Warn of a template; the last 256 are remembered."""
    problem = (
        "the chat template shows none of the tools it is given: the model is not told of them. Leave tools out, or "
        "choose another of the model's templates with template=..."
    )
    warnings.warn(problem, IgnoredToolsWarning, stacklevel=2)
