"""`RenderedTokens`: token ids with their attribution, stored as runs. An inconsistent value cannot be constructed.

Everything here is computed run by run; only the per-token views are as long as the ids. Whatever is decoded or
constructed is checked id by id; ids that were checked, or that an encoder made, are not checked again.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from copy import copy
from functools import cached_property
from itertools import accumulate, chain, groupby, repeat
from operator import index
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar, get_args

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import force_setattr

from isc._brief import Brief, Displayed
from isc._later import Later
from isc._parts import PARTS, is_part, selected
from isc._runs import merge
from isc.errors import AttributionError, OptionError, shown
from isc.types import UNOWNED, BodyPart, MediaPart, Owner, Role, Span

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
else:
    numpy = NDArray = Later


_Item = TypeVar("_Item")

LARGEST_ID: Final = (1 << 31) - 1
"""Ids are 32-bit integers wherever they go: to an engine, a tensor, an Arrow column."""
_ROLES: Final = frozenset(get_args(Role))
_NUMBERS: Final = re.compile(r"[<>=|]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32))")
_MOST_AXES: Final = 32
_NO_TOKEN: Final = "\ufffd".encode()

_Id: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
_RoleName: TypeAlias = Annotated[str, Meta(pattern=f"^({'|'.join(get_args(Role))})$")]
_DtypeName: TypeAlias = Annotated[str, Meta(max_length=8)]


class PlaceholderRange(Struct, frozen=True, array_like=True):
    """Where one media item's placeholder tokens stand."""

    offset: _Count
    length: _Count


class Array(Brief, Struct, frozen=True):
    """An array as raw bytes, in row-major order: what serializes; `numpy.asarray` makes it an array without a copy.

    Args:
        dtype: NumPy's name of a type of numbers with its byte order, such as `<f4`.
        shape: Length of each axis.
        data: The elements.

    Raises:
        AttributionError: It is no type of numbers, or the bytes do not fill the shape.
    """

    dtype: _DtypeName
    shape: tuple[_Count, ...]
    data: bytes

    def __post_init__(self) -> None:
        if _NUMBERS.fullmatch(str(self.dtype)) is None:
            raise AttributionError(f"dtype {shown(self.dtype)} is no type of numbers such as '<f4'")
        axes = self.shape
        if len(axes) > _MOST_AXES or any(type(axis) is not int or not 0 <= axis <= LARGEST_ID for axis in axes):
            raise AttributionError(f"shape {shown(axes)} is none that an array can have")
        width = int(re.sub(r"[^0-9]", "", self.dtype))
        if len(self.data) != math.prod(axes) * width:
            raise AttributionError(f"{len(self.data)} bytes are no {self.dtype} array of shape {self.shape}")

    @classmethod
    def of(cls, values: numpy.ndarray[Any, Any]) -> Array:
        """Copy the elements of a NumPy array."""
        return cls(values.dtype.str, values.shape, values.tobytes())

    def values(self) -> numpy.ndarray[Any, Any]:
        """Return the elements as a read-only NumPy array that shares these bytes."""
        import numpy

        return numpy.frombuffer(self.data, numpy.dtype(self.dtype)).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray[Any, Any]:  # noqa: ANN401
        """Serve NumPy's protocol: `numpy.asarray` calls this."""
        import numpy

        return numpy.array(self.values(), dtype=dtype, copy=copy)


Items: TypeAlias = Mapping[str, Array]
"""What a processor made of one item, such as `pixel_values` and `image_grid_thw`."""


