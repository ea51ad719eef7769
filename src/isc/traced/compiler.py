"""From a template's source to code that tells, while it runs, in whose turn it writes.

Every loop iteration starts and ends with a zero-length mark; one more stands where the generation prompt may begin.
What Jinja would compile to operations on plain strings (`~`, slices) goes through the environment instead.
"""
# ruff: noqa: N802 - methods named by Jinja's compiler

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.parser import Parser

ENTER: Final = "isc enter"
LEAVE: Final = "isc leave"
TAIL: Final = "isc tail"
STEP: Final = "isc step"
GENERATION: Final = "isc generation"
SPREAD: Final = "isc spread"
TEXT_METHODS: Final = frozenset(("strip", "lstrip", "rstrip", "startswith", "endswith", "split", "upper", "lower"))
"""Methods of texts that templates call most; what they give is a text, a list of texts, or a truth value."""
DICT_METHODS: Final = frozenset(dir(dict))
_MARKS: Final = {
    LEAVE: "environment.left()",
    TAIL: "environment.tail",
    STEP: "environment.stepped()",
    GENERATION: "environment.generation",
}
"""Filters whose names no template can spell, and what they compile to."""


class Generation(Extension):
    """`{% generation %} ... {% endgeneration %}` renders what is in it."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Parse a block into a mark at its beginning and a call that returns its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("generated"), [], [], body).set_lineno(line)
        return [_mark(GENERATION), block]

    def generated(self, caller: Any) -> str:  # noqa: ANN401 - a Jinja macro
        """Return the render of the block."""
        return str(caller())


class TracingCodeGenerator(CodeGenerator):
    """Jinja's compiler, with every operation on text and every size left to the environment."""

    def visit_Output(self, node: nodes.Output, frame: Frame) -> None:
        """Compile `{{ a }}`. The operands of a sum of texts are written one by one, since nothing needs their sum."""
        escaping = frame.eval_ctx.volatile or frame.eval_ctx.autoescape
        if escaping or frame.require_output_check:
            super().visit_Output(node, frame)
            return
        for is_sum, children in groupby(node.nodes, lambda child: isinstance(child, nodes.Add)):
            if not is_sum:
                super().visit_Output(nodes.Output(list(children), lineno=node.lineno), frame)
                continue
            for child in children:
                self.writeline("yield from " if frame.buffer is None else f"{frame.buffer}.extend(", child)
                self._with_operands("parts_of_sum", _operands(child), frame)
                self.write("" if frame.buffer is None else ")")

    def _with_operands(self, method: str, operands: Sequence[nodes.Expr], frame: Frame) -> None:
        self.write(f"environment.{method}(context, (")
        for operand in operands:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> str:
        escaping = frame.eval_ctx.volatile or frame.eval_ctx.autoescape
        if not isinstance(node, nodes.TemplateData) and (escaping or not _is_text(node)):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        if _is_mark(node):
            self.write("(")
        elif frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super()._output_child_pre(node, frame, finalize)
            self.write("environment.escapable(")
        else:
            self.write("environment.printed(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write(")")
        if not _is_mark(node) and (frame.eval_ctx.volatile or frame.eval_ctx.autoescape):
            super()._output_child_post(node, frame, finalize)

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:
        """Compile `a | b`, and marks."""
        if node.name in _MARKS:
            self.write(_MARKS[node.name])
        elif node.name == SPREAD:
            assert node.node is not None
            self.write("environment.spread(")
            self.visit(node.node, frame)
            self.write(")")
        elif node.name == ENTER:
            self.write("environment.entered(")
            for item in (node.node or nodes.Const(None), *node.args):
                self.visit(item, frame)
                self.write(", ")
            self.write(")")
        else:
            super().visit_Filter(node, frame)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        """Compile `a.strip()`: looked up and called in one go where its arguments are spelled in the template."""
        method = node.node
        spelled = isinstance(method, nodes.Getattr) and method.attr in TEXT_METHODS and all(map(_is_text, node.args))
        if forward_caller or not spelled or node.kwargs or node.dyn_args or node.dyn_kwargs:
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        assert isinstance(method, nodes.Getattr)
        self.write("environment.called(context, ")
        self.visit(method.node, frame)
        self.write(f", {method.attr!r}")
        for argument in node.args:
            self.write(", ")
            self.visit(argument, frame)
        for variables, is_inside in (("_loop_vars", frame.loop_frame), ("_block_vars", frame.block_frame)):
            if is_inside:
                self.write(f", {variables}={variables}")
        self.write(")")

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:
        """Compile `a + b + c` as one addition, since most templates spend their time on sums."""
        operands = _operands(node)
        if len(operands) == 2:
            super().visit_Add(nodes.Add(*operands, lineno=node.lineno, environment=node.environment), frame)
            return
        self._with_operands("summed", operands, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Compile `a ~ b`."""
        escaping = frame.eval_ctx.volatile or frame.eval_ctx.autoescape
        join = "(markup_join if context.eval_ctx.volatile else str_join)" if frame.eval_ctx.volatile else "markup_join"
        self.write(f"{join if escaping else 'environment.chained'}((")
        for part in node.nodes:
            self.write("environment.escapable(" if escaping else "(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        """Compile `a == b`. Values nested by a hostile template would make it endless, unless one side is simple."""
        if any(operand.op in ("in", "notin") and not _is_simple(operand.expr) for operand in node.ops):
            self._contained(node, frame)
            return
        sides = (node.expr, *(operand.expr for operand in node.ops))
        if any(_is_simple(side) or isinstance(side, (nodes.Compare, nodes.Not)) for side in sides):
            self._compared(node, frame)
            return
        self.write("(")
        self._small(node.expr, frame)
        for operand in node.ops:
            self.write(f" {_OPERATORS[operand.op]} ")
            self._small(operand.expr, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """Compile `[a, b]`. Gathered texts belong to the turn they are gathered in."""
        gathers = any(not isinstance(item, nodes.Const) or isinstance(item.value, str) for item in node.items)
        self.write("environment.gathered([" if gathers else "[")
        for item in node.items:
            self.visit(item, frame)
            self.write(", ")
        self.write("])" if gathers else "]")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """Compile `{a: b}`. Keys are hashed."""
        self.write("{")
        for pair in node.items:
            self._small(pair.key, frame)
            self.write(": ")
            self.visit(pair.value, frame)
            self.write(", ")
        self.write("}")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """Compile `a[b]` and `a[b:c]`."""
        if isinstance(node.arg, nodes.Const) and type(node.arg.value) is str:
            self._looked_up(node.node, node.arg.value, "getitem", frame)
            return
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")
        self.visit(node.node, frame)
        self.write(", slice(")
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            if bound is None:
                self.write("None")
            else:
                self.visit(bound, frame)
            self.write(", ")
        self.write("))")

    def _contained(self, node: nodes.Compare, frame: Frame) -> None:
        """Compile `a in b`. What is looked through can be long, also where what is looked for is spelled."""
        if len(node.ops) == 1:
            self.write("(" if node.ops[0].op == "in" else "(not ")
            self.write("environment.contained(")
            self.visit(node.expr, frame)
            self.write(", ")
            self.visit(node.ops[0].expr, frame)
            self.write("))")
            return
        self.write("environment.chained_comparison(")
        self.visit(node.expr, frame)
        for operand in node.ops:
            self.write(f", ({operand.op!r}, lambda: ")
            self.visit(operand.expr, frame)
            self.write(")")
        self.write(")")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        """Compile `a.b`."""
        of_loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
        if of_loop or node.attr in DICT_METHODS:
            super().visit_Getattr(node, frame)
        else:
            self._looked_up(node.node, node.attr, "getattr", frame)

    def _looked_up(self, held: nodes.Expr, key: str, method: str, frame: Frame) -> None:
        """Compile a key that the template spells: looked up on the spot in a dict that has it, as messages are."""
        self.write(f"(_held[{key!r}] if type(_held := ")
        self.visit(held, frame)
        self.write(f") is dict and {key!r} in _held else environment.{method}(_held, {key!r}))")

    def _compared(self, node: nodes.Compare, frame: Frame) -> None:
        """Compile a comparison with a value that the template spells."""
        self.write("(")
        self._spelled(node.expr, frame)
        for operand in node.ops:
            self.write(f" {_OPERATORS[operand.op]} ")
            self._spelled(operand.expr, frame)
        self.write(")")

    def _spelled(self, node: nodes.Expr, frame: Frame) -> None:
        if isinstance(node, nodes.List) and _is_simple(node):
            super().visit_List(node, frame)
        else:
            self.visit(node, frame)

    def _small(self, node: nodes.Expr, frame: Frame) -> None:
        if isinstance(node, nodes.Const):
            self.visit(node, frame)
            return
        self.write("environment.small(")
        self.visit(node, frame)
        self.write(")")


_OPERATORS: Final = {
    "eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<=", "in": "in", "notin": "not in"
}  # fmt: skip


def _operands(node: nodes.Expr) -> list[nodes.Expr]:
    """Return the operands of a sum, in the order of addition. Texts of the template's behind the first are joined."""
    reversed_operands: list[nodes.Expr] = []
    while isinstance(node, nodes.Add):
        reversed_operands.append(node.right)
        node = node.left
    reversed_operands.append(node)
    operands = [reversed_operands.pop()]
    for operand in reversed(reversed_operands):
        last = operands[-1]
        if len(operands) > 1 and _is_text(last) and _is_text(operand):
            operands[-1] = nodes.Const(last.value + operand.value, lineno=last.lineno)  # type: ignore[attr-defined]
        else:
            operands.append(operand)
    return operands


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and type(node.value) is str


def _is_mark(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Filter) and (node.name in _MARKS or node.name == ENTER)


def _is_simple(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Const) or (
        isinstance(node, (nodes.List, nodes.Tuple)) and all(isinstance(item, nodes.Const) for item in node.items)
    )


def instrument(tree: nodes.Template, tail: int) -> None:
    """Put marks into a parsed template: around loop iterations, and before its top-level statement number `tail`."""
    for loop in list(tree.find_all(nodes.For)):
        if not _writes(loop):
            loop.body = [_mark(STEP), *loop.body]
            continue
        start = _mark(ENTER, _loaded(loop.target), _subscripted(loop))
        loop.body = [start, *_with_leaves(loop.body), _mark(LEAVE)]
    for call in tree.find_all((nodes.Call, nodes.Filter, nodes.Test, nodes.CallBlock)):
        _meter_spread(call)
    tree.body = [*tree.body[:tail], _mark(TAIL), *tree.body[tail:]]
    tree.set_environment(tree.environment)  # type: ignore[arg-type]


def _meter_spread(call: nodes.Node) -> None:
    """Wrap what a call spreads by `*` and `**`, so that it passes the environment first."""
    for name in ("dyn_args", "dyn_kwargs"):
        values = getattr(call, name, None)
        if values is not None:
            setattr(call, name, nodes.Filter(values, SPREAD, [], [], None, None, lineno=values.lineno))


_WRITING: Final = (nodes.Output, nodes.Add, nodes.Concat, nodes.Call, nodes.CallBlock, nodes.AssignBlock, nodes.Filter)


def _writes(loop: nodes.For) -> bool:
    """Return whether a loop can write or build text. Other loops only look for something."""
    return next(loop.find_all(_WRITING), None) is not None


def _mark(name: str, item: nodes.Expr | None = None, arguments: Sequence[nodes.Expr] = ()) -> nodes.Output:
    marker = nodes.Filter(item or nodes.Const(""), name, list(arguments), [], None, None, lineno=1)
    return nodes.Output([marker], lineno=1)


def _loaded(target: nodes.Node) -> nodes.Expr:
    """Return a loop's target as an expression."""
    if isinstance(target, nodes.Tuple):
        return nodes.Tuple([_loaded(item) for item in target.items], "load", lineno=1)
    return nodes.Name(target.name, "load", lineno=1) if isinstance(target, nodes.Name) else nodes.Const(None, lineno=1)


def _subscripted(loop: nodes.For) -> list[nodes.Expr]:
    """Return the variables that a loop's body subscripts with its target: `messages` of a loop over positions."""
    if not isinstance(loop.target, nodes.Name):
        return []
    names: dict[str, None] = {}
    for statement in loop.body:
        for item in statement.find_all(nodes.Getitem):
            subscript = item.arg.name if isinstance(item.arg, nodes.Name) else None
            if subscript == loop.target.name and isinstance(item.node, nodes.Name):
                names[item.node.name] = None
    return [nodes.Name(name, "load", lineno=1) for name in names]


def _with_leaves(statements: Iterable[nodes.Node]) -> list[nodes.Node]:
    """Return the statements of a loop's body with a mark wherever the body is left early."""
    statements_and_marks: list[nodes.Node] = []
    for statement in statements:
        if isinstance(statement, (nodes.Break, nodes.Continue)):
            statements_and_marks.append(_mark(LEAVE))
        elif isinstance(statement, nodes.For):
            statement.else_ = _with_leaves(statement.else_)
        elif isinstance(statement, nodes.If):
            statement.body = _with_leaves(statement.body)
            statement.elif_ = [branch for branch in _with_leaves(statement.elif_) if isinstance(branch, nodes.If)]
            statement.else_ = _with_leaves(statement.else_)
        elif isinstance(statement, (nodes.With, nodes.Scope, nodes.ScopedEvalContextModifier)):
            statement.body = _with_leaves(statement.body)
        statements_and_marks.append(statement)
    return statements_and_marks
