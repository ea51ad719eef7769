"""Rows of conversations to training samples: batches of rows in, encoded rows out. Pure: no file, nothing printed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from isc._parts import PARTS, is_part
from isc.build import arrow, tables
from isc.build.conversations import Conversation
from isc.build.forms import Form, InputRow, conversation
from isc.build.nulls import null_keys, without_nulls
from isc.build.survey import Survey, survey_of
from isc.conversation.columns import SETS, ColumnSet
from isc.conversation.contexts import Contexts, training_contexts, unprompted_text
from isc.conversation.flags import read_flags
from isc.conversation.renderer import Renderer
from isc.conversation.training import (
    RoleToMask,
    TrainingSample,
    build_training_sample,
    chosen,
    chosen_parts,
    nothing_to_train,
)
from isc.errors import EncoderError, Error, OptionError
from isc.types import BodyPart, Role

SampleFormat: TypeAlias = Literal["jsonl", "parquet"]
Turns: TypeAlias = Literal["together", "each"]
"""Whether a conversation is one sample, or one for each stretch of turns that extend each other."""
NOBODY = "nobody"
MEDIA = "multi_modal_data"
"""The column of a row's images."""

_BODIES = "-bodies"


class LineError(Error, ValueError):
    """A line that can be rendered, but not become a sample as the options ask."""


class Loss(Struct, frozen=True):
    """What is trained on: what the model samples (`assistant`), and the bodies of messages of these roles.

    `parts`: of which roles it is these parts of the bodies alone.
    """

    assistant: bool
    body_roles: tuple[str, ...] = ()
    parts: tuple[tuple[str, tuple[BodyPart, ...]], ...] = ()

    @property
    def by_role(self) -> dict[str, tuple[BodyPart, ...]] | None:
        """Return the parts by role, as samples are asked for them; None where all of every body is trained on."""
        return dict(self.parts) or None

    def __str__(self) -> str:
        parts = dict(self.parts)
        whole = [role for role in ("assistant", *self.body_roles) if role not in parts]
        terms = ["assistant" if role == "assistant" else role + _BODIES for role in whole]
        terms = terms if self.assistant else [term for term in terms if term != "assistant"]
        return "+".join([*terms, *(f"{role}:{part}" for role, parts in self.parts for part in parts)])


def loss_terms() -> tuple[str, ...]:
    """Return every term of a loss."""
    return ("assistant", *(role + _BODIES for role in get_args(Role) if role != "assistant"))


