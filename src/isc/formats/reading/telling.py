"""What of a call can be told while it is sampled: its name, its id, the JSON text of its arguments, that it has ended.

The meaning of a call is said once, by its grammar's `attempts`. A teller follows the text of one call, each control
token of the grammar a character as in `coded`, and tells what no later text can change where the call is as it should
be. Where it is not, the teller is lost: nothing that was told is taken back, and the call is told as it was read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from isc._json import json_text
from isc.formats.reading.grammars import Grammar
from isc.formats.reading.json_values import value_at
from isc.formats.reading.values import NOT_BEGUN, JsonState
from isc.types import ParsedToolCall, ToolSpec

Stage: TypeAlias = Literal["head", "arguments", "rest", "whole", "tail", "pairs", "value", "loose", "closed", "lost"]
LONGEST_HEAD: Final = 1_024
"""Characters before the arguments of a call. A longer head is told with the whole call."""

NOWHERE: Final = -1
"""The start of a call whose first token is not known, since it begins with text."""


class OpenCall(Struct, frozen=True):
    """A call that is being sampled.

    `start`: the token it begins with, or `NOWHERE`. `stage`: what is being said. `text`: what waits to be made out.
    `json`: how far the JSON at hand was followed. `is_started`: whether its name was told. `told`: the text of
    arguments that was told, in pieces. `in_list`: whether its object stands in a list. `reads`: how often it was read
    and did not end.

    Of calls of tags: `name`, the `key` of the value at hand, whether that `is_text`, whether any pair was told, the
    pieces of a value whose kind shows at its end, and the brackets or elements that are open.
    """

    start: int
    stage: Stage = "head"
    text: str = ""
    json: JsonState = NOT_BEGUN
    is_started: bool = False
    told: tuple[str, ...] = ()
    in_list: bool = False
    reads: int = 0
    name: str = ""
    key: str = ""
    is_text: bool = False
    told_pairs: bool = False
    waiting: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()

    def lost(self) -> OpenCall:
        """Return the call as one of which nothing can be told before it was read."""
        return replace(self, stage="lost", text="")


Pieces = TypeVar("Pieces", str, tuple[int, ...])


def appended(pieces: tuple[Pieces, ...], piece: Pieces) -> tuple[Pieces, ...]:
    """Append a text, or ids, to pieces of which few are kept: each is at least twice as long as the next.

    >>> appended(appended(("abcd",), "e"), "f")
    ('abcd', 'ef')
    """
    while pieces and len(pieces[-1]) < 2 * len(piece):
        piece = pieces[-1] + piece
        pieces = pieces[:-1]
    added: tuple[Pieces, ...] = (piece,) if piece else ()
    return pieces + added


class Named(NamedTuple):
    """The name and id of a call, which can no longer change."""

    name: str | None
    identity: str | None


class Told(NamedTuple):
    """How far a call is followed, its name where that became certain, and more of the text of its arguments."""

    call: OpenCall
    named: Named | None = None
    text: str = ""


class Teller(Protocol):
    """Follows calls of one grammar."""

    @property
    def openers(self) -> tuple[str, ...]:
        """Return the control tokens that a call begins with."""

    @property
    def lead(self) -> str:
        """Return the text that a call begins with before any of these: then calls follow without a break."""

    def told(self, call: OpenCall, piece: str, tools: Sequence[ToolSpec]) -> Told:
        """Go on with a control token's character, or with text that goes on from the text before it."""


GrammarT = TypeVar("GrammarT", bound=Grammar)


class GrammarTeller(Struct, Generic[GrammarT], frozen=True):
    """What tells calls by their grammar, `marks` being the control tokens that are told from text."""

    grammar: GrammarT
    marks: tuple[str, ...]

    @property
    def openers(self) -> tuple[str, ...]:
        """Return the control tokens that a call begins with."""
        return self.grammar.enders

    @property
    def lead(self) -> str:
        """Return nothing: a control token comes first."""
        return ""


def beginnings(text: str) -> str:
    """Return a pattern for what a text begins with, at least one character of it.

    >>> re.match(beginnings("</a>"), "</b").group()
    '</'
    """
    pattern = ""
    for character in reversed(text):
        pattern = re.escape(character) + (f"(?:{pattern})?+" if pattern else "")
    return pattern


def rest_of_arguments(call: ParsedToolCall, told: str) -> str:
    """Return the text of a call's arguments that is left where this much of it was told.

    Of a call that is not as it should be, what was told is left as it is: it may be half of a JSON text.

    >>> call = ParsedToolCall('{"x":  1}', "f", {"x": 1}, (0, 1), "ok")
    >>> rest_of_arguments(call, ""), rest_of_arguments(call, '{"x":  '), rest_of_arguments(call, '{"x": ')
    ('{"x": 1}', '1}', '1}')
    """
    if call.arguments is None:
        return ""
    whole = json_text(call.arguments)
    if whole.startswith(told):
        return whole[len(told) :]
    place = call.raw.find(told)
    while place >= 0:
        value = value_at(call.raw, place)
        if value.state == "whole" and value.value == json.loads(whole):
            return call.raw[place + len(told) : value.end]
        place = call.raw.find(told, place + 1)
    return ""
