"""An answer as a turn: read by its protocol, checked, parsed; or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Final

from msgspec import Struct

from isc.client.generation import Generation, Usage
from isc.client.identity import check_count, is_proven, unproven
from isc.client.prompts import Prompt
from isc.client.protocols import Asked, EngineProtocol
from isc.client.responses import ABORTS, Answer, Completion, check_range, kept
from isc.conversation.renderer import Renderer
from isc.convert import Tools
from isc.encoding.base import Encoder
from isc.errors import EngineAbortedError, MalformedResponseError, PartialCompletion
from isc.types import Json, ParsedResponse

_SHOWN: Final = 300  # characters of what an engine says
_NOTHING: Final[Mapping[str, Json]] = {}
_PADDING = 1024  # ids by which a model's table is rounded up, at most, above the vocabulary of its tokenizer


class Reading(Struct, frozen=True):
    """What an answer is read and checked by; `size` is how many ids the model has, None where that is not known."""

    renderer: Renderer
    protocol: EngineProtocol
    prompt: Prompt
    asked: Asked
    tools: Tools
    keep: tuple[str, ...]
    size: int | None

    def parsed(self, completion: Completion) -> ParsedResponse:
        """Return what a completion says."""
        return self.renderer.parse_response(completion.token_ids, self.tools, prompt_ids=self.prompt.ids)

    @property
    def as_sent(self) -> bool:
        """Return whether the engine reads the ids that it is sent, and no others."""
        asked = self.asked
        media = asked.features is not None or asked.content_parts is not None
        return not media and asked.extra_body.keys().isdisjoint(self.protocol.media_fields)


def id_count(encoder: Encoder) -> int | None:
    """Return how many ids a model with this vocabulary can have: tables are rounded up for the hardware."""
    if not isinstance(encoder, Sized):
        return None
    highest = max([len(encoder) - 1, *encoder.specials.values()])
    return (highest // _PADDING + 2) * _PADDING


def _completion(answer: Answer, reading: Reading) -> Completion:
    """Return the completion in an answer. Refuse one that is unsound, or the answer to another request.

    Raises:
        EngineAbortedError: The engine gave the request up.
    """
    protocol = reading.protocol
    try:
        completion = protocol.completion(answer)
        _check(answer, completion, reading)
    except MalformedResponseError as error:
        another = error.path in ("request_id", "prompt_token_ids")
        reason = None if another else protocol.aborted(answer)
        if reason is None:
            raise
        raise abort(answer, reason, None) from None  # given up without the ids, or with some that cannot be trusted
    if completion.finish_reason in ABORTS:
        raise abort(answer, completion.problem or completion.finish_reason, _so_far(completion, reading))
    return completion


def abort(answer: Answer, reason: str, so_far: PartialCompletion | None) -> EngineAbortedError:
    """Return the error of a request that an engine gave up."""
    told = answer.secrets.hide(reason)[:_SHOWN]
    problem = f"the engine gave the request up ({told}); it may be asked again when it is ready"
    return EngineAbortedError(answer.url, answer.request_id, problem, so_far)


def _check(answer: Answer, completion: Completion, reading: Reading) -> None:
    """Refuse a completion that is not this request's, or not this model's."""
    at = reading.protocol.counts
    if not is_proven(answer, completion, reading.prompt.ids, as_sent=reading.as_sent, at=at):
        raise unproven(answer, completion.request_id)
    check_count(answer, f"{at}.completion_tokens", completion.completion_tokens, len(completion.token_ids))
    check_range(answer, completion.token_ids, reading.size)


def _so_far(completion: Completion, reading: Reading) -> PartialCompletion:
    return PartialCompletion(
        reading.prompt.ids, tuple(completion.token_ids), tuple(completion.logprobs), completion.request_id
    )


def generation_of(reading: Reading, answer: Answer) -> Generation:
    """Return an answer, checked and parsed.

    Raises:
        EngineAbortedError: The engine gave the request up.
        MalformedResponseError: The answer cannot be trusted.
    """
    completion = _completion(answer, reading)
    extra = kept(answer, reading.keep, reading.protocol.extra_places)
    return turn(reading, completion, reading.parsed(completion), answer.request_id, extra)


def turn(
    reading: Reading,
    completion: Completion,
    parsed: ParsedResponse,
    request_id: str,
    extra: Mapping[str, Json] = _NOTHING,
) -> Generation:
    """Return a completion that was checked, and what it says, as a turn."""
    prompt, finish_reason = reading.prompt, completion.finish_reason
    called = any(attempt.status in ("ok", "unknown_tool") for attempt in parsed.tool_calls)
    return Generation(
        prompt.ids,
        tuple(completion.token_ids),
        tuple(completion.logprobs),
        parsed.content,
        "tool_calls" if called and finish_reason == "stop" else finish_reason,
        completion.request_id or request_id,
        Usage(len(prompt.ids), len(completion.token_ids)),
        parsed.reasoning_content,
        parsed.tool_calls,
        parsed.reasoning_complete,
        prompt.media,
        prompt.attribution,
        extra,
    )
