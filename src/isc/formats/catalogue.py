"""The list of families and of the models they serve.

Families are discovered: every format's module under `isc.formats` exports `FAMILY` (its
Struct), `MODELS` (exact model name -> family value) and `TEMPLATES` (sha256 of a chat template, 16 digits -> value).
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import ModuleType

from isc import formats
from isc.errors import FamilyError, OptionError, UnknownModelError, shown
from isc.formats.base import Family, name_of


@lru_cache(maxsize=1)
def list_families() -> Mapping[str, type[Family]]:
    """Return every family by its name.

    Raises:
        FamilyError: A format's module has no `FAMILY`, or one that is not a family; names the module.

    >>> "qwen3" in list_families()
    True
    """
    return {name_of(module.FAMILY): module.FAMILY for module in _modules()}


@lru_cache(maxsize=1)
def models() -> Mapping[str, Family]:
    """Return the family value of every known model, by exact model name."""
    return {name: family for module in _modules() for name, family in module.MODELS.items()}


@lru_cache(maxsize=1)
def _templates() -> Mapping[str, Family]:
    return {digest: family for module in _modules() for digest, family in module.TEMPLATES.items()}


_COMMON = frozenset(("base", "catalogue", "segments"))
"""Modules of `isc.formats` that are no format."""


def _modules() -> Iterator[ModuleType]:
    return map(_imported, _module_names())


def _module_names() -> Iterator[str]:
    for found in pkgutil.iter_modules(formats.__path__):
        if not (found.ispkg or found.name.startswith("_") or found.name in _COMMON):
            yield found.name


def _imported(name: str) -> ModuleType:
    module = importlib.import_module(f"{formats.__name__}.{name}")
    check_family_module(module)
    return module


def _of_its_own_module(name: str) -> type[Family] | None:
    """Return the family of a name from the module that is called like it, without importing all others."""
    likely = re.sub(r"[^a-z0-9]", "_", name)
    family: type[Family] | None = _imported(likely).FAMILY if likely in _module_names() else None
    return family if family is not None and name_of(family) == name else None


def check_family_module(module: ModuleType) -> None:
    """Raise a `FamilyError` that names the module if what it exports is not a family."""
    family = getattr(module, "FAMILY", None)
    if family is None:
        raise FamilyError(f"{module.__name__} has no FAMILY: set it to the module's family Struct")
    if not (isinstance(family, type) and issubclass(family, Family)):
        raise FamilyError(f"{module.__name__}.FAMILY must be a subclass of isc.Family, not {family!r}")
    configuration = family.__struct_config__
    if not configuration.frozen or configuration.tag is None:
        raise FamilyError(f"{module.__name__}.FAMILY must be a frozen Struct with a tag, its name")
    if family.__abstractmethods__:
        raise FamilyError(f"{module.__name__}.FAMILY lacks {', '.join(sorted(family.__abstractmethods__))}")
    missing = [name for name in ("MODELS", "TEMPLATES") if not isinstance(vars(module).get(name), Mapping)]
    if missing:
        raise FamilyError(f"{module.__name__} has no {missing[0]}: set it to a mapping, empty where nothing is known")
    for table in (module.MODELS, module.TEMPLATES):
        wrong = [name for name, value in table.items() if not isinstance(value, Family)]
        if wrong:
            raise FamilyError(f"{module.__name__}: {wrong[0]!r} must be given a family, not {table[wrong[0]]!r}")


def family_name(family: Family) -> str:
    """Return the name of a family value.

    >>> family_name(family_for("Qwen/Qwen3-8B"))
    'qwen3'
    """
    return name_of(type(family))


def family_for(model: str) -> Family:
    """Return the family value of an exact model name.

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
        raise unknown_model(model) from None


def near_models(name: str, most: int = 2) -> list[str]:
    """Return the known models whose names are nearest to this one, with their organization or without.

    >>> near_models("qwen3-8b"), near_models("Qwen/Qwen3-8"), near_models("my-finetune")
    (['Qwen/Qwen3-8B'], ['Qwen/Qwen3-8B', 'Qwen/Qwen3-4B'], [])
    """
    words = {model.rpartition("/")[2].casefold() if "/" not in name else model.casefold(): model for model in models()}
    if name.casefold() in words:
        return [words[name.casefold()]]
    return [words[near] for near in difflib.get_close_matches(name.casefold(), words, n=most, cutoff=0.75)]


