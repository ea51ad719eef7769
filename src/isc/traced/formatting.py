"""Values put into patterns by `%` and by `format`, each character with its origin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jinja2.sandbox import SandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

from isc.traced.limits import MOST_DIRECTIVES, bounded, within
from isc.traced.markup import plain
from isc.traced.origins import sole
from isc.traced.printing import OWN_TEXT, Containers, Printed, matching, printed, represented
from isc.traced.strings import Traced, lost, runs_of, whole, whole_of
from isc.traced.values import SCALARS

_NUMBER: Final = re.compile(r"\d+")
_NUMBER_LENGTH: Final = 400
"""Characters of the longest number with a fraction."""
_ITEM_LENGTH: Final = 8
"""Characters around an item: quotes, a comma, a bracket; a digit of a short number."""
_DIRECTIVE: Final = re.compile(
    r"%(?:\((?P<key>[^)]{0,256})\))?[#0\- +]*(?P<width>\*|\d*)(?:\.(?P<precision>\*|\d*))?[hlL]?(?P<kind>.)", re.DOTALL
)


def percent(pattern: str, values: object, containers: Containers) -> str:
    """Evaluate `pattern % values`."""
    if _check_sizes(pattern, values):
        return lost(str.__str__(pattern) % _printable(values, containers), "%")
    text = str.__mod__(str.__str__(pattern), _printable(values, containers))
    waiting = iter(values) if isinstance(values, tuple) else None
    parts: list[str] = []
    position = 0
    for match in _DIRECTIVE.finditer(pattern):
        parts.append(pattern[position : match.start()])
        parts.append(_directive(match, values if waiting is None else waiting, containers))
        position = match.end()
    return matching([*parts, pattern[position:]], text, "%")


def _check_sizes(pattern: str, values: object) -> bool:
    """Refuse a pattern whose text may get too long. Return whether a value gives a width or precision."""
    within(pattern.count("%"), MOST_DIRECTIVES)
    starred = False
    total = len(pattern)
    shares = [_shown(value) for value in values] if isinstance(values, tuple) else None
    for match in _DIRECTIVE.finditer(pattern):
        for size in (match["width"], match["precision"]):
            starred = starred or size == "*"
            total += int(size or 0) if size != "*" else 0
        if shares is None and match["kind"] != "%":
            keyed = isinstance(values, dict) and match["key"] is not None
            total += _shown(values.get(match["key"]) if keyed else values)  # type: ignore[attr-defined]
        within(total)
    within(total + sum(shares or ()))
    if starred:
        for value in values if isinstance(values, tuple) else (values,):
            within(total + abs(value) * pattern.count("*") if isinstance(value, int) else 0)
    return starred


def _shown(value: object) -> int:
    """Return how many characters a value takes at most, but for escapes of a representation."""
    if isinstance(value, int):
        return value.bit_length() + 1
    size = bounded(value)
    return _NUMBER_LENGTH + size.characters + size.nodes * _ITEM_LENGTH


def _printable(values: object, containers: Containers) -> object:
    """Return values with their containers printed, in bounds."""
    if isinstance(values, tuple):
        return tuple(_printable_one(value, containers) for value in values)
    if isinstance(values, dict):
        return {key: _printable_one(value, containers) for key, value in values.items()}
    return _printable_one(values, containers)


def _printable_one(value: object, containers: Containers) -> object:
    return Printed(value, containers) if isinstance(value, (list, tuple, dict, Namespace)) else value


def _directive(match: re.Match[str], values: Any, containers: Containers) -> str:  # noqa: ANN401 - what `%` takes
    """Fill one directive of a pattern with its value."""
    if match["kind"] == "%":
        return "%"
    if match["key"] is not None:
        value = values[match["key"]]
        directive = "%" + match.group()[len(match["key"]) + 3 :]
    else:
        value = next(values) if isinstance(values, Iterator) else values
        directive = match.group()
    if match["kind"] == "c":
        return lost(directive % (value,), "%c")
    return one_value(value, lambda shown: directive % (shown,), containers, exact=directive == "%s")


def one_value(value: object, show: Callable[[Any], str], containers: Containers, *, exact: bool) -> str:
    """Return a value as a format shows it. `exact`: the text of the value itself."""
    if exact:
        return printed(value, containers)
    text = str.__str__(show(_printable_one(value, containers)))
    if isinstance(value, SCALARS):
        return whole(text, value._origin)
    if isinstance(value, Traced):
        return whole_of(plain(value), text, "format")
    if isinstance(value, str) or type(value) in OWN_TEXT:
        return text
    runs = runs_of(printed(value, containers))
    origin = sole(runs)
    return lost(text, "format") if origin is None else whole(text, origin)


class _Formatter(SandboxedFormatter):
    """`str.format` in the sandbox that notes the pieces it puts together."""

    def __init__(self, environment: SandboxedEnvironment, pattern: str, containers: Containers) -> None:
        super().__init__(environment)
        self.pieces: list[str] = []
        self._length = 0
        self._pattern = str.__str__(pattern)
        self._origin = sole(runs_of(pattern))
        self._own = type(pattern) is str
        self._containers = containers

    def text(self, values: Sequence[object], named: Mapping[str, object]) -> str:
        within(self._pattern.count("{") + self._pattern.count("}"), MOST_DIRECTIVES)
        return str(self.vformat(self._pattern, values, named))

    def parse(self, format_string: str) -> Iterable[tuple[str, str | None, str | None, str | None]]:
        for piece in super().parse(format_string):
            if format_string is self._pattern:
                self.pieces.append(self._literal(piece[0]))
            yield piece

    def _literal(self, text: str) -> str:
        if self._own or not text:
            return text
        return lost(text, "format") if self._origin is None else whole(text, self._origin)

    def convert_field(self, value: Any, conversion: str | None) -> Any:  # noqa: ANN401 - as its base
        if conversion == "s":
            return printed(value, self._containers)
        if conversion == "r":
            return represented(value, self._containers)
        return lost(ascii(Printed(value, self._containers)), "format") if conversion == "a" else value

    def format_field(self, value: object, format_spec: str) -> str:
        within(self._length + sum(map(int, _NUMBER.findall(format_spec))) + _shown(value))
        if format_spec.endswith("c"):
            shown: str = lost(format(value, format_spec), "format")
        else:
            shown = one_value(value, lambda one: format(one, format_spec), self._containers, exact=not format_spec)
        self._length += len(shown)
        self.pieces.append(shown)
        return str.__str__(shown)


def formatted(
    environment: SandboxedEnvironment,
    pattern: str,
    values: Sequence[object],
    named: Mapping[str, object],
    containers: Containers,
) -> str:
    """Evaluate `pattern.format(*values, **named)`, attributes looked up as the sandbox allows."""
    formatter = _Formatter(environment, pattern, containers)
    text = formatter.text(values, named)
    return matching(formatter.pieces, text, "format")
