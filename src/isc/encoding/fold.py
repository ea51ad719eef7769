"""The one place where text becomes ids and ids get their attribution (`fold`), and ids become text again (`unfold`).

A token is body iff one of its bytes is; of two bodies it is of the one that a message says itself; among equals its
first byte names the owner. Byte-level vocabularies need no offsets for that: a unit's tokens concatenate to its bytes,
so a boundary is found by adding up token lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

from isc._options import checked
from isc.encoding._boundaries import RunStarts, add_run_starts
from isc.encoding._owners import KINDS, MESSAGE, NOBODY
from isc.encoding._streams import Stream, encoded, prefixed, read_stream
from isc.encoding._units import absorbed, scanned
from isc.encoding.base import Encoder
from isc.rendered import Placed, PlaceholderRange, RenderedTokens, Run, gathered, ids_of, put_together
from isc.types import UNOWNED, BodySpecials, Sampled, SamplingCuts, Segment, Segments

_Encoded = tuple[tuple[int, ...], tuple[Run, ...], list[Placed]]
"""Ids, their runs, and media with their places."""


def fold(
    segments: Segments,
    encoder: Encoder,
    message_roles: Sequence[str] = (),
    message_tool_names: Sequence[str | None] | None = None,
    body_specials: BodySpecials = "text",
    sampling_cuts: SamplingCuts = "all",
    after: Segment | None = None,
    *,
    parts: bool = False,
) -> RenderedTokens:
    """Turn a stream of owned segments into ids with attribution, in one batch encode.

    Args:
        segments: The stream; owners are indices into `message_roles`, or -1.
        encoder: Text to ids.
        message_roles: Role of each message, by index.
        message_tool_names: Tool name of each message, by index; all None by default.
        body_specials: What becomes of a special spelled inside text: `"text"` leaves it text, `"parse"` makes it the
            token as `apply_chat_template` does, `"reject"` refuses it.
        sampling_cuts: `"all"` encodes the text before and after the place where sampling starts, or stops, apart from
            each other, as a sampler has them; `"none"` encodes the whole text between two specials at once, as
            `apply_chat_template` does. A token that spans such a place is then body.
        after: What stands before the stream, a special or a text; None where nothing does. It matters to vocabularies
            that put a space before a text of its own, and to specials that swallow white space.
        parts: Whether runs say of what part of its message's body each is, as the segments do.

    Returns:
        The ids and their runs.

    Raises:
        MissingSpecialError: The vocabulary lacks a special of the stream.
        SpecialInBodyError: Text spells a special, under `"reject"`.
        OptionError: There is no such policy.
    """
    if body_specials != "text":
        checked("body_specials", body_specials, BodySpecials)
    if sampling_cuts != "all":
        checked("sampling_cuts", sampling_cuts, SamplingCuts)
    roles = tuple(message_roles)
    sampling = frozenset(() if sampling_cuts == "none" else _places(roles, "assistant"))
    if body_specials != "text":
        segments = scanned(segments, tuple(encoder.specials), sampling, reject=body_specials == "reject")
    if encoder.strips:
        segments = absorbed(segments, encoder.strips, after)
    if encoder.prefix is not None:
        segments = prefixed(segments, encoder.prefix, after)
    token_ids, runs, media = _encoded(read_stream(segments, sampling, parts=parts), encoder)
    names = tuple(message_tool_names) if message_tool_names is not None else (None,) * len(roles)
    return put_together(token_ids, runs, roles, names, gathered(media) if media else None, decoder=encoder)


def _places(roles: tuple[str, ...], role: str) -> Iterator[int]:
    """Yield the places of a role. Those between are passed over at once: a bridge has thousands of earlier messages."""
    place = -1
    for _ in range(roles.count(role)):
        place = roles.index(role, place + 1)
        yield place


def _encoded(stream: Stream, encoder: Encoder) -> _Encoded:
    """Encode a stream. Return ids, runs and media."""
    ids, places = encoded(stream, encoder)
    media = [
        (segment.media, PlaceholderRange(places[number], segment.repeat))
        for number, segment in stream.media.items()
        if segment.media is not None
    ]
    runs = _runs(_run_starts(stream, ids, (*places, len(ids)), encoder), len(ids))
    return tuple(ids), tuple(runs), media


def _run_starts(stream: Stream, ids: Sequence[int], ends: Sequence[int], encoder: Encoder) -> RunStarts:
    """Return the run starts of a stream, of whose texts each ends before this token, where its special stands."""
    starts = RunStarts([], [])
    tokens, owners = starts.tokens, starts.owners
    widths, mixed = stream.widths, stream.mixed
    for number, owner in zip(stream.changes, stream.owners, strict=True):
        text = number >> 1
        if number & 1:
            tokens.append(ends[text])
            owners.append(owner)
            continue
        begin = ends[text - 1] + widths.get(text - 1, 1) if text else 0
        if text in mixed:
            pieces, span = stream.several[text], (begin, ends[text])
            add_run_starts(starts, stream.texts[text], pieces, mixed[text], ids, span, encoder)
        else:
            tokens.append(begin)
            owners.append(owner)
    return starts


def _runs(starts: RunStarts, count: int) -> list[Run]:
    """Return the runs of so many tokens. Where two start at the same token there are no tokens between."""
    runs: list[Run] = []
    start, last = 0, NOBODY
    for token, owner in zip(starts.tokens, starts.owners, strict=True):
        if owner != last and token > start:
            body, part = KINDS[last % MESSAGE]
            runs.append(Run(token - start, last // MESSAGE, body, part))
            start = token
        last = owner
    if count > start:
        runs.append(Run(count - start, last // MESSAGE, *KINDS[last % MESSAGE]))
    return runs


def unfold(token_ids: Sequence[int], encoder: Encoder, *, reasoning_open: bool = False) -> Sampled:
    """Decode ids to segments: specials by id, the ids between specials as text.

    Ids outside the vocabulary have no text.

    Args:
        token_ids: Sampled ids, anything a sampler or a fuzzer can produce.
        encoder: Ids to text.
        reasoning_open: Whether the prompt before them ended inside open reasoning.

    Returns:
        Segments with the token each starts at.
    """
    token_ids = ids_of(token_ids)
    spellings = {token_id: text for text, token_id in encoder.specials.items()}
    specials = [k for k, special in enumerate(map(spellings.__contains__, token_ids)) if special]
    segments: list[Segment] = []
    starts: list[int] = []
    position = 0
    for special in chain(specials, (len(token_ids),)):
        if position < special:
            starts.append(position)
            segments.append(Segment(encoder.decode_bytes(token_ids[position:special]).decode("utf-8", "replace")))
        if special < len(token_ids):
            starts.append(special)
            segments.append(Segment(spellings[token_ids[special]], "special"))
        position = special + 1
    token_bytes = partial(_bytes_at, token_ids, encoder)
    return Sampled(tuple(segments), (*starts, len(token_ids)), reasoning_open, token_bytes=token_bytes)


def _bytes_at(token_ids: Sequence[int], encoder: Encoder, position: int) -> bytes:
    """Return the bytes of the token at a position."""
    return encoder.decode_bytes((token_ids[position],))


def attribute_text_segments(
    encoder: Encoder, segments: Sequence[tuple[str, bool]]
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Encode texts in one pass and say of each token whether a byte of it is content.

    Args:
        encoder: Text to ids.
        segments: Texts with whether they are content, in order; all are ordinary text.

    Returns:
        The ids of the joined text, and one flag a token.

    >>> from isc.encoding.encoders import embedded
    >>> ids, is_content = attribute_text_segments(embedded(()), [("Question: ", False), ("why", True)])
    >>> is_content[0], is_content[-1]
    (False, True)
    """
    stream = (Segment(text, "text", content, 0 if content else UNOWNED) for text, content in segments)
    rendered = fold(stream, encoder, ("user",))
    return rendered.token_ids, rendered.is_content
