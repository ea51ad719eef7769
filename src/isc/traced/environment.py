"""The sandbox a template runs in: Jinja's immutable sandbox as `apply_chat_template` sets it up, traced and metered."""

from __future__ import annotations

import copy
import operator as operators
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from types import BuiltinMethodType, MethodType
from typing import Any, Final

from jinja2.ext import loopcontrols
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from isc.traced.compiler import DICT_METHODS, Generation, TracingCodeGenerator
from isc.traced.formatting import formatted, percent
from isc.traced.language import TEMPLATE_TEXT, TemplateNamespace, attributes_of
from isc.traced.limits import (
    LONGEST,
    MOST_BITS,
    MOST_PARTS,
    NESTING,
    RUN_WEIGHT,
    SLOWER,
    Meter,
    bounded,
    items_in,
    weight,
    within,
)
from isc.traced.markup import TracedMarkup, escaped_text, plain
from isc.traced.origins import TEMPLATE, Kind, Place, Run, Runs, merged, place_of
from isc.traced.printing import printed, put_together
from isc.traced.regions import GENERATION, LEAVE, TAIL, Mark, assembled, enter, run_count, settle
from isc.traced.strings import Traced, added, lost, runs_of, traced
from isc.traced.values import SCALARS, Container, Inputs, scalar

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], object]]] = {
    "eq": operators.eq,
    "ne": operators.ne,
    "gt": operators.gt,
    "gteq": operators.ge,
    "lt": operators.lt,
    "lteq": operators.le,
}
_STORES: Final = (dict, list, tuple, Namespace, Cycler, Joiner, LoopContext, BlockReference, Macro, Generation)
"""Things whose methods give back what was put into them."""
_VARIABLES: Final = frozenset(("_loop_vars", "_block_vars"))
"""What Jinja passes along with a call."""
_BYTES: Final = frozenset(("decode", "hex", "startswith", "endswith", "find", "count", "index"))
_LOOP: Final = frozenset(("first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex"))
_CONTAINERS: Final = frozenset((dict, list, tuple))
_TEXTS: Final = frozenset((str, Traced))
_SIMPLE: Final = frozenset((int, float, bool, type(None), *SCALARS))
"""Values that take no time to compare or hash."""
ESCAPED: Final = 6
"""How many times as long a text can be when it is escaped."""
_SHORT: Final = 1 << 16
_LOOKED_AT: Final = 1 << 12
_FEW_RUNS: Final = 1 << 8
_MADE_ITEM: Final = 4
"""How much more an item weighs that was made for its list than one that is only held."""
_BACKWARDS: Final = frozenset(("rfind", "rindex", "rpartition", "rsplit"))
"""Searches from the end, which Python has only in a version of quadratic cost."""
_BY_CHARACTER: Final = frozenset(("maketrans", "translate"))
_CODECS: Final = frozenset(("utf-8", "utf8", "ascii", "latin-1", "utf-16", "utf-32"))
"""Codecs of linear cost; `punycode` and `idna` are none."""


