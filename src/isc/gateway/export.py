"""A record as files that trainers read: one row a sample, as Parquet or as JSON Lines. A file appears whole or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from isc._later import Later
from isc.errors import OptionError
from isc.gateway.reports import RewardedSample, SessionSamples
from isc.gateway.samples import SampledSpan

if TYPE_CHECKING:
    import pyarrow
else:
    pyarrow = Later

_AT_ONCE = 64  # rows that are written together


class Row(Struct, frozen=True):
    """A sample as a row.

    Attributes:
        session: The session's name.
        branch: The turn that the sample ends with, by its number.
        reward: The reward of that turn, or of the session; None where there is neither.
        finished: Whether the session takes no more turns.
        input_ids: The ids.
        loss_mask: For each whether it was sampled, and is trained on here.
        logprobs: For each the log-probability that its sampler reported; None where it was not sampled.
        message_indices: For each the message that owns it, -1 for none.
        is_content: For each whether it is body.
        message_roles: The role of each message.
        messages: The conversation.
        spans: Which turn, weights and engine the tokens that are trained on are of.
    """

    session: str
    branch: int
    reward: float | None
    finished: bool
    input_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    logprobs: tuple[float | None, ...]
    message_indices: tuple[int, ...]
    is_content: tuple[bool, ...]
    message_roles: tuple[str, ...]
    messages: msgspec.Raw
    spans: tuple[SampledSpan, ...]


def rows(sessions: Iterable[SessionSamples]) -> Iterator[Row]:
    """Yield the samples of sessions as rows.

    Args:
        sessions: What `isc.gateway.reports.session_samples` makes of each.

    >>> list(rows([SessionSamples("a", False, None, ())]))
    []
    """
    for session in sessions:
        for rewarded in session.samples:
            yield _row(session, rewarded)


def _row(session: SessionSamples, rewarded: RewardedSample) -> Row:
    sample = rewarded.sample
    return Row(
        session.name,
        sample.branch,
        rewarded.reward,
        session.finished,
        sample.token_ids,
        sample.loss_mask,
        sample.logprobs,
        sample.rendered.message_indices,
        sample.rendered.is_content,
        sample.rendered.message_roles,
        msgspec.Raw(msgspec.json.encode(sample.messages)),
        sample.spans,
    )


def write_rows(every: Iterable[Row], output: Path) -> int:
    """Write rows to a file that appears once it is whole, and return how many there are.

    Args:
        every: The rows.
        output: The file; its name ends in `.parquet` or `.jsonl`.

    Raises:
        OptionError: Its name has another ending, or pyarrow is missing.
    """
    writers: dict[str, Callable[[Iterable[Row], Path], int]] = {".parquet": _write_parquet, ".jsonl": _write_lines}
    write = writers.get(output.suffix)
    if write is None:
        raise OptionError(f"-o {output}: the name must end in .jsonl or .parquet, which says what is written")
    partial = output.with_name(f"{output.name}.partial")
    try:
        count = write(every, partial)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _write_lines(every: Iterable[Row], target: Path) -> int:
    count = 0
    with target.open("wb") as stream:
        for row in every:
            stream.write(msgspec.json.encode(row) + b"\n")
            count += 1
    return count


def _write_parquet(every: Iterable[Row], target: Path) -> int:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise OptionError('a .parquet output needs pyarrow: pip install "isc[arrow]"') from None
    count, held = 0, list[Row]()
    with parquet.ParquetWriter(str(target), _schema(), compression="zstd") as writer:
        for row in every:
            held.append(row)
            count += 1
            if len(held) == _AT_ONCE:
                writer.write_table(_table(held))
                held = []
        if held:
            writer.write_table(_table(held))
    return count


def _table(held: list[Row]) -> pyarrow.Table:
    import pyarrow

    fields = [msgspec.structs.asdict(row) for row in held]
    for values in fields:
        values["messages"] = bytes(values["messages"]).decode()
        values["spans"] = msgspec.json.encode(values["spans"]).decode()
    return pyarrow.Table.from_pylist(fields, schema=_schema())


def _schema() -> pyarrow.Schema:
    import pyarrow

    lists = {
        "input_ids": pyarrow.int32(),
        "loss_mask": pyarrow.bool_(),
        "logprobs": pyarrow.float64(),
        "message_indices": pyarrow.int32(),
        "is_content": pyarrow.bool_(),
        "message_roles": pyarrow.string(),
    }
    plain = {"branch": pyarrow.int32(), "reward": pyarrow.float64(), "finished": pyarrow.bool_()}
    names = [field.name for field in msgspec.structs.fields(Row)]
    kinds = {**plain, **{name: pyarrow.list_(kind) for name, kind in lists.items()}}
    return pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names])
