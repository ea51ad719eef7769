"""The command line's files: inputs, outputs that appear whole or not at all, and a build that can be continued.

A build appends to OUT.partial and notes in OUT.state.json how much of the input and of its files is accounted for;
whatever was written after the last note is cut off when it is continued. Who writes OUT.partial holds a lock on it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from isc.build import arrow
from isc.build.conversations import InputError
from isc.build.samples import Built, Rejected, Settings, Tally, columns
from isc.build.survey import Survey
from isc.errors import Error, OptionError

try:
    import fcntl
except ImportError:  # not on Windows, where an open file cannot be renamed either
    fcntl = None  # type: ignore[assignment]

STDIN = "-"

_SECONDS_BETWEEN_NOTES = 1.0
_COMPARED_BYTES = 64 * 1024


def named(source: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if source == STDIN else source


@contextmanager
def opened(source: str) -> Iterator[BinaryIO]:
    """Open a file for reading, or standard input for `-`.

    Raises:
        InputError: It cannot be opened; says why.
    """
    if source == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from None
    with stream:
        yield stream


@contextmanager
def whole_file(target: Path, *, overwrite: bool, sources: Sequence[str] = ()) -> Iterator[BinaryIO]:
    """Open a file for writing. It takes its name only once all of it is written.

    Raises:
        OptionError: It exists already, and is not to be overwritten; or one of the sources is what it would be written
            to, and would be emptied before it is read.
    """
    refuse_existing([target], overwrite=overwrite)
    partial = _beside(target, ".partial")
    if any(source != STDIN and Path(source).resolve() in (target.resolve(), partial.resolve()) for source in sources):
        raise OptionError(f"{target}: input and output must be different files, and none of them {partial.name}")
    with locked(partial, target):
        try:
            with partial.open("wb") as stream:
                yield stream
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def locked(partial: Path, target: Path) -> Iterator[None]:
    """Hold the lock of a file that is being written. The file is made if it does not exist.

    The lock ends with its process, however that ends. File systems without locks give none.

    Args:
        partial: The file that is locked.
        target: What it will be called in the end, for the error.

    Raises:
        OptionError: Another process holds it.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while fcntl is not None:
            stream = partial.open("ab")
            held.callback(stream.close)
            _lock(stream, target)
            if partial.exists() and os.path.samestat(os.fstat(stream.fileno()), partial.stat()):
                break  # else its last owner gave it another name while this one waited to see it
        yield


