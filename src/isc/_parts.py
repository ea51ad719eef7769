"""The parts of bodies: the closed set, which lie within which, and what a caller selects of them (law 10)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeAlias, TypeGuard, get_args

from isc.errors import OptionError, shown
from isc.types import ROLES, BodyPart, Role

PARTS: Final[tuple[BodyPart, ...]] = get_args(BodyPart)
"""Every part; `docs/parts.md` says what each holds."""

WITHIN: Final[Mapping[BodyPart, frozenset[BodyPart]]] = {
    "tool_call": frozenset(("tool_call", "tool_name", "tool_arguments"))
}
"""What a part holds besides itself. A token carries the innermost part; who selects the outer one gets all in it."""

PartsByRole: TypeAlias = Mapping[str, Collection[BodyPart]]
"""Parts that are wanted of the messages of a role."""


def is_part(value: object) -> TypeGuard[BodyPart]:
    """Return whether a value names a part.

    >>> is_part("close"), is_part("stop")
    (True, False)
    """
    return value in PARTS


def selected(parts: Iterable[object], name: str = "parts") -> frozenset[BodyPart]:
    """Return the parts that a caller selects, with all that lies within them.

    Args:
        parts: Names of parts.
        name: What they are called in errors.

    Raises:
        OptionError: It is one text, or a name is no part; lists them.

    >>> sorted(selected(["tool_call", "close"]))
    ['close', 'tool_arguments', 'tool_call', 'tool_name']
    """
    if isinstance(parts, str):
        raise OptionError(f"{name} must be a set of parts, not the text {parts!r}")
    wanted: set[BodyPart] = set()
    for part in parts:
        if not is_part(part):
            raise OptionError(f"{name}: {shown(part)} is no part of a body; parts are {', '.join(PARTS)}")
        wanted |= WITHIN.get(part, frozenset((part,)))
    return frozenset(wanted)


def selected_by_role(parts: Mapping[str, Iterable[object]], name: str = "parts") -> dict[str, frozenset[BodyPart]]:
    """Return the same for each role.

    Raises:
        OptionError: A role or a part does not exist.

    >>> selected_by_role({"user": ["content"]})
    {'user': frozenset({'content'})}
    """
    if not isinstance(parts, Mapping):
        raise OptionError(f"{name} must say the parts of each role, e.g. {{'assistant': {{'content'}}}}")
    return {checked_role(role, name): selected(wanted, f"{name}[{role!r}]") for role, wanted in parts.items()}


def checked_role(role: str, name: str) -> Role:
    """Return a role, or raise an `OptionError` that lists them."""
    known = next((one for one in ROLES.values() if one == role), None)
    if known is None:
        raise OptionError(f"{name}: {role!r} is no role; roles are {', '.join(ROLES.values())}")
    return known
