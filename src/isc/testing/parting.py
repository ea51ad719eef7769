"""The laws of parts (law 10): each body token has one part, each field of a message stands in tokens of its part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from isc.conversation.renderer import Renderer
from isc.errors import ConversationError, TemplateError
from isc.rendered import RenderedTokens
from isc.testing.laws import check_owners, require
from isc.testing.twins import Conversation
from isc.types import BodyPart

_WORDS = "Kqxvb1k", "Kqxvb2k"
"""What stands in a field of two conversations that are alike but for that: words that begin and end alike."""


def parts(renderer: Renderer, conversation: Conversation) -> None:
    """Check that parts refine bodies: every body token has exactly one part, and no other token has one.

    A token's part is that of its first byte that a message says itself, else of its first body byte. Ids, owners and
    bodies are the same whether parts are asked for or not.
    """
    messages, tools = conversation
    plain, parted = (renderer.render(messages, tools, parts=asked) for asked in (False, True))
    require(plain.token_ids == parted.token_ids, "ids depend on parts", plain.token_ids, parted.token_ids)
    require(plain.message_indices == parted.message_indices, "owners depend on parts", plain.runs, parted.runs)
    require(plain.is_content == parted.is_content, "bodies depend on parts", plain.runs, parted.runs)
    for run in parted.runs:
        require(run.body == (run.part is not None), "a body without a part, or a part without a body", run)
    require(all(run.part is None for run in plain.runs), "parts that nobody asked for", plain.runs)
    check_owners(renderer, parted, list(renderer.segments(messages, tools, parts=True)))


class Field(NamedTuple):
    """A text that a message says: the message, the path in it, and the part that its tokens are of."""

    message: int
    path: tuple[str | int, ...]
    part: BodyPart


def fields(renderer: Renderer, conversation: Conversation) -> frozenset[BodyPart]:
    """Check that each field of each message stands in tokens of its part alone.

    Two conversations that differ in one field differ in body tokens of its part only. All tokens that the two have in
    common are of the same part in both. A field that the format leaves out shows in neither.

    Returns:
        The parts of the fields that the format shows.
    """
    shown: set[BodyPart] = set()
    for field in _fields(conversation[0]):
        try:
            first, second = (_with(renderer, conversation, field, word) for word in _WORDS)
        except (ConversationError, TemplateError):
            continue  # a name that belongs to a tool of the format, say
        if _is_shown(list(_bytes(renderer, first)), list(_bytes(renderer, second)), field):
            shown.add(field.part)
    return frozenset(shown)


def _is_shown(ours: Sequence[_Byte], theirs: Sequence[_Byte], field: Field) -> bool:
    """Return whether two renders differ where a field says something. Raise unless they do in tokens of its part."""
    require(len(ours) == len(theirs), "twins of one length differ in length", field)
    is_shown = False
    for one, other in zip(ours, theirs, strict=True):
        if one.byte != other.byte:
            is_shown = is_shown or one.part is not None
            for place in (one, other):
                owner = (place.message, place.part)
                require(place.part is None or owner == (field.message, field.part), "in another part", field, place)
        elif one.span == other.span:
            require(one.part == other.part, "a part depends on what another field says", field, one, other)
    return is_shown


def _fields(messages: Sequence[Mapping[str, Any]]) -> Iterator[Field]:
    """Yield the texts of a conversation that say something."""
    for index, message in enumerate(messages):
        said: BodyPart = "tool_result" if message["role"] == "tool" else "content"
        content = message.get("content")
        if isinstance(content, list):
            places = (k for k, part in enumerate(content) if str(part.get("text", "")).strip())
            yield from (Field(index, ("content", place, "text"), said) for place in places)
        elif content and content.strip():
            yield Field(index, ("content",), said)
        if str(message.get("reasoning_content") or "").strip():
            yield Field(index, ("reasoning_content",), "reasoning")
        for place, call in enumerate(message.get("tool_calls") or ()):
            path = ("tool_calls", place, *(("function",) if "function" in call else ()))
            yield Field(index, (*path, "name"), "tool_name")
            arguments = call.get("function", call)["arguments"]
            for key, value in arguments.items() if isinstance(arguments, Mapping) else ():
                if isinstance(value, str) and value.strip():
                    yield Field(index, (*path, "arguments", key), "tool_arguments")


def _with(renderer: Renderer, conversation: Conversation, field: Field, word: str) -> RenderedTokens:
    """Render a conversation with a word in the place of a field."""
    messages = deepcopy(conversation[0])
    holder: Any = messages[field.message]
    *before, last = field.path
    for step in before:
        holder = holder[step]
    holder[last] = word
    return renderer.render(messages, conversation[1], parts=True)


class _Byte(NamedTuple):
    """A byte of a render: its value, the bytes that its token covers, its owner and part."""

    byte: int
    span: tuple[int, int]
    message: int
    part: BodyPart | None


def _bytes(renderer: Renderer, rendered: RenderedTokens) -> Iterator[_Byte]:
    start = 0
    for run, (first, after) in rendered.spans():
        for token_id in rendered.token_ids[first:after]:
            data = renderer.encoder.decode_bytes((token_id,))
            span = (start, start + len(data))
            yield from (_Byte(byte, span, run.message, run.part) for byte in data)
            start += len(data)
