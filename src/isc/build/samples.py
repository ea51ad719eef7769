"""Rows of conversations to training samples: batches of rows in, encoded rows out. Pure: no file, nothing printed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal, TypeAlias, cast, get_args

import msgspec
from msgspec import Struct

from isc._options import did_you_mean
from isc._parts import PARTS, is_part
from isc._runs import merge
from isc.build import arrow, tables
from isc.build.compression import Compression, member
from isc.build.conversations import Conversation
from isc.build.forms import Form, InputRow, conversation
from isc.build.nulls import null_keys, without_nulls
from isc.build.survey import Survey, survey_of
from isc.conversation.columns import SETS, Column, ColumnSet
from isc.conversation.contexts import Contexts, training_contexts, unprompted_text
from isc.conversation.flags import read_flags
from isc.conversation.lengths import Fitted, Lost, TooLong, Turns, fitted
from isc.conversation.packing import PACK_COLUMNS, pack, packed_row
from isc.conversation.renderer import Renderer
from isc.conversation.splits import split_of
from isc.conversation.training import (
    RoleToMask,
    TrainingSample,
    build_training_sample,
    chosen,
    chosen_parts,
    nothing_to_train,
)
from isc.errors import EncoderError, Error, NothingToTrainError, OptionError
from isc.rendered import MultiModalData, followed
from isc.types import UNOWNED, BodyPart, Role

SampleFormat: TypeAlias = Literal["jsonl", "parquet"]

ENDINGS: Final[Mapping[str, tuple[SampleFormat, Compression]]] = {
    ".jsonl": ("jsonl", ""),
    ".jsonl.gz": ("jsonl", "gzip"),
    ".jsonl.zst": ("jsonl", "zstd"),
    ".parquet": ("parquet", ""),
}
"""What names of files of samples end in, and how such a file is written."""

NOBODY = "nobody"
MEDIA = "multi_modal_data"
"""The column of a row's images."""

_BODIES = "-bodies"
_ALL = "all"


class LineError(Error, ValueError):
    """A line that can be rendered, but not become a sample as the options ask."""


class Loss(Struct, frozen=True):
    """What is trained on: what the model samples (`assistant`), and the bodies of messages of these roles.

    `parts`: of which roles it is these parts of the bodies alone. `whole`: every token is, scaffold and all.
    """

    assistant: bool
    body_roles: tuple[str, ...] = ()
    parts: tuple[tuple[str, tuple[BodyPart, ...]], ...] = ()
    whole: bool = False

    @property
    def by_role(self) -> dict[str, tuple[BodyPart, ...]] | None:
        """Return the parts by role, as samples are asked for them; None where all of every body is trained on."""
        return dict(self.parts) or None

    def __str__(self) -> str:
        if self.whole:
            return _ALL
        parts = dict(self.parts)
        whole = [role for role in ("assistant", *self.body_roles) if role not in parts]
        terms = ["assistant" if role == "assistant" else role + _BODIES for role in whole]
        terms = terms if self.assistant else [term for term in terms if term != "assistant"]
        return "+".join([*terms, *(f"{role}:{part}" for role, parts in self.parts for part in parts)])


def loss_terms() -> tuple[str, ...]:
    """Return every term of a loss that names no part."""
    return (_ALL, "assistant", *(role + _BODIES for role in get_args(Role) if role != "assistant"))


