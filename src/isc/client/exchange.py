"""Requests and answers: attempts until one succeeds, is refused, or count or time run out."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from isc.client.attempts import FailedError, Failure, Request, arriving
from isc.client.responses import Answer
from isc.client.retries import Retries
from isc.client.transport import Endpoint
from isc.errors import PartialCompletion


class Attempts(Struct):
    """The attempts at a request, as many as it takes and `retries` allows; `deadline` is that of all."""

    to: Endpoint
    request: Request
    retries: Retries
    deadline: float
    number: int = 0

    @classmethod
    def of(cls, to: Endpoint, request: Request, retries: Retries) -> Attempts:
        """Return the attempts that can be made from now on."""
        return cls(to, request, retries, _now() + retries.total)

    def next(self) -> tuple[str, float]:
        """Return the name of the next attempt, and the seconds that it may take."""
        self.number += 1
        return self.request.attempt(self.number), min(self.retries.timeout, self.deadline - _now())

    async def pause(self, failure: Failure, partial: PartialCompletion | None = None, *, last: bool = False) -> None:
        """Wait until there can be another attempt.

        Args:
            failure: Why the one before failed.
            partial: What it had brought until then.
            last: Whether there can be none, because what was received cannot be taken back.

        Raises:
            ClientError: There can be none.
        """
        pause = failure.pause + self.retries.backoff(self.number)
        is_harmless = self.retries.idempotent or self.request.body is None or not failure.taken
        is_over = self.number >= self.retries.attempts or _now() + pause >= self.deadline
        if last or is_over or not (failure.repeatable and is_harmless):
            name = self.request.attempt(self.number)
            raise failure.error(self.to.root + self.request.path, name, self.number, partial)
        await asyncio.sleep(pause)


async def exchange(to: Endpoint, request: Request, retries: Retries) -> Answer:
    """Return the answer to a request, after as many attempts as it takes and `retries` allows.

    A response that began to arrive and was cut off counts as a lost connection: it is no answer.

    Raises:
        EngineUnavailableError: Not reached, connection lost, or 429 and 5xx, at every attempt.
        EngineTimeoutError: The last attempt took too long.
        EngineRefusedError: Any other status, redirects among them: nothing is sent to another address.
        MalformedResponseError: The answer is compressed or too large.
    """
    attempts = Attempts.of(to, request, retries)
    while True:
        try:
            return await _whole(to, request, *attempts.next())
        except FailedError as error:
            failure = error.failure
        await attempts.pause(failure)


async def _whole(to: Endpoint, request: Request, request_id: str, seconds: float) -> Answer:
    """Return the whole answer to one attempt."""
    answer, body = Answer(to.root + request.path, request_id, b""), bytearray()
    async with aclosing(arriving(to, request, request_id, seconds)) as pieces:
        async for answer in pieces:
            body += answer.body
    return replace(answer, body=body)


def _now() -> float:
    return asyncio.get_running_loop().time()
