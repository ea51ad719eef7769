"""A streamed call: bytes become events as they arrive, attempt after attempt until one has told something."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final, TypeAlias

from msgspec import Struct

from isc.client.assembly import Assembly
from isc.client.attempts import FailedError, Request, arriving
from isc.client.bodies import UnreadableError
from isc.client.events import EventReader
from isc.client.exchange import Attempts
from isc.client.lane import off_loop
from isc.client.responses import Answer, Completion
from isc.client.retries import Retries
from isc.client.stream_events import StreamEvent, TokensSampled, TurnFinished
from isc.client.transport import Endpoint
from isc.client.turns import Reading, turn
from isc.conversation.reading import TurnReader
from isc.errors import ClientError

_FEW_BYTES: Final = 8_192  # that arrived at once, and up to which a thread costs more than it saves
_FEW_TOKENS: Final = 32_768  # before them, up to which a reader that looks at all of them holds the loop for few ms
_LEAST_BYTES_A_TOKEN: Final = 64  # of an event that tells one

Arrived: TypeAlias = StreamEvent | Completion
"""What a stream brings: events and the turn, or only ids and at last the completion, which nobody has read."""


class Incoming(Struct):
    """The stream of one attempt; without a reader only the turn is told. `error` is why it ended early."""

    events: EventReader
    assembly: Assembly
    reader: TurnReader | None
    ids_alone: bool = False
    last: Answer | None = None
    error: ClientError | None = None

    async def fed(self, piece: Answer) -> list[Arrived]:
        """Return what a piece of the body tells. Where it ends the stream early, `error` is set after that."""
        if len(piece.body) <= _FEW_BYTES and len(self.assembly.token_ids) <= _FEW_TOKENS:
            return self._fed(piece)
        return await off_loop(self._fed, piece)

    async def finished(self) -> list[Arrived]:
        """Return what is left to tell at the end of the body, the turn at last.

        Raises:
            ClientError: There is no turn.
        """
        return await off_loop(self._finished)

    def _fed(self, piece: Answer) -> list[Arrived]:
        told: list[Arrived] = []
        self.last = piece
        try:
            for data in self.events.feed(piece.body):
                self.assembly.add(piece, data)
                told += self._untold()
        except ClientError as error:
            self.error = error
        except UnreadableError as error:
            self.error = piece.error("body", str(error), partial=self.assembly.partial)
        return [*told, *self._untold()]

    def _untold(self) -> Iterator[StreamEvent]:
        """Yield the ids that were not told yet, and what they made certain."""
        token_ids, logprobs = self.assembly.untold()
        if token_ids and (self.ids_alone or self.reader is not None):
            yield TokensSampled(token_ids, logprobs)
        if token_ids and self.reader is not None:
            self.reader, events = self.reader.feed(token_ids)
            yield from events

    def _finished(self) -> list[Arrived]:
        answer, assembly = self.last, self.assembly
        assert answer is not None  # the head of the answer came before its end
        if not self.events.has_read:
            raise answer.error("body", "has no event in it: it is no stream, though one was asked for")
        completion = assembly.finished(answer)
        if self.ids_alone:
            return [completion]
        left, parsed = ((), assembly.reading.parsed(completion)) if self.reader is None else self.reader.finished()
        return [*left, TurnFinished(turn(assembly.reading, completion, parsed, answer.request_id))]


class Streaming(Struct, frozen=True):
    """How a streamed call is read: by whom, how much is kept of it, and whether it is told while it is sampled.

    `ids_alone`: only ids are told, and the completion, for who reads it by themselves.
    """

    reading: Reading
    bound: int
    reader: TurnReader | None = None
    ids_alone: bool = False

    def incoming(self) -> Incoming:
        """Return the stream of an attempt, of which nothing has arrived."""
        assembly = Assembly(self.reading, max(1, self.bound // _LEAST_BYTES_A_TOKEN))
        return Incoming(EventReader(self.bound), assembly, self.reader, self.ids_alone)


async def streamed(
    to: Endpoint, request: Request, retries: Retries, streaming: Streaming
) -> AsyncGenerator[Arrived, None]:
    """Yield what a streamed call tells, after as many attempts as it takes until one has told something.

    Raises:
        ClientError: There is no turn; `partial` is what was sampled by then.
    """
    attempts = Attempts.of(to, request, retries)
    while True:
        incoming, has_told = streaming.incoming(), False
        try:
            async with aclosing(arriving(to, request, *attempts.next())) as pieces:
                async for piece in pieces:
                    for event in await incoming.fed(piece):
                        has_told = True
                        yield event
                    if incoming.error is not None:
                        raise incoming.error
            break
        except FailedError as error:
            failure = error.failure
        await attempts.pause(failure, incoming.assembly.partial, last=has_told)
    for event in await incoming.finished():
        yield event
