"""The command line's files: inputs, outputs that appear whole or not at all, and a build that can be continued.

A build appends to OUT.partial and notes in OUT.state.json how much of the input and of its files is accounted for;
whatever was written after the last note is cut off when it is continued. Who writes OUT.partial holds a lock on it.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from isc.build import arrow
from isc.build.compression import split_name
from isc.build.conversations import InputError
from isc.build.metadata import FOOTER, check_alike, meta_path, metadata_of, read_metadata, siblings
from isc.build.samples import Built, Rejected, Settings, Tally, columns
from isc.build.sources import STDIN, Source, can_be_read_again, done_digest, fingerprint, named
from isc.build.survey import Survey
from isc.errors import Error, OptionError
from isc.viewer.page import GENERATOR

try:
    import fcntl
except ImportError:  # not on Windows, where an open file cannot be renamed either
    fcntl = None  # type: ignore[assignment]

_SECONDS_BETWEEN_NOTES = 1.0
_HEAD = 1024  # bytes of a page in which it says who wrote it
_FOR_PEOPLE = ("vocabulary", "described", "template_digest")
"""Settings that no row depends on."""


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


NO_FILE = Path(os.devnull)


def default_rejects(output: Path) -> Path:
    """Return where the rejected lines of a build go, if nobody says.

    >>> default_rejects(Path("runs/samples.jsonl")).name
    'samples.rejects.jsonl'
    """
    return output.with_name(split_name(output)[0] + ".rejects.jsonl")


def _is_page(path: Path) -> bool:
    """Return whether a file is a page that isc wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return GENERATOR.encode() in stream.read(_HEAD)


class BuildPaths(Struct, frozen=True):
    """Where a build's files lie. The inputs are files, patterns being expanded."""

    sources: tuple[str, ...]
    output: Path
    rejects: Path
    report: Path | None = None
    parts: str = ""

    @property
    def written(self) -> tuple[Path, ...]:
        """Return the paths of the files that a complete build leaves, and of the parts that are there already."""
        outputs = self.parts_there() if self.parts else [self.output]
        outputs += [meta_path(path) for path in outputs if path.suffix != ".parquet"]
        return (*outputs, self.rejects, *([self.report] if self.report else []))

    @property
    def in_the_way(self) -> tuple[Path, ...]:
        """Return the paths that a new build must not write over unasked.

        Where there is no output, rejects under the name that isc gives them and a report are of a build that had no
        sample.
        """
        told = {self.rejects} if self.rejects == default_rejects(self.output) else set()
        told |= {self.report} if self.report is not None and _is_page(self.report) else set()
        others = tuple(path for path in self.written if path not in told)
        return self.written if any(path.exists() for path in others) else others

    @property
    def is_streamed(self) -> bool:
        """Return whether the output is standard output, from which no other build can go on."""
        return str(self.output) == STDIN

    @property
    def keeps_rejects(self) -> bool:
        """Return whether rejected lines are written to a file."""
        return self.rejects != NO_FILE

    def part(self, name: str) -> Path:
        """Return the path of a part of the output: of a split, a shard, or all of it under the name ""."""
        stem, ending = split_name(self.output)
        return self.output.with_name(f"{stem}-{name}{ending}") if name else self.output

    def parts_there(self, ending: str = "") -> list[Path]:
        """Return the files that are parts of this output by their names, with an ending behind it."""
        if not self.parts or not self.output.parent.is_dir():
            return []
        stem, own_ending = split_name(self.output)
        name = re.compile(f"{re.escape(stem)}-(?:{self.parts}){re.escape(own_ending + ending)}")
        return sorted(path for path in self.output.parent.iterdir() if name.fullmatch(path.name))

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
        """Return whether all inputs are files, not a pipe."""
        return all(map(can_be_read_again, self.sources))

    @property
    def named(self) -> str:
        """Return the inputs for messages."""
        return named(self.sources[0]) if len(self.sources) == 1 else f"{len(self.sources)} inputs"

    @property
    def size(self) -> int | None:
        """Return the bytes of all inputs, None where that of one is not known."""
        files = [Path(name) for name in self.sources]
        return sum(file.stat().st_size for file in files) if all(file.is_file() for file in files) else None

    def place(self, file: int, row: int) -> str:
        """Return the place of a row for messages."""
        return f"{named(self.sources[file])}:{row}"

    def check_distinct(self) -> None:
        """Raise an `OptionError` if one of the files is written over another, or is a directory."""
        for path in self.written:
            if path.is_dir():
                raise OptionError(f"{path} is a directory; name a file")
        working = (self.partial, self.partial_rejects, self.state)
        names = [*self.written, *(Path(name) for name in self.sources if name != STDIN)]
        if len({path.resolve() for path in (*names, *working)}) < len(names) + len(working):
            own = ", ".join(path.name for path in working)
            raise OptionError(
                f"input, output, rejects file and report must be different files, and none of the build's own: {own}"
            )


