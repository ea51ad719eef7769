"""`Session`: the turns of one agent as a frozen tree. Turns are added; nothing is ever overwritten.

A turn holds what it adds to the turn before it, so that a long conversation is kept once, not once a turn. Prompts and
sequences are put together where they are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from isc.conversation.bridge import PartLengths
from isc.rendered import MultiModalData, RenderedTokens, Run, followed, put_together
from isc.types import AssistantMessage, Message, ToolCall, ToolMessage, ToolSpec

Continued: TypeAlias = Literal["extended", "rendered"]


class Tail(Struct, frozen=True, array_like=True):
    """What a prompt adds to the sequence that it begins with, and to that sequence's attribution.

    The runs begin with that of the completion before, which the prompt of that turn did not have. Media are those that
    are new, where they stand in the whole prompt.
    """

    token_ids: tuple[int, ...]
    runs: tuple[Run, ...]
    message_roles: tuple[str, ...]
    message_tool_names: tuple[str | None, ...]
    multi_modal_data: MultiModalData | None = None


class Piece(Struct, frozen=True, array_like=True):
    """So many tokens of a completion that one engine sampled with weights of one version; None where none was told."""

    length: int
    weight_version: str | None = None
    engine: str | None = None


class Difference(Struct, frozen=True):
    """The first place at which a conversation that came differs from one that was answered.

    Attributes:
        path: Where, e.g. `messages[3].content`.
        recorded: What stood there, shortened; None where there was nothing.
        received: What stands there now, likewise.
    """

    path: str
    recorded: str | None
    received: str | None


class Origin(Struct, frozen=True):
    """How a prompt came about.

    Attributes:
        continued: Whether it begins with the ids of the turn before, or was rendered anew.
        reason: Why it was rendered anew: of `match`, or of the bridge that was refused; empty where it was not.
        detail: The same for a human.
        difference: The first difference from the conversation that was expected, where there is one.
    """

    continued: Continued
    reason: str = ""
    detail: str = ""
    difference: Difference | None = None


class Turn(Struct, frozen=True, omit_defaults=True):
    """One answer of the model with what it was asked.

    Attributes:
        number: Its place in the session, from 0.
        id: Its name, unique in the session.
        parent: The turn whose conversation it goes on; None where it begins one.
        base: The turn with whose ids its prompt begins, the parent or none.
        messages: What came since the parent's answer.
        tail: What its prompt adds to the sequence of `base`, or the whole prompt.
        completion_ids: What was sampled.
        logprobs: The log-probability of each, as the sampler reported it.
        said: The answer as a message: reasoning, content, calls with the model's own ids.
        call_ids: The ids by which the agent was shown the calls.
        digests: Of the conversation after each of `messages`, then after the answer.
        origin: How the prompt came about.
        finish_reason: How sampling ended.
        pieces: Who sampled which part of the completion.
        tools: Where the turn begins a conversation, its tools. A turn that goes on has those of its parent.
        created: When it was answered, in seconds since 1970.
        parts: How many of the ids that were sampled are in a row of which part; empty where nobody asked.
    """

    number: int
    id: str
    parent: int | None
    base: int | None
    messages: tuple[Message, ...]
    tail: Tail
    completion_ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    said: AssistantMessage
    call_ids: tuple[str, ...]
    digests: tuple[bytes, ...]
    origin: Origin
    finish_reason: str = "stop"
    pieces: tuple[Piece, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    created: float = 0.0
    parts: PartLengths = ()

    @property
    def shown(self) -> AssistantMessage:
        """Return the answer as the agent was shown it: its calls by the session's ids."""
        return replace(self.said, tool_calls=_named(self.said.tool_calls, self.call_ids))

    @property
    def answer(self) -> AssistantMessage:
        """Return the answer as it is rendered: every call has an id, the model's own where it gave one."""
        calls = zip(self.said.tool_calls, self.call_ids, strict=True)
        own = tuple([call if call.id is not None else replace(call, id=name) for call, name in calls])
        return replace(self.said, tool_calls=own)


