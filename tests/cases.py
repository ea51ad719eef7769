"""What every family is tested with: its values, and the reference each value is held to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

import isc
from isc.encoders import VocabularyEncoder, embedded
from isc.testing import Conversation, Shape
from references import Adaptation, TemplateReference, parts_joined


class Case(Struct, frozen=True):
    """A family value with the template (under `templates/`) and tokenizer (under `tokenizers/`) it must agree with.

    Without a tokenizer in the reference ("") ids are compared on the vocabulary that isc carries itself. `bos_token`,
    `eos_token`: what the template is told.

    `refuses`: the golden conversations that it cannot render, each with the path of the error. `adaptations`: what is
    done to messages that isc renders and the template cannot. `spells`: tags that are no specials, for bodies to spell.
    `bridges`: whether a turn is ever rendered with the generation prompt at its head, which a bridge goes on from.
    For the rest see `Shape`.
    """

    name: str
    family: isc.Family
    template: str
    tokenizer: str = ""
    options: Mapping[str, Any] = {}
    bos_token: str = ""
    eos_token: str = ""
    roles: tuple[str, ...] = ("system", "user", "assistant", "tool")
    refuses: Mapping[str, str] = {}
    adaptations: tuple[Adaptation, ...] = (parts_joined,)
    spells: tuple[str, ...] = ()
    system_first: bool = False
    needs_query: bool = False
    keys: str = "(?s:.*)"
    values: str = "(?s:.*)"
    tools: bool = True
    bridges: bool = True

    def shape(self) -> Shape:
        """Conversations this format takes; bodies spell its specials and some of others."""
        spelled = (*self.family.specials, *self.spells, "<|vision_start|>", "[INST]", "<s>", "<|eot_id|>")
        return Shape(
            self.roles,
            specials=spelled,
            system_first=self.system_first,
            needs_query=self.needs_query,
            keys=self.keys,
            values=self.values,
            tools=self.tools,
        )

    def takes(self, conversation: Conversation) -> bool:
        """Whether the format knows the conversation's roles."""
        return all(message["role"] in self.roles for message in conversation[0])

    def reference(self, root: Path) -> TemplateReference:
        """The independent implementation."""
        return TemplateReference(
            root / "templates" / self.template,
            root / "tokenizers" / self.tokenizer if self.tokenizer else None,
            self.adaptations,
            specials=self.family.specials,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            **self.options,
        )

    def encoder(self, real_encoder: Callable[[str], VocabularyEncoder]) -> VocabularyEncoder:
        """The model's vocabulary, or its stand-in."""
        return real_encoder(self.tokenizer) if self.tokenizer else embedded(self.family.specials)


def _cases() -> tuple[Case, ...]:
    """Every family's cases: `CASES` of each `tests/families/*_cases.py`."""
    found: list[Case] = []
    for path in sorted((Path(__file__).parent / "families").glob("*_cases.py")):
        found.extend(importlib.import_module(f"families.{path.stem}").CASES)
    return tuple(found)


CASES = _cases()