class State(Struct, frozen=True):
    """What a build has accounted for: rows of its inputs, and the bytes they became.

    Attributes:
        settings: The options of the build.
        lines: Rows of all files.
        file: The number of the file that is read; the files before it are done.
        file_lines: Rows of that file.
        place: The place in it where reading goes on.
        done: A digest of the files that are done: continued is only what began with these inputs.
        place_digest: A digest of what was read of the file.
        outputs: Bytes of the samples, by the part of the output.
        rejects_bytes: Bytes of the rejects.
        tally: What became of the rows.
        complete: Whether all inputs are accounted for.
        failed: Whether the input could not be read on: a new build need not go on from there.
    """

    settings: Settings
    lines: int = 0
    file: int = 0
    file_lines: int = 0
    place: int = 0
    done: str = ""
    place_digest: str = ""
    outputs: dict[str, int] = {}
    rejects_bytes: int = 0
    tally: Tally = Tally()
    survey: Survey = Survey()
    complete: bool = False
    failed: bool = False


def _with_done(digest: str, names: Sequence[str]) -> str:
    """Return the digest of some files, with that of the files before them."""
    for name in names:
        digest = hashlib.sha256(f"{digest} {fingerprint(name)}".encode()).hexdigest()
    return digest


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
    """Raise unless going on from `state` gives the same result as a build in one go, as far as options tell.

    Raises:
        OptionError: The options differ, or the input can be read only once.
        InputError: The partial output is gone.
    """
    check_settings(state.settings, settings)
    if state.complete:
        return
    if not paths.can_be_read_again:
        raise OptionError(f"--resume: the input must be a file that can be read again, not {paths.named}")
    partials = [(_beside(paths.part(part), ".partial"), size) for part, size in state.outputs.items()]
    sizes = (*partials, (paths.partial_rejects, state.rejects_bytes))
    for path, size in sizes:
        if (path.stat().st_size if path.exists() else 0) < size:
            raise InputError(f"{path} is gone or shorter than it was; start again with --overwrite")


def check_inputs(state: State, sources: Sequence[Source]) -> None:
    """Raise unless the inputs are those that a build began with, as far as it has read them.

    Raises:
        InputError: They are not.
    """
    names = [source.name for source in sources]
    read = state.place and state.file < len(names)
    same = _with_done("", names[: state.file]) == state.done
    if not same or (read and done_digest(sources[state.file], state.place) != state.place_digest):
        which = names[state.file] if same else f"one of the first {state.file} inputs"
        changed = f"changed in the {state.lines} lines that were done"
        raise InputError(f"{which} has {changed}; start again with --overwrite")


