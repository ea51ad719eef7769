"""Scanners that families share: (sampled, position) -> (position, value). Markers are specials by id, never text.

Nothing here raises, whatever was sampled; every attempted call is kept with a status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from msgspec.structs import replace

from isc._json import decode_json
from isc.formats.segments import is_special
from isc.types import CallStatus, Json, ParsedToolCall, Reasoning, Sampled, Segment, ToolSpec

CallReading: TypeAlias = tuple[CallStatus, str | None, Mapping[str, Json] | None]
"""Status, name and arguments, as far as they could be read."""

_DEEPEST_SCHEMA = 16

_Mark = TypeVar("_Mark")


def spelling(segments: Sequence[Segment]) -> str:
    """Return segments as text, specials by their spelling."""
    return "".join(segment.text for segment in segments)


def find_special(sampled: Sampled, position: int, *texts: str) -> int:
    """Return the position of the next of these specials, or the end."""
    segments = sampled.segments
    wanted = (k for k in range(position, len(segments)) if segments[k].kind == "special" and segments[k].text in texts)
    return next(wanted, len(segments))


def until(sampled: Sampled, stop_tokens: Sequence[str]) -> Sampled:
    """Cut a sampled turn before its first stop token."""
    end = find_special(sampled, 0, *stop_tokens)
    return replace(sampled, segments=sampled.segments[:end], starts=sampled.starts[: end + 1], ends=sampled.ends[:end])


def past_head(sampled: Sampled, head: Callable[[], Sequence[Segment]]) -> Sampled:
    """Skip the head of a sampled turn, where a model began with that head again.

    Args:
        sampled: What was sampled.
        head: Gives the head, asked only where a special was sampled first; one that begins with text is nobody's sign.
    """
    first = sampled.segments[0] if sampled.segments else None
    if first is None or first.kind == "text":
        return sampled
    wanted = head()
    count = len(wanted)
    if not wanted or wanted[0].kind == "text" or len(sampled.segments) < count:
        return sampled
    *marks, last = wanted
    pairs = zip(sampled.segments, marks, strict=False)
    if any(ours.text != theirs.text or ours.kind != theirs.kind for ours, theirs in pairs):
        return sampled
    return _after_text(sampled, count - 1, last)


def _after_text(sampled: Sampled, index: int, last: Segment) -> Sampled:
    """Skip a head whose last segment stands at `index`, with or without the white space at its end."""
    segment = sampled.segments[index]
    said = last.text.rstrip() if last.kind == "text" else last.text
    if segment.kind != last.kind or not segment.text.startswith(said) or (last.kind == "special" and segment != last):
        return sampled
    rest = segment.text[len(said) :].removeprefix(last.text[len(said) :]) if last.kind == "text" else ""
    following = index if rest else index + 1
    segments = (replace(segment, text=rest), *sampled.segments[index + 1 :]) if rest else sampled.segments[index + 1 :]
    starts = list(sampled.starts[following:])
    if rest:
        starts[0] = _start_of(sampled, index, len(segment.text) - len(rest))
    return replace(sampled, segments=segments, starts=tuple(starts))


def _start_of(sampled: Sampled, index: int, skipped: int) -> int:
    """Return the token in which a text segment goes on after so many characters."""
    start, end = sampled.span(index, index + 1)
    size = len(sampled.segments[index].text[:skipped].encode())
    while sampled.token_bytes is not None and start + 1 < end and size >= len(sampled.token_bytes(start)) > 0:
        size -= len(sampled.token_bytes(start))
        start += 1
    return start


def reasoning_start(segments: Sequence[Segment], opener: str) -> int | None:
    """Return where reasoning starts: after an opener that only white space precedes. None: no such opener."""
    for position, segment in enumerate(segments):
        if is_special(segment, opener):
            return position + 1
        if segment.kind == "special" or segment.text.strip():
            return None
    return None


def after_special(sampled: Sampled, opener: str) -> Sampled:
    """Cut a turn after a special that only white space precedes, if it begins so."""
    position = reasoning_start(sampled.segments, opener)
    if not position:
        return sampled
    return replace(
        sampled,
        segments=sampled.segments[position:],
        starts=sampled.starts[position:],
        ends=sampled.ends[position:],
    )


def reasoning_end(marks: Sequence[_Mark], start: int, closer: _Mark, enders: Sequence[_Mark]) -> int | None:
    """Return where reasoning that begins at `start` ends: at its closer, or without a closer at the first ender.

    A call that is drafted inside reasoning is so reasoning, if that is closed later. This is the one place where it is
    decided whether reasoning is open: None says that it is.

    >>> reasoning_end(["say", "<call>", "</think>", "<call>"], 0, "</think>", ["<call>"])
    2
    >>> reasoning_end(["say", "<call>"], 0, "</think>", ["<call>"])
    1
    """
    for texts in ((closer,), enders):
        places = [marks.index(text, start) for text in texts if text in marks[start:]]
        if places:
            return min(places)
    return None


def reasoning(sampled: Sampled, position: int, markers: Reasoning) -> tuple[int, tuple[str | None, bool]]:
    """Read reasoning at the start of a turn and whether it ended. The text is None where no reasoning was opened.

    Only an initial opener, or one the prompt left open, opens it, and one sampled right after the prompt's is dropped.
    An ender that ends it is not used up. See `reasoning_end`.
    """
    start_inside = reasoning_start(sampled.segments[position:], markers.opener)
    if start_inside is None and not sampled.reasoning_open:
        return position, (None, True)
    start = position + (start_inside or 0)
    marks = [segment.text if segment.kind == "special" else "" for segment in sampled.segments]
    end = reasoning_end(marks, start, markers.closer, markers.enders)
    if end is None:
        return len(marks), (spelling(sampled.segments[start:]), False)
    return end + (marks[end] == markers.closer), (spelling(sampled.segments[start:end]), True)


def known(call: ParsedToolCall, tools: Sequence[ToolSpec]) -> ParsedToolCall:
    """Mark a call that names none of the offered tools."""
    if call.status != "ok" or not tools or call.name in {tool.name for tool in tools}:
        return call
    return ParsedToolCall(call.raw, call.name, call.arguments, call.token_span, "unknown_tool", call.id)


_JSON_TYPES: Mapping[type, frozenset[str]] = {
    bool: frozenset(("boolean",)),
    int: frozenset(("integer", "number")),
    float: frozenset(("number",)),
    list: frozenset(("array",)),
    dict: frozenset(("object",)),
    type(None): frozenset(("null",)),
}


_PYTHON_TYPES: Mapping[str, str] = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    "NoneType": "null",
}
"""What schemas written by hand call the types of JSON."""

_NO_STRINGS = frozenset().union(*_JSON_TYPES.values())


def unquoted(text: str, schema: Json = None) -> Json:
    """Return the value of an argument that a format spells without quotes: strings as they are, the rest as JSON.

    It is the text itself where the schema says string, or where it is not the JSON of a value other than a string;
    where the schema allows strings among others, a value is taken for another type only if the schema names that type.

    >>> unquoted("7"), unquoted("7", {"type": "string"}), unquoted("7", {"type": ["string", "null"]}), unquoted("seven")
    (7, '7', '7', 'seven')
    """
    types = declared_types(schema)
    if types == {"string"}:
        return text
    try:
        value: Json = decode_json(text)
    except ValueError:
        return text
    if isinstance(value, str) or ("string" in types and not types & _JSON_TYPES[type(value)]):
        return text
    return value


def argument(text: str, schema: Json = None, words: Mapping[str, str] = {}) -> tuple[CallStatus, Json]:
    """Read an unquoted argument under its schema. Return a status, `ok` or `invalid_json`, and the value.

    Text that is not JSON where only other types than strings are declared is kept as text and told by the status.
    `words` are what the format spells differently from JSON.

    >>> argument("seven", {"type": "integer"}), argument("True", words={"True": "true"})
    (('invalid_json', 'seven'), ('ok', True))
    """
    value = unquoted(words.get(text, text), schema)
    if not isinstance(value, str):
        return "ok", value
    types = declared_types(schema)
    return "invalid_json" if types and types <= _NO_STRINGS else "ok", text


def declared_types(schema: Json) -> frozenset[str]:
    """Return the JSON types that a schema names, also by their Python names. Empty where the schema does not tell.

    >>> sorted(declared_types({"anyOf": [{"type": "integer"}, {"enum": ["all"]}]}))
    ['integer', 'string']
    """
    return frozenset(_declared(schema, 0))


def _declared(schema: Json, depth: int) -> Iterator[str]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST_SCHEMA:
        return
    named = schema.get("type")
    if isinstance(named, str):
        yield _PYTHON_TYPES.get(named, named)
    elif isinstance(named, (list, tuple)):
        yield from (_PYTHON_TYPES.get(name, name) for name in named if isinstance(name, str))
    else:
        for key in ("anyOf", "oneOf"):
            alternatives = schema.get(key)
            for alternative in alternatives if isinstance(alternatives, (list, tuple)) else ():
                yield from _declared(alternative, depth + 1)
        values = schema.get("enum")
        for value in values if isinstance(values, (list, tuple)) else ():
            yield from {"string"} if isinstance(value, str) else _JSON_TYPES.get(type(value), ())
