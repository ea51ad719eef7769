"""From a model's name or directory to a `Renderer`: exact names and exact templates, never a guess, no remote code.

Families are discovered: every module under `isc.families` whose name has no leading underscore exports `FAMILY` (its
Struct), `MODELS` (exact model name -> family value) and `TEMPLATES` (sha256 of a chat template, 16 digits -> value).
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import pkgutil
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

from msgspec import Struct

from isc import families as families_package
from isc.encoders import VocabularyEncoder, as_encoder, from_file
from isc.errors import EncoderError, FamilyError, TracedTemplateNotice, UnknownModelError
from isc.render import Renderer
from isc.sources import TOKENIZER, Source
from isc.types import BodySpecials, Encoder, Family, Json, ThinkingRetention


@lru_cache(maxsize=1)
def families() -> Mapping[str, type[Family]]:
    """Every family by its name.

    Raises:
        FamilyError: A module under `isc.families` has no `FAMILY`, or one that is not a family; names the module.

    >>> "qwen3" in families()
    True
    """
    return {_name(module): module.FAMILY for module in _modules()}


@lru_cache(maxsize=1)
def models() -> Mapping[str, Family]:
    """Every known model's family value, by exact model name."""
    return {name: family for module in _modules() for name, family in module.MODELS.items()}


@lru_cache(maxsize=1)
def _templates() -> Mapping[str, Family]:
    return {digest: family for module in _modules() for digest, family in getattr(module, "TEMPLATES", {}).items()}


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(families_package.__path__):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"{families_package.__name__}.{found.name}")
            check_family_module(module)
            yield module


def check_family_module(module: ModuleType) -> None:
    """Raise a `FamilyError` that names the module if what it exports is not a family."""
    family = getattr(module, "FAMILY", None)
    if family is None:
        raise FamilyError(f"{module.__name__} has no FAMILY: set it to the module's family Struct")
    if not (isinstance(family, type) and issubclass(family, Struct)):
        raise FamilyError(f"{module.__name__}.FAMILY must be a msgspec Struct class, not {family!r}")
    configuration = family.__struct_config__
    if not configuration.frozen or configuration.tag is None:
        raise FamilyError(f"{module.__name__}.FAMILY must be a frozen Struct with a tag, its name")
    for name, value in {"FAMILY()": family(), **getattr(module, "MODELS", {})}.items():
        if not isinstance(value, Family):
            missing = sorted(part for part in _members() if not hasattr(value, part))
            raise FamilyError(f"{module.__name__}, {name}: not a family, it lacks {', '.join(missing)}")


def _members() -> list[str]:
    return [name for name in vars(Family) if not name.startswith("_")]


def _name(module: ModuleType) -> str:
    return str(module.FAMILY.__struct_config__.tag)


def family_name(family: Family) -> str:
    """The name of a family value.

    >>> family_name(family_for("Qwen/Qwen3-8B"))
    'qwen3'
    """
    configuration: Any = getattr(family, "__struct_config__", None)
    return str(configuration.tag) if configuration is not None else type(family).__name__


def family_for(model: str) -> Family:
    """The family value of an exact model name.

    Args:
        model: A hub id such as `Qwen/Qwen3-8B`.

    Raises:
        UnknownModelError: No family serves this name; says which are near and what is known.

    >>> family_for("Qwen/Qwen3-4B-Thinking-2507").variant
    'thinking_2507'
    """
    try:
        return models()[model]
    except KeyError:
        raise _unknown(model) from None


def _unknown(model: str, call: str = "") -> UnknownModelError:
    near = difflib.get_close_matches(model, models(), n=3, cutoff=0.75)
    known = "; ".join(
        f"{name}: {', '.join(m for m, family in models().items() if family_name(family) == name)}"
        for name in families()
    )
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    example = next(iter(families().values())).__name__
    return UnknownModelError(
        f"no family is known for {model!r}.{meant} If its format is one of these, pass it: "
        f"{call or f'isc.load({model!r}'}, family=isc.{example}()). Known models by family: {known}"
    )


def _by_template(template: str) -> Family | None:
    """The family of a template that is known byte for byte; a trailing newline does not change what it renders."""
    stripped = template.rstrip("\n")
    digests = (hashlib.sha256(text.encode()).hexdigest()[:16] for text in (template, stripped, stripped + "\n"))
    return next((_templates()[digest] for digest in digests if digest in _templates()), None)


def load(
    source: str | os.PathLike[str],
    family: Family | None = None,
    revision: str | None = None,
    *,
    thinking_retention: ThinkingRetention | None = None,
    body_specials: BodySpecials = "text",
) -> Renderer:
    """A renderer for a model on the hub or in a local directory. Reads `tokenizer.json`; never runs remote code.

    Args:
        source: Hub id (`Qwen/Qwen3-8B`) or directory.
        family: The chat format; None finds it by exact model name, or by the exact text of the model's chat template,
            and takes any other template as it is, traced, which is said by a `TracedTemplateNotice`.
        revision: Branch, tag or commit on the hub.
        thinking_retention: See `Renderer`.
        body_specials: See `Renderer`.

    Raises:
        UnknownModelError: No family was given, none is known, and the model has no chat template.
        LoadError: A file is missing, gated or cannot be fetched; names the file and the place.
        EncoderError: The tokenizer is corrupt or cannot be accounted for.
    """
    model = Source(os.fspath(source), revision)
    found = family if family is not None else known_family(model)
    encoder = load_encoder(model.name, revision)
    return Renderer(fitted(found or traced(model, encoder), encoder), encoder, thinking_retention, body_specials)


