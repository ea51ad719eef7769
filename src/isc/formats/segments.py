"""Build and combine segment streams. No tokenizer is known here: functions from streams to streams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from isc._json import decode_json, json_text
from isc._later import Later
from isc.errors import ConversationError
from isc.types import (
    UNOWNED,
    BodyPart,
    Chat,
    Json,
    MediaPart,
    Owner,
    Segment,
    Segments,
    SystemMessage,
    TextPart,
    ToolCall,
)

if TYPE_CHECKING:
    from isc.formats.base import Family
else:
    Family = Later

IMAGE_TOKENS = frozenset((
    "<|image_pad|>", "<|media_pad|>", "<image_soft_token>", "<|image|>", "<image>", "[IMG]", "]<]image[>[",
    "<|unused_200054|>",
))  # fmt: skip
"""The specials that stand for images in the formats that are known."""

PROCESSOR_MARKS = {
    "<|image|>": ("<|image>", "<image|>"),
    "]<]image[>[": ("]<]start of image[>[", "]<]end of image[>["),
}
"""What a model's processor, not its template, puts around the placeholders of an image (Gemma 4, MiniMax-M3)."""

ROW_ENDS = {"[IMG]": ("[IMG_BREAK]", "[IMG_END]")}
"""What ends a row of an image's placeholders, and its last row, in formats that tell rows apart (Mistral)."""

MEDIA_TOKENS = IMAGE_TOKENS | frozenset((
    "<|video_pad|>", "<|audio_pad|>", "<|video|>", "<|audio|>", "<|image_soft_token|>", "<start_of_image>",
))  # fmt: skip
"""Specials that stand for an image, a video or a sound in any template: body of the message that holds it (law 3)."""


@lru_cache(maxsize=4096)
def special(text: str) -> Segment:
    """Return one special token, by its spelling."""
    return Segment(text, "special")


def scaffold(text: str) -> Segment:
    """Return text that the format adds."""
    return Segment(text)


def body(text: str, part: BodyPart | None = None) -> Segment:
    """Return text of a caller's message. `part` says of what field, where that is not its content."""
    return Segment(text, "text", True, part=part) if part else Segment(text, "text", True)


@lru_cache(maxsize=1024)
def spelled(text: str, specials: tuple[str, ...]) -> tuple[Segment, ...]:
    """Split fixed wording of a format into text and specials. Never call this with caller data.

    >>> [segment.kind for segment in spelled("within <tool_call> tags", ("<tool_call>",))]
    ['text', 'special', 'text']
    """
    pattern = specials_pattern(specials)
    return tuple(
        special(piece) if position % 2 else scaffold(piece)
        for position, piece in enumerate(pattern.split(text))
        if piece
    )