def parse_loss(text: str) -> Loss:
    """Read terms joined by `+`.

    Args:
        text: E.g. `assistant+tool-bodies`, or `assistant:content+assistant:close` for parts of bodies; `all` for every
            token, whatever else is named. Order and repetition do not matter.

    Raises:
        OptionError: A term is unknown; names the nearest, and all.

    >>> str(parse_loss("tool-bodies+assistant"))
    'assistant+tool-bodies'
    >>> parse_loss("tool-bodies+assistant:content").by_role
    {'assistant': ('content',)}
    """
    whole: set[str] = set()
    parts: dict[str, set[str]] = {}
    for term in (term.strip() for term in text.split("+")):
        role, colon, part = term.partition(":")
        if colon and role in get_args(Role) and is_part(part):
            parts.setdefault(role, set()).add(part)
        elif term in loss_terms():
            whole.add(term.removesuffix(_BODIES))
        else:
            raise _no_term(term)
    if _ALL in whole:
        return Loss(True, tuple(role for role in get_args(Role) if role != "assistant"), whole=True)
    roles = [role for role in get_args(Role) if role in whole or role in parts]
    narrowed = tuple(
        (role, tuple(part for part in PARTS if part in parts[role])) for role in roles if role not in whole
    )
    return Loss("assistant" in roles, tuple(role for role in roles if role != "assistant"), narrowed)


def _no_term(term: str) -> OptionError:
    """Return the error for what is no term of a loss: it names the nearest term, and all."""
    roles = get_args(Role)
    by_role = next((role + _BODIES for role in roles if term.removesuffix("s") == role), None)
    parts = (f"{role}:{part}" for role in roles for part in PARTS)
    near = f"; did you mean {by_role!r}?" if by_role else did_you_mean(term, (*loss_terms(), *parts))
    terms = ", ".join((*loss_terms(), "and ROLE:PART"))
    listed = f"terms, joined by +, are {terms}, with a part of {', '.join(PARTS)}"
    return OptionError(f"loss: {term!r} is no term{near or ';'} {listed}")


class Settings(Struct, frozen=True):
    """All that decides what a line becomes, so that two builds can be told apart.

    `family`, `vocabulary_digest` and `version` describe the renderer for that purpose; nothing is loaded by them.
    `described` and `template_digest` are for people and for the metadata of the samples.
    `vocabulary` is its name, for people: a directory that was moved holds the same vocabulary. `date` is the day that
    the text names as the present one, "" for a format that names none. `surveyed`: whether a survey is taken.
    """

    loss: Loss
    format: SampleFormat = "jsonl"
    compression: Compression = ""
    columns: ColumnSet = "labels"
    keep: tuple[str, ...] = ()
    turns: Turns = "together"
    ensure_final_stop: bool = False
    max_tokens: int | None = None
    too_long: TooLong = "reject"
    pack: int | None = None
    split: tuple[tuple[str, float], ...] = ()
    shards: int | None = None
    shard_size: int | None = None
    form: Form | None = None
    drop_null: bool = False
    images: bool = False
    family: str = ""
    vocabulary: str = ""
    vocabulary_digest: str = ""
    date: str = ""
    version: str = ""
    described: str = ""
    template_digest: str = ""
    images_from: str = ""
    surveyed: bool = False

    def __post_init__(self) -> None:
        if self.loss.whole and self.turns == "each":
            raise OptionError("loss all trains on every token of a conversation once: leave out turns each")


Row: TypeAlias = dict[str, object]
"""A training sample as it is written, by column."""


class RoleTally(Struct, frozen=True):
    """Tokens of one role."""

    tokens: int = 0
    body: int = 0
    trained: int = 0

    def __add__(self, other: RoleTally) -> RoleTally:
        return RoleTally(self.tokens + other.tokens, self.body + other.body, self.trained + other.trained)


