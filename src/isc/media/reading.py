"""Image parts as callers give them, read and checked: bytes, `Path`, data URL, PIL image, or what a function finds.

A text may come from somebody who is not trusted: it names a file only where a directory was opened to conversations.
Nothing is fetched here. An image is upright RGB from here on, as transformers' own loader makes it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from isc._later import Later
from isc.errors import LoadError, MediaError

if TYPE_CHECKING:
    from PIL.Image import Image
else:
    Image = Later

FORMATS: Final[tuple[str, ...]] = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_KEYS: Final = ("image", "image_url", "url", "path", "base64", "bytes")
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_PLAIN_FILE: Final = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_SAME_TYPE: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/mpo": "image/jpeg"}

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)  # two letters: one is a drive
_PIECE: Final = 1 << 20

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


class Access(Struct, frozen=True):
    """What the text references of a conversation may reach.

    Args:
        resolve: The caller's function for references; None where there is none.
        directory: The directory whose files may be read, resolved; None where none may.
        limits: What is refused unread.
    """

    resolve: Resolver | None
    directory: Path | None
    limits: Limits


class Source(Struct, frozen=True):
    """An image that was found: encoded bytes or a PIL image, by which reference, and the type that claims for it.

    `confined` says that a conversation named it as a file: then every problem with it is told in the same words.
    `key` is where in its part it was given, for errors.
    """

    data: bytes | Any
    reference: str | None = None
    declared_type: str | None = None
    confined: bool = False
    key: str = ""

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the encoded bytes, or of a PIL image's size and pixels."""
        if isinstance(self.data, bytes):
            return hashlib.sha256(self.data).hexdigest()
        return hashlib.sha256(b"RGB %d x %d " % self.data.size + self.data.tobytes()).hexdigest()


def source_of(raw: Mapping[str, Any], access: Access) -> Source:
    """Read the image that an image part holds.

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
        source = _decoded(value, access.limits) if key == "base64" else _source(value, access)
        return replace(source, key=key)
    except MediaError as error:
        raise error.within(key) from None


def _source(value: object, access: Access) -> Source:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Source(_bounded(bytes(value), access.limits))
    if isinstance(value, Path):
        return _file(value, access.limits)
    if isinstance(value, str):
        return _referenced(value, access)
    if hasattr(value, "tobytes") and hasattr(value, "getexif"):
        return Source(_upright(value))
    problem = "must be bytes, a Path, a data URL, a PIL image or a reference that resolve_media knows"
    raise MediaError("", problem, type(value).__name__)


def _referenced(text: str, access: Access) -> Source:
    """Read the image that a text names: the content of a data URL, the caller's function's answer, or a file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MediaError("", "is no Unicode text", text) from None
    url = _DATA_URL.match(text)
    if url is not None:
        content = text[url.end() :]
        if ";base64" in url.group(2).lower():
            return _decoded(content, access.limits, url.group(1).lower())
        return Source(_bounded(unquote_to_bytes(content), access.limits), declared_type=url.group(1).lower())
    if access.resolve is not None:
        return _resolved(text, access)
    if access.directory is None:
        problem = (
            "is no data URL, and a text opens no file and no address: pass local_files=DIRECTORY (--images-from), "
            "resolve_media=..., or the image itself"
        )
        raise MediaError("", problem, text)
    try:
        return Source(_inside(text, access.directory, access.limits), text, confined=True)
    except (OSError, ValueError, RuntimeError):
        raise _not_read(text, access.limits) from None


def _resolved(text: str, access: Access) -> Source:
    """Read the image that the caller's function finds. A text among its answers is a data URL or a file."""
    assert access.resolve is not None
    try:
        value = access.resolve(text)
    except Exception as error:  # whatever a caller's function raises
        raise MediaError("", f"resolve_media raised {type(error).__name__}: {error}", text) from error
    if value is None:
        raise MediaError("", "resolve_media found nothing for it", text)
    source = _source(value, replace(access, resolve=None))
    return Source(source.data, text, source.declared_type, source.confined)


def _decoded(text: object, limits: Limits, declared_type: str | None = None) -> Source:
    if not isinstance(text, (str, bytes)):
        raise MediaError("", "must be base64 text", type(text).__name__)
    if len(text) * 3 // 4 > limits.file_bytes:
        raise MediaError("", f"is larger than {limits.file_bytes} bytes")
    try:
        return Source(base64.b64decode(text, validate=True), declared_type=declared_type)
    except ValueError as error:
        raise MediaError("", f"is not base64: {error}") from None


def _bounded(content: bytes, limits: Limits) -> bytes:
    """Return the content of an image. Refuse more bytes than may be read."""
    if len(content) > limits.file_bytes:
        raise MediaError("", f"is larger than {limits.file_bytes} bytes")
    return content


