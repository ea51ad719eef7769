"""Media of a render: content hashes, where the placeholder tokens stand, and what a processor made of the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from msgspec import Struct

from isc.errors import AttributionError
from isc.types import MediaPart

if TYPE_CHECKING:
    import numpy

_Item = TypeVar("_Item")


class PlaceholderRange(Struct, frozen=True, array_like=True):
    """Where one media item's placeholder tokens stand."""

    offset: int
    length: int


class Array(Struct, frozen=True):
    """An array as raw bytes, in row-major order: what serializes; `numpy.asarray` makes it an array without a copy.

    Args:
        dtype: NumPy's name of the element type with its byte order, such as `<f4`.
        shape: Length of each axis.
        data: The elements.

    Raises:
        AttributionError: The bytes do not fill the shape.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, values: numpy.ndarray[Any, Any]) -> Array:
        """An array's elements, copied."""
        return cls(values.dtype.str, values.shape, values.tobytes())

    def values(self) -> numpy.ndarray[Any, Any]:
        """The elements as a read-only NumPy array that shares this one's bytes."""
        import numpy

        try:
            return numpy.frombuffer(self.data, numpy.dtype(self.dtype)).reshape(self.shape)
        except (TypeError, ValueError) as error:
            problem = f"{len(self.data)} bytes are no {self.dtype} array of shape {self.shape}: {error}"
            raise AttributionError(problem) from None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray[Any, Any]:  # noqa: ANN401
        """NumPy's protocol."""
        import numpy

        return numpy.array(self.values(), dtype=dtype, copy=copy)


Items: TypeAlias = Mapping[str, Array]
"""What a processor made of one item, such as `pixel_values` and `image_grid_thw`."""


class MultiModalData(Struct, frozen=True, omit_defaults=True):
    """Media of a render, per modality, in order of appearance.

    Attributes:
        hashes: SHA-256 of each item's content.
        placeholders: Where the tokens that stand for each item are.
        references: The path, URL or other text each item was given by; None where it was given itself.
        items: What the model's processor made of each item, None where that was not asked for yet; empty before.

    Raises:
        AttributionError: The columns of a modality differ in length.

    >>> data = MultiModalData({"image": ("9f86",)}, {"image": (PlaceholderRange(4, 64),)}, {"image": ("cat.png",)})
    >>> data.after(100, MultiModalData()).placeholders["image"]
    (PlaceholderRange(offset=104, length=64),)
    """

    hashes: dict[str, tuple[str, ...]] = {}
    placeholders: dict[str, tuple[PlaceholderRange, ...]] = {}
    references: dict[str, tuple[str | None, ...]] = {}
    items: dict[str, tuple[dict[str, Array] | None, ...]] = {}

    def __post_init__(self) -> None:
        for modality, hashes in self.hashes.items():
            for column in (self.placeholders, self.references, self.items):
                found = column.get(modality, hashes if column is not self.placeholders else ())
                if len(found) != len(hashes):
                    raise AttributionError(f"{len(hashes)} {modality} hashes, but {len(found)} of another column")
        unknown = {*self.placeholders, *self.references, *self.items} - self.hashes.keys()
        if unknown:
            raise AttributionError(f"media without hashes: {', '.join(sorted(unknown))}")

    def count(self, modality: str) -> int:
        """How many items of a modality there are."""
        return len(self.hashes.get(modality, ()))

    def check_within(self, tokens: int) -> None:
        """Raise an `AttributionError` unless the placeholders stand, in order, among so many tokens."""
        for modality, places in self.placeholders.items():
            end = 0
            for place in places:
                if place.length <= 0 or place.offset < end or place.offset + place.length > tokens:
                    raise AttributionError(f"{modality} {place} does not fit among {tokens} tokens after token {end}")
                end = place.offset + place.length

    def after(self, tokens: int, previous: MultiModalData) -> MultiModalData:
        """This data where its tokens follow `tokens` earlier ones, whose media are `previous`."""
        moved = {
            modality: tuple(PlaceholderRange(tokens + place.offset, place.length) for place in places)
            for modality, places in self.placeholders.items()
        }
        return MultiModalData(
            _joined(previous.hashes, self.hashes),
            _joined(previous.placeholders, moved),
            _joined(previous.filled(previous.references), self.filled(self.references)),
            _joined(previous.filled(previous.items), self.filled(self.items)) if previous.items or self.items else {},
        )

    def filled(self, column: Mapping[str, tuple[_Item | None, ...]]) -> dict[str, tuple[_Item | None, ...]]:
        """A column with None for what is not known."""
        return {modality: column.get(modality, (None,) * len(hashes)) for modality, hashes in self.hashes.items()}


def followed(first: MultiModalData | None, tokens: int, second: MultiModalData | None) -> MultiModalData | None:
    """Media of `tokens` tokens and of those that follow them."""
    if second is None:
        return first
    return second.after(tokens, first or MultiModalData())


Placed: TypeAlias = tuple[MediaPart, PlaceholderRange]
"""A media item and where the tokens that stand for it are."""


def gathered(media: Sequence[Placed]) -> MultiModalData:
    """What a render says of its media items, given in order."""
    by_modality: dict[str, list[Placed]] = {}
    for part, place in media:
        by_modality.setdefault(part.modality, []).append((part, place))
    return MultiModalData(
        {modality: tuple(part.hash or "" for part, _ in found) for modality, found in by_modality.items()},
        {modality: tuple(place for _, place in found) for modality, found in by_modality.items()},
        {modality: tuple(part.reference for part, _ in found) for modality, found in by_modality.items()},
    )


def _joined(
    first: Mapping[str, tuple[_Item, ...]], second: Mapping[str, tuple[_Item, ...]]
) -> dict[str, tuple[_Item, ...]]:
    """Columns one after the other, modality by modality."""
    return {modality: first.get(modality, ()) + second.get(modality, ()) for modality in (*first, *second)}