class MultiModalData(Brief, Struct, frozen=True, omit_defaults=True):
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
                values = column.get(modality, hashes if column is not self.placeholders else ())
                if len(values) != len(hashes):
                    raise AttributionError(f"{len(hashes)} {modality} hashes, but {len(values)} of another column")
        unknown = {*self.placeholders, *self.references, *self.items} - self.hashes.keys()
        if unknown:
            raise AttributionError(f"media without hashes: {', '.join(sorted(map(str, unknown)))}")

    def count(self, modality: str) -> int:
        """Return the number of items of a modality."""
        return len(self.hashes.get(modality, ()))

    def check_within(self, tokens: int) -> None:
        """Raise an `AttributionError` unless the placeholders stand, in order, among so many tokens."""
        for modality, places in self.placeholders.items():
            end = 0
            for place in places:
                if type(place.length) is not int or type(place.offset) is not int:
                    raise AttributionError(f"{modality} {place} must have whole numbers")
                if place.length <= 0 or place.offset < end or place.offset + place.length > tokens:
                    raise AttributionError(f"{modality} {place} does not fit among {tokens} tokens after token {end}")
                end = place.offset + place.length

    def after(self, tokens: int, previous: MultiModalData) -> MultiModalData:
        """Return `previous` followed by this data, whose tokens come after `tokens` earlier ones."""
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

    def since(self, earlier: MultiModalData) -> MultiModalData:
        """Return what there is more of than of `earlier`, with which this data begins; positions are as they are."""
        columns = _left(self.hashes, earlier), _left(self.placeholders, earlier)
        return MultiModalData(*columns, _left(self.references, earlier), _left(self.items, earlier))

    def filled(self, column: Mapping[str, tuple[_Item | None, ...]]) -> dict[str, tuple[_Item | None, ...]]:
        """Return a column of every modality, None for unknown values."""
        return {modality: column.get(modality, (None,) * len(hashes)) for modality, hashes in self.hashes.items()}


def followed(first: MultiModalData | None, tokens: int, second: MultiModalData | None) -> MultiModalData | None:
    """Join the media of `tokens` tokens with the media of the tokens that follow."""
    if second is None:
        return first
    return second.after(tokens, first or MultiModalData())


Placed: TypeAlias = tuple[MediaPart, PlaceholderRange]
"""A media item and where the tokens that stand for it are."""


def gathered(media: Sequence[Placed]) -> MultiModalData:
    """Collect the media items of a render, given in order, by modality. One whose tokens differ is given run by run."""
    by_modality: dict[str, list[Placed]] = {}
    for part, place in _whole(media):
        by_modality.setdefault(part.modality, []).append((part, place))
    return MultiModalData(
        {modality: tuple(part.hash or "" for part, _ in placed) for modality, placed in by_modality.items()},
        {modality: tuple(place for _, place in placed) for modality, placed in by_modality.items()},
        {modality: tuple(part.reference for part, _ in placed) for modality, placed in by_modality.items()},
    )


def _whole(media: Sequence[Placed]) -> list[Placed]:
    """Join the runs of each item: it goes on until it has all of its placeholders."""
    items: list[Placed] = []
    for part, place in media:
        if items and items[-1][1].length < items[-1][0].placeholders:
            first, begun = items[-1]
            items[-1] = first, PlaceholderRange(begun.offset, begun.length + place.length)
        else:
            items.append((part, place))
    return items


def _left(column: Mapping[str, tuple[_Item, ...]], earlier: MultiModalData) -> dict[str, tuple[_Item, ...]]:
    """Return what a column has beyond the items of earlier data, modality by modality."""
    return {modality: values[earlier.count(modality) :] for modality, values in column.items()}


def _joined(
    first: Mapping[str, tuple[_Item, ...]], second: Mapping[str, tuple[_Item, ...]]
) -> dict[str, tuple[_Item, ...]]:
    """Join columns, modality by modality."""
    return {modality: first.get(modality, ()) + second.get(modality, ()) for modality in (*first, *second)}


class Run(Struct, frozen=True, gc=False, array_like=True):
    """So many consecutive tokens of one attribution: `message` owns them, or nobody (-1); `body` or scaffold.

    `part` says of what part of the body they are, where a render was asked for parts (law 10).
    """

    length: _Count
    message: Annotated[int, Meta(ge=UNOWNED, le=LARGEST_ID)]
    body: bool
    part: BodyPart | None = None


class Decoder(Protocol):
    """What tells the text of ids: every `isc.Encoder` does."""

    @property
    def specials(self) -> Mapping[str, int]:
        """Return every added token by its spelling."""

    def decode_bytes(self, token_ids: Sequence[int]) -> bytes:
        """Return the bytes of ids. An id outside the vocabulary has no bytes."""


