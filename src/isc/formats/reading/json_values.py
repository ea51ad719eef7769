"""JSON in a sampled text: where a value ends, or where it stops being one. Nothing here raises."""

from __future__ import annotations

import json
import re
from typing import Final, Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["whole", "open", "broken"]

_DECODER: Final = json.JSONDecoder(strict=False)
_WINDOW: Final = 2_048
_CUT: Final = 16  # characters of a word, a number or an escape that may lack its end
_SPACE: Final = re.compile(r"[ \t\r\n]*+")


class Value(NamedTuple):
    """The value that begins at a place: `whole`, `open` in a string that nothing closes, or `broken`.

    `end` is after its last character, or where it stops being JSON.
    """

    state: State
    end: int
    value: object = None


def value_at(text: str, position: int) -> Value:
    r"""Read the value that begins here; line breaks in strings are let pass, which a strict reading then refuses.

    What is looked at grows while it ends too early: an error costs what is before it in the text it is told of.

    >>> [value_at(text, 0)[:2] for text in ('[1] x', '{"a": "x', '{"a": x}')]
    [('whole', 3), ('open', 8), ('broken', 6)]
    """
    window = _WINDOW
    while True:
        part = text[position : position + window]
        whole = position + window >= len(text)
        try:
            value, end = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            is_open = error.msg.startswith("Unterminated string")
            if whole or not (is_open or error.pos >= len(part) - _CUT):
                return Value("open", len(text)) if is_open else Value("broken", position + error.pos)
        except (ValueError, RecursionError):
            return Value("broken", position)
        else:
            return Value("whole", position + end, value)
        window *= 2


def after_space(text: str, position: int) -> int:
    """Return the place of the next character that is no white space."""
    space = _SPACE.match(text, position)
    return space.end() if space else position
