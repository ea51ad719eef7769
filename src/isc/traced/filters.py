"""Every filter and test of a template, each with what it does to origins.

Filters that pick items give them back as they are. Those that were not written again for traced text run as they are in
Jinja, and text that they make out of caller data is of its one origin, or of unknown origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Final

from jinja2.filters import FILTERS as DEFAULT_FILTERS
from jinja2.runtime import Context
from jinja2.tests import TESTS as DEFAULT_TESTS
from jinja2.utils import pass_context

from isc.traced.environment import TracingEnvironment
from isc.traced.limits import MOST_PARTS, bounded, within
from isc.traced.origins import Kind, Origin, sole
from isc.traced.strings import Traced, lost, whole
from isc.traced.text_filters import SLOW, TEXT_FILTERS, counted
from isc.traced.values import SCALARS, TracedBool, TracedNone, scalar


def _itemwise(name: str) -> Callable[..., object]:
    """Wrap a filter that picks or groups items without a look at their text.

    Its items are made at once, and counted.
    """
    function: Any = DEFAULT_FILTERS[name]

    @pass_context
    def item_filter(context: Context, value: Any, *arguments: Any, **named: Any) -> object:  # noqa: ANN401
        environment: Any = context.environment
        _check_items(name, value, arguments)
        environment.meter.see(within(_compared_characters(name, value, arguments)))
        filtered = function(*_passed(function, context), value, *arguments, **named)
        if isinstance(filtered, Iterator):
            return iter(list(counted(environment, filtered)))
        environment.meter.spend(len(filtered) if isinstance(filtered, (list, str)) else 1)
        return filtered

    return item_filter


def _compared_characters(name: str, value: object, arguments: Sequence[object]) -> int:
    """Count the characters that a filter looks at: of its items, or for each item as many as are compared."""
    if not isinstance(value, (list, tuple)):
        return 0
    compared = max((len(argument) for argument in arguments if isinstance(argument, str)), default=0)
    inside = sum(len(item) for item in value if isinstance(item, str)) if name in _COMPARING else 0
    return inside + len(value) * compared


def _charged(function: Callable[..., object]) -> Callable[..., object]:
    """Wrap a filter whose text counts as made, also where the text is only kept."""

    @wraps(function)
    def charged(first: Any, /, *arguments: Any, **named: Any) -> object:  # noqa: ANN401
        made = function(first, *arguments, **named)
        environment = getattr(first, "environment", first)
        if isinstance(made, str) and isinstance(environment, TracingEnvironment):
            environment.meter.spend(len(made))
        return made

    return charged


def _passed(function: object, context: Context) -> tuple[object, ...]:
    """Return the arguments that Jinja passes to a filter first."""
    asked = getattr(getattr(function, "jinja_pass_arg", None), "name", None)
    passable = {"context": context, "environment": context.environment, "eval_context": context.eval_ctx}
    return (passable[asked],) if asked is not None else ()


def _check_items(name: str, value: object, arguments: Sequence[object]) -> None:
    """Refuse what would compare, or make, without bounds."""
    if name in _COMPARING:
        bounded(value)
    if isinstance(value, (str, bytes)):
        within(len(value), MOST_PARTS)
    for argument in arguments:
        if isinstance(argument, int):
            within(argument, MOST_PARTS)
    if name == "sum" and isinstance(value, (list, tuple)):
        within(len(value) * sum(len(item) for item in value if isinstance(item, (list, tuple))))


def _number(name: str) -> Callable[..., object]:
    """Wrap a filter that makes a number. The number has the origin of its source."""
    function: Any = DEFAULT_FILTERS[name]

    def number_filter(value: object, *arguments: Any, **named: Any) -> object:  # noqa: ANN401
        for argument in (*arguments, *named.values()):
            if isinstance(argument, int):
                within(abs(argument), 1 << 10)
        if isinstance(value, str):
            within(len(value), SLOW)
        number = function(value, *arguments, **named)
        origin = _origin_of(value)
        return scalar(number, origin) if origin is not None and isinstance(number, (int, float)) else number

    return number_filter


def _origin_of(value: object) -> Origin | None:
    """Return the one origin of a number or text of the caller's."""
    if isinstance(value, SCALARS):
        return value._origin
    origin = sole(value._runs) if isinstance(value, Traced) else None
    return None if origin is None or origin.kind is Kind.TEMPLATE else origin


def _other(name: str) -> Callable[..., object]:
    """Wrap any other filter. Its text has the one origin of its value, or an unknown one; never the template's own."""
    function: Any = DEFAULT_FILTERS[name]

    @pass_context
    def other_filter(context: Context, value: Any, *arguments: Any, **named: Any) -> object:  # noqa: ANN401
        bounded(value)
        if isinstance(value, str):
            within(len(value), SLOW)
        made = function(*_passed(function, context), value, *arguments, **named)
        if not isinstance(made, str):
            return made
        if isinstance(value, str) and not isinstance(value, Traced) and not arguments and not named:
            return made
        origin = _origin_of(value)
        return lost(str.__str__(made), name) if origin is None or arguments else whole(str.__str__(made), origin)

    return other_filter


_ITEMWISE: Final = (
    *("batch", "dictsort", "groupby", "items", "list", "map", "max", "min", "reject", "rejectattr", "select"),
    *("selectattr", "slice", "sort", "sum", "unique"),
)
_COMPARING: Final = frozenset(("dictsort", "groupby", "max", "min", "sort", "sum", "unique"))
_GIVING_BACK: Final = ("attr", "count", "d", "default", "first", "last", "length", "random", "reverse")
FILTERS: Final[Mapping[str, Callable[..., object]]] = {
    **{name: DEFAULT_FILTERS[name] for name in _GIVING_BACK},
    **{name: _charged(function) for name, function in TEXT_FILTERS.items()},
    **{name: _itemwise(name) for name in _ITEMWISE},
    **{name: _number(name) for name in ("abs", "float", "int", "round")},
    **{name: _other(name) for name in ("filesizeformat", "pprint", "urlize", "wordcount")},
}
"""Every filter that `apply_chat_template` allows."""


def _is_boolean(value: object) -> bool:
    return value is True or value is False or isinstance(value, TracedBool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not _is_boolean(value)


def _same(value: object, other: object) -> bool:
    if isinstance(value, (TracedBool, TracedNone)):
        value = bool(value) if isinstance(value, TracedBool) else None
    if isinstance(other, (TracedBool, TracedNone)):
        other = bool(other) if isinstance(other, TracedBool) else None
    return value is other


def _compared(name: str) -> Callable[..., bool]:
    """Wrap a test that compares. Values nested by a hostile template would make it endless."""
    function: Any = DEFAULT_TESTS[name]

    def comparison(value: object, other: object) -> bool:
        bounded(value)
        bounded(other)
        return bool(function(value, other))

    return comparison


_COMPARISONS: Final = (
    *("==", "eq", "equalto", "!=", "ne", ">", "gt", "greaterthan", ">=", "ge", "<", "lt", "lessthan", "<=", "le", "in"),
)
TESTS: Final[Mapping[str, Callable[..., object]]] = {
    **{name: test for name, test in DEFAULT_TESTS.items() if callable(test)},
    **{name: _compared(name) for name in _COMPARISONS},
    "boolean": _is_boolean,
    "false": lambda value: value is False or (isinstance(value, TracedBool) and not value),
    "true": lambda value: value is True or (isinstance(value, TracedBool) and bool(value)),
    "integer": _is_integer,
    "none": lambda value: value is None or isinstance(value, TracedNone),
    "sameas": _same,
}
"""Every test that `apply_chat_template` allows."""
