"""Arguments that commands share, and the consoles they print to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter, validators
from rich.console import Console

from isc.build.forms import Form
from isc.conversation.columns import ColumnSet
from isc.conversation.lengths import TooLong, Turns
from isc.conversation.splits import check_shares

BuildEngine: TypeAlias = Literal["processes", "ray"]


def _check_file(_kind: object, value: str | Path | tuple[str, ...] | None) -> None:
    """Refuse a file name that is meant as an option. A file may begin with a hyphen, since `-` is a standard stream."""
    for name in value if isinstance(value, tuple) else (str(value),):
        if name.startswith("-") and name != "-":
            raise ValueError(f"There is no option {name}.")


def _check_date(_kind: object, value: str | None) -> None:
    if value is not None:
        try:
            date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value} is no day; give YYYY-MM-DD.") from None


def shares_of(text: str) -> tuple[tuple[str, float], ...]:
    """Read splits and their shares.

    Raises:
        ValueError: A name or a share is none, a name comes twice, or the shares do not add up to 1.

    >>> shares_of("train=0.9,val=0.1")
    (('train', 0.9), ('val', 0.1))
    """
    shares: dict[str, float] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, share = item.partition("=")
        if not re.fullmatch(r"\w+", name) or name in shares or not re.fullmatch(r"\d*\.?\d+", share):
            raise ValueError(f"{item} is no split; give NAME=SHARE,NAME=SHARE, such as train=0.98,val=0.02.")
        shares[name] = float(share)
    if shares:
        check_shares(shares)
    return tuple(shares.items())


def bytes_of(text: str) -> int:
    """Read a number of bytes.

    Raises:
        ValueError: It is none.

    >>> bytes_of("2MB"), bytes_of("512")
    (2000000, 512)
    """
    size = re.fullmatch(r"(\d+)\s*([kKmMgG]?)[bB]?", text.strip())
    if size is None or not int(size[1]):
        raise ValueError(f"{text} is no size; give bytes, or such as 500MB or 2GB.")
    return int(size[1]) * {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}[size[2].upper()]


def seconds_of(text: str) -> int:
    """Read a time of an hour or more.

    Raises:
        ValueError: It is none, or less.

    >>> seconds_of("12h"), seconds_of("30d")
    (43200, 2592000)
    """
    time = re.fullmatch(r"([1-9]\d{0,5})([hd])", text.strip())
    if time is None:
        raise ValueError(f"{text} is no age; give hours or days, such as 12h or 30d.")
    return int(time[1]) * {"h": 3600, "d": 86_400}[time[2]]


def _check_split(_kind: object, value: str) -> None:
    shares_of(value)


def _check_size(_kind: object, value: str | None) -> None:
    if value is not None:
        bytes_of(value)


def _check_age(_kind: object, value: str | None) -> None:
    if value is not None:
        seconds_of(value)


File = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_check_file)]
WrittenFile = Annotated[Path | None, Parameter(allow_leading_hyphen=True, validator=_check_file)]
Age = Annotated[str, Parameter(validator=_check_age)]
Output = Annotated[Path, Parameter(("--output", "-o"), allow_leading_hyphen=True, validator=_check_file)]
Whole = Annotated[int, Parameter(validator=validators.Number(gte=1))]


@Parameter(name="*")
@dataclass(frozen=True)
class Format:
    """Which chat format, and whose vocabulary."""

    family: str | None = None
    """Chat format, see `isc families`. Without --model, ids are of a small vocabulary that isc carries itself."""
    model: str | None = None
    """The model whose vocabulary is used: hub id, or directory. Its family is found, if --family does not give it."""
    option: tuple[str, ...] = ()
    """A template option, NAME=VALUE, of the family or of the model's own template. Can be repeated."""
    template: str | None = None
    """Which of the model's own chat templates is used, by its name. By default tool_use where there are tools, and
    default elsewhere."""
    images_from: Path | None = None
    """Directory whose image files conversations may name. Without it they open no file: images are data URLs."""