def _file(path: Path, limits: Limits) -> Source:
    """Read a file that the caller's own code names."""
    shown = str(path).encode("utf-8", "backslashreplace").decode()
    try:
        content = _content(os.open(path, _PLAIN_FILE), limits)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise MediaError("", f"cannot be read: {problem}", shown) from None
    return Source(content, shown)


def _inside(text: str, directory: Path, limits: Limits) -> bytes:
    """Read a file of the directory, named by its path in the directory, its whole path, or a `file:` URL.

    Raises:
        OSError, ValueError, RuntimeError: There is no such file, or it lies elsewhere.
    """
    if _SCHEME.match(text):
        url = urlsplit(text)
        if url.scheme.lower() != "file" or url.netloc or url.query or url.fragment or not url.path.startswith("/"):
            raise ValueError
        text = unquote_to_bytes(url.path).decode()
    place = (directory / text).resolve(strict=True)
    return _content(_opened(directory, place.relative_to(directory).parts), limits)


def _opened(directory: Path, parts: tuple[str, ...]) -> int:
    """Open a file directory by directory, following no link: a resolved path may have been replaced since."""
    if os.open not in os.supports_dir_fd:
        return os.open(directory.joinpath(*parts), _PLAIN_FILE)
    here = os.open(directory, os.O_RDONLY)
    for position, part in enumerate(parts, 1):
        last = position == len(parts)
        try:
            inner = os.open(part, _NO_LINK | (_PLAIN_FILE if last else os.O_RDONLY | os.O_DIRECTORY), dir_fd=here)
        finally:
            os.close(here)
        here = inner
    return here


def _content(descriptor: int, limits: Limits) -> bytes:
    """Read a regular file to its end. The bound is on the bytes read, not on the size that the file system reports.

    Raises:
        OSError, ValueError: It is no regular file, has nothing to read now, or is larger than the bound.
    """
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        pieces: list[bytes] = []
        left = limits.file_bytes + 1
        while left > 0:
            piece = stream.read(min(left, _PIECE))
            if piece is None:  # nothing is there yet, and nobody waits for it
                raise ValueError("is not a regular file")
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            left -= len(piece)
    raise ValueError(f"is larger than {limits.file_bytes} bytes")


def _not_read(reference: str, limits: Limits) -> MediaError:
    """Return the error for a file that a conversation names. One text for every reason, so that it probes nothing."""
    problem = (
        f"cannot be read: it must be an image file inside local_files (--images-from), no link out of it, of at most "
        f"{limits.file_bytes} bytes and {limits.pixels} pixels, unbroken, {', '.join(FORMATS)}"
    )
    return MediaError("", problem, reference)


def decoded(source: Source, limits: Limits) -> Image:
    """Decode an image, upright and RGB.

    Raises:
        MediaError: Whatever is wrong with it. What a file holds is never part of the message.
        LoadError: Pillow is not installed.
    """
    if not isinstance(source.data, bytes):
        image: Image = source.data
        return image
    try:
        import PIL.Image
    except ImportError as error:
        raise LoadError(f"reading images needs Pillow ({error}); pip install isc[images]") from error

    PIL.Image.init()
    try:
        return _opened_image(source.data, source.declared_type, limits)
    except MediaError as error:
        shown = _not_read(source.reference or "", limits) if source.confined else error
        raise shown.within(source.key) from None


def _opened_image(data: bytes, declared_type: str | None, limits: Limits) -> Image:
    import PIL.Image

    formats = [name for name in FORMATS if name in PIL.Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the bound that counts is ours
        try:
            image = PIL.Image.open(io.BytesIO(data), formats=formats)
        except PIL.Image.DecompressionBombError as error:  # Pillow's own bound is twice ours
            raise _too_large(limits, str(error)) from None
        except Exception as error:  # decoders raise whatever they like
            raise MediaError("", f"is no image that isc reads ({', '.join(formats)}): {type(error).__name__}") from None
        _check(image, declared_type, limits)
        return _upright(image)


def _check(image: Image, declared: str | None, limits: Limits) -> None:
    """Refuse an image by its header: too large, of another type than declared, or of several frames."""
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
        upright: Image = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # decoders raise whatever they like
        raise _broken(image, error) from None
    return upright


def _too_large(limits: Limits, size: str) -> MediaError:
    return MediaError("", f"has more than the {limits.pixels} pixels that are read: {size}")


def _broken(image: Image, error: Exception) -> MediaError:
    size = f"{image.width} x {image.height} pixels"
    return MediaError("", f"is a broken {image.format or 'image'} of {size}: {type(error).__name__}")
