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
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Struct

from isc import families as families_package
from isc.encoders import VocabularyEncoder, as_encoder, from_file
from isc.errors import EncoderError, FamilyError, LoadError, MissingFileError, UnknownModelError
from isc.render import Renderer
from isc.types import BodySpecials, Family, ThinkingRetention

_TEMPLATE = "chat_template.jinja"
_CONFIG = "tokenizer_config.json"
_TOKENIZER = "tokenizer.json"


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
        family: The chat format; None finds it by exact model name, or by the exact text of the model's chat template.
        revision: Branch, tag or commit on the hub.
        thinking_retention: See `Renderer`.
        body_specials: See `Renderer`.

    Raises:
        UnknownModelError: No family was given and none is known.
        LoadError: A file is missing, gated or cannot be fetched; names the file and the place.
        EncoderError: The tokenizer is corrupt or cannot be accounted for.
    """
    name = os.fspath(source)
    found = family if family is not None else _family_of(name, revision)
    return Renderer(found, load_encoder(name, revision), thinking_retention, body_specials)


def load_encoder(source: str, revision: str | None = None) -> VocabularyEncoder:
    """The encoder of a model on the hub or in a directory; pickles as this call, or by the file in the directory."""
    path = _file(source, _TOKENIZER, revision)
    if Path(source).expanduser().is_dir():
        return from_file(path)
    try:
        return from_file(path).with_rebuild(load_encoder, source, revision)
    except EncoderError as error:
        raise EncoderError(f"{_TOKENIZER} of {source}: {error}") from error


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
        family: The chat format; None finds it from a transformers tokenizer's name or chat template.
        thinking_retention: See `Renderer`.
        body_specials: See `Renderer`.

    Raises:
        UnknownModelError: No family was given and the tokenizer does not tell.
        EncoderError: Not a tokenizer isc knows, or one it cannot account for.
    """
    encoder = as_encoder(tokenizer)
    if family is None:
        name = getattr(tokenizer, "name_or_path", None)
        template = getattr(tokenizer, "chat_template", None)
        family = models().get(str(name)) or (_by_template(template) if isinstance(template, str) else None)
        if family is None:
            named = str(name) if name else f"a {type(tokenizer).__name__} without a model name"
            raise _unknown(named, "isc.create_renderer(tokenizer")
    return Renderer(family, encoder, thinking_retention, body_specials)


def _family_of(source: str, revision: str | None) -> Family:
    known = models().get(source)
    if known is not None:
        return known
    template = _chat_template(source, revision)
    found = _by_template(template) if template else None
    if found is None:
        raise _unknown(source)
    return found


def _chat_template(source: str, revision: str | None) -> str | None:
    """The model's chat template, from its own file or from the tokenizer's configuration; None where it has none."""
    unread: LoadError | None = None
    try:
        return _text(source, _TEMPLATE, revision)
    except MissingFileError:
        pass
    except LoadError as error:  # offline, an absent file looks like one that was not fetched: look on
        unread = error
    try:
        configuration = msgspec.json.decode(_text(source, _CONFIG, revision))
    except MissingFileError:
        configuration = None
    except msgspec.DecodeError as error:
        raise LoadError(f"{_CONFIG} of {source} is not JSON: {error}") from error
    template = configuration.get("chat_template") if isinstance(configuration, dict) else None
    if isinstance(template, str):
        return template
    if unread is not None:
        raise unread
    return None


def _text(source: str, name: str, revision: str | None) -> str:
    try:
        return Path(_file(source, name, revision)).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LoadError(f"{name} of {source} is not UTF-8: {error}") from error


def _file(source: str, name: str, revision: str | None) -> str:
    """Where a file of a model lies on this machine; fetched from the hub if need be."""
    directory = Path(source).expanduser()
    if directory.is_dir():
        if not (directory / name).is_file():
            raise MissingFileError(f"{directory} has no {name}; isc needs the model's own files there")
        return str(directory / name)
    if directory.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1 or directory.exists():
        raise LoadError(f"{source} is not a directory; pass a model's directory or a hub id such as Qwen/Qwen3-8B")
    return _hub_file(source, name, revision)


def _hub_file(repository: str, name: str, revision: str | None) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    try:
        if not isinstance(try_to_load_from_cache(repository, name, revision=revision), str):
            # fails at once where the hub cannot be reached; a download would try again for half a minute
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision))
        return str(hf_hub_download(repository, name, revision=revision))
    except Exception as error:  # whatever the hub's client raises: connection, transfer, malformed answers
        raise _explained(error, name, f"{repository}{f' at {revision}' if revision else ''}") from error


def _explained(error: Exception, name: str, place: str) -> LoadError:
    """What an error of the hub's client means for who wants to load a model."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return LoadError(f"{name} of {place}: the repository is gated; log in with an account that may read it")
    if isinstance(error, RepositoryNotFoundError):
        return LoadError(f"{name} of {place}: there is no such repository, or it is private and you are not logged in")
    if isinstance(error, RevisionNotFoundError):
        return LoadError(f"{name} of {place}: there is no such revision")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return MissingFileError(f"{place} has no {name}")
    problem = " ".join(str(error).split())
    return LoadError(f"{name} of {place} is not in the local cache and could not be fetched: {problem}")
