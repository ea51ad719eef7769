"""From the words of a command line to a renderer, and what there is to choose from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from isc._options import described as in_words
from isc._options import takes
from isc.conversation.bridge import WholeFormat
from isc.conversation.renderer import Renderer
from isc.encoding.base import Encoder
from isc.encoding.encoders import EngineName, embedded
from isc.errors import OptionError, UnknownModelError
from isc.formats.base import Family
from isc.formats.catalogue import family_name, family_named, list_families, models
from isc.loading import create_renderer, load, load_encoder
from isc.media import image_processor

EMBEDDED = "embedded"
EMBEDDED_NOTICE = "ids are of isc's embedded vocabulary; pass --model NAME for a model's own"


def choose(
    family: str | None,
    model: str | None,
    options: Sequence[str] = (),
    images_from: Path | None = None,
    *,
    template: str | None = None,
    engine: EngineName | None = None,
) -> tuple[Renderer, str]:
    """Make the renderer that is asked for, and name its vocabulary.

    Args:
        family: A family's name, or the exact name of a model that it serves.
        model: Hub id or directory; None takes the embedded vocabulary.
        options: Template options, each `name=value`.
        images_from: Directory whose image files conversations may name; None for none.
        template: Which of the model's own chat templates; None as `isc.load` takes it.
        engine: What encodes, see `isc.load`.

    Returns:
        The renderer; and the model, or `EMBEDDED`.

    Raises:
        UnknownModelError: Neither is given.
        OptionError: A family or an option does not exist, or the directory does not, or nobody reads images.
        Error: The model cannot be loaded.
    """
    if model is not None:
        chosen = None if family is None else family_named(family)
        renderer = load(model, chosen, template=template, local_files=images_from, engine=engine)
        _check_images(renderer, images_from)
        return msgspec.structs.replace(renderer, family=with_options(renderer.family, options)), model
    if family is None:
        raise UnknownModelError(
            "which chat format? There is neither --family nor --model\n"
            f"pass --family with one of {len(list_families())} names, such as qwen3: `isc families` lists them\n"
            "or --model with a hub id or a directory: its own format is found, and its ids are the model's"
        )
    if template is not None:
        raise OptionError(f"--template {template}: there is no model whose template it could be: pass --model")
    value = with_options(family_named(family), options)
    images = None if images_from is None else image_processor({}, value, local_files=images_from)
    renderer = create_renderer(embedded(value.specials), value, images=images)
    _check_images(renderer, images_from)
    return renderer, EMBEDDED


def vocabulary(family: str | None, model: str | None) -> tuple[Encoder, str]:
    """Return the vocabulary that is asked for, without any chat format, and its name: the model's, or `EMBEDDED`.

    Raises:
        OptionError: Neither is given, or there is no such family.
        Error: The model's vocabulary cannot be loaded.
    """
    if model is not None:
        return load_encoder(model, engine="tokenizers"), model
    if family is None:
        raise OptionError("whose vocabulary? Pass --model with a hub id or directory, or --family for isc's own")
    return embedded(family_named(family).specials), EMBEDDED


def _check_images(renderer: Renderer, images_from: Path | None) -> None:
    """Refuse a directory of images for which there is no reader."""
    if images_from is not None and renderer.images is None:
        problem = "no images are read here: pass --model with a model that takes images"
        raise OptionError(f"--images-from {images_from}: {problem}")


def family_value(name: str | None) -> Family | None:
    """Return the family of a name, its own or that of a model it serves; None for None.

    Raises:
        OptionError: There is no such family.
    """
    return None if name is None else family_named(name)


def with_options(family: Family, options: Sequence[str]) -> Family:
    """Return the family with options changed, each given as `name=value`.

    Raises:
        OptionError: There is no such option, or it cannot have this value.

    >>> from isc import Qwen3
    >>> with_options(Qwen3(), ["enable_thinking=false"])
    Qwen3(enable_thinking=False, variant='hybrid')
    """
    values: dict[str, object] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise OptionError(f"--option {option}: give NAME=VALUE")
        name = name.strip().replace("-", "_")
        values[name] = _given(family, name, text.strip())
    try:
        return family.with_options(values)
    except OptionError as error:
        raise OptionError(f"--option {' '.join(options)}: {error}") from None


def _given(family: Family, name: str, text: str) -> object:
    """Read a word of the command line as the value of an option, by the option's type.

    Options of a template have no type.
    """
    if isinstance(family, WholeFormat):
        return _json_value(text)
    kinds = {field.name: field.type for field in msgspec.structs.fields(family)}
    if name not in kinds:
        return text
    value: object = text
    if takes(kinds[name], None) and text in ("", "null"):
        return None
    if takes(kinds[name], ()):
        value = _json_value(text) if text.startswith("[") else tuple(item.strip() for item in text.split(",") if item)
    try:
        converted: object = msgspec.convert(value, kinds[name], strict=False)
    except msgspec.ValidationError:  # the family says what it takes
        return value
    return converted


def _json_value(text: str) -> object:
    """Read a word as JSON, or else as text. The empty word is null, and Python's spellings of constants count."""
    constants = {"": None, "True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    return value


def dated(renderer: Renderer, day: str | None) -> tuple[Renderer, str]:
    """Return the renderer with the present day set, and that day; "" for a format whose text names no day.

    Args:
        renderer: Format and vocabulary.
        day: The day, YYYY-MM-DD; None is today by this machine's clock and zone.
    """
    present = day or datetime.now().astimezone().date().isoformat()
    family = renderer.family.dated(present)
    if family == renderer.family:
        return renderer, ""
    return msgspec.structs.replace(renderer, family=family), present


def identity(family: Family) -> str:
    """Return a text that tells this family and its options from any other. That of a template is a digest."""
    text = msgspec.json.encode(family)
    return sha256(text).hexdigest() if isinstance(family, WholeFormat) else text.decode()


def described(family: Family) -> str:
    """Return a family's name and the options that are not at their default.

    >>> from isc import Qwen3
    >>> described(Qwen3(enable_thinking=False))
    'qwen3 enable_thinking=false'
    """
    if isinstance(family, WholeFormat):
        return f"the model's own template {_assignments(family.template_arguments())}".rstrip()
    return f"{family_name(family)} {_assignments(_changed(family, _options(type(family))))}".rstrip()


def _assignments(options: Mapping[str, object]) -> str:
    return " ".join(f"{name}={_word(value)}" for name, value in options.items())


def _word(value: object) -> str:
    """Return a value as it is written on the command line."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class FamilyOption(Struct, frozen=True):
    """One option of a family: the values it can have, in words, and its default."""

    name: str
    values: str
    default: object

    @property
    def default_word(self) -> str:
        """Return the default as it is written on the command line."""
        return _word(self.default)


class FamilyEntry(Struct, frozen=True):
    """A family as it is listed; `models` has the options by which each model differs from the default."""

    name: str
    summary: str
    options: tuple[FamilyOption, ...]
    models: dict[str, dict[str, object]]

    def models_by_options(self) -> dict[str, list[str]]:
        """Group the models by the options they share."""
        groups: dict[str, list[str]] = {}
        for model, options in self.models.items():
            groups.setdefault(_assignments(options), []).append(model)
        return groups


def entries() -> list[FamilyEntry]:
    """Return every family, by name."""
    return [_entry(name, kind) for name, kind in sorted(list_families().items())]


def _entry(name: str, kind: type[Family]) -> FamilyEntry:
    options = _options(kind)
    served = {model: _changed(family, options) for model, family in models().items() if family_name(family) == name}
    return FamilyEntry(name, (inspect.getdoc(kind) or "").partition("\n")[0], options, served)


def _options(kind: type[Family]) -> tuple[FamilyOption, ...]:
    return tuple(
        FamilyOption(field.name, _values(field.type), _default(field)) for field in msgspec.structs.fields(kind)
    )


def _changed(family: Family, options: Sequence[FamilyOption]) -> dict[str, object]:
    values = {option.name: msgspec.to_builtins(getattr(family, option.name)) for option in options}
    return {option.name: values[option.name] for option in options if values[option.name] != option.default}


def _default(field: FieldInfo) -> object:
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return None if default is msgspec.NODEFAULT else msgspec.to_builtins(default)


_WORDS = {bool: "true | false", int: "an integer", float: "a number", str: "a text", NoneType: "null"}


def _values(kind: object) -> str:
    """Describe the values of a type in words."""
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(_values, get_args(kind)))
    return _WORDS[kind] if isinstance(kind, type) and kind in _WORDS else in_words(kind)
