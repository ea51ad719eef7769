"""Values that show themselves in one short line, whatever they hold, and as HTML where a notebook asks for it.

A traceback that shows local variables stays readable: no value of isc spells out its thousands of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

_MOST_ITEMS = 6
_MOST_CHARACTERS = 48
_MOST_OF_OTHERS = 160

_how: list[Callable[[object], str]] = []


class Words(str):
    """A text that is shown as it is, without quotes: what stands in place of a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Brief:
    """A struct that shows its fields in one short line. A class says what is to be told in `__rich_repr__`."""

    __slots__ = ()

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what is told of the value, by name. The library rich shows these too."""
        names: tuple[str, ...] = getattr(type(self), "__struct_fields__", ())
        return [(name, abbreviated(getattr(self, name))) for name in names]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Displayed(Brief):
    """A value that a notebook shows as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        return _how[-1](self) if _how else None


def display_with(show: Callable[[object], str]) -> None:
    """Have notebooks show values of isc with this function. A room above tells it: nothing down here knows of pages."""
    _how[:] = [show]


def abbreviated(value: object) -> object:
    """Return a value that is short already, or words in place of one that is long.

    >>> abbreviated((1, 2)), abbreviated((7,) * 100_000), abbreviated(b"1234")
    ((1, 2), <100,000 values>, <4 bytes>)
    """
    if isinstance(value, str):
        if len(value) <= _MOST_CHARACTERS:
            return value
        return Words(f"{value[:_MOST_CHARACTERS]!r}... {len(value):,} characters")
    if isinstance(value, bytes | bytearray | memoryview):
        return Words(f"<{len(value):,} bytes>")
    if isinstance(value, Sequence | Mapping | Set):
        return _abbreviated_items(value)
    text = repr(value)
    return value if len(text) <= _MOST_OF_OTHERS else Words(f"<{type(value).__name__}>")


def _abbreviated_items(values: Sequence[object] | Mapping[object, object] | Set[object]) -> object:
    """Return few short items as they are, more or longer ones as their number."""
    if len(values) > _MOST_ITEMS:
        return Words(f"<{len(values):,} values>")
    if isinstance(values, Mapping):
        items = ", ".join(f"{abbreviated(name)!r}: {abbreviated(value)!r}" for name, value in values.items())
        text = f"{{{items}}}"
    else:
        items = ", ".join(repr(abbreviated(value)) for value in values)
        text = f"({items},)" if len(values) == 1 else f"({items})"
    return Words(text) if len(text) <= _MOST_OF_OTHERS else Words(f"<{len(values):,} values>")