class TokenArrays(NamedTuple):
    """A render as numpy arrays, all as long as the ids.

    `token_ids` is of int64 as trainers take it, `message_indices` of int32, the masks of bool.
    """

    token_ids: NDArray[numpy.int64]
    message_indices: NDArray[numpy.int32]
    is_content: NDArray[numpy.bool_]
    sampled_mask: NDArray[numpy.bool_]


class RenderedTokens(Displayed, Struct, frozen=True, dict=True, omit_defaults=True):
    """Token ids and, for every token, the message it belongs to and whether it is that message's body.

    Attributes:
        token_ids: The ids the model reads.
        runs: Attribution of consecutive tokens; lengths add up to `len(token_ids)`, neighbours differ.
        message_roles: Role of each of the caller's messages, by index.
        message_tool_names: For tool results the name of the tool where known, else None, by index.
        multi_modal_data: Media placeholders, where the conversation has any.

    Raises:
        AttributionError: On construction, when a part cannot be or the parts do not fit each other; on decoding it is
            msgspec's ValidationError.

    >>> rendered = RenderedTokens((5, 6, 7), (Run(1, -1, False), Run(2, 0, True)), ("user",), (None,))
    >>> rendered.is_content
    (False, True, True)
    """

    token_ids: tuple[_Id, ...]
    runs: tuple[Run, ...]
    message_roles: tuple[_RoleName, ...] = ()
    message_tool_names: tuple[str | None, ...] = ()
    multi_modal_data: MultiModalData | None = None

    def __post_init__(self) -> None:
        check_ids(self.token_ids)
        _check_tables(self.message_roles, self.message_tool_names)
        for run in self.runs:
            if not (type(run) is Run and type(run.length) is type(run.message) is int and type(run.body) is bool):
                raise AttributionError(f"{shown(run)} must be a Run of two whole numbers and a bool")
            if run.part is not None and not is_part(run.part):
                raise AttributionError(f"{shown(run)}: a part is one of {', '.join(PARTS)}")
        self._check_runs()

    def _check_runs(self, known: int = 0, covered: int = 0) -> None:
        """Raise unless the runs cover the ids and name messages that exist; join neighbours that are alike.

        The first `known` runs, of `covered` tokens, were checked in another render, with which this one begins.
        """
        count = len(self.message_roles)
        last_message, last_body, last_part = _owner(self.runs[known - 1]) if known else (UNOWNED - 1, False, None)
        mergeable = False
        total = covered
        for run in self.runs[known:] if known else self.runs:
            message, body = run.message, run.body
            if run.length <= 0 or not UNOWNED <= message < count or (message < 0 if body else run.part is not None):
                raise AttributionError(f"{run}: {_problem(run, count)}")
            total += run.length
            if message == last_message and body == last_body and run.part == last_part:
                mergeable = True
            last_message, last_body, last_part = message, body, run.part
        if total != len(self.token_ids):
            raise AttributionError(f"runs cover {total} tokens, but there are {len(self.token_ids)} token_ids")
        if len(self.message_tool_names) != count:
            raise AttributionError(f"{len(self.message_tool_names)} message_tool_names for {count} message_roles")
        if self.multi_modal_data is not None:
            self.multi_modal_data.check_within(total)
        if mergeable:
            seam = max(known - 1, 0)
            force_setattr(self, "runs", self.runs[:seam] + _merged(self.runs[seam:]))

    @classmethod
    def from_columns(
        cls,
        token_ids: Sequence[int],
        message_indices: Sequence[int],
        is_content: Sequence[bool],
        message_roles: Sequence[str],
        message_tool_names: Sequence[str | None] | None = None,
    ) -> RenderedTokens:
        """Build a render from per-token columns of equal length.

        Raises:
            AttributionError: Columns differ in length, or an owner does not exist.

        >>> RenderedTokens.from_columns([1, 2], [0, 0], [False, True], ["user"]).runs
        (Run(length=1, message=0, body=False, part=None), Run(length=1, message=0, body=True, part=None))
        """
        if not len(token_ids) == len(message_indices) == len(is_content):
            lengths = f"{len(token_ids)}, {len(message_indices)} and {len(is_content)}"
            raise AttributionError(f"token_ids, message_indices and is_content differ in length: {lengths}")
        pairs = groupby(zip(message_indices, map(bool, is_content), strict=True))
        names = tuple(message_tool_names) if message_tool_names is not None else (None,) * len(message_roles)
        try:
            runs = tuple(Run(sum(1 for _ in group), index(message), content) for (message, content), group in pairs)
            return cls(tuple(map(index, token_ids)), runs, tuple(message_roles), names)
        except TypeError as error:
            raise AttributionError(f"token_ids and message_indices must be whole numbers: {error}") from None

    def __len__(self) -> int:
        return len(self.token_ids)

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what is told of a render: tokens, how many of each role, how many sampled."""
        sampled = sum(run.length for run in self.runs if self.is_sampled(run))
        return [("tokens", len(self)), *self.tokens_by_role().items(), ("sampled", sampled)]

    def __repr__(self) -> str:
        spoken = ", ".join(f"{role} {count}" for role, count in self.tokens_by_role().items())
        sampled = sum(run.length for run in self.runs if self.is_sampled(run))
        return f"<RenderedTokens: {len(self)} tokens ({spoken or 'of nobody'}), {sampled} sampled>"

    def __add__(self, other: RenderedTokens) -> RenderedTokens:
        """Append another render. One message table must start with the other."""
        return put_together(
            self.token_ids + other.token_ids,
            self.runs + other.runs,
            _longer(self.message_roles, other.message_roles),
            _longer(self.message_tool_names, other.message_tool_names),
            followed(self.multi_modal_data, len(self.token_ids), other.multi_modal_data),
            after=self,
        )

    @property
    def decoder(self) -> Decoder | None:
        """Return the encoder that these ids were made with; None for a render that was read from a file, say.

        It serves to show the value, and is no part of it: not compared, not serialized, not copied.
        """
        decoder: Decoder | None = self.__dict__.get("decoder")
        return decoder

    @cached_property
    def text(self) -> str:
        r"""Return what the ids say, decoded when it is first asked for; see `decoded`.

        Raises:
            OptionError: The value does not know its vocabulary: it was read from a file, copied or built from columns.

        >>> import isc
        >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
        >>> renderer.render([{"role": "user", "content": "hi"}]).text
        '<|im_start|>user\nhi<|im_end|>\n'
        """
        if self.decoder is None:
            raise OptionError(
                "this render does not know the vocabulary of its ids, as one that was read from a file or copied: "
                "renderer.decode(rendered.token_ids) tells its text"
            )
        return decoded(self.decoder, self.token_ids)

    def _column(self, value: Callable[[Run], _Item]) -> Iterator[_Item]:
        return chain.from_iterable(repeat(value(run), run.length) for run in self.runs)

    @cached_property
    def message_indices(self) -> tuple[int, ...]:
        """Return the owner of each token: the index of a caller's message, or -1."""
        return tuple(self._column(lambda run: run.message))

    @cached_property
    def is_content(self) -> tuple[bool, ...]:
        """Return for each token whether it is body."""
        return tuple(self._column(lambda run: run.body))

    @cached_property
    def sampled_mask(self) -> tuple[bool, ...]:
        """Return for each token whether the model samples it: body of an assistant message."""
        return tuple(self._column(self.is_sampled))

    def to_numpy(self) -> TokenArrays:
        """Return the ids and per-token views as numpy arrays, each built run by run. Needs numpy.

        >>> RenderedTokens((5, 6), (Run(2, 0, True),), ("assistant",), (None,)).to_numpy().sampled_mask.tolist()
        [True, True]
        """
        import numpy

        lengths = [run.length for run in self.runs]
        return TokenArrays(
            numpy.fromiter(self.token_ids, numpy.int64, len(self.token_ids)),
            numpy.repeat(numpy.array([run.message for run in self.runs], numpy.int32), lengths),
            numpy.repeat(numpy.array([run.body for run in self.runs], bool), lengths),
            numpy.repeat(numpy.array([self.is_sampled(run) for run in self.runs], bool), lengths),
        )

    def role(self, run: Run) -> str | None:
        """Return the role of a run's owner; None where nobody owns the run."""
        return None if run.message == UNOWNED else self.message_roles[run.message]

    def is_sampled(self, run: Run) -> bool:
        """Return whether the model samples a run's tokens."""
        return run.body and self.role(run) == "assistant"

    def spans(self) -> Iterator[tuple[Run, Span]]:
        """Return an iterator over the runs, each with the span of tokens it covers."""
        ends = accumulate(run.length for run in self.runs)
        return ((run, (end - run.length, end)) for run, end in zip(self.runs, ends, strict=True))

    @cached_property
    def unrendered_messages(self) -> tuple[int, ...]:
        """Return the indices of the messages that own no token: the format drops them, as their model's template does.

        >>> RenderedTokens((5,), (Run(1, 1, True),), ("system", "user"), (None, None)).unrendered_messages
        (0,)
        """
        owners = {run.message for run in self.runs}
        return tuple(index for index in range(len(self.message_roles)) if index not in owners)

    def tokens_per_message(self, *, sampled_only: bool = False) -> tuple[int, ...]:
        """Return the number of tokens of each message, by index."""
        counts = [0] * len(self.message_roles)
        for run in self.runs:
            if run.message != UNOWNED and (self.is_sampled(run) or not sampled_only):
                counts[run.message] += run.length
        return tuple(counts)

    def message_token_spans(self) -> tuple[tuple[Span, ...], ...]:
        """Return the spans of each message, by index: one, none, or more where a format splits a message up."""
        spans: list[list[Span]] = [[] for _ in self.message_roles]
        for run, span in self.spans():
            if run.message != UNOWNED:
                _extend(spans[run.message], span)
        return tuple(map(tuple, spans))

    def role_token_spans(self) -> dict[str, tuple[Span, ...]]:
        """Return the spans of each role's messages, in order. No span crosses a message."""
        return self._spans_by_role(body_only=False)

    def content_token_spans_by_role(self) -> dict[str, tuple[Span, ...]]:
        """Return the spans of each role's body, in order. No span crosses a message."""
        return self._spans_by_role(body_only=True)

    def _spans_by_role(self, *, body_only: bool) -> dict[str, tuple[Span, ...]]:
        wanted = (pair for pair in self.spans() if pair[0].message != UNOWNED and (pair[0].body or not body_only))
        by_role: dict[str, list[Span]] = {}
        for message, pairs in groupby(wanted, key=lambda pair: pair[0].message):
            spans: list[Span] = []
            for _, span in pairs:
                _extend(spans, span)
            by_role.setdefault(self.message_roles[message], []).extend(spans)
        return {role: tuple(spans) for role, spans in by_role.items()}

    def tokens_by_role(self, *, sampled_only: bool = False) -> dict[str, int]:
        """Return the number of tokens of each role that occurs. `sampled_only` counts sampled tokens only."""
        counts = dict.fromkeys(self.message_roles, 0)
        for role, tokens in zip(self.message_roles, self.tokens_per_message(sampled_only=sampled_only), strict=True):
            counts[role] += tokens
        return counts

    def content_mask_for_roles(self, roles: Collection[str]) -> tuple[bool, ...]:
        """Return for each token whether it is body of a message with one of these roles."""
        return self.mask_for(roles=roles)

    @property
    def has_parts(self) -> bool:
        """Return whether every body says its part: whether the render was asked for parts.

        >>> RenderedTokens((5,), (Run(1, 0, True, "content"),), ("user",), (None,)).has_parts
        True
        """
        return not any(run.body and run.part is None for run in self.runs)

    def part_spans(self, message: int | None = None) -> dict[BodyPart, tuple[Span, ...]]:
        """Return the spans of each part that occurs, in order. No span crosses a message.

        Args:
            message: The index of the message to look at; None is every message.

        Raises:
            OptionError: The render was not asked for parts.

        >>> runs = (Run(1, 0, False), Run(2, 0, True, "reasoning"), Run(1, 0, True, "close"))
        >>> RenderedTokens((5, 6, 7, 8), runs, ("assistant",), (None,)).part_spans()
        {'reasoning': ((1, 3),), 'close': ((3, 4),)}
        """
        self._check_parts()
        by_part: dict[BodyPart, list[Span]] = {}
        for run, span in self.spans():
            if run.part is not None and message in (None, run.message):
                by_part.setdefault(run.part, []).append(span)
        return {part: tuple(spans) for part, spans in by_part.items()}

    def mask_for(
        self, roles: Collection[str] | None = None, parts: Collection[BodyPart] | None = None
    ) -> tuple[bool, ...]:
        """Return for each token whether it is body of a message with one of these roles, and one of these parts of it.

        Args:
            roles: Roles; None is every role.
            parts: Parts, see `docs/parts.md`; None is the whole body. `tool_call` is the whole call.

        Raises:
            OptionError: There is no such part, or the render was not asked for parts.

        >>> runs = (Run(1, 0, True, "content"), Run(1, 1, True, "content"), Run(1, 1, True, "close"))
        >>> RenderedTokens((5, 6, 7), runs, ("user", "assistant"), (None, None)).mask_for(["assistant"], ["content"])
        (False, True, False)
        """
        if parts is None:
            return tuple(self._column(lambda run: run.body and (roles is None or self.role(run) in roles)))
        wanted = selected(parts)
        self._check_parts()
        return tuple(self._column(lambda run: run.part in wanted and (roles is None or self.role(run) in roles)))

    def _check_parts(self) -> None:
        if not self.has_parts:
            raise OptionError("this render does not say of what parts its bodies are; ask for that: parts=True")


