"""The configurations of `renderers`: a pydantic model a format, told apart by `name`. Needs pydantic.

Fields and defaults are those of `renderers` 0.1.12, but for `MiniMaxM2RendererConfig.model_identity`: the models' own
there. What becomes of a field is said in `formats`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from isc.compat.custom import custom_renderer_config
from isc.compat.turns import ResolvedThinkingRetention, ThinkingRetention
from isc.errors import OptionError

INKLING_EFFORT_MAP: Final = {"none": 0.0, "minimal": 0.1, "low": 0.2, "medium": 0.7, "high": 0.9, "max": 0.99}
"""Inkling's names for an effort, and the numbers that they stand for."""
_REMOVED: Final = frozenset(("preserve_all_thinking", "preserve_thinking_between_tool_calls"))
_OF_ALL: Final = frozenset(("name", "thinking_retention"))
KEEPS_THINKING: Final[Mapping[str, bool]] = {
    "preserve_thinking": True,
    "preserved_thinking": True,
    "clear_thinking": False,
    "truncate_history_thinking": False,
    "drop_thinking": False,
    "auto_drop_analysis": False,
}
"""Fields by which a template keeps or drops the reasoning of earlier turns, with the value that keeps it."""


class BaseRendererConfig(BaseModel):
    """What all formats have: `thinking_retention` says when a bridge may keep earlier reasoning.

    A subclass says of each of its fields whether it is of the template, in `_template_fields`, or of the renderer
    alone, in `_internal_fields`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _template_fields: ClassVar[frozenset[str]] = frozenset()
    _internal_fields: ClassVar[frozenset[str]] = frozenset()
    thinking_retention: ThinkingRetention | None = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - as pydantic has it
        """Refuse a configuration with a field of which it is not said what it is of."""
        super().__pydantic_init_subclass__(**kwargs)
        missing = cls.model_fields.keys() - _OF_ALL - cls._template_fields - cls._internal_fields
        if missing:
            raise TypeError(
                f"{cls.__name__}: name every field in _template_fields or _internal_fields; missing={sorted(missing)}"
            )

    @classmethod
    def template_field_names(cls) -> frozenset[str]:
        """Return the fields that are keyword arguments of the chat template."""
        return cls._template_fields

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse a retention that contradicts what another field, set as well, says of earlier reasoning."""
        for field in KEEPS_THINKING.keys() & self.model_fields_set:
            value = getattr(self, field)
            if value is not None and self.thinking_retention not in (None, implied_retention(field, value)):
                raise ValueError(
                    f"{field}={value} means thinking_retention={implied_retention(field, value)!r}, "
                    f"not {self.thinking_retention!r}: leave one of them out"
                )
        return self


def implied_retention(field: str, value: bool) -> ThinkingRetention:
    """Return the retention that a field of `KEEPS_THINKING` implies."""
    return "all" if value is KEEPS_THINKING[field] else "tool_cycle"


class AutoRendererConfig(BaseRendererConfig):
    """The format of the tokenizer's model."""

    name: Literal["auto"] = "auto"


class DefaultRendererConfig(BaseRendererConfig):
    """The model's own chat template; further fields are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    _internal_fields = frozenset(("reasoning_parser", "tool_parser"))
    name: Literal["default"] = "default"
    tool_parser: str | None = None
    reasoning_parser: str | None = None

    @model_validator(mode="after")
    def _refuse_old_names(self) -> Self:
        """Refuse fields of older versions, which would be arguments of the template here."""
        old = sorted(_REMOVED & (self.model_extra or {}).keys())
        if old:
            raise ValueError(f"{old[0]} is no field any more: say thinking_retention='all' or 'tool_cycle'")
        return self


class CustomRendererConfig(BaseRendererConfig):
    """A renderer of the caller's own, by its import path; further fields are those of its configuration."""

    model_config = ConfigDict(extra="allow", frozen=True)
    _internal_fields = frozenset(("import_path",))
    name: Literal["custom"] = "custom"
    import_path: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse what the renderer's own configuration refuses."""
        custom_renderer_config(self)
        return self


class _Vision(BaseRendererConfig):
    """Formats with images; isc keeps no processed image, so the size of that cache is without effect."""

    _internal_fields = frozenset(("image_cache_max",))
    image_cache_max: int = 256


class Qwen3RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking",))
    name: Literal["qwen3"] = "qwen3"
    enable_thinking: bool = True


class PrimeQwen3RendererConfig(BaseRendererConfig):
    name: Literal["prime-qwen3"] = "prime-qwen3"


class Qwen35RendererConfig(_Vision):
    _template_fields = frozenset(("add_vision_id", "enable_thinking"))
    name: Literal["qwen3.5"] = "qwen3.5"
    enable_thinking: bool | None = None
    add_vision_id: bool = False


