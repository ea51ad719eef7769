"""Image parts as callers give them, read and checked: bytes, path, data URL, PIL image, or what a function finds.

Nothing is fetched here. An image is upright RGB from here on, as transformers' own loader makes it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from msgspec import Struct

from isc.errors import LoadError, MediaError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Final[tuple[str, ...]] = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_KEYS: Final = ("image", "image_url", "url", "path", "base64", "bytes")
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_SAME_TYPE: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/mpo": "image/jpeg"}

Resolver = Callable[[str], object]
"""A caller's function from a reference, such as a URL, to bytes, a path or a PIL image."""


class Limits(Struct, frozen=True):
    """What is refused unread.

    Args:
        pixels: Largest area of an image; the default is Pillow's own bound against decompression bombs.
        file_bytes: Largest encoded image.
    """

    pixels: int = 89_478_485
    file_bytes: int = 256 << 20


class Source(Struct, frozen=True):
    """An image that was found: encoded bytes or a PIL image, by which reference, and the type that claims for it."""

    data: bytes | Any
    reference: str | None = None
    declared_type: str | None = None

    @property
    def hash(self) -> str:
        """SHA-256: of encoded bytes as they are, of a PIL image's size and pixels."""
        if isinstance(self.data, bytes):
            return hashlib.sha256(self.data).hexdigest()
        return hashlib.sha256(b"RGB %d x %d " % self.data.size + self.data.tobytes()).hexdigest()


def source_of(raw: Mapping[str, Any], resolve: Resolver | None, limits: Limits) -> Source:
    """What an image part holds.

    Raises:
        MediaError: It holds nothing that isc reads; its path is relative to the part.
    """
    key = next((key for key in _KEYS if raw.get(key) is not None), None)
    if key is None:
        raise MediaError("", f"holds no image; put it under one of {', '.join(_KEYS)}", sorted(map(str, raw)))
    value = raw[key]
    if key == "image_url" and isinstance(value, Mapping):
        key, value = "image_url.url", value.get("url")
    try:
        return _decoded(value, limits) if key == "base64" else _source(value, resolve, limits)
    except MediaError as error:
        raise error.within(key) from None


def _source(value: object, resolve: Resolver | None, limits: Limits) -> Source:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Source(bytes(value))
    if isinstance(value, Path):
        return _file(value, limits)
    if isinstance(value, str):
        return _referenced(value, resolve, limits)
    if hasattr(value, "tobytes") and hasattr(value, "getexif"):
        return Source(_upright(value))
    problem = "must be bytes, a path, a data URL, a PIL image or a reference that resolve_media knows"
    raise MediaError("", problem, type(value).__name__)


def _referenced(text: str, resolve: Resolver | None, limits: Limits) -> Source:
    """What a text names: a data URL's own content, what the caller's function finds, or a file."""
    found = _DATA_URL.match(text)
    if found is not None:
        content = text[found.end() :]
        if ";base64" in found.group(2).lower():
            return _decoded(content, limits, found.group(1).lower())
        return Source(unquote_to_bytes(content), declared_type=found.group(1).lower())
    if resolve is not None:
        return _resolved(text, resolve, limits)
    scheme = urlsplit(text).scheme.lower()
    if scheme == "file":
        return _file(Path(unquote_to_bytes(urlsplit(text).path).decode("utf-8", "replace")), limits, text)
    if scheme and "://" in text:
        problem = "isc fetches nothing by itself; pass resolve_media=..., a function from this URL to bytes"
        raise MediaError("", problem, text)
    return _file(Path(text).expanduser(), limits, text)


def _resolved(text: str, resolve: Resolver, limits: Limits) -> Source:
    """What the caller's function finds; a text it gives is a path or a data URL, no other reference."""
    try:
        value = resolve(text)
    except Exception as error:  # whatever a caller's function raises
        raise MediaError("", f"resolve_media raised {type(error).__name__}: {error}", text) from error
    if value is None:
        raise MediaError("", "resolve_media found nothing for it", text)
    found = _source(value, None, limits)
    return Source(found.data, text, found.declared_type)


def _decoded(text: object, limits: Limits, declared_type: str | None = None) -> Source:
    if not isinstance(text, (str, bytes)):
        raise MediaError("", "must be base64 text", type(text).__name__)
    if len(text) * 3 // 4 > limits.file_bytes:
        raise MediaError("", f"is larger than {limits.file_bytes} bytes")
    try:
        return Source(base64.b64decode(text, validate=True), declared_type=declared_type)
    except ValueError as error:
        raise MediaError("", f"is not base64: {error}") from None


def _file(path: Path, limits: Limits, reference: str | None = None) -> Source:
    try:
        if not path.is_file():
            raise MediaError(
                "", "is no file on this machine" if not path.exists() else "is not a regular file", str(path)
            )
        if path.stat().st_size > limits.file_bytes:
            raise MediaError("", f"is larger than {limits.file_bytes} bytes", str(path))
        return Source(path.read_bytes(), reference or str(path))
    except (OSError, ValueError) as error:
        raise MediaError("", f"cannot be read: {error}", str(path)) from None


def decoded(source: Source, limits: Limits) -> Image:
    """The image, upright and RGB.

    Raises:
        MediaError: Whatever is wrong with it.
        LoadError: Pillow is not installed.
    """
    if not isinstance(source.data, bytes):
        found: Image = source.data
        return found
    try:
        import PIL.Image
    except ImportError as error:
        raise LoadError(f"reading images needs Pillow ({error}); pip install isc[images]") from error

    PIL.Image.init()
    known = [name for name in FORMATS if name in PIL.Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the bound that counts is ours
        try:
            image = PIL.Image.open(io.BytesIO(source.data), formats=known)
        except PIL.Image.DecompressionBombError as error:  # Pillow's own bound is twice ours
            raise _too_large(limits, str(error)) from None
        except Exception as error:  # decoders raise whatever they like
            problem = f"is no image that isc reads ({', '.join(known)}): {type(error).__name__}: {error}"
            raise MediaError("", problem, source.data[:12]) from None
        _check(image, source.declared_type, limits)
        return _upright(image)


def _check(image: Image, declared: str | None, limits: Limits) -> None:
    """Refuse what an image's header tells already."""
    if image.width * image.height > limits.pixels:
        raise _too_large(limits, f"{image.width} x {image.height}")
    is_type = f"image/{str(image.format).lower()}"
    if declared and _SAME_TYPE.get(declared, declared) != _SAME_TYPE.get(is_type, is_type):
        raise MediaError("", f"says {declared}, but is {is_type}")
    if image.format == "MPO":  # a photograph that carries a preview of itself
        return
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception as error:  # it is counted by reading the frames
        raise _broken(image, error) from None
    if frames > 1:
        raise MediaError("", f"is a {image.format} of {frames} frames; pass the one that is meant")


def _upright(image: Any) -> Image:  # noqa: ANN401 - a PIL image, perhaps the caller's
    from PIL import ImageOps

    try:
        found: Image = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # decoders raise whatever they like
        raise _broken(image, error) from None
    return found


def _too_large(limits: Limits, found: str) -> MediaError:
    return MediaError("", f"has more than the {limits.pixels} pixels that are read: {found}")


def _broken(image: Image, error: Exception) -> MediaError:
    size = f"{image.width} x {image.height} pixels"
    return MediaError("", f"is a broken {image.format or 'image'} of {size}: {type(error).__name__}: {error}")
