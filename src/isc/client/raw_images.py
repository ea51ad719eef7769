"""The images of a conversation as they are, for an engine that decodes or fetches them itself."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from typing import Any, Final

from isc.convert import Messages, chat
from isc.errors import MediaError
from isc.types import Json, MediaPart

_KEYS: Final = ("image", "image_url", "url", "bytes")
_REFERENCE: Final = re.compile(r"(?:data:image/|https?://)", re.IGNORECASE)
_TYPES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
)


def content_parts(messages: Messages) -> tuple[dict[str, Json], ...]:
    """Return the images of messages as `generate(content_parts=...)` sends them to vLLM, in their order.

    Bytes and PIL images are sent whole, as data URLs. A URL is sent as it is: the ENGINE fetches it, from wherever the
    engine may reach, so pass no URL of somebody you do not trust.

    Args:
        messages: The conversation, as it is rendered.

    Raises:
        MediaError: An image is given in another way, such as a path; the path of the error names the part.

    >>> image = {"type": "image_url", "image_url": {"url": "https://images/cat.png"}}
    >>> content_parts([{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}])
    ({'type': 'image_url', 'url': 'https://images/cat.png'},)
    """
    parts: list[dict[str, Json]] = []
    for index, message in enumerate(chat(messages).messages):
        for position, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
            if isinstance(part, MediaPart) and part.modality == "image":
                try:
                    parts.append({"type": "image_url", "url": _url(part)})
                except MediaError as error:
                    raise error.within(f"messages[{index}].content[{position}]") from None
    return tuple(parts)


def _url(part: MediaPart) -> str:
    """Return an image as a URL."""
    key = next((key for key in _KEYS if part.raw.get(key) is not None), "")
    value: Any = part.raw.get(key)
    if isinstance(value, Mapping):
        value = value.get("url")
    if isinstance(value, str) and _REFERENCE.match(value):
        return value
    if hasattr(value, "tobytes") and hasattr(value, "save"):  # a PIL image, without importing Pillow
        file = io.BytesIO()
        value.save(file, "PNG")
        value = file.getvalue()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise MediaError("", "must be bytes, a PIL image, a data URL of an image or an http URL", type(value).__name__)
    content = bytes(value)
    media_type = next((name for magic, name in _TYPES if content.startswith(magic)), None)
    if media_type is None:
        raise MediaError("", "is no PNG, JPEG, GIF, WEBP or BMP image")
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
