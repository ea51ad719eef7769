"""Any family on the vocabulary that isc carries itself: its text, and text read back as if it had been sampled."""

from __future__ import annotations

import re

import isc
from golden_conversations import Message
from isc.encoding.encoders import embedded
from isc.formats.segments import spelled


def renderer_of(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(embedded(family.specials), family)


def text_of(
    family: isc.Family, messages: list[Message], tools: list[Message] | None = None, *, prompt: bool = False
) -> str:
    """What a conversation renders to."""
    return "".join(segment.text for segment in renderer_of(family).segments(messages, tools, prompt))


def parsed(family: isc.Family, text: str, tools: list[Message] | None = None, prompt: str = "") -> isc.ParsedResponse:
    """A sampled text read back, its specials taken as specials."""
    renderer = renderer_of(family)
    ids, before = (isc.fold(spelled(t, family.specials), renderer.encoder).token_ids for t in (text, prompt))
    return renderer.parse_response(ids, tools, prompt_ids=before)


def narrow(text: str) -> str:
    """DeepSeek's specials as one can type them: `<｜User｜>` is `<User>`, `<｜tool▁sep｜>` is `<tool_sep>`."""
    return re.sub(r"<｜(.*?)｜>", lambda match: f"<{match[1].replace('▁', '_')}>", text)
