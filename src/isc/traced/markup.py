"""`TracedMarkup`: what the filters `safe` and `escape` make, text that escapes whatever is put together with it.

Mirrors `markupsafe.Markup`, whose own methods would lose every origin.
"""
# ruff: noqa: D102 - the methods of `str`, said by its own documentation

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import NoneType
from typing import Any, Final, SupportsIndex

from markupsafe import escape as markup_escape

from isc.traced.limits import SLOW, within
from isc.traced.origins import TEMPLATE
from isc.traced.strings import Traced, lost, mapped, runs_of, traced, whole_of

_ENTITY: Final = 4
"""Characters that an escaped one has more."""


def _escaping(name: str, escaped: Sequence[int] = ()) -> Callable[..., Any]:
    """Return a method of `str` that escapes some of its positional arguments and gives markup."""
    method = getattr(Traced, name)

    def wrapper(self: TracedMarkup, *values: object, **named: object) -> object:
        arguments = [escaped_text(value) if place in escaped else value for place, value in enumerate(values)]
        return _marked(method(plain(self), *arguments, **named))

    wrapper.__name__ = name
    return wrapper


def _marked(found: object) -> object:
    if isinstance(found, str):
        return markup(found)
    return type(found)(map(markup, found)) if isinstance(found, (list, tuple)) else found


class TracedMarkup(Traced):
    """Traced text that counts as escaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return self

    def __str__(self) -> str:
        return plain(self)

    def __repr__(self) -> str:
        return f"Markup({str.__repr__(self)})"

    def __add__(self, other: object) -> str:
        if not isinstance(other, str) and not hasattr(other, "__html__"):
            return NotImplemented
        return markup(Traced.__add__(plain(self), plain(escaped_text(other))))

    def __radd__(self, other: object) -> str:
        if not isinstance(other, str) and not hasattr(other, "__html__"):
            return NotImplemented
        return markup(Traced.__add__(plain(escaped_text(other)), plain(self)))

    def __mul__(self, times: SupportsIndex) -> str:
        return markup(plain(self) * times)

    def __mod__(self, values: object) -> str:
        return markup(lost(str(markup_safe(self) % values), "%"))

    def join(self, items: Iterable[object], /) -> str:
        return markup(Traced.join(plain(self), [plain(escaped_text(item)) for item in items]))

    def format(self, *values: object, **named: object) -> str:
        return markup(lost(str(markup_safe(self).format(*values, **named)), "format"))

    def format_map(self, values: Any, /) -> str:  # noqa: ANN401 - whatever str takes
        return markup(lost(str(markup_safe(self).format_map(values)), "format_map"))

    def unescape(self) -> str:
        """Return the text that the entities stand for."""
        return whole_of(self, str(markup_safe(self).unescape()), "unescape")

    def striptags(self) -> str:
        """Return the text without tags and entities."""
        within(len(self), SLOW)
        return whole_of(self, str(markup_safe(self).striptags()), "striptags")

    __getitem__ = _escaping("__getitem__")
    __rmul__ = _escaping("__mul__")
    split = _escaping("split")
    rsplit = _escaping("rsplit")
    splitlines = _escaping("splitlines")
    partition = _escaping("partition")
    rpartition = _escaping("rpartition")
    replace = _escaping("replace", (1,))
    strip = _escaping("strip")
    lstrip = _escaping("lstrip")
    rstrip = _escaping("rstrip")
    removeprefix = _escaping("removeprefix")
    removesuffix = _escaping("removesuffix")
    upper = _escaping("upper")
    lower = _escaping("lower")
    casefold = _escaping("casefold")
    swapcase = _escaping("swapcase")
    title = _escaping("title")
    capitalize = _escaping("capitalize")
    translate = _escaping("translate")
    center = _escaping("center", (1,))
    ljust = _escaping("ljust", (1,))
    rjust = _escaping("rjust", (1,))
    zfill = _escaping("zfill")
    expandtabs = _escaping("expandtabs")


def markup(text: str) -> TracedMarkup:
    """Return the text as markup."""
    value = str.__new__(TracedMarkup, text)
    value._runs = runs_of(text)
    return value


def plain(text: str) -> Traced:
    """Return the text as no markup."""
    return text if type(text) is Traced else traced(str.__str__(text), runs_of(text))


def markup_safe(text: str) -> Any:  # noqa: ANN401 - markupsafe's own type
    """Return the text as `markupsafe` has it, without origins."""
    from markupsafe import Markup

    return Markup(str.__str__(text))


def escaped_text(value: object) -> TracedMarkup:
    """Escape `& < > ' "` of a value as entities, if it is no markup already."""
    if isinstance(value, TracedMarkup):
        return value
    text = value if isinstance(value, str) else str(value)
    if len(text) > SLOW:
        within(len(text) + _ENTITY * sum(map(text.count, "&<>'\"")))
    result = str.__str__(markup_escape(text))
    if hasattr(value, "__html__") or not isinstance(value, (str, int, float, NoneType)):
        return markup(lost(result, "escape"))
    if not isinstance(text, Traced):
        return markup(traced(result, ((len(result), TEMPLATE, None),)))
    if len(result) == len(text):
        return markup(text)
    return markup(mapped(text, result, lambda each: str.__str__(markup_escape(each)), "escape"))