class Tally(Struct, frozen=True):
    """What became of some rows.

    Attributes:
        samples: Samples that rows became.
        rejected: Rows that did not.
        roles: Tokens by role, those without an owner under `NOBODY`.
        flagged: Messages that a flag of the data left untrained, by the flag's key.
        unrendered: Messages of which the format renders nothing, by role.
        unprompted: Trained turns that no engine with these options could have sampled there. Looked for where each turn
            stands behind its prompt.
        nulls: Keys that are null in arguments and in tools, by the place: dropped, or rendered as they are.
        lost: What shortening lost.
        written: Rows that were written, by the part of the output; several samples are a row where they are packed.
        kept: Rows that have a field to carry along, by its name.
        fields: The names of the fields that the first of those rows has, where fields are carried along.
    """

    samples: int = 0
    rejected: int = 0
    roles: dict[str, RoleTally] = {}
    flagged: dict[str, int] = {}
    unrendered: dict[str, int] = {}
    unprompted: int = 0
    nulls: dict[str, int] = {}
    lost: Lost = Lost()
    written: dict[str, int] = {}
    kept: dict[str, int] = {}
    fields: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        names = dict.fromkeys((*self.roles, *other.roles))
        empty = RoleTally()
        roles = {name: self.roles.get(name, empty) + other.roles.get(name, empty) for name in names}
        return Tally(
            self.samples + other.samples,
            self.rejected + other.rejected,
            roles,
            _added(self.flagged, other.flagged),
            _added(self.unrendered, other.unrendered),
            self.unprompted + other.unprompted,
            _added(self.nulls, other.nulls),
            self.lost + other.lost,
            _added(self.written, other.written),
            _added(self.kept, other.kept),
            self.fields or other.fields,
        )


def _added(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in (*first, *second)}


class Rejected(Struct, frozen=True):
    """A row that became no sample, and why. The file is told by its number among the inputs."""

    line: int
    reason: str
    original: bytes
    file: int = 0


class Batch(Struct, frozen=True):
    """Consecutive rows of one input.

    Attributes:
        first: The number of the first row in its file.
        lines: The rows as they stand there, as JSON.
        ends: The place behind each row, where reading can go on.
        table: The rows as an Arrow stream, where they are no lines.
        form: How a row holds a conversation.
        file: The number of the file among the inputs.
        read: How much of the file, in bytes on disk, was read to get here; for people.
    """

    first: int
    lines: tuple[bytes, ...] = ()
    ends: tuple[int, ...] = ()
    table: bytes = b""
    form: Form = "messages"
    file: int = 0
    read: int = 0

    def rows(self) -> Sequence[InputRow]:
        """Return the rows: JSON, or values."""
        return tables.rows(self.table) if self.table else self.lines


class Built(Struct, frozen=True):
    """What a batch became: encoded rows, rejected rows, and how much of the input that accounts for.

    Attributes:
        parts: The samples, encoded, by the part of the output that they belong to: its split and shard, or "".
        rejected: The rows that became none.
        tally: What became of the rows.
        lines: How many rows are accounted for.
        end: The place in the file behind them; None where not one is.
        file: The number of the file among the inputs.
        read: How much of the file was read, for people.
        survey: What a report shows of them, where one is taken.
    """

    parts: dict[str, bytes]
    rejected: tuple[Rejected, ...]
    tally: Tally
    lines: int
    end: int | None = None
    file: int = 0
    read: int = 0
    survey: Survey | None = None

    @property
    def rows(self) -> bytes:
        """Return the samples of all parts."""
        return b"".join(self.parts.values())


def columns(settings: Settings) -> tuple[str, ...]:
    """Return the names of a row's columns: those of the sample, of its images, and what the input's rows carry along.

    Raises:
        OptionError: A column that is carried along has the name of another.
    """
    packed = [name for name in PACK_COLUMNS if settings.pack and name not in SETS[settings.columns]]
    own = (*SETS[settings.columns], *packed, *((MEDIA,) if settings.images else ()))
    clash = next((name for name in settings.keep if name in own), None)
    if clash is not None:
        raise OptionError(f"--keep {clash}: the samples have a column of that name already; rename it in the input")
    return (*own, *settings.keep)


def tally_of(sample: TrainingSample) -> Tally:
    """Count one sample's tokens by role, and its messages of which nothing is rendered."""
    roles: dict[str, RoleTally] = {}
    spans = deque(sample.loss_spans)
    for run, (start, end) in sample.rendered.spans():
        while spans and spans[0][1] <= start:
            spans.popleft()
        trained = run.length if spans and spans[0][0] <= start else 0
        role = sample.rendered.role(run) or NOBODY
        roles[role] = roles.get(role, RoleTally()) + RoleTally(end - start, run.length * run.body, trained)
    dropped = (sample.rendered.message_roles[index] for index in sample.rendered.unrendered_messages)
    return Tally(samples=1, roles=roles, unrendered=dict(Counter(dropped)))