class Qwen36RendererConfig(_Vision):
    _template_fields = frozenset(("add_vision_id", "enable_thinking", "preserve_thinking"))
    name: Literal["qwen3.6"] = "qwen3.6"
    enable_thinking: bool | None = None
    add_vision_id: bool = False
    preserve_thinking: bool = False


class Qwen38RendererConfig(_Vision):
    _template_fields = frozenset(("add_vision_id", "enable_thinking", "preserve_thinking", "reasoning_effort"))
    name: Literal["qwen3.8"] = "qwen3.8"
    enable_thinking: bool | None = None
    add_vision_id: bool = False
    preserve_thinking: bool = True
    reasoning_effort: Literal["xhigh", "medium", "low"] = "xhigh"


class Qwen3VLRendererConfig(_Vision):
    _template_fields = frozenset(("add_vision_id",))
    name: Literal["qwen3-vl"] = "qwen3-vl"
    add_vision_id: bool = False


class Gemma4RendererConfig(_Vision):
    _template_fields = frozenset(("enable_thinking", "preserve_thinking"))
    name: Literal["gemma4"] = "gemma4"
    enable_thinking: bool = False
    preserve_thinking: bool = False


class GLM45RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking",))
    name: Literal["glm-4.5"] = "glm-4.5"
    enable_thinking: bool = True


class GLM5RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("clear_thinking", "enable_thinking"))
    name: Literal["glm-5"] = "glm-5"
    enable_thinking: bool = True
    clear_thinking: bool = True


class GLM51RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("clear_thinking", "enable_thinking"))
    name: Literal["glm-5.1"] = "glm-5.1"
    enable_thinking: bool = True
    clear_thinking: bool = True


class GLM53RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("clear_thinking", "reasoning_effort"))
    name: Literal["glm-5.3"] = "glm-5.3"
    clear_thinking: bool = False
    reasoning_effort: Literal["low", "high", "max"] = "max"


class GptOssRendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("conversation_start_date", "reasoning_effort"))
    _internal_fields = frozenset(("auto_drop_analysis", "knowledge_cutoff", "model_identity", "use_system_prompt"))
    name: Literal["gpt-oss"] = "gpt-oss"
    reasoning_effort: Literal["low", "medium", "high"] = "medium"
    conversation_start_date: str | None = None
    use_system_prompt: bool = True
    knowledge_cutoff: str | None = None
    model_identity: str | None = None
    auto_drop_analysis: bool = True


class Hy3RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(
        ("fallback_strategy", "is_training", "preserved_thinking", "raw_last_assistant", "reasoning_effort")
    )
    name: Literal["hy3"] = "hy3"
    reasoning_effort: Literal["no_think", "low", "high"] = "no_think"
    preserved_thinking: bool | None = None
    is_training: bool = False
    raw_last_assistant: bool = False
    fallback_strategy: Literal["reasoning_toolcall_retry"] | None = None


class InklingRendererConfig(_Vision):
    _template_fields = frozenset(("reasoning_effort",))
    _internal_fields = frozenset(("audio_cache_max", "image_cache_max"))
    name: Literal["inkling"] = "inkling"
    reasoning_effort: str | float = 0.9
    audio_cache_max: int = 256

    @field_validator("reasoning_effort")
    @classmethod
    def _known_effort(cls, effort: str | float) -> str | float:
        """Refuse a name that stands for no number, and a number that is no share."""
        if effort not in INKLING_EFFORT_MAP if isinstance(effort, str) else not 0 <= effort <= 1:
            raise ValueError(f"{effort!r} is neither a number from 0 to 1 nor one of {', '.join(INKLING_EFFORT_MAP)}")
        return effort


class KimiK2RendererConfig(BaseRendererConfig):
    _internal_fields = frozenset(("enable_thinking",))
    name: Literal["kimi-k2"] = "kimi-k2"
    enable_thinking: bool = True


class KimiK25RendererConfig(_Vision):
    _template_fields = frozenset(("thinking",))
    name: Literal["kimi-k2.5"] = "kimi-k2.5"
    thinking: bool = True


class LagunaXS2RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking", "render_assistant_messages_raw"))
    name: Literal["laguna-xs.2"] = "laguna-xs.2"
    enable_thinking: bool = False
    render_assistant_messages_raw: bool = False


class LagunaM1RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking", "render_assistant_messages_raw"))
    name: Literal["laguna-m.1"] = "laguna-m.1"
    enable_thinking: bool = False
    render_assistant_messages_raw: bool = False


class LagunaXS21RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking",))
    name: Literal["laguna-xs-2.1"] = "laguna-xs-2.1"
    enable_thinking: bool = False


