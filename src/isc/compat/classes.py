"""The renderer classes of `renderers` by name, and `create_renderer`, which looks a class up by its configuration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

from isc import loading
from isc.compat.custom import custom_renderer_config, load_custom_renderer
from isc.compat.formats import config_name_of
from isc.compat.models import MODEL_RENDERER_MAP
from isc.compat.parsers import ThinkTextReasoningParser, get_reasoning_parser, get_tool_parser
from isc.compat.renderer import FamilyRenderer
from isc.errors import OptionError, TracedTemplateNotice


class DefaultRenderer(FamilyRenderer):
    """The model's own chat template, traced."""

    config_name = "default"


class Qwen3Renderer(FamilyRenderer):
    config_name = "qwen3"


class PrimeQwen3Renderer(FamilyRenderer):
    config_name = "prime-qwen3"


class Qwen3VLRenderer(FamilyRenderer):
    config_name = "qwen3-vl"


class Qwen35Renderer(FamilyRenderer):
    config_name = "qwen3.5"


class Qwen36Renderer(Qwen35Renderer):
    config_name = "qwen3.6"


class Qwen38Renderer(Qwen36Renderer):
    config_name = "qwen3.8"


class Gemma4Renderer(FamilyRenderer):
    config_name = "gemma4"


class GLM45Renderer(FamilyRenderer):
    config_name = "glm-4.5"


class GLM5Renderer(FamilyRenderer):
    config_name = "glm-5"


class GLM51Renderer(GLM5Renderer):
    config_name = "glm-5.1"


class GLM53Renderer(GLM5Renderer):
    config_name = "glm-5.3"


class MiniMaxM2Renderer(FamilyRenderer):
    config_name = "minimax-m2"


class DeepSeekV3Renderer(FamilyRenderer):
    config_name = "deepseek-v3"


class DeepSeekR1Renderer(DeepSeekV3Renderer):
    config_name = "deepseek-r1"


class DeepSeekV4Renderer(FamilyRenderer):
    config_name = "deepseek-v4"


class Hy3Renderer(FamilyRenderer):
    config_name = "hy3"


class InklingRenderer(FamilyRenderer):
    config_name = "inkling"


class KimiK2Renderer(FamilyRenderer):
    config_name = "kimi-k2"


class KimiK25Renderer(FamilyRenderer):
    config_name = "kimi-k2.5"


class LagunaXS2Renderer(FamilyRenderer):
    config_name = "laguna-xs.2"

    @property
    def _assistant_end(self) -> int:
        return self.renderer.encoder.specials["</assistant>"]


class LagunaM1Renderer(LagunaXS2Renderer):
    config_name = "laguna-m.1"


class LagunaXS21Renderer(LagunaXS2Renderer):
    config_name = "laguna-xs-2.1"


class LagunaS21Renderer(LagunaXS21Renderer):
    config_name = "laguna-s-2.1"


class Llama3Renderer(FamilyRenderer):
    config_name = "llama-3"

    @property
    def _eot(self) -> int:
        return self.renderer.encoder.specials["<|eot_id|>"]


class Nemotron3Renderer(FamilyRenderer):
    config_name = "nemotron-3"


class Nemotron3UltraRenderer(Nemotron3Renderer):
    config_name = "nemotron-3-ultra"


class Nemotron35Renderer(Nemotron3Renderer):
    config_name = "nemotron-3.5"


class GptOssRenderer(FamilyRenderer):
    config_name = "gpt-oss"

    @property
    def _end(self) -> int:
        return self.renderer.encoder.specials["<|end|>"]


def is_super(tokenizer: object) -> bool:
    """Return whether a tokenizer is that of a Nemotron 3 Super, by its name."""
    return "Nemotron-3-Super" in str(getattr(tokenizer, "name_or_path", ""))