def _lost(number: int) -> Turn:
    """Return what stands in the place of a turn that could not be written: it holds nothing."""
    tail, said = Tail((), (), (), ()), AssistantMessage()
    return Turn(number, "", None, None, (), tail, (), (), said, (), (b"",), Origin("rendered", "lost"))


def _named(calls: tuple[ToolCall, ...], names: tuple[str, ...]) -> tuple[ToolCall, ...]:
    return tuple([replace(call, id=name) for call, name in zip(calls, names, strict=True)])


class Session(Struct, frozen=True):
    """All turns of one agent: a forest, since an agent may hold several conversations at once.

    Attributes:
        name: The session's name.
        turns: Every turn by its number.
        ends: For the digest of a conversation that ends with an answer the turns whose answer that is.
        places: For the digest of any beginning of a conversation the first turn that has it.
        issued: For the id of a call that the agent was shown the turn that made it.

    >>> Session("my-run-1").turns
    ()
    """

    name: str
    turns: tuple[Turn, ...] = ()
    ends: Mapping[bytes, tuple[int, ...]] = {}
    places: Mapping[bytes, int] = {}
    issued: Mapping[str, int] = {}

    def after(self, turn: Turn) -> Session:
        """Return the session with one more turn, which gets the next number.

        Args:
            turn: The turn; its own number does not matter.
        """
        number = len(self.turns)
        numbered = turn if turn.number == number else replace(turn, number=number)
        end = turn.digests[-1]
        return Session(
            self.name,
            (*self.turns, numbered),
            {**self.ends, end: (*self.ends.get(end, ()), number)},
            {**dict.fromkeys(turn.digests, number), **self.places},
            {**self.issued, **dict.fromkeys(turn.call_ids, number)},
        )

    @classmethod
    def of(cls, name: str, turns: tuple[Turn, ...]) -> Session:
        """Return the session of turns that were recorded, in their order.

        Args:
            name: Its name.
            turns: The turns. Where a number is missing that turn could not be written, so no turn goes on from it.
        """
        kept: list[Turn] = []
        for turn in turns:
            kept += [_lost(number) for number in range(len(kept), turn.number)]
            kept.append(turn)
        ends: dict[bytes, list[int]] = {}
        places: dict[bytes, int] = {}
        issued: dict[str, int] = {}
        for turn in turns:
            ends.setdefault(turn.digests[-1], []).append(turn.number)
            for digest in turn.digests:
                places.setdefault(digest, turn.number)
            issued.update(dict.fromkeys(turn.call_ids, turn.number))
        return cls(name, tuple(kept), {end: tuple(numbers) for end, numbers in ends.items()}, places, issued)

    def without_answers(self, numbers: Collection[int]) -> Session:
        """Return the session in which no conversation goes on from these turns: the agent never got their answers.

        Args:
            numbers: The turns, which stay.
        """
        ends = {end: tuple([turn for turn in turns if turn not in numbers]) for end, turns in self.ends.items()}
        return replace(self, ends={end: turns for end, turns in ends.items() if turns})

    def lineage(self, number: int) -> list[Turn]:
        """Return the turns of the conversation that ends with a turn, the first one first."""
        turns = [self.turns[number]]
        while turns[-1].parent is not None:
            turns.append(self.turns[turns[-1].parent])
        return turns[::-1]

    def path(self, number: int) -> tuple[Message, ...]:
        """Return the conversation that ends with the answer of a turn, as it is rendered."""
        return tuple([message for turn in self.lineage(number) for message in (*turn.messages, turn.answer)])

    def shown(self, number: int) -> tuple[Message, ...]:
        """Return the conversation that ends with the answer of a turn, as the agent knows it: calls by its ids."""
        names: dict[str | None, str | None] = {}
        messages: list[Message] = []
        for turn in self.lineage(number):
            messages += [
                replace(message, tool_call_id=names.get(message.tool_call_id, message.tool_call_id))
                if isinstance(message, ToolMessage)
                else message
                for message in turn.messages
            ]
            messages.append(turn.shown)
            names.update({own.id: name for own, name in zip(turn.answer.tool_calls, turn.call_ids, strict=True)})
        return tuple(messages)

    def tools(self, number: int) -> tuple[ToolSpec, ...]:
        """Return the tools of a turn."""
        return self.lineage(number)[0].tools

    def prompt(self, number: int) -> RenderedTokens:
        """Return the prompt of a turn with its attribution."""
        ids: list[int] = []
        runs: list[Run] = []
        roles: list[str] = []
        names: list[str | None] = []
        media: MultiModalData | None = None
        turns = list(self._bases(number))[::-1]
        for turn, after in zip(turns, (*turns[1:], None), strict=True):
            tail = turn.tail
            ids += tail.token_ids
            if after is not None:
                ids += turn.completion_ids
            runs += tail.runs
            roles += tail.message_roles
            names += tail.message_tool_names
            media = followed(media, 0, tail.multi_modal_data)
        return put_together(tuple(ids), tuple(runs), tuple(roles), tuple(names), media)

    def sequence(self, number: int) -> tuple[int, ...]:
        """Return the ids of a turn's prompt and completion."""
        ids: list[int] = []
        for turn in list(self._bases(number))[::-1]:
            ids += turn.tail.token_ids
            ids += turn.completion_ids
        return tuple(ids)

    def lengths(self) -> list[int]:
        """Return the length of every turn's prompt and completion."""
        lengths: list[int] = []
        for turn in self.turns:
            before = 0 if turn.base is None else lengths[turn.base]
            lengths.append(before + len(turn.tail.token_ids) + len(turn.completion_ids))
        return lengths

    def spans(self, number: int) -> dict[int, tuple[int, int]]:
        """Return where in the sequence of a turn the completions lie that it is built on, by the turns' numbers."""
        spans: dict[int, tuple[int, int]] = {}
        end = 0
        for turn in list(self._bases(number))[::-1]:
            start = end + len(turn.tail.token_ids)
            end = start + len(turn.completion_ids)
            spans[turn.number] = (start, end)
        return spans

    def _bases(self, number: int) -> Iterator[Turn]:
        """Yield a turn, then the turns with whose ids it begins, the nearest first."""
        turn = self.turns[number]
        yield turn
        while turn.base is not None:
            turn = self.turns[turn.base]
            yield turn


