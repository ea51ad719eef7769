"""The configurations of `renderers`: a pydantic model a format, told apart by `name`. Needs pydantic.

Fields and defaults are those of `renderers` 0.1.12, but for `MiniMaxM2RendererConfig.model_identity`: the models' own
there. What becomes of a field is said in `formats`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from isc.errors import OptionError


class BaseRendererConfig(BaseModel):
    """What all formats have: `thinking_retention` says when a bridge may keep earlier reasoning."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    thinking_retention: Literal["tool_cycle", "all"] | None = None


class AutoRendererConfig(BaseRendererConfig):
    """The format of the tokenizer's model."""

    name: Literal["auto"] = "auto"


class DefaultRendererConfig(BaseRendererConfig):
    """The model's own chat template; further fields are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Literal["default"] = "default"
    tool_parser: str | None = None
    reasoning_parser: str | None = None


class CustomRendererConfig(BaseRendererConfig):
    """A renderer of the caller's own; validated here, and refused by `create_renderer`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Literal["custom"] = "custom"
    import_path: str


class _Vision(BaseRendererConfig):
    """Formats with images; isc keeps no processed image, so the size of that cache is without effect."""

    image_cache_max: int = 256


class Qwen3RendererConfig(BaseRendererConfig):
    name: Literal["qwen3"] = "qwen3"
    enable_thinking: bool = True


class PrimeQwen3RendererConfig(BaseRendererConfig):
    name: Literal["prime-qwen3"] = "prime-qwen3"


class Qwen35RendererConfig(_Vision):
    name: Literal["qwen3.5"] = "qwen3.5"
    enable_thinking: bool | None = None
    add_vision_id: bool = False


class Qwen36RendererConfig(_Vision):
    name: Literal["qwen3.6"] = "qwen3.6"
    enable_thinking: bool | None = None
    add_vision_id: bool = False
    preserve_thinking: bool = False


class Qwen38RendererConfig(_Vision):
    name: Literal["qwen3.8"] = "qwen3.8"
    enable_thinking: bool | None = None
    add_vision_id: bool = False
    preserve_thinking: bool = True
    reasoning_effort: Literal["xhigh", "medium", "low"] = "xhigh"


class Qwen3VLRendererConfig(_Vision):
    name: Literal["qwen3-vl"] = "qwen3-vl"
    add_vision_id: bool = False


class Gemma4RendererConfig(_Vision):
    name: Literal["gemma4"] = "gemma4"
    enable_thinking: bool = False
    preserve_thinking: bool = False


class GLM45RendererConfig(BaseRendererConfig):
    name: Literal["glm-4.5"] = "glm-4.5"
    enable_thinking: bool = True


class GLM5RendererConfig(BaseRendererConfig):
    name: Literal["glm-5"] = "glm-5"
    enable_thinking: bool = True
    clear_thinking: bool = True


class GLM51RendererConfig(BaseRendererConfig):
    name: Literal["glm-5.1"] = "glm-5.1"
    enable_thinking: bool = True
    clear_thinking: bool = True


class GLM53RendererConfig(BaseRendererConfig):
    name: Literal["glm-5.3"] = "glm-5.3"
    clear_thinking: bool = False
    reasoning_effort: Literal["low", "high", "max"] = "max"


class GptOssRendererConfig(BaseRendererConfig):
    name: Literal["gpt-oss"] = "gpt-oss"
    reasoning_effort: Literal["low", "medium", "high"] = "medium"
    conversation_start_date: str | None = None
    use_system_prompt: bool = True
    knowledge_cutoff: str | None = None
    model_identity: str | None = None
    auto_drop_analysis: bool = True


class Hy3RendererConfig(BaseRendererConfig):
    name: Literal["hy3"] = "hy3"
    reasoning_effort: Literal["no_think", "low", "high"] = "no_think"
    preserved_thinking: bool | None = None
    is_training: bool = False
    raw_last_assistant: bool = False
    fallback_strategy: Literal["reasoning_toolcall_retry"] | None = None


class InklingRendererConfig(_Vision):
    name: Literal["inkling"] = "inkling"
    reasoning_effort: str | float = 0.9
    audio_cache_max: int = 256


class KimiK2RendererConfig(BaseRendererConfig):
    name: Literal["kimi-k2"] = "kimi-k2"
    enable_thinking: bool = True


class KimiK25RendererConfig(_Vision):
    name: Literal["kimi-k2.5"] = "kimi-k2.5"
    thinking: bool = True


