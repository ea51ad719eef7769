"""Infer a format's grammar from turns with planted content. A grammar is taken only if it reads them back.

Candidates come from the places of planted names, keys and values in the text of a turn. The text between them is the
grammar's wording. A candidate that does not read every turn back exactly is dropped.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from isc.formats._harmony import CHANNEL, MESSAGE, START
from isc.formats.reading import harmony
from isc.formats.reading.coded import ANY_CODE, IDENTITY, MOST_MARKS, NAME, NUMBER, coded, decoded, marks_of
from isc.formats.reading.gemma_calls import GemmaCalls
from isc.formats.reading.grammars import Around, Grammar, read_turn
from isc.formats.reading.json_calls import JsonCalls, json_call_of, keyed_call
from isc.formats.reading.llama_calls import LlamaCalls
from isc.formats.reading.pythonic_calls import PythonicCalls
from isc.formats.reading.scanners import reasoning
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.types import Json, ParsedResponse, Reasoning, Sampled, ToolSpec

_DECODER: Final = json.JSONDecoder()
_WHITE_OR_SEPARATOR: Final = " \n\r\t,;"


class Call(NamedTuple):
    """A call that was planted."""

    name: str
    arguments: Mapping[str, Json]
    identity: str = ""


class Shown(NamedTuple):
    """A turn as it would be sampled, and what it says."""

    turn: Sampled
    calls: tuple[Call, ...] = ()
    content: str = ""
    thought: str = ""


class Evidence(NamedTuple):
    """Turns of a format: with one call of a text and a number, with two calls, with content before it, and others."""

    one: Shown
    two: Shown | None
    content: Shown | None
    others: tuple[Shown, ...]
    specials: tuple[str, ...]
    tools: tuple[ToolSpec, ...]

    @property
    def all(self) -> tuple[Shown, ...]:
        """Return every turn."""
        return tuple(shown for shown in (self.one, self.two, self.content, *self.others) if shown is not None)


class Reader(NamedTuple):
    """The reader of a format's turns: `grammar` is None where calls stay in the content, `harmonic` for Harmony."""

    grammar: Grammar | None = None
    around: Around = Around()
    harmonic: bool = False

    @property
    def name(self) -> str | None:
        """Return the name of the grammar."""
        return "harmony" if self.harmonic else self.grammar.name if self.grammar is not None else None

    def read(self, sampled: Sampled, markers: Reasoning | None, tools: Sequence[ToolSpec]) -> ParsedResponse:
        """Read a turn without its stop."""
        if self.harmonic:
            return harmony.parse(sampled, tools)
        return read_turn(sampled, markers, self.grammar, self.around, tools)


def proven(evidence: Evidence, markers: Reasoning | None, name: str | None = None) -> Reader | None:
    """Return the reader that reads every turn back exactly as planted. `name`: only grammars of that name are tried."""
    if {CHANNEL, MESSAGE, START} <= set(evidence.specials) and name in (None, "harmony"):
        reader = Reader(harmonic=True)
        if _reads(reader, evidence, markers):
            return reader
    for grammar in candidates(evidence, markers):
        if name not in (None, grammar.name):
            continue
        reader = Reader(grammar, around_of(evidence.all, markers, grammar, evidence.tools))
        if _reads(reader, evidence, markers):
            return reader
    return None


def of_flags(reader: Reader, flags: Shown, markers: Reasoning | None, tools: Sequence[ToolSpec]) -> Reader:
    """Return a reader, or that of Python's words if only so a flag that was planted is read."""
    if isinstance(reader.grammar, TaggedCalls) and not reads_back(reader, flags, markers, tools):
        other = reader._replace(grammar=replace(reader.grammar, python=True))
        return other if reads_back(other, flags, markers, tools) else reader
    return reader


USUAL: Final[Mapping[str, Grammar]] = {
    "json": JsonCalls("<tool_call>", "</tool_call>", ("<tool_call>", "</tool_call>")),
    "named_json": JsonCalls("[TOOL_CALLS]", "", ("[TOOL_CALLS]", "[ARGS]"), "[ARGS]"),
    "tagged": TaggedCalls(
        "<tool_call>\n<function=", "</function>\n</tool_call>", ">", "<parameter=", ">\n", "\n</parameter>\n",
        ("<tool_call>", "</tool_call>"),
    ),
    "gemma": GemmaCalls("<|tool_call>", "<tool_call|>", '<|"|>', ("<|tool_call>", "<tool_call|>", '<|"|>')),
    "pythonic": PythonicCalls("", ""),
    "llama": LlamaCalls(),
}  # fmt: skip
"""The best known grammar of each name, for templates that render no calls."""


