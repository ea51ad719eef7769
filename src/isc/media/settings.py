"""How many placeholder tokens an image takes: a pure function of its size and the model's settings, without pixels.

Qwen's image processors scale an image so that both edges are multiples of a merged patch and its area lies within
bounds; each merged patch is one placeholder: facts of transformers' `Qwen2VLImageProcessor`, to which tests hold this.
Gemma 4's scales every image to nearly the same number of placeholders. Pixtral's only ever scales an image down, and
ends each row of placeholders with a token of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from isc._later import Later
from isc.errors import OptionError, shown
from isc.types import Json

if TYPE_CHECKING:
    import numpy
else:
    numpy = Later

_LONGEST_BY_SHORTEST = 200
_LARGEST = (1 << 31) - 1
_SOFT_TOKENS = (70, 140, 280, 560, 1120)


class ImageSettings(Protocol):
    """What a model does with the size of an image."""

    def count(self, width: int, height: int) -> int:
        """Return the number of placeholder tokens of an image of this width and height."""

    def count_of(self, arrays: Mapping[str, numpy.ndarray[Any, Any]]) -> int:
        """Return the number of placeholder tokens that a processor's arrays of one image stand for."""


class FixedPlaceholders(Struct, frozen=True, tag=True):
    """Every image takes the same number of placeholders, whatever its size: one for Kimi K2.5.

    >>> FixedPlaceholders(1).count(4000, 3000)
    1
    """

    each: int

    def count(self, width: int, height: int) -> int:
        """Return `each`, whatever the image."""
        return self.each

    def count_of(self, arrays: Mapping[str, numpy.ndarray[Any, Any]]) -> int:
        """Return `each`, whatever the image."""
        return self.each