class LagunaXS2RendererConfig(BaseRendererConfig):
    name: Literal["laguna-xs.2"] = "laguna-xs.2"
    enable_thinking: bool = False
    render_assistant_messages_raw: bool = False


class LagunaM1RendererConfig(BaseRendererConfig):
    name: Literal["laguna-m.1"] = "laguna-m.1"
    enable_thinking: bool = False
    render_assistant_messages_raw: bool = False


class LagunaXS21RendererConfig(BaseRendererConfig):
    name: Literal["laguna-xs-2.1"] = "laguna-xs-2.1"
    enable_thinking: bool = False


class LagunaS21RendererConfig(BaseRendererConfig):
    name: Literal["laguna-s-2.1"] = "laguna-s-2.1"
    enable_thinking: bool = True
    preserve_thinking: bool = False


class Llama3RendererConfig(BaseRendererConfig):
    name: Literal["llama-3"] = "llama-3"
    date_string: str = "26 Jul 2024"
    tools_in_user_message: bool = True


class MiniMaxM2RendererConfig(BaseRendererConfig):
    name: Literal["minimax-m2"] = "minimax-m2"
    model_identity: str | None = None


class Nemotron3RendererConfig(BaseRendererConfig):
    name: Literal["nemotron-3"] = "nemotron-3"
    enable_thinking: bool = True
    truncate_history_thinking: bool = True
    low_effort: bool = False


class Nemotron3UltraRendererConfig(BaseRendererConfig):
    name: Literal["nemotron-3-ultra"] = "nemotron-3-ultra"
    enable_thinking: bool = True
    truncate_history_thinking: bool = True
    medium_effort: bool = False


class Nemotron35RendererConfig(BaseRendererConfig):
    name: Literal["nemotron-3.5"] = "nemotron-3.5"
    enable_thinking: bool = True
    truncate_history_thinking: bool = True


class DeepSeekV3RendererConfig(BaseRendererConfig):
    name: Literal["deepseek-v3"] = "deepseek-v3"


class DeepSeekR1RendererConfig(BaseRendererConfig):
    name: Literal["deepseek-r1"] = "deepseek-r1"


class DeepSeekV4RendererConfig(BaseRendererConfig):
    name: Literal["deepseek-v4"] = "deepseek-v4"
    enable_thinking: bool = False
    drop_thinking: bool = True
    reasoning_effort: Literal["low", "high", "max"] = "low"


_Named: TypeAlias = (
    AutoRendererConfig
    | DefaultRendererConfig
    | Qwen3RendererConfig
    | PrimeQwen3RendererConfig
    | Qwen35RendererConfig
    | Qwen36RendererConfig
    | Qwen38RendererConfig
    | Qwen3VLRendererConfig
    | Gemma4RendererConfig
    | GLM5RendererConfig
    | GLM51RendererConfig
    | GLM53RendererConfig
    | GLM45RendererConfig
    | GptOssRendererConfig
    | Hy3RendererConfig
    | InklingRendererConfig
    | KimiK2RendererConfig
    | KimiK25RendererConfig
    | LagunaXS2RendererConfig
    | LagunaM1RendererConfig
    | LagunaXS21RendererConfig
    | LagunaS21RendererConfig
    | Llama3RendererConfig
    | MiniMaxM2RendererConfig
    | Nemotron3RendererConfig
    | Nemotron3UltraRendererConfig
    | Nemotron35RendererConfig
    | DeepSeekV3RendererConfig
    | DeepSeekR1RendererConfig
    | DeepSeekV4RendererConfig
)
RendererConfig: TypeAlias = Annotated[_Named | CustomRendererConfig, Field(discriminator="name")]
"""Any configuration; in a pydantic model of the caller's it is chosen by `name`."""

CONFIGS: dict[str, type[BaseRendererConfig]] = {kind.model_fields["name"].default: kind for kind in get_args(_Named)}
"""The configurations by name, but for `custom`."""


def config_from_name(name: str) -> Any:  # noqa: ANN401 - one of many models
    """The configuration of this name with its defaults; None for `"auto"`.

    Raises:
        OptionError: There is none.

    >>> config_from_name("qwen3").enable_thinking
    True
    """
    if name not in CONFIGS:
        raise OptionError(f"no renderer configuration is called {name!r}; there are {', '.join(sorted(CONFIGS))}")
    return None if name == "auto" else CONFIGS[name]()
