"""Calls as `<invoke name="...">` with `<parameter name="...">` tags that are text, several between two specials.

Nothing is quoted, so a tag counts by where it stands, not by how it is spelled. What cannot be told apart is a name or
key with `">` in it, and a value that itself has `</parameter>` and what may follow one, each on a line: there the
reading that has more parameters and calls is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.segments import argument_text, arguments_object, body, scaffold
from isc.types import Segment, ToolCall

_OPEN: Final = '<invoke name="'
_CLOSE: Final = "</invoke>"
_BLOCK: Final = ("<minimax:tool_call>", "</minimax:tool_call>")

INVOKE_CALLS: Final = TaggedCalls(
    *(_OPEN, f"{_CLOSE}\n", '">\n'),
    *('<parameter name="', '">', "</parameter>\n"),
    marks=_BLOCK,
    block=(f"{_BLOCK[0]}\n", _BLOCK[1]),
)


def invokes(calls: Sequence[ToolCall]) -> Iterator[Segment]:
    """Yield calls as they stand between the specials, texts as they are and other values as JSON."""
    yield scaffold("\n")
    for call in calls:
        yield from (scaffold(_OPEN), body(call.name, "tool_name"), scaffold('">\n'))
        for key, value in arguments_object(call).items():
            yield from (scaffold('<parameter name="'), body(f"{key}", "tool_arguments"), scaffold('">'))
            yield from (body(argument_text(value), "tool_arguments"), scaffold("</parameter>\n"))
        yield scaffold(f"{_CLOSE}\n")
