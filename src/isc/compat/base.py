"""What `renderers.base` is imported for, under the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from isc.compat.classes import RENDERER_REGISTRY, create_renderer
from isc.compat.messages import (
    Content,
    ContentPart,
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolCallFunction,
    ToolSpec,
    VideoPart,
)
from isc.compat.models import MODEL_RENDERER_MAP, MULTIMODAL_MODELS, TOKENIZER_SOURCE_OVERRIDES, TRUSTED_REVISIONS
from isc.compat.protocols import ChatTemplateTokenizer, MultimodalRenderer, OffsetTokenizer, Renderer, Tokenizer
from isc.compat.responses import ParsedResponse, ParsedToolCall, ToolCallParseStatus
from isc.compat.samples import (
    RenderedTrainingSample,
    build_training_sample,
    build_trajectory_step,
)
from isc.compat.samples import mm_token_type_ids as _build_mm_token_type_ids  # noqa: F401 - a name that is imported
from isc.compat.tokenizer import load_tokenizer
from isc.compat.tokens import MultiModalData, PlaceholderRange, RenderedTokens
from isc.compat.turns import (
    AttributedTextSegments,
    attribute_text_segments,
    extract_message_tool_names,
    introduces_user_query,
    reject_assistant_in_extension,
    resolve_thinking_retention,
    should_rerender_for_thinking_retention,
    trim_to_turn_close,
)

__all__ = [
    "MODEL_RENDERER_MAP",
    "MULTIMODAL_MODELS",
    "RENDERER_REGISTRY",
    "TOKENIZER_SOURCE_OVERRIDES",
    "TRUSTED_REVISIONS",
    "AttributedTextSegments",
    "ChatTemplateTokenizer",
    "Content",
    "ContentPart",
    "ImagePart",
    "Message",
    "MultiModalData",
    "MultimodalRenderer",
    "OffsetTokenizer",
    "ParsedResponse",
    "ParsedToolCall",
    "PlaceholderRange",
    "RenderedConversation",
    "RenderedTokens",
    "RenderedTrainingSample",
    "Renderer",
    "TextPart",
    "ThinkingPart",
    "Tokenizer",
    "ToolCall",
    "ToolCallFunction",
    "ToolCallParseStatus",
    "ToolSpec",
    "VideoPart",
    "attribute_text_segments",
    "build_training_sample",
    "build_trajectory_step",
    "create_renderer",
    "extract_message_tool_names",
    "introduces_user_query",
    "is_multimodal",
    "load_tokenizer",
    "merge_chat_template_kwargs",
    "reject_assistant_in_extension",
    "resolve_thinking_retention",
    "should_rerender_for_thinking_retention",
    "template_field_names",
    "trim_to_turn_close",
]


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as the ids that the model saw and sampled.

    >>> RenderedConversation([1, 2]).with_completion([3]).token_ids
    [1, 2, 3]
    """

    prompt_ids: list[int]
    completion_ids: list[int] = field(default_factory=list)
    completion_logprobs: list[float] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    parsed_completion: ParsedResponse | None = None

    @property
    def token_ids(self) -> list[int]:
        """Return prompt and completion."""
        return [*self.prompt_ids, *self.completion_ids]

    def with_completion(
        self,
        completion_ids: Sequence[int],
        *,
        completion_logprobs: Sequence[float] | None = None,
        parsed_completion: ParsedResponse | None = None,
    ) -> RenderedConversation:
        """Return the same conversation with another completion."""
        return replace(
            self,
            completion_ids=list(completion_ids),
            completion_logprobs=list(completion_logprobs or ()),
            parsed_completion=parsed_completion,
        )


def _populate_registry() -> None:
    """Keep `RENDERER_REGISTRY` as it is: every class is in it from the start."""


def is_multimodal(renderer: object) -> bool:
    """Return whether a renderer makes tensors of images: none of isc's does, a processor of the caller's has to."""
    return hasattr(renderer, "mm_token_type_id_map")


def merge_chat_template_kwargs(config: Any, chat_template_kwargs: Mapping[str, Any] | None) -> Any:  # noqa: ANN401
    """Run `isc.compat.configs.merge_chat_template_kwargs`."""
    from isc.compat import configs

    return configs.merge_chat_template_kwargs(config, chat_template_kwargs)


def template_field_names(config: Any) -> frozenset[str]:  # noqa: ANN401
    """Run `isc.compat.configs.template_field_names`."""
    from isc.compat import configs

    return configs.template_field_names(config)
