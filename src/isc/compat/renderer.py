"""An isc renderer that takes and returns what a renderer of `renderers` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replace_columns
from functools import partial
from typing import Any, ClassVar, Final

from msgspec.structs import replace

import isc
from isc.compat.formats import family_of, implied_retention, reading, resolved
from isc.compat.lenient import leniently
from isc.compat.responses import ParsedResponse, response
from isc.compat.thoughts import keeps_calls_in_thoughts, markers_of, parsed
from isc.compat.tokenizer import encoder_of, tells_offsets
from isc.compat.tokens import RenderedTokens
from isc.compat.turns import ResolvedThinkingRetention
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.errors import OptionError
from isc.formats import catalogue
from isc.formats.base import Family
from isc.types import ThinkingRetention

_SWITCHES: Final = ("enable_thinking", "thinking")
"""Fields that switch reasoning on."""


class FamilyRenderer:
    """A renderer of one of isc's families, or of a traced template, behind the call surface of `renderers`.

    Args:
        tokenizer: What `load_tokenizer` returns, a transformers fast tokenizer, or what `isc.create_renderer` takes.
        config: The configuration; None for the class's own with its defaults.
        processor: Without effect but for images: isc reads them by itself.

    Attributes:
        renderer: isc's own renderer, which is strict about what it is given.
        config: The configuration with what the model itself decides filled in.
    """

    config_name: ClassVar[str] = "auto"

    def __init__(self, tokenizer: object, config: Any = None, *, processor: object = None) -> None:  # noqa: ANN401
        from isc.compat.configs import config_class_for

        asked = config_class_for(self.config_name)() if config is None else config
        encoder = encoder_of(tokenizer)
        family = family_of(asked, tokenizer, encoder, {})
        self.tokenizer = self._tokenizer = tokenizer
        self._tells_content = tells_offsets(tokenizer)
        self.renderer = _bound(encoder, family, asked.thinking_retention or implied_retention(family))
        self.config = resolved(asked, self.renderer.family)

    @classmethod
    def of(cls, renderer: isc.Renderer) -> FamilyRenderer:
        """Give isc's renderer this call surface.

        >>> import isc
        >>> bound = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
        >>> len(FamilyRenderer.of(bound).render_ids([{"role": "user", "content": "hi"}]))
        6
        """
        found = cls.__new__(cls)
        found.tokenizer = found._tokenizer = None
        found.renderer, found.config, found._tells_content = renderer, None, True
        return found

    def render(
        self,
        messages: Messages,
        *,
        tools: Tools = None,
        add_generation_prompt: bool = False,
        process_multimodal: bool = True,
    ) -> RenderedTokens:
        """Return the conversation as ids and columns.

        Args:
            messages: The conversation.
            tools: Tool specs.
            add_generation_prompt: Whether the render ends with what asks the model for its turn.
            process_multimodal: Whether images are made tensors of; isc leaves none to the engine.

        Raises:
            ConversationError: Something cannot be rendered.
            OptionError: Images that are not to be processed.
        """
        rendered = self._rendered(messages, tools, add_generation_prompt)
        if not process_multimodal and rendered.multi_modal_data is not None:
            raise OptionError("process_multimodal=False: isc.compat renders images with their tensors only")
        return self._told(rendered)

    def _told(self, rendered: isc.RenderedTokens) -> RenderedTokens:
        """Return the columns. That of content is empty where the caller's tokenizer gives no offsets, as there."""
        columns = RenderedTokens.of(rendered)
        return columns if self._tells_content else replace_columns(columns, is_content=[])

    def _rendered(self, messages: Messages, tools: Tools, add_generation_prompt: bool) -> isc.RenderedTokens:
        """Return the conversation as isc has it, without what the template leaves out."""
        whole = partial(self.renderer.render, add_generation_prompt=add_generation_prompt)
        return leniently(whole, messages, tools)

    def render_ids(self, messages: Messages, *, tools: Tools = None, add_generation_prompt: bool = False) -> list[int]:
        """Return the ids of `render`."""
        return list(self._rendered(messages, tools, add_generation_prompt).token_ids)

    def parse_response(
        self, token_ids: Sequence[int], *, tools: Tools = None, prompt_ids: Sequence[int] | None = None
    ) -> ParsedResponse:
        """Return the message that a sampled turn says."""
        checked = self.checks_names and bool(tools)
        family = reading(self.renderer.family)
        markers = markers_of(family, kept_open=keeps_calls_in_thoughts(self.config))
        if markers is not None:
            found = parsed(self.renderer, markers, token_ids, tools, prompt_ids if prompt_ids is not None else ())
            return response(found, names_checked=checked)
        opener = self.renderer.encoder.specials.get(family.reasoning.opener) if family.reasoning else None
        if opener is not None and opener in token_ids[:1]:
            prompted: Sequence[int] | None = None  # it opens reasoning itself, whatever the prompt did
        else:
            prompted = prompt_ids if prompt_ids is not None and len(prompt_ids) else self._assumed_prompt(opener)
        found = replace(self.renderer, family=family).parse_response(token_ids, tools, prompted)
        return response(found, names_checked=checked)

    def _assumed_prompt(self, opener: int | None) -> list[int] | None:
        """Return the prompt that a completion without one is taken to follow. GLM's opened reasoning."""
        if opener is None or not self._is_glm or not getattr(self.renderer.family, "enable_thinking", True):
            return None
        return [opener]

    def bridge_to_next_turn(
        self,
        previous_prompt_ids: Sequence[int],
        previous_completion_ids: Sequence[int],
        new_messages: Messages,
        *,
        tools: Tools = None,
    ) -> RenderedTokens | None:
        """Return the next prompt, beginning with every previous id; None where `isc.Renderer.plan_bridge` refuses."""
        if not new_messages:
            return None
        previous = (previous_prompt_ids, previous_completion_ids)
        extended = self.renderer.bridge_to_next_turn(*previous, new_messages, tools)
        return None if extended is None else self._told(extended)

    def get_stop_token_ids(self) -> list[int]:
        """Return the ids at which sampling stops."""
        return list(self.renderer.get_stop_token_ids())

    @property
    def _is_glm(self) -> bool:
        return catalogue.family_name(self.renderer.family).startswith("glm-")

    @property
    def checks_names(self) -> bool:
        """Return whether a call of a tool that was not offered is marked: for GLM, whose calls engines drop."""
        return self._is_glm

    @property
    def supports_tools(self) -> bool:
        """Return whether calls are read. They are not from a template of which no grammar was named."""
        return self.config is None or self.config.name != "default" or self.config.tool_parser is not None

    @property
    def is_prefix_stable(self) -> bool:
        """Return whether appending turns never changes how earlier ones are rendered."""
        return self.renderer.is_prefix_stable

    @property
    def effective_thinking_retention(self) -> ResolvedThinkingRetention:
        """Return when a bridge may keep earlier reasoning, by the configuration and the family's options."""
        stated = self.renderer.thinking_retention
        if stated is not None:
            return stated
        family = self.renderer.family
        switched_off = any(getattr(self.config, field, None) is False for field in _SWITCHES)
        return "all" if switched_off or family.keeps_history or not family.has_reasoning else "tool_cycle"


def _bound(encoder: Encoder, family: Family, retention: ThinkingRetention | None) -> isc.Renderer:
    """Return isc's renderer as this package's callers expect it.

    Ids are those of the template's text encoded at once. Arguments that are no JSON stay what a model wrote.
    """
    return isc.create_renderer(
        encoder, family, thinking_retention=retention, sampling_cuts="none", invalid_arguments="raw"
    )