def parse_loss(text: str) -> Loss:
    """Read terms joined by `+`.

    Args:
        text: E.g. `assistant+tool-bodies`, or `assistant:content+assistant:close` for parts of bodies. Order and
            repetition do not matter.

    Raises:
        OptionError: A term is unknown; lists them.

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
            terms = ", ".join((*loss_terms(), "and ROLE:PART"))
            raise OptionError(
                f"--loss: {term!r} is no term; terms, joined by +, are {terms}, with a part of {', '.join(PARTS)}"
            )
    roles = [role for role in get_args(Role) if role in whole or role in parts]
    chosen_parts = tuple(
        (role, tuple(part for part in PARTS if part in parts[role])) for role in roles if role not in whole
    )
    return Loss("assistant" in roles, tuple(role for role in roles if role != "assistant"), chosen_parts)


class Settings(Struct, frozen=True):
    """All that decides what a line becomes, so that two builds can be told apart.

    `family`, `vocabulary_digest` and `version` describe the renderer for that purpose; nothing is loaded by them.
    `vocabulary` is its name, for people: a directory that was moved holds the same vocabulary. `date` is the day that
    the text names as the present one, "" for a format that names none. `surveyed`: whether a survey is taken.
    """

    loss: Loss
    format: SampleFormat = "jsonl"
    columns: ColumnSet = "labels"
    keep: tuple[str, ...] = ()
    turns: Turns = "together"
    ensure_final_stop: bool = False
    max_tokens: int | None = None
    form: Form | None = None
    drop_null: bool = False
    images: bool = False
    family: str = ""
    vocabulary: str = ""
    vocabulary_digest: str = ""
    date: str = ""
    version: str = ""
    images_from: str = ""
    surveyed: bool = False


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
    """

    samples: int = 0
    rejected: int = 0
    roles: dict[str, RoleTally] = {}
    flagged: dict[str, int] = {}
    unrendered: dict[str, int] = {}
    unprompted: int = 0
    nulls: dict[str, int] = {}

    def __add__(self, other: Tally) -> Tally:
        names = dict.fromkeys((*self.roles, *other.roles))
        empty = RoleTally()
        roles = {name: self.roles.get(name, empty) + other.roles.get(name, empty) for name in names}
        counts = (_added(self.flagged, other.flagged), _added(self.unrendered, other.unrendered))
        unprompted = self.unprompted + other.unprompted
        nulls = _added(self.nulls, other.nulls)
        return Tally(self.samples + other.samples, self.rejected + other.rejected, roles, *counts, unprompted, nulls)


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
        rows: The samples, encoded.
        rejected: The rows that became none.
        tally: What became of the rows.
        lines: How many rows are accounted for.
        end: The place in the file behind them; None where not one is.
        file: The number of the file among the inputs.
        read: How much of the file was read, for people.
        survey: What a report shows of them, where one is taken.
    """

    rows: bytes
    rejected: tuple[Rejected, ...]
    tally: Tally
    lines: int
    end: int | None = None
    file: int = 0
    read: int = 0
    survey: Survey | None = None


def columns(settings: Settings) -> tuple[str, ...]:
    """Return the names of a row's columns: those of the sample, of its images, and what the input's rows carry along.

    Raises:
        OptionError: A column that is carried along has the name of another.
    """
    own = (*SETS[settings.columns], *((MEDIA,) if settings.images else ()))
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
    contexts = _contexts(renderer, settings, without_nulls(read) if nulls and settings.drop_null else read)
    for sample in contexts.samples:
        count = len(sample.token_ids)
        if settings.max_tokens is not None and count > settings.max_tokens:
            raise LineError(f"{count} tokens, more than --max-tokens {settings.max_tokens}")
        if strict and sample.rendered.unrendered_messages:
            index = sample.rendered.unrendered_messages[0]
            role = sample.rendered.message_roles[index]
            raise LineError(f"messages[{index}]: this format renders nothing of this {role} message; leave it out")
    if strict and contexts.unprompted:
        raise LineError(unprompted_text(contexts.unprompted))
    tally = Tally(flagged=dict(read_flags(read.messages).counts), unprompted=len(contexts.unprompted), nulls=nulls)
    return contexts.samples, sum(map(tally_of, contexts.samples), tally)


def _contexts(renderer: Renderer, settings: Settings, read: Conversation) -> Contexts:
    role_to_mask: RoleToMask | None = None if settings.loss.assistant else {}
    mask = [index not in read.untrained for index in range(len(read.messages))] if read.untrained else None
    trained_on = (role_to_mask, settings.loss.body_roles, mask)
    stops, parts = settings.ensure_final_stop, settings.loss.by_role
    if settings.turns == "together":
        given = (renderer, read.messages, read.tools, *trained_on)
        return Contexts((build_training_sample(*given, stops, require_trainable=True, parts=parts),))
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
    written: list[Row] = []
    rejected: list[Rejected] = []
    surveyed: list[tuple[int, int, TrainingSample]] = []
    tally = Tally()
    done = 0
    for number, row in enumerate(batch.rows(), batch.first):
        try:
            if not isinstance(row, bytes) or row.strip():
                read = conversation(row, batch.form)
                samples, counted = build_samples(renderer, settings, read, strict=strict)
                written += [row_of(sample, settings, read.fields) for sample in samples]
                surveyed += [(number, index, sample) for index, sample in enumerate(samples) if settings.surveyed]
                tally += counted
        except EncoderError:
            raise  # the vocabulary is at fault, and every other row would fail as well
        except Exception as error:  # whatever one row does, the others are not to be lost by it
            rejected.append(_rejected(number, row, error, batch.file))
            if strict:
                break
            tally += Tally(rejected=1)
        done += 1
    end = batch.ends[done - 1] if done and batch.ends else None
    refused = [] if strict else [(row.line, row.reason, row.original) for row in rejected]
    survey = survey_of(surveyed, refused) if settings.surveyed else None
    done_with = (tally, done, end, batch.file, batch.read)
    return Built(_encoded(written, settings.format), tuple(rejected), *done_with, survey)


def _rejected(number: int, row: InputRow, error: Exception, file: int) -> Rejected:
    return Rejected(number, reason_of(error), row if isinstance(row, bytes) else tables.row_text(row), file)


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


def _encoded(rows: Sequence[Row], form: SampleFormat) -> bytes:
    if form == "parquet":
        return arrow.record_batch(rows) if rows else b""
    return b"".join([msgspec.json.encode(row) + b"\n" for row in rows])
