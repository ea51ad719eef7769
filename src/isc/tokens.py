"""The one place where text becomes ids and ids get their attribution (`fold`), and ids become text again (`unfold`).

A token is body iff one of its bytes is; among equals its first byte names the owner. Byte-level vocabularies need no
offsets for that: a stretch's tokens concatenate to its bytes, so a seam is found by adding up token lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from isc.errors import MissingSpecialError
from isc.rendered import RenderedTokens, Run
from isc.seams import better, seams
from isc.stretches import Piece, absorbed, scanned, stretches
from isc.types import UNOWNED, BodySpecials, Encoder, Owner, Sampled, Segment, Segments


class _Runs:
    """Runs under construction: neighbours of one attribution are counted together."""

    __slots__ = ("body", "length", "message", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.message = UNOWNED
        self.body = False
        self.length = 0

    def add(self, length: int, message: int, body: bool) -> None:
        if message == self.message and body == self.body:
            self.length += length
        elif length:
            if self.length:
                self.runs.append(Run(self.length, self.message, self.body))
            self.message, self.body, self.length = message, body, length

    def finish(self) -> tuple[Run, ...]:
        if self.length:
            self.runs.append(Run(self.length, self.message, self.body))
        return tuple(self.runs)


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
    sampling = frozenset([index for index, role in enumerate(roles) if role == "assistant"])
    if body_specials != "text":
        segments = scanned(segments, tuple(encoder.specials), sampling, reject=body_specials == "reject")
    if encoder.strips:
        segments = absorbed(segments, encoder.strips)
    token_ids, runs = _encoded(stretches(segments, sampling), encoder)
    names = tuple(message_tool_names) if message_tool_names is not None else (None,) * len(roles)
    return RenderedTokens(token_ids, runs, roles, names)


def _encoded(pieces: Sequence[Piece], encoder: Encoder) -> tuple[tuple[int, ...], tuple[Run, ...]]:
    """Ids and runs of stretches and specials, all texts in one batch."""
    texts = _texts(pieces)
    encoded = zip(texts, encoder.encode_batch(texts), strict=True)
    special_ids = encoder.specials
    token_ids: list[int] = []
    runs = _Runs()
    for piece in pieces:
        if isinstance(piece, list):
            text, ids = next(encoded)
            token_ids += ids
            _attribute(piece, text, ids, encoder, runs)
        elif piece.kind == "text":
            _, ids = next(encoded)
            token_ids += ids
            runs.add(len(ids), piece.message, piece.body)
        else:
            token_id = special_ids.get(piece.text)
            if token_id is None:
                raise _missing(piece.text)
            token_ids.append(token_id)
            runs.add(1, piece.message, piece.body)
    return tuple(token_ids), runs.finish()


def _texts(pieces: Iterable[Piece]) -> list[str]:
    """The texts that have to be encoded."""
    return [
        "".join([segment.text for segment in piece]) if isinstance(piece, list) else piece.text
        for piece in pieces
        if isinstance(piece, list) or piece.kind == "text"
    ]


def _missing(text: str) -> MissingSpecialError:
    return MissingSpecialError(
        f"the tokenizer has no token {text!r}, which this format spells; load the model's own, or pass another family"
    )


def _attribute(stretch: Sequence[Segment], text: str, ids: Sequence[int], encoder: Encoder, runs: _Runs) -> None:
    """Add the runs of a stretch: a token that a seam is inside of goes to the best owner it touches."""
    position = 0
    straddling: Owner | None = None
    owners, places = seams(stretch, text, ids, encoder)
    for seam, (token, inside) in enumerate(places):
        if straddling is not None and token > position:
            runs.add(1, *straddling)
            position += 1
            straddling = None
        runs.add(token - position, *owners[seam])
        position = token
        if inside:
            straddling = better(straddling or owners[seam], owners[seam + 1])
    if straddling is not None:
        runs.add(1, *straddling)
        position += 1
    runs.add(len(ids) - position, *owners[-1])


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
