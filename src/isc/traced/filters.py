"""Every filter and test of a template, each with what it does to origins.

Filters that pick items give them back as they are. Those that were not written again for traced text run as they are in
Jinja, and text that they make out of caller data is of its one origin, or of unknown origin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import reduce, wraps
from typing import Any, Final

from jinja2.filters import FILTERS as DEFAULT_FILTERS
from jinja2.filters import make_attrgetter, make_multi_attrgetter
from jinja2.runtime import Context
from jinja2.tests import TESTS as DEFAULT_TESTS
from jinja2.utils import pass_context, pass_environment

from isc.traced.environment import TracingEnvironment
from isc.traced.limits import MOST_PARTS, SLOW, SLOWER, bounded, items_in, within
from isc.traced.origins import Kind, Origin, sole
from isc.traced.strings import Traced, lost, whole
from isc.traced.text_filters import TEXT_FILTERS, counted
from isc.traced.values import SCALARS, TracedBool, TracedNone, scalar


def _itemwise(name: str) -> Callable[..., object]:
    """Wrap a filter that picks or groups items without a look at their text.

    Its items are made at once, and counted.
    """
    function: Any = DEFAULT_FILTERS[name]

    @pass_context
    def item_filter(context: Context, value: Any, *arguments: Any, **named: Any) -> object:  # noqa: ANN401
        environment: Any = context.environment
        passed = (*arguments, *named.values())
        _check_items(name, value, passed)
        environment.meter.see(_looked_at(name, value, passed))
        if name in _COMPARING:
            value = _comparable(environment, name, value, passed)
        filtered = function(*_passed(function, context), value, *arguments, **named)
        if isinstance(filtered, Iterator):
            return iter(list(counted(environment, filtered)))
        environment.weigh(filtered)
        return filtered

    return item_filter


def _comparable(environment: TracingEnvironment, name: str, value: Any, arguments: Collection[object]) -> object:  # noqa: ANN401
    """Return the items of a filter that compares them, if what it compares of them is small enough."""
    attributes = [argument for argument in arguments if isinstance(argument, str)]
    if name == "dictsort" or not attributes or not isinstance(value, Iterable):
        return value
    items = list(counted(environment, value))
    looked_up = sum(1 + attribute.count(".") + attribute.count(",") for attribute in attributes)
    environment.meter.see(len(items) * looked_up * _LOOK_UP_WEIGHT)
    for attribute in attributes:
        bounded(list(map(make_multi_attrgetter(environment, attribute), items)))
    return items


@pass_context
def _sum(context: Context, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:  # noqa: ANN401
    """Add items up. Numbers are added as Python adds them, lists by additions that are metered."""
    environment: Any = context.environment
    if attribute is not None:
        iterable = map(make_attrgetter(environment, attribute), iterable)
    items = list(counted(environment, iterable))
    if all(isinstance(item, (int, float)) for item in (start, *items)):
        return sum(items, start)
    return reduce(lambda left, right: environment.call_binop(context, "+", left, right), items, start)


def _looked_at(name: str, value: object, arguments: Collection[object]) -> int:
    """Count the characters that a filter looks at: for each item as many as its longest argument has.

    A filter that compares its items looks at each of them some times.
    """
    compared = max((len(argument) for argument in arguments if isinstance(argument, str)), default=0)
    inside = bounded(value).characters if name in _COMPARING and not isinstance(value, str) else 0
    return inside + items_in(value) * compared


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


def _check_items(name: str, value: object, arguments: Collection[object]) -> None:
    """Refuse what would compare, or make, without bounds."""
    if name in _COMPARING:
        bounded(value)
    if isinstance(value, (str, bytes)):
        within(len(value), MOST_PARTS)
    for argument in arguments:
        if isinstance(argument, int):
            within(argument, MOST_PARTS)


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

    most = SLOW if name in _LINEAR else SLOWER

    @pass_context
    def other_filter(context: Context, value: Any, *arguments: Any, **named: Any) -> object:  # noqa: ANN401
        within(bounded(value, most, most).characters, most)
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
    *("selectattr", "slice", "sort", "unique"),
)
_COMPARING: Final = frozenset(("dictsort", "groupby", "max", "min", "sort", "unique"))
_LOOK_UP_WEIGHT: Final = 64
_LINEAR: Final = frozenset(("filesizeformat", "wordcount"))
_GIVING_BACK: Final = ("attr", "count", "d", "default", "first", "last", "length", "random")
FILTERS: Final[Mapping[str, Callable[..., object]]] = {
    **{name: DEFAULT_FILTERS[name] for name in _GIVING_BACK},
    **{name: _charged(function) for name, function in TEXT_FILTERS.items()},
    **{name: _itemwise(name) for name in _ITEMWISE},
    "reverse": _itemwise("reverse"),
    "sum": _sum,
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

    @pass_environment
    def comparison(environment: TracingEnvironment, value: object, other: object) -> bool:
        return bool(function(environment.small(value), environment.small(other)))

    return comparison


@pass_environment
def _contained(environment: TracingEnvironment, value: object, seq: object) -> bool:
    return environment.contained(value, seq)


def _of_text(name: str) -> Callable[..., bool]:
    """Wrap a test of a value's text."""
    function: Any = DEFAULT_TESTS[name]

    @pass_environment
    def text_test(environment: TracingEnvironment, value: object) -> bool:
        text = environment.printed(value)
        environment.meter.see(len(text))
        return bool(function(text))

    return text_test


_COMPARISONS: Final = (
    *("==", "eq", "equalto", "!=", "ne", ">", "gt", "greaterthan", ">=", "ge", "<", "lt", "lessthan", "<=", "le"),
)
TESTS: Final[Mapping[str, Callable[..., object]]] = {
    **{name: test for name, test in DEFAULT_TESTS.items() if callable(test)},
    **{name: _compared(name) for name in _COMPARISONS},
    **{name: _of_text(name) for name in ("lower", "upper")},
    "in": _contained,
    "boolean": _is_boolean,
    "false": lambda value: value is False or (isinstance(value, TracedBool) and not value),
    "true": lambda value: value is True or (isinstance(value, TracedBool) and bool(value)),
    "integer": _is_integer,
    "none": lambda value: value is None or isinstance(value, TracedNone),
    "sameas": _same,
}
"""Every test that `apply_chat_template` allows."""