def usual(name: str | None, specials: Sequence[str]) -> Grammar | None:
    """Return the best known grammar of a name, if its markers are specials here."""
    grammar = USUAL.get(name or "")
    return grammar if grammar is not None and set(grammar.marks) <= set(specials) else None


def _reads(reader: Reader, evidence: Evidence, markers: Reasoning | None) -> bool:
    turns = [shown for shown in evidence.all if not (reader.harmonic and shown.calls and shown.content)]
    return all(reads_back(reader, shown, markers, evidence.tools) for shown in turns)  # Harmony thinks beside calls


def reads_back(reader: Reader, shown: Shown, markers: Reasoning | None, tools: Sequence[ToolSpec]) -> bool:
    """Return whether a turn is read exactly as it was planted, but for white space around it."""
    parsed = reader.read(shown.turn, markers, tools)
    calls = [(call.status, call.name, call.arguments) for call in parsed.tool_calls]
    wanted = [("ok", call.name, dict(call.arguments)) for call in shown.calls]
    thought = (parsed.reasoning_content or "").strip()
    return (
        calls == wanted and parsed.content.strip() == shown.content and (not shown.thought or thought == shown.thought)
    )


def around_of(
    turns: Sequence[Shown], markers: Reasoning | None, grammar: Grammar | None, tools: Sequence[ToolSpec]
) -> Around:
    """Return the texts and specials around content and calls in these turns that no message contains."""
    texts: dict[str, None] = {}
    specials: dict[str, None] = {}
    for shown in turns:
        inside = {s.text for s in shown.turn.segments if s.kind == "special"}
        bare = read_turn(shown.turn, markers, grammar, Around(), tools)
        for left in bare.content.split(shown.content) if shown.content else [bare.content]:
            around = [text for text in inside if text in left]
            specials |= dict.fromkeys(around)
            for text in around:
                left = left.replace(text, "\n")  # noqa: PLW2901 - what is left of it
            texts |= dict.fromkeys(line for line in map(str.strip, left.splitlines()) if _is_tag(line))
    return Around(tuple(texts), tuple(specials))


def _is_tag(line: str) -> bool:
    """Return whether a line looks like a tag of the format, not like content."""
    return line.startswith(("<", "[")) and line.endswith((">", "]")) and " " not in line


class _Text(NamedTuple):
    """A turn after its reasoning, every special a character."""

    text: str
    shown: Shown


def candidates(evidence: Evidence, markers: Reasoning | None) -> Iterator[Grammar]:
    """Yield grammars that the turns may be in, the more telling ones first."""
    marks = tuple(dict.fromkeys(s.text for shown in evidence.all for s in shown.turn.segments if s.kind == "special"))
    marks = marks[:MOST_MARKS]

    def text_of(shown: Shown | None) -> _Text | None:
        if shown is None:
            return None
        position = reasoning(shown.turn, 0, markers)[0] if markers is not None else 0
        return _Text(coded(shown.turn, position, marks).text, shown)

    one, two, content = map(text_of, (evidence.one, evidence.two, evidence.content))
    assert one is not None
    for drafts in (_json, _named, _tagged, _gemma, _pythonic):
        for draft in drafts(one, two, content):
            grammar = draft(marks, evidence.specials)
            if isinstance(grammar, JsonCalls) and not grammar.opener and LlamaCalls().marker in evidence.specials:
                yield LlamaCalls()
            yield grammar


class _Draft(NamedTuple):
    """A grammar whose markers hold characters for specials."""

    kind: type
    markers: Mapping[str, str | None]
    flags: Mapping[str, bool]

    def __call__(self, marks: tuple[str, ...], specials: Sequence[str]) -> Grammar:
        spelled = {key: None if text is None else decoded(text, marks) for key, text in self.markers.items()}
        coded_marks = marks_of(filter(None, spelled.values()), [mark for mark in specials if mark in marks])
        grammar: Grammar = self.kind(**spelled, **self.flags, marks=coded_marks)
        return grammar


class _Place(NamedTuple):
    """The place of a call: its first character, the one after its last, the separator of a name and its JSON."""

    start: int
    end: int
    separator: str = ""
    calls: int = 1


def _json(one: _Text, two: _Text | None, content: _Text | None) -> Iterator[_Draft]:
    """Yield drafts for calls that are JSON with a name in it."""
    for keyed in (False, True):
        first = _json_place(one.text, 0, one.shown.calls, keyed=keyed)
        if first is not None:
            yield from _json_drafts(one, two, content, first, keyed=keyed)


