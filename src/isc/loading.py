"""From a model's name or directory to a `Renderer`: exact names and exact templates, never a guess, no remote code."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isc._later import Later
from isc._sources import (
    CONFIG,
    RANKS,
    TEMPLATE,
    TOKENIZER,
    Source,
    TemplateChoice,
    models_below,
    template_choice,
    templates_of,
)
from isc.conversation.bridge import WholeFormat
from isc.conversation.renderer import Renderer
from isc.encoding.base import Encoder
from isc.encoding.encoders import EngineName, VocabularyEncoder, as_encoder, from_file, from_known_rank_file
from isc.errors import EncoderError, LoadError, OptionError, TracedTemplateNotice, UnknownModelError
from isc.formats.base import Family
from isc.formats.catalogue import (
    chosen_family,
    family_of_template,
    family_serving,
    family_without_template,
    models,
    unknown_model,
)
from isc.formats.segments import IMAGE_TOKENS
from isc.types import BodySpecials, InvalidArguments, Json, SamplingCuts, ThinkingRetention

if TYPE_CHECKING:
    from isc.media import ImageProcessor, Resolver
    from isc.traced.template import TracedTemplate
else:
    ImageProcessor = Resolver = TracedTemplate = Later


def load(  # noqa: PLR0913 - every choice that a renderer has
    source: str | os.PathLike[str],
    family: Family | str | None = None,
    revision: str | None = None,
    *,
    template: str | None = None,
    thinking_retention: ThinkingRetention | None = None,
    body_specials: BodySpecials = "text",
    resolve_media: Resolver | None = None,
    local_files: str | os.PathLike[str] | None = None,
    engine: EngineName | None = None,
    sampling_cuts: SamplingCuts = "all",
    invalid_arguments: InvalidArguments = "raise",
    parts: bool = False,
    tool_calls: str | None = None,
    **options: Any,  # noqa: ANN401 - whatever the format's template takes
) -> Renderer:
    """Load a renderer for a model on the hub or in a local directory. Never runs remote code.

    Args:
        source: Hub id (`Qwen/Qwen3-8B`) or directory, with `tokenizer.json` or a `tiktoken.model` that isc knows.
        family: The chat format, a value or the name of one (`"qwen3"`); None finds it by exact model name, or by the
            exact text of the model's chat template, and takes any other template as it is, traced, which is said by a
            `TracedTemplateNotice`.
        revision: Branch, tag or commit on the hub.
        template: Which of the model's own chat templates is used, by its name, such as `"rag"`. None does as
            transformers: `tool_use` where tools are given and `default` elsewhere, or the only one.
        thinking_retention: See `Renderer`.
        body_specials: See `Renderer`.
        resolve_media: For models that take images: from a reference in an image part, such as a URL, to bytes, a path
            or a PIL image. Without it a text is a data URL or a file in `local_files`: isc fetches no media by itself.
        local_files: For models that take images: a directory whose files conversations may name. Without it no text in
            a conversation opens a file.
        sampling_cuts: See `Renderer`.
        invalid_arguments: See `Renderer`.
        parts: See `Renderer`.
        engine: What encodes text, where the model has a `tokenizer.json`: None takes fastokens if it is known to agree
            with `tokenizers`. `"tokenizers"` is ready in about a third of the time and encodes much more slowly: right
            for a conversation or two. `"later"` builds an engine when something is encoded: right for a process that
            hands the renderer to others.
        tool_calls: For a model without a family, the grammar its calls are read in: `json`, `named_json`, `tagged`,
            `gemma`, `pythonic` or `harmony`; None takes the one that reads back what the template renders.
        **options: Options of the format, such as `enable_thinking=False`: of its family, or of its own template.

    Raises:
        OptionError: The format has no such option, or it cannot have this value; a policy does not exist; the model has
            no chat template of this name, or several and no default.
        UnknownModelError: No family was given, none is known, and the model has no chat template.
        LoadError: A file is missing, gated or cannot be fetched; names the file and the place.
        EncoderError: The tokenizer is corrupt or cannot be accounted for.
    """
    model = Source(os.fspath(source), revision)
    named = chosen_family(family)
    _check_one_given(named, template)
    known = named if named is not None else known_family(model, template)
    encoder = load_encoder(model.name, revision, engine)
    own = known or traced(model, encoder, tool_calls=tool_calls, template=template)
    chosen = fitted(own.with_options(options), encoder)
    images = _image_processor(model, chosen, resolve_media, local_files)
    policies = (thinking_retention, body_specials, images, sampling_cuts, invalid_arguments, parts)
    return Renderer(chosen, encoder, *policies)


def fitted(family: Family, encoder: Encoder) -> Family:
    """Adapt a family to a vocabulary (see `Family.for_vocabulary`)."""
    return family.for_vocabulary(encoder.specials)


def _image_processor(
    model: Source, family: Family, resolve_media: Resolver | None, local_files: str | os.PathLike[str] | None
) -> ImageProcessor | None:
    """Return the image processor of a model; None for a format without images, or where the processor is unknown."""
    if IMAGE_TOKENS.isdisjoint(family.specials):
        return None
    from isc.media import image_processor

    try:
        config = model.processor_settings()
    except LoadError:
        if model.is_directory:
            raise
        config = {}  # not in the cache and no hub: texts need no image processor, and an image says that it is missing
    return image_processor(config, family, resolve_media, local_files)


def _check_one_given(family: object, template: str | None) -> None:
    """Refuse a family and the name of a template at once: each says what the format is."""
    if family is not None and template is not None:
        raise OptionError(f"family and template={template!r} both choose the chat format: give one of them")


def traced(
    model: Source,
    encoder: VocabularyEncoder,
    options: Mapping[str, Json] | None = None,
    now: str = "2025-01-15",
    *,
    tool_calls: str | None = None,
    template: str | None = None,
) -> WholeFormat:
    """Make a family of a model's own chat templates, with the specials and stops that the model's files declare.

    Args:
        model: Where the files lie.
        encoder: The model's vocabulary.
        options: The template's keyword arguments.
        now: The moment that its clock tells.
        tool_calls: See `load`.
        template: Which of several templates, see `load`.

    Raises:
        UnknownModelError: The model has no chat template.
        OptionError: It has no chat template of this name, or several and no default.
        TemplateError: The template cannot be compiled.
    """
    from isc.traced.named import one_format
    from isc.traced.template import TracedTemplate

    chosen = _choice(model, template)
    build = partial(
        TracedTemplate,
        bos_token=model.special("bos_token"),
        eos_token=model.special("eos_token"),
        now=now,
        specials=tuple(encoder.specials),
        stop_tokens=declared_stops(model, encoder) if model.stop_ids() else (),
        tool_calls=tool_calls,
        template_kwargs=options,
    )
    return one_format(chosen.without_tools, chosen.with_tools, build)


def _choice(model: Source, template: str | None) -> TemplateChoice:
    """Choose among a model's chat templates; an error where it has none."""
    chosen = model.template_choice(template)
    if chosen is None:
        raise _without_template(model)
    return chosen