def batches(lines: Iterable[tuple[int, bytes]], first: int = 1, size: int = 256 * 1024) -> Iterator[Batch]:
    """Yield lines, which come with the place behind each, in groups of about `size` bytes. `first` numbers them."""
    group: list[bytes] = []
    ends: list[int] = []
    held = 0
    for end, line in lines:
        group.append(line)
        ends.append(end)
        held += len(line)
        if held >= size:
            yield Batch(first, tuple(group), tuple(ends))
            first += len(group)
            group, ends, held = [], [], 0
    if group:
        yield Batch(first, tuple(group), tuple(ends))


def build_samples(
    renderer: Renderer, settings: Settings, read: Conversation, *, strict: bool = False
) -> tuple[Sequence[TrainingSample], Tally]:
    """Build the samples of one conversation: one, or several where each turn stands behind the prompt it answered.

    Returns:
        The samples, and their count.

    Raises:
        Error: The conversation cannot be rendered, has nothing to train on or has too many tokens; under `strict` also
            where the format renders nothing of a message, or a turn does not begin with its prompt.
    """
    nulls = null_keys(read)
    read = without_nulls(read) if nulls and settings.drop_null else read
    contexts = _contexts(renderer, settings, read)
    short = _short_enough(renderer, settings, read, contexts)
    for sample in short.samples:
        if strict and sample.rendered.unrendered_messages:
            index = sample.rendered.unrendered_messages[0]
            role = sample.rendered.message_roles[index]
            raise LineError(f"messages[{index}]: this format renders nothing of this {role} message; leave it out")
    if strict and contexts.unprompted:
        raise LineError(unprompted_text(contexts.unprompted))
    flagged = dict(read_flags(read.messages).counts)
    tally = Tally(flagged=flagged, unprompted=len(contexts.unprompted), nulls=nulls, lost=short.lost)
    return short.samples, sum(map(tally_of, short.samples), tally)


def _short_enough(renderer: Renderer, settings: Settings, read: Conversation, contexts: Contexts) -> Fitted:
    """Return the samples as the settings want them shortened; every row of a pack has to fit in it."""
    max_tokens = settings.max_tokens or settings.pack
    if max_tokens is None:
        return Fitted(contexts.samples)

    def build(indices: Sequence[int], untrained: Collection[int]) -> Contexts:
        left = frozenset(untrained) | read.untrained
        some = [read.messages[index] for index in indices]
        places = frozenset(place for place, index in enumerate(indices) if index in left)
        try:
            return _contexts(renderer, settings, msgspec.structs.replace(read, messages=some, untrained=places))
        except NothingToTrainError:
            return Contexts(())

    return fitted(contexts, build, max_tokens, settings.too_long)


def untrained_in(read: Conversation) -> frozenset[int]:
    """Return the messages that are never trained on, and nobody (-1) with the first of them, whose opening it is."""
    untrained = read.untrained | read_flags(read.messages).untrained
    return untrained | {UNOWNED} if 0 in untrained else untrained


def with_scaffold(sample: TrainingSample, untrained: Collection[int]) -> TrainingSample:
    """Return a sample of which every token is trained on, but for those of messages that are left untrained."""
    trained = merge((run.length, run.message not in untrained) for run in sample.rendered.runs)
    ends = accumulate(length for length, _ in trained)
    spans = ((end - length, end) for (length, is_trained), end in zip(trained, ends, strict=True) if is_trained)
    return msgspec.structs.replace(sample, loss_spans=tuple(spans))


