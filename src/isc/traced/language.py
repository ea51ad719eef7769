"""The functions of the template language, as `apply_chat_template` gives them, without a way to anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from jinja2.exceptions import SecurityError, TemplateError
from jinja2.utils import Namespace, generate_lorem_ipsum

from isc.traced.limits import MOST_PARTS, hashable, items_in, within
from isc.traced.strings import lost

TEMPLATE_TEXT: Final = "isc_template_text"
"""Set on functions whose text is the template's own."""


class _Dict:
    """`dict(...)` of a template: no way to the class behind it."""

    def __call__(self, *values: Any, **named: Any) -> dict[Any, Any]:  # noqa: ANN401 - as `dict`
        if len(values) != 1 or isinstance(values[0], (str, Mapping)):
            return dict(*values, **named)
        pairs = list(values[0])
        hashable([pair[0] for pair in pairs if isinstance(pair, (list, tuple)) and pair])
        return dict(pairs, **named)

    def fromkeys(self, *values: Any) -> dict[Any, Any]:  # noqa: ANN401 - as `dict.fromkeys`
        """Evaluate `dict.fromkeys(...)`."""
        if not values:
            return dict.fromkeys(*values)
        within(items_in(values[0]), MOST_PARTS)
        keys = list(values[0])
        hashable(keys)
        return dict.fromkeys(keys, *values[1:])


class TemplateNamespace(Namespace):
    """`namespace(...)` of a template; no attribute of it may begin with an underscore."""

    def __init__(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - `self` is a valid name in it
        self, *values = arguments
        attributes = dict(*values, **named)
        for name in attributes:
            _check_attribute(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: object) -> None:
        if name[:1] == "_":
            _check_attribute(name)
        attributes_of(self)[name] = value


def attributes_of(namespace: Namespace) -> dict[str, object]:
    """Return the attributes of a namespace."""
    attributes: dict[str, object] = namespace._Namespace__attrs
    return attributes


def _check_attribute(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}, which begins with an underscore")


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(None if message is None else str(message))


def _lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:
    within(n * max, 1 << 16)
    return generate_lorem_ipsum(n, html, min, max)


def strftime(now: str | None) -> Callable[[str], str]:
    """Return a template's `strftime_now` for a given moment (ISO 8601), or for the present."""

    def strftime_now(format: str) -> str:
        within(len(format), 1 << 10)
        moment = datetime.now() if now is None else datetime.fromisoformat(now)
        text = moment.strftime(str.__str__(format))
        return text if type(format) is str else lost(text, "strftime_now")

    setattr(strftime_now, TEMPLATE_TEXT, True)
    return strftime_now


GLOBALS: Final[Mapping[str, object]] = {
    "dict": _Dict(),
    "namespace": TemplateNamespace,
    "raise_exception": _raise_exception,
    "lipsum": _lipsum,
}
"""Functions by name; `range`, `cycler` and `joiner` are Jinja's own."""
