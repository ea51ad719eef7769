"""Decide whether a template's generation prompt depends on the messages before it, by the template's syntax.

Coarse and safe: a top-level statement that reads anything made from messages makes everything it writes depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jinja2 import nodes
from msgspec import Struct

from isc.traced.content import heeds_content

_PROMPT = "add_generation_prompt"
_AHEAD = frozenset(("last", "length", "nextitem", "revindex", "revindex0"))
_COUNTING = frozenset(("length", "count", "last", "reverse"))


class Tail(Struct, frozen=True):
    """The text after the last turn: its first top-level statement is number `start`.

    `independent`: its text is the same after any messages, and `add_generation_prompt` changes nothing else.
    `by_role`: its text is the same after any messages whose last has the same role.
    `heeds_content`: what messages say, not only their roles and shape, may decide about the generation prompt.
    `looks_ahead`: a turn may be written otherwise where more messages follow, such as with a prompt behind the last.
    """

    start: int
    independent: bool
    heeds_content: bool
    by_role: bool = False
    looks_ahead: bool = False


class _Uses(Struct, frozen=True):
    """The names a statement reads and writes, macros it calls included."""

    reads: frozenset[str]
    writes: frozenset[str]
    loops: bool
    aliases: tuple[tuple[str, str], ...]


def tail_of(tree: nodes.Template) -> Tail:
    """Find the statement after the last turn, and whether the text from there on is independent of the messages."""
    macros: dict[str, _Uses] = {}
    for _ in range(1 + sum(1 for _ in tree.find_all(nodes.Macro))):  # macros that call macros
        macros = {macro.name: _macro_uses(macro, macros) for macro in tree.find_all(nodes.Macro)}
    uses = [_uses(statement, macros) for statement in tree.body]
    tainted = _tainted(uses)
    turns = [place for place, use in enumerate(uses) if use.loops and use.reads & tainted]
    prompts = [place for place, use in enumerate(uses) if _PROMPT in use.reads and use.writes != {_PROMPT}]
    start = turns[-1] + 1 if turns else min(prompts, default=len(uses))
    independent = all(place >= start for place in prompts) and not any(use.reads & tainted for use in uses[start:])
    by_role = independent or (
        all(place >= start for place in prompts)
        and not any("messages" in use.writes for use in uses)
        and not any(_reads_more(statement, macros) & tainted for statement in tree.body[start:])
    )
    ahead = len(turns) > 1 or any(_looks_ahead(statement) for statement in tree.body[:start])
    return Tail(start, independent, not independent and heeds_content(tree, start), by_role, ahead)


def _looks_ahead(statement: nodes.Node) -> bool:
    """Return whether a statement may read how many messages there are, the last of them, or one that follows another.

    What is not known to look only at the messages before counts.
    """
    for item in _with_self(statement, (nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Slice)):
        if isinstance(item, nodes.Getattr):
            ahead = item.attr in _AHEAD and isinstance(item.node, nodes.Name)
        elif isinstance(item, nodes.Filter):
            ahead = item.name in _COUNTING
        elif isinstance(item, nodes.Slice):
            ahead = item.stop is not None or item.step is not None
        else:
            assert isinstance(item, nodes.Getitem)
            later = next(_with_self(item.arg, (nodes.Neg, nodes.Add)), None) is not None
            ahead = later or (isinstance(item.arg, nodes.Const) and item.arg.value in _AHEAD)
        if ahead:
            return True
    return False


def _reads_more(statement: nodes.Node, macros: Mapping[str, _Uses]) -> frozenset[str]:
    """Return the names that a statement reads for more than the role of the last message."""
    roles = sum(1 for item in _with_self(statement, (nodes.Getitem, nodes.Getattr)) if _is_last_role(item))
    times_read = sum(1 for name in _read(statement) if name == "messages")
    reads = _uses(statement, macros).reads
    through_macros = any("messages" in macros[name].reads for name in reads & macros.keys())
    return reads - {"messages"} if roles == times_read and not through_macros else reads


def _is_last_role(node: nodes.Node) -> bool:
    """Return whether an expression is `messages[-1].role` or `messages[-1]['role']`."""
    if isinstance(node, nodes.Getattr):
        is_role, held = node.attr == "role", node.node
    elif isinstance(node, nodes.Getitem):
        is_role, held = isinstance(node.arg, nodes.Const) and node.arg.value == "role", node.node
    else:
        return False
    if not is_role or not isinstance(held, nodes.Getitem) or not isinstance(held.node, nodes.Name):
        return False
    last = isinstance(held.arg, nodes.Neg) and isinstance(held.arg.node, nodes.Const) and held.arg.node.value == 1
    return held.node.name == "messages" and last


def _tainted(uses: Sequence[_Uses]) -> set[str]:
    """Return every name whose value may depend on the messages."""
    tainted = {"messages"}
    before = 0
    while before < len(tainted):
        before = len(tainted)
        for use in uses:
            if use.reads & tainted:
                tainted |= use.writes
            for pair in use.aliases:
                if tainted & set(pair):
                    tainted |= set(pair)
    return tainted


def _uses(statement: nodes.Node, macros: Mapping[str, _Uses]) -> _Uses:
    if isinstance(statement, nodes.Macro):
        return _Uses(macros[statement.name].reads, frozenset((statement.name,)), False, ())
    reads, writes = set(_read(statement)), set(_written(statement))
    read = frozenset(reads)
    for name in read & macros.keys():
        reads |= macros[name].reads
        writes |= macros[name].writes
        if macros[name].writes:  # a namespace that is passed to a macro may be written under another name
            writes |= read
    loops = _loops(statement) or any(macros[name].loops for name in read & macros.keys())
    return _Uses(frozenset(reads), frozenset(writes), loops, tuple(_aliases(statement)))


def _macro_uses(macro: nodes.Macro, macros: Mapping[str, _Uses]) -> _Uses:
    """Return the names that a macro call reads and the namespaces it writes. Its own variables are nobody else's."""
    parameters = {argument.name for argument in macro.args}
    own = {name.name for name in macro.find_all(nodes.Name) if name.ctx == "store"}
    reads = set(_read(macro)) - parameters
    writes = {reference.name for reference in macro.find_all(nodes.NSRef)} - own
    for name in reads & macros.keys() - {macro.name}:
        reads |= macros[name].reads
        writes |= macros[name].writes
    loops = _loops(macro) or any(macros[name].loops for name in reads & macros.keys())
    return _Uses(frozenset(reads), frozenset(writes), loops, ())


def _loops(node: nodes.Node) -> bool:
    return next(_with_self(node, nodes.For), None) is not None


def _with_self(node: nodes.Node, kind: type[nodes.Node] | tuple[type[nodes.Node], ...]) -> Iterator[nodes.Node]:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)


def _read(node: nodes.Node) -> Iterator[str]:
    return (name.name for name in _with_self(node, nodes.Name) if isinstance(name, nodes.Name) and name.ctx == "load")


def _written(node: nodes.Node) -> Iterator[str]:
    for kind in (nodes.Name, nodes.NSRef, nodes.Macro):
        for item in _with_self(node, kind):
            if isinstance(item, (nodes.NSRef, nodes.Macro)) or (isinstance(item, nodes.Name) and item.ctx == "store"):
                yield item.name


def _aliases(node: nodes.Node) -> Iterator[tuple[str, str]]:
    """Yield assignments of one variable to another. For a namespace both names mean the same object."""
    for assignment in _with_self(node, nodes.Assign):
        if not isinstance(assignment, nodes.Assign):
            continue
        if isinstance(assignment.node, nodes.Name) and isinstance(assignment.target, nodes.Name):
            yield (assignment.target.name, assignment.node.name)