class Conversations(Struct, frozen=True):
    """The sessions that are held, each a tree of its own: a session never sees another's turns.

    >>> Conversations().session("a") == Session("a")
    True
    """

    sessions: Mapping[str, Session] = {}

    def session(self, name: str) -> Session:
        """Return the session of this name; an empty one where there is none."""
        return self.sessions.get(name) or Session(name)

    def with_session(self, session: Session) -> Conversations:
        """Return the same sessions with this one in place of what its name stood for, as the last."""
        others = {name: other for name, other in self.sessions.items() if name != session.name}
        return Conversations({**others, session.name: session})

    def without(self, name: str) -> Conversations:
        """Return the other sessions."""
        return Conversations({other: session for other, session in self.sessions.items() if other != name})


def tail_after(prompt: RenderedTokens, base: RenderedTokens | None, completion: int) -> Tail:
    """Return what a prompt adds to the sequence of another prompt and its completion.

    Args:
        prompt: A prompt; it begins with that sequence.
        base: The other prompt; None where there is none.
        completion: How many tokens its completion has.
    """
    media = prompt.multi_modal_data
    if base is None:
        return Tail(prompt.token_ids, prompt.runs, prompt.message_roles, prompt.message_tool_names, media)
    if media is not None and base.multi_modal_data is not None:
        media = media.since(base.multi_modal_data)
    ids, runs, roles = len(base) + completion, len(base.runs), len(base.message_roles)
    return Tail(
        prompt.token_ids[ids:],
        prompt.runs[runs:],
        prompt.message_roles[roles:],
        prompt.message_tool_names[roles:],
        media,
    )
