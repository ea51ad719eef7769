"""Inkling's messages: who speaks, perhaps a name, what kind of content it is, the content, `<|end_message|>`.

A turn of the model is one such message or several, and ends with `<|content_model_end_sampling|>`. The prompt gives the
first one's `<|message_model|>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from isc.formats.segments import body, scaffold, special
from isc.types import Role, Segment

MODEL: Final = "<|message_model|>"
SPEAKERS: Final[Mapping[Role, str]] = {
    "system": "<|message_system|>", "user": "<|message_user|>", "assistant": MODEL, "tool": "<|message_tool|>",
}  # fmt: skip
TEXT: Final = "<|content_text|>"
THINKING: Final = "<|content_thinking|>"
CALL: Final = "<|content_invoke_tool_json|>"
XML: Final = "<|content_xml|>"
IMAGE: Final = "<|content_image|>"
PLACEHOLDER: Final = "<|unused_200054|>"
END: Final = "<|end_message|>"
END_SAMPLING: Final = "<|content_model_end_sampling|>"
SPECIALS: Final = (END_SAMPLING, END, *SPEAKERS.values(), TEXT, THINKING, CALL, XML, IMAGE, PLACEHOLDER)
PROMPT: Final = (special(MODEL),)

_END: Final = special(END)


def message(role: Role, kind: str, content: Segment, name: str = "") -> tuple[Segment, ...]:
    """Return one message. `name` is whom it is from, or what it declares."""
    return (special(SPEAKERS[role]), scaffold(name), special(kind), content, _END)


def called(name: str, quoted_name: str, arguments: str) -> tuple[Segment, ...]:
    """Return a message of the model to a function: its name, then its name and arguments as JSON."""
    head = (*PROMPT, body(name, "tool_name"), special(CALL), scaffold('{"name":'), body(quoted_name, "tool_name"))
    return (*head, scaffold(',"args":'), body(arguments, "tool_arguments"), scaffold("}"), _END)


def completed(*, content: bool, ended: bool) -> tuple[Segment, ...]:
    """Return the rest of a turn that was cut off: the kind of a message that has none yet, its end, the turn's."""
    kind = () if content or ended else (special(TEXT),)
    return (*kind, *(() if ended else (_END,)), special(END_SAMPLING))
