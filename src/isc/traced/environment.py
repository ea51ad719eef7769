"""The sandbox a template runs in: Jinja's immutable sandbox as `apply_chat_template` sets it up, traced and metered."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from types import BuiltinMethodType, MethodType
from typing import Any, Final

from jinja2.ext import loopcontrols
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from isc.traced.compiler import Generation, TracingCodeGenerator
from isc.traced.formatting import formatted, percent
from isc.traced.language import TEMPLATE_TEXT, TemplateNamespace, attributes_of
from isc.traced.limits import LONGEST, MOST_BITS, MOST_PARTS, Meter, bounded, within
from isc.traced.markup import TracedMarkup
from isc.traced.origins import TEMPLATE, Kind, Place, Run, Runs, merged, place_of
from isc.traced.printing import printed, put_together
from isc.traced.regions import GENERATION, LEAVE, TAIL, Mark, assembled, enter, settle
from isc.traced.strings import Traced, added, lost, runs_of, traced
from isc.traced.values import SCALARS, Container, Inputs, scalar

_STORES: Final = (dict, list, tuple, Namespace, Cycler, Joiner, LoopContext, BlockReference, Macro, Generation)
"""Things whose methods give back what was put into them."""
_BYTES: Final = frozenset(("decode", "hex", "startswith", "endswith", "find", "count", "index"))
_DICT_METHODS: Final = frozenset(dir(dict))
_LOOP: Final = frozenset(("first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex"))
_CONTAINERS: Final = frozenset((dict, list, tuple))
_TEXTS: Final = frozenset((str, Traced))
_ITEM_WEIGHT: Final = 16
_SHORT: Final = 1 << 16


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
        found = copy.copy(self)
        found.meter, found.owners = meter, inputs.owners
        found.containers = inputs.containers if inputs.owners else None
        found.regions, found.here = [], None
        return found

    # What compiled code calls.

    def printed(self, value: object) -> str:
        """Return a value as it is written out."""
        kind = type(value)
        if kind is str or kind is Traced:
            return value  # type: ignore[return-value]
        return printed(value, self.containers)

    def escapable(self, value: object) -> object:
        """Return a value that Jinja's own escaping can print within bounds. The value loses every origin."""
        return value if isinstance(value, str) or hasattr(value, "__html__") else str.__str__(self.printed(value))

    def concat(self, pieces: Iterable[str]) -> str:
        """Join the text of a macro or block."""
        parts = list(pieces)
        text = "".join(parts)
        self.meter.spend(len(text))
        if all(type(part) is str for part in parts):
            return self._own(text)
        runs = assembled(parts)[0]
        here = self.here
        if here is not None:
            runs = [run if run[2] or run[1] is not TEMPLATE else (run[0], TEMPLATE, here) for run in runs]
        return traced(text, tuple(merged(runs)))

    def chained(self, values: Sequence[object]) -> str:
        """Evaluate `a ~ b`."""
        parts = [self.printed(value) for value in values]
        self.meter.step(within(sum(map(len, parts))))
        return put_together([self._own(part) if type(part) is str else part for part in parts])

    def summed(self, context: Context, values: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever a template adds
        """Evaluate `a + b + c`."""
        here = self.here
        runs = _runs_of_sum(values, here)
        if runs is None:
            return reduce(lambda left, right: self.call_binop(context, "+", left, right), values)
        length = runs[0][0] if len(runs) == 1 else sum([run[0] for run in runs])
        self.meter.step(length if length <= _SHORT else within(length))
        text = "".join(values)
        return traced(text, runs) if here is not None or Traced in map(type, values) else text

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
        found = value[bounds]
        self._weigh(found)
        return found

    def small(self, value: object) -> object:
        """Return a value that may be compared or hashed."""
        if type(value) in _CONTAINERS and id(value) not in (self.containers or ()) and id(value) not in self.owners:
            bounded(value)
        return value

    def _weigh(self, found: object) -> None:
        if isinstance(found, str):
            self.meter.spend(len(found))
        elif isinstance(found, (list, tuple, dict, bytes)):
            self.meter.spend(len(found) * _ITEM_WEIGHT)

    # What Jinja's runtime calls.

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - whatever a template holds
        """Evaluate `a.b`."""
        if type(obj) is dict and attribute not in _DICT_METHODS:
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
        if not isinstance(pattern, Traced) or isinstance(pattern, TracedMarkup):
            return super().wrap_str_format(value)
        by_map = value.__name__ == "format_map"

        def wrapper(*values: object, **named: object) -> str:
            if by_map:
                (mapping,) = values
                return formatted(self, pattern, (), mapping, self.containers)  # type: ignore[arg-type]
            return formatted(self, pattern, values, named, self.containers)

        return wrapper

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, N805
        """Evaluate `a(b)`."""
        __self.meter.step()
        if not isinstance(__obj, Macro):
            for value in args:
                __self.small(value)
            __self.meter.see(within(_looked_at(__obj, args)))
        found = SandboxedEnvironment.call(__self, __context, __obj, *args, **kwargs)
        __self._weigh(found)
        if not isinstance(found, str):
            return found
        own = _template_text(found)
        if own is not found:
            return own
        if isinstance(__obj, Macro):
            return __self._of_macro(found, [*args, *kwargs.values()])
        if type(found) is str and found and not _gives_back(__obj):
            return lost(found, getattr(__obj, "__name__", type(__obj).__name__))
        return found

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
        __self.meter.see(within(len(text)))
        if kind is str and (args or __name == "split" or __self.containers is not None):
            text = _with_methods(text)
        found = getattr(text, __name)(*args)
        __self._weigh(found)
        return _template_text(found)

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
            return traced(text, added(first, second))
        self.meter.step()
        if operator == "%" and type(left) is int and type(right) is int:
            return left % right
        if operator == "%" and isinstance(left, str):
            found = left % right if isinstance(left, TracedMarkup) else percent(left, right, self.containers)
        else:
            _check_operands(operator, left, right)
            found = self.binop_table[operator](left, right)
        self._weigh(found)
        if isinstance(found, str):
            return self._own(found) if type(found) is str else found
        return _as_number(found, left, right)

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
            given: Runs = ((len(value), TEMPLATE, here),) if value else ()
        elif type(value) is Traced:
            given = value._runs
        else:
            return None
        for length, origin, place in given:
            if origin is source and place is turn:
                size += length
                continue
            if size:
                runs.append((size, source, turn))
            size, source, turn = length, origin, place
    return (*runs, (size, source, turn)) if size else tuple(runs)


def _looked_at(method: object, arguments: Sequence[object]) -> int:
    """Count the characters that a method of a text or list looks at.

    For each item, the compared characters count too.
    """
    holder = getattr(method, "__self__", None)
    if not isinstance(holder, (str, list, tuple)):
        return 0
    compared = max((len(argument) for argument in arguments if isinstance(argument, str)), default=0)
    return len(holder) if isinstance(holder, str) else len(holder) * (1 + compared)


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
    if operator in ("*", "**", "+", "-") and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
        within(bits, MOST_BITS)