def _contexts(renderer: Renderer, settings: Settings, read: Conversation) -> Contexts:
    role_to_mask: RoleToMask | None = None if settings.loss.assistant else {}
    mask = [index not in read.untrained for index in range(len(read.messages))] if read.untrained else None
    trained_on = (role_to_mask, settings.loss.body_roles, mask)
    stops, parts = settings.ensure_final_stop, settings.loss.by_role
    if settings.turns == "together":
        given = (renderer, read.messages, read.tools, *trained_on)
        sample = build_training_sample(*given, stops, require_trainable=True, parts=parts)
        return Contexts((with_scaffold(sample, untrained_in(read)) if settings.loss.whole else sample,))
    wanted = chosen_parts(parts, role_to_mask, settings.loss.body_roles)
    chat, trained = chosen(renderer, read.messages, read.tools, *trained_on)
    contexts = training_contexts(renderer, chat, trained, ensure_final_stop=stops, parts=wanted)
    if not contexts.samples:
        raise nothing_to_train(chat)
    return contexts


def build_batch(renderer: Renderer, settings: Settings, strict: bool, batch: Batch) -> Built:
    """Build the samples of some rows.

    Under `strict` the batch ends before its first bad row, and that row is not accounted for.

    Args:
        renderer: Format and vocabulary.
        settings: What to train on, and how rows are written.
        strict: Whether to stop at a bad row.
        batch: The rows.
    """
    under_way = _UnderWay(renderer, settings, strict, batch)
    for number, row in enumerate(batch.rows(), batch.first):
        try:
            if not isinstance(row, bytes) or row.strip():
                under_way.build(number, row)
        except EncoderError:
            raise  # the vocabulary is at fault, and every other row would fail as well
        except Exception as error:  # whatever one row does, the others are not to be lost by it
            under_way.reject(number, row, error)
            if strict:
                break
        under_way.done += 1
    return under_way.built()


class _UnderWay:
    """What the rows of a batch became so far."""

    def __init__(self, renderer: Renderer, settings: Settings, strict: bool, batch: Batch) -> None:
        self.done = 0
        self._renderer = renderer
        self._settings = settings
        self._strict = strict
        self._batch = batch
        self._rows: dict[str, list[Row]] = {}
        self._rejected: list[Rejected] = []
        self._surveyed: list[tuple[int, int, TrainingSample]] = []
        self._tally = Tally()

    def build(self, number: int, row: InputRow) -> None:
        """Build the samples of a row."""
        settings = self._settings
        read = conversation(row, self._batch.form)
        samples, counted = build_samples(self._renderer, settings, read, strict=self._strict)
        rows = self._rows.setdefault(part_of(settings, read, number), [])
        rows += [row_of(sample, settings, read.fields) for sample in samples]
        self._surveyed += [(number, index, sample) for index, sample in enumerate(samples) if settings.surveyed]
        kept = {name: 1 for name in settings.keep if name in read.fields}
        self._tally += msgspec.structs.replace(counted, kept=kept, fields=tuple(read.fields) if settings.keep else ())

    def reject(self, number: int, row: InputRow, error: Exception) -> None:
        """Note a row that became no sample. Under `strict` it is not counted: it will be tried again."""
        original = row if isinstance(row, bytes) else tables.row_text(row)
        self._rejected.append(Rejected(number, reason_of(error), original, self._batch.file))
        if not self._strict:
            self._tally += Tally(rejected=1)

    def built(self) -> Built:
        """Return the result. Packs are made of whole batches, so that a build that goes on makes the same ones."""
        batch, settings = self._batch, self._settings
        stopped = self._strict and bool(self._rejected)
        if stopped and settings.pack:
            return Built({}, tuple(self._rejected), Tally(), 0, None, batch.file, batch.read)
        parts = {part: [row for row, _ in packed(rows, settings)] for part, rows in self._rows.items() if rows}
        tally = self._tally + Tally(written={part: len(rows) for part, rows in parts.items()})
        refused = [] if stopped else [(row.line, row.reason, row.original) for row in self._rejected]
        survey = survey_of(self._surveyed, refused) if settings.surveyed else None
        encoded = {part: _encoded(rows, settings) for part, rows in parts.items()}
        end = batch.ends[self.done - 1] if self.done and batch.ends else None
        return Built(encoded, tuple(self._rejected), tally, self.done, end, batch.file, batch.read, survey)


