"""What `renderers` asks of a tokenizer and what it promises of a renderer, as protocols for callers' own classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from isc.compat.messages import Message, ToolSpec
from isc.compat.responses import ParsedResponse
from isc.compat.tokens import MultiModalData, RenderedTokens


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back. isc wants more of a tokenizer than this: see `isc.create_renderer`."""

    name_or_path: str
    unk_token_id: int | None
    eos_token_id: int | None

    def encode(self, text: str, *args: Any, **kwargs: Any) -> list[int]:
        """Return the ids of a text."""
        ...

    def decode(self, token_ids: Any, *args: Any, **kwargs: Any) -> str:
        """Return the text of ids."""
        ...

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Return the id of a token's spelling, or those of several."""
        ...


@runtime_checkable
class ChatTemplateTokenizer(Tokenizer, Protocol):
    """A tokenizer that renders conversations by a template."""

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        """Return a conversation as text or ids."""
        ...


@runtime_checkable
class OffsetTokenizer(Tokenizer, Protocol):
    """A tokenizer that tells which characters each token came from. isc needs no offsets."""

    def __call__(self, text: str, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """Return ids with their offsets."""
        ...


@runtime_checkable
class Renderer(Protocol):
    """What every renderer does: messages to ids, sampled ids to a message, the next prompt from the last."""

    @property
    def is_prefix_stable(self) -> bool:
        """Return whether appending turns never changes how earlier ones are rendered."""
        ...

    def render(
        self, messages: list[Message], *, tools: list[ToolSpec] | None = None, add_generation_prompt: bool = False
    ) -> RenderedTokens:
        """Return a conversation as ids and columns."""
        ...

    def render_ids(
        self, messages: list[Message], *, tools: list[ToolSpec] | None = None, add_generation_prompt: bool = False
    ) -> list[int]:
        """Return a conversation as ids."""
        ...

    def parse_response(
        self, token_ids: list[int], *, tools: list[ToolSpec] | None = None, prompt_ids: list[int] | None = None
    ) -> ParsedResponse:
        """Return the message that sampled ids say."""
        ...

    def get_stop_token_ids(self) -> list[int]:
        """Return the ids at which sampling stops."""
        ...

    def bridge_to_next_turn(
        self,
        previous_prompt_ids: list[int],
        previous_completion_ids: list[int],
        new_messages: list[Message],
        *,
        tools: list[ToolSpec] | None = None,
    ) -> RenderedTokens | None:
        """Return the next prompt, beginning with every previous id, or None where there is none."""
        ...


@runtime_checkable
class MultimodalRenderer(Renderer, Protocol):
    """A renderer that makes tensors of images; none of isc's does."""

    @property
    def mm_token_type_id_map(self) -> dict[int, int]:
        """Return the type of each placeholder token."""
        ...

    def bridge_to_next_turn(
        self,
        previous_prompt_ids: list[int],
        previous_completion_ids: list[int],
        new_messages: list[Message],
        *,
        tools: list[ToolSpec] | None = None,
        previous_multi_modal_data: MultiModalData | None = None,
    ) -> RenderedTokens | None:
        """Return the next prompt, with the media of all turns."""
        ...
