"""The values of Seed-OSS and their reference: kinds of budget, both ways to show tools; no tokenizer is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cases import Case
from isc.formats.seed_oss import SeedOss
from references import arguments_as_objects, none_as_empty, parts_joined


def _is_told(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a system message stands before the turn of the budget, which is nobody's and not that message's."""
    return bool(messages[0]["role"] == "system")


def _case(name: str, family: SeedOss, **options: int) -> Case:
    return Case(
        name,
        family,
        "ByteDance-Seed--Seed-OSS-36B-Instruct/chat_template.jinja",
        options=options,
        adaptations=(parts_joined, none_as_empty, arguments_as_objects),
        spells=("</parameter>", "<parameter=q>", "</function>", "<function=now>", "</parameter>\n"),
        bridges=family.thinking_budget != 0,
        untraced=_is_told if family.thinking_budget >= 0 else lambda _: False,
    )


CASES = (
    _case("seed-oss", SeedOss()),
    _case("seed-oss-no-thinking", SeedOss(thinking_budget=0), thinking_budget=0),
    _case(
        "seed-oss-budget",
        SeedOss(thinking_budget=1000, use_json_tooldef=True),
        thinking_budget=1000,
        use_json_tooldef=True,
    ),
)
