"""A build in parts: a directory of Parquet files, each with its rejects beside it, that are written in any order.

A part that is done has a note in DIR/.state, which says of what input it is. A build that goes on builds the parts of
which there is no such note, so an input that was added to is built on; `summary.json` counts all of them.
"""

from __future__ import annotations

import os
import re
import shutil
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
from isc.build.survey import Survey
from isc.build.workers import WorkerError
from isc.cli import Exit
from isc.cli.arguments import Manner
from isc.cli.files import (
    BuildPaths,
    OutputError,
    State,
    check_settings,
    locked,
    refuse_existing,
    reject_line,
    whole_file,
)
from isc.cli.running import Job, report_rejected, rows_from, say_what_they_are, tell_end
from isc.errors import OptionError

Engine: TypeAlias = Callable[[Iterable[Part], PartWork], Generator[BuiltPart, None, None]]
"""What builds parts, in any order."""

_SUMMARY = "summary.json"
_REJECTS = ".rejects.jsonl"
_BESIDE = f"part-*{_REJECTS}"
_SURVEY = ".survey.json"


_NUMBERED = re.compile(r"part-(\d+)")


def paths_of(
    sources: tuple[str, ...], directory: Path, rejects: Path | None, report: Path | None, parts: str
) -> BuildPaths:
    """Return the paths of a build in parts; its outputs are named as patterns.

    Args:
        sources: The inputs.
        directory: Where the parts are written.
        rejects: One file for the rejected lines of all parts; None leaves them beside each part.
        report: The report, if one is asked for.
        parts: A pattern of the names of splits, "" where there are none.

    Raises:
        OptionError: A file that is written is another one, or a name that the directory needs itself.
    """
    paths = BuildPaths(sources, directory / "part-*.parquet", rejects or directory / _BESIDE, report, parts)
    paths.check_distinct()
    for path in filter(None, (rejects, report)):
        own = path.name == _SUMMARY or path.name.startswith(("part-", "."))
        if own and path.resolve().parent == directory.resolve():
            raise OptionError(f"{path}: the parts have such names in {directory}; give another name")
    return paths


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
    """The files of a build in parts, of each part one for every split."""

    def __init__(self, directory: Path, splits: Sequence[str] = ("",)) -> None:
        self.directory = directory
        self._splits = splits
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
        for name in self._splits:
            self._write(self.file(built.number, f"{name and '-'}{name}.parquet"), built.files.get(name, b""))
        self._write(self.file(built.number, _REJECTS), rejects)
        survey = b"" if built.survey is None else msgspec.json.encode(built.survey)
        self._write(self._note(built.number, _SURVEY), survey)
        self._write(self._note(built.number), msgspec.json.encode(PartNote(built.digest, built.lines, built.tally)))

    def survey(self, count: int) -> Survey:
        """Add up the surveys of the first parts, in the order of the input."""
        places = (self._note(number, _SURVEY) for number in range(count))
        return sum((msgspec.json.decode(place.read_bytes(), type=Survey) for place in places), Survey())

    def write_rejects(self, target: Path, count: int) -> None:
        """Write the rejected lines of the first parts to one file, in the order of the input.

        Where there are none it is removed.
        """
        places = [place for place in (self.file(number, _REJECTS) for number in range(count)) if place.exists()]
        if not places:
            target.unlink(missing_ok=True)
            return
        with whole_file(target, overwrite=True) as stream:
            for place in places:
                with place.open("rb") as rejects:
                    shutil.copyfileobj(rejects, stream)

    def finish(self, summary: Summary) -> None:
        """Write the summary, and remove the files of parts that the input no longer has."""
        for place in (*self._state.glob("part-*"), *self.directory.glob("part-*")):
            number = _NUMBERED.match(place.name)
            if number is not None and int(number[1]) >= summary.parts:
                place.unlink()
        self._write(self.directory / _SUMMARY, msgspec.json.encode(summary) + b"\n")

    def _note(self, number: int, ending: str = ".json") -> Path:
        return self._state / f"part-{number:05}{ending}"

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
        job: What to build; its paths are those of `paths_of`.
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
    directory = job.paths.output.parent
    parts = Parts(directory, [name for name, _ in job.settings.split] or ("",))
    if directory.exists() and not directory.is_dir():
        raise OptionError(f"-o {directory}: a build in parts writes a directory, and this is a file")
    with locked(parts.lock, directory):
        _start(job, parts)
        state = _run(job, parts, engine)
    return tell_end(job, state, console) if state.complete else Exit.REJECTED


def _start(job: Job, parts: Parts) -> None:
    """Prepare the directory: for a new build, or to go on with one of the same settings."""
    begun = parts.begun_with() if not job.manner.overwrite else None
    if job.manner.resume and job.manner.overwrite:
        raise OptionError("--resume goes on, --overwrite starts again: pass one of them")
    if begun is not None and not job.manner.resume:
        problem = "a build in parts is there; pass --resume to go on, or --overwrite to start again"
        raise OptionError(f"{parts.directory}: {problem}")
    if begun is None:
        beside = [path for path in (job.paths.rejects, job.paths.report) if path is not None]
        refuse_existing(beside, overwrite=job.manner.overwrite)
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
    return _state_of(job, parts, summary)


def _state_of(job: Job, parts: Parts, summary: Summary) -> State:
    """Return what parts add up to, after the files are written that are made of all of them."""
    if job.paths.rejects != parts.directory / _BESIDE:
        parts.write_rejects(job.paths.rejects, summary.parts)
    survey = parts.survey(summary.parts) if job.settings.surveyed else Survey()
    outputs = {name: 0 for name, rows in summary.tally.written.items() if rows}
    return State(job.settings, summary.lines, outputs=outputs, tally=summary.tally, survey=survey, complete=True)


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
