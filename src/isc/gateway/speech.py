"""One answer while it is sampled: ids are read, and become what is told to the agent and what is recorded.

Of a call that is told in pieces, the end of its arguments waits until the call has ended well: what was told is the
JSON of an object only where the call is as it should be, so no agent carries out half a call. One that ends badly stays
told as far as it was, since nothing is taken back. Of any other call nothing is told before it has ended well; what the
model wrote as a call and is none is then told as text, at the end of the content, so that an agent sends it back as it
was shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from isc._json import json_text
from isc.conversation.reading import TurnReader
from isc.encoding.base import Encoder
from isc.encoding.fold import unfold
from isc.formats.reading.events import (
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    ContentDelta,
    ReadingEvent,
    ReasoningDelta,
)
from isc.formats.reading.scanners import spelling
from isc.gateway.dialect import (
    ArgumentsTold,
    CallClosed,
    CallTold,
    Finish,
    ReasoningTold,
    TextTold,
    Token,
    TokensTold,
    Told,
)
from isc.gateway.stepping import call_id
from isc.types import AssistantMessage, ParsedToolCall, ToolCall

_MAY_END = "} \t\r\n"  # characters that the JSON of an object may end with, and white space after it


class Manner(Struct, frozen=True):
    """How an answer is told.

    Attributes:
        choice: Its place among the answers to the request.
        turn: The turn's id, of which the ids of its calls are made.
        stop: Texts at which it ends.
        as_calls: Whether calls are told as calls; else as text.
        one_call: Whether it ends with its first call.
        tells_tokens: Whether tokens are told.
        in_pieces: The tools whose calls are told while they are sampled; None for all, also for those not offered.
    """

    choice: int
    turn: str
    stop: tuple[str, ...] = ()
    as_calls: bool = True
    one_call: bool = False
    tells_tokens: bool = False
    in_pieces: tuple[str, ...] | None = ()


class _Open(Struct):
    """A call that is told in pieces: its name, what was told of the text of its arguments, and what waits of it."""

    name: str
    told: list[str] = []
    waiting: list[str] = []

    def more(self, text: str) -> str:
        """Return what can be told with more of the text: nothing that makes it the text of an object."""
        self.waiting.append(text)
        if not text.strip(_MAY_END):
            return ""
        said = "".join(self.waiting)
        certain = said.rstrip(_MAY_END)
        if not self.told and certain == "{":  # half of it would be read as no arguments
            return ""
        self.waiting = [said[len(certain) :]]
        self.told.append(certain)
        return certain


class Speech:
    """Reads an answer, and says what is told of it.

    Args:
        reader: Reads the completion; of `Renderer.reader`.
        encoder: Ids to bytes.
        manner: How it is told.

    Attributes:
        completion_ids: The ids that count: all that were fed, up to where the answer was ended.
        logprobs: The log-probability of each.
        ended: Whether it was ended by a stop text or its first call: what is sampled after that does not count.
        stop: The stop text that ended it.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> ids = next(iter(renderer.encoder.encode_batch(["one two three"])))
    >>> speech = Speech(renderer.reader(), renderer.encoder, Manner(0, "turn-1", stop=("two",)))
    >>> told = speech.feed(ids, [-0.5] * len(ids))
    >>> "".join(event.text for event in told if isinstance(event, TextTold)), speech.ended
    ('one ', True)
    """

    def __init__(self, reader: TurnReader, encoder: Encoder, manner: Manner) -> None:
        self.manner = manner
        self.encoder = encoder
        self.completion_ids: list[int] = []
        self.logprobs: list[float | None] = []
        self.ended = False
        self.stop: str | None = None
        self._reader = reader
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._held = ""  # text that may be the beginning of a stop text
        self._calls: list[ToolCall] = []
        self._open: _Open | None = None
        self._malformed: list[ParsedToolCall] = []

    def feed(self, token_ids: Sequence[int], logprobs: Sequence[float | None]) -> tuple[Told, ...]:
        """Read more of the answer.

        Args:
            token_ids: What was sampled since.
            logprobs: The log-probability of each.

        Returns:
            What is told of it.
        """
        if not (self.manner.stop or self.manner.one_call):
            return self._read(token_ids, logprobs)
        told: list[Told] = []
        for token_id, logprob in zip(token_ids, logprobs, strict=True):  # one by one: it may end after any
            if self.ended:
                break
            told += self._read((token_id,), (logprob,))
        return tuple(told)

    def finish(self) -> tuple[Told, ...]:
        """Close the answer, and return what is left to tell."""
        told: list[Told] = []
        if not self.ended:
            told += [one for event in self._reader.ended() for one in self._told(event)]
            if self._held and not self.ended:
                told.append(self._say(self._held))
        for call in self._malformed if self.stop is None else ():
            start, end = call.token_span
            written = spelling(unfold(self.completion_ids[start:end], self.encoder).segments)
            if written:
                told.append(self._say(f"\n{written}" if self._content else written))
        return tuple(told)

    @property
    def said(self) -> AssistantMessage:
        """Return the answer as a message; its calls have the model's own ids."""
        return AssistantMessage(
            "".join(self._content), reasoning_content="".join(self._reasoning) or None, tool_calls=tuple(self._calls)
        )

    def finish_reason(self, sampled: str) -> Finish:
        """Return why the answer ended, from why sampling did."""
        if self.ended:
            return "stop" if self.stop is not None or not self._calls else "tool_calls"
        if sampled == "length":
            return "length"
        return "tool_calls" if self._calls else "stop"

    def tokens(self, start: int = 0) -> tuple[Token, ...]:
        """Return the tokens of the answer from a position on."""
        pairs = zip(self.completion_ids[start:], self.logprobs[start:], strict=True)
        return tuple([Token(token_id, self.encoder.decode_bytes((token_id,)), logprob) for token_id, logprob in pairs])

    def _read(self, token_ids: Sequence[int], logprobs: Sequence[float | None]) -> tuple[Told, ...]:
        self._reader, events = self._reader.feed(token_ids)
        place = len(self.completion_ids)
        self.completion_ids += token_ids
        self.logprobs += logprobs
        told = [one for event in events for one in self._told(event)]
        if self.manner.tells_tokens and token_ids:
            told.append(TokensTold(self.manner.choice, self.tokens(place)))
        return tuple(told)

    def _told(self, event: ReadingEvent) -> Sequence[Told]:
        if self.ended:
            return ()
        if isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
            return (ReasoningTold(self.manner.choice, event.text),)
        if isinstance(event, ContentDelta):
            return self._content_told(event.text)
        if isinstance(event, CallStarted):
            self._call_started(event.name)
        if isinstance(event, ArgumentsDelta):
            return self._arguments_told(event.text)
        return self._call_ended(event.call) if isinstance(event, CallEnded) else ()

    def _content_told(self, text: str) -> Sequence[Told]:
        """Return more of the content, up to a stop text. What may be the beginning of one is held."""
        text, self._held = self._held + text, ""
        places = [(text.find(stop), stop) for stop in self.manner.stop if stop in text]
        if places:
            place, self.stop = min(places)
            self.ended = True
            return (self._say(text[:place]),) if place else ()
        held = max((_overlap(text, stop) for stop in self.manner.stop), default=0)
        if held:
            text, self._held = text[:-held], text[-held:]
        return (self._say(text),) if text else ()

    def _say(self, text: str) -> Told:
        self._content.append(text)
        return TextTold(self.manner.choice, text)

    def _call_started(self, name: str | None) -> None:
        tools = self.manner.in_pieces
        is_told = self.manner.as_calls and name is not None and (tools is None or name in tools)
        self._open = _Open(name) if is_told and name is not None else None

    def _arguments_told(self, text: str) -> Sequence[Told]:
        """Return more of a call that is told in pieces; its beginning where this is the first of it."""
        if self._open is None:
            return ()
        is_first = not self._open.told
        certain = self._open.more(text)
        if not certain:
            return ()
        choice, index = self.manner.choice, len(self._calls)
        begun = (CallTold(choice, index, call_id(self.manner.turn, index), self._open.name),) if is_first else ()
        return *begun, ArgumentsTold(choice, index, certain)

    def _call_ended(self, call: ParsedToolCall) -> Sequence[Told]:
        opened, self._open = self._open, None
        is_told = opened is not None and bool(opened.told)
        choice, index = self.manner.choice, len(self._calls)
        is_read = call.status in ("ok", "unknown_tool") and self.manner.as_calls
        if is_read and call.name is not None and call.arguments is not None:
            self._calls.append(ToolCall(call.name, call.arguments, call.id))
            self.ended = self.manner.one_call
            if opened is not None and is_told:
                return ArgumentsTold(choice, index, "".join(opened.waiting)), CallClosed(choice, index)
            begun = CallTold(choice, index, call_id(self.manner.turn, index), call.name)
            return begun, ArgumentsTold(choice, index, json_text(call.arguments)), CallClosed(choice, index)
        if opened is None or not is_told:
            self._malformed.append(call)
            return ()
        self._calls.append(ToolCall(opened.name, "".join(opened.told), call.id))
        self.ended = self.manner.one_call
        return (CallClosed(choice, index, is_whole=False),)


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of a text that is the beginning of a stop text.

    >>> _overlap("one tw", "two")
    2
    """
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if stop.startswith(text[-size:])), 0)