def put_together(
    token_ids: tuple[int, ...],
    runs: tuple[Run, ...],
    message_roles: tuple[str, ...],
    message_tool_names: tuple[str | None, ...],
    multi_modal_data: MultiModalData | None = None,
    *,
    after: RenderedTokens | None = None,
    decoder: Decoder | None = None,
) -> RenderedTokens:
    """Build a render without checking its ids: an encoder made them, or they were checked. Runs are checked.

    A bridge costs what its new messages cost: its thousands of earlier ids are not looked at again, nor are the runs of
    a render with whose ids, runs and messages this one begins (`after`). `decoder` tells the text of the ids; by
    default it is that of `after`.

    Raises:
        AttributionError: The parts do not fit each other.
    """
    made = copy(_EMPTY)
    force_setattr(made, "token_ids", token_ids)
    force_setattr(made, "runs", runs)
    force_setattr(made, "message_roles", message_roles)
    force_setattr(made, "message_tool_names", message_tool_names)
    force_setattr(made, "multi_modal_data", multi_modal_data)
    if decoder is None and after is not None:
        decoder = after.decoder
    if decoder is not None:
        made.__dict__["decoder"] = decoder
    if after is None:
        made._check_runs()
    else:
        made._check_runs(len(after.runs), len(after.token_ids))
    return made


