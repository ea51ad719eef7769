"""`RenderedTokens`: token ids with their attribution, stored as runs. An inconsistent value cannot be constructed.

Everything here is computed run by run; only the per-token views are as long as the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, groupby, repeat
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import force_setattr

from isc.errors import AttributionError
from isc.types import UNOWNED, MediaPart, Span

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


class Run(Struct, frozen=True, gc=False, array_like=True):
    """So many consecutive tokens of one attribution: `message` owns them, or nobody (-1); `body` or scaffold."""

    length: int
    message: int
    body: bool


class RenderedTokens(Struct, frozen=True, dict=True, omit_defaults=True):
    """Token ids and, for every token, the message it belongs to and whether it is that message's body.

    Attributes:
        token_ids: The ids the model reads.
        runs: Attribution of consecutive tokens; lengths add up to `len(token_ids)`, neighbours differ.
        message_roles: Role of each of the caller's messages, by index.
        message_tool_names: For tool results the name of the tool where known, else None, by index.
        multi_modal_data: Media placeholders, where the conversation has any.

    Raises:
        AttributionError: On construction and on decoding, when the parts do not fit each other.

    >>> rendered = RenderedTokens((5, 6, 7), (Run(1, -1, False), Run(2, 0, True)), ("user",), (None,))
    >>> rendered.is_content
    (False, True, True)
    """

    token_ids: tuple[int, ...]
    runs: tuple[Run, ...]
    message_roles: tuple[str, ...] = ()
    message_tool_names: tuple[str | None, ...] = ()
    multi_modal_data: MultiModalData | None = None

    def __post_init__(self) -> None:
        count = len(self.message_roles)
        last_message, last_body = UNOWNED - 1, False
        mergeable = False
        total = 0
        for run in self.runs:
            message, body = run.message, run.body
            if run.length <= 0 or not UNOWNED <= message < count or (body and message == UNOWNED):
                raise AttributionError(f"{run}: {_problem(run, count)}")
            total += run.length
            if message == last_message and body == last_body:
                mergeable = True
            last_message, last_body = message, body
        if total != len(self.token_ids):
            raise AttributionError(f"runs cover {total} tokens, but there are {len(self.token_ids)} token_ids")
        if len(self.message_tool_names) != count:
            raise AttributionError(f"{len(self.message_tool_names)} message_tool_names for {count} message_roles")
        if self.multi_modal_data is not None:
            self.multi_modal_data.check_within(total)
        if mergeable:
            force_setattr(self, "runs", _merged(self.runs))

    @classmethod
    def from_columns(
        cls,
        token_ids: Sequence[int],
        message_indices: Sequence[int],
        is_content: Sequence[bool],
        message_roles: Sequence[str],
        message_tool_names: Sequence[str | None] | None = None,
    ) -> RenderedTokens:
        """Build from per-token columns of equal length.

        Raises:
            AttributionError: Columns differ in length, or an owner does not exist.

        >>> RenderedTokens.from_columns([1, 2], [0, 0], [False, True], ["user"]).runs
        (Run(length=1, message=0, body=False), Run(length=1, message=0, body=True))
        """
        if not len(token_ids) == len(message_indices) == len(is_content):
            lengths = f"{len(token_ids)}, {len(message_indices)} and {len(is_content)}"
            raise AttributionError(f"token_ids, message_indices and is_content differ in length: {lengths}")
        pairs = groupby(zip(message_indices, map(bool, is_content), strict=True))
        runs = tuple(Run(sum(1 for _ in group), message, content) for (message, content), group in pairs)
        names = tuple(message_tool_names) if message_tool_names is not None else (None,) * len(message_roles)
        return cls(tuple(token_ids), runs, tuple(message_roles), names)

    def __len__(self) -> int:
        return len(self.token_ids)

    def __add__(self, other: RenderedTokens) -> RenderedTokens:
        """The two one after another; one's message table must start with the other's."""
        return RenderedTokens(
            self.token_ids + other.token_ids,
            self.runs + other.runs,
            _longer(self.message_roles, other.message_roles),
            _longer(self.message_tool_names, other.message_tool_names),
            followed(self.multi_modal_data, len(self.token_ids), other.multi_modal_data),
        )

    def _column(self, value: Callable[[Run], _Item]) -> Iterator[_Item]:
        return chain.from_iterable(repeat(value(run), run.length) for run in self.runs)

    @cached_property
    def message_indices(self) -> tuple[int, ...]:
        """Owner of each token: index of a caller's message, or -1."""
        return tuple(self._column(lambda run: run.message))

    @cached_property
    def is_content(self) -> tuple[bool, ...]:
        """For each token whether it is body."""
        return tuple(self._column(lambda run: run.body))

    @cached_property
    def sampled_mask(self) -> tuple[bool, ...]:
        """For each token whether the model samples it: body of an assistant message."""
        return tuple(self._column(self.is_sampled))

    def role(self, run: Run) -> str | None:
        """Role of a run's owner; None where nobody owns it."""
        return None if run.message == UNOWNED else self.message_roles[run.message]

    def is_sampled(self, run: Run) -> bool:
        """Whether the model samples a run's tokens."""
        return run.body and self.role(run) == "assistant"

    def spans(self) -> Iterator[tuple[Run, Span]]:
        """Each run with the span of tokens it covers."""
        ends = accumulate(run.length for run in self.runs)
        return ((run, (end - run.length, end)) for run, end in zip(self.runs, ends, strict=True))

    @cached_property
    def unrendered_messages(self) -> tuple[int, ...]:
        """Indices of the messages that own no token: the format drops them, as their model's template does.

        >>> RenderedTokens((5,), (Run(1, 1, True),), ("system", "user"), (None, None)).unrendered_messages
        (0,)
        """
        owners = {run.message for run in self.runs}
        return tuple(index for index in range(len(self.message_roles)) if index not in owners)

    def tokens_per_message(self, *, sampled_only: bool = False) -> tuple[int, ...]:
        """Number of tokens of each message, by index."""
        counts = [0] * len(self.message_roles)
        for run in self.runs:
            if run.message != UNOWNED and (self.is_sampled(run) or not sampled_only):
                counts[run.message] += run.length
        return tuple(counts)

    def message_token_spans(self) -> tuple[tuple[Span, ...], ...]:
        """Spans of each message, by index: one, none, or more where a format splits a message up."""
        found: list[list[Span]] = [[] for _ in self.message_roles]
        for run, span in self.spans():
            if run.message != UNOWNED:
                _extend(found[run.message], span)
        return tuple(map(tuple, found))

    def role_token_spans(self) -> dict[str, tuple[Span, ...]]:
        """Spans of each role's messages, in order; none crosses a message."""
        return self._spans_by_role(body_only=False)

    def content_token_spans_by_role(self) -> dict[str, tuple[Span, ...]]:
        """Spans of each role's body, in order; none crosses a message."""
        return self._spans_by_role(body_only=True)

    def _spans_by_role(self, *, body_only: bool) -> dict[str, tuple[Span, ...]]:
        found: dict[str, list[Span]] = {}
        previous = UNOWNED
        for run, span in self.spans():
            role = self.role(run)
            if role is not None and (run.body or not body_only):
                spans = found.setdefault(role, [])
                if run.message == previous:
                    _extend(spans, span)
                else:
                    spans.append(span)
            previous = run.message
        return {role: tuple(spans) for role, spans in found.items()}

    def tokens_by_role(self, *, sampled_only: bool = False) -> dict[str, int]:
        """Number of tokens of each role that occurs; `sampled_only` counts what the model samples."""
        counts = dict.fromkeys(self.message_roles, 0)
        for role, tokens in zip(self.message_roles, self.tokens_per_message(sampled_only=sampled_only), strict=True):
            counts[role] += tokens
        return counts

    def content_mask_for_roles(self, roles: Collection[str]) -> tuple[bool, ...]:
        """For each token whether it is body of a message with one of these roles."""
        return tuple(self._column(lambda run: run.body and self.role(run) in roles))


def _problem(run: Run, messages: int) -> str:
    """Why a run cannot be."""
    if run.length <= 0:
        return "a run has at least one token"
    if run.body and run.message == UNOWNED:
        return "body belongs to a message, and -1 is none"
    return f"there is no message {run.message}, only {messages} message_roles"


def _merged(runs: Iterable[Run]) -> tuple[Run, ...]:
    pairs = groupby(runs, key=lambda run: (run.message, run.body))
    return tuple(Run(sum(run.length for run in group), message, body) for (message, body), group in pairs)


def _extend(spans: list[Span], span: Span) -> None:
    """Add a span, joined to the last where they touch."""
    if spans and spans[-1][1] == span[0]:
        spans[-1] = (spans[-1][0], span[1])
    else:
        spans.append(span)


def _longer(first: tuple[_Item, ...], second: tuple[_Item, ...]) -> tuple[_Item, ...]:
    shorter, longer = sorted((first, second), key=len)
    if longer[: len(shorter)] != shorter:
        raise AttributionError(f"message tables do not agree: {first} and {second}")
    return longer