def fitted(family: Family, encoder: Encoder) -> Family:
    """The family as this vocabulary has it: a format may have markers that are tokens in one and text in another."""
    fit = getattr(family, "for_vocabulary", None)
    found: Family = family if fit is None else fit(encoder.specials)
    return found


def traced(model: Source, encoder: VocabularyEncoder, options: Mapping[str, Json] | None = None) -> Family:
    """A model's own chat template as a family, its specials and stops as its files give them.

    Args:
        model: Where the files lie.
        encoder: The model's vocabulary.
        options: The template's keyword arguments.

    Raises:
        UnknownModelError: The model has no chat template.
        TemplateError: The template cannot be compiled.
    """
    from isc.template import TracedTemplate

    template = model.chat_template()
    if template is None:
        raise _unknown(model.name)
    return TracedTemplate(
        template,
        bos_token=model.special("bos_token"),
        eos_token=model.special("eos_token"),
        specials=tuple(encoder.specials),
        stop_tokens=declared_stops(model, encoder) if model.stop_ids() else (),
        template_kwargs=options,
    )


def load_encoder(source: str, revision: str | None = None) -> VocabularyEncoder:
    """The encoder of a model on the hub or in a directory; pickles as this call, or by the file in the directory."""
    model = Source(source, revision)
    path = model.file(TOKENIZER)
    if model.is_directory:
        return from_file(path)
    try:
        return from_file(path).with_rebuild(load_encoder, source, revision)
    except EncoderError as error:
        raise EncoderError(f"{TOKENIZER} of {source}: {error}") from error


def declared_stops(model: Source, encoder: VocabularyEncoder) -> tuple[str, ...]:
    """The specials at which a model's own files say that sampling stops: end token and generation configuration."""
    spellings = {token_id: text for text, token_id in encoder.specials.items()}
    configured = (spellings[token_id] for token_id in model.stop_ids() if token_id in spellings)
    return tuple(dict.fromkeys(filter(None, (model.special("eos_token"), *configured))))


def create_renderer(
    tokenizer: object,
    family: Family | None = None,
    *,
    thinking_retention: ThinkingRetention | None = None,
    body_specials: BodySpecials = "text",
) -> Renderer:
    """A renderer on a tokenizer the caller holds.

    Args:
        tokenizer: A transformers fast tokenizer, `tokenizers.Tokenizer`, `tiktoken.Encoding` or an `Encoder`.
        family: The chat format; None finds it from a transformers tokenizer's name or chat template, and takes any
            other template as it is, traced, which is said by a `TracedTemplateNotice`.
        thinking_retention: See `Renderer`.
        body_specials: See `Renderer`.

    Raises:
        UnknownModelError: No family was given and the tokenizer does not tell.
        EncoderError: Not a tokenizer isc knows, or one it cannot account for.
    """
    encoder = as_encoder(tokenizer)
    if family is None:
        family = _family_of_tokenizer(tokenizer, encoder)
    return Renderer(fitted(family, encoder), encoder, thinking_retention, body_specials)


def _family_of_tokenizer(tokenizer: object, encoder: Encoder) -> Family:
    """The family that a transformers tokenizer's name or chat template tells."""
    name = getattr(tokenizer, "name_or_path", None)
    template = getattr(tokenizer, "chat_template", None)
    found = models().get(str(name)) or (_by_template(template) if isinstance(template, str) else None)
    if found is not None:
        return found
    if not isinstance(template, str):
        named = str(name) if name else f"a {type(tokenizer).__name__} without a model name"
        raise _unknown(named, "isc.create_renderer(tokenizer")
    from isc.template import TracedTemplate

    _notice(str(name or "this tokenizer"))
    bos_token, eos_token = (getattr(tokenizer, key, None) for key in ("bos_token", "eos_token"))
    return TracedTemplate(template, bos_token=bos_token, eos_token=eos_token, specials=tuple(encoder.specials))


def _notice(name: str) -> None:
    """Say that a model's own template is used."""
    notice = (
        f"no family is known for {name}: its own chat template is used, traced. `isc check` on the model's directory "
        "tells whether template and masks can be trusted; pass family=... if it is one of the known formats"
    )
    warnings.warn(notice, TracedTemplateNotice, stacklevel=4)


def known_family(model: Source) -> Family | None:
    """The family of a model's exact name or exact template; None where its template must speak for itself."""
    known = models().get(model.name)
    if known is not None:
        return known
    template = model.chat_template()
    if template is None:
        raise _unknown(model.name)
    found = _by_template(template)
    if found is None:
        _notice(model.name)
    return found
