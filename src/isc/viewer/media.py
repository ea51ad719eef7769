"""The media items of a render, as they are shown."""

from __future__ import annotations

from msgspec import Struct

from isc.rendered import MultiModalData, RenderedTokens


class MediaItem(Struct, frozen=True):
    """A media item: its number in its modality, how many tokens stand for it, and the name it goes by."""

    number: int
    modality: str
    length: int
    name: str


def media_items(rendered: RenderedTokens) -> dict[int, MediaItem]:
    """Return the media items of a render by their first token. An item without a name goes by its hash."""
    data = rendered.multi_modal_data or MultiModalData()
    items: dict[int, MediaItem] = {}
    for modality, hashes in data.hashes.items():
        references = data.references.get(modality) or (None,) * len(hashes)
        for number, place in enumerate(data.placeholders[modality]):
            name = references[number] or hashes[number][:12]
            items[place.offset] = MediaItem(number + 1, modality, place.length, name)
    return items