@Parameter(name="*")
@dataclass(frozen=True)
class Samples:
    """What a training sample is."""

    loss: str = "assistant"
    """What is trained on: terms joined by +. `assistant`, the default, is all that the model samples; `tool-bodies`,
    `user-bodies`, `system-bodies` and `developer-bodies` are what messages of these roles say, without the format
    around it; `all` is every token, the format's too.
    `assistant:content` and the like are one part of that alone: reasoning, content, tool_call (a whole call),
    tool_name, tool_arguments, close, marker; tool_result of a tool."""
    columns: ColumnSet = "labels"
    """What stands beside input_ids and length. `labels`: the ids with -100 where nothing is trained, as TRL, Trainer
    and LLaMA-Factory read them. `trl`: completion_mask and assistant_masks. `mask`: loss_mask. `spans`:
    loss_spans, in half the space. `shifted`: target_ids, loss_mask and position_ids, as prime-rl batches them.
    `attribution`: loss_mask, message_indices, is_content, sampled_mask and message_roles."""
    format: Form | None = None
    """How the rows hold conversations, where the files do not tell: `messages`, `prompt-completion`, `sharegpt` or
    `alpaca`."""
    drop_null: bool = False
    """Leave out keys that are null in arguments and in tools, with which Arrow pads rows."""
    keep: str = ""
    """Fields of the input's rows to carry along as columns of their own, joined by commas: --keep id,source."""
    turns: Turns = "together"
    """`together`: one sample a conversation. `each`: the fewest samples in which every turn is trained on once, behind
    the prompt it answered; a format that drops earlier reasoning needs several."""
    ensure_final_stop: bool = False
    """Add the stop token that a last assistant turn of this format is left without."""
    date: Annotated[str | None, Parameter(validator=_check_date)] = None
    """The day, YYYY-MM-DD, that formats which name the present day are told, in all samples. By default the day on
    which the build began, also when it is resumed."""
    max_tokens: Whole | None = None
    """The most tokens of a sample; without --too-long, longer ones are rejected."""
    too_long: TooLong = "reject"
    """What becomes of a longer one. `truncate-left-turns`: its first exchanges are left out, each a user message and
    all that follows it. `split`: it becomes several samples, of whole exchanges. `truncate-right`: its last tokens are
    cut off, wherever that is. The summary counts what is lost."""
    pack: Whole | None = None
    """Put samples together in rows of up to so many tokens, none cut, with position_ids and seq_lengths. A longer
    sample is treated as one of too many tokens."""
    split: Annotated[str, Parameter(validator=_check_split)] = ""
    """Write files of their own, e.g. OUT-train and OUT-val under train=0.98,val=0.02. The messages decide where a
    conversation goes: the same in every run, duplicates together."""
    shards: Whole | None = None
    """Write so many files, OUT-00000-of-00004 and so on, in turn."""
    shard_size: Annotated[str | None, Parameter(validator=_check_size)] = None
    """Begin another file, OUT-00001 and so on, behind so many bytes, such as 500MB: of a .parquet before it is
    compressed, of a .jsonl.gz or .jsonl.zst as it lies there."""

    @property
    def shares(self) -> tuple[tuple[str, float], ...]:
        """Return the share of each split."""
        return shares_of(self.split)

    @property
    def shard_bytes(self) -> int | None:
        """Return the bytes behind which another shard begins."""
        return bytes_of(self.shard_size) if self.shard_size else None


@Parameter(name="*")
@dataclass(frozen=True)
class Look:
    """How tokens are shown in a terminal."""

    ids: bool = False
    """One token a line, with position, id and attribution."""
    parts: bool = False
    """Tell the parts of bodies apart: reasoning, content, a call's name, its arguments, ..."""
    legend: bool = False
    """Explain every mark first."""


@Parameter(name="*")
@dataclass(frozen=True)
class PageFile:
    """Whether a conversation is shown on a page of HTML, and what is marked as trained on."""

    html: WrittenFile = None
    """Write a page for a browser instead: one file, which shows every token with its owner and whether it is trained
    on. `-` is standard output."""
    loss: str = "assistant"
    """What is marked as trained on; as for `isc build`."""
    overwrite: bool = False
    """Replace the page if it is there."""


@Parameter(name="*")
@dataclass(frozen=True)
class Manner:
    """How a build is run, which has no influence on what it gives."""

    workers: Whole | None = None
    """Processes. By default one for every 16 MB of input, up to the cores; with --engine ray all of the cluster."""
    engine: BuildEngine = "processes"
    """`processes` of this machine, or `ray`: the Ray cluster at RAY_ADDRESS or on this machine, or else one that is
    started for the build. OUT is then a directory: Parquet files with their rejects beside them, and summary.json."""
    strict: bool = False
    """Stop at the first bad line."""
    resume: bool = False
    """Go on with an interrupted build."""
    overwrite: bool = False
    """Replace what is there."""


class PipedConsole(Console):
    """A console that leaves a broken pipe to `isc.cli`."""

    def on_broken_pipe(self) -> None:
        """Raise the error, where rich would end the process."""
        raise BrokenPipeError


def console(*, errors: bool = False) -> Console:
    """Return a console on standard output, or standard error, without any markup."""
    return PipedConsole(stderr=errors, highlight=False, markup=False, emoji=False)
