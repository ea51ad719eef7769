"""What `renderers.base` is imported for, under the same names."""

from isc.compat.renderer import Renderer, create_renderer, load_tokenizer
from isc.compat.responses import ParsedResponse, ParsedToolCall, ToolCallParseStatus
from isc.compat.samples import RenderedTrainingSample, build_training_sample, build_trajectory_step
from isc.compat.tokens import MultiModalData, PlaceholderRange, RenderedTokens

__all__ = [
    "MultiModalData",
    "ParsedResponse",
    "ParsedToolCall",
    "PlaceholderRange",
    "RenderedTokens",
    "RenderedTrainingSample",
    "Renderer",
    "ToolCallParseStatus",
    "build_training_sample",
    "build_trajectory_step",
    "create_renderer",
    "is_multimodal",
    "load_tokenizer",
]


def is_multimodal(renderer: object) -> bool:
    """Whether a renderer makes tensors of images: none of isc's does, a processor of the caller's has to."""
    return hasattr(renderer, "mm_token_type_id_map")