def check_settings(begun: Settings, settings: Settings) -> None:
    """Raise an `OptionError` unless a build of these settings goes on as it was begun."""
    for name in (field for field in Settings.__struct_fields__ if field not in _FOR_PEOPLE):
        before, now = getattr(begun, name), getattr(settings, name)
        if before != now:
            again = "go on with the same options, or start again with --overwrite"
            raise OptionError(f"--resume: the interrupted build had {name} = {before}, not {now}; {again}")


class OutputError(Error, OSError):
    """A file of a build could not be written; says which, and how the build goes on."""


class BuildOutput:
    """The files of a build under way, beginning where `state` says."""

    def __init__(self, paths: BuildPaths, state: State, sources: Sequence[Source]) -> None:
        self.paths = paths
        self.state = state
        self._sources = sources
        self._noted = 0.0
        paths.rejects.parent.mkdir(parents=True, exist_ok=True)
        self._rejects = _continued(paths.partial_rejects, state.rejects_bytes)
        self._outputs = {
            part: _continued(_beside(paths.part(part), ".partial"), size) for part, size in state.outputs.items()
        }
        if not paths.parts and not self._outputs:
            self._begin("")
        self.note()

    def _begin(self, part: str) -> None:
        """Open a new part of the output."""
        parquet = self.state.settings.format == "parquet"
        start = arrow.stream_start(columns(self.state.settings)) if parquet else b""
        self._outputs[part] = _continued(_beside(self.paths.part(part), ".partial"), 0)
        self._append(self._outputs[part], start)
        self.state = msgspec.structs.replace(self.state, outputs={**self.state.outputs, part: len(start)})

    def _write_rows(self, part: str, rows: bytes) -> str:
        """Append rows to a part and return its name. Where shards have a size, the next begins behind a full one."""
        size = self.state.settings.shard_size
        if size is not None:
            prefix = f"{part}-" if part else ""
            number = max(0, sum(name.startswith(prefix) for name in self.state.outputs) - 1)
            part = f"{prefix}{number:05}"
            if self.state.outputs.get(part, 0) >= size:
                self._finish(part)
                part = f"{prefix}{number + 1:05}"
        if part not in self.state.outputs:
            self._begin(part)
        self._append(self._outputs[part], rows)
        outputs = {**self.state.outputs, part: self.state.outputs[part] + len(rows)}
        self.state = msgspec.structs.replace(self.state, outputs=outputs)
        return part

    def _finish(self, part: str) -> None:
        """Close a shard that is full, once it is on disk."""
        stream = self._outputs.pop(part, None)
        if stream is not None:
            with self._named(stream.name), stream:
                stream.flush()
                os.fsync(stream.fileno())

    def write(self, built: Built, *, keep_rejected: bool = True) -> None:
        """Append the rows of a batch, and with `keep_rejected` its rejected lines.

        Lines that will be tried again are not kept.
        """
        kept = built.rejected if keep_rejected else ()
        rejects = b"".join(reject_line(rejected, self.paths.sources) for rejected in kept)
        names = {part: self._write_rows(part, rows) for part, rows in built.parts.items()}
        self._append(self._rejects, rejects)
        written = {names[part]: count for part, count in built.tally.written.items()}
        tally = msgspec.structs.replace(built.tally, written=written)
        state = self.state
        same_file = built.file == state.file
        self.state = msgspec.structs.replace(
            state,
            lines=state.lines + built.lines,
            file=built.file,
            file_lines=built.lines + (state.file_lines if same_file else 0),
            place=built.end if built.end is not None else state.place if same_file else 0,
            done=state.done if same_file else _with_done(state.done, self.paths.sources[state.file : built.file]),
            rejects_bytes=state.rejects_bytes + len(rejects),
            tally=state.tally + tally,
            survey=state.survey if built.survey is None else state.survey + built.survey,
        )
        if time.monotonic() - self._noted > _SECONDS_BETWEEN_NOTES:
            self.note()

    @property
    def can_go_on(self) -> bool:
        """Return whether another build can go on from the last note."""
        return self.paths.can_be_read_again

    def note(self, *, failed: bool = False) -> None:
        """Write down how far the build is, once that much is on disk; `failed` where the input could not be read on."""
        self.state = msgspec.structs.replace(self.state, failed=failed)
        for stream in (*self._outputs.values(), self._rejects):
            with self._named(stream.name):
                stream.flush()
                os.fsync(stream.fileno())
        if self.paths.can_be_read_again and self.state.place:
            digest = done_digest(self._sources[self.state.file], self.state.place)
            self.state = msgspec.structs.replace(self.state, place_digest=digest)
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
        for stream in (*self._outputs.values(), self._rejects):
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
    for part, size in state.outputs.items():
        partial = _beside(paths.part(part), ".partial")
        whole = partial.exists() and partial.stat().st_size >= size
        if state.tally.samples and whole:  # what is locked anew after it was given its name is empty
            _name(partial, paths.part(part), state)
        partial.unlink(missing_ok=True)
    for path in set(paths.parts_there()) - {paths.part(part) for part in state.outputs}:
        path.unlink()  # of an earlier build with other shards, which this one replaces
        meta_path(path).unlink(missing_ok=True)
    if not state.rejects_bytes:
        paths.partial_rejects.unlink(missing_ok=True)
        paths.rejects.unlink(missing_ok=True)  # of an earlier build, which this one replaces
    elif paths.partial_rejects.exists():
        paths.partial_rejects.replace(paths.rejects)
    paths.state.unlink(missing_ok=True)