def decoded(decoder: Decoder, token_ids: Sequence[int]) -> str:
    """Return the text of ids, specials by their spelling.

    Bytes that are no UTF-8, such as those of a character that the ids begin or end in, stand as U+FFFD, and so does an
    id that the vocabulary does not have: nothing is dropped in silence.

    Args:
        decoder: The encoder that the ids were made with.
        token_ids: Ids.
    """
    unknown = {token_id for token_id in set(token_ids) if not decoder.decode_bytes((token_id,))}
    if not unknown:
        return decoder.decode_bytes(token_ids).decode("utf-8", "replace")
    pieces = ((none, tuple(ids)) for none, ids in groupby(token_ids, key=unknown.__contains__))
    replaced = (_NO_TOKEN * len(ids) if none else decoder.decode_bytes(ids) for none, ids in pieces)
    return b"".join(replaced).decode("utf-8", "replace")


def ids_of(token_ids: object, name: str = "token_ids") -> tuple[int, ...]:
    """Return token ids as a tuple of plain integers, from any sequence of ids: a list, an array of NumPy or torch.

    Args:
        token_ids: The ids; a tuple is taken as it is.
        name: What they are called in errors.

    Raises:
        OptionError: They are no flat sequence of whole numbers, such as a text.

    >>> ids_of([5, 6])
    (5, 6)
    """
    if type(token_ids) is tuple and {*map(type, token_ids[:1]), *map(type, token_ids[-1:])} <= {int}:
        return token_ids
    as_list = getattr(token_ids, "tolist", None)
    values = as_list() if callable(as_list) else token_ids
    if isinstance(values, (str, bytes, bytearray, memoryview, Mapping, Set)) or not isinstance(values, Iterable):
        raise OptionError(f"{name} must be a sequence of token ids, not {shown(token_ids)}")
    listed = values if type(values) is list else tuple(values)
    try:
        return convert(listed, tuple[int, ...])  # looks at all of them at once, without a loop
    except ValidationError:
        pass
    try:
        return tuple(array("q", listed).tolist())
    except (TypeError, OverflowError):
        return tuple(_id_of(value, f"{name}[{position}]") for position, value in enumerate(listed))


