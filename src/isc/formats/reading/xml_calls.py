"""Calls as XML: `<function=name>` with a `<parameter=key>` for each argument, between `<tool_call>` specials.

These tags are text and nothing is quoted, so the tags count by where they stand, not by how they are spelled. What
cannot be told apart is a name or key with a tag or with `>` before a line break in it, and a value that itself has
`</parameter>` and `<parameter=` on two lines in a row: there the reading that has more parameters is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from isc._json import json_text
from isc.formats._chatml import END_TOOL_CALL, SPECIALS, TOOL_CALL
from isc.formats.reading.scanners import CallReading, Pairs, unquoted_call
from isc.formats.reading.values import Tagged
from isc.formats.segments import arguments_object, body, scaffold, special, spelled
from isc.types import Json, Segment, ToolCall, ToolSpec

Spelled: TypeAlias = tuple[str, Pairs]
"""A function's name, and its parameters, as they are spelled."""

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

_TAGS: Final = ("<parameter=", "</parameter", "</function")
_LOOSE_NEXT: Final = re.compile(r"\n?</parameter>\s*<parameter=")
_VALUE_TAGS: Final = re.compile(r"(?P<open><parameter=)|(?P<close></parameter>(?=\s*+(?:<parameter=|</function>|\Z)))")
VALUES: Final = partial(Tagged, pattern=_VALUE_TAGS)
"""Follows the parameters of a call, in which markers are text."""
_LOOSE_NAME: Final = re.compile(r"\s*<function=([^>\n]+)>")

KEYS: Final = r"(?s:(?!\u0338)(?:(?!>\n|<parameter=|</parameter|</function).)*)"
"""Names of arguments that can be told: none with a tag, nor `>` before a line break; NFC composes `=` and U+0338."""


def xml_calls(calls: Sequence[ToolCall], spell: Callable[[Json], str], *, apart: Segment) -> Iterator[Segment]:
    """Yield the calls of a turn, set `apart` from the text before them. `spell` gives the text of a value."""
    for position, call in enumerate(calls):
        yield _NEXT if position else apart
        yield _CALL
        yield _FUNCTION
        yield body(call.name)
        yield _TAG_END
        for key, value in arguments_object(call).items():
            yield from (_PARAMETER, body(f"{key}"), _TAG_END, body(spell(value)), _END_PARAMETER)
        yield _END_FUNCTION
        yield _END_CALL


def printed(value: Json) -> str:
    """Print a value as the `string` filter of a template does, objects and lists as JSON. `PRINTED` reads it back.

    >>> printed(None), printed(True), printed({"deep": True})
    ('None', 'True', '{"deep": true}')
    """
    return json_text(value) if isinstance(value, (Mapping, list, tuple)) else str(value)


PRINTED: Final = {"True": "true", "False": "false", "None": "null"}


def xml_call(raw: str, tools: Sequence[ToolSpec], words: Mapping[str, str]) -> CallReading:
    r"""Read what stands between the markers; line breaks around tags may be missing.

    A value is text where its tool declares a string, or declares nothing and the text is not JSON; `words` are what
    the format spells differently from JSON. For the statuses see `unquoted_call`.

    >>> xml_call("\n<function=wait>\n<parameter=hours>\n5\n</parameter>\n</function>\n", (), {})
    ('ok', 'wait', {'hours': 5})
    """
    spelled = _as_rendered(raw) or _as_written(raw)
    if spelled is None:
        attempted = _LOOSE_NAME.match(raw)
        return "malformed_structure", attempted.group(1) if attempted else None, None
    return unquoted_call(*spelled, tools, words)


def _as_rendered(raw: str) -> Spelled | None:
    """Read a call exactly as it is rendered. Then every tag but those of its own lines is somebody's text."""
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
    """Read a call whose line breaks are not where a render has them."""
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
    """Return the text between an opener and a closer."""
    if text.startswith(opener) and text.endswith(closer):
        return text[len(opener) : len(text) - len(closer)]
    return None
