"""`Generation`: what a call of an engine gave, frozen and checked."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from isc._brief import Brief
from isc.rendered import MultiModalData, RenderedTokens
from isc.types import Json, ParsedToolCall


class Usage(Struct, frozen=True):
    """Tokens of a call: those of the prompt as they were sent, those of the completion as they came back."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Return the number of prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class Generation(Brief, Struct, frozen=True, omit_defaults=True):
    """A sampled turn, as ids and as a message.

    Attributes:
        prompt_ids: The ids that were sent.
        completion_ids: The ids that were sampled, stop token included where the engine stopped at one.
        completion_logprobs: The log probability of each, as the engine reported it.
        content: The turn's text.
        reasoning_content: Its reasoning; None where none was opened.
        tool_calls: Every attempted call, with its status.
        finish_reason: The engine's (`"stop"`, `"length"`, ...), but `"tool_calls"` where a turn that came to its end
            holds a well-formed call; `"length"` stays, so that a turn that was cut off is known as such.
        reasoning_complete: Whether reasoning came to its end.
        request_id: The engine's name for the request, to find it in its log.
        usage: Numbers of tokens.
        multi_modal_data: Media of the prompt, where it has any.
        prompt_attribution: Owner of every token of the prompt; None where ids were passed without it.
        extra: Other fields of the response, those asked for with `keep`.

    >>> import msgspec
    >>> generation = Generation((5,), (7, 8), (-0.5, -0.1), "hi", "stop", "isc-1", Usage(1, 2))
    >>> msgspec.json.decode(msgspec.json.encode(generation), type=Generation) == generation
    True
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    completion_logprobs: tuple[float, ...]
    content: str
    finish_reason: str
    request_id: str
    usage: Usage
    reasoning_content: str | None = None
    tool_calls: tuple[ParsedToolCall, ...] = ()
    reasoning_complete: bool = True
    multi_modal_data: MultiModalData | None = None
    prompt_attribution: RenderedTokens | None = None
    extra: Mapping[str, Json] = {}