def parts_pattern(settings: Settings) -> str:
    r"""Return a pattern of the names of all parts that an output may have, "" where it is one file.

    Raises:
        OptionError: Options of length or parts do not go together.

    >>> parts_pattern(Settings(Loss(True), split=(("train", 0.9), ("val", 0.1)), shards=4))
    '(?:train|val)-\\d{5}(?:-of-\\d{5})?'
    """
    if settings.shards and settings.shard_size:
        raise OptionError("--shards and --shard-size: pass one of them")
    check_lengths(settings, lambda name: f"--{name.replace('_', '-')} ")
    names = [f"(?:{'|'.join(name for name, _ in settings.split)})"] if settings.split else []
    numbers = [r"\d{5}(?:-of-\d{5})?"] if settings.shards or settings.shard_size else []
    return "-".join([*names, *numbers])


def check_lengths(settings: Settings, spelled: Callable[[str], str], owner: str = "") -> None:
    """Raise an `OptionError` unless the options of length go together.

    Args:
        settings: The options.
        spelled: How an option is written before its value.
        owner: What the error begins with.
    """
    longest, packed = spelled("max_tokens"), spelled("pack")
    if settings.pack and settings.max_tokens and settings.max_tokens > settings.pack:
        raise OptionError(f"{owner}{longest}{settings.max_tokens} does not fit in {packed}{settings.pack}")
    if settings.too_long != "reject" and not (settings.max_tokens or settings.pack):
        bounds = f"{longest.rstrip(' =')} or {packed.rstrip(' =')}"
        raise OptionError(f"{owner}{spelled('too_long')}{settings.too_long}: say of how many tokens, with {bounds}")


def part_of(settings: Settings, read: Conversation, number: int) -> str:
    """Return the part of the output that the samples of a row belong to.

    A split is told by the conversation, a shard by the number of the row: both are the same however work is divided.
    """
    names = [split_of(read.messages, dict(settings.split))] if settings.split else []
    if settings.shards:
        names.append(f"{(number - 1) % settings.shards:05}-of-{settings.shards:05}")
    return "-".join(names)


def packed(rows: Sequence[Row], settings: Settings) -> Sequence[tuple[Row, Sequence[int]]]:
    """Return rows, packed where that is asked for, each with the numbers of the samples in it.

    What rows carry along becomes a list of one value a sample.
    """
    if not settings.pack:
        return [(row, (number,)) for number, row in enumerate(rows)]
    packs = pack([cast(int, row["length"]) for row in rows], settings.pack)
    return [(_one_row([rows[number] for number in one], settings), one) for one in packs]


def _one_row(rows: Sequence[Row], settings: Settings) -> Row:
    own = SETS[settings.columns]
    whole: Row = {**packed_row([{name: cast(Column, row[name]) for name in own} for row in rows])}
    if settings.images:
        media: MultiModalData | None = None
        for row, first in zip(rows, accumulate((cast(int, row["length"]) for row in rows), initial=0), strict=False):
            media = followed(media, first, cast("MultiModalData | None", row[MEDIA]))
        whole[MEDIA] = media
    whole.update((name, [row[name] for row in rows]) for name in settings.keep)
    return whole


def reason_of(error: Exception) -> str:
    """Return what is said of a conversation that became no sample."""
    return str(error) if isinstance(error, Error) else f"internal error: {type(error).__name__}: {error}"


def row_of(sample: TrainingSample, settings: Settings, fields: Mapping[str, object]) -> Row:
    """Return a sample as it is written, with the fields of the input that are kept."""
    row: Row = {**sample.columns(settings.columns)}
    if settings.images:
        row[MEDIA] = sample.rendered.multi_modal_data
    row.update((name, fields.get(name)) for name in settings.keep)
    return row


def _encoded(rows: Sequence[Row], settings: Settings) -> bytes:
    if settings.format == "parquet":
        return arrow.record_batch(rows) if rows else b""
    return member(b"".join([msgspec.json.encode(row) + b"\n" for row in rows]), settings.compression)