def _id_of(value: object, place: str) -> int:
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"{place} must be a token id, a whole number, not {shown(value)}") from None


def check_ids(token_ids: tuple[int, ...]) -> None:
    """Raise an `AttributionError` unless these are a tuple of ids from 0 to `LARGEST_ID`."""
    if type(token_ids) is not tuple:
        raise AttributionError(f"token_ids must be a tuple, not a {type(token_ids).__name__}")
    try:
        numbers = array("I", token_ids)
    except (TypeError, OverflowError):
        pass
    else:
        top = numbers.itemsize - 1 if sys.byteorder == "little" else 0
        if numbers.tobytes()[top :: numbers.itemsize].isascii():  # no highest bit is set: all at once, without a loop
            return
    for position, token_id in enumerate(token_ids):
        if type(token_id) is not int or not 0 <= token_id <= LARGEST_ID:
            raise AttributionError(
                f"token_ids[{position}] must be a whole number from 0 to {LARGEST_ID} (got {shown(token_id)})"
            )


def _check_tables(roles: tuple[str, ...], names: tuple[str | None, ...]) -> None:
    """Raise unless roles are roles and names are texts."""
    if type(roles) is not tuple or type(names) is not tuple:
        raise AttributionError("message_roles and message_tool_names must be tuples")
    wrong = next((role for role in roles if type(role) is not str or role not in _ROLES), None)
    if wrong is not None or None in roles:
        raise AttributionError(f"message_roles are of {', '.join(sorted(_ROLES))} (got {shown(wrong)})")
    if any(name is not None and type(name) is not str for name in names):
        raise AttributionError(f"message_tool_names are texts or None (got {shown(names)})")


