"""Decide whether content, not only roles and shape, may change a template's generation prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from jinja2 import nodes

_SAID: Final = frozenset(("content", "text", "reasoning_content", "reasoning", "thinking", "arguments"))
_SHAPES: Final = frozenset(("defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "boolean"))
_KINDS: Final = frozenset(("role", "type"))
_PROMPT: Final = "add_generation_prompt"

Influence: TypeAlias = tuple[str, tuple[nodes.Node, ...]]
"""A variable, or a namespace's attribute, and the expressions that decide about its value."""


def heeds_content(tree: nodes.Template, tail: int) -> bool:
    """Return whether content may decide about the text from statement `tail` on, or about a generation prompt."""
    influences = [influence for statement in tree.body for influence in _assignments(statement, ())]
    heeding: set[str] = set()
    before = -1
    while before < len(heeding):
        before = len(heeding)
        heeding |= {name for name, deciding in influences if any(_heeds(node, heeding) for node in deciding)}
    deciding = [*_choices(tree, ()), *(tree.body[tail:])]
    return any(_heeds(node, heeding) for node in deciding)


def _heeds(node: nodes.Node, heeding: set[str]) -> bool:
    """Return whether an expression reads content, or a variable that came from content."""
    if isinstance(node, nodes.Test) and node.name in _SHAPES and _field(node.node) is not None:
        return any(_heeds(child, heeding) for child in node.node.iter_child_nodes())
    if isinstance(node, nodes.Name):
        return node.name in heeding
    field = _field(node)
    if field in _KINDS:
        return False
    if field in _SAID or (isinstance(node, nodes.Getattr) and _dotted(node) in heeding):
        return True
    return any(_heeds(child, heeding) for child in node.iter_child_nodes())


def _field(node: nodes.Node) -> object:
    """Return the field that an expression takes out of a message or part."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) else None


def _dotted(node: nodes.Getattr) -> str:
    return f"{node.node.name}.{node.attr}" if isinstance(node.node, nodes.Name) else ""


def _assignments(node: nodes.Node, controls: tuple[nodes.Node, ...]) -> Iterator[Influence]:
    """Yield every assignment with the expressions that decide about it, outer ones included."""
    if isinstance(node, nodes.Assign):
        for name in _targets(node.target):
            yield name, (node.node, *controls)
    elif isinstance(node, nodes.AssignBlock):
        for name in _targets(node.target):
            yield name, (*node.body, *controls)
    elif isinstance(node, nodes.For):
        for name in _targets(node.target):
            yield name, (node.iter, *controls)
        tests = [*([] if _field(node.iter) in _SAID else [node.iter]), *([node.test] if node.test else [])]
        yield from _within([*node.body, *node.else_], (*controls, *tests))
    elif isinstance(node, nodes.If):
        inner = (*controls, node.test)
        yield from _within([*node.body, *node.elif_, *node.else_], inner)
    else:
        yield from _within(list(node.iter_child_nodes()), controls)


def _within(statements: Sequence[nodes.Node], controls: tuple[nodes.Node, ...]) -> Iterator[Influence]:
    for statement in statements:
        yield from _assignments(statement, controls)


def _targets(target: nodes.Node) -> Iterator[str]:
    if isinstance(target, nodes.NSRef):
        yield f"{target.name}.{target.attr}"
    elif isinstance(target, nodes.Name):
        yield target.name
    elif isinstance(target, nodes.Tuple):
        for item in target.items:
            yield from _targets(item)


def _choices(node: nodes.Node, controls: tuple[nodes.Node, ...]) -> Iterator[nodes.Node]:
    """Yield tests that read `add_generation_prompt`, with the tests around them."""
    if isinstance(node, (nodes.If, nodes.CondExpr)):
        if any(name.name == _PROMPT for name in node.test.find_all(nodes.Name)) or _is_prompt(node.test):
            yield from (node.test, *controls)
        controls = (*controls, node.test)
    for child in node.iter_child_nodes():
        yield from _choices(child, controls)


def _is_prompt(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == _PROMPT