MODULES: Final[Mapping[str, tuple[type[FamilyRenderer], ...]]] = {
    "default": (DefaultRenderer,),
    "qwen3": (Qwen3Renderer,),
    "prime_qwen3": (PrimeQwen3Renderer,),
    "qwen3_vl": (Qwen3VLRenderer,),
    "gemma4": (Gemma4Renderer,),
    "qwen35": (Qwen35Renderer,),
    "qwen36": (Qwen36Renderer,),
    "qwen38": (Qwen38Renderer,),
    "glm5": (GLM5Renderer, GLM51Renderer, GLM53Renderer),
    "glm45": (GLM45Renderer,),
    "minimax_m2": (MiniMaxM2Renderer,),
    "deepseek_v3": (DeepSeekV3Renderer,),
    "deepseek_r1": (DeepSeekR1Renderer,),
    "deepseek_v4": (DeepSeekV4Renderer,),
    "hy3": (Hy3Renderer,),
    "inkling": (InklingRenderer,),
    "kimi_k2": (KimiK2Renderer,),
    "kimi_k25": (KimiK25Renderer,),
    "laguna_xs2": (LagunaXS2Renderer, LagunaM1Renderer, LagunaXS21Renderer),
    "laguna_s21": (LagunaS21Renderer,),
    "llama_3": (Llama3Renderer,),
    "nemotron3": (Nemotron3Renderer, Nemotron3UltraRenderer, Nemotron35Renderer),
    "gpt_oss": (GptOssRenderer,),
}
"""The modules of `renderers` that hold these classes."""
CLASSES: Final[Mapping[str, type[FamilyRenderer]]] = {
    kind.__name__: kind for kinds in MODULES.values() for kind in kinds
}
ALSO: Final[Mapping[str, Mapping[str, object]]] = {
    "default": {
        "ThinkTextReasoningParser": ThinkTextReasoningParser,
        "get_reasoning_parser": get_reasoning_parser,
        "get_tool_parser": get_tool_parser,
    },
    "nemotron3": {"_is_super": is_super},
}
"""What else these modules hold that is imported from them."""
RENDERER_REGISTRY: dict[str, Any] = {kind.config_name: kind for kind in CLASSES.values()}
"""The class of each configuration's name; callers may put classes of their own here."""


def create_renderer(
    tokenizer: object,
    config: Any = None,  # noqa: ANN401 - one of many models
    *,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Any:  # noqa: ANN401 - a class of the caller's, where there is one
    """Make a renderer on a tokenizer.

    Args:
        tokenizer: What `load_tokenizer` returns, a transformers fast tokenizer, or what `isc.create_renderer` takes.
        config: A configuration; None and `auto` find the format by the tokenizer's model name or chat template.
        chat_template_kwargs: The template's keyword arguments, over those of the configuration.

    Returns:
        The renderer, whose `config` is the configuration as it was found, with these arguments.

    Raises:
        OptionError: An option that the format does not have, or with a value it does not take.
        UnknownModelError: There is neither a family nor a chat template.
        EncoderError: A tokenizer that isc does not know or cannot account for.
    """
    from isc.compat.configs import AutoRendererConfig, CustomRendererConfig, merge_chat_template_kwargs

    asked = _found(tokenizer, config) if config is None or isinstance(config, AutoRendererConfig) else config
    if chat_template_kwargs and asked.name == "default" and (config is None or config.name == "auto"):
        raise OptionError(
            f"chat_template_kwargs: no format is known for {getattr(tokenizer, 'name_or_path', tokenizer)!r}, so "
            "nothing says which arguments it takes; pass a DefaultRendererConfig with them"
        )
    merged = merge_chat_template_kwargs(asked, chat_template_kwargs)
    if isinstance(merged, CustomRendererConfig):
        return load_custom_renderer(merged.import_path)(tokenizer, custom_renderer_config(merged))
    return RENDERER_REGISTRY[merged.name](tokenizer, merged)


def _found(tokenizer: object, config: Any) -> Any:  # noqa: ANN401
    """Return the configuration of a tokenizer's model, with the retention that was asked for."""
    from isc.compat.configs import config_class_for

    name = MODEL_RENDERER_MAP.get(str(getattr(tokenizer, "name_or_path", "")))
    if name is None:
        family = loading.family_of_tokenizer(tokenizer)
        name = "default" if family is None else config_name_of(family)
    if name == "default":
        notice = "no format is known for {}: the model's own chat template is used, traced"
        warnings.warn(notice.format(getattr(tokenizer, "name_or_path", "it")), TracedTemplateNotice, stacklevel=4)
    retention = None if config is None else config.thinking_retention
    return config_class_for(name)(**({} if retention is None else {"thinking_retention": retention}))
