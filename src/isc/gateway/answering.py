"""From a request to a recorded turn: the session is found, the next prompt made, sampled, told, and written down."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from weakref import WeakValueDictionary

from msgspec import Struct

from isc._runs import merge
from isc.client import content_parts
from isc.client.lane import off_loop
from isc.conversation.bridge import PartLengths
from isc.conversation.renderer import Renderer
from isc.conversation.sampled_parts import parts_alone
from isc.gateway.dialect import Answer, Asked, Choice, ChoiceClosed, Failure, Heading, RequestError, Told, refused
from isc.gateway.engines import STRUCTURED, Engines, Wish
from isc.gateway.forcing import forced_call
from isc.gateway.serving import Bounds
from isc.gateway.speech import Manner, Speech
from isc.gateway.stepping import Prompted, Sampling, answered, as_shown, step
from isc.gateway.store import Delivery, RecordError, Store
from isc.gateway.tree import Conversations, Piece, Session
from isc.types import AssistantMessage, Json, Message

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BETWEEN_REMOVALS = 60.0  # seconds between two removals of sessions by their age
_AT_ONCE = 16_384  # bytes of a body up to which a thread costs more than it saves


class Gateway:
    """Sessions, engines and the record, without HTTP.

    Args:
        renderer: Format and vocabulary of the model.
        engines: Who samples.
        store: Where turns are recorded.
        bounds: How much is taken.
    """

    def __init__(self, renderer: Renderer, engines: Engines, store: Store, bounds: Bounds) -> None:
        self.renderer = renderer
        self.engines = engines
        self.store = store
        self.bounds = bounds
        self.conversations = Conversations()
        self._finished: set[str] = set()
        self._loading = asyncio.Lock()
        self._sessions: int | None = None
        self._lives: WeakValueDictionary[str, _Life] = WeakValueDictionary()
        self._asked: dict[str, float] = {}  # when sessions were last asked, where they may go by age

    async def answering(self, name: str, asked: Asked, size: int) -> Answering:
        """Return an answer of a session to its next prompt, of which nothing is sampled.

        Args:
            name: The session's name.
            asked: What the agent asks for.
            size: How many bytes its request has.

        Raises:
            RequestError: The session takes no more turns, or the turn that is named is not there.
            ConversationError: Something cannot be rendered.
        """
        if self.bounds.keep_seconds is not None:
            self._asked[name] = time.time()
        life = self._lives.setdefault(name, _Life())
        tree = await self.session(name)
        if name in self._finished:
            raise refused(None, f"session {name} is finished; name another")
        if len(tree.turns) + asked.n > self.bounds.turns:
            raise RequestError(Failure("too_many", f"session {name} has {len(tree.turns)} turns, and may have no more"))
        if not tree.turns:
            await self._admit()
        after = None if asked.after is None else numbered(tree, asked.after)
        given = (tree, self.renderer, asked.messages, asked.tools)
        if size <= _AT_ONCE:
            prompted = step(*given, after=after, continues=asked.continues)
        else:
            prompted = await off_loop(step, *given, after=after, continues=asked.continues)
        forced = _forced(tree, self.renderer, asked, prompted) if asked.calls == "required" else None
        has_images = prompted.prompt.multi_modal_data is not None
        images = await off_loop(content_parts, _conversation(tree, prompted)) if has_images else ()
        return Answering(self, name, asked, prompted, life, _Beside(forced, images))

    async def session(self, name: str) -> Session:
        """Return a session, from memory or from the record; an empty one where there is none.

        Raises:
            RequestError: It cannot be the name of a session.
        """
        if _NAME.fullmatch(name) is None:
            problem = "the name of a session has letters, digits, '.', '_' and '-', begins with a letter or digit"
            raise refused(None, f"{problem}, and is at most 128 long")
        while name not in self.conversations.sessions:
            async with self._loading:
                if name not in self.conversations.sessions:
                    self._hold(await self._recorded(name))
        return self.conversations.session(name)

    async def _recorded(self, name: str) -> Session:
        recorded = await self.store.session(name)
        if recorded is None:
            return Session(name)
        if recorded.finished:
            self._finished.add(name)
        dropped = {one.turn.number for one in recorded.turns if one.delivery == "dropped"}
        return Session.of(name, tuple([one.turn for one in recorded.turns])).without_answers(dropped)

    def record(
        self, name: str, prompted: Prompted, samplings: Sequence[tuple[str, Sampling]], life: _Life
    ) -> tuple[list[int], Awaitable[None]]:
        """Put what was sampled for a prompt into a session that is in memory, and begin to write it down.

        Args:
            name: The session's name.
            prompted: The prompt.
            samplings: What was sampled, each under the name of its turn.
            life: The session's life when the prompt was made.

        Returns:
            The numbers of the turns, and what is done once they are on disk; a `RecordError` where they cannot be.

        Raises:
            RequestError: The session was removed meanwhile.
        """
        if self._lives.get(name) is not life:
            raise RequestError(Failure("not_found", f"session {name} was removed while it was answered"))
        tree = self.conversations.session(name)
        first = len(tree.turns)
        if not first and self._sessions is not None:
            self._sessions += 1
        for identity, sampling in samplings:
            tree = tree.after(answered(prompted, sampling, identity, time.time()))
        self._hold(tree)
        return list(range(first, len(tree.turns))), self.store.add(name, tree.turns[first:])

    def note(self, name: str, numbers: Sequence[int], delivery: Delivery) -> None:
        """Note whether turns reached the agent. One that did not is no turn to go on from."""
        self.store.note(name, numbers, delivery)
        if delivery == "dropped":
            self._forget(name, numbers)

    async def finish(self, name: str) -> bool:
        """Note that a session takes no more turns. Return whether there is one of this name."""
        is_there = await self.store.finish(name)
        if is_there:
            self._finished.add(name)
        return is_there

    async def remove(self, name: str) -> bool:
        """Remove a session. Return whether there was one of this name. Answers on their way become none."""
        self._lives.pop(name, None)
        self.conversations = self.conversations.without(name)
        self._finished.discard(name)
        was_there = await self.store.remove(name)
        if was_there and self._sessions is not None:
            self._sessions -= 1
        return was_there

    async def keep(self) -> None:
        """Remove sessions by their age again and again, for ever; return where they have none."""
        kept = self.bounds.keep_seconds
        while kept is not None:
            await asyncio.sleep(min(kept / 4, _BETWEEN_REMOVALS))
            try:
                while await self.remove_idle(time.time() - kept):
                    pass
            except RecordError as error:
                _log.warning("sessions could not be removed by their age: %s", error)

    async def remove_idle(self, since: float) -> int:
        """Remove sessions that were neither asked nor answered since a moment. Return how many they were.

        Args:
            since: The moment, in seconds since 1970. One that is being answered was asked before, so this is to be
                longer ago than an answer takes.
        """
        names = await self.store.idle(since)
        self._asked = {name: moment for name, moment in self._asked.items() if moment >= since}
        idle = [name for name in names if name not in self._asked]
        for name in idle:  # nothing is awaited between this and the removal: a request from here on begins anew
            self.conversations = self.conversations.without(name)
            self._finished.discard(name)
        removed = await self.store.remove_idle(idle, since)
        if self._sessions is not None:
            self._sessions -= removed
        return removed

    def _forget(self, name: str, numbers: Sequence[int]) -> None:
        if name in self.conversations.sessions:
            self._hold(self.conversations.session(name).without_answers(numbers))

    def _hold(self, tree: Session) -> None:
        """Keep a session in memory, as the last that was used; the one that was not used for longest may go."""
        self.conversations = self.conversations.with_session(tree)
        if len(self.conversations.sessions) > self.bounds.held:
            oldest = next(iter(self.conversations.sessions))
            self.conversations = self.conversations.without(oldest)
            self._finished.discard(oldest)

    async def _admit(self) -> None:
        """Refuse a new session where there are as many as there may be."""
        if self._sessions is None:
            self._sessions = await self.store.count()
        if self._sessions >= self.bounds.sessions:
            raise RequestError(Failure("too_many", f"there are {self._sessions} sessions, and may be no more"))


class _Life:
    """A session from its first prompt to its removal. Answers on their way hold it; who begins anew has another."""


class _Beside(Struct, frozen=True):
    """What an engine gets beside the prompt: what sampling is held to, None for nothing, and the images it shows."""

    forced: str | None
    images: tuple[Mapping[str, Json], ...]


class Answering:
    """One request on its way: what is told of its answers, and the answer once it is recorded.

    Attributes:
        heading: What is known before anything is sampled.
        prompted: The prompt.
        numbers: The turns that it became, once they are recorded.
    """

    def __init__(
        self, gateway: Gateway, name: str, asked: Asked, prompted: Prompted, life: _Life, beside: _Beside
    ) -> None:
        self._gateway = gateway
        self._name = name
        self._asked = asked
        self._life = life
        self._beside = beside
        self.prompted = prompted
        self._turns = [uuid.uuid4().hex for _ in range(asked.n)]
        self._choices: list[tuple[Choice, Sampling]] = []
        ids, origin = prompted.prompt.token_ids, prompted.origin
        self.heading = Heading(self._turns[0], int(time.time()), asked.model, ids, origin.continued)
        self.numbers: list[int] = []

    async def events(self) -> AsyncGenerator[Told, None]:
        """Yield what is told of the answers while they are sampled.

        Raises:
            ClientError: No engine answered.
            OverlongPromptError: The prompt is too long.
        """
        choices = [self._choice(index) for index in range(self._asked.n)]
        async with aclosing(_merged(choices) if len(choices) > 1 else choices[0]) as events:
            async for event in events:
                yield event

    async def recorded(self) -> Answer:
        """Write the answers down, after the last event. They are on disk when this returns.

        Raises:
            RecordError: They cannot be written.
        """
        choices = sorted(self._choices, key=lambda pair: pair[0].index)
        samplings = [(choice.id, sampling) for choice, sampling in choices]
        await self._gateway.session(self._name)  # in memory from here on: nobody else comes between
        self.numbers, written = self._gateway.record(self._name, self.prompted, samplings, self._life)
        await written
        return Answer(self.heading, tuple([choice for choice, _ in choices]))

    def delivered(self, delivery: Delivery) -> None:
        """Note whether the answer reached the agent."""
        if self.numbers:
            self._gateway.note(self._name, self.numbers, delivery)

    async def _choice(self, index: int) -> AsyncGenerator[Told, None]:
        """Yield what is told of one answer."""
        speech = self._speech(index)
        pieces: list[Piece] = []
        reason = "stop"
        async with aclosing(self._gateway.engines.sample(self._name, self._wish(index))) as sampled:
            async for part in sampled:
                pieces.append(part.piece)
                reason = part.finish_reason or reason
                for event in speech.feed(part.token_ids, part.logprobs):
                    yield event
                if speech.ended:
                    break
        for event in speech.finish():
            yield event
        parts = await self._parts(speech)
        yield ChoiceClosed(self._closed(index, speech, reason, pieces, parts))

    async def _parts(self, speech: Speech) -> PartLengths:
        """Return the parts of what was sampled, where the renderer says parts."""
        renderer = self._gateway.renderer
        if not renderer.parts:
            return ()
        prompt, tools = self.prompted.prompt.token_ids, self.prompted.tools
        return await off_loop(parts_alone, renderer, prompt, tuple(speech.completion_ids), tools)

    def _closed(self, index: int, speech: Speech, reason: str, pieces: Sequence[Piece], parts: PartLengths) -> Choice:
        finish = speech.finish_reason(reason)
        if self._beside.forced is not None and finish == "stop":
            raise RequestError(Failure("engine", "the engine made no call though it was held to: has it xgrammar?"))
        ids, logprobs, said = tuple(speech.completion_ids), tuple(speech.logprobs), speech.said
        sampling = Sampling(ids, logprobs, said, finish, _pieces(pieces, len(ids)), parts)
        shown = as_shown(said, self._turns[index])
        choice = Choice(index, self._turns[index], shown, finish, speech.stop, speech.tokens())
        self._choices.append((choice, sampling))
        return choice

    def _speech(self, index: int) -> Speech:
        asked, renderer = self._asked, self._gateway.renderer
        manner = Manner(
            index,
            self._turns[index],
            asked.stop,
            as_calls=asked.calls != "none",
            one_call=asked.one_call,
            tells_tokens=asked.stream and (asked.tells_logprobs or asked.tells_token_ids),
            in_pieces=asked.in_pieces if asked.stream else (),
        )
        reader = renderer.reader(self.prompted.prompt.token_ids, self.prompted.tools)
        return Speech(reader, renderer.encoder, manner)

    def _wish(self, index: int) -> Wish:
        sampling: dict[str, Json] = dict(self._asked.sampling)
        seed = sampling.get("seed")
        if isinstance(seed, int):
            sampling["seed"] = seed + index  # else all answers would be the same
        if self._beside.forced is not None:
            sampling[STRUCTURED] = {"structural_tag": self._beside.forced}
        return Wish(self.prompted.prompt, self.prompted.tools, sampling, self._asked.max_tokens, self._beside.images)


def numbered(tree: Session, identity: str) -> int:
    """Return the number of the turn of this id.

    Args:
        tree: The session.
        identity: The id, as the heading of its answer has it.

    Raises:
        RequestError: There is none in this session.
    """
    number = next((turn.number for turn in reversed(tree.turns) if turn.id == identity), None)
    if number is None:
        raise RequestError(Failure("not_found", f"there is no answer {identity[:60]!r} in this session"))
    return number


def _conversation(tree: Session, prompted: Prompted) -> tuple[Message, ...]:
    """Return the conversation that a prompt ends."""
    before = () if prompted.parent is None else tree.path(prompted.parent)
    return (*before, *prompted.messages)


def _forced(tree: Session, renderer: Renderer, asked: Asked, prompted: Prompted) -> str:
    """Return what the engine is held to, so that a call is made.

    Raises:
        RequestError: There is no such tool, or the format has no exact form of it.
    """
    tools = {tool.name for tool in prompted.tools}
    names = tools if asked.call_of is None else {asked.call_of} & tools
    if not names:
        named = "no tool is offered" if asked.call_of is None else f"there is no tool {asked.call_of[:60]!r}"
        raise refused("tool_choice", f"a call is required, but {named}")
    if asked.continues:
        raise refused("tool_choice", "a message that is gone on with cannot be required to be a call")
    before = _conversation(tree, prompted)
    calls = sum(len(message.tool_calls) for message in before if isinstance(message, AssistantMessage))
    forced = forced_call(renderer, prompted.tools, sorted(names), calls)
    if forced is None:
        problem = (
            f"the calls of {type(renderer.family).__name__} are no JSON that an engine can be held to; use auto or none"
        )
        raise refused("tool_choice", problem)
    return forced


def _pieces(pieces: Sequence[Piece], length: int) -> tuple[Piece, ...]:
    """Put pieces of the same engine and weights together, up to the ids that count."""
    merged = merge((piece.length, (piece.weight_version, piece.engine)) for piece in pieces)
    kept: list[Piece] = []
    for size, (version, engine) in merged:
        taken = min(size, length)
        length -= taken
        if taken:
            kept.append(Piece(taken, version, engine))
    return tuple(kept)


async def _merged(streams: Sequence[AsyncGenerator[Told, None]]) -> AsyncGenerator[Told, None]:
    """Yield the events of several streams as they come. Where one fails, all end."""
    waiting = {asyncio.ensure_future(anext(one)): one for one in streams}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                stream = waiting.pop(task)
                try:
                    event = task.result()
                except StopAsyncIteration:
                    continue
                yield event
                waiting[asyncio.ensure_future(anext(stream))] = stream
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