def _json_drafts(
    one: _Text, two: _Text | None, content: _Text | None, first: _Place, *, keyed: bool
) -> Iterator[_Draft]:
    name = one.shown.calls[0].name
    befores, afters = [one.text[: first.start].replace(name, NAME)], [one.text[first.end :]]
    if content is not None and (place := _json_place(content.text, 0, content.shown.calls, keyed=keyed)):
        befores.append(content.text[: place.start].replace(name, NAME))
        afters.append(content.text[place.end :].partition(content.shown.content)[0])
    between = _between_json(two, keyed=keyed)
    if between is not None and between.strip(_WHITE_OR_SEPARATOR):
        befores.append(between)
        afters.append(between)
    opener, closer = _common_suffix(befores).strip(), _common_prefix(afters).strip()
    echoes = opener.startswith(NAME)
    yield _Draft(JsonCalls, {"opener": opener.lstrip(NAME), "closer": closer}, {"keyed": keyed, "echoes": echoes})
    if re.search(f"[{ANY_CODE}]", opener):
        yield _Draft(JsonCalls, {"opener": _tail(opener), "closer": closer}, {"keyed": keyed, "echoes": False})


def _tail(opener: str) -> str:
    """Return the last special of a marker and the text after it."""
    last = max(place for place, character in enumerate(opener) if re.match(f"[{ANY_CODE}]", character))
    return opener[last:].strip()


def _json_place(text: str, start: int, calls: Sequence[Call], *, keyed: bool) -> _Place | None:
    """Find the first JSON that equals the first of these calls, or all of them."""
    read = keyed_call if keyed else json_call_of
    for bracket in re.finditer(r"[{\[]", text[start:]):
        place = start + bracket.start()
        try:
            value, end = _DECODER.raw_decode(text, place)
        except ValueError:
            continue
        items = value if isinstance(value, list) else [value]
        read_calls = [(name, arguments) for status, name, arguments in map(read, items) if status == "ok"]
        wanted = [(call.name, dict(call.arguments)) for call in calls]
        if read_calls and read_calls in (wanted, wanted[:1]):
            return _Place(place, end, calls=len(read_calls))
    return None


def _between_json(two: _Text | None, *, keyed: bool) -> str | None:
    """Return the text between two calls that are not in one list, names in it as holes."""
    if two is None:
        return None
    first = _json_place(two.text, 0, two.shown.calls, keyed=keyed)
    if first is None or first.calls > 1:
        return None
    second = _json_place(two.text, first.end, two.shown.calls[1:], keyed=keyed)
    if second is None:
        return None
    return str(two.text[first.end : second.start]).replace(two.shown.calls[1].name, NAME)


def _named(one: _Text, two: _Text | None, content: _Text | None) -> Iterator[_Draft]:
    """Yield drafts for calls that are a name and then the JSON of arguments."""
    first = _named_place(one.text, 0, one.shown.calls[0])
    if first is None:
        return
    native = one.shown.calls[0].identity.startswith("functions.")
    befores, afters = [one.text[: first.start]], [one.text[first.end :]]
    separators = [first.separator]
    if content is not None and (place := _named_place(content.text, 0, content.shown.calls[0])):
        befores.append(content.text[: place.start])
    if two is not None and (place := _named_place(two.text, 0, two.shown.calls[0])):
        second = _named_place(two.text, place.end, two.shown.calls[1])
        if second is not None:
            befores.append(two.text[place.end : second.start])
            afters.append(two.text[place.end : second.start])
            separators.append(second.separator)
    opener, closer = _common_suffix(befores).strip(), _common_prefix(afters).strip()
    separator = first.separator
    if native:
        opener, separator = opener.removesuffix("functions."), re.sub(r"\A:\d+", "", separator)
    elif len(set(separators)) > 1:
        separator = re.sub(r"\d+", NUMBER, separator)
    if opener and separator.strip():
        yield _Draft(JsonCalls, {"opener": opener, "closer": closer, "separator": separator}, {"native": native})
    elif opener and re.search(f"[{ANY_CODE}]", opener):
        yield _Draft(JsonCalls, {"opener": opener, "closer": closer, "separator": ""}, {})


def _named_place(text: str, start: int, call: Call) -> _Place | None:
    """Find the name of this call that the JSON of its arguments follows."""
    for name in re.finditer(re.escape(call.name), text[start:]):
        begin, end = start + name.start(), start + name.end()
        brace = text.find("{", end)
        try:
            value, after = _DECODER.raw_decode(text, brace) if brace >= 0 else (None, 0)
        except ValueError:
            continue
        if value == dict(call.arguments):
            separator = text[end:brace]
            return _Place(begin, after, separator.replace(call.identity, IDENTITY) if call.identity else separator)
    return None


class _Pairs(NamedTuple):
    """A call of a name and two pairs: what stands before the name, between all parts, and at the end."""

    before: str
    head: str
    middle: str
    between: str
    last_middle: str
    end: str


