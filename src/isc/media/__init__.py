"""Images of a conversation: read and measured for a render, made pixel values only when asked for.

`ImageProcessor` is what a renderer holds. How many placeholders an image takes follows from its size alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from isc import convert
from isc.convert import Messages
from isc.errors import LoadError, MediaError, OptionError
from isc.formats.base import Family
from isc.media.cache import BoundedCache
from isc.media.processing import (
    GemmaProcess,
    InklingProcess,
    KimiProcess,
    MiniMaxProcess,
    PixtralProcess,
    Process,
    QwenProcess,
    process_of,
)
from isc.media.reading import Access, Limits, Resolver, decoded, source_of
from isc.media.settings import (
    FixedPlaceholders,
    GemmaImages,
    ImageSettings,
    InklingImages,
    KimiImages,
    PixtralImages,
    QwenImages,
    image_settings,
)
from isc.rendered import Array, MultiModalData, RenderedTokens
from isc.types import Chat, MediaPart, Message

__all__ = [
    "FixedPlaceholders",
    "GemmaImages",
    "GemmaProcess",
    "ImageProcessor",
    "ImageSettings",
    "InklingImages",
    "InklingProcess",
    "KimiImages",
    "KimiProcess",
    "Limits",
    "MiniMaxProcess",
    "PixtralImages",
    "PixtralProcess",
    "Process",
    "QwenImages",
    "QwenProcess",
    "Resolver",
]

_LIMITS: Final = Limits()
_CACHE_BYTES: Final = 512 << 20
_SIZES_KEPT: Final = 65536
_MOST_PLACEHOLDERS: Final = 1 << 20
_LONGEST_EDGE: Final = (1 << 31) - 1


class ImageProcessor:
    """Reads images, counts their placeholders and makes their pixel values. Safe to share between threads.

    Args:
        settings: How many placeholders an image takes.
        process: What makes arrays of an upright RGB image; None where nothing does.
        resolve_media: From the reference in an image part, such as a URL, to bytes, a `Path` or a PIL image. Without it
            a text is a data URL or a file in `local_files`, and nothing else: isc fetches nothing by itself.
        limits: What is refused unread.
        cache_bytes: Bound of the cache of arrays, in bytes.
        local_files: A directory whose files conversations may name, by a path in it, a whole path or a `file:` URL.
            Without it no text in a conversation opens a file.

    Raises:
        OptionError: `local_files` is no directory.

    >>> processor = ImageProcessor(FixedPlaceholders(1))
    >>> processor.measured(MediaPart("image", {}, hash="9f86", width=640, height=480)).placeholders
    1
    """

    def __init__(
        self,
        settings: ImageSettings,
        process: Process | None = None,
        *,
        resolve_media: Resolver | None = None,
        limits: Limits = _LIMITS,
        cache_bytes: int = _CACHE_BYTES,
        local_files: str | os.PathLike[str] | None = None,
    ) -> None:
        self.settings = settings
        self.process = process
        self.resolve_media = resolve_media
        self.limits = limits
        self.local_files = _directory(local_files)
        self._access = Access(resolve_media, self.local_files, limits)
        self.cache = BoundedCache[dict[str, Array]](cache_bytes, _byte_count)
        self._sizes = BoundedCache[tuple[int, int]](_SIZES_KEPT, lambda _: 1)

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        resolve_media: Resolver | None = None,
        local_files: str | os.PathLike[str] | None = None,
    ) -> ImageProcessor:
        """Make the processor of a `preprocessor_config.json`.

        Args:
            config: The object in the file.
            resolve_media: See the class.
            local_files: See the class.

        Raises:
            OptionError: A processor isc does not know, or a setting that is missing or impossible.

        >>> config = {"image_processor_type": "Qwen2VLImageProcessorFast", "patch_size": 16, "merge_size": 2,
        ...     "temporal_patch_size": 2, "size": {"shortest_edge": 65536, "longest_edge": 16777216}}
        >>> ImageProcessor.from_config(config).settings.count(640, 480)
        300
        """
        settings = image_settings(config)
        if settings is None:
            kind = config.get("image_processor_type")
            raise OptionError(f"image processor {kind!r} is not known; pass ImageProcessor(settings, process) instead")
        process = process_of(config)
        return cls(settings, process, resolve_media=resolve_media, local_files=local_files)

    def __reduce__(self) -> tuple[Callable[..., ImageProcessor], tuple[object, ...]]:
        kept = (self.settings, self.process, self.resolve_media, self.limits, self.cache.limit, self.local_files)
        return _rebuilt, kept

    def measured(self, part: MediaPart) -> MediaPart:
        """Return an image part with its hash, size and number of placeholders, which a render needs.

        Args:
            part: As the caller gave it; read unless it has a hash and a size already.

        Raises:
            MediaError: It cannot be read, or the processor refuses its size; the path is relative to the part.
        """
        content_hash, reference, width, height = part.hash, part.reference, part.width, part.height
        if content_hash is None:
            source = source_of(part.raw, self._access)
            content_hash, reference = source.hash, source.reference
            width, height = self._sizes.get(content_hash, lambda: decoded(source, self.limits).size)
        else:
            _check_told(part)
        try:
            count = self.settings.count(width, height)
            if count > _MOST_PLACEHOLDERS:
                problem = (
                    f"an image of {width} x {height} pixels would take {count} tokens, more than {_MOST_PLACEHOLDERS}"
                )
                raise OptionError(f"{problem}; scale it down")
            row = self.settings.grid(width, height)[0] if isinstance(self.settings, PixtralImages) else 0
        except OptionError as error:
            raise MediaError("", str(error)) from None
        found = {"hash": content_hash, "reference": reference, "width": width, "height": height}
        return replace(part, **found, placeholders=count, row=row)

    def arrays(self, part: MediaPart) -> dict[str, Array]:
        """Return the arrays of an image, e.g. `pixel_values` and `image_grid_thw`, cached by the image's hash.

        Args:
            part: A measured part.

        Raises:
            MediaError: The image is no longer what was measured, or its grid does not fit its placeholders.
            LoadError: There is no processor, or what it needs is not installed.
        """
        made = self.cache.get(part.hash, lambda: self._made(part))
        stood_for = self.settings.count_of({name: array.values() for name, array in made.items()})
        if stood_for != part.placeholders:  # also of what is cached: somebody may have told another size with its hash
            raise MediaError("", f"has {part.placeholders} placeholders, but the processor made {stood_for} of it")
        return made

    def processed(self, rendered: RenderedTokens, messages: Messages | None = None) -> RenderedTokens:
        """Return a render with the arrays that the model's processor makes of its images: `pixel_values`, grids.

        Args:
            rendered: A render, bridge or extension; items that it has are kept.
            messages: The messages that its images came in; without them images are read again by their references.

        Returns:
            The same render, with `multi_modal_data.items`.

        Raises:
            MediaError: An image is not at hand, or is no longer what was rendered.
            LoadError: There is no processor, or what it needs is not installed.
        """
        data = rendered.multi_modal_data
        if data is None or "image" not in data.hashes:
            return rendered
        chat = Chat(()) if messages is None else measured_chat(convert.chat(messages, complete=False), self)
        parts = {part.hash: part for message in chat.messages for part in image_parts(message)}
        made = list(data.filled(data.items)["image"])
        for number, item in enumerate(made):
            try:
                made[number] = item or self.arrays(parts.get(data.hashes["image"][number]) or _referenced(data, number))
            except MediaError as error:
                raise error.within(f"multi_modal_data.image[{number}]") from None
        return replace(rendered, multi_modal_data=replace(data, items={**data.items, "image": tuple(made)}))

    def _made(self, part: MediaPart) -> dict[str, Array]:
        if self.process is None:
            raise LoadError("this model's image processor is code of its own, which isc never runs; pass process=...")
        source = source_of(part.raw, self._access)
        image = decoded(source, self.limits)
        if source.hash != part.hash:
            raise MediaError("", f"is not the image that was rendered: its hash was {part.hash}")
        made = self.process(image)
        return {name: Array.of(values) for name, values in made.items()}


def image_processor(
    config: Mapping[str, Any],
    family: Family,
    resolve_media: Resolver | None = None,
    local_files: str | os.PathLike[str] | None = None,
) -> ImageProcessor | None:
    """Return the processor of a model, by its settings, or by its format where they are not known; else None."""
    if image_settings(config) is not None:
        return ImageProcessor.from_config(config, resolve_media=resolve_media, local_files=local_files)
    each = family.placeholders_per_image
    if each is None:
        return None
    return ImageProcessor(FixedPlaceholders(each), resolve_media=resolve_media, local_files=local_files)


def _directory(local_files: str | os.PathLike[str] | None) -> Path | None:
    """Resolve the directory that is opened to conversations, so that a change of working directory does not move it."""
    if local_files is None:
        return None
    directory = Path(local_files).expanduser().resolve()
    if not directory.is_dir():
        raise OptionError(f"local_files (--images-from) must be a directory, and {directory} is none")
    return directory


def _check_told(part: MediaPart) -> None:
    """Refuse a hash or size from the caller that no image can have."""
    if not isinstance(part.hash, str) or not isinstance(part.reference, str | None):
        raise MediaError("hash", "of an image and its reference must be texts", part.hash)
    for name, edge in (("width", part.width), ("height", part.height)):
        if type(edge) is not int or not 0 < edge <= _LONGEST_EDGE:
            raise MediaError(name, f"must be a number of pixels from 1 to {_LONGEST_EDGE}", edge)


def _referenced(data: MultiModalData, number: int) -> MediaPart:
    """Return an image of a render as a part that is read by its reference."""
    reference = data.filled(data.references)["image"][number]
    content_hash, place = data.hashes["image"][number], data.placeholders["image"][number]
    if reference is None:
        raise MediaError("", "was given without a reference; pass the messages it came in", content_hash)
    return MediaPart("image", {"image": reference}, content_hash, reference, placeholders=place.length)


def _rebuilt(
    settings: ImageSettings,
    process: Process | None,
    resolve_media: Resolver | None,
    limits: Limits,
    cache_bytes: int,
    local_files: Path | None,
) -> ImageProcessor:
    return ImageProcessor(
        settings,
        process,
        resolve_media=resolve_media,
        limits=limits,
        cache_bytes=cache_bytes,
        local_files=local_files,
    )


def _byte_count(arrays: Mapping[str, Array]) -> int:
    return sum(len(array.data) for array in arrays.values())


def image_parts(message: Message) -> list[MediaPart]:
    """Return the images of a message."""
    content = message.content if isinstance(message.content, tuple) else ()
    return [part for part in content if isinstance(part, MediaPart) and part.modality == "image"]


def measured_chat(chat: Chat, processor: ImageProcessor, name: str = "messages") -> Chat:
    """Measure every image part of a chat. The path of an error names the part.

    Args:
        chat: The chat.
        processor: What measures.
        name: What the messages are called in the paths of errors.
    """
    messages = list(chat.messages)
    for index, message in enumerate(messages):
        if type(message.content) is tuple:
            messages[index] = _measured_message(message, processor, f"{name}[{index}]")
    return replace(chat, messages=tuple(messages))


def _measured_message(message: Message, processor: ImageProcessor, path: str) -> Message:
    assert isinstance(message.content, tuple)
    parts = list(message.content)
    for position, part in enumerate(parts):
        if isinstance(part, MediaPart) and part.modality == "image":
            try:
                parts[position] = processor.measured(part)
            except MediaError as error:
                raise error.within(f"{path}.content[{position}]") from None
    return replace(message, content=tuple(parts))
