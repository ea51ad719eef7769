"""Chat messages in; exact token ids out, with the owner of every token and whether it is body or scaffold."""

from importlib import import_module
from typing import TYPE_CHECKING

from isc import convert, encoders, errors
from isc.bridge import Extension, Refusal
from isc.catalogue import families, family_for
from isc.errors import (
    AttributionError,
    ConversationError,
    EncoderError,
    EncoderFallbackWarning,
    Error,
    FamilyError,
    LoadError,
    MediaError,
    MissingSpecialError,
    NothingToTrainError,
    OptionError,
    SpecialInBodyError,
    TemplateError,
    TemplateLimitError,
    TracedTemplateNotice,
    TrajectoryError,
    UnknownModelError,
)
from isc.multimodal import MultiModalData, PlaceholderRange
from isc.protocols import Encoder, Family
from isc.registry import create_renderer, load
from isc.render import Renderer
from isc.rendered import RenderedTokens, Run
from isc.tokens import attribute_text_segments, fold, unfold
from isc.training import TrainingSample, TrajectoryStep, build_training_sample, build_trajectory_step
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    MediaPart,
    Message,
    ParsedResponse,
    ParsedToolCall,
    Segment,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

if TYPE_CHECKING:
    from isc import client, template
    from isc.families.glm4_5 import Glm45
    from isc.families.glm5 import Glm5
    from isc.families.glm5_1 import Glm51
    from isc.families.qwen3 import Qwen3
    from isc.families.qwen3_5 import Qwen35
    from isc.families.qwen3_6 import Qwen36
    from isc.families.qwen3_vl import Qwen3VL

__version__ = "0.1.0"

__all__ = [
    "AssistantMessage",
    "AttributionError",
    "Chat",
    "ConversationError",
    "DeveloperMessage",
    "Encoder",
    "EncoderError",
    "EncoderFallbackWarning",
    "Error",
    "Extension",
    "Family",
    "FamilyError",
    "Glm5",
    "Glm45",
    "Glm51",
    "LoadError",
    "MediaError",
    "MediaPart",
    "Message",
    "MissingSpecialError",
    "MultiModalData",
    "NothingToTrainError",
    "OptionError",
    "ParsedResponse",
    "ParsedToolCall",
    "PlaceholderRange",
    "Qwen3",
    "Qwen3VL",
    "Qwen35",
    "Qwen36",
    "Refusal",
    "RenderedTokens",
    "Renderer",
    "Run",
    "Segment",
    "SpecialInBodyError",
    "SystemMessage",
    "TemplateError",
    "TemplateLimitError",
    "TextPart",
    "ToolCall",
    "ToolMessage",
    "ToolSpec",
    "TracedTemplateNotice",
    "TrainingSample",
    "TrajectoryError",
    "TrajectoryStep",
    "UnknownModelError",
    "UserMessage",
    "attribute_text_segments",
    "build_training_sample",
    "build_trajectory_step",
    "client",
    "convert",
    "create_renderer",
    "encoders",
    "errors",
    "families",
    "family_for",
    "fold",
    "load",
    "template",
    "unfold",
]


if not TYPE_CHECKING:  # a type checker would take every misspelled name for an object

    def __getattr__(name: str) -> object:
        """Family classes, `isc.client` and `isc.template`, imported when one is first asked for."""
        if name in ("client", "template"):
            return import_module(f"isc.{name}")
        for family in families().values():
            if family.__name__ == name:
                return family
        raise AttributeError(f"module 'isc' has no attribute {name!r}")
