"""Where a model's files lie: a local directory, or a repository on the hub. Reads files, never runs remote code."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from isc._options import did_you_mean
from isc.errors import LoadError, MissingFileError, OptionError
from isc.formats.catalogue import near_models

TOKENIZER = "tokenizer.json"
RANKS = "tiktoken.model"
CONFIG = "tokenizer_config.json"
DEFAULT = "default"
"""The name of the chat template that is used where none is chosen."""
TOOL_USE = "tool_use"
"""The name of the chat template that is used where tools are given and none is chosen."""
TEMPLATE = "chat_template.jinja"
_MORE_TEMPLATES = "additional_chat_templates"
_PROCESSOR_TEMPLATE = "chat_template.json"
_MAKES_A_RENDERER = (
    *(TOKENIZER, RANKS, CONFIG, TEMPLATE, _PROCESSOR_TEMPLATE),
    *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
)
_NO_FORMAT_CODE = ("modeling_", "configuration_")
_WHAT_TO_GIVE = "pass a directory with the model's tokenizer.json and chat template, or a hub id such as Qwen/Qwen3-8B"


class Source(Struct, frozen=True):
    """A model by hub id or directory, at a revision of the hub."""

    name: str
    revision: str | None = None

    @property
    def is_directory(self) -> bool:
        """Return whether the files lie in a local directory."""
        return Path(self.name).expanduser().is_dir()

    def file(self, name: str) -> Path:
        """Return the local path of one of the model's files, fetched from the hub if need be.

        Raises:
            MissingFileError: The model has no such file.
            LoadError: It cannot be fetched.
        """
        return Path(_file(self.name, name, self.revision))

    def vocabulary(self) -> Path:
        """Return the local path of `tokenizer.json`, or of `tiktoken.model` for a model without one.

        Raises:
            LoadError: The model has neither, or it cannot be fetched.
        """
        try:
            return self.file(TOKENIZER)
        except MissingFileError as error:
            try:
                return self.file(RANKS)
            except MissingFileError:
                raise error from None
        except LoadError:  # offline, an absent file looks like one that was not fetched: look on
            cached = None if self.is_directory else _cached(self.name, RANKS, self.revision)
            if cached is None:
                raise
            return Path(cached)

    def text(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            LoadError: See `file`; or it is not UTF-8.
        """
        try:
            return self.file(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise LoadError(f"{name} of {self.name} is not UTF-8: {error}") from error

    def settings(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file; empty where the model has no such file.

        Raises:
            LoadError: See `file`; or it is not JSON.
        """
        try:
            value = msgspec.json.decode(self.text(name))
        except MissingFileError:
            return {}
        except msgspec.DecodeError as error:
            raise LoadError(f"{name} of {self.name} is not JSON: {error}") from error
        return value if isinstance(value, dict) else {}

    def chat_template(self) -> str | None:
        """Return the model's default chat template, or its only one; None where it has none."""
        templates = self.chat_templates()
        return templates.get(DEFAULT) or (next(iter(templates.values())) if len(templates) == 1 else None)

    def template_choice(self, name: str | None = None) -> TemplateChoice | None:
        """Return the model's chat templates as `template_choice` chooses among them.

        Raises:
            OptionError: See `template_choice`.
            LoadError: See `chat_templates`.
        """
        return template_choice(self.chat_templates(), name, self.name)

    def format_code(self) -> list[str]:
        """List the Python files that may hold the model's chat format; they are never run.

        An `encoding*` folder holds it, or else a file beside the weights that defines neither model nor configuration.
        """
        if self.is_directory:
            directory = Path(self.name).expanduser()
            paths = [path.relative_to(directory).as_posix() for path in directory.glob("*.py")]
            paths += [path.relative_to(directory).as_posix() for path in directory.glob("encoding*/*.py")]
        else:
            paths = _hub_files(self.name, self.revision)
        code = sorted(path for path in paths if path.endswith(".py") and not path.startswith(_NO_FORMAT_CODE))
        return [path for path in code if path.startswith("encoding") and "/" in path] or [
            path for path in code if "/" not in path
        ]

    def chat_templates(self) -> dict[str, str]:
        """Return every chat template of the model by its name, `default` for one without a name.

        They stand in `chat_template.jinja` and `additional_chat_templates/NAME.jinja`; where there is neither, in
        `tokenizer_config.json`; where it has none, in `chat_template.json`. This is the order of transformers 5.

        Raises:
            LoadError: A file cannot be fetched, or is not what it must be.
        """
        templates: dict[str, str] = {}
        unread: LoadError | None = None
        try:
            templates[DEFAULT] = self.text(TEMPLATE)
        except MissingFileError:
            pass
        except LoadError as error:  # offline, an absent file looks like one that was not fetched: look on
            unread = error
        for name in _additional(self):
            templates[name] = self.text(f"{_MORE_TEMPLATES}/{name}.jinja")
        for file in () if templates else (CONFIG, _PROCESSOR_TEMPLATE):
            templates = templates or templates_of(self.settings(file).get("chat_template"))
        if not templates and unread is not None:
            raise unread
        return templates

    def processor_settings(self) -> dict[str, Any]:
        """Return the settings of the image processor, from either file that holds them; empty where there are none.

        A processor that merges patches itself (Pixtral's) has the patch size that counts beside them.
        """
        processor = self.settings("processor_config.json")
        nested = processor.get("image_processor")
        settings = nested if isinstance(nested, dict) else self.settings("preprocessor_config.json")
        own = ("patch_size", "spatial_merge_size") if "spatial_merge_size" in processor else ()
        return settings | {name: processor[name] for name in own if name in processor}

    def digest(self) -> str:
        """Return a digest of the files in a directory by which a renderer is made, without their place.

        Raises:
            LoadError: A file cannot be read.
        """
        directory = Path(self.name).expanduser()
        paths = [directory / name for name in _MAKES_A_RENDERER]
        paths += sorted((directory / _MORE_TEMPLATES).glob("*.jinja"))
        digests = (f"{path.name} {sha256(path.read_bytes()).hexdigest()}\n" for path in paths if path.is_file())
        try:
            return sha256("".join(digests).encode()).hexdigest()
        except OSError as error:
            raise LoadError(f"{error.filename}: {error.strerror}") from error

    def special(self, name: str) -> str:
        """Return a token that the tokenizer's configuration names, such as `eos_token`; "" where it names none."""
        token = self.settings(CONFIG).get(name)
        token = token.get("content") if isinstance(token, dict) else token
        return token if isinstance(token, str) else ""

    def stop_ids(self) -> tuple[int, ...]:
        """Return the ids at which the model's generation configuration stops."""
        ids = self.settings("generation_config.json").get("eos_token_id")
        return tuple(ids) if isinstance(ids, list) else (ids,) if isinstance(ids, int) else ()


class TemplateChoice(Struct, frozen=True):
    """The chat template of a chat without tools, and that of one with tools: the same, mostly."""

    without_tools: str
    with_tools: str


def template_choice(templates: Mapping[str, str], name: str | None, model: str) -> TemplateChoice | None:
    """Choose among a model's chat templates as transformers does.

    Args:
        templates: Every template by its name.
        name: The one that is asked for; None takes `tool_use` where tools are given and `default` elsewhere, or the
            only one.
        model: Whose they are, for errors.

    Returns:
        What chats without and with tools are rendered by; None where the model has no template at all.

    Raises:
        OptionError: There is no template of this name, or several and no default; names them.

    >>> template_choice({"default": "a", "tool_use": "b", "rag": "c"}, None, "mine")
    TemplateChoice(without_tools='a', with_tools='b')
    """
    known = ", ".join(sorted(templates))
    if name is not None and name not in templates:
        only = f"only {known}" if known else "nor any other"
        problem = f"{model} has no chat template of this name, {only}{did_you_mean(name, templates)}"
        raise OptionError(f"template={name!r}: {problem}")
    if not templates:
        return None
    if name is not None or len(templates) == 1:
        only = templates[name] if name is not None else next(iter(templates.values()))
        return TemplateChoice(only, only)
    if DEFAULT not in templates:
        raise OptionError(f"{model} has several chat templates and no default: choose with template=... one of {known}")
    return TemplateChoice(templates[DEFAULT], templates.get(TOOL_USE, templates[DEFAULT]))


def templates_of(value: object) -> dict[str, str]:
    """Read chat templates as tokenizers hold them: one text, a mapping by name, or a list of names with templates.

    >>> templates_of([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}])
    {'default': 'a', 'tool_use': 'b'}
    """
    if isinstance(value, str):
        return {DEFAULT: value}
    if isinstance(value, list | tuple):
        entries = [entry for entry in value if isinstance(entry, dict)]
        return templates_of({entry.get("name"): entry.get("template") for entry in entries})
    if isinstance(value, dict):
        return {name: text for name, text in value.items() if isinstance(name, str) and isinstance(text, str)}
    return {}


def _additional(model: Source) -> list[str]:
    """List the names of a model's additional chat templates."""
    if model.is_directory:
        return sorted(path.stem for path in (Path(model.name).expanduser() / _MORE_TEMPLATES).glob("*.jinja"))
    return _hub_templates(model.name, model.revision)


def _hub_templates(repository: str, revision: str | None) -> list[str]:
    """List a repository's additional chat templates; without a hub, the templates that were fetched before."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download

    try:
        # fails at once where the hub cannot be reached; a listing would try again for half a minute
        get_hf_file_metadata(hf_hub_url(repository, CONFIG, revision=revision))
        entries = HfApi().list_repo_tree(repository, _MORE_TEMPLATES, revision=revision)
        paths = [entry.path for entry in entries]
    except Exception:  # no such folder, or no hub: whatever the hub's client raises
        try:
            directory = Path(snapshot_download(repository, revision=revision, local_files_only=True)) / _MORE_TEMPLATES
        except Exception:  # nothing of it was fetched before
            return []
        paths = [path.name for path in directory.glob("*.jinja")]
    return sorted(Path(path).stem for path in paths if path.endswith(".jinja"))


def _hub_files(repository: str, revision: str | None) -> list[str]:
    """List a repository's files; none without a hub."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    try:
        # fails at once where the hub cannot be reached, see `_hub_templates`
        get_hf_file_metadata(hf_hub_url(repository, CONFIG, revision=revision))
        return HfApi().list_repo_files(repository, revision=revision)
    except Exception:  # whatever the hub's client raises: what could not be listed is not told
        return []


def _file(source: str, name: str, revision: str | None) -> str:
    """Return the local path of a file of a model, fetched from the hub if need be."""
    directory = Path(source).expanduser()
    if directory.is_dir():
        if not (directory / name).is_file():
            raise MissingFileError(
                f"{directory} has no {name}; isc needs the model's own files there{models_below(directory)}"
            )
        return str(directory / name)
    if directory.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1 or directory.exists():
        raise LoadError(
            f"{source} is not a directory{_meant(source)}\n"
            "pass a model's directory, which has its tokenizer.json, or a hub id such as Qwen/Qwen3-8B"
        )
    return _hub_file(source, name, revision)


def _meant(source: str) -> str:
    """Return the end of an error that names the known models and the directories whose names are nearest, if any.

    What was given is known too, where it can only not be fetched, and is no help.
    """
    place = Path(source).expanduser()
    beside = place.parent.iterdir() if place.parent.is_dir() else ()
    names = {one.name.casefold(): str(one) for one in beside if one.is_dir()}
    close = get_close_matches(place.name.casefold(), names, n=1, cutoff=0.7)
    near = [name for name in (*near_models(source), *(names[name] for name in close)) if name != source]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def models_below(directory: Path) -> str:
    """Return the end of an error that names a directory in this one which holds a model, if one does."""
    found = sorted(path.parent.name for path in directory.glob(f"*/{TOKENIZER}"))
    return f"; did you mean {directory / found[0]}?" if found else ""


def _cached(repository: str, name: str, revision: str | None) -> str | None:
    """Return the local path of a file that was fetched before; None where it was not."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repository, name, revision=revision)
    except HFValidationError:
        return None
    return path if isinstance(path, str) else None


def _hub_file(repository: str, name: str, revision: str | None) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        if _cached(repository, name, revision) is None:
            # fails at once where the hub cannot be reached; a download would try again for half a minute
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision))
        return str(hf_hub_download(repository, name, revision=revision))
    except Exception as error:  # whatever the hub's client raises: connection, transfer, malformed answers
        raise _explained(error, name, repository, revision) from error


def _explained(error: Exception, name: str, repository: str, revision: str | None) -> LoadError:
    """Turn an error of the hub's client into one that says what to do about it."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place = f"{repository}{f' at {revision}' if revision else ''}"
    if isinstance(error, GatedRepoError):
        return LoadError(f"{name} of {place}: the repository is gated; log in with an account that may read it")
    if isinstance(error, RepositoryNotFoundError):
        return LoadError(
            f"{name} of {place}: there is no such repository, or it is private and you are not logged in"
            f"{_meant(repository)}\nlooked for a directory of this name, in the cache, and on the hub\n{_WHAT_TO_GIVE}"
        )
    if isinstance(error, RevisionNotFoundError):
        return LoadError(f"{name} of {place}: there is no such revision")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return MissingFileError(f"{place} has no {name}")
    problem = " ".join(str(error).split())
    return LoadError(
        f"{name} of {place} is not in the local cache and could not be fetched{_meant(repository)}\n"
        f"looked for a directory of this name, in the cache, and on the hub: {problem}\n{_WHAT_TO_GIVE}"
    )