class QwenImages(Struct, frozen=True, tag=True):
    """Settings of Qwen-VL's image processor, as `preprocessor_config.json` gives them.

    Args:
        patch_size: Edge of a patch, in pixels.
        merge_size: Patches along each edge of what becomes one token.
        temporal_patch_size: Frames of a patch; a still image is repeated.
        min_pixels: Smallest area an image is scaled up to.
        max_pixels: Largest area an image is scaled down to.

    Raises:
        OptionError: A number is not positive, or the bounds are crossed.

    >>> QwenImages(16, merge_size=2, temporal_patch_size=2, min_pixels=65536, max_pixels=16777216).count(640, 480)
    300
    """

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    min_pixels: int
    max_pixels: int

    def __post_init__(self) -> None:
        _check_positive(self, self.__struct_fields__)
        if self.min_pixels > self.max_pixels:
            raise OptionError(f"image settings: min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> QwenImages:
        """Read the settings in a `preprocessor_config.json`, in its older (`min_pixels`) or newer (`size`) spelling.

        Raises:
            OptionError: One is missing, or no positive integer.
        """
        size = config.get("size")
        size = size if isinstance(size, Mapping) else {}
        return cls(
            config.get("patch_size", 0),
            config.get("merge_size", 0),
            config.get("temporal_patch_size", 0),
            config.get("min_pixels") or size.get("shortest_edge", 0),
            config.get("max_pixels") or size.get("longest_edge", 0),
        )

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image is scaled to, both multiples of a merged patch's edge.

        Raises:
            OptionError: One edge is more than 200 times the other, which the processor refuses.
        """
        if max(width, height) > _LONGEST_BY_SHORTEST * min(width, height):
            problem = f"one edge of an image may be at most {_LONGEST_BY_SHORTEST} times the other"
            raise OptionError(f"{problem}, not {width} x {height} pixels; crop or pad it")
        unit = self.patch_size * self.merge_size
        wide, high = (round(edge / unit) * unit for edge in (width, height))
        if wide * high > self.max_pixels:
            scale = math.sqrt(width * height / self.max_pixels)
            wide, high = (max(unit, math.floor(edge / scale / unit) * unit) for edge in (width, height))
        elif wide * high < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (width * height))
            wide, high = (math.ceil(edge * scale / unit) * unit for edge in (width, height))
        return wide, high

    def count(self, width: int, height: int) -> int:
        """Count the merged patches that an image is cut into, one placeholder token each."""
        wide, high = self.resized(width, height)
        unit = self.patch_size * self.merge_size
        return (wide // unit) * (high // unit)

    def count_of(self, arrays: Mapping[str, numpy.ndarray[Any, Any]]) -> int:
        """Return the number of placeholder tokens that a grid of patches stands for."""
        return int(arrays["image_grid_thw"].prod()) // self.merge_size**2


class GemmaImages(Struct, frozen=True, tag=True):
    """Settings of Gemma 4's image processor, as `processor_config.json` gives them.

    An image is scaled, up or down, to the largest size of about its shape whose edges are multiples of a pooled patch
    and whose tokens are within bounds; each pooled patch is one placeholder: facts of transformers'
    `Gemma4ImageProcessor`, to which tests hold this.

    Args:
        patch_size: Edge of a patch, in pixels.
        pooling_kernel_size: Patches along each edge of what becomes one token.
        max_soft_tokens: Most tokens of an image.

    Raises:
        OptionError: A number is not positive, or the processor takes no such number of tokens.

    >>> GemmaImages(16, pooling_kernel_size=3, max_soft_tokens=280).count(640, 480)
    266
    """

    patch_size: int
    pooling_kernel_size: int
    max_soft_tokens: int

    def __post_init__(self) -> None:
        _check_positive(self, self.__struct_fields__)
        if self.max_soft_tokens not in _SOFT_TOKENS:
            known = ", ".join(map(str, _SOFT_TOKENS))
            raise OptionError(f"image settings: max_soft_tokens must be one of {known}, not {self.max_soft_tokens}")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> GemmaImages:
        """Read the settings in a configuration. What it leaves out has the processor's default.

        Raises:
            OptionError: One is no positive integer.
        """
        return cls(
            config.get("patch_size", 16), config.get("pooling_kernel_size", 3), config.get("max_soft_tokens", 280)
        )

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image is scaled to, both multiples of a pooled patch's edge."""
        unit = self.patch_size * self.pooling_kernel_size
        patches = self.max_soft_tokens * self.pooling_kernel_size**2
        scale = math.sqrt(patches * self.patch_size**2 / (width * height))
        wide, high = (math.floor(scale * edge / unit) * unit for edge in (width, height))
        if not high:
            return min(width // height, self.max_soft_tokens) * unit, unit
        if not wide:
            return unit, min(height // width, self.max_soft_tokens) * unit
        return wide, high

    def count(self, width: int, height: int) -> int:
        """Count the pooled patches that an image is cut into, one placeholder token each."""
        wide, high = self.resized(width, height)
        unit = self.patch_size * self.pooling_kernel_size
        return (wide // unit) * (high // unit)

    def count_of(self, arrays: Mapping[str, numpy.ndarray[Any, Any]]) -> int:
        """Return the number of placeholder tokens that the processor tells of its arrays."""
        return int(arrays["num_soft_tokens_per_image"].sum())


class PixtralImages(Struct, frozen=True, tag=True):
    """Settings of Pixtral's image processor, which Mistral's models have, as their configuration gives them.

    An image larger than a square is scaled down into it, and cut into merged patches from its corner, the last of a row
    or column filled up. Each is one placeholder `[IMG]`; `[IMG_BREAK]` ends each row, `[IMG_END]` the last. Facts of
    transformers' `PixtralProcessor` and of `mistral-common`, to which tests hold this.

    Args:
        patch_size: Edge of a patch, in pixels.
        spatial_merge_size: Patches along each edge of what becomes one token.
        longest_edge: Edge of the square, in pixels.
        rounds: Whether the edges of an image that is scaled down are rounded, as `mistral-common` does and engines that
            read Mistral's own files; transformers cuts off fractions of a pixel.

    Raises:
        OptionError: A number is not positive, or `rounds` is no truth value.

    >>> PixtralImages(14, spatial_merge_size=2, longest_edge=1540).count(640, 480)
    432
    """

    patch_size: int
    spatial_merge_size: int
    longest_edge: int
    rounds: bool = False

    def __post_init__(self) -> None:
        _check_positive(self, ("patch_size", "spatial_merge_size", "longest_edge"))
        if type(self.rounds) is not bool:
            raise OptionError(f"image settings: rounds must be True or False, not {shown(self.rounds)}")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> PixtralImages:
        """Read the settings in a `preprocessor_config.json`, with those of `processor_config.json` put over it.

        `spatial_merge_size` stands in the latter only, and is 1 where it does not stand, as in transformers.

        Raises:
            OptionError: One is missing, or no positive integer; patches are no squares.
        """
        patch, size = config.get("patch_size", 0), config.get("size")
        if isinstance(patch, Mapping):
            if patch.get("height") != patch.get("width"):
                raise OptionError(f"image settings: patches must be squares, not {shown(patch)}")
            patch = patch.get("width", 0)
        longest = size.get("longest_edge", 0) if isinstance(size, Mapping) else 0
        return cls(patch, config.get("spatial_merge_size", 1), longest)

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Return how many merged patches stand in a row of an image, and how many rows there are.

        Raises:
            OptionError: Scaled down, the shorter edge has no pixel left, which transformers' processor refuses.
        """
        ratio = max(height / self.longest_edge, width / self.longest_edge)
        edges = width, height
        if ratio > 1:
            edges = self._scaled(width, ratio), self._scaled(height, ratio)
        if not all(edges):
            problem = f"an image of {width} x {height} pixels has nothing left of one edge within {self.longest_edge}"
            raise OptionError(f"{problem} pixels; crop or pad it")
        unit = self.patch_size * self.spatial_merge_size
        columns, rows = ((edge - 1) // unit + 1 for edge in edges)
        return columns, rows

    def _scaled(self, edge: int, ratio: float) -> int:
        return max(round(edge / ratio), 1) if self.rounds else math.floor(edge / ratio)

    def count(self, width: int, height: int) -> int:
        """Count the placeholder tokens of an image, the ends of rows among them."""
        columns, rows = self.grid(width, height)
        return (columns + 1) * rows

    def count_of(self, arrays: Mapping[str, numpy.ndarray[Any, Any]]) -> int:
        """Return the number of placeholder tokens that images of these sizes stand for."""
        unit = self.patch_size * self.spatial_merge_size
        return sum((int(width) // unit + 1) * (int(height) // unit) for height, width in arrays["image_sizes"])


def _check_positive(settings: Struct, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(settings, name)
        if type(value) is not int or not 0 < value <= _LARGEST:
            raise OptionError(f"image settings: {name} must be a positive integer, not {shown(value)}")


def _minimax(config: Mapping[str, Any]) -> QwenImages:
    """Read the settings of MiniMax-M3's processor, which scales and cuts as Qwen's does. It has defaults of its own.

    Raises:
        OptionError: One is no positive integer, or the bounds are no area.
    """
    size = config.get("size")
    if size == [672, 672]:  # what was published, which the processor takes for its defaults
        size = None
    if size is not None and not isinstance(size, Mapping):
        raise OptionError(f"image settings: size must hold shortest_edge and longest_edge, not {shown(size)}")
    defaults = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    return QwenImages.of({**defaults, **config, "size": size or {"shortest_edge": 3136, "longest_edge": 451584}})


class KimiImages(Struct, frozen=True, tag=True):
    """Settings of the image processor that transformers has for Kimi K2.5.

    An image is scaled down until its patches and the patches along each edge are within bounds, then filled up to
    merged patches, one placeholder each: facts of transformers' `Kimi_K25ImageProcessor`, to which tests hold this. The
    processor that the model ships writes one placeholder an image, whatever its size: `FixedPlaceholders(1)`.

    Args:
        patch_size: Edge of a patch, in pixels.
        merge_size: Patches along each edge of what becomes one token.
        max_patches: Most patches of an image.
        max_patches_per_side: Most patches along an edge.

    Raises:
        OptionError: A number is not positive.

    >>> KimiImages().count(640, 480)
    414
    """

    patch_size: int = 14
    merge_size: int = 2
    max_patches: int = 16384
    max_patches_per_side: int = 512

    def __post_init__(self) -> None:
        _check_positive(self, self.__struct_fields__)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> KimiImages:
        """Read the settings in a configuration. What it leaves out has the processor's default.

        Raises:
            OptionError: One is no positive integer, or the bounds of the edges differ.
        """
        size = config.get("size") or {"max_height": 512, "max_width": 512}
        if not isinstance(size, Mapping) or size.get("max_height") != size.get("max_width"):
            raise OptionError(f"image settings: size must hold max_height and max_width, the same, not {shown(size)}")
        numbers = (config.get("patch_size", 14), config.get("merge_size", 2), config.get("max_patches", 16384))
        return cls(*numbers, size.get("max_height", 0))

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image is scaled to, before it is filled up."""
        longest = self.max_patches_per_side * self.patch_size
        patches = max(1.0, height // self.patch_size) * max(1.0, width // self.patch_size)
        scale = min(1.0, math.sqrt(self.max_patches / patches), longest / height, longest / width)
        wide, high = (min(max(1, int(edge * scale)), longest) for edge in (width, height))
        return wide, high

    def count(self, width: int, height: int) -> int:
        """Count the merged patches that an image is cut into, one placeholder token each."""
        unit = self.patch_size * self.merge_size
        wide, high = self.resized(width, height)
        return -(-wide // unit) * -(-high // unit)

    def count_of(self, arrays: Mapping[str, numpy.ndarray[Any, Any]]) -> int:
        """Return the number of placeholder tokens that a grid of patches stands for."""
        return int(arrays["image_grid_thw"].prod()) // self.merge_size**2


class InklingImages(Struct, frozen=True, tag=True):
    """Settings of Inkling's image processor.

    An image is scaled as a whole, if at all, and cut into patches from its corner, one placeholder each; where the
    width is a multiple of a patch's edge, an empty patch ends each row: facts of transformers' `InklingImageProcessor`,
    to which tests hold this.

    Args:
        patch_size: Edge of a patch, in pixels.
        rescale_image_frac: By what the edges are multiplied; None leaves them as they are.
        rescale_image_max_upscaled_long_edge: How long scaling up may make the longer edge; None is any length.

    Raises:
        OptionError: A number is not positive.

    >>> InklingImages().count(640, 480)
    204
    """

    patch_size: int = 40
    rescale_image_frac: float | None = None
    rescale_image_max_upscaled_long_edge: int | None = 2048

    def __post_init__(self) -> None:
        _check_positive(self, ("patch_size",))
        if self.rescale_image_max_upscaled_long_edge is not None:
            _check_positive(self, ("rescale_image_max_upscaled_long_edge",))
        scale = self.rescale_image_frac
        if scale is not None and (type(scale) not in (int, float) or not 0 < scale < math.inf):
            raise OptionError(f"image settings: rescale_image_frac must be a positive number, not {shown(scale)}")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> InklingImages:
        """Read the settings in a configuration. What it leaves out has the processor's default.

        Raises:
            OptionError: One is no positive number, or patches are no squares.
        """
        size = config.get("size", {"height": 40, "width": 40})
        if not isinstance(size, Mapping) or size.get("height") != size.get("width"):
            raise OptionError(f"image settings: patches must be squares, not {shown(size)}")
        longest = config.get("rescale_image_max_upscaled_long_edge", 2048)
        return cls(size.get("height", 0), config.get("rescale_image_frac"), longest)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image is scaled to.

        Raises:
            OptionError: One edge has no pixel left, which the processor refuses.
        """
        if self.rescale_image_frac is None:
            return width, height
        longer = max(width, height)
        wanted = longer * self.rescale_image_frac
        if self.rescale_image_max_upscaled_long_edge is not None:
            wanted = min(wanted, max(self.rescale_image_max_upscaled_long_edge, longer))
        ratio = wanted / longer
        wide, high = (math.floor(edge * ratio + 0.5) for edge in (width, height))
        if not (wide and high):
            problem = f"an image of {width} x {height} pixels has nothing left of one edge, scaled by {ratio}"
            raise OptionError(f"{problem}; crop or pad it")
        return wide, high

    def count(self, width: int, height: int) -> int:
        """Count the patches that an image is cut into, one placeholder token each."""
        wide, high = self.resized(width, height)
        return -(-high // self.patch_size) * (wide // self.patch_size + 1)

    def count_of(self, arrays: Mapping[str, numpy.ndarray[Any, Any]]) -> int:
        """Return the number of patches that the processor tells of its arrays."""
        return int(arrays["num_patches"].sum())


_BY_PROCESSOR: Final[Mapping[str, Callable[[Mapping[str, Any]], ImageSettings]]] = {
    "Qwen2VLImageProcessor": QwenImages.of,
    "Gemma4ImageProcessor": GemmaImages.of,
    "PixtralImageProcessor": PixtralImages.of,
    "MiniMaxM3VLImageProcessor": _minimax,
    "Kimi_K25ImageProcessor": KimiImages.of,
    "InklingImageProcessor": InklingImages.of,
}


def processor_name(config: Mapping[str, Json]) -> str:
    """Return the name of a configuration's image processor, without what says how it is implemented.

    >>> processor_name({"image_processor_type": "Qwen2VLImageProcessorFast"})
    'Qwen2VLImageProcessor'
    """
    return str(config.get("image_processor_type")).removesuffix("Fast").removesuffix("Pil")


def image_settings(config: Mapping[str, Json]) -> ImageSettings | None:
    """Return the settings of a `preprocessor_config.json`; None for a processor that isc does not know.

    Raises:
        OptionError: The processor is known, but a setting is missing or impossible.
    """
    read = _BY_PROCESSOR.get(processor_name(config))
    return None if read is None else read(config)
