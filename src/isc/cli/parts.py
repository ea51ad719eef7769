"""A build in parts: a directory of Parquet files, each with its rejects beside it, that are written in any order.

A part that is done has a note in DIR/.state, which says of what input it is. A build that goes on builds the parts of
which there is no such note, so an input that was added to is built on; `summary.json` counts all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct
from rich.console import Console

from isc.build.conversations import InputError
from isc.build.parts import BuiltPart, Part, PartWork, build_part, cut
from isc.build.recognition import recognized
from isc.build.samples import Settings, Tally
from isc.build.workers import WorkerError
from isc.cli import Exit
from isc.cli.arguments import Manner
from isc.cli.files import OutputError, State, check_settings, locked, reject_line
from isc.cli.running import Job, print_summary, report_rejected, rows_from, say_what_they_are
from isc.errors import OptionError

Engine: TypeAlias = Callable[[Iterable[Part], PartWork], Generator[BuiltPart, None, None]]
"""What builds parts, in any order."""

_SUMMARY = "summary.json"


class Summary(Struct, frozen=True):
    """What a build in parts became."""

    settings: Settings
    parts: int
    lines: int
    tally: Tally


class PartNote(Struct, frozen=True):
    """A part that is done: a digest of its input, and what became of it."""

    digest: str
    lines: int
    tally: Tally


class Parts:
    """The files of a build in parts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._state = directory / ".state"
        self._settings = self._state / "settings.json"

    @property
    def lock(self) -> Path:
        """Return the path of the file that is locked while the directory is written."""
        return self._state / "lock"

    def file(self, number: int, ending: str) -> Path:
        """Return the path of one of a part's files."""
        return self.directory / f"part-{number:05}{ending}"

    def begun_with(self) -> Settings | None:
        """Return the settings of a build that was begun here, done or not; None where there was none.

        Raises:
            InputError: They cannot be read.
        """
        try:
            return msgspec.json.decode(self._settings.read_bytes(), type=Settings)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            problem = f"is not what isc wrote there ({error}); start again with --overwrite"
            raise InputError(f"{self._settings} {problem}") from None

    def begin(self, settings: Settings) -> None:
        """Remove what an earlier build left, and note the settings of this one."""
        for place in (*self.directory.glob("part-*"), *self._state.glob("*.json"), self.directory / _SUMMARY):
            place.unlink(missing_ok=True)
        self._write(self._settings, msgspec.json.encode(settings))

    def note(self, number: int) -> PartNote | None:
        """Return the note of a part; None where it is not done, or no note can be read."""
        try:
            return msgspec.json.decode(self._note(number).read_bytes(), type=PartNote)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, built: BuiltPart, rejects: bytes) -> None:
        """Write the files of a part, its note last."""
        for ending, content in ((".parquet", built.parquet), (".rejects.jsonl", rejects)):
            self._write(self.file(built.number, ending), content)
        self._write(self._note(built.number), msgspec.json.encode(PartNote(built.digest, built.lines, built.tally)))

    def finish(self, summary: Summary) -> None:
        """Write the summary, and remove the files of parts that the input no longer has."""
        for place in (*self._state.glob("part-*"), *self.directory.glob("part-*")):
            if int(place.name[5:].partition(".")[0]) >= summary.parts:
                place.unlink()
        self._write(self.directory / _SUMMARY, msgspec.json.encode(summary) + b"\n")

    def _note(self, number: int) -> Path:
        return self._state / f"part-{number:05}.json"

    def _write(self, place: Path, content: bytes) -> None:
        """Give a file its content at once; none where there is no content."""
        written = place.with_name(f".{place.name}.new")
        try:
            if not content:
                place.unlink(missing_ok=True)
                return
            with written.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            written.replace(place)
        except OSError as error:
            written.unlink(missing_ok=True)
            problem = f"{error.strerror or error}; make room and pass --resume"
            raise OutputError(f"{place}: {problem}") from error


def begun_day(directory: Path, manner: Manner) -> str | None:
    """Return the day that a build in parts began with, if that build is to go on."""
    begun = Parts(directory).begun_with() if manner.resume else None
    return None if begun is None else begun.date or None


def ended_in_parts(job: Job, engine: Engine, console: Console) -> Exit:
    """Run a build in parts to its end and say what was built.

    Args:
        job: What to build; its output is the directory.
        engine: What builds the parts.
        console: Where the summary goes.

    Returns:
        The exit code of the build.

    Raises:
        OptionError: Files are in the way, cannot be continued with these options, or another build writes them.
        InputError: The input cannot be read.
        OutputError: A file could not be written.
        WorkerError: The worker of a part died at every try.
    """
    parts = Parts(job.paths.output)
    if job.paths.output.exists() and not job.paths.output.is_dir():
        raise OptionError(f"-o {job.paths.output}: a build in parts writes a directory, and this is a file")
    with locked(parts.lock, job.paths.output):
        _start(job, parts)
        state = _run(job, parts, engine)
    return print_summary(job, state, console) if state.complete else Exit.REJECTED


def _start(job: Job, parts: Parts) -> None:
    """Prepare the directory: for a new build, or to go on with one of the same settings."""
    begun = parts.begun_with() if not job.manner.overwrite else None
    if job.manner.resume and job.manner.overwrite:
        raise OptionError("--resume goes on, --overwrite starts again: pass one of them")
    if begun is not None and not job.manner.resume:
        problem = "a build in parts is there; pass --resume to go on, or --overwrite to start again"
        raise OptionError(f"{job.paths.output}: {problem}")
    if begun is None:
        parts.begin(job.settings)
    else:
        check_settings(begun, job.settings)


def _run(job: Job, parts: Parts, engine: Engine) -> State:
    """Build the parts that are not done. Return the state at the end."""
    sources = tuple(recognized(name, job.settings.form) for name in job.paths.sources)
    say_what_they_are(sources, job.errors)
    done = _Done(parts, job.paths.sources)
    work = partial(build_part, job.renderer, job.settings, job.manner.strict)
    rejected = 0
    try:
        with closing(engine(done.others(cut(rows_from(sources, State(job.settings)))), work)) as results:
            for built in results:
                report_rejected(job, built.rejected, rejected)
                rejected += len(built.rejected)
                if job.manner.strict and built.rejected:
                    job.errors.print("isc: --strict: stopped at a bad line; correct it and pass --resume to go on")
                    return State(job.settings)
                done.write(built)
    except (KeyboardInterrupt, WorkerError):
        job.errors.print(f"isc: stopped with {len(done.notes):,} parts done; --resume goes on from there")
        raise
    summary = done.summary(job.settings)
    parts.finish(summary)
    return State(job.settings, summary.lines, tally=summary.tally, complete=True)


class _Done:
    """The parts of a run that are done, now or before."""

    def __init__(self, parts: Parts, sources: Sequence[str]) -> None:
        self.notes: dict[int, PartNote] = {}
        self._parts = parts
        self._sources = sources

    def others(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts that are not done."""
        for part in parts:
            note = self._parts.note(part.number)
            if note is not None and note.digest == part.digest:
                self.notes[part.number] = note
            else:
                yield part

    def write(self, built: BuiltPart) -> None:
        """Write a part that was built."""
        self._parts.write(built, b"".join(reject_line(rejected, self._sources) for rejected in built.rejected))
        self.notes[built.number] = PartNote(built.digest, built.lines, built.tally)

    def summary(self, settings: Settings) -> Summary:
        """Add up what all parts became, in the order of the input."""
        notes = [self.notes[number] for number in sorted(self.notes)]
        return Summary(settings, len(notes), sum(note.lines for note in notes), sum((n.tally for n in notes), Tally()))
