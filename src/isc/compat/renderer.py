"""`create_renderer` and `load_tokenizer` of `renderers`, and a `Renderer` that answers in its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

import isc
from isc import loading
from isc._sources import Source
from isc.compat.formats import family_of
from isc.compat.responses import ParsedResponse, response
from isc.compat.tokens import RenderedTokens
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.encoding.encoders import as_encoder
from isc.formats import catalogue


class Tokenizer(Struct, frozen=True):
    """A model's tokenizer without transformers: what `create_renderer` needs, and text to ids and back."""

    source: Source
    encoder: Encoder

    @property
    def name_or_path(self) -> str:
        """The model's name or directory."""
        return self.source.name

    @property
    def chat_template(self) -> str | None:
        """The model's chat template."""
        return self.source.chat_template()

    @property
    def bos_token(self) -> str | None:
        """The special that begins a text, where the model has one."""
        return self.source.special("bos_token") or None

    @property
    def eos_token(self) -> str | None:
        """The special that ends a text, where the model has one."""
        return self.source.special("eos_token") or None

    @property
    def eos_token_id(self) -> int | None:
        """Its id."""
        return self.encoder.specials.get(self.eos_token or "")

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Ids of a text, in which no special is recognized.

        Raises:
            OptionError: `add_special_tokens`: the format adds them, and a renderer knows which.
        """
        if add_special_tokens:
            raise isc.errors.OptionError("add_special_tokens=True: specials belong to the format; use a renderer")
        return list(isc.attribute_text_segments(self.encoder, [(text, False)])[0])

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        specials = frozenset(self.encoder.specials.values()) if skip_special_tokens else frozenset()
        kept = [token_id for token_id in token_ids if token_id not in specials]
        return self.encoder.decode_bytes(kept).decode("utf-8", "replace")


def load_tokenizer(model_name_or_path: str) -> Tokenizer:
    """The tokenizer of a model on the hub or in a directory; never runs remote code.

    Raises:
        LoadError: A file is missing or cannot be fetched.
        EncoderError: The tokenizer cannot be accounted for.
    """
    return Tokenizer(Source(model_name_or_path), loading.load_encoder(model_name_or_path))


class Renderer(Struct, frozen=True):
    """An isc renderer that takes and returns what `renderers` does; `renderer` is isc's own."""

    renderer: isc.Renderer
    config: Any = None

    def render(self, messages: Messages, *, tools: Tools = None, add_generation_prompt: bool = False) -> RenderedTokens:
        """The conversation as ids and columns.

        Raises:
            ConversationError: Something cannot be rendered.
        """
        return RenderedTokens.of(self.renderer.render(messages, tools, add_generation_prompt))

    def render_ids(self, messages: Messages, *, tools: Tools = None, add_generation_prompt: bool = False) -> list[int]:
        """The ids of `render`."""
        return list(self.renderer.render_ids(messages, tools, add_generation_prompt))

    def parse_response(
        self, token_ids: Sequence[int], *, tools: Tools = None, prompt_ids: Sequence[int] | None = None
    ) -> ParsedResponse:
        """A sampled turn read back."""
        parsed = self.renderer.parse_response(token_ids, tools, prompt_ids)
        return response(parsed, names_checked=self.checks_names)

    def bridge_to_next_turn(
        self,
        previous_prompt_ids: Sequence[int],
        previous_completion_ids: Sequence[int],
        new_messages: Messages,
        *,
        tools: Tools = None,
    ) -> RenderedTokens | None:
        """The next prompt, beginning with every previous id; None where `isc.Renderer.plan_bridge` refuses."""
        previous = (previous_prompt_ids, previous_completion_ids)
        found = self.renderer.bridge_to_next_turn(*previous, new_messages, tools)
        return None if found is None else RenderedTokens.of(found)

    def get_stop_token_ids(self) -> list[int]:
        """The ids at which sampling stops."""
        return list(self.renderer.get_stop_token_ids())

    @property
    def checks_names(self) -> bool:
        """Whether a call of a tool that was not offered is marked: for GLM, whose calls engines then drop."""
        return catalogue.family_name(self.renderer.family).startswith("glm-")

    @property
    def is_prefix_stable(self) -> bool:
        """Whether appending turns never changes how earlier ones are rendered."""
        return self.renderer.is_prefix_stable


def create_renderer(
    tokenizer: object,
    config: Any = None,  # noqa: ANN401 - one of many models
    *,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Renderer:
    """A renderer on a tokenizer.

    Args:
        tokenizer: What `load_tokenizer` returns, a transformers fast tokenizer, or what `isc.create_renderer` takes.
        config: A configuration; None and `auto` find the format by the tokenizer's model name or chat template.
        chat_template_kwargs: The template's keyword arguments, over those of the configuration.

    Raises:
        OptionError: An option that the format does not have, or with a value it does not take; a custom renderer.
        UnknownModelError: There is neither a family nor a chat template.
        EncoderError: A tokenizer that isc does not know or cannot account for.
    """
    encoder = tokenizer.encoder if isinstance(tokenizer, Tokenizer) else as_encoder(tokenizer)
    family = family_of(config, tokenizer, encoder, chat_template_kwargs or {})
    retention = None if config is None else config.thinking_retention
    return Renderer(isc.create_renderer(encoder, family, thinking_retention=retention), config)
