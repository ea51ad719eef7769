"""What every family is tested with: its values, and the reference each value is held to."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

import isc
from isc.testing import Conversation, Shape
from references import Adaptation, TemplateReference, parts_joined


class Case(Struct, frozen=True):
    """A family value with the template (under `templates/`) and tokenizer (under `tokenizers/`) it must agree with.

    `refuses`: the golden conversations that it cannot render, each with the path of the error. `adaptations`: what is
    done to messages that isc renders and the template cannot. `spells`: tags that are no specials, for bodies to spell.
    For the rest see `Shape`.
    """

    name: str
    family: isc.Family
    template: str
    tokenizer: str
    options: Mapping[str, Any] = {}
    roles: tuple[str, ...] = ("system", "user", "assistant", "tool")
    refuses: Mapping[str, str] = {}
    adaptations: tuple[Adaptation, ...] = (parts_joined,)
    spells: tuple[str, ...] = ()
    system_first: bool = False
    needs_query: bool = False
    keys: str = "(?s:.*)"

    def shape(self) -> Shape:
        """Conversations this format takes; bodies spell its specials and some of others."""
        spelled = (*self.family.specials, *self.spells, "<|vision_start|>", "[INST]", "<s>", "<|eot_id|>")
        return Shape(
            self.roles,
            specials=spelled,
            system_first=self.system_first,
            needs_query=self.needs_query,
            keys=self.keys,
        )

    def takes(self, conversation: Conversation) -> bool:
        """Whether the format knows the conversation's roles."""
        return all(message["role"] in self.roles for message in conversation[0])

    def reference(self, root: Path) -> TemplateReference:
        """The independent implementation."""
        return TemplateReference(
            root / "templates" / self.template, root / "tokenizers" / self.tokenizer, self.adaptations, **self.options
        )


def _cases() -> tuple[Case, ...]:
    """Every family's cases: `CASES` of each `tests/families/*_cases.py`."""
    found: list[Case] = []
    for path in sorted((Path(__file__).parent / "families").glob("*_cases.py")):
        found.extend(importlib.import_module(f"families.{path.stem}").CASES)
    return tuple(found)


CASES = _cases()
