"""Calls as XML: `<function=name>` with a `<parameter=key>` for each argument, between `<tool_call>` specials.

These tags are text and nothing is quoted, so the tags count by where they stand, not by how they are spelled. What
cannot be told apart is a name or key with a tag or with `>` before a line break in it, and a value that itself has
`</parameter>` and `<parameter=` on two lines in a row: there the reading that has more parameters is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import structs

from isc._json import json_text
from isc.formats._chatml import END_TOOL_CALL, SPECIALS, TOOL_CALL
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.segments import arguments_object, body, scaffold, special, spelled
from isc.types import Json, Segment, ToolCall

TOOLS_HEAD: Final = scaffold("# Tools\n\nYou have access to the following functions:\n\n<tools>")
TOOLS_TAIL: Final = spelled(
    "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
    "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\n"
    "- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT "
    "after\n"
    "- If there is no function call available, answer the question like normal with your current knowledge and do not "
    "tell the user about function calls\n</IMPORTANT>",
    SPECIALS,
)

_CALL: Final = special(TOOL_CALL)
_END_CALL: Final = special(END_TOOL_CALL)
_NEXT: Final = scaffold("\n")
_FUNCTION: Final = scaffold("\n<function=")
_TAG_END: Final = scaffold(">\n")
_PARAMETER: Final = scaffold("<parameter=")
_END_PARAMETER: Final = scaffold("\n</parameter>\n")
_END_FUNCTION: Final = scaffold("</function>\n")

XML_CALLS: Final = TaggedCalls(
    *(f"{TOOL_CALL}{_FUNCTION.text}", f"{_END_FUNCTION.text}{END_TOOL_CALL}"),
    *(_TAG_END.text, _PARAMETER.text, _TAG_END.text, _END_PARAMETER.text),
    marks=SPECIALS,
    marked=True,
)
"""Calls as XML, values other than strings as JSON."""
PRINTED_XML_CALLS: Final = structs.replace(XML_CALLS, python=True)
"""Calls as XML, values other than strings as the `string` filter of a template prints them, see `printed`."""

KEYS: Final = r"(?s:(?!\u0338)(?:(?!>\n|<parameter=|</parameter|</function).)*)"
"""Names of arguments that can be told: none with a tag, nor `>` before a line break; NFC composes `=` and U+0338."""

TEXTS: Final = r"(?s:(?!(?:.*\n)?<parameter=[^<>\n]+>).*)"
"""Texts that can be told: none with a line that begins as a parameter, which may be one whose value lacks its end."""


def xml_calls(calls: Sequence[ToolCall], spell: Callable[[Json], str], *, apart: Segment) -> Iterator[Segment]:
    """Yield the calls of a turn, set `apart` from the text before them. `spell` gives the text of a value."""
    for position, call in enumerate(calls):
        yield _NEXT if position else apart
        yield _CALL
        yield _FUNCTION
        yield body(call.name, "tool_name")
        yield _TAG_END
        for key, value in arguments_object(call).items():
            yield from (_PARAMETER, body(f"{key}", "tool_arguments"), _TAG_END)
            yield from (body(spell(value), "tool_arguments"), _END_PARAMETER)
        yield _END_FUNCTION
        yield _END_CALL


def printed(value: Json) -> str:
    """Print a value as the `string` filter of a template does, objects and lists as JSON.

    >>> printed(None), printed(True), printed({"deep": True})
    ('None', 'True', '{"deep": true}')
    """
    return json_text(value) if isinstance(value, (Mapping, list, tuple)) else str(value)
