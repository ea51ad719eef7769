"""Harmony messages: a header that names role, recipient and channel, then a text, then what ends it.

`<|end|>` ends a message, `<|return|>` the last one of an answer, `<|call|>` one that goes to a tool. A turn of the
model is one message or several; the prompt gives the first one's `<|start|>assistant`.
"""

from __future__ import annotations

from typing import Final

from isc.formats.segments import body, scaffold, special
from isc.types import Segment

START: Final = "<|start|>"
CHANNEL: Final = "<|channel|>"
CONSTRAIN: Final = "<|constrain|>"
MESSAGE: Final = "<|message|>"
END: Final = "<|end|>"
RETURN: Final = "<|return|>"
CALL: Final = "<|call|>"
END_OF_TEXT: Final = "<|endoftext|>"
SPECIALS: Final = (END_OF_TEXT, RETURN, CONSTRAIN, CHANNEL, START, END, MESSAGE, CALL)
STOP_TOKENS: Final = (RETURN, CALL, END_OF_TEXT)

ROLE: Final = "assistant"
FUNCTIONS: Final = "functions."
PROMPT: Final = (special(START), scaffold(ROLE))

_CHANNEL: Final = special(CHANNEL)
_MESSAGE: Final = special(MESSAGE)
_END: Final = special(END)
LAST: Final = special(RETURN)
ANSWERED: Final = Segment(END, "special", part="close")
"""What closes the last answer, and an earlier one."""


def message(role: str, *text: Segment) -> tuple[Segment, ...]:
    """Return the head of a system, developer or user message: no channel, no recipient."""
    return (special(START), scaffold(role), _MESSAGE, *text, _END)


def said(channel: str, text: Segment, close: Segment = _END) -> tuple[Segment, ...]:
    """Return a message of the model without a recipient."""
    return (*PROMPT, _CHANNEL, scaffold(channel), _MESSAGE, text, close)


def called(name: str, arguments: str) -> tuple[Segment, ...]:
    """Return a message of the model to a function."""
    recipient = (scaffold(f" to={FUNCTIONS}"), body(name, "tool_name"), _CHANNEL, scaffold("commentary json"), _MESSAGE)
    return (*PROMPT, *recipient, body(arguments, "tool_arguments"), special(CALL))


def returned(name: str, text: Segment) -> tuple[Segment, ...]:
    """Return a message of a function to the model."""
    author = scaffold(f"{FUNCTIONS}{name} to={ROLE}")
    return (special(START), author, _CHANNEL, scaffold("commentary"), _MESSAGE, text, _END)


def completed(*, role: bool, channel: str | None, text: bool, recipient: bool) -> tuple[Segment, ...]:
    """Return the rest of a message that was cut off: role, channel (None: its mark, too), start of text, end."""
    missing: list[Segment] = [] if role else [scaffold(ROLE)]
    if not text:
        if channel is None:
            missing.append(_CHANNEL)
        if not channel:
            missing.append(scaffold("commentary" if recipient else "final"))
        missing.append(_MESSAGE)
    return (*missing, special(CALL) if recipient else _END)