def _name(partial: Path, target: Path, state: State) -> None:
    """Give a part of the output its name, with the metadata in it or beside it."""
    metadata = msgspec.json.encode(metadata_of(state.settings, columns(state.settings), state.tally))
    if state.settings.format == "parquet":
        written = _beside(target, ".new")
        arrow.to_parquet(partial, written, {FOOTER: metadata.decode()})
        written.replace(target)
    else:
        written = _beside(meta_path(target), ".new")
        written.write_bytes(metadata + b"\n")
        written.replace(meta_path(target))
        partial.replace(target)


def discard(paths: BuildPaths) -> None:
    """Remove the files of an interrupted build, but not the partial output, which is locked."""
    left = [*paths.parts_there(".partial"), *paths.parts_there(".new"), _beside(paths.output, ".new")]
    for path in (*left, paths.state, paths.partial_rejects):
        path.unlink(missing_ok=True)


def check_siblings(paths: BuildPaths, settings: Settings) -> None:
    """Raise an `OptionError` if the output would stand beside files of its own set that were made otherwise."""
    here = metadata_of(settings, columns(settings), Tally())
    names = [name for name, _ in settings.split] or [""]
    numbered = settings.shards or settings.shard_size
    parts = ["-".join(filter(None, (name, "0" if numbered else ""))) for name in names]
    replaced = set(paths.written)
    for path in dict.fromkeys(path for part in parts for path in siblings(paths.part(part))):
        there = read_metadata(path) if path not in replaced else None
        if there is not None:
            check_alike(str(path), there, here)


def _continued(path: Path, size: int) -> BinaryIO:
    """Open a file for writing behind its first `size` bytes."""
    stream = path.open("r+b" if size else "wb")
    stream.truncate(size)
    stream.seek(size)
    return stream


def reject_line(rejected: Rejected, sources: Sequence[str]) -> bytes:
    """Return a rejected row as JSON, with its place and reason. Bytes that are no UTF-8 are kept in base64."""
    original = rejected.original.rstrip(b"\r\n")
    entry: dict[str, int | str] = {"line": rejected.line, "reason": rejected.reason}
    if len(sources) > 1:
        entry = {"file": sources[rejected.file], **entry}
    try:
        entry["original"] = original.decode()
    except UnicodeDecodeError:
        entry["original_base64"] = b64encode(original).decode()
    return msgspec.json.encode(entry) + b"\n"