def _pairs_of(text: str, call: Call) -> _Pairs | None:
    parts: list[str] = []
    position = 0
    for planted in (call.name, *(str(part) for pair in call.arguments.items() for part in pair)):
        place = text.find(planted, position)
        if place < 0:
            return None
        parts.append(text[position:place])
        position = place + len(planted)
    return _Pairs._make((*parts, text[position:])) if len(parts) == len(_Pairs._fields) - 1 else None


def _tagged(one: _Text, two: _Text | None, content: _Text | None) -> Iterator[_Draft]:
    """Yield drafts for calls that are a name and pairs between texts."""
    pairs = _pairs_of(one.text, one.shown.calls[0])
    if pairs is None or not pairs.middle.strip():
        return
    before = _common_suffix([pairs.head, pairs.between])
    after = _common_prefix([pairs.between, pairs.end])
    befores, afters = [pairs.before], [pairs.end[len(after) :]]
    if content is not None and (others := _pairs_of(content.text, content.shown.calls[0])):
        befores.append(others.before)
    if two is not None and (others := _pairs_of(two.text, two.shown.calls[0])):
        between = others.end[len(after) :].partition(two.shown.calls[1].name)[0]
        befores.append(between)
        afters.append(between)
    head, middles = pairs.head[: len(pairs.head) - len(before)], (pairs.middle, pairs.last_middle)
    same = middles[0] == middles[1]
    markers = {
        "opener": _common_suffix(befores).strip(),
        "closer": _common_prefix(afters).strip(),
        "head": re.sub(r"\d+", NUMBER, head).strip(),
        "before": before.strip(),
        "after": after,
        "middle": middles[1],
        "middle_of_text": None if same else middles[0],
    }
    if all(markers[key] for key in ("opener", "closer", "before")) and after.strip():
        for marked in (True, False):  # the first only where opener and closer hold control tokens
            yield from (_Draft(TaggedCalls, markers, {"python": python, "marked": marked}) for python in (False, True))


def _gemma(one: _Text, two: _Text | None, content: _Text | None) -> Iterator[_Draft]:
    """Yield drafts for calls as Gemma writes them."""
    del two, content
    call = one.shown.calls[0]
    start, (key, value) = one.text.find(f"call:{call.name}{{"), next(iter(call.arguments.items()))
    place = one.text.find(f"{key}:", start)
    end = one.text.find(str(value), place)
    last = one.text.rfind("}")
    if min(start, place, end, last) >= 0:
        quote, opener = one.text[place + len(key) + 1 : end], _last_marker(one.text[:start])
        closer = _first_marker(one.text[last + 1 :])
        if quote and opener and closer:
            yield _Draft(GemmaCalls, {"opener": opener, "closer": closer, "quote": quote}, {})


def _pythonic(one: _Text, two: _Text | None, content: _Text | None) -> Iterator[_Draft]:
    """Yield drafts for calls as Python writes them."""
    del two
    name = one.shown.calls[0].name
    start, end = one.text.find(f"{name}("), one.text.rfind(")")
    if start < 0 or end < start:
        return
    befores = [one.text[:start]]
    if content is not None and (place := content.text.find(f"{name}(")) >= 0:
        befores.append(content.text[:place])
    opener = _common_suffix(befores).strip().removesuffix("[").strip()
    closer = one.text[end + 1 :].strip().removeprefix("]").strip()
    yield _Draft(PythonicCalls, {"opener": opener, "closer": closer}, {})
    if re.search(f"[{ANY_CODE}]", opener):
        yield _Draft(PythonicCalls, {"opener": _last_marker(opener), "closer": _first_marker(closer)}, {})


def _last_marker(text: str) -> str:
    """Return the special, or the tag, that a text ends with."""
    marker = re.search(rf"(?:[{ANY_CODE}]|<[^<>\s]+>|\[[^\[\]\s]+\])\s*\Z", text[-80:])
    return marker.group().strip() if marker else ""


def _first_marker(text: str) -> str:
    """Return the special, or the tag, that a text begins with."""
    marker = re.match(rf"\s*(?:[{ANY_CODE}]|</?[^<>\s]+>|\[[^\[\]\s]+\])", text[:80])
    return marker.group().strip() if marker else ""


def _common_prefix(texts: Sequence[str]) -> str:
    """Return the common prefix of texts, without the beginning of a tag."""
    common = os.path.commonprefix(list(texts))
    place = common.rfind("<")
    cut = len(texts) > 1 and place >= 0 and ">" not in common[place:] and any(len(t) > len(common) for t in texts)
    return common[:place] if cut else common


def _common_suffix(texts: Sequence[str]) -> str:
    """Return the common suffix of texts, without the end of a tag."""
    common = os.path.commonprefix([text[::-1] for text in texts])[::-1]
    place, opens = common.find(">"), common.find("<")
    cut = len(texts) > 1 and place >= 0 and not 0 <= opens < place and any(len(t) > len(common) for t in texts)
    return common[place + 1 :] if cut else common
