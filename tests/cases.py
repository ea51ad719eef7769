"""What every family is tested with: its values, and the reference each value is held to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field, structs

import isc
from golden_conversations import CONVERSATIONS
from image_files import QWEN3_VL, images_of
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.formats.segments import IMAGE_TOKENS
from isc.media import ImageProcessor
from isc.testing import Conversation, Shape
from references import Adaptation, FormatEncoder, Preparation, TemplateReference, parts_joined, unprepared


class Case(Struct, frozen=True):
    """A family value with the template (under `templates/`) and tokenizer (under `tokenizers/`) it must agree with.

    Without a tokenizer in the reference ("") ids are compared on the vocabulary that isc carries itself. `bos_token`,
    `eos_token`: what the template is told.

    `refuses`: the golden conversations that it cannot render, each with the path of the error. `adaptations`: what is
    done to messages that isc renders and the template cannot. `prepare`: what the model's own tokenizer does to a
    conversation before the template. `spells`: tags that are no specials, for bodies to spell; `unspelled`: specials
    that bodies leave out, for the reason the case gives. `bridges`: whether a turn is ever rendered with the generation
    prompt at its head, which a bridge goes on from. `now`: the day that the template's clock tells, YYYY-MM-DD.
    `template_takes`: the fields of the family's shape in which its template takes less. With `images` bodies spell no
    placeholder, which no processor expects; `image_settings` are those of the model's. `untraced`: whether messages
    leave too little trace in the template's text to tell who owns it. `twin`: what renders where a model ships Python
    instead; the template is then its FORMAT.md. `thinks_in_parts`: whether the template reads reasoning as parts of the
    content alone, which transformers does not continue. `writes`: what of arguments the template writes itself, so that
    no trace tells it from its own words.
    """

    name: str
    family: isc.Family
    template: str
    tokenizer: str = ""
    options: Mapping[str, Any] = {}
    bos_token: str = ""
    eos_token: str = ""
    refuses: Mapping[str, str] = {}
    adaptations: tuple[Adaptation, ...] = (parts_joined,)
    prepare: Preparation = unprepared
    spells: tuple[str, ...] = ()
    unspelled: tuple[str, ...] = ()
    now: str = ""
    template_takes: Mapping[str, Any] = {}
    bridges: bool = True
    images: bool = False
    image_settings: Mapping[str, Any] = field(default_factory=lambda: QWEN3_VL)
    untraced: Callable[[Sequence[Mapping[str, Any]]], bool] = lambda _: False
    twin: FormatEncoder | None = None
    thinks_in_parts: bool = False
    writes: tuple[str, ...] = ()

    def shape(self) -> Shape:
        """Conversations this format and its template take; bodies spell its specials and some of others.

        They reason whether or not the format has reasoning: what a template drops is dropped.
        """
        spelled = (*self.family.specials, *self.spells, "<|vision_start|>", "[INST]", "<s>", "<|eot_id|>")
        never = {*self.unspelled, *(IMAGE_TOKENS if self.images else ())}
        specials = tuple(text for text in spelled if text not in never)
        found = structs.replace(self.family.shape, specials=specials, reasoning=True, images=self.images)
        return structs.replace(found, **self.template_takes)

    def takes(self, conversation: Conversation) -> bool:
        """Whether the format knows the conversation's roles and calls, and the template can spell its arguments."""
        shape = self.shape()
        calls = [call for message in conversation[0] for call in message.get("tool_calls") or ()]
        as_text = any(isinstance(call["function"]["arguments"], str) for call in calls)
        known = all(message["role"] in shape.roles for message in conversation[0])
        if not self.images and any(images_of(conversation[0])):
            return False
        return known and (shape.text_arguments or not as_text)

    def golden(self, name: str) -> Conversation:
        """A conversation of the golden table as the format takes it."""
        messages, tools = CONVERSATIONS[name]
        return messages, tools if self.family.shape.offers_tools else None

    def reference(self, root: Path) -> TemplateReference:
        """The independent implementation."""
        return TemplateReference(
            root / "templates" / self.template,
            root / "tokenizers" / self.tokenizer if self.tokenizer else None,
            self.adaptations,
            specials=self.family.specials,
            prepare=self.prepare,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            now=self.now,
            twin=self.twin,
            processor=self.image_settings if self.images and self.family.placeholders_per_image is None else None,
            **self.options,
        )

    def renderer(self, encoder: VocabularyEncoder) -> isc.Renderer:
        """The family on a vocabulary, with what measures images if it takes any."""
        by_size = self.images and self.family.placeholders_per_image is None
        images = ImageProcessor.from_config(self.image_settings) if by_size else None
        return isc.create_renderer(encoder, self.family, images=images)

    def encoder(self, real_encoder: Callable[[str], VocabularyEncoder]) -> VocabularyEncoder:
        """The model's vocabulary, or its stand-in."""
        return real_encoder(self.tokenizer) if self.tokenizer else embedded(self.family.specials)


class Oddity(Struct, frozen=True):
    """A conversation that a template renders oddly, written down by hand.

    `line`: where in the template, and what it does. `ends`: what the render ends with; with `prompt`, that of a
    generation prompt.
    """

    line: str
    case: Case
    messages: list[dict[str, Any]]
    ends: str
    tools: list[dict[str, Any]] | None = None
    prompt: bool = False


class Reading(Struct, frozen=True):
    """A sampled text and what it is read as: each call as status, name and arguments. `prompt` came before it."""

    what: str
    family: isc.Family
    text: str
    content: str
    calls: tuple[tuple[str, str | None, dict[str, Any] | None], ...] = ()
    reasoning: str | None = None
    complete: bool = True
    tools: list[dict[str, Any]] | None = None
    prompt: str = ""


_MODULES = [
    importlib.import_module(f"formats.{path.stem}")
    for path in sorted((Path(__file__).parent / "formats").glob("*_cases.py"))
]
CASES: tuple[Case, ...] = tuple(case for module in _MODULES for case in module.CASES)
"""Every family's cases: `CASES` of each `tests/formats/*_cases.py`."""
ODDITIES: tuple[Oddity, ...] = tuple(oddity for module in _MODULES for oddity in getattr(module, "ODDITIES", ()))
READINGS: tuple[Reading, ...] = tuple(reading for module in _MODULES for reading in getattr(module, "READINGS", ()))
