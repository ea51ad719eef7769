"""Calls as DSML: `<｜DSML｜invoke name="...">` with a parameter tag for each argument, all calls in one block.

`｜DSML｜` is a token in some vocabularies and text in others. Nothing is quoted, but every parameter says whether it
is a string, so no schema is needed to read one back. What cannot be told apart is a function's name with a tag, a
quote or a line break in it, such a key, and a value that itself has the tags that end it and begin another
parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from isc.formats.reading.coded import Coded, coded, decoded, encoded
from isc.formats.reading.following import Follows, followed
from isc.formats.reading.grammars import Attempt, calls_of, text_begins
from isc.formats.reading.pair_telling import Key, PairTeller
from isc.formats.reading.scanners import CallReading, find_special, reasoning, reasoning_start
from isc.formats.reading.tagged_calls import TaggedCalls, tag_patterns
from isc.formats.segments import argument_text, arguments_object, body, spelled
from isc.types import ParsedResponse, Reasoning, Sampled, Segment, ToolCall, ToolSpec

DSML: Final = "｜DSML｜"
KEYS: Final = r'[^<>{}\n"]*'
"""Names of functions and arguments that can be told."""
TEXTS: Final = r"(?s:(?!\u0338).*)"
"""Texts that leave the tag before them whole: NFC composes the end of a tag with U+0338."""

_APART: Final = "\n\n"
_UNREAD: Final[CallReading] = ("malformed_structure", None, None)


class DsmlCalls(Struct, frozen=True, cache_hash=True):
    """The tags of one format: what block, calls and parameters are called, and whether DSML is a token."""

    block: str
    invoke: str = "invoke"
    parameter: str = "parameter"
    marks: tuple[str, ...] = (DSML,)

    def tag(self, name: str, *, closes: bool = False) -> str:
        """Return a tag without its attributes and its end."""
        return f"<{'/' if closes else ''}{DSML}{name}"

    def said(self, calls: Sequence[ToolCall]) -> Iterator[Segment]:
        """Yield the calls of a turn in their block, set off from the content before them."""
        yield from self._spelled(f"{_APART}{self.tag(self.block)}>\n")
        for position, call in enumerate(calls):
            yield from self._spelled("\n" * bool(position) + f'{self.tag(self.invoke)} name="')
            yield body(call.name, "tool_name")
            yield from self._spelled('">\n')
            yield from self._parameters(call)
            yield from self._spelled(f"\n{self.tag(self.invoke, closes=True)}>")
        yield from self._spelled(f"\n{self.tag(self.block, closes=True)}>")

    def _parameters(self, call: ToolCall) -> Iterator[Segment]:
        """Yield the parameters of a call, texts as they are and other values as JSON."""
        for position, (key, value) in enumerate(arguments_object(call).items()):
            yield from self._spelled("\n" * bool(position) + f'{self.tag(self.parameter)} name="')
            yield body(f"{key}", "tool_arguments")
            yield from self._spelled(f'" string="{"true" if isinstance(value, str) else "false"}">')
            yield body(argument_text(value), "tool_arguments")
            yield from self._spelled(f"{self.tag(self.parameter, closes=True)}>")

    def _spelled(self, wording: str) -> tuple[Segment, ...]:
        return spelled(wording, self.marks)

    def read(self, sampled: Sampled, markers: Reasoning | None, tools: Sequence[ToolSpec]) -> ParsedResponse:
        """Read a turn without its stop: reasoning up to its closer, content, calls. Nothing is trimmed.

        With `markers` a closer ends reasoning even where nothing opened it: a turn after another turn of the model has
        no opener. A closer that stands first is the head of a turn whose reasoning was dropped.
        """
        position, thought, complete = 0, None, True
        if markers is not None:
            closed = find_special(sampled, 0, markers.closer)
            bare = not sampled.reasoning_open and reasoning_start(sampled.segments, markers.opener) is None
            if bare and 0 < closed < len(sampled.segments):
                sampled = replace(sampled, reasoning_open=True)
            if bare and not closed:
                position = min(1, len(sampled.segments))
            else:
                position, (thought, complete) = reasoning(sampled, 0, markers)
        turn = coded(sampled, position, self.marks)
        attempts = self._cut_off(turn, _grammar(self).attempts(turn, tools)) or self._without_calls(turn)
        return ParsedResponse(self._content(turn, attempts), thought, calls_of(turn, attempts, tools), complete)

    def follows(self, stops: Sequence[str], markers: Reasoning | None) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        known = followed(stops, _grammar(self), markers)
        texts = text_begins(self.tag(self.block), self.marks)
        begins = known.begins._replace(texts=(*known.begins.texts, *texts))
        begins = begins._replace(in_text="nowhere" if self.marks else "anywhere")
        return replace(known, closes_unopened=True, begins=begins, telling=_teller(self))

    def _cut_off(self, turn: Coded, attempts: list[Attempt]) -> list[Attempt]:
        """Add the call in whose first tag the turn ends, where it ends so after others."""
        tag = _patterns(self).cut_off.search(turn.text, attempts[-1].end) if attempts else None
        if tag is None:
            return attempts
        return [*attempts, Attempt(*tag.span(), (tag.end(), tag.end()), _UNREAD, closed=False)]

    def _without_calls(self, turn: Coded) -> list[Attempt]:
        """Return a block in which no call can be found as one attempt."""
        opener = _patterns(self).opener.search(turn.text)
        if opener is None:
            return []
        closer = _patterns(self).closer.search(turn.text, opener.end())
        stop, end = (len(turn.text),) * 2 if closer is None else closer.span()
        return [Attempt(opener.start("tag"), end, (opener.end(), stop), _UNREAD, closed=closer is not None)]

    def _content(self, turn: Coded, attempts: Sequence[Attempt]) -> str:
        """Return the text around the calls, without the tags of their block."""
        edges = [0, *(edge for attempt in attempts for edge in (attempt.start, attempt.end)), len(turn.text)]
        content, *later = (turn.text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
        if attempts:
            before = content.rstrip()
            opener = encoded(f"{self.tag(self.block)}>", self.marks)
            content = (before.removesuffix(opener) if before.endswith(opener) else content).removesuffix(_APART)
        rest = (_patterns(self).edge.sub("", piece) for piece in later)
        return decoded(content + "".join(piece for piece in rest if piece.strip()), self.marks)


class _Patterns(NamedTuple):
    """The tags of a block in a coded turn; those of the last block, or of a call, may be cut off."""

    opener: re.Pattern[str]
    closer: re.Pattern[str]
    edge: re.Pattern[str]
    cut_off: re.Pattern[str]


@lru_cache(maxsize=16)
def _patterns(dsml: DsmlCalls) -> _Patterns:
    begins, ends = (re.escape(encoded(dsml.tag("", closes=closes), dsml.marks)) for closes in (False, True))
    opener = rf"(?:{_APART})?(?P<tag>{begins}{dsml.block}>)\n?"
    closer = rf"\n?{ends}(?:{dsml.block}>|[^<>]*\Z)"
    return _Patterns(
        re.compile(opener), re.compile(closer), re.compile(f"{opener}|{closer}"), re.compile(rf"{begins}[^<>]*\Z")
    )


@lru_cache(maxsize=16)
def _grammar(dsml: DsmlCalls) -> TaggedCalls:
    """Return the grammar of calls with these tags."""
    return TaggedCalls(
        opener=f'{dsml.tag(dsml.invoke)} name="',
        closer=f"{dsml.tag(dsml.invoke, closes=True)}>",
        head='">',
        before=f'{dsml.tag(dsml.parameter)} name="',
        middle='" string="false">',
        after=f"{dsml.tag(dsml.parameter, closes=True)}>\n",
        marks=dsml.marks,
        middle_of_text='" string="true">',
    )


@lru_cache(maxsize=16)
def _teller(dsml: DsmlCalls) -> PairTeller:
    """Return what tells the calls of a block.

    Where the tags are text, a value goes on past the end of its call if something surer ends it later: then the start
    of another call tells that the one before it has ended.
    """
    patterns = tag_patterns(_grammar(dsml))
    end, last = (f"{dsml.tag(name, closes=True)}>" for name in (dsml.parameter, dsml.invoke))
    tags = (f"{dsml.tag(dsml.block)}>", end, last, dsml.tag(dsml.parameter))
    block, end, last, another = (encoded(tag, dsml.marks) for tag in tags)
    follows = "" if dsml.marks else rf"(?=\s*+{patterns.start.pattern})"
    surely = "" if dsml.marks else rf"(?=\s*+(?:{patterns.another.pattern}|{patterns.close.pattern}{follows}))"
    return PairTeller(
        dsml.marks,
        dsml.marks,
        lead="<",
        head=re.compile(rf"\s*+(?:{re.escape(block)}\s*+)?{patterns.start.pattern}{patterns.loose.head.pattern}"),
        pair=patterns.loose.pair,
        end=end,
        closer=re.compile(rf"\s*+{patterns.close.pattern}{follows}"),
        last=last,
        surely=surely,
        breaks=() if dsml.marks else (last, another),
        name_of=lambda head: head["name"],
        key_of=lambda pair: Key(pair["key"], pair.lastgroup == "text"),
    )
