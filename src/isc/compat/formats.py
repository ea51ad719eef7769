"""From a configuration to an isc family: the family of the same name, else the model's own template, traced."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, get_args

import msgspec
from msgspec import structs

from isc import loading
from isc.compat.harmony import HarmonyEncoded
from isc.compat.lenient import LeftOutWarning
from isc.compat.unthinking import keeping, keeps_blocks
from isc.conversation.bridge import WholeFormat
from isc.encoding.base import Encoder
from isc.errors import OptionError, TracedTemplateNotice, UnknownModelError
from isc.formats import catalogue
from isc.formats.base import Family
from isc.formats.gpt_oss import GptOss
from isc.traced.named import one_format
from isc.traced.template import TracedTemplate
from isc.types import ThinkingRetention

_NO_OPTIONS: Final = frozenset(("name", "thinking_retention", "image_cache_max", "audio_cache_max"))
"""Fields that say nothing of the format."""
OTHER_NAMES: Final[Mapping[str, tuple[str, str | None]]] = {
    "gemma4": ("gemma-4", None),
    "deepseek-v4": ("deepseek-v4", "flash-0731"),
    "laguna-xs-2.1": ("laguna-xs.2", "xs-2.1"),
    "laguna-s-2.1": ("laguna-xs.2", "s-2.1"),
    "laguna-m.1": ("laguna-xs.2", "m.1"),
    "nemotron-3-ultra": ("nemotron-3", "ultra"),
    "nemotron-3.5": ("nemotron-3", "3.5"),
}
"""Configurations whose format is a variant of a family, or with None a family of another name as the model has it."""
_WITHOUT_EFFECT: Final = (("kimi-k2", "enable_thinking"),)
"""Fields of formats whose template does not look at them, whatever their value."""
_NEUTRAL: Final = (("gemma4", "preserve_thinking", False),)
"""Fields that the family does not have, with the value that changes nothing."""
_OTHER_OPTIONS: Final[Mapping[tuple[str, str], str]] = {("deepseek-v4", "enable_thinking"): "thinking"}
"""Fields that the family has by another name."""
_THINKING: Final[Mapping[tuple[str, object], str]] = {
    ("qwen3", "instruct_2507"): "thinking_2507",
    ("qwen3-vl", "instruct"): "thinking",
}
"""Variants that do not think, with the one of the same format that does."""
_GRAMMARS: Final[Mapping[str, Mapping[str, str]]] = {
    "tool_parser": {"qwen3": "json"},
    "reasoning_parser": {"think": "think"},
}
"""The parsers of `renderers` that `TracedTemplate` has a grammar for, by its name there."""


def family_of(config: Any, tokenizer: object, encoder: Encoder, given: Mapping[str, Any]) -> Family:  # noqa: ANN401
    """Return the family that a configuration asks for on this tokenizer.

    Args:
        config: A configuration, or None for `auto`.
        tokenizer: Its model's name and chat template are looked at.
        encoder: Its vocabulary.
        given: The template's keyword arguments that a run sets besides.

    Raises:
        OptionError: An option that the format does not have, or with a value it does not take.
        UnknownModelError: There is neither a family nor a chat template.
    """
    name = "auto" if config is None else config.name
    options = {**({} if config is None else _options(config)), **given}
    if name == "default":
        chosen = {field: _grammar(field, options.pop(field, None)) for field in _GRAMMARS}
        return _template(tokenizer, encoder, options, chosen["reasoning_parser"], chosen["tool_parser"])
    found = loading.family_of_tokenizer(tokenizer)
    if name != "auto":
        found = _named(name, found)
    if isinstance(found, GptOss):
        found = HarmonyEncoded()
    return keeping(_with_options(found, options)) if found is not None else _traced(name, tokenizer, encoder, options)


def implied_retention(family: Family) -> ThinkingRetention | None:
    """Return when a bridge may keep earlier reasoning if no configuration says so. None: the family says.

    A user turn is bridged where nothing of the turns before it is taken off: they have empty think blocks, or all of
    their analysis.
    """
    kept = isinstance(family, HarmonyEncoded) and not family.auto_drop_analysis
    return "all" if kept or keeps_blocks(family) else None


def config_name_of(family: Family) -> str:
    """Return the name of the configuration that asks for a family; `default` where `renderers` has none for it.

    >>> from isc.formats.catalogue import family_for
    >>> config_name_of(family_for("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16"))
    'nemotron-3-ultra'
    >>> config_name_of(family_for("google/gemma-4-E2B-it"))
    'gemma4'
    """
    from isc.compat.configs import CONFIGS

    kind = (catalogue.family_name(family), getattr(family, "variant", None))
    named = next((name for name, other in OTHER_NAMES.items() if other in (kind, (kind[0], None))), kind[0])
    return named if named in CONFIGS else "default"


def resolved(config: Any, family: Family) -> Any:  # noqa: ANN401
    """Return the configuration with the family's value in every field that left it to the model."""
    left = (field for field, value in config if value is None and hasattr(family, field))
    values = {field: getattr(family, field) for field in left}
    return config.model_copy(update={field: value for field, value in values.items() if value is not None})


