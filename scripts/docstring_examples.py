"""Examples in docstrings as code: an extension of griffe, which reads docstrings for the site (zensical.toml).

A docstring shows its example by `>>>` in running text, as `doctest` reads it. Markdown would take that for a quotation.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from griffe import Extension, Object


class DocstringExamples(Extension):
    """Put a fence around every example."""

    def on_object(self, *, obj: Object, **_: Any) -> None:  # noqa: ANN401 - griffe's own
        """Change an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Return a docstring whose examples stand in fences of their own."""
    paragraphs = [list(lines) for _, lines in groupby(text.splitlines(), key=lambda line: bool(line.strip()))]
    return "\n".join(line for lines in paragraphs for line in _paragraph(lines))


def _paragraph(lines: list[str]) -> list[str]:
    if not lines[0].lstrip().startswith(">>>"):
        return lines
    margin = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    return [f"{margin}```pycon", *lines, f"{margin}```"]