def _problem(run: Run, messages: int) -> str:
    """Return the reason why a run is impossible."""
    if run.length <= 0:
        return "a run has at least one token"
    if run.body and run.message == UNOWNED:
        return "body belongs to a message, and -1 is none"
    if run.part is not None and not run.body:
        return f"{run.part} is a part of a body, and this is none"
    return f"there is no message {run.message}, only {messages} message_roles"


def _merged(runs: Iterable[Run]) -> tuple[Run, ...]:
    merged = merge((run.length, _owner(run)) for run in runs)
    return tuple(Run(length, *owner) for length, owner in merged)


def _owner(run: Run) -> Owner:
    return run.message, run.body, run.part


def _extend(spans: list[Span], span: Span) -> None:
    """Add a span, joined to the last span where the two touch."""
    if spans and spans[-1][1] == span[0]:
        spans[-1] = (spans[-1][0], span[1])
    else:
        spans.append(span)


def _longer(first: tuple[_Item, ...], second: tuple[_Item, ...]) -> tuple[_Item, ...]:
    shorter, longer = sorted((first, second), key=len)
    if longer[: len(shorter)] != shorter:
        raise AttributionError(f"message tables do not agree: {first} and {second}")
    return longer


_EMPTY: Final = RenderedTokens((), ())
