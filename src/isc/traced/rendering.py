"""Compile a template once, render it for one conversation: text, and the runs of its characters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import accumulate, islice
from traceback import walk_tb
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import new_context
from msgspec import Struct

from isc.errors import Error, TemplateError, TemplateLimitError
from isc.traced.compiler import instrument
from isc.traced.dependence import Tail, tail_of
from isc.traced.environment import TracingEnvironment
from isc.traced.filters import FILTERS, TESTS
from isc.traced.language import GLOBALS
from isc.traced.limits import Meter
from isc.traced.origins import Run, merged
from isc.traced.regions import assembled, run_count
from isc.traced.values import Inputs

_LONGEST_SOURCE = 1 << 18
_TOGETHER = 64  # pieces whose characters are counted at once; each is made already, and counted where it was
_MOST_NODES_OF_SOURCE = 20_000  # of 338 templates of models the longest has 2,019; Python's compiler is what takes long


class Compiled(Struct, frozen=True, eq=False):
    """A template ready to run."""

    template: jinja2.Template
    tail: Tail


class Written(Struct, frozen=True):
    """The output of a template: its text, the runs of that text, and the character at which its tail begins.

    `generated` are the characters at which its `{% generation %}` blocks begin.
    """

    text: str
    runs: tuple[Run, ...]
    tail: int
    generated: tuple[int, ...] = ()


@lru_cache(maxsize=64)
def compiled(source: str) -> Compiled:
    """Compile a template. The last 64 are kept.

    Raises:
        TemplateError: It cannot be compiled.
    """
    if len(source) > _LONGEST_SOURCE:
        raise TemplateLimitError(f"the template has {len(source)} characters; the most is {_LONGEST_SOURCE}")
    environment = TracingEnvironment()
    environment.filters = dict(FILTERS)
    environment.tests = dict(TESTS)
    environment.globals.update(GLOBALS)
    try:
        tree = environment.parse(source)
        _check_nodes(tree)
        tail = tail_of(tree)
        instrument(tree, tail.start)
        code = environment.compile(tree)
        template = jinja2.Template.from_code(environment, code, environment.make_globals(None))
    except Error:
        raise
    except Exception as error:  # Jinja's own errors, and what Python's compiler raises for absurd nesting
        line = f" (line {error.lineno})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise TemplateError(f"the chat template cannot be compiled: {error}{line}") from error
    return Compiled(template, tail)


_GIVEN: Final = frozenset((
    "messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "strftime_now",
    "raise_exception",
))  # fmt: skip
"""What every template is given, and so no option of it."""


@lru_cache(maxsize=64)
def options_read(source: str) -> tuple[str, ...]:
    """Return the names that a template reads and only a caller can give, sorted. The last 64 templates are kept.

    A name that the template sets is one only where it is read before: `date_string` is where a default follows `if not
    date_string is defined`.
    """
    tree = TracingEnvironment().parse(source)
    read = find_undeclared_variables(tree) - _GIVEN - GLOBALS.keys()
    first: dict[str, bool] = {}
    for name, is_set in _names(tree):
        first.setdefault(name, is_set)
    return tuple(sorted(name for name in read if not first.get(name, False)))


def _names(node: nodes.Node, own: frozenset[str] = frozenset()) -> Iterator[tuple[str, bool]]:
    """Yield names as a template spells them, in order, and whether it sets them.

    Names of a macro or a loop are left out.

    What a name is set to comes before the name.
    """
    if isinstance(node, nodes.Name):
        if node.name not in own:
            yield node.name, node.ctx == "store"
        return
    children = list(node.iter_child_nodes())
    if isinstance(node, (nodes.Assign, nodes.AssignBlock)):
        children.sort(key=lambda child: child is node.target)
    if isinstance(node, (nodes.Macro, nodes.CallBlock)):
        own |= {argument.name for argument in node.args}
    if isinstance(node, nodes.For):
        own |= {name.name for name in (node.target, *node.target.find_all(nodes.Name)) if isinstance(name, nodes.Name)}
    for child in children:
        yield from _names(child, own)


def _check_nodes(tree: jinja2.nodes.Node) -> None:
    """Refuse a template of so many nodes that compiling it would take minutes."""
    waiting = [tree]
    count = 0
    while waiting:
        count += 1
        if count > _MOST_NODES_OF_SOURCE:
            raise TemplateLimitError(f"the template has more than {_MOST_NODES_OF_SOURCE} nodes")
        waiting.extend(waiting.pop().iter_child_nodes())


def write(template: Compiled, variables: Mapping[str, object], inputs: Inputs, meter: Meter) -> Written:
    """Render a template.

    Raises:
        TemplateError: The template raised; carries its message.
        TemplateLimitError: It used more than any honest template.
    """
    original = template.template
    base = original.environment
    assert isinstance(base, TracingEnvironment)
    environment = base.copy_for(inputs, meter)
    blocks = {name: _in(block, environment) for name, block in original.blocks.items()}
    context = new_context(environment, None, blocks, dict(variables), globals=original.globals)
    root: Any = original.root_render_func
    try:
        return _collected(root(context, environment=environment), meter)
    except Error:
        raise
    except RecursionError as error:
        raise TemplateLimitError("the template calls itself too deeply") from error
    except MemoryError as error:
        raise TemplateLimitError("the template asked for more memory than there is") from error
    except Exception as error:  # whatever a template's expressions raise
        raise TemplateError(f"{_message(error)}{_line(error, original)}") from error


def _in(block: Callable[..., Iterator[str]], environment: TracingEnvironment) -> Callable[..., Iterator[str]]:
    return partial(block, environment=environment)


def _collected(pieces: Iterator[str], meter: Meter) -> Written:
    parts: list[str] = []
    total = runs_inside = 0
    while some := list(islice(pieces, _TOGETHER)):
        parts += some
        total += sum(map(len, some))
        runs_inside += run_count(some)
        meter.gather(total, runs_inside)
        meter.look()
    text = "".join(parts)
    meter.spend(total)
    runs, tail_run, generation_runs = assembled(parts)
    tail = total if tail_run is None else total - sum([length for length, _, _ in runs[tail_run:]])
    ends = [0, *accumulate(length for length, _, _ in runs)] if generation_runs else []
    return Written(text, tuple(merged(runs)), tail, tuple(ends[number] for number in generation_runs))


def _message(error: Exception) -> str:
    if isinstance(error, jinja2.exceptions.TemplateError):
        return error.message or type(error).__name__
    return f"{type(error).__name__}: {error}"


def _line(error: Exception, template: jinja2.Template) -> str:
    """Return the template's line that raised."""
    ours = _globals(template)
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_globals is ours]
    return f" (template line {template.get_corresponding_lineno(lines[-1])})" if lines else ""


def _globals(template: jinja2.Template) -> object:
    root: Any = template.root_render_func
    return root.__globals__
