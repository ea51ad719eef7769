"""The one place where text becomes ids and ids get their attribution (`fold`), and ids become text again (`unfold`).

A token is body iff one of its bytes is; among equals its first byte names the owner. Byte-level vocabularies need no
offsets for that: a stretch's tokens concatenate to its bytes, so a seam is found by adding up token lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from isc.errors import MissingSpecialError
from isc.rendered import RenderedTokens, Run
from isc.seams import better, places_by_lengths, places_by_offsets, sizes_in_bytes
from isc.stretches import absorbed, scanned, stretches
from isc.types import UNOWNED, BodySpecials, Encoder, Owner, Sampled, Segment, Segments


class _Runs:
    """Runs under construction: neighbours of one attribution are counted together."""

    __slots__ = ("last", "length", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.last: Owner = (UNOWNED, False)
        self.length = 0

    def add(self, length: int, owner: Owner) -> None:
        if owner == self.last:
            self.length += length
        elif length:
            self.finish()
            self.last = owner
            self.length = length

    def finish(self) -> list[Run]:
        if self.length:
            self.runs.append(Run(self.length, *self.last))
            self.length = 0
        return self.runs


def fold(
    segments: Segments,
    encoder: Encoder,
    message_roles: Sequence[str] = (),
    message_tool_names: Sequence[str | None] | None = None,
    body_specials: BodySpecials = "text",
) -> RenderedTokens:
    """Turn a stream of owned segments into ids with attribution, in one batch encode.

    Args:
        segments: The stream; owners are indices into `message_roles`, or -1.
        encoder: Text to ids.
        message_roles: Role of each message, by index.
        message_tool_names: Tool name of each message, by index; all None by default.
        body_specials: What becomes of a special spelled inside text: `"text"` leaves it text, `"parse"` makes it the
            token as `apply_chat_template` does, `"reject"` refuses it.

    Returns:
        The ids and their runs.

    Raises:
        MissingSpecialError: The vocabulary lacks a special of the stream.
        SpecialInBodyError: Text spells a special, under `"reject"`.
    """
    roles = tuple(message_roles)
    sampling = frozenset(index for index, role in enumerate(roles) if role == "assistant")
    if body_specials != "text":
        segments = scanned(segments, tuple(encoder.specials), sampling, reject=body_specials == "reject")
    if encoder.strips:
        segments = absorbed(segments, encoder.strips)
    pieces = list(stretches(segments, sampling))
    encoded = iter(encoder.encode_batch(_texts(pieces)))
    special_ids = encoder.specials
    token_ids: list[int] = []
    runs = _Runs()
    for piece in pieces:
        if isinstance(piece, list):
            ids = next(encoded)
            token_ids += ids
            _attribute(piece, ids, encoder, runs)
        elif piece.kind == "text":
            ids = next(encoded)
            token_ids += ids
            runs.add(len(ids), (piece.message, piece.body))
        else:
            token_id = special_ids.get(piece.text)
            if token_id is None:
                raise _missing(piece.text)
            token_ids.append(token_id)
            runs.add(1, (piece.message, piece.body))
    names = tuple(message_tool_names) if message_tool_names is not None else (None,) * len(roles)
    return RenderedTokens(tuple(token_ids), tuple(runs.finish()), roles, names)


def _texts(pieces: Iterable[Segment | list[Segment]]) -> list[str]:
    """The texts that have to be encoded."""
    return [
        piece.text if isinstance(piece, Segment) else "".join([segment.text for segment in piece])
        for piece in pieces
        if isinstance(piece, list) or piece.kind == "text"
    ]


def _missing(text: str) -> MissingSpecialError:
    return MissingSpecialError(
        f"the tokenizer has no token {text!r}, which this format spells; load the model's own, or pass another family"
    )


def _attribute(stretch: Sequence[Segment], ids: Sequence[int], encoder: Encoder, runs: _Runs) -> None:
    """Add the runs of a stretch whose segments differ in attribution."""
    owners = [(segment.message, segment.body) for segment in stretch]
    if owners.count(owners[0]) == len(owners):
        runs.add(len(ids), owners[0])
        return
    text = "".join([segment.text for segment in stretch])
    lengths = encoder.byte_lengths
    if lengths is None:
        _, offsets = encoder.encode_with_offsets(text)
        places = places_by_offsets([len(segment.text) for segment in stretch], offsets)
    else:
        sizes, owners = sizes_in_bytes(stretch, text, owners, encoder)
        places = places_by_lengths(sizes, ids, lengths)
    _assign(places, owners, len(ids), runs)


def _assign(places: Iterable[tuple[int, bool]], owners: Sequence[Owner], count: int, runs: _Runs) -> None:
    """Runs from seams: each is at the start of a token, or inside it, which then goes to the best owner it touches."""
    position = 0
    straddling: Owner | None = None
    for seam, (token, inside) in enumerate(places):
        if straddling is not None and token > position:
            runs.add(1, straddling)
            position += 1
            straddling = None
        runs.add(token - position, owners[seam])
        position = token
        if inside:
            straddling = better(straddling or owners[seam], owners[seam + 1])
    if straddling is not None:
        runs.add(1, straddling)
        position += 1
    runs.add(count - position, owners[-1])


def unfold(token_ids: Sequence[int], encoder: Encoder, *, reasoning_open: bool = False) -> Sampled:
    """Ids as segments: specials by id, what lies between them decoded. Ids outside the vocabulary stand for nothing.

    Args:
        token_ids: Sampled ids, anything a sampler or a fuzzer can produce.
        encoder: Ids to text.
        reasoning_open: Whether the prompt before them ended inside open reasoning.

    Returns:
        Segments with the token each starts at.
    """
    spellings = {token_id: text for text, token_id in encoder.specials.items()}
    marks = [k for k, known in enumerate(map(spellings.__contains__, token_ids)) if known]
    segments: list[Segment] = []
    starts: list[int] = []
    position = 0
    for mark in chain(marks, (len(token_ids),)):
        if position < mark:
            starts.append(position)
            segments.append(Segment(encoder.decode_bytes(token_ids[position:mark]).decode("utf-8", "replace")))
        if mark < len(token_ids):
            starts.append(mark)
            segments.append(Segment(spellings[token_ids[mark]], "special"))
        position = mark + 1
    lengths = encoder.byte_lengths

    def token_bytes(start: int, end: int) -> list[int]:
        if lengths is not None:
            return [lengths[k] if 0 <= k < len(lengths) else 0 for k in token_ids[start:end]]
        return [len(encoder.decode_bytes((k,))) for k in token_ids[start:end]]

    return Sampled(tuple(segments), (*starts, len(token_ids)), reasoning_open, token_bytes)


def attribute_text_segments(
    encoder: Encoder, segments: Sequence[tuple[str, bool]]
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Encode texts in one pass and say of each token whether a byte of it is content.

    Args:
        encoder: Text to ids.
        segments: Texts with whether they are content, in order; all are ordinary text.

    Returns:
        The ids of the joined text, and one flag a token.

    >>> from isc.encoders import embedded
    >>> ids, is_content = attribute_text_segments(embedded(()), [("Question: ", False), ("why", True)])
    >>> is_content[0], is_content[-1]
    (False, True)
    """
    stream = (Segment(text, "text", content, 0 if content else UNOWNED) for text, content in segments)
    rendered = fold(stream, encoder, ("user",))
    return rendered.token_ids, rendered.is_content
