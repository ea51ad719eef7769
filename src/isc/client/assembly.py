"""The completion of a stream, put together event by event. Every id in it passed the checks of a whole answer."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from isc.client.bodies import UnreadableError
from isc.client.events import error_of
from isc.client.identity import check_count, is_proven, unproven
from isc.client.responses import ABORTS, Answer, Chunk, Completion, check_logprobs, check_range
from isc.client.turns import Reading, abort
from isc.errors import MalformedResponseError, PartialCompletion


class Assembly(Struct):
    """What a stream has brought of a completion; `most` is how many ids are kept of it.

    `name` is the engine's own for the request, `is_proven` whether the stream has said that it is this request's,
    `told` how many of the ids were handed on.
    """

    reading: Reading
    most: int
    token_ids: list[int] = []
    logprobs: list[float] = []
    name: str = ""
    is_proven: bool = False
    finish_reason: str = ""
    completion_tokens: int | None = None
    told: int = 0

    @property
    def partial(self) -> PartialCompletion | None:
        """Return the completion so far; None where there is none, or it may be another request's."""
        if not self.is_proven or not self.token_ids:
            return None
        return PartialCompletion(self.reading.prompt.ids, tuple(self.token_ids), tuple(self.logprobs), self.name)

    def add(self, answer: Answer, data: bytes) -> None:
        """Add what an event says, all of it or nothing.

        Args:
            answer: What the event stands in.
            data: The data of the event.

        Raises:
            EngineAbortedError: The engine gave the request up.
            MalformedResponseError: The event cannot be trusted, or contradicts those before it.
            UnreadableError: There are more ids than are kept.
        """
        problem = error_of(data)
        if problem is not None:
            raise abort(answer, problem, self.partial)
        try:
            chunk = self.reading.protocol.chunk(answer, data)
            self._identify(answer, chunk)
            self._extend(answer, chunk)
        except MalformedResponseError as error:
            fields = (error.url, error.request_id, error.path, error.problem, error.value)
            raise MalformedResponseError(*fields, self.partial) from None
        if chunk.finish_reason in ABORTS:
            raise abort(answer, chunk.problem or chunk.finish_reason, self.partial)
        if chunk.finish_reason.strip():
            self.finish_reason = chunk.finish_reason

    def untold(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return the ids that were not handed on yet, and their log probabilities; none of an unproven stream."""
        if not self.is_proven:
            return (), ()
        start, self.told = self.told, len(self.token_ids)
        return tuple(self.token_ids[start:]), tuple(self.logprobs[start:])

    def finished(self, answer: Answer) -> Completion:
        """Return the completion where the stream has ended.

        Raises:
            EngineAbortedError: The stream did not say why the completion ended, so it did not come to its end.
            MalformedResponseError: Nothing says that the stream is this request's, or tokens are missing.
        """
        if not self.finish_reason:
            raise abort(answer, "the answer ended before the completion did", self.partial)
        if not self.is_proven:
            raise unproven(answer, self.name)
        at = self.reading.protocol.counts
        check_count(answer, f"{at}.completion_tokens", self.completion_tokens, len(self.token_ids))
        return Completion(tuple(self.token_ids), tuple(self.logprobs), self.finish_reason, self.name)

    def _identify(self, answer: Answer, chunk: Chunk) -> None:
        """Refuse an event of another request's stream. Keep its name, and whether it proves whose the stream is."""
        reading = self.reading
        proven = is_proven(answer, chunk, reading.prompt.ids, as_sent=reading.as_sent, at=reading.protocol.counts)
        if chunk.request_id and (not self.name or (proven and not self.is_proven)):
            self.name = chunk.request_id
        self.is_proven = self.is_proven or proven

    def _extend(self, answer: Answer, chunk: Chunk) -> None:
        """Add the new ids of an event and their log probabilities, checked."""
        token_ids = self._new(answer, chunk, "token_ids", chunk.token_ids)
        scored = self._new(answer, chunk, self.reading.protocol.scores, chunk.scored_ids)
        retold = len(chunk.scored_ids) - len(scored)
        if list(chunk.logprobs[:retold]) != self.logprobs[:retold]:
            raise answer.error(self.reading.protocol.scores, "are not those that were told before")
        logprobs = chunk.logprobs[retold:]
        check_logprobs(answer, self.reading.protocol.scores, token_ids, logprobs)
        self._check_scored(answer, token_ids, scored)
        check_range(answer, token_ids, self.reading.size)
        if token_ids and self.finish_reason:
            raise answer.error("token_ids", "go on after the completion has ended")
        if len(self.token_ids) + len(token_ids) > self.most:
            raise UnreadableError(
                f"is of more than {self.most} ids, and was read no further; allow more with max_response_bytes"
            )
        self.token_ids += token_ids
        self.logprobs += logprobs
        if chunk.completion_tokens is not None:
            self.completion_tokens = chunk.completion_tokens

    def _new(self, answer: Answer, chunk: Chunk, path: str, token_ids: Sequence[int]) -> Sequence[int]:
        """Return those of an event's ids that no event before it told.

        Raises:
            MalformedResponseError: They contradict what was told, or leave a gap, or nothing says which are new.
        """
        before, count = self.token_ids, chunk.completion_tokens
        at = f"{self.reading.protocol.counts}.completion_tokens"
        if not (chunk.retells and token_ids):
            return token_ids
        if count is None:
            if before:
                raise answer.error(at, "is missing: nothing says whether the event tells all tokens or the new ones")
            return token_ids
        if len(token_ids) != count:
            check_count(answer, at, count, len(before) + len(token_ids))
            return token_ids
        if list(token_ids[: len(before)]) != before:
            raise answer.error(path, "are not those that were told before")
        return token_ids[len(before) :]

    def _check_scored(self, answer: Answer, token_ids: Sequence[int], scored: Sequence[int]) -> None:
        """Refuse log probabilities of other tokens than those that were sampled."""
        path, start = self.reading.protocol.scores, len(self.token_ids)
        if len(scored) != len(token_ids):
            raise answer.error(path, f"are of {len(scored)} tokens, and there are {len(token_ids)}")
        for place, (token_id, other) in enumerate(zip(token_ids, scored, strict=True), start):
            if token_id != other:
                raise answer.error(f"{path}[{place}]", f"is not of token id {token_id}", other)
