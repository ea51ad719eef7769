"""A text in pieces with owners, as lists side by side: what becomes segments when every piece is decided.

Lists, because a conversation has thousands of pieces and each is looked at several times before it is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby, pairwise, repeat

from msgspec import Struct

from isc.types import UNOWNED, BodyPart, Segment


class Pieces(Struct, frozen=True):
    """Texts, whether each is a special, whose it is, and whether it is body of that message.

    `parts` are those of the fields that a message says; None where nobody asked for parts.
    """

    texts: list[str]
    specials: list[bool]
    owners: list[int]
    bodies: list[bool]
    parts: list[BodyPart | None] | None = None

    def is_scaffold(self, number: int) -> bool:
        """Return whether a piece is text that nobody says."""
        return not self.specials[number] and not self.bodies[number]


def divided(pieces: Pieces, edges: Sequence[tuple[int, int]]) -> Pieces:
    """Return the pieces with texts cut: each edge is a piece and a character inside it, in ascending order."""
    texts: list[str] = []
    specials: list[bool] = []
    owners: list[int] = []
    bodies: list[bool] = []
    fields: list[BodyPart | None] | None = None if pieces.parts is None else []
    done = 0
    for number, inside in groupby(edges, lambda edge: edge[0]):
        text = pieces.texts[number]
        bounds = [0, *(place for _, place in inside), len(text)]
        parts = [text[start:end] for start, end in pairwise(bounds)]
        texts += chain(pieces.texts[done:number], parts)
        specials += [*pieces.specials[done:number], *[pieces.specials[number]] * len(parts)]
        owners += [*pieces.owners[done:number], *[pieces.owners[number]] * len(parts)]
        bodies += [*pieces.bodies[done:number], *[pieces.bodies[number]] * len(parts)]
        if fields is not None and pieces.parts is not None:
            fields += [*pieces.parts[done:number], *[pieces.parts[number]] * len(parts)]
        done = number + 1
    texts += pieces.texts[done:]
    specials += pieces.specials[done:]
    owners += pieces.owners[done:]
    bodies += pieces.bodies[done:]
    if fields is not None and pieces.parts is not None:
        fields += pieces.parts[done:]
    return Pieces(texts, specials, owners, bodies, fields)


def as_segments(pieces: Pieces) -> list[Segment]:
    """Return the pieces as segments, neighbouring texts of one attribution as one."""
    segments: list[Segment] = []
    held: list[str] = []
    said, holder, field = False, UNOWNED, None
    parts = repeat(None) if pieces.parts is None else pieces.parts
    columns = zip(pieces.texts, pieces.specials, pieces.owners, pieces.bodies, parts)  # noqa: B905 - parts may be endless
    for text, special, owner, body, part in columns:
        if held and (special or owner != holder or body is not said or part != field):
            segments.append(Segment(held[0] if len(held) == 1 else "".join(held), "text", said, holder, part=field))
            held = []
        if special:
            segments.append(Segment(text, "special", body, owner, part=part))
        elif text:
            held.append(text)
            said, holder, field = body, owner, part
    if held:
        segments.append(Segment("".join(held), "text", said, holder, part=field))
    return segments
