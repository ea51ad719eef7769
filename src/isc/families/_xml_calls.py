"""Calls as XML: `<function=name>` with a `<parameter=key>` for each argument, between `<tool_call>` specials.

These tags are text and nothing is quoted, so the tags count by where they stand, not by how they are spelled. What
cannot be told apart is a name or key with a tag or with `>` before a line break in it, and a value that itself has
`</parameter>` and `<parameter=` on two lines in a row: there the reading that has more parameters is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from isc.families._chatml import END_TOOL_CALL, TOOL_CALL
from isc.parse import CallReading, Pairs, unquoted_call
from isc.segments import arguments_object, body, scaffold, special
from isc.types import Json, Segment, ToolCall, ToolSpec

Spelled: TypeAlias = tuple[str, Pairs]
"""A function's name, and its parameters, as they are spelled."""

_CALL: Final = special(TOOL_CALL)
_END_CALL: Final = special(END_TOOL_CALL)
_APART: Final = scaffold("\n\n")
_NEXT: Final = scaffold("\n")
_FUNCTION: Final = scaffold("\n<function=")
_TAG_END: Final = scaffold(">\n")
_PARAMETER: Final = scaffold("<parameter=")
_END_PARAMETER: Final = scaffold("\n</parameter>\n")
_END_FUNCTION: Final = scaffold("</function>\n")

_TAGS: Final = ("<parameter=", "</parameter", "</function")
_LOOSE_NEXT: Final = re.compile(r"\n?</parameter>\s*<parameter=")
_LOOSE_NAME: Final = re.compile(r"\s*<function=([^>\n]+)>")


def xml_calls(calls: Sequence[ToolCall], spell: Callable[[Json], str], *, after: str) -> Iterator[Segment]:
    """The calls of a turn, set off from the content they come after; `spell` gives the text of a value."""
    for position, call in enumerate(calls):
        if position or after:
            yield _NEXT if position else _APART
        yield _CALL
        yield _FUNCTION
        yield body(call.name)
        yield _TAG_END
        for key, value in arguments_object(call).items():
            yield from (_PARAMETER, body(f"{key}"), _TAG_END, body(spell(value)), _END_PARAMETER)
        yield _END_FUNCTION
        yield _END_CALL


def xml_call(raw: str, tools: Sequence[ToolSpec], words: Mapping[str, str]) -> CallReading:
    r"""Read what stands between the markers; line breaks around tags may be missing.

    A value is text where its tool declares a string, or declares nothing and the text is not JSON; `words` are what
    the format spells differently from JSON. For the statuses see `unquoted_call`.

    >>> xml_call("\n<function=wait>\n<parameter=hours>\n5\n</parameter>\n</function>\n", (), {})
    ('ok', 'wait', {'hours': 5})
    """
    found = _as_rendered(raw) or _as_written(raw)
    if found is None:
        attempted = _LOOSE_NAME.match(raw)
        return "malformed_structure", attempted.group(1) if attempted else None, None
    return unquoted_call(*found, tools, words)


def _as_rendered(raw: str) -> Spelled | None:
    """A call exactly as it is rendered: then every tag but those of its own lines is somebody's text."""
    inside = _between(raw, _FUNCTION.text, _END_FUNCTION.text)
    name, found, rest = (inside or "").partition(_TAG_END.text)
    if not found or any(tag in name for tag in _TAGS):
        return None
    if not rest:
        return name, []
    parameters = _between(rest, _PARAMETER.text, _END_PARAMETER.text)
    pieces = [] if parameters is None else parameters.split(_END_PARAMETER.text + _PARAMETER.text)
    pairs = [piece.partition(_TAG_END.text) for piece in pieces]
    if not pairs or any(not end or any(tag in key for tag in _TAGS) for key, end, _ in pairs):
        return None
    return name, [(key, text) for key, _, text in pairs]


def _as_written(raw: str) -> Spelled | None:
    """A call whose line breaks are not where a render has them."""
    inside = _between(raw.strip(), "<function=", "</function>")
    name, found, rest = (inside or "").partition(">")
    rest = rest.strip()
    if not found or not rest:
        return (name, []) if found else None
    parameters = _between(rest, "<parameter=", "</parameter>")
    pieces = [] if parameters is None else _LOOSE_NEXT.split(parameters.removesuffix("\n"))
    pairs = [piece.partition(">") for piece in pieces]
    if not pairs or any(not end for _, end, _ in pairs):
        return None
    return name, [(key, text.removeprefix("\n")) for key, _, text in pairs]


def _between(text: str, opener: str, closer: str) -> str | None:
    """What stands between a text's opener and closer."""
    if text.startswith(opener) and text.endswith(closer):
        return text[len(opener) : len(text) - len(closer)]
    return None
