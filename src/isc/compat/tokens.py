"""`RenderedTokens` as `renderers` has it: one mutable list a column, `[]` where a column is not known."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import isc
from isc.types import UNOWNED, Span


@dataclass
class PlaceholderRange:
    """Where one media item's placeholder tokens stand."""

    offset: int
    length: int


@dataclass
class MultiModalData:
    """Media of a render by modality; `mm_items` are what a processor made of them, as NumPy arrays."""

    mm_hashes: dict[str, list[str]] = field(default_factory=dict)
    mm_placeholders: dict[str, list[PlaceholderRange]] = field(default_factory=dict)
    mm_items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def is_empty(self) -> bool:
        """Return whether there is no media."""
        return not any((*self.mm_hashes.values(), *self.mm_placeholders.values(), *self.mm_items.values()))


@dataclass
class RenderedTokens:
    """Token ids with a column each for owner, sampled and content, and the message table.

    >>> rendered = RenderedTokens([5, 6], [0, 0], [False, False], [False, True], ["tool"], ["search"])
    >>> rendered.content_token_spans_by_role(), rendered.tokens_by_role()
    ({'tool': [(1, 2)]}, {'tool': 2})
    """

    token_ids: list[int] = field(default_factory=list)
    message_indices: list[int] = field(default_factory=list)
    sampled_mask: list[bool] = field(default_factory=list)
    is_content: list[bool] = field(default_factory=list)
    message_roles: list[str] = field(default_factory=list)
    message_tool_names: list[str | None] = field(default_factory=list)
    multi_modal_data: MultiModalData | None = None

    @classmethod
    def of(cls, rendered: isc.RenderedTokens) -> RenderedTokens:
        """Make the columns of isc's value.

        >>> RenderedTokens.of(isc.RenderedTokens.from_columns([7], [0], [True], ["assistant"])).sampled_mask
        [True]
        """
        return cls(
            list(rendered.token_ids),
            list(rendered.message_indices),
            list(rendered.sampled_mask),
            list(rendered.is_content),
            list(rendered.message_roles),
            list(rendered.message_tool_names),
            _media(rendered.multi_modal_data),
        )

    def to_isc(self) -> isc.RenderedTokens:
        """Return the columns as isc's value, checked. There `sampled_mask` follows from the others.

        Raises:
            AttributionError: Columns differ in length, or an owner does not exist.
        """
        columns = (self.token_ids, self.message_indices, self.is_content, self.message_roles)
        return isc.RenderedTokens.from_columns(*columns, self.message_tool_names or None)

    def tokens_per_message(self, n_messages: int | None = None, *, sampled_only: bool = False) -> list[int]:
        """Count the tokens of each of the first `n_messages` messages, of all unless given."""
        known = len(self.message_roles)
        counts = [0] * (known if n_messages is None else min(n_messages, known))
        for place, message in enumerate(self.message_indices):
            if 0 <= message < len(counts) and (not sampled_only or (self.sampled_mask and self.sampled_mask[place])):
                counts[message] += 1
        return counts

    def message_token_spans(self) -> list[Span | None]:
        """Return the span from the first to the last token of each message. None: a message without tokens."""
        count = len(self.message_roles) or max(self.message_indices, default=UNOWNED) + 1
        found: list[Span | None] = [None] * count
        for place, message in enumerate(self.message_indices):
            if 0 <= message < count:
                before = found[message]
                found[message] = (place if before is None else before[0], place + 1)
        return found

    def role_token_spans(self) -> dict[str, list[Span]]:
        """Return `message_token_spans` by role."""
        spans: dict[str, list[Span]] = {}
        for role, span in zip(self.message_roles, self.message_token_spans(), strict=False):
            spans.setdefault(role, []).extend([] if span is None else [span])
        return spans

    def tokens_by_role(self, *, sampled_only: bool = False) -> dict[str, int]:
        """Count the tokens of each role that occurs."""
        counts = dict.fromkeys(self.message_roles, 0)
        counted = self.tokens_per_message(sampled_only=sampled_only)
        for role, tokens in zip(self.message_roles, counted, strict=True):
            counts[role] += tokens
        return counts

    def content_token_spans_by_role(self) -> dict[str, list[Span]]:
        """Return spans of each role's content, none of which crosses a message. Empty: content is not known."""
        if not self.is_content:
            return {}
        spans: dict[str, list[Span]] = {role: [] for role in self.message_roles}
        previous = UNOWNED
        for place, message in self._content():
            found = spans[self.message_roles[message]]
            if message == previous and found and found[-1][1] == place:
                found[-1] = (found[-1][0], place + 1)
            else:
                found.append((place, place + 1))
            previous = message
        return spans

    def content_mask_for_roles(self, roles: Collection[str]) -> list[bool]:
        """Return for each token whether it is content of a message with one of these roles."""
        mask = [False] * len(self.token_ids)
        for place, message in self._content():
            mask[place] = self.message_roles[message] in roles
        return mask

    def _content(self) -> Iterator[Span]:
        """Yield the places of content tokens, with their messages."""
        count = len(self.message_roles)
        pairs = zip(self.message_indices, self.is_content, strict=False)
        return ((place, message) for place, (message, body) in enumerate(pairs) if body and 0 <= message < count)


def _media(found: isc.MultiModalData | None) -> MultiModalData | None:
    if found is None:
        return None
    ranges = {
        modality: [PlaceholderRange(place.offset, place.length) for place in places]
        for modality, places in found.placeholders.items()
    }
    items = {
        modality: [{name: array.values() for name, array in (item or {}).items()} for item in made]
        for modality, made in found.items.items()
    }
    return MultiModalData({modality: list(hashes) for modality, hashes in found.hashes.items()}, ranges, items)
