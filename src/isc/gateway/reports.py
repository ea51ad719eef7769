"""What a gateway tells of a session to who trains on it: the tree as records, the samples with their rewards."""

from __future__ import annotations

from msgspec import Struct

from isc.gateway.samples import BranchSample, samples
from isc.gateway.store import Delivery, RecordedSession
from isc.gateway.tree import Origin, Piece, Session
from isc.types import AssistantMessage, Message


class TurnReport(Struct, frozen=True):
    """A turn of a session.

    Attributes:
        number: Its place in the session.
        id: Its name, that of the answer in its dialect without a prefix.
        parent: The turn whose conversation it goes on; None where it begins one.
        base: The turn with whose ids its prompt begins; None where the prompt was rendered anew.
        origin: How its prompt came about.
        messages: What came since the parent's answer.
        answer: What the agent was shown.
        prompt_tokens: How long the prompt is.
        completion_tokens: How much was sampled.
        finish_reason: How that ended.
        pieces: Who sampled which part of it.
        delivery: Whether it was sent; `unknown` where the process was killed before that was noted.
        reward: The reward of this turn; None for none.
        created: When it was answered, in seconds since 1970.
    """

    number: int
    id: str
    parent: int | None
    base: int | None
    origin: Origin
    messages: tuple[Message, ...]
    answer: AssistantMessage
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    pieces: tuple[Piece, ...]
    delivery: Delivery
    reward: float | None
    created: float


class SessionReport(Struct, frozen=True):
    """A session as a tree of turns. Answers that did not reach the agent are left out."""

    name: str
    created: float
    finished: bool
    reward: float | None
    turns: tuple[TurnReport, ...]


class RewardedSample(Struct, frozen=True):
    """A sample, and the reward of the turn that it ends with, or of its session; None where there is neither."""

    sample: BranchSample
    reward: float | None


class SessionSamples(Struct, frozen=True):
    """The samples of a session."""

    name: str
    finished: bool
    reward: float | None
    samples: tuple[RewardedSample, ...]


def session_report(recorded: RecordedSession) -> SessionReport:
    """Return the tree of a session as records.

    >>> session_report(RecordedSession("a", 0.0)).turns
    ()
    """
    tree = Session.of(recorded.name, tuple([one.turn for one in recorded.turns]))
    lengths = tree.lengths()
    turns: list[TurnReport] = []
    for one in recorded.turns:
        turn = one.turn
        if one.delivery == "dropped":
            continue
        turns.append(
            TurnReport(
                turn.number,
                turn.id,
                turn.parent,
                turn.base,
                turn.origin,
                turn.messages,
                turn.shown,
                lengths[turn.number] - len(turn.completion_ids),
                len(turn.completion_ids),
                turn.finish_reason,
                turn.pieces,
                one.delivery,
                one.reward,
                turn.created,
            )
        )
    return SessionReport(recorded.name, recorded.created, recorded.finished, recorded.reward, tuple(turns))


def session_samples(recorded: RecordedSession) -> SessionSamples:
    """Return the samples of a session with their rewards. Answers that did not reach the agent are left out.

    >>> session_samples(RecordedSession("a", 0.0)).samples
    ()
    """
    tree = Session.of(recorded.name, tuple([one.turn for one in recorded.turns]))
    kept = [one.turn.number for one in recorded.turns if one.delivery != "dropped"]
    rewards = {one.turn.number: one.reward for one in recorded.turns if one.reward is not None}
    rewarded = [RewardedSample(sample, rewards.get(sample.branch, recorded.reward)) for sample in samples(tree, kept)]
    return SessionSamples(recorded.name, recorded.finished, recorded.reward, tuple(rewarded))
