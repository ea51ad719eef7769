"""Match a template's placeholders with images: the n-th placeholder in a message's turn is its n-th image."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from isc.errors import ConversationError
from isc.formats.segments import IMAGE_TOKENS, PROCESSOR_MARKS, ROW_ENDS, content_pieces, placeholder_rows
from isc.types import Chat, MediaPart, Segment


def placed(segments: Sequence[Segment], chat: Chat, specials: Collection[str]) -> list[Segment]:
    """Attach a chat's images to their placeholders in the segments of a conversation.

    Args:
        segments: Owned segments, owners being indices into the chat's messages.
        chat: The chat, its images measured.
        specials: The specials of the vocabulary; where they hold the marks that a processor puts around the
            placeholders of an image, the marks are added.

    Raises:
        ConversationError: An image was not measured, or the template shows none or too many placeholders for it.
    """
    images = [_images(chat, index) for index in range(len(chat.messages))]
    if not any(images):
        return list(segments)
    shown = [0] * len(images)
    with_images: list[Segment] = []
    for segment in segments:
        owner = segment.message
        if segment.kind == "special" and segment.text in IMAGE_TOKENS and owner >= 0 and images[owner]:
            if shown[owner] < len(images[owner]):
                with_images += _shown(segment, images[owner][shown[owner]], specials)
            shown[owner] += 1
        else:
            with_images.append(segment)
    for index, parts in enumerate(images):
        if shown[index] != len(parts):
            problem = f"has {len(parts)} images, but the template shows {shown[index]} placeholders for them"
            raise ConversationError(f"messages[{index}].content", problem)
    return with_images


def _shown(pad: Segment, part: MediaPart, specials: Collection[str]) -> list[Segment]:
    """Return an image's placeholders, with what a processor writes around them or at the end of their rows."""
    if part.row and pad.text in ROW_ENDS:
        rows = placeholder_rows(pad.text, part)
        return [replace(segment, message=pad.message, part=pad.part) for segment in rows]
    image = Segment(pad.text, "special", True, pad.message, part.placeholders, part, pad.part)
    marks = PROCESSOR_MARKS.get(pad.text)
    if marks is None or not set(marks) <= set(specials):
        return [image]
    before, after = (Segment(mark, "special", False, pad.message) for mark in marks)
    return [before, image, after]


def _images(chat: Chat, index: int) -> list[MediaPart]:
    if not isinstance(chat.messages[index].content, tuple):
        return []
    return [piece for piece in content_pieces(chat, index) if not isinstance(piece, str)]
