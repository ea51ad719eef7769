"""The values of Qwen3-Coder and their references: both revisions of the template."""

from __future__ import annotations

from cases import Case
from isc.formats.qwen3_coder import Qwen3Coder
from references import arguments_as_objects, none_as_empty, parts_joined

_TAGS = ("</parameter>", "<parameter=q>", "</function>", "<function=now>", "\n</parameter>\n", ">\n")


def _case(name: str, family: Qwen3Coder, template: str) -> Case:
    return Case(
        name,
        family,
        f"Qwen--Qwen3-Coder-30B-A3B-Instruct/{template}.jinja",
        "qwen3",
        adaptations=(parts_joined, none_as_empty, arguments_as_objects),
        spells=_TAGS,
    )


CASES = (
    _case("qwen3-coder", Qwen3Coder(), "chat_template"),
    _case("qwen3-coder-earlier", Qwen3Coder(variant="earlier"), "chat_template.rev-earlier"),
)