def _without_template(model: Source) -> UnknownModelError:
    """Make the error for a model without a chat template: where its format may be, and which family serves it."""
    code = model.format_code()
    shipped = f": it ships its chat format as Python ({code[0]}), which isc never runs" if code else ""
    served = family_serving(*_called(model))
    call = f"isc.load({model.name!r}, family="
    if served is not None:
        return UnknownModelError(f"{model.name} has no chat template{shipped}\nits family is here: {call}{served!r})")
    below = models_below(Path(model.name).expanduser()) if model.is_directory else ""
    return UnknownModelError(
        f"no family is known for {model.name!r}, which has no chat template{shipped}{below}\n"
        f"looked for its name, and for a template in {TEMPLATE} and {CONFIG}\n"
        f"pass its family by name: {call}...); `isc families` lists the families and their models"
    )


def _called(model: Source) -> tuple[list[str], list[str]]:
    """Return what a model may be called, and what kinds of model its configuration says it is."""
    config = model.settings("config.json")
    kinds = [config.get("model_type"), *(config.get("architectures") or ())]
    names = [Path(model.name).name, str(config.get("_name_or_path") or "")]
    return names, [kind for kind in kinds if isinstance(kind, str)]


def load_encoder(source: str, revision: str | None = None, engine: EngineName | None = None) -> VocabularyEncoder:
    """Load the encoder of a model on the hub or in a directory.

    An encoder from the hub pickles as this call, one from a directory as the path of its file.
    """
    model = Source(source, revision)
    path = model.vocabulary()
    if path.name == RANKS:
        return _by_ranks(model, path)
    if model.is_directory:
        return from_file(path, engine)
    try:
        rebuilt_by = None if engine == "later" else engine
        return from_file(path, engine).with_rebuild(load_encoder, source, revision, rebuilt_by)
    except EncoderError as error:
        raise EncoderError(f"{TOKENIZER} of {source}: {error}") from error


def vocabulary_digest(source: str) -> str:
    """Return a digest of a model's vocabulary files. The directory has no part in it: equal digests mean equal ids."""
    model = Source(source)
    path = model.vocabulary()
    digest = sha256(path.read_bytes())
    if path.name == RANKS:
        digest.update(model.text(CONFIG).encode())
    return digest.hexdigest()


def template_digest(source: str) -> str:
    """Return the SHA-256 of a model's default chat template; "" where it has none."""
    template = Source(source).chat_template()
    return "" if template is None else sha256(template.encode()).hexdigest()


def _by_ranks(model: Source, path: Path) -> VocabularyEncoder:
    """Load the encoder of a model that has a rank file."""
    configuration = model.text(CONFIG)
    try:
        encoder = from_known_rank_file(path, configuration)
    except (LoadError, EncoderError) as error:
        raise type(error)(f"{RANKS} of {model.name}: {error}") from error
    place = str(Path(model.name).expanduser().resolve()) if model.is_directory else model.name
    return encoder.with_rebuild(load_encoder, place, model.revision)


