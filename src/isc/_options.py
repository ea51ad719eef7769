"""Values that a caller chooses, options of a family and policies alike: checked where they enter, by their type.

Whatever a `Literal`, a `bool`, a tuple or a range excludes is refused by an `OptionError` that names the value and the
nearest one that is allowed. So a typing error never acts as the value it is not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from isc.errors import OptionError, shown

Value = TypeVar("Value")
Misfit: TypeAlias = tuple[str, object, object]
"""A value that is not of its type: its name, the value, the type."""

_SPELLED = {"true": True, "false": False, "yes": True, "no": False, "none": None, "null": None}
_WORDS = {bool: "True or False", int: "an integer", float: "a number", str: "a text", NoneType: "None"}


def checked(name: str, value: Value, kind: object, owner: str = "") -> Value:
    """Return a caller's value as it is given. Refuse one that is not of its type.

    Args:
        name: What it is called.
        value: What was chosen.
        kind: The type that says what may be chosen.
        owner: Whose option it is.

    Raises:
        OptionError: The value is not of this type; says what is allowed and what is near.

    >>> checked("body_specials", "txt", Literal["text", "parse"])
    Traceback (most recent call last):
    ...
    isc.errors.OptionError: body_specials='txt' is none of 'text', 'parse'; did you mean 'text'?
    """
    if isinstance(value, (str, NoneType)) and value in literals(kind):  # nearly every policy, nearly always
        return value
    misfit = _misfit(name, value, kind)
    if misfit is not None:
        raise OptionError(f"{owner}: {_told(*misfit)}" if owner else _told(*misfit))
    return value


def check_fields(value: Struct, owner: str) -> None:
    """Check every field of a Struct by its type.

    Raises:
        OptionError: A field is not of its type; names the owner and the field.
    """
    for name, kind in _fields(type(value)):
        checked(name, getattr(value, name), kind, owner)


def no_option(owner: str, name: str, options: Iterable[str]) -> OptionError:
    """Return the error for an option that does not exist: it lists the options and names the nearest.

    >>> print(no_option("qwen3", "thinking", ("enable_thinking", "variant")))
    qwen3: there is no option 'thinking', only enable_thinking, variant; did you mean 'enable_thinking'?
    """
    listed = tuple(options)
    only = f"only {', '.join(listed)}" if listed else "nor any other"
    return OptionError(f"{owner}: there is no option {name!r}, {only}{did_you_mean(name, listed)}")


def did_you_mean(word: object, values: Iterable[object], *, quoted: bool = True) -> str:
    """Return the end of an error message that names the nearest known value; empty where none is near.

    >>> did_you_mean("hgih", ("low", "medium", "high"))
    "; did you mean 'high'?"
    """
    words = {str(one).casefold().replace("-", "_"): one for one in values}
    asked = str(word).casefold().replace("-", "_")
    near = difflib.get_close_matches(asked, words, n=1, cutoff=0.6)
    if not near:
        return ""
    return f"; did you mean {words[near[0]]!r}?" if quoted else f"; did you mean {words[near[0]]}?"


@lru_cache(maxsize=256)
def literals(kind: object) -> tuple[object, ...]:
    """Return every value that the Literals of a type name, and `None` where the type takes it.

    The results of the last 256 types are kept.

    >>> literals(Literal["low", "high"] | None)
    ('low', 'high', None)
    """
    if get_origin(kind) is Literal:
        return get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return tuple(value for one in get_args(kind) for value in literals(one))
    return (None,) if kind in (None, NoneType) else ()


@lru_cache(maxsize=256)
def _fields(kind: type[Struct]) -> tuple[tuple[str, object], ...]:
    """Return the fields of a Struct and their types. The results of the last 256 Structs are kept."""
    return tuple((field.name, field.type) for field in msgspec.structs.fields(kind))


def _misfit(name: str, value: object, kind: object) -> Misfit | None:
    """Return the value, or the item of a tuple, that is not of its type; None where there is none."""
    if takes(kind, value):
        return None
    item = _item(kind)
    if item is None or not isinstance(value, tuple):
        return name, value, kind
    items = (_misfit(f"{name}[{place}]", one, item[0]) for place, one in enumerate(value))
    return next((misfit for misfit in items if misfit is not None), (name, value, kind))


def takes(kind: object, value: object) -> bool:
    """Return whether a value is of a type as it stands. Only an integer is converted, to a number.

    >>> takes(tuple[str, ...] | None, ()), takes(bool, 1)
    (True, False)
    """
    try:
        same = msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    except (TypeError, NotImplementedError):  # a type that msgspec cannot tell
        return True
    return type(same) is type(value) or (type(value), type(same)) == (int, float)


def _item(kind: object) -> tuple[object] | None:
    """Return the type of the items, where a type takes tuples of any length; else None."""
    for one in _alternatives(kind):
        if get_origin(one) is tuple and get_args(one)[1:] == (...,):
            return (get_args(one)[0],)
    return None


def _alternatives(kind: object) -> tuple[object, ...]:
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _told(name: str, value: object, kind: object) -> str:
    """Return the text of an error: the value, the values that are allowed, and the nearest."""
    allowed = literals(kind)
    if allowed and all(get_origin(one) is Literal or one is NoneType for one in _alternatives(kind)):
        return f"{name}={shown(value)} is none of {', '.join(map(repr, allowed))}{did_you_mean(value, allowed)}"
    said = f"{name}={shown(value)} must be {described(kind)}"
    if isinstance(value, list) and _item(kind) is not None:
        return f"{said}; write ({', '.join(map(repr, value))}{',' if len(value) == 1 else ''})"
    spelled = _SPELLED.get(value.casefold(), value) if isinstance(value, str) else value
    return f"{said}; did you mean {spelled!r}?" if spelled is not value and takes(kind, spelled) else said


def described(kind: object) -> str:
    """Describe the values of a type in words, as Python writes them.

    >>> described(tuple[Literal["browser", "python"], ...] | None)
    "a tuple of 'browser' or 'python', or None"
    """
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return ", or ".join(map(described, get_args(kind)))
    if get_origin(kind) is Annotated:
        return f"{described(get_args(kind)[0])} {_range(kind)}".rstrip()
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    item = _item(kind)
    if item is not None:
        return f"a tuple of {described(item[0])}"
    return _WORDS.get(kind, kind.__name__) if isinstance(kind, type) else str(kind)


def _range(kind: object) -> str:
    """Describe the bounds in the metadata of a type."""
    words = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most", "multiple_of": "in steps of",
             "pattern": "that matches", "min_length": "no shorter than", "max_length": "no longer than"}  # fmt: skip
    limits = [one for one in get_args(kind)[1:] if isinstance(one, msgspec.Meta)]
    bounds = ((word, getattr(limit, name)) for limit in limits for name, word in words.items())
    return " and ".join(f"{word} {value}" for word, value in bounds if value is not None)