def _lock(stream: BinaryIO, target: Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem = "another isc is writing it; wait for that to end, or write to another name"
        raise OptionError(f"{target}: {problem}") from None
    except OSError:
        return


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raise an `OptionError` for the first of these files that exists, unless they may be overwritten."""
    for path in paths:
        if path.is_dir():
            raise OptionError(f"{path} is a directory; name a file")
        if path.exists() and not overwrite:
            raise OptionError(f"{path} exists already; pass --overwrite, or another name")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


class BuildPaths(Struct, frozen=True):
    """Where a build's files lie."""

    source: str
    output: Path
    rejects: Path
    report: Path | None = None

    @property
    def written(self) -> tuple[Path, ...]:
        """Return the paths of all files that a complete build leaves."""
        return (self.output, self.rejects, *([self.report] if self.report else []))

    @property
    def partial(self) -> Path:
        """Return the path of the output while it is not complete."""
        return _beside(self.output, ".partial")

    @property
    def partial_rejects(self) -> Path:
        """Return the path of the rejects while the build is not complete."""
        return _beside(self.output, ".rejects.partial")

    @property
    def state(self) -> Path:
        """Return the path of the note that says how far the build is."""
        return _beside(self.output, ".state.json")

    @property
    def can_be_read_again(self) -> bool:
        """Return whether the input is a file, not a pipe."""
        return self.source != STDIN and Path(self.source).is_file()

    def check_distinct(self) -> None:
        """Raise an `OptionError` if one of the files is written over another, or is a directory."""
        for path in self.written:
            if path.is_dir():
                raise OptionError(f"{path} is a directory; name a file")
        working = (self.partial, self.partial_rejects, self.state)
        named = [*self.written, *([] if self.source == STDIN else [Path(self.source)])]
        if len({path.resolve() for path in (*named, *working)}) < len(named) + len(working):
            own = ", ".join(path.name for path in working)
            raise OptionError(
                f"input, output, rejects file and report must be different files, and none of the build's own: {own}"
            )


class State(Struct, frozen=True):
    """What a build has accounted for: lines and bytes of its input, and the bytes they became.

    `input_tail` is a digest of the input's last bytes among them: continued is only what began with this input.
    """

    settings: Settings
    lines: int = 0
    input_bytes: int = 0
    input_tail: str = ""
    output_bytes: int = 0
    rejects_bytes: int = 0
    tally: Tally = Tally()
    survey: Survey = Survey()
    complete: bool = False


def read_state(paths: BuildPaths) -> State | None:
    """Read the state of an interrupted build; None where none is noted.

    Raises:
        InputError: The note cannot be read.
    """
    try:
        return msgspec.json.decode(paths.state.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise InputError(f"{paths.state} is not what isc wrote there ({error}); start again with --overwrite") from None


def check_continues(state: State, settings: Settings, paths: BuildPaths) -> None:
    """Raise unless going on from `state` gives the same result as a build in one go.

    Raises:
        OptionError: The options differ.
        InputError: The input is not the one that the build began with, or the partial output is gone.
    """
    for name in (field for field in Settings.__struct_fields__ if field != "vocabulary"):
        before, now = getattr(state.settings, name), getattr(settings, name)
        if before != now:
            again = "go on with the same options, or start again with --overwrite"
            raise OptionError(f"--resume: the interrupted build had {name} = {before}, not {now}; {again}")
    if state.complete:
        return
    if not paths.can_be_read_again:
        raise OptionError(f"--resume: the input must be a file that can be read again, not {named(paths.source)}")
    with opened(paths.source) as stream:
        if input_tail(stream, state.input_bytes) != state.input_tail:
            changed = f"changed in the {state.lines} lines that were done"
            raise InputError(f"{paths.source} has {changed}; start again with --overwrite")
    sizes = ((paths.partial, state.output_bytes), (paths.partial_rejects, state.rejects_bytes))
    for path, size in sizes:
        if (path.stat().st_size if path.exists() else 0) < size:
            raise InputError(f"{path} is gone or shorter than it was; start again with --overwrite")


def input_tail(stream: BinaryIO, end: int) -> str:
    """Return a digest of up to 64 KiB of a file before position `end`."""
    stream.seek(max(0, end - _COMPARED_BYTES))
    return hashlib.sha256(stream.read(min(end, _COMPARED_BYTES))).hexdigest()


class OutputError(Error, OSError):
    """A file of a build could not be written; says which, and how the build goes on."""


class BuildOutput:
    """The files of a build under way, beginning where `state` says."""

    def __init__(self, paths: BuildPaths, state: State) -> None:
        self.paths = paths
        self.state = state
        self._noted = 0.0
        paths.rejects.parent.mkdir(parents=True, exist_ok=True)
        self._output = _continued(paths.partial, state.output_bytes)
        self._rejects = _continued(paths.partial_rejects, state.rejects_bytes)
        if state.output_bytes == 0 and state.settings.format == "parquet":
            start = arrow.stream_start(columns(state.settings))
            self._append(self._output, start)
            self.state = msgspec.structs.replace(state, output_bytes=len(start))
        self.note()

    def write(self, built: Built, *, keep_rejected: bool = True) -> None:
        """Append the rows of a batch, and with `keep_rejected` its rejected lines.

        Lines that will be tried again are not kept.
        """
        rejects = b"".join(map(_reject_line, built.rejected)) if keep_rejected else b""
        self._append(self._output, built.rows)
        self._append(self._rejects, rejects)
        state = self.state
        self.state = msgspec.structs.replace(
            state,
            lines=state.lines + built.lines,
            input_bytes=state.input_bytes + built.input_bytes,
            output_bytes=state.output_bytes + len(built.rows),
            rejects_bytes=state.rejects_bytes + len(rejects),
            tally=state.tally + built.tally,
            survey=state.survey if built.survey is None else state.survey + built.survey,
        )
        if time.monotonic() - self._noted > _SECONDS_BETWEEN_NOTES:
            self.note()

    def note(self) -> None:
        """Write down how far the build is, once that much is on disk."""
        for stream in (self._output, self._rejects):
            with self._named(stream.name):
                stream.flush()
                os.fsync(stream.fileno())
        if self.paths.can_be_read_again:
            with opened(self.paths.source) as source:
                tail = input_tail(source, self.state.input_bytes)
            self.state = msgspec.structs.replace(self.state, input_tail=tail)
        written = _beside(self.paths.state, ".new")
        with self._named(self.paths.state):
            try:
                written.write_bytes(msgspec.json.encode(self.state))
                written.replace(self.paths.state)
            finally:
                written.unlink(missing_ok=True)
        self._noted = time.monotonic()

    def close(self) -> None:
        """Close the files. A later build does not see anything that was written after the last note."""
        for stream in (self._output, self._rejects):
            with suppress(OSError):  # it was told when it was written: what is left here cannot be written again
                stream.close()

    def complete(self) -> None:
        """Give the files their names: the output if there is a sample, the rejects if there are any."""
        self.state = msgspec.structs.replace(self.state, complete=True)
        self.note()
        self.close()
        with self._named(self.paths.output):
            complete(self.paths, self.state)

    def _append(self, stream: BinaryIO, content: bytes) -> None:
        with self._named(stream.name):
            stream.write(content)

    @contextmanager
    def _named(self, path: str | Path) -> Iterator[None]:
        """Turn an error of the file system into one that names the file and says how the build goes on."""
        try:
            yield
        except OSError as error:
            again = "make room and pass --resume" if self.paths.can_be_read_again else "make room and start again"
            problem = error.strerror or str(error)
            raise OutputError(f"{path}: {problem}; line {self.state.lines:,} was reached: {again}") from error


def complete(paths: BuildPaths, state: State) -> None:
    """Give the files of a complete build their names. Can be repeated after an interruption."""
    whole = paths.partial.exists() and paths.partial.stat().st_size >= state.output_bytes
    if not state.tally.samples or not whole:  # what is locked anew after it was given its name is empty
        paths.partial.unlink(missing_ok=True)
    elif state.settings.format == "parquet":
        written = _beside(paths.output, ".new")
        arrow.to_parquet(paths.partial, written)
        written.replace(paths.output)
        paths.partial.unlink()
    else:
        paths.partial.replace(paths.output)
    if not state.rejects_bytes:
        paths.partial_rejects.unlink(missing_ok=True)
        paths.rejects.unlink(missing_ok=True)  # of an earlier build, which this one replaces
    elif paths.partial_rejects.exists():
        paths.partial_rejects.replace(paths.rejects)
    paths.state.unlink(missing_ok=True)


def discard(paths: BuildPaths) -> None:
    """Remove the files of an interrupted build, but not the partial output, which is locked."""
    for path in (paths.state, paths.partial_rejects, _beside(paths.output, ".new")):
        path.unlink(missing_ok=True)


def _continued(path: Path, size: int) -> BinaryIO:
    """Open a file for writing behind its first `size` bytes."""
    stream = path.open("r+b" if size else "wb")
    stream.truncate(size)
    stream.seek(size)
    return stream


def _reject_line(rejected: Rejected) -> bytes:
    """Return a rejected line as JSON, with its number and reason. Bytes that are no UTF-8 are kept in base64."""
    original = rejected.original.rstrip(b"\r\n")
    entry: dict[str, int | str] = {"line": rejected.line, "reason": rejected.reason}
    try:
        entry["original"] = original.decode()
    except UnicodeDecodeError:
        entry["original_base64"] = b64encode(original).decode()
    return msgspec.json.encode(entry) + b"\n"
