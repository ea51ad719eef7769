"""A placeholder for types that are not loaded: annotations that name them can be resolved without importing a package.

`import isc` loads no NumPy and no network stack, so modules import such types for type checkers only. What resolves
annotations at run time (`typing.get_type_hints`, `inspect.signature`, msgspec) then finds this class.
"""

from __future__ import annotations


class _Placeholder(type):
    """Gives any public name of a package that is not loaded: the placeholder again."""

    def __getattr__(cls, name: str) -> type[Later]:
        if name.startswith("_"):
            raise AttributeError(name)
        return Later


class Later(metaclass=_Placeholder):
    """Any type of a package that is not loaded."""

    def __class_getitem__(cls, _: object) -> type[Later]:
        return Later
