"""The step from conversations to training samples, as a small object that data engines call: datasets, Ray, Spark.

A stage is pickled as its arguments. It loads its model where it is first called, once a process.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeAlias, overload, runtime_checkable

from msgspec import Meta
from msgspec.structs import replace

from isc._later import Later
from isc._options import checked
from isc._sources import Source
from isc.build import arrow, samples
from isc.build.forms import Form, conversation, form_of
from isc.build.samples import Row, Settings
from isc.conversation.columns import ColumnSet
from isc.conversation.lengths import TooLong, Turns
from isc.conversation.renderer import Renderer
from isc.errors import EncoderError, Error, OptionError
from isc.formats.base import Family
from isc.loading import load
from isc.types import Json

if TYPE_CHECKING:
    import pyarrow
else:
    pyarrow = Later

__all__ = ["OnError", "StageError", "ToSamples"]

OnError: TypeAlias = Literal["column", "skip", "raise"]
"""What a row gives that becomes no sample: a row of nulls with the reason, no row, or an error."""

_ERROR = "error"
_Count: TypeAlias = Annotated[int, Meta(ge=1)]
_RENDERERS = 4  # loaded at once in a process, each with its vocabulary


class StageError(Error, ValueError):
    """A row became no sample, or a stage is called with another isc, or for other files, than it was made with."""


@runtime_checkable
class _Array(Protocol):
    """A column or a value of numpy, as Ray gives them by default."""

    def tolist(self) -> object: ...


@dataclass(frozen=True)  # no Struct: Ray makes a subclass of it with an `__init__`, which a Struct refuses
class ToSamples:
    """Conversations to training samples, a batch at a time: a callable that takes a batch and returns one.

    A batch is a dict of columns, a `pyarrow.Table` or a `pyarrow.RecordBatch`, with a column `messages` and perhaps one
    `tools`, or those of another form that `isc build` reads. The result is of the same kind. It has the columns of the
    samples, `error` under `on_error="column"`, and the columns that `keep` names, in this order.

    Args:
        model: Hub id or directory, as for `isc.load`; or a `Renderer`, which is pickled by the source of its parts.
        loss: What is trained on, as for `isc build`: `assistant`, `tool-bodies`, ... joined by `+`.
        columns: See `isc.TrainingSample.columns`.
        on_error: `"column"` gives a row of nulls with the reason in the column `error`, `"skip"` no row, `"raise"` a
            `StageError`.
        family: See `isc.load`.
        options: Options of the chat format, such as `{"enable_thinking": False}`.
        revision: Branch, tag or commit on the hub. A commit makes sure that every worker reads the same files.
        keep: Columns of the batch to carry along.
        turns: `"each"` gives a sample for each stretch of turns that extend each other, see
            `isc.build_training_samples`.
        ensure_final_stop: See `isc.build_training_sample`.
        max_tokens: The most tokens of a sample.
        date: The day, YYYY-MM-DD, for formats that name the present one. Without it each process asks its clock.
        form: How a row holds its conversation, as for `isc build --format`; None tells it by the row's keys.
        drop_null: Whether keys that Arrow padded with null are left out of arguments and tools.
        too_long: What becomes of a sample of more than `max_tokens` (or `pack`) tokens, see `isc.fit_training_samples`;
            rejected, the conversation becomes none.
        pack: The samples of a batch are put together in rows of up to so many tokens, see `isc.pack_samples`. What
            `keep` carries along is then a list of one value a sample, and rows of nulls follow the packs. Batches
            should have many times that length.
        made_with: Filled in: isc's version. A process with another refuses the stage.
        made_for: Filled in: a digest of the files in a model's directory. A process that finds others there refuses.

    Raises:
        OptionError: A term of the loss, a set of columns or a way with errors does not exist; options of length do not
            go together; or family, options or revision are given beside a `Renderer`, which has its own.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    >>> stage = isc.stages.ToSamples(renderer, columns="spans")
    >>> batch = stage({"messages": [chat, []], "id": [1, 2]})
    >>> list(batch), batch["length"][1] is None
    (['input_ids', 'loss_spans', 'length', 'error'], True)
    """

    model: str | os.PathLike[str] | Renderer
    loss: str = "assistant"
    columns: ColumnSet = "labels"
    on_error: OnError = "column"
    family: Family | str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    revision: str | None = None
    keep: tuple[str, ...] = ()
    turns: Turns = "together"
    ensure_final_stop: bool = False
    max_tokens: int | None = None
    date: str | None = None
    form: Form | None = None
    drop_null: bool = False
    too_long: TooLong = "reject"
    pack: int | None = None
    made_with: str = ""
    made_for: str = ""

    def __post_init__(self) -> None:
        checked("columns", self.columns, ColumnSet, "ToSamples")
        checked("on_error", self.on_error, OnError, "ToSamples")
        checked("turns", self.turns, Turns, "ToSamples")
        checked("form", self.form, Form | None, "ToSamples")
        checked("too_long", self.too_long, TooLong, "ToSamples")
        checked("max_tokens", self.max_tokens, _Count | None, "ToSamples")
        checked("pack", self.pack, _Count | None, "ToSamples")
        samples.check_lengths(self._settings(images=True), "{}=".format, "ToSamples: ")
        taken = (*samples.columns(self._settings(images=True)), _ERROR)
        clash = next((name for name in self.keep if name in taken), None)
        if clash is not None:
            raise OptionError(
                f"ToSamples: keep={clash!r}: the samples have such a column already; rename it in the input"
            )
        if isinstance(self.model, Renderer) and (self.family is not None or self.options or self.revision is not None):
            raise OptionError(
                "ToSamples: a Renderer has its own family, options and files; give a model's name instead"
            )
        if not isinstance(self.model, Renderer):
            object.__setattr__(self, "model", os.fspath(self.model))  # a path and its text are one stage
        object.__setattr__(self, "made_with", self.made_with or version("isc"))
        object.__setattr__(self, "made_for", self.made_for or _files_of(self.model))

    @property
    def renderer(self) -> Renderer:
        """Return the renderer, loaded once a process for all stages with the same choices.

        Raises:
            StageError: The stage was made with another version of isc, or for other files.
            Error: See `isc.load`.
        """
        here = version("isc")
        if self.made_with != here:
            raise StageError(
                f"this stage was made with isc {self.made_with}, and this process has isc {here}: install one"
            )
        if isinstance(self.model, Renderer):
            return _on_day(self.model, self.date)
        choices = (os.fspath(self.model), self.family, dict(self.options), self.revision, self.date, self.made_for)
        return _loaded(pickle.dumps(choices))

    @property
    def schema(self) -> pyarrow.Schema:
        """Return the types of a result's columns, but for those that `keep` names. Loads the model; needs pyarrow."""
        names = samples.columns(self._settings(images=self.renderer.images is not None))
        return arrow.schema_of((*names, *([_ERROR] if self.on_error == "column" else [])))

    @overload
    def __call__(self, batch: Mapping[str, Sequence[object]]) -> dict[str, list[object]]: ...
    @overload
    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table: ...
    @overload
    def __call__(self, batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch: ...
    def __call__(self, batch: object) -> dict[str, list[object]] | pyarrow.Table | pyarrow.RecordBatch:
        """Turn a batch of conversations into one of training samples.

        Args:
            batch: The columns.

        Raises:
            StageError: A row becomes no sample, under `on_error="raise"`; see also `renderer`.
            OptionError: The batch is of another kind, or lacks a column to keep.
            EncoderError: The vocabulary cannot encode a text, at which every row would fail as well.
            Error: The model cannot be loaded, see `isc.load`.
        """
        if isinstance(batch, Mapping):
            return self._of_columns(batch)
        import pyarrow

        if isinstance(batch, pyarrow.Table):
            return self._of_table(batch)
        if isinstance(batch, pyarrow.RecordBatch):
            whole = self._of_table(pyarrow.Table.from_batches([batch])).combine_chunks()
            return (whole.to_batches() or [pyarrow.RecordBatch.from_pylist([], schema=whole.schema)])[0]
        kinds = (
            'a dict of columns, a pyarrow.Table or a pyarrow.RecordBatch (Ray gives one under batch_format="pyarrow")'
        )
        raise OptionError(f"ToSamples: a batch is {kinds}, not a {type(batch).__name__}")

    def over(self, batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """Yield the result of each batch, as the `mapInArrow` of a Spark frame asks for it.

        Args:
            batches: Record batches of conversations.

        Raises:
            Error: See `__call__`.
        """
        yield from map(self, batches)

    def _of_columns(self, batch: Mapping[str, Sequence[object]]) -> dict[str, list[object]]:
        given = {name: _plain(column) for name, column in batch.items()}
        self._check_kept(given)
        built = self._built([dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)])
        written = {name: [_written(name, row[name]) for row in built.rows] for name in built.names}
        if self.on_error == "column":
            written[_ERROR] = list(built.reasons)
        for name in self.keep:
            values = [[given[name][number] for number in numbers] for numbers in built.origins]
            written[name] = list(values) if self.pack else [value for (value,) in values]
        return written

    def _of_table(self, batch: pyarrow.Table) -> pyarrow.Table:
        import pyarrow

        self._check_kept(batch.column_names)
        built = self._built(batch.to_pylist())
        table = pyarrow.Table.from_batches([arrow.batch_of(built.rows, built.names)])
        if self.on_error == "column":
            table = table.append_column(_ERROR, pyarrow.array(built.reasons, pyarrow.string()))
        numbers = pyarrow.array([*chain.from_iterable(built.origins)], pyarrow.int64())
        ends = pyarrow.array([*accumulate(map(len, built.origins), initial=0)], pyarrow.int32())
        for name in self.keep:
            kept = batch.column(name).take(numbers)
            whole = pyarrow.ListArray.from_arrays(ends, kept.combine_chunks()) if self.pack else kept
            table = table.append_column(name, whole)
        return table

    def _check_kept(self, names: Collection[str]) -> None:
        lacking = next((name for name in self.keep if name not in names), None)
        if lacking is not None:
            raise OptionError(f"ToSamples: keep={lacking!r} is no column of the batch, which has {', '.join(names)}")

    def _built(self, rows: Sequence[Mapping[str, object]]) -> _Built:
        """Build the samples of some rows, and do with those that become none as the stage was told."""
        renderer = self.renderer
        settings = self._settings(images=renderer.images is not None)
        built = _Built(settings)
        for number, row in enumerate(rows):
            try:
                read = conversation(row, self.form or form_of(row) or "messages")
                for sample in samples.build_samples(renderer, settings, read)[0]:
                    built.add(samples.row_of(sample, settings, {}), number)
            except EncoderError:
                raise  # the vocabulary is at fault, and every other row would fail as well
            except Exception as error:  # whatever one row does, the others are not to be lost by it
                if self.on_error == "raise":
                    raise StageError(f"row {number} of the batch: {samples.reason_of(error)}") from error
                if self.on_error == "column":
                    built.add(dict.fromkeys(built.names), number, reason=samples.reason_of(error))
        return built.packed()

    def _settings(self, *, images: bool) -> Settings:
        return Settings(
            samples.parse_loss(self.loss),
            columns=self.columns,
            turns=self.turns,
            ensure_final_stop=self.ensure_final_stop,
            max_tokens=self.max_tokens,
            too_long=self.too_long,
            pack=self.pack,
            drop_null=self.drop_null,
            images=images,
        )


class _Built:
    """Rows that a batch became: each with the numbers of the rows it came from, and why that one became none."""

    def __init__(self, settings: Settings) -> None:
        self.names = samples.columns(settings)
        self.rows: list[Row] = []
        self.origins: list[tuple[int, ...]] = []
        self.reasons: list[str | None] = []
        self._settings = settings

    def add(self, row: Row, *origins: int, reason: str | None = None) -> None:
        """Append a row."""
        self.rows.append(row)
        self.origins.append(origins)
        self.reasons.append(reason)

    def packed(self) -> _Built:
        """Return the rows packed, where that is asked for, before those that are no samples."""
        if not self._settings.pack:
            return self
        good = [number for number, reason in enumerate(self.reasons) if reason is None]
        built = _Built(self._settings)
        for row, members in samples.packed([self.rows[number] for number in good], self._settings):
            built.add(row, *(self.origins[good[member]][0] for member in members))
        for number in (number for number, reason in enumerate(self.reasons) if reason is not None):
            built.add(self.rows[number], *self.origins[number], reason=self.reasons[number])
        return built


def _files_of(model: str | os.PathLike[str] | Renderer) -> str:
    """Return a digest of the files of a model that is a directory of this machine; "" for any other."""
    source = None if isinstance(model, Renderer) else Source(os.fspath(model))
    return source.digest() if source is not None and source.is_directory else ""


@lru_cache(maxsize=_RENDERERS)
def _loaded(choices: bytes) -> Renderer:
    """Load the renderer of a stage's choices, pickled, which make a key of any options."""
    model, family, options, revision, date, made_for = pickle.loads(choices)
    if made_for and Source(model).digest() != made_for:
        raise StageError(f"{model} holds other files here than where this stage was made; make it anew, or copy them")
    return _on_day(load(model, family, revision, **options), date)


def _on_day(renderer: Renderer, date: str | None) -> Renderer:
    return renderer if date is None else replace(renderer, family=renderer.family.dated(date))


def _plain(column: object) -> list[object]:
    """Return a column as a list; numpy's arrays in it become lists as well."""
    if isinstance(column, _Array):
        return _plain(column.tolist())
    if isinstance(column, Sequence) and not isinstance(column, str):
        return [_without_arrays(value) for value in column]
    raise OptionError(f"ToSamples: a column is a list of values, one a row, not a {type(column).__name__}")


def _without_arrays(value: object) -> object:
    if isinstance(value, _Array):
        return _without_arrays(value.tolist())
    if isinstance(value, Mapping):
        return {name: _without_arrays(field) for name, field in value.items()}
    return [_without_arrays(item) for item in value] if isinstance(value, list | tuple) else value


def _written(name: str, value: object) -> object:
    """Return a value of a sample as plain Python: what is of images is text."""
    return arrow.as_text(value) if name == samples.MEDIA else value
