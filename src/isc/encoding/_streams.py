"""Read a segment stream for encoding: texts and the specials between them, and where their owners change.

Text before and after a place where sampling starts or stops is encoded apart, as a sampler has it. An engine that can
be told specials by marks encodes a long stream without such places in one call, which takes less time than many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from isc.encoding._layouts import layout_of
from isc.encoding._owners import BODY, MESSAGE, NOBODY, PART_NUMBERS, sampler_of
from isc.encoding.base import Encoder, Marks, Prefix
from isc.errors import MissingSpecialError
from isc.formats._parts import Frame, planned_parts, said_part, shape_of
from isc.formats._turns import Turn, Turns, as_body
from isc.types import UNOWNED, Segment, Segments

CUT = ""
"""A special that is none: text before and after it is encoded apart."""
_MANY = 64  # texts from which on one call for all of them is worth looking for the specials in its ids


class Stream(Struct, frozen=True):
    """Texts and the specials between them. Its lists grow while a stream is read.

    Attributes:
        texts: One text more than specials, empty where two of these stand side by side.
        specials: The specials, by their spellings, and cuts.
        widths: How many tokens a special is, by its number, where that is not one: none for a cut.
        media: Specials that stand for media items.
        changes: `2 * k` where text `k` begins with another owner than what stands before it, and `2 * k + 1` where
            special `k` has another. A text of several owners is always there.
        owners: The owner of each.
        several: The pieces of a text that is made of several, by the number of the text.
        mixed: The owner of each such piece, where they are not all of one.
    """

    texts: list[str]
    specials: list[str]
    widths: dict[int, int]
    media: dict[int, Segment]
    changes: list[int]
    owners: list[int]
    several: dict[int, list[str]]
    mixed: dict[int, list[int]]

    def add_media(self, segment: Segment) -> None:
        """Note that the special that comes next stands for a media item."""
        self.media[len(self.specials)] = segment
        self.widths[len(self.specials)] = segment.repeat

    def cut(self) -> None:
        """Close the text that is open: what follows is encoded apart."""
        self.widths[len(self.specials)] = 0
        self.specials.append(CUT)

    def change(self, special: int, owner: int) -> None:
        """Note that what comes next, a special (1) or a text (0), begins with another owner."""
        self.changes.append(2 * len(self.specials) + special)
        self.owners.append(owner)

    def go_on(self, text: str, before: int, owner: int) -> None:
        """Add a piece to the text that is open, whose last piece is of the owner before."""
        number = len(self.specials)
        pieces = self.several.get(number)
        if pieces is None:
            pieces = self.several[number] = [self.texts[number]]
        if owner != before and number not in self.mixed:
            self.mixed[number] = [before] * len(pieces)
            if not self.changes or self.changes[-1] != 2 * number:
                self.change(0, before)
        if number in self.mixed:
            self.mixed[number].append(owner)
        pieces.append(text)

    def end(self) -> None:
        """Add the last text, and put together what is of several pieces: each at once, it may be of thousands."""
        if len(self.texts) == len(self.specials):
            self.texts.append("")
        for number, pieces in self.several.items():
            self.texts[number] = "".join(pieces)


class _Reader:
    """What is read of a stream so far: every segment of a render comes through here, so little is called for one."""

    def __init__(self, sampling: frozenset[int], roles: Sequence[str], *, parts: bool) -> None:
        self.sampling = sampling
        self.roles = roles  # of messages whose bodies do not say themselves of what part they are
        self.parts = parts
        self.owner = NOBODY
        self.in_text = False
        self.stream = Stream([], [], {}, {}, [], [], {}, {})

    def read(self, given: Sequence[tuple[Segments, int]]) -> None:
        """Read segments. Those that name no owner are those of the message that they are given with."""
        stream, in_text, before, parts = self.stream, self.in_text, self.owner, self.parts
        texts, specials, changes, owners = stream.texts, stream.specials, stream.changes, stream.owners
        for segments, message in given:
            for segment in segments:
                if not (text := segment.text):
                    continue
                owner = MESSAGE * (message if segment.message == UNOWNED else segment.message)
                owner += (BODY + (self._part(segment, owner) if parts else 0)) if segment.body else 0
                if segment.kind == "special":
                    if owner != before:
                        changes.append(2 * len(specials) + 1)
                        owners.append(owner)
                    if not in_text:
                        texts.append("")
                    if segment.media is not None:
                        stream.add_media(segment)
                    specials.append(text)
                    in_text = False
                elif in_text:
                    self._go_on(text, before, owner)
                else:
                    if owner != before:
                        changes.append(2 * len(specials))
                        owners.append(owner)
                    texts.append(text)
                    in_text = True
                before = owner
        self.in_text, self.owner = in_text, before

    def read_sampled(self, said: Sequence[Segment], message: int) -> None:
        """Read segments that a message samples, none empty. What stands before is encoded apart."""
        stream = self._turn_to(MESSAGE * message + BODY, said[0])
        texts, specials, in_text = stream.texts, stream.specials, self.in_text
        pieces: list[str] | None = None  # of the text that is open, if there are several
        for segment in said:
            text = segment.text
            if segment.kind == "special":
                if not in_text:
                    texts.append("")
                if segment.media is not None:
                    stream.add_media(segment)
                specials.append(text)
                in_text, pieces = False, None
            elif not in_text:
                texts.append(text)
                in_text = True
            elif pieces is None:
                pieces = stream.several[len(specials)] = [texts[-1], text]
            else:
                pieces.append(text)
        self.in_text = in_text

    def read_parts(self, said: Sequence[Segment], message: int, frame: Frame) -> None:
        """Read the same, part by part."""
        layout = layout_of(shape_of(said), frame)
        if layout is None:
            self.read([(planned_parts(said, message, frame), message)])
            return
        body = MESSAGE * message + BODY
        stream = self._turn_to(body + layout.first, said[0])
        texts, begin = stream.texts, len(stream.specials)
        texts += layout.texts[1:] if self.in_text else layout.texts
        stream.specials.extend(layout.specials)
        stream.changes.extend([2 * begin + place for place in layout.changes])
        stream.owners.extend([body + part for part in layout.parts])
        for filled in layout.filled:
            number = begin + filled.number
            pieces = list(filled.written)
            for place, field in filled.fields:
                pieces[place] = said[field].text
            if len(pieces) == 1:
                texts[number] = pieces[0]
            else:
                stream.several[number] = pieces
                stream.mixed[number] = [body + part for part in filled.parts]
        self.in_text, self.owner = len(texts) > len(stream.specials), body + layout.last

    def _turn_to(self, owner: int, first: Segment) -> Stream:
        """Note that sampling starts with this segment, and return the stream."""
        if self.in_text and first.kind == "text":
            self.stream.cut()
            self.in_text = False
        self.stream.change(first.kind == "special", owner)
        self.owner = owner
        return self.stream

    def _part(self, segment: Segment, owner: int) -> int:
        """Return the number of a body's part; in a stream that says parts each says its own."""
        part = segment.part
        if part is None and self.roles:
            part = said_part(segment, self.roles[owner // MESSAGE])
        return PART_NUMBERS[part]

    def _go_on(self, text: str, before: int, owner: int) -> None:
        """Add a piece to the text that is open, or a text of its own where sampling starts or stops."""
        if owner != before and self._sampler(before) != self._sampler(owner):
            self.stream.cut()
            self.stream.change(0, owner)
            self.stream.texts.append(text)
        else:
            self.stream.go_on(text, before, owner)

    def _sampler(self, owner: int) -> int:
        return sampler_of(owner // MESSAGE, self.sampling, body=owner & BODY != 0)


def read_stream(segments: Segments, sampling: frozenset[int], *, parts: bool = False) -> Stream:
    """Read a stream. `sampling` are the messages that are sampled; `parts`: whether the parts of bodies are told apart.

    Texts that are empty are left out.
    """
    if isinstance(segments, Turns):
        reader = _Reader(sampling, () if segments.frame is None else segments.roles, parts=parts)
        _read_turns(reader, segments)
    else:
        reader = _Reader(sampling, (), parts=parts)
        reader.read([(segments, UNOWNED)])
    reader.stream.end()
    return reader.stream


def _read_turns(reader: _Reader, turns: Turns) -> None:
    """Read a conversation turn by turn, which makes no segment anew."""
    given: list[tuple[Segments, int]] = []  # read at once, up to what is sampled
    for turn in turns.turns:
        if not turn.end:
            if turn.segments:
                given.append((turn.segments, turn.message))
            continue
        given.append((turn.segments[: turn.start], turn.message))
        reader.read(given)
        _read_sampled(reader, turn, turns.frame if reader.parts else None)
        given = [(turn.segments[turn.end :], turn.message)]
    reader.read(given)


def _read_sampled(reader: _Reader, turn: Turn, frame: Frame | None) -> None:
    """Read what is sampled of a turn."""
    message = turn.message
    said = [segment for segment in turn.segments[turn.start : turn.end] if segment.text]
    if reader.in_text and message not in reader.sampling:  # nothing is cut, and a text may go on
        reader.read([(as_body(said, message) if frame is None else planned_parts(said, message, frame), message)])
    elif said and frame is None:
        reader.read_sampled(said, message)
    elif said and frame is not None:
        reader.read_parts(said, message, frame)


def prefixed(segments: Segments, prefix: Prefix, after: Segment | None) -> Iterator[Segment]:
    """Yield the stream with a prefix before every text of its own. `after` is what stands before the stream."""
    before = after
    for segment in segments:
        if segment.text:
            goes_on = before is not None and before.kind == "text"
            yield segment if segment.kind == "special" or goes_on else prefix.before(segment, before)
            before = segment


def encoded(stream: Stream, encoder: Encoder) -> tuple[list[int], list[int]]:
    """Encode a stream: in one call if it has many texts, no cut, and the encoder can tell specials from texts.

    Returns:
        The ids, and the token at which each special stands.

    Raises:
        MissingSpecialError: The vocabulary lacks a special of the stream.
    """
    marks: Marks | None = None
    if len(stream.texts) >= _MANY and not stream.widths:
        marks = getattr(encoder, "marks", None)  # an encoder of a caller's own need not have any
    try:
        if marks is None or marks.sign in "".join(stream.texts):
            return _apart(stream, encoder)
        return _at_once(stream, encoder, marks)
    except KeyError as error:
        problem = f"the tokenizer has no token {error.args[0]!r}, which this format spells"
        raise MissingSpecialError(f"{problem}; load the model's own, or pass another family") from None


def _at_once(stream: Stream, encoder: Encoder, marks: Marks) -> tuple[list[int], list[int]]:
    """Encode texts and specials in one call, the specials by their marks; no text has their sign."""
    pieces = [""] * (2 * len(stream.specials) + 1)
    pieces[::2] = stream.texts
    pieces[1::2] = map(marks.spellings.__getitem__, stream.specials)
    ids = marks.encode("".join(pieces))
    places: list[int] = []
    find, special_ids, place = ids.index, encoder.specials, -1
    for text in stream.specials:
        place = find(special_ids[text], place + 1)
        places.append(place)
    return ids, places


def _apart(stream: Stream, encoder: Encoder) -> tuple[list[int], list[int]]:
    """Encode a stream text by text, all in one batch."""
    texts, widths, special_ids = stream.texts, stream.widths, encoder.specials
    told = iter(encoder.encode_batch([text for text in texts if text]))
    ids: list[int] = []
    places: list[int] = []
    for number, special in enumerate(stream.specials):
        if texts[number]:
            ids += next(told)
        places.append(len(ids))
        if number not in widths:
            ids.append(special_ids[special])
        elif special != CUT:
            ids += [special_ids[special]] * widths[number]
    if texts[-1]:
        ids += next(told)
    return ids, places