@lru_cache(maxsize=256)
def specials_pattern(specials: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern of one group that matches the longest special at a position."""
    longest_first = sorted(specials, key=len, reverse=True)
    return re.compile("(" + ("|".join(map(re.escape, longest_first)) or r"(?!)") + ")")


def is_special(segment: Segment, *texts: str) -> bool:
    """Return whether a segment is one of these specials."""
    return segment.kind == "special" and segment.text in texts


def owned(message: int, segments: Segments) -> list[Segment]:
    """Give segments to a message and leave empty texts out. A segment that already names its owner keeps it."""
    return [
        segment
        if segment.message != UNOWNED
        else Segment(segment.text, segment.kind, segment.body, message)
        if segment.media is None and segment.part is None
        else replace(segment, message=message)
        for segment in segments
        if segment.text
    ]


def opening_owner(chat: Chat) -> int:
    """Return the owner of the opening: the caller's leading system message, else nobody."""
    return 0 if chat.messages and isinstance(chat.messages[0], SystemMessage) else UNOWNED


def closing(family: Family, chat: Chat, index: int) -> list[Segment]:
    """Return the part of turn `index` that closes the turn before it.

    Empty for formats with a turn close of their own.
    """
    return [segment for segment in owned(index, family.turn(chat, index)) if segment.message == index - 1]


def joined(segments: Segments) -> list[Segment]:
    """Put neighbouring texts of one attribution together."""
    # no `_runs.merge`: what is added up are texts, joined once each
    merged: list[Segment] = []
    texts: list[str] = []
    owner: Owner = (UNOWNED, False, None)
    for segment in segments:
        same = (segment.message, segment.body, segment.part) == owner
        if segment.kind == "text" and texts and same:
            texts.append(segment.text)
            continue
        if len(texts) > 1:
            merged[-1] = replace(merged[-1], text="".join(texts))
        texts = [segment.text] if segment.kind == "text" else []
        owner = (segment.message, segment.body, segment.part)
        merged.append(segment)
    if len(texts) > 1:
        merged[-1] = replace(merged[-1], text="".join(texts))
    return merged


def placeholder(text: str, part: MediaPart) -> Segment:
    """Return the special of a media item, repeated as often as the item takes. The special is body of the message."""
    return Segment(text, "special", True, UNOWNED, part.placeholders, part)


def placeholder_rows(text: str, part: MediaPart) -> Iterator[Segment]:
    """Yield the specials of an image row by row, each row with its end. All of them are placeholders of the image.

    >>> part = MediaPart("image", {}, placeholders=6, row=2)
    >>> [(segment.text, segment.repeat) for segment in placeholder_rows("[IMG]", part)]
    [('[IMG]', 2), ('[IMG_BREAK]', 1), ('[IMG]', 2), ('[IMG_END]', 1)]
    """
    between, last = ROW_ENDS[text]
    rows = part.placeholders // (part.row + 1)
    for row in range(1, rows + 1):
        yield Segment(text, "special", True, UNOWNED, part.row, part)
        yield Segment(between if row < rows else last, "special", True, UNOWNED, 1, part)


def content_pieces(chat: Chat, index: int) -> list[str | MediaPart]:
    """Return the content of message `index` as texts and measured images, for formats that take both.

    Raises:
        ConversationError: A part is neither, or images cannot be measured by this renderer.
    """
    content = chat.messages[index].content
    if isinstance(content, str):
        return [content]
    pieces: list[str | MediaPart] = []
    for position, part in enumerate(content or ()):
        path = f"messages[{index}].content[{position}]"
        if isinstance(part, TextPart):
            pieces.append(part.text)
        elif part.modality != "image":
            raise ConversationError(path, f"{part.modality} parts are not supported; pass frames as images", part.raw)
        elif not part.placeholders:
            problem = (
                "this renderer has no image processor, which says how many tokens an image takes; isc.load reads the "
                "model's preprocessor_config.json, isc.create_renderer takes images=isc.media.ImageProcessor(...)"
            )
            raise ConversationError(path, problem)
        else:
            pieces.append(part)
    return pieces


def stripped(segments: Segments) -> list[Segment]:
    """Remove the white space at both ends of a stream."""
    rest = list(segments)
    while rest and rest[0].kind == "text":
        text = rest[0].text.lstrip()
        if text:
            rest[0] = replace(rest[0], text=text)
            break
        del rest[0]
    while rest and rest[-1].kind == "text":
        text = rest[-1].text.rstrip()
        if text:
            rest[-1] = replace(rest[-1], text=text)
            break
        del rest[-1]
    return rest


def content_text(chat: Chat, index: int) -> str:
    """Return the content of message `index` as one text, for formats that take text only.

    Raises:
        ConversationError: The content has an image or another part that is not text.
    """
    content = chat.messages[index].content
    return content if isinstance(content, str) else "".join(content_texts(chat, index))


def text_content(chat: Chat, index: int) -> tuple[Segment, ...]:
    """Return the content of message `index` as one segment, for formats that take text only."""
    return (body(content_text(chat, index)),)


def content_texts(chat: Chat, index: int) -> list[str]:
    """Return the texts of message `index` as they were given, for formats that take text only.

    Raises like `content_text`.
    """
    content = chat.messages[index].content
    if isinstance(content, str):
        return [content]
    texts: list[str] = []
    for position, part in enumerate(content or ()):
        if not isinstance(part, TextPart):
            path = f"messages[{index}].content[{position}]"
            raise ConversationError(path, f"this format takes text only, not {part.modality} parts", part.raw)
        texts.append(part.text)
    return texts


def arguments_text(call: ToolCall) -> str:
    """Return a call's arguments as JSON text, unchanged where the caller gave text."""
    return call.arguments if isinstance(call.arguments, str) else json_text(call.arguments)


def argument_text(value: Json) -> str:
    """Return an argument's value as formats without quotes spell it: a text as it is, everything else as JSON.

    >>> argument_text(None), argument_text(True), argument_text("5")
    ('null', 'true', '5')
    """
    return value if isinstance(value, str) else json_text(value)


RAW_ARGUMENTS = "arguments"
"""The one argument that holds a text that is no JSON object, in formats that spell arguments one by one."""


def arguments_object(call: ToolCall) -> Mapping[str, Json]:
    """Return a call's arguments as an object, for formats that spell them one by one. JSON text is read.

    A text that is not that of an object (`invalid_arguments="raw"`) is the one argument `arguments`.

    >>> dict(arguments_object(ToolCall("now", "{oops")))
    {'arguments': '{oops'}
    """
    arguments = read_arguments(call)
    return {RAW_ARGUMENTS: str(call.arguments)} if arguments is None else arguments


def arguments_written(call: ToolCall) -> str:
    """Return a call's arguments as a format writes JSON. JSON text is read and written anew, any other text kept.

    >>> arguments_written(ToolCall("now", '{"a":1}')), arguments_written(ToolCall("now", "{oops"))
    ('{"a": 1}', '{oops')
    """
    arguments = read_arguments(call)
    return str(call.arguments) if arguments is None else json_text(arguments)


def read_arguments(call: ToolCall) -> Mapping[str, Json] | None:
    """Return a call's arguments as an object, or None where they are a text that is no object's JSON.

    >>> read_arguments(ToolCall("now", '{"a": 1}')), read_arguments(ToolCall("now", "{oops"))
    ({'a': 1}, None)
    """
    if not isinstance(call.arguments, str):
        return call.arguments
    try:
        read = decode_json(call.arguments)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def unsupported_role(chat: Chat, index: int, family: str, instead: str) -> ConversationError:
    """Return the error for a role that a format has no turn for."""
    return ConversationError(f"messages[{index}].role", f"{family} has no such turn; {instead}", chat.role(index))