def unknown_model(model: str, call: str = "") -> UnknownModelError:
    """Return the error for a model without a family: in three lines what is unknown, where it was looked for, the fix.

    The error says which names are near.
    """
    near = near_models(model)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return UnknownModelError(
        f"no family is known for {model!r}{meant}\n"
        f"looked for this very name among {len(models())} models, which `isc families` lists\n"
        f"pass its family by name: {call or f'isc.load({model!r}'}, family=...)"
    )


def family_named(name: str) -> Family:
    """Return the family of a name, with its defaults, or the one that serves a model of this exact name.

    Raises:
        OptionError: No family and no model has this name; says which are near.

    >>> family_named("qwen3")
    Qwen3(enable_thinking=True, variant='hybrid')
    """
    family = _of_its_own_module(name) or list_families().get(name)
    if family is not None:
        return family()
    if name in models():
        return models()[name]
    near = difflib.get_close_matches(name.lower(), list_families(), n=3, cutoff=0.5) or near_models(name)
    meant = f"did you mean {' or '.join(near)}?" if near else f"`isc families` lists all {len(list_families())}"
    hint = "; a directory or a hub id is given as the model" if "/" in name and not near else ""
    raise OptionError(f"family={name!r}: no family has this name; {meant}{hint}")


def chosen_family(family: object) -> Family | None:
    """Return the family that a caller gave as a value or by its name, or None where none was given.

    Raises:
        OptionError: It is neither.
    """
    if family is None or isinstance(family, Family):
        return family
    if isinstance(family, str):
        return family_named(family)
    hint = f"; make a value of it: {family.__name__}()" if isinstance(family, type) else ""
    raise OptionError(f"family must be a family or the name of one, not {shown(family)}{hint}")


_SHARED_KINDS = frozenset(("deepseekv3",))
"""Kinds of model by which formats cannot be told: DeepSeek R1, V3, V3.1 and others are all of this one."""


_OTHERS_OF_A_KIND = ("DeepSeek-V4.1",)
"""How models are called whose format is not that of others of their kind, as recorded completions show."""


def family_serving(names: Iterable[str], kinds: Iterable[str]) -> str | None:
    """Return the name of the family that serves a model whose files do not show its format, or None.

    Args:
        names: What the model may be called, with its organization or without.
        kinds: The model's `model_type` and `architectures`.

    >>> family_serving(["Qwen3-8B"], []), family_serving([], ["gpt_oss"]), family_serving([], ["DeepseekV3ForCausalLM"])
    ('qwen3', 'gpt-oss', None)
    """
    served = {family_name(family) for family in _serving(names, kinds)}
    return next(iter(served)) if len(served) == 1 else None


def family_without_template(names: Iterable[str], kinds: Iterable[str]) -> Family | None:
    """Return the family of a model that has no chat template because its format's models ship none, or None.

    Args:
        names: See `family_serving`.
        kinds: See `family_serving`.

    >>> family_without_template(["DeepSeek-V4-Flash-0731"], []).variant, family_without_template(["Qwen3-8B"], [])
    ('flash-0731', None)
    >>> family_without_template(["DeepSeek-V4.1-Flash"], ["deepseek_v4"]) is None  # its calls are spelled otherwise
    True
    """
    served = _serving(names, kinds)
    return served[0] if len(served) == 1 and not served[0].ships_template else None


def _serving(names: Iterable[str], kinds: Iterable[str]) -> list[Family]:
    """Return the families that may serve a model: those of its names, or else those of its kinds."""
    called = {name.rpartition("/")[2] for name in names if name}
    by_name = [family for model, family in models().items() if model.rpartition("/")[2] in called]
    plain = {_plain(kind) for kind in kinds} - _SHARED_KINDS
    if any(name.startswith(_OTHERS_OF_A_KIND) for name in called):
        plain = set()
    serving = by_name or [family() for name, family in list_families().items() if _plain(name) in plain]
    return [family for place, family in enumerate(serving) if family not in serving[:place]]


def _plain(kind: str) -> str:
    """Return a kind of model without the differences of its spellings: `DeepseekV32ForCausalLM` is `deepseek_v32`."""
    return "".join(filter(str.isalnum, kind.partition("For")[0])).lower()


def family_of_template(template: str) -> Family | None:
    """Return the family of a template that is known byte for byte.

    A trailing newline does not change what it renders.
    """
    stripped = template.rstrip("\n")
    digests = (hashlib.sha256(text.encode()).hexdigest()[:16] for text in (template, stripped, stripped + "\n"))
    return next((_templates()[digest] for digest in digests if digest in _templates()), None)