class TracingEnvironment(ImmutableSandboxedEnvironment):
    """One environment a template; every render runs in a copy with its own inputs and meter."""

    code_generator_class = TracingCodeGenerator
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
    intercepted_unops = frozenset(("+", "-"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[Generation, loopcontrols])
        self.meter = Meter()
        self.containers: Mapping[int, Container] | None = None
        self.owners: Mapping[int, int] = {}
        self.regions: list[Place | None] = []
        self.here: Place | None = None

    def copy_for(self, inputs: Inputs, meter: Meter) -> TracingEnvironment:
        """Return the environment of one render."""
        environment = copy.copy(self)
        environment.meter, environment.owners = meter, inputs.owners
        environment.containers = inputs.containers if inputs.owners else None
        environment.regions, environment.here = [], None
        return environment

    # What compiled code calls.

    def printed(self, value: object) -> str:
        """Return a value as it is written out."""
        kind = type(value)
        if kind is str or kind is Traced:
            return value  # type: ignore[return-value]
        text = printed(value, self.containers)
        self.meter.spend(len(text))
        return text

    def escapable(self, value: object) -> object:
        """Return a value that Jinja's own escaping can print within bounds. The value loses every origin."""
        if hasattr(value, "__html__"):
            return value
        text = value if isinstance(value, str) else str.__str__(self.printed(value))
        if len(text) <= _LOOKED_AT:
            return text
        escaped = escaped_text(text)
        self.meter.spend(len(escaped))
        return escaped

    def concat(self, pieces: Iterable[str]) -> str:
        """Join the text of a macro or block."""
        parts = list(pieces)
        total = sum(map(len, parts))
        self.meter.gather(total, run_count(parts))
        self.meter.spend(within(total))
        text = "".join(parts)
        if all(type(part) is str for part in parts):
            return self._own(text)
        runs = assembled(parts)[0]
        self.meter.spend(len(runs) * RUN_WEIGHT)
        here = self.here
        if here is not None:
            runs = [run if run[2] or run[1] is not TEMPLATE else (run[0], TEMPLATE, here) for run in runs]
        return traced(text, tuple(merged(runs)))

    def chained(self, values: Sequence[object]) -> str:
        """Evaluate `a ~ b`."""
        parts = [self.printed(value) for value in values]
        self.meter.step(within(sum(map(len, parts))))
        self.meter.spend(sum([len(part._runs) for part in parts if type(part) is Traced]) * RUN_WEIGHT)
        return put_together([self._own(part) if type(part) is str else part for part in parts])

    def summed(self, context: Context, values: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever a template adds
        """Evaluate `a + b + c`."""
        here = self.here
        runs = _runs_of_sum(values, here)
        if runs is None:
            return reduce(lambda left, right: self.call_binop(context, "+", left, right), values)
        length = runs[0][0] if len(runs) == 1 else sum([run[0] for run in runs])
        self.meter.step(length if length <= _SHORT else within(length))
        if len(runs) > _FEW_RUNS:
            self.meter.spend(len(runs) * RUN_WEIGHT)
        text = "".join(values)
        return traced(text, runs) if here is not None or Traced in map(type, values) else text

    def parts_of_sum(self, context: Context, values: tuple[Any, ...]) -> Sequence[str]:
        """Return the texts that printing `a + b + c` writes: the operands themselves, where all of them are texts."""
        self.meter.step()
        for value in values:
            kind = type(value)
            if kind is not str and kind is not Traced:
                return (self.printed(self.summed(context, values)),)
        return values

    def _own(self, text: str) -> str:
        """Give the template's own text to the current turn.

        A text that turns out to be used in another goes to that one.
        """
        here = self.here
        return traced(text, ((len(text), TEMPLATE, here),)) if here is not None and text else text

    def gathered(self, values: list[object]) -> list[object]:
        """Evaluate `[a, b]`. The template's own texts belong to the turn they are gathered in."""
        if self.here is None:
            return values
        return [self._own(value) if type(value) is str else value for value in values]

    def sliced(self, value: Any, bounds: slice) -> object:  # noqa: ANN401 - whatever a template slices
        """Evaluate `a[b:c]`."""
        self._look_at_runs(value)
        part = value[bounds]
        self.weigh(part)
        return part

    def _look_at_runs(self, value: object) -> None:
        if type(value) is Traced and len(value._runs) > _FEW_RUNS:
            self.meter.look()

    def small(self, value: object) -> object:
        """Return a value that may be compared or hashed."""
        kind = type(value)
        if kind in _TEXTS:
            self.meter.see(len(value))  # type: ignore[arg-type]
        elif kind not in _SIMPLE and isinstance(value, NESTING):
            self.meter.step()
            if not self._is_input(value):
                self.meter.see(weight(value))
        return value

    def _is_input(self, value: object) -> bool:
        """Return whether a value is a container of the caller's, which is as large as it is."""
        return id(value) in (self.containers or ()) or id(value) in self.owners

    def contained(self, item: object, values: Any) -> bool:  # noqa: ANN401 - whatever a template looks in
        """Evaluate `item in values`."""
        kind = type(values)
        if kind in _TEXTS:
            self.meter.see(len(values))
        elif kind is dict:
            self.small(item)
        elif kind not in _SIMPLE:
            self.meter.step()
            self.meter.see(items_in(values) * (1 if self._is_input(item) else weight(item)))
        return item in values

    def chained_comparison(self, first: object, *others: tuple[str, Callable[[], object]]) -> bool:
        """Evaluate `a < b in c`, each value when it is needed."""
        left = self.small(first)
        for operator, value in others:
            right = value()
            if operator in {"in", "notin"}:
                holds = self.contained(left, right) == (operator == "in")
            else:
                holds = bool(_COMPARISONS[operator](left, self.small(right)))
            if not holds:
                return False
            left = right
        return True

    def spread(self, values: Any) -> Any:  # noqa: ANN401 - whatever a template passes on
        """Evaluate the values of `f(*values)` and `f(**values)`."""
        self.meter.step(within(items_in(values), MOST_PARTS) * RUN_WEIGHT)
        return values

    def weigh(self, made: object) -> None:
        """Count what an operation made."""
        if isinstance(made, str):
            self.meter.spend(len(made))
            if isinstance(made, Traced) and len(made._runs) > _FEW_RUNS:
                self.meter.spend(len(made._runs) * RUN_WEIGHT)
        elif isinstance(made, (list, tuple)):
            times = _MADE_ITEM if made and isinstance(made[0], Traced) else 1
            self.meter.spend(len(made) * RUN_WEIGHT * times)
        elif isinstance(made, (dict, bytes, set, frozenset)):
            self.meter.spend(len(made) * RUN_WEIGHT)
        elif isinstance(made, Namespace):
            self.meter.spend(len(attributes_of(made)) * RUN_WEIGHT)

    # What Jinja's runtime calls.

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - whatever a template holds
        """Evaluate `a.b`."""
        if type(obj) is dict and attribute not in DICT_METHODS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if type(obj) is LoopContext and attribute in _LOOP:
            return getattr(obj, attribute)
        if type(obj) is TemplateNamespace and attribute[:1] != "_":
            held = attributes_of(obj)
            return held[attribute] if attribute in held else self.undefined(obj=obj, name=attribute)
        refused = self._refused(obj, attribute)
        return super().getattr(_with_methods(obj), attribute) if refused is None else refused

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401 - whatever a template holds
        """Evaluate `a[b]`."""
        if isinstance(argument, str):
            if type(obj) is dict and argument in obj:
                return obj[argument]
            refused = self._refused(obj, argument)
            return super().getitem(_with_methods(obj), argument) if refused is None else refused
        if type(argument) is tuple:
            bounded(argument)
        self._look_at_runs(obj)
        return super().getitem(obj, argument)

    def _refused(self, obj: object, attribute: str) -> Undefined | None:
        """Refuse attributes that a plain value lacks, or that let a template fill memory."""
        if isinstance(obj, Traced) and not isinstance(obj, TracedMarkup) and not hasattr(str, attribute):
            return self.undefined(obj=str.__str__(obj), name=attribute)
        if isinstance(obj, int) and attribute in ("to_bytes", "from_bytes"):
            return self.unsafe_undefined(obj, attribute)
        if isinstance(obj, bytes) and attribute not in _BYTES:
            return self.unsafe_undefined(obj, attribute)
        return None

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ANN401 - as its base
        """Wrap a string's `format` and `format_map`, which would lose every origin and look up any attribute."""
        if not isinstance(value, (MethodType, BuiltinMethodType)) or value.__name__ not in ("format", "format_map"):
            return None
        pattern = value.__self__
        if not isinstance(pattern, Traced):
            return super().wrap_str_format(value)
        by_map = value.__name__ == "format_map"
        escaping = super().wrap_str_format(value) if isinstance(pattern, TracedMarkup) else None

        def wrapper(*values: object, **named: object) -> str:
            if by_map:
                (mapping,) = values
                text = formatted(self, plain(pattern), (), mapping, self.containers)  # type: ignore[arg-type]
            else:
                text = formatted(self, plain(pattern), values, named, self.containers)
            if escaping is None:
                return text
            within(len(text) * ESCAPED)
            return escaping(*values, **named)

        return wrapper

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, N805
        """Evaluate `a(b)`."""
        __self.meter.step()
        if not isinstance(__obj, Macro):
            named = [value for name, value in kwargs.items() if name not in _VARIABLES] if kwargs else []
            values = (*args, *named) if named else args
            for value in values:
                __self.small(value)
            __self.meter.see(_looked_at(__obj, values))
        result = SandboxedEnvironment.call(__self, __context, __obj, *args, **kwargs)
        __self.weigh(result)
        if not isinstance(result, str):
            return result
        own = _template_text(result)
        if own is not result:
            return own
        if isinstance(__obj, Macro):
            return __self._of_macro(result, [*args, *kwargs.values()])
        if type(result) is str and result and not _gives_back(__obj):
            return lost(result, getattr(__obj, "__name__", type(__obj).__name__))
        return result

    def called(
        __self,  # noqa: N805 - as its base
        __context: Context,
        __value: object,
        __name: str,
        *args: str,
        **variables: Any,  # noqa: ANN401 - variables of loops and blocks
    ) -> object:
        """Evaluate `a.strip()` like `call` of `getattr`, without a check that a text's methods are safe."""
        kind = type(__value)
        if kind is not str and kind is not Traced:
            return __self.call(__context, __self.getattr(__value, __name), *args, **variables)
        text: Any = __value
        __self.meter.step()
        __self.meter.see(len(text))
        if kind is str and (args or __name == "split" or __self.containers is not None):
            text = _with_methods(text)
        result = getattr(text, __name)(*args)
        __self.weigh(result)
        return _template_text(result)

    def _of_macro(self, text: str, arguments: Sequence[object]) -> str:
        """Give a macro's text to the message that was passed to the macro, if only one was."""
        if not self.owners or not text:
            return text
        messages = {message for argument in arguments for message in self._messages_of(argument)}
        if len(messages) != 1:
            return text
        runs = list(runs_of(text))
        settle(runs, 0, messages.pop())
        return traced(text, tuple(merged(runs)))

    def _messages_of(self, value: object) -> Iterable[int]:
        if isinstance(value, Traced):
            return {origin.message for _, origin, _ in value._runs if origin.kind is Kind.BODY}
        owner = self.owners.get(id(value))
        return () if owner is None else (owner,)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        """Evaluate `a + b`."""
        if operator == "+" and type(left) in _TEXTS and type(right) in _TEXTS:
            text = str.__add__(left, right)
            length = len(text)
            self.meter.step(length if length <= _SHORT else within(length))
            here = self.here
            if here is None and type(left) is str and type(right) is str:
                return text
            first = left._runs if type(left) is Traced else ((len(left), TEMPLATE, here),) if left else ()
            second = right._runs if type(right) is Traced else ((len(right), TEMPLATE, here),) if right else ()
            if len(first) + len(second) > _FEW_RUNS:
                self.meter.spend((len(first) + len(second)) * RUN_WEIGHT)
            return traced(text, added(first, second))
        self.meter.step()
        if operator == "%" and type(left) is int and type(right) is int:
            return left % right
        result: Any
        if operator == "%" and isinstance(left, str):
            result = self.filled(left, right)
        else:
            _check_operands(operator, left, right)
            result = self.binop_table[operator](left, right)
        self.weigh(result)
        if isinstance(result, str):
            return self._own(result) if type(result) is str else result
        return _as_number(result, left, right)

    def filled(self, pattern: str, values: object) -> str:
        """Evaluate `pattern % values`. Markup escapes what is put into it."""
        text = percent(pattern, values, self.containers)
        if not isinstance(pattern, TracedMarkup):
            return text
        within(len(text) * ESCAPED)
        return pattern % values

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:  # noqa: ANN401
        """Evaluate `-a`."""
        return _as_number(self.unop_table[operator](arg), arg)

    # Marks.

    tail = TAIL
    generation = GENERATION

    def stepped(self) -> str:
        """Count one iteration of a loop that writes nothing."""
        self.meter.step()
        return ""

    def entered(self, item: object, *among: object) -> Mark:
        """Return the mark of a loop iteration's begin.

        The turn is a message's if the item is that message, or its position.
        """
        self.meter.step()
        owner = self.owners.get(id(item)) if type(item) is dict else self._owner(item)
        if owner is None and among and isinstance(item, int):
            for values in among:
                if isinstance(values, list) and 0 <= item < len(values):
                    owner = self._owner(values[item]) if owner is None else owner
        self.regions.append(self.here)
        if owner is not None:
            self.here = place_of(owner, False)
        return enter(owner)

    def _owner(self, item: object) -> int | None:
        if isinstance(item, tuple):
            return next((self.owners[id(part)] for part in item if id(part) in self.owners), None)
        return self.owners.get(id(item)) if isinstance(item, (dict, list)) else None

    def left(self) -> Mark:
        """Return the mark of a loop iteration's end."""
        if self.regions:
            self.here = self.regions.pop()
        return LEAVE


def _runs_of_sum(values: Iterable[object], here: Place | None) -> Runs | None:
    """Join the runs of texts in somebody's turn, or return None where one of the values is no text."""
    runs: list[Run] = []
    size, source, turn = 0, TEMPLATE, here
    for value in values:
        if type(value) is str:
            if source is TEMPLATE and turn is here:
                size += len(value)
                continue
            value_runs: Runs = ((len(value), TEMPLATE, here),) if value else ()
        elif type(value) is Traced:
            value_runs = value._runs
        else:
            return None
        for length, origin, place in value_runs:
            if origin is source and place is turn:
                size += length
                continue
            if size:
                runs.append((size, source, turn))
            size, source, turn = length, origin, place
    return (*runs, (size, source, turn)) if size else tuple(runs)


def _looked_at(method: object, arguments: Sequence[object]) -> int:
    """Count the characters that a method of a text or list looks at.

    For each item of a list, what it is compared with counts too.
    """
    holder, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    longest = max((len(argument) for argument in arguments if isinstance(argument, (str, bytes))), default=0)
    if name in _BY_CHARACTER:
        within(max(longest, len(holder) if isinstance(holder, str) else 0), MOST_PARTS)
    if isinstance(holder, (list, tuple)):
        return len(holder) * (1 + max(map(weight, arguments), default=0))
    if not isinstance(holder, (str, bytes)):
        return longest
    if name in ("encode", "decode") and any(str(argument).lower() not in _CODECS for argument in arguments[:1]):
        within(len(holder), SLOWER)
    return len(holder) * max(1, longest // 16) if name in _BACKWARDS else max(len(holder), longest)


def _with_methods(obj: object) -> object:
    """Give a plain string the methods of a traced one."""
    return traced(obj, runs_of(obj)) if type(obj) is str else obj


def _template_text(found: object) -> object:
    """Return the template's own text as a plain one if it is in nobody's turn yet, anything else as it is."""
    if type(found) is Traced and len(found._runs) == 1 and found._runs[0][1] is TEMPLATE and not found._runs[0][2]:
        return str.__str__(found)
    return found


def _gives_back(function: object) -> bool:
    """Return whether a function returns values of the template or the caller unchanged, or is the template's own."""
    holder = getattr(function, "__self__", None)
    return isinstance(function, _STORES) or isinstance(holder, _STORES) or hasattr(function, TEMPLATE_TEXT)


def _as_number(found: object, *operands: object) -> object:
    """Trace a number that was calculated from a message's number. It has that number's origin."""
    if type(found) in (int, float):
        for operand in operands:
            if isinstance(operand, SCALARS):
                return scalar(found, operand._origin)  # type: ignore[arg-type]
    return found


def _check_operands(operator: str, left: object, right: object) -> None:
    """Refuse what would build a value too large."""
    if operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(value, (str, bytes, list, tuple)) and isinstance(times, int):
                within(len(value) * times, MOST_PARTS if isinstance(value, (list, tuple)) else LONGEST)
    elif operator == "+" and isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        within(len(left) + len(right), MOST_PARTS)
    elif operator == "-" and not isinstance(left, (int, float)):  # views of dicts and sets, whose items are hashed
        bounded(left)
        bounded(right)
    if operator in ("*", "**", "+", "-") and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
        within(bits, MOST_BITS)