def declared_stops(model: Source, encoder: VocabularyEncoder) -> tuple[str, ...]:
    """Return the specials that stop sampling: the end token, and those of the model's generation configuration."""
    spellings = {token_id: text for text, token_id in encoder.specials.items()}
    configured = (spellings[token_id] for token_id in model.stop_ids() if token_id in spellings)
    return tuple(dict.fromkeys(filter(None, (model.special("eos_token"), *configured))))


def create_renderer(
    tokenizer: object,
    family: Family | str | None = None,
    *,
    template: str | None = None,
    thinking_retention: ThinkingRetention | None = None,
    body_specials: BodySpecials = "text",
    images: ImageProcessor | None = None,
    sampling_cuts: SamplingCuts = "all",
    invalid_arguments: InvalidArguments = "raise",
    parts: bool = False,
    **options: Any,  # noqa: ANN401 - whatever the format's template takes
) -> Renderer:
    """Make a renderer on a tokenizer that the caller holds.

    Args:
        tokenizer: A transformers fast tokenizer, `tokenizers.Tokenizer`, `tiktoken.Encoding` or an `Encoder`.
        family: The chat format, a value or the name of one (`"qwen3"`); None finds it from a transformers tokenizer's
            name or chat template, and takes any other template as it is, traced, which is said by a
            `TracedTemplateNotice`.
        template: Which of the tokenizer's chat templates is used, see `load`.
        thinking_retention: See `Renderer`.
        body_specials: See `Renderer`.
        images: See `Renderer`.
        sampling_cuts: See `Renderer`.
        invalid_arguments: See `Renderer`.
        parts: See `Renderer`.
        **options: See `load`.

    Raises:
        OptionError: The format has no such option, or it cannot have this value; a policy does not exist; the tokenizer
            has no chat template of this name, or several and no default.
        UnknownModelError: No family was given and the tokenizer does not tell.
        EncoderError: Not a tokenizer isc knows, or one it cannot account for.
    """
    encoder = as_encoder(tokenizer)
    named = chosen_family(family)
    _check_one_given(named, template)
    own = named or _family_of_tokenizer(tokenizer, encoder, template)
    chosen = fitted(own.with_options(options), encoder)
    if images is None and chosen.placeholders_per_image is not None:
        from isc.media import image_processor

        images = image_processor({}, chosen)
    policies = (thinking_retention, body_specials, images, sampling_cuts, invalid_arguments, parts)
    return Renderer(chosen, encoder, *policies)


def family_of_tokenizer(tokenizer: object, template: str | None = None) -> Family | None:
    """Return the family of a transformers tokenizer's model name or chat template; None where neither is known."""
    by_name = models().get(str(getattr(tokenizer, "name_or_path", None)))
    if by_name is not None and template is None:
        return by_name
    chosen = tokenizer_templates(tokenizer, template)
    return None if chosen is None else _family_of_choice(chosen)


def tokenizer_templates(tokenizer: object, template: str | None = None) -> TemplateChoice | None:
    """Choose among the chat templates that a transformers tokenizer holds; None where it has none."""
    name = str(getattr(tokenizer, "name_or_path", None) or "this tokenizer")
    return template_choice(templates_of(getattr(tokenizer, "chat_template", None)), template, name)


def _family_of_choice(chosen: TemplateChoice) -> Family | None:
    """Return the family that renders chats without tools as one template and those with tools as the other."""
    family = family_of_template(chosen.without_tools)
    return family if family_of_template(chosen.with_tools) == family else None


def _family_of_tokenizer(tokenizer: object, encoder: Encoder, template: str | None) -> Family:
    """Return the known family of a transformers tokenizer, else its chat templates, traced."""
    family = family_of_tokenizer(tokenizer, template)
    if family is not None:
        return family
    name, chosen = getattr(tokenizer, "name_or_path", None), tokenizer_templates(tokenizer, template)
    if chosen is None:
        named = str(name) if name else f"a {type(tokenizer).__name__} without a model name"
        raise unknown_model(named, "isc.create_renderer(tokenizer")
    from isc.traced.named import one_format
    from isc.traced.template import TracedTemplate

    _notice(str(name or "this tokenizer"))
    bos_token, eos_token = (getattr(tokenizer, key, None) for key in ("bos_token", "eos_token"))
    build = partial(TracedTemplate, bos_token=bos_token, eos_token=eos_token, specials=tuple(encoder.specials))
    return one_format(chosen.without_tools, chosen.with_tools, build)


def _notice(name: str) -> None:
    """Warn that a model's own template is used."""
    notice = f"{name} is of no known family: its own chat template is used, traced (isc check judges it)"
    warnings.warn(notice, TracedTemplateNotice, stacklevel=4)


def known_family(model: Source, template: str | None = None) -> Family | None:
    """Return the family of a model's exact name or exact template; None where the template has to be traced.

    A model without a template is known by its name or kind, if its family ships none.
    """
    by_name = models().get(model.name)
    if by_name is not None and template is None:
        return by_name
    if template is None and model.template_choice(template) is None:
        shipped_as_code = family_without_template(*_called(model))
        if shipped_as_code is not None:
            return shipped_as_code
    by_template = _family_of_choice(_choice(model, template))
    if by_template is None:
        _notice(model.name)
    return by_template
