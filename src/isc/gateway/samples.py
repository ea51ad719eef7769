"""A session as training samples: the fewest in which every sampled token stands once, behind its own ids.

A sequence is a prompt and its completion. The last token of a completion stands behind the very ids it was sampled
behind in exactly those sequences that begin with its own, so a sequence with which no other begins needs a sample, and
takes along every completion on its way that no longer sequence has taken.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from isc.conversation.bridge import continued
from isc.conversation.rollout import SampledTokens
from isc.gateway.tree import Session
from isc.types import Message, Span

_PROBE = 8  # last ids of a sequence that are compared first


class SampledSpan(Struct, frozen=True, array_like=True):
    """Tokens of a sample that were sampled in one piece.

    Attributes:
        start: The first.
        end: That after the last.
        turn: The turn, by its number.
        weight_version: Of which weights, as far as it was told.
        engine: Which engine.
    """

    start: int
    end: int
    turn: int
    weight_version: str | None = None
    engine: str | None = None


class BranchSample(SampledTokens, frozen=True, dict=True):
    """One branch of a session as a sample.

    Attributes:
        session: The session's name.
        branch: The turn that it ends with, by its number.
        messages: The conversation; owners of tokens index it.
        spans: Who sampled the tokens that are trained on.
    """

    session: str
    branch: int
    messages: tuple[Message, ...]
    spans: tuple[SampledSpan, ...]


def samples(tree: Session, turns: Iterable[int] | None = None) -> tuple[BranchSample, ...]:
    """Return the fewest samples in which every sampled token is trained on once, behind the ids it was sampled behind.

    Args:
        tree: The session.
        turns: The turns whose tokens are wanted, by their numbers; None takes all.

    Returns:
        The samples in the order of the turns that they end with. Tokens of a turn that several branches go on from are
        trained on in the longest.

    >>> samples(Session("a"))
    ()
    """
    chosen = range(len(tree.turns)) if turns is None else turns
    lengths = tree.lengths()
    branches: list[_Branch] = []
    for number in sorted(chosen, key=lambda number: (-lengths[number], number)):
        end, sampled = lengths[number], len(tree.turns[number].completion_ids)
        if not sampled:
            continue
        branch = next((branch for branch in branches if branch.takes(tree, number, end)), None)
        if branch is None:
            branch = _Branch(number, tree.sequence(number), tree.spans(number), {}, end)
            branches.append(branch)
        branch.trained[number] = (end - sampled, end)
        branch.free = end - sampled
    return tuple([_sample(tree, branch) for branch in sorted(branches, key=lambda branch: branch.number)])


class _Branch(Struct):
    """A sample in the making: a sequence, the completions that it is built on, those that it trains on.

    Turns come in the order of the ends of their sequences, the last first, so what is `free` is all before a position.
    """

    number: int
    ids: tuple[int, ...]
    spans: dict[int, Span]
    trained: dict[int, Span]
    free: int

    def takes(self, tree: Session, turn: int, end: int) -> bool:
        """Return whether the completion of a turn can be trained on here, behind its own ids."""
        if end > self.free:
            return False
        if turn in self.spans:
            return True
        last = tree.turns[turn].completion_ids[-_PROBE:]
        return self.ids[end - len(last) : end] == last and tree.sequence(turn) == self.ids[:end]


def _sample(tree: Session, branch: _Branch) -> BranchSample:
    number = branch.number
    turn = tree.turns[number]
    rendered = continued(tree.prompt(number), turn.completion_ids, None, turn.parts)
    logprobs: list[float | None] = [None] * len(rendered)
    for owner, (start, end) in (*branch.spans.items(), *branch.trained.items()):
        logprobs[start:end] = tree.turns[owner].logprobs
    places = sorted((span, owner) for owner, span in branch.trained.items())
    return BranchSample(
        rendered,
        tuple([span for span, _ in places]),
        tuple(logprobs),
        tree.name,
        number,
        tree.path(number),
        tuple([piece for span, owner in places for piece in _pieces(tree, owner, span)]),
    )


def _pieces(tree: Session, number: int, span: Span) -> list[SampledSpan]:
    """Return who sampled which part of a completion."""
    pieces = tree.turns[number].pieces
    if not pieces:
        return [SampledSpan(*span, number)]
    spans: list[SampledSpan] = []
    start = span[0]
    for piece in pieces:
        spans.append(SampledSpan(start, start + piece.length, number, piece.weight_version, piece.engine))
        start += piece.length
    return spans