class LagunaS21RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking", "preserve_thinking"))
    name: Literal["laguna-s-2.1"] = "laguna-s-2.1"
    enable_thinking: bool = True
    preserve_thinking: bool = False


class Llama3RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("date_string", "tools_in_user_message"))
    name: Literal["llama-3"] = "llama-3"
    date_string: str = "26 Jul 2024"
    tools_in_user_message: bool = True


class MiniMaxM2RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("model_identity",))
    name: Literal["minimax-m2"] = "minimax-m2"
    model_identity: str | None = None


class Nemotron3RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking", "low_effort", "truncate_history_thinking"))
    name: Literal["nemotron-3"] = "nemotron-3"
    enable_thinking: bool = True
    truncate_history_thinking: bool = True
    low_effort: bool = False


class Nemotron3UltraRendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking", "medium_effort", "truncate_history_thinking"))
    name: Literal["nemotron-3-ultra"] = "nemotron-3-ultra"
    enable_thinking: bool = True
    truncate_history_thinking: bool = True
    medium_effort: bool = False


class Nemotron35RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("enable_thinking", "truncate_history_thinking"))
    name: Literal["nemotron-3.5"] = "nemotron-3.5"
    enable_thinking: bool = True
    truncate_history_thinking: bool = True


class DeepSeekV3RendererConfig(BaseRendererConfig):
    name: Literal["deepseek-v3"] = "deepseek-v3"


class DeepSeekR1RendererConfig(BaseRendererConfig):
    name: Literal["deepseek-r1"] = "deepseek-r1"


class DeepSeekV4RendererConfig(BaseRendererConfig):
    _template_fields = frozenset(("drop_thinking", "enable_thinking", "reasoning_effort"))
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


def config_class_for(name: str) -> type[BaseRendererConfig]:
    """Return the class of configurations of this name.

    Raises:
        OptionError: There is none.
    """
    if name not in CONFIGS:
        raise OptionError(f"no renderer configuration is called {name!r}; there are {', '.join(sorted(CONFIGS))}")
    return CONFIGS[name]


def config_from_name(name: str) -> Any:  # noqa: ANN401 - one of many models
    """Return the configuration of this name with its defaults; None for `"auto"`.

    Raises:
        OptionError: There is none.

    >>> config_from_name("qwen3").enable_thinking
    True
    """
    kind = config_class_for(name)
    return None if name == "auto" else kind()


def template_field_names(config: Any) -> frozenset[str]:  # noqa: ANN401
    """Return the chat template's keyword arguments that a configuration takes, a custom renderer's included.

    >>> sorted(template_field_names(config_from_name("glm-5")))
    ['clear_thinking', 'enable_thinking']
    """
    own = custom_renderer_config(config) if isinstance(config, CustomRendererConfig) else config
    names: frozenset[str] = own.template_field_names()
    return names


def merge_chat_template_kwargs(config: Any, chat_template_kwargs: Mapping[str, Any] | None) -> Any:  # noqa: ANN401
    """Return the configuration with a template's keyword arguments set; what was not set before stays unset.

    Args:
        config: Any configuration.
        chat_template_kwargs: Values by name. None as a value is what it is for the field: the template's own choice.

    Raises:
        OptionError: The format has no such argument.
        pydantic.ValidationError: A value is not one that the argument takes.

    >>> merge_chat_template_kwargs(config_from_name("qwen3"), {"enable_thinking": False}).enable_thinking
    False
    """
    if not chat_template_kwargs:
        return config
    allowed = template_field_names(config)
    if isinstance(config, DefaultRendererConfig):
        unknown = chat_template_kwargs.keys() & type(config).model_fields.keys()
    else:
        unknown = chat_template_kwargs.keys() - allowed
    if unknown:
        raise OptionError(
            f"chat_template_kwargs of {config.name!r}: it has no {sorted(unknown)}. Allowed: "
            f"{', '.join(sorted(allowed)) or 'none'}; what is not of the template is set in the configuration"
        )
    return type(config)(**{**config.model_dump(exclude_unset=True), **chat_template_kwargs})


_CONFIG_BY_NAME, _config_class_for = CONFIGS, config_class_for  # the names they have in `renderers`

__all__ = [  # noqa: PLE0604
    "CONFIGS",
    "INKLING_EFFORT_MAP",
    "AutoRendererConfig",
    "BaseRendererConfig",
    "CustomRendererConfig",
    "DefaultRendererConfig",
    "RendererConfig",
    "ResolvedThinkingRetention",
    "ThinkingRetention",
    "config_from_name",
    "merge_chat_template_kwargs",
    "template_field_names",
    *(kind.__name__ for kind in CONFIGS.values()),
]