def reading(family: Family) -> Family:
    """Return the family by which turns are read: the sibling where only that thinks, so that thinking is no content.

    >>> from isc.formats.catalogue import family_for
    >>> reading(family_for("Qwen/Qwen3-VL-8B-Instruct")).variant
    'thinking'
    """
    thinking = _THINKING.get((catalogue.family_name(family), getattr(family, "variant", None)))
    return family if thinking is None else structs.replace(family, variant=thinking)


def _options(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the fields of a configuration that say something of the format. None leaves it to the template."""
    fields: dict[str, Any] = config.model_dump(exclude_none=True)
    return {
        field: value
        for field, value in fields.items()
        if field not in _NO_OPTIONS
        and (config.name, field) not in _WITHOUT_EFFECT
        and (config.name, field, value) not in _NEUTRAL
    }


def _grammar(field: str, name: str | None) -> str | None:
    if name is None or name in _GRAMMARS[field]:
        return None if name is None else _GRAMMARS[field][name]
    raise OptionError(
        f"{field}={name!r}: a traced template's turns are read by {', '.join(_GRAMMARS[field])}, or by what the "
        "template itself tells (None); where the format has a family, name it"
    )


def _named(name: str, of_model: Family | None) -> Family | None:
    """Return the family of a configuration's name, as the model has it. None: isc has no such family."""
    family_name, variant = OTHER_NAMES.get(name, (name, None))
    kind = catalogue.list_families().get(family_name)
    if kind is None:
        return None
    if variant is None and type(of_model) is kind:
        return of_model
    return msgspec.convert({"family": family_name, **({"variant": variant} if variant else {})}, kind)


def _with_options(family: Family, options: Mapping[str, Any]) -> Family:
    """Return the family with these options, checked as a decoder does."""
    name, kind = catalogue.family_name(family), type(family)
    options = {_OTHER_OPTIONS.get((name, option), option): value for option, value in options.items()}
    values: dict[str, Any] = structs.asdict(family)
    fields = [field for field in values if field != "variant"]
    unknown = [option for option in options if option not in fields]
    if unknown:
        raise OptionError(f"{name} has no option {unknown[0]!r}; it has {', '.join(fields) or 'none'}")
    made = _made(kind, {**values, **options})
    if isinstance(made, OptionError):
        fewer = _without_a_siblings(kind, values, options)
        if fewer is None:
            raise made
        warnings.warn(f"left out, as the model's template does: {made}", LeftOutWarning, stacklevel=6)
        return fewer
    return made


def _made(kind: type[Family], values: Mapping[str, Any]) -> Family | OptionError:
    """Return the family with these values, checked as a decoder does, or what is wrong with them."""
    name = kind.__struct_config__.tag
    try:
        return msgspec.convert({"family": name, **values}, kind)
    except msgspec.ValidationError as error:
        return OptionError(f"{name}: {error}")


def _without_a_siblings(kind: type[Family], values: Mapping[str, Any], options: Mapping[str, Any]) -> Family | None:
    """Return the family without the one option that only another variant has. None: something else is wrong."""
    variants = [get_args(field.type) for field in structs.fields(kind) if field.name == "variant"]
    siblings = ({**values, **options, "variant": variant} for known in variants for variant in known)
    if all(isinstance(_made(kind, sibling), OptionError) for sibling in siblings):
        return None
    for option in options:
        made = _made(kind, {**values, **{field: value for field, value in options.items() if field != option}})
        if not isinstance(made, OptionError):
            return made
    return None


def _traced(name: str, tokenizer: object, encoder: Encoder, options: Mapping[str, Any]) -> Family:
    """Return the model's own template for a format that has no family, and say so by a notice."""
    family = _template(tokenizer, encoder, options)
    found = family.report()
    read = f"calls are read as {found.tool_calls}" if found.tool_calls else "calls are left in the content"
    warnings.warn(
        f"isc has no family for renderer {name!r}: the model's own chat template is used, traced; {read}",
        TracedTemplateNotice,
        stacklevel=4,
    )
    return family


def _template(
    tokenizer: Any,  # noqa: ANN401 - an object of another library
    encoder: Encoder,
    options: Mapping[str, Any],
    reasoning: str | None = None,
    tool_calls: str | None = None,
) -> WholeFormat:
    """Return a tokenizer's own chat templates as a family."""
    chosen = loading.tokenizer_templates(tokenizer)
    if chosen is None:
        raise UnknownModelError(
            f"isc has no family for {getattr(tokenizer, 'name_or_path', tokenizer)!r} under this configuration, and "
            "the tokenizer has no chat template; the configurations with a family are "
            f"{', '.join([*catalogue.list_families(), *OTHER_NAMES])}"
        )
    build = partial(
        TracedTemplate,
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        specials=tuple(encoder.specials),
        reasoning=reasoning,
        tool_calls=tool_calls,
        template_kwargs=options,
    )
    return one_format(chosen.without_tools, chosen.with_tools, build)
