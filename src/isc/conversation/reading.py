"""`TurnReader`: a sampled turn read while it is sampled. `isc.reading` has it with the events that it tells.

What a turn means is said by the family's `parse` alone, which reads all ids at the end. A reader tells before what is
known to be so, and never takes anything back (law 8).
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from isc.conversation.begun import Begun, begun, turn_of
from isc.conversation.bridge import sampled_turn, turn_head
from isc.encoding.base import Encoder
from isc.encoding.fold import unfold
from isc.formats.base import Family
from isc.formats.reading.events import (
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    ContentDelta,
    ReadingEvent,
    ReasoningDelta,
    ReasoningEnded,
    Stopped,
)
from isc.formats.reading.following import ANYWHERE, Follows, Place, follow, untold
from isc.formats.reading.telling import appended
from isc.formats.segments import special
from isc.rendered import ids_of
from isc.types import ParsedResponse, Sampled, Segment, ToolSpec

__all__ = [
    "ArgumentsDelta",
    "CallEnded",
    "CallStarted",
    "ContentDelta",
    "ReadingEvent",
    "ReasoningDelta",
    "ReasoningEnded",
    "Stopped",
    "TurnReader",
]

Events: TypeAlias = tuple[ReadingEvent, ...]
_Ids: TypeAlias = tuple[int, ...]


class Question(Struct, frozen=True):
    """What a completion is sampled from, and how it is read: a format, a vocabulary, the tools offered, the prompt.

    `begun`: what the prompt says of the turn.
    """

    family: Family
    encoder: Encoder
    tools: tuple[ToolSpec, ...]
    prompt_ids: _Ids
    begun: Begun

    @classmethod
    def of(cls, family: Family, encoder: Encoder, tools: tuple[ToolSpec, ...], prompt_ids: _Ids) -> Question:
        """Return the question that a prompt asks."""
        return cls(family, encoder, tools, prompt_ids, begun(family, encoder, prompt_ids, tools))

    @property
    def given(self) -> _Ids:
        """Return the ids of the prompt that are of the turn."""
        return self.prompt_ids[len(self.prompt_ids) - self.begun.size :]

    def read(self, token_ids: Sequence[int]) -> ParsedResponse:
        """Read a whole completion."""
        return self.begun.rest(self.read_turn((*self.given, *token_ids) if self.begun.size else token_ids))

    def read_turn(self, token_ids: Sequence[int]) -> ParsedResponse:
        """Read a whole turn: what the prompt says of it, and the completion."""
        prompt_ids = self.prompt_ids[: len(self.prompt_ids) - self.begun.size]
        return self.family.parse(sampled_turn(self.family, self.encoder, prompt_ids, token_ids), self.tools)


class _Known(Struct, frozen=True):
    """What is found out once a turn: the specials by id, how the format is followed, whether reasoning is open."""

    specials: dict[int, str]
    follows: Follows
    is_open: bool


class TurnReader(Struct, frozen=True):
    """Reads one sampled turn in any pieces: `renderer.reader(...)` makes one, `feed` returns the next.

    Immutable: to feed a reader twice is to read two turns that begin alike. It keeps every id, in few pieces.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> ids = renderer.render_ids([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Good day."}])
    >>> prompt = renderer.render_ids([{"role": "user", "content": "hi"}], add_generation_prompt=True)
    >>> reader, told = renderer.reader(prompt_ids=prompt), []
    >>> for token_id in ids[len(prompt) :]:
    ...     reader, events = reader.feed([token_id])
    ...     told += events
    >>> "".join(event.text for event in told if isinstance(event, isc.reading.ContentDelta)), told[-1]
    ('Good day.', Stopped(token='<|im_end|>'))
    >>> reader.finish().content
    'Good day.'
    """

    question: Question
    known: _Known
    place: Place = Place()
    pieces: tuple[_Ids, ...] = ()
    undecoded: bytes = b""

    def feed(self, token_ids: Sequence[int]) -> tuple[TurnReader, Events]:
        """Read more ids. Never raises on ids.

        Args:
            token_ids: What was sampled since; any number, one as well as none.

        Returns:
            The reader of the turn with them, and what they made certain.
        """
        ids = ids_of(token_ids)
        place, told, rest = self.place, list[ReadingEvent](), self.undecoded
        is_head = not self.pieces and bool(ids) and self._repeats_head(ids[0])
        place = replace(place, phase="held") if is_head else place
        for end, piece, undecoded in _pieces(ids, self.undecoded, self):
            rest = undecoded
            if is_head and end == 1:  # no stop, even where it is one of other turns
                continue
            probe = _Probe(self, ids, end)
            place, events = follow(place, piece, self.known.follows, probe, is_open=self.known.is_open)
            told += events
        reader = TurnReader(self.question, self.known, place, appended(self.pieces, ids), rest)
        return reader, self._sampled(told, reader.read_turn if place.phase == "stopped" else None)

    def finish(self) -> ParsedResponse:
        """Return the turn that the ids read so far are: what `parse_response` reads of them at once."""
        return self.question.begun.rest(self.read_turn())

    def finished(self) -> tuple[Events, ParsedResponse]:
        """Return what is left to tell where no more ids come, and the turn.

        A turn that was stopped has told all that there is.
        """
        whole = self.read_turn()
        response = self.question.begun.rest(whole)
        if self.place.phase == "stopped":
            return (), response
        stops = frozenset(self.question.family.stop_tokens)
        names = (self.known.specials.get(token_id) for token_id in chain.from_iterable(self.pieces))
        stop = next((name for name in names if name in stops), None)
        told = (*untold(self.place, whole), *((Stopped(stop),) if stop is not None else ()))
        return self._sampled(told, lambda: whole), response

    def ended(self) -> Events:
        """Return what is left to tell where no more ids come. A turn that was stopped is not read again for it."""
        return () if self.place.phase == "stopped" else self.finished()[0]

    def read_turn(self) -> ParsedResponse:
        """Read the whole turn so far, with what the prompt says of it."""
        return self._read((), 0)

    def _sampled(self, told: Sequence[ReadingEvent], whole: Callable[[], ParsedResponse] | None) -> Events:
        """Return what was told of a turn without what the prompt says of it. `whole` reads a turn that has ended."""
        begun = self.question.begun
        if not begun.size or not told:
            return tuple(told)
        thoughts, content = begun.sizes
        thinks = begun.thinks
        if whole is not None:
            turn = whole()
            thoughts, content = begun.sizes_in(turn)
            thinks = begun.rest(turn).reasoning_content is not None
        sizes = thoughts - self.place.reasoning_told, content - self.place.content_told
        return tuple(begun.sampled(told, sizes, thinks=thinks))

    @property
    def size(self) -> int:
        """Return the number of ids read so far."""
        return sum(map(len, self.pieces))

    def _read(self, more: _Ids, end: int) -> ParsedResponse:
        """Read the ids so far and these up to `end` as a whole turn."""
        return self.question.read_turn(tuple(chain(*self.pieces, more[:end])))

    def _repeats_head(self, first: int) -> bool:
        """Return whether a turn begins as a prompt does, with a special: what that is shows later."""
        name = self.known.specials.get(first)
        head = turn_head(self.question.family) if name is not None else ()
        return name is not None and head[:1] == (special(name),)


class _Probe(Struct, frozen=True):
    """A turn as far as a reader goes, and the first `end` of further ids."""

    reader: TurnReader
    more: _Ids
    end: int

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        return self.reader.question.tools

    @property
    def size(self) -> int:
        return self.reader.size + self.end

    def read(self) -> ParsedResponse:
        return self.reader._read(self.more, self.end)

    def since(self, start: int) -> Sampled:
        before = self.reader.size
        pieces, wanted = [self.more[max(start - before, 0) : self.end]], before - start
        for piece in reversed(self.reader.pieces):
            if wanted <= 0:
                break
            pieces.append(piece[-wanted:])
            wanted -= len(piece)
        return unfold(tuple(chain.from_iterable(reversed(pieces))), self.reader.question.encoder)


def reader_of(family: Family, encoder: Encoder, tools: tuple[ToolSpec, ...], prompt_ids: _Ids) -> TurnReader:
    """Return a reader of a turn of which nothing was read."""
    follows = family.follows(tools)
    question = Question.of(family, encoder, tools, prompt_ids)
    turn = sampled_turn(family, encoder, prompt_ids[: len(prompt_ids) - question.begun.size], ())
    specials = {token_id: text for text, token_id in encoder.specials.items()}
    known = _Known(specials, follows or Follows((), begins=ANYWHERE), turn.reasoning_open)
    reader = TurnReader(question, known, Place(header=turn.prompted))
    return _begun(reader) if question.begun.size else reader


def _begun(reader: TurnReader) -> TurnReader:
    """Return a reader that has read what the prompt says of the turn."""
    question, place = reader.question, reader.place
    turn = turn_of(question.family, question.encoder, question.given)
    for number, segment in enumerate(turn.segments, 1):
        probe = _Probe(reader, question.given, turn.starts[number])
        place, _ = follow(place, segment, reader.known.follows, probe, is_open=reader.known.is_open)
    return replace(reader, place=place, pieces=(question.given,))


def _pieces(ids: _Ids, undecoded: bytes, reader: TurnReader) -> Iterator[tuple[int, Segment, bytes]]:
    """Yield the pieces that ids go on with: where each ends, its text, and the bytes that are no character yet."""
    names, encoder = reader.known.specials, reader.question.encoder
    position = 0
    marks = [k for k, is_special in enumerate(map(names.__contains__, ids)) if is_special]
    for mark in (*marks, len(ids)):
        if position < mark:
            text, undecoded = _decoded(undecoded + encoder.decode_bytes(ids[position:mark]))
            yield mark, Segment(text), undecoded
        if mark < len(ids):
            if undecoded:
                yield mark, Segment(undecoded.decode("utf-8", "replace")), b""
            undecoded = b""
            yield mark + 1, special(names[ids[mark]]), undecoded
        position = mark + 1


def _decoded(data: bytes) -> tuple[str, bytes]:
    """Decode whole characters, and return the bytes of one that lacks its end."""
    text, size = utf_8_decode(data, "replace", False)
    return text, data[size:]
