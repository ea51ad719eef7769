"""Chat messages in; exact token ids out, with the owner of every token and whether it is body or scaffold."""

from importlib import import_module
from typing import TYPE_CHECKING

from isc import convert, encoders, errors
from isc.bridge import Extension, Refusal
from isc.catalogue import families, family_for
from isc.errors import (
    AttributionError,
    ClientError,
    ConversationError,
    EncoderError,
    EncoderFallbackWarning,
    EngineAbortedError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    Error,
    FamilyError,
    LoadError,
    MalformedResponseError,
    MediaError,
    MissingSpecialError,
    NothingToTrainError,
    OptionError,
    OverlongPromptError,
    RolloutError,
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
    from isc import client, media, rollout, template
    from isc.families.deepseek_r1 import DeepSeekR1
    from isc.families.deepseek_v3 import DeepSeekV3
    from isc.families.deepseek_v3_1 import DeepSeekV31
    from isc.families.glm4_5 import Glm45
    from isc.families.glm5 import Glm5
    from isc.families.glm5_1 import Glm51
    from isc.families.gpt_oss import GptOss
    from isc.families.kimi_k2 import KimiK2
    from isc.families.kimi_k2_5 import KimiK25
    from isc.families.laguna_xs_2 import LagunaXS2
    from isc.families.llama_3 import Llama3
    from isc.families.minimax_m2 import MiniMaxM2
    from isc.families.nemotron_3 import Nemotron3
    from isc.families.qwen3 import Qwen3
    from isc.families.qwen3_5 import Qwen35
    from isc.families.qwen3_6 import Qwen36
    from isc.families.qwen3_vl import Qwen3VL

__version__ = "0.1.0"

__all__ = [
    "AssistantMessage",
    "AttributionError",
    "Chat",
    "ClientError",
    "ConversationError",
    "DeepSeekR1",
    "DeepSeekV3",
    "DeepSeekV31",
    "DeveloperMessage",
    "Encoder",
    "EncoderError",
    "EncoderFallbackWarning",
    "EngineAbortedError",
    "EngineRefusedError",
    "EngineTimeoutError",
    "EngineUnavailableError",
    "Error",
    "Extension",
    "Family",
    "FamilyError",
    "Glm5",
    "Glm45",
    "Glm51",
    "GptOss",
    "KimiK2",
    "KimiK25",
    "LagunaXS2",
    "Llama3",
    "LoadError",
    "MalformedResponseError",
    "MediaError",
    "MediaPart",
    "Message",
    "MiniMaxM2",
    "MissingSpecialError",
    "MultiModalData",
    "Nemotron3",
    "NothingToTrainError",
    "OptionError",
    "OverlongPromptError",
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
    "RolloutError",
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
    "media",
    "rollout",
    "template",
    "unfold",
]

_LATER = frozenset(("client", "media", "rollout", "template"))

if not TYPE_CHECKING:  # a type checker would take every misspelled name for an object

    def __getattr__(name: str) -> object:
        """Family classes and the modules that load more than most need, imported when one is first asked for."""
        if name in _LATER:
            return import_module(f"isc.{name}")
        for family in families().values():
            if family.__name__ == name:
                return family
        raise AttributeError(f"module 'isc' has no attribute {name!r}")
