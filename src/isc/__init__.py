"""Chat messages in; exact token ids out, with the owner of every token and whether it is body or scaffold."""

from importlib import import_module
from typing import TYPE_CHECKING

from isc import _brief, convert, errors
from isc.conversation.bridge import Appended, Extension, Refusal
from isc.conversation.contexts import build_training_samples
from isc.conversation.lengths import Fitted, Lost, fit_training_samples
from isc.conversation.packing import pack_samples
from isc.conversation.renderer import Renderer
from isc.conversation.splits import split_of
from isc.conversation.training import TrainingSample, TrajectoryStep, build_training_sample, build_trajectory_step
from isc.encoding import encoders
from isc.encoding.base import Encoder
from isc.encoding.fold import attribute_text_segments, fold, unfold
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
    IgnoredToolsWarning,
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
    TooLongError,
    TracedTemplateNotice,
    TrajectoryError,
    UnknownModelError,
    UnpromptedTurnWarning,
    UnreadKeyWarning,
)
from isc.formats.base import Family
from isc.formats.catalogue import family_for, list_families
from isc.loading import create_renderer, load
from isc.rendered import MultiModalData, PlaceholderRange, RenderedTokens, Run
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    MediaPart,
    Message,
    ParsedResponse,
    ParsedToolCall,
    ReminderMessage,
    Segment,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

if TYPE_CHECKING:
    from isc import client, gateway, media, viewer
    from isc.build import stages
    from isc.conversation import reading, rollout
    from isc.formats.deepseek_r1 import DeepSeekR1
    from isc.formats.deepseek_v3 import DeepSeekV3
    from isc.formats.deepseek_v3_1 import DeepSeekV31
    from isc.formats.deepseek_v3_2 import DeepSeekV32
    from isc.formats.deepseek_v4 import DeepSeekV4
    from isc.formats.gemma3 import Gemma3
    from isc.formats.gemma4 import Gemma4
    from isc.formats.glm4_5 import Glm45
    from isc.formats.glm5 import Glm5
    from isc.formats.glm5_1 import Glm51
    from isc.formats.glm5_2 import Glm52
    from isc.formats.glm5_3 import Glm53
    from isc.formats.gpt_oss import GptOss
    from isc.formats.hy3 import Hy3
    from isc.formats.inkling import Inkling
    from isc.formats.kimi_k2 import KimiK2
    from isc.formats.kimi_k2_5 import KimiK25
    from isc.formats.kimi_k3 import KimiK3
    from isc.formats.laguna_xs_2 import LagunaXS2
    from isc.formats.llama_3 import Llama3
    from isc.formats.minimax_m2 import MiniMaxM2
    from isc.formats.minimax_m3 import MiniMaxM3
    from isc.formats.mistral import Mistral
    from isc.formats.nemotron_3 import Nemotron3
    from isc.formats.qwen2_5 import Qwen25
    from isc.formats.qwen3 import Qwen3
    from isc.formats.qwen3_5 import Qwen35
    from isc.formats.qwen3_6 import Qwen36
    from isc.formats.qwen3_8 import Qwen38
    from isc.formats.qwen3_coder import Qwen3Coder
    from isc.formats.qwen3_vl import Qwen3VL
    from isc.formats.seed_oss import SeedOss
    from isc.traced import template

__version__ = "0.1.0"

__all__ = [
    "Appended",
    "AssistantMessage",
    "AttributionError",
    "Chat",
    "ClientError",
    "ConversationError",
    "DeepSeekR1",
    "DeepSeekV3",
    "DeepSeekV4",
    "DeepSeekV31",
    "DeepSeekV32",
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
    "Fitted",
    "Gemma3",
    "Gemma4",
    "Glm5",
    "Glm45",
    "Glm51",
    "Glm52",
    "Glm53",
    "GptOss",
    "Hy3",
    "IgnoredToolsWarning",
    "Inkling",
    "KimiK2",
    "KimiK3",
    "KimiK25",
    "LagunaXS2",
    "Llama3",
    "LoadError",
    "Lost",
    "MalformedResponseError",
    "MediaError",
    "MediaPart",
    "Message",
    "MiniMaxM2",
    "MiniMaxM3",
    "MissingSpecialError",
    "Mistral",
    "MultiModalData",
    "Nemotron3",
    "NothingToTrainError",
    "OptionError",
    "OverlongPromptError",
    "ParsedResponse",
    "ParsedToolCall",
    "PlaceholderRange",
    "Qwen3",
    "Qwen3Coder",
    "Qwen3VL",
    "Qwen25",
    "Qwen35",
    "Qwen36",
    "Qwen38",
    "Refusal",
    "ReminderMessage",
    "RenderedTokens",
    "Renderer",
    "RolloutError",
    "Run",
    "SeedOss",
    "Segment",
    "SpecialInBodyError",
    "SystemMessage",
    "TemplateError",
    "TemplateLimitError",
    "TextPart",
    "TooLongError",
    "ToolCall",
    "ToolMessage",
    "ToolSpec",
    "TracedTemplateNotice",
    "TrainingSample",
    "TrajectoryError",
    "TrajectoryStep",
    "UnknownModelError",
    "UnpromptedTurnWarning",
    "UnreadKeyWarning",
    "UserMessage",
    "attribute_text_segments",
    "build_training_sample",
    "build_training_samples",
    "build_trajectory_step",
    "client",
    "convert",
    "create_renderer",
    "encoders",
    "errors",
    "family_for",
    "fit_training_samples",
    "fold",
    "gateway",
    "list_families",
    "load",
    "media",
    "pack_samples",
    "reading",
    "rollout",
    "split_of",
    "stages",
    "template",
    "unfold",
    "viewer",
]

_LATER = {
    "client": "isc.client",
    "gateway": "isc.gateway",
    "media": "isc.media",
    "reading": "isc.conversation.reading",
    "rollout": "isc.conversation.rollout",
    "stages": "isc.build.stages",
    "template": "isc.traced.template",
    "viewer": "isc.viewer",
}


def _shown_in_a_notebook(value: object) -> str:
    """Return a value as HTML. What makes it is imported when a notebook first asks."""
    from isc.viewer.notebook import html_of

    return html_of(value)


_brief.display_with(_shown_in_a_notebook)

if not TYPE_CHECKING:  # a type checker would take every misspelled name for an object

    def __getattr__(name: str) -> object:
        """Import a family's class, or a module that loads more than most need, when it is first asked for."""
        if name in _LATER:
            return import_module(_LATER[name])
        for family in list_families().values():
            if family.__name__ == name:
                return family
        raise AttributeError(f"module 'isc' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """List the public names, with those that are imported later."""
        return sorted({*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"})
