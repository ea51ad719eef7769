"""`isc build` under way: where it starts, its progress, what it reports, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from isc._options import did_you_mean
from isc.build import arrow, preloaded
from isc.build.compression import Compression, split_name
from isc.build.conversations import InputError
from isc.build.recognition import recognized
from isc.build.samples import ENDINGS, Batch, Built, Rejected, SampleFormat, Settings
from isc.build.sources import STDIN, Source, batch_bytes, named, read_batches
from isc.build.workers import Pool, WorkerError, built
from isc.cli import Exit
from isc.cli.arguments import Manner
from isc.cli.files import (
    BuildOutput,
    BuildPaths,
    State,
    check_continues,
    check_inputs,
    check_siblings,
    complete,
    discard,
    locked,
    read_state,
    refuse_existing,
)
from isc.cli.formats import EMBEDDED, EMBEDDED_NOTICE, described
from isc.cli.pages import vocabulary_words, write_report
from isc.cli.show import tally_table
from isc.conversation.renderer import Renderer
from isc.errors import OptionError
from isc.viewer.page import Page
from isc.viewer.report import BuildFacts, report_page

_REPORTED_LINES = 20
_WORTH_A_WORKER = 16 * 1024 * 1024
"""Bytes of input for which another process is worth its start: it loads the vocabulary, which takes as long."""


def sample_format(output: Path) -> tuple[SampleFormat, Compression]:
    """Return the format that an output's name asks for, and how it is packed.

    Raises:
        OptionError: Its ending is another, or pyarrow is missing.
    """
    if str(output) == STDIN:
        return ENDINGS[".jsonl"]
    ending = split_name(output)[1]
    if ending not in ENDINGS:
        *others, last = ENDINGS
        known = f"{', '.join(others)} or {last}"
        raise OptionError(f"-o {output}: the name must end in {known}, which says what is written")
    if ending in (".parquet", ".jsonl.zst"):
        arrow.require(f"a {ending} output")
    return ENDINGS[ending]


def recorded_date(paths: BuildPaths, manner: Manner) -> str | None:
    """Return the day that an interrupted build began with, if that build is to go on."""
    interrupted = read_state(paths) if manner.resume else None
    return None if interrupted is None else interrupted.settings.date or None


def starting_state(paths: BuildPaths, settings: Settings, manner: Manner) -> State:
    """Return the state in which a build starts: an empty one, or the last note of an interrupted build.

    Raises:
        OptionError: There is an output or an interrupted build that would be lost, or one that cannot be continued.
        InputError: Input or files of the interrupted build are not what they were.
    """
    if manner.resume and manner.overwrite:
        raise OptionError("--resume goes on, --overwrite starts again: pass one of them")
    interrupted = read_state(paths) if not manner.overwrite else None
    if interrupted is not None and manner.resume:
        check_continues(interrupted, settings, paths)
        return msgspec.structs.replace(interrupted, failed=False)
    if interrupted is not None and not interrupted.failed:
        done = f"an interrupted build of it is there, {interrupted.lines:,} lines done"
        raise OptionError(f"{paths.output}: {done}; pass --resume to go on or --overwrite to start again")
    refuse_existing(paths.in_the_way, overwrite=manner.overwrite)
    check_siblings(paths, settings)
    discard(paths)
    return State(settings)


class Job(Struct, frozen=True):
    """A build to run, on the processes of `pool`; progress and rejected lines are reported to `errors`.

    `title` is what its report is called, by default the name of the output.
    """

    paths: BuildPaths
    renderer: Renderer
    settings: Settings
    manner: Manner
    errors: Console
    pool: Pool | None = None
    title: str = ""


def worker_count(paths: BuildPaths, manner: Manner) -> int:
    """Return how many processes a build is worth, if that is not said."""
    if manner.workers is not None or paths.size is None:
        return manner.workers or _cores()
    return max(1, min(_cores(), paths.size // _WORTH_A_WORKER))


@contextmanager
def started(workers: int, model: str | None) -> Iterator[Pool | None]:
    """Run worker processes, which load the vocabulary of a model at once; none where one process is enough."""
    if workers == 1:
        yield None
        return
    pool = Pool(workers, None if model is None else partial(preloaded.load, model))
    try:
        yield pool
    finally:
        pool.close()


def run_build(job: Job) -> State:
    """Build samples until the input ends. Under `strict` stop at the first bad line.

    Args:
        job: What to build, from where to where.

    Returns:
        The state at the end; not complete where it stopped at a bad line.

    Raises:
        OptionError: Files are in the way, cannot be continued with these options, or another build writes them.
        InputError: The input cannot be read, or is not the one that an interrupted build began with.
        OutputError: A file could not be written.
        WorkerError: A worker process died.
    """
    with locked(job.paths.partial, job.paths.output):
        try:
            return _run(job)
        finally:
            if not job.paths.state.exists():  # nothing can go on from there
                job.paths.partial.unlink(missing_ok=True)


def _run(job: Job) -> State:
    """Build samples, with no other build on the same output."""
    state = starting_state(job.paths, job.settings, job.manner)
    if state.complete:
        complete(job.paths, state)
        return state
    sources = tuple(recognized(name, job.settings.form) for name in job.paths.sources)
    check_inputs(state, sources)
    say_what_they_are(sources, job.errors)
    output = BuildOutput(job.paths, state, sources)
    try:
        if written(job, sources, output):
            output.complete()
    finally:
        output.close()
        if not output.state.lines:
            discard(job.paths)
    return output.state


def ended(job: Job, console: Console) -> Exit:
    """Run a build to its end and say what was built.

    Returns:
        The exit code of the build.
    """
    return tell_end(job, run_build(job), console)


def tell_end(job: Job, state: State, console: Console) -> Exit:
    """Print what was built, and write the report of it where one is asked for.

    Returns:
        The exit code of the build.
    """
    code = print_summary(job, state, console)
    if state.complete and job.paths.report is not None:
        write_report(job.paths.report, report_of(job, state))
        console.print(f"{job.paths.report}: the report", soft_wrap=True)
    return code


def report_of(job: Job, state: State) -> Page:
    """Return the report of a build as a page."""
    told = (described(job.renderer.family), vocabulary_words(state.settings.vocabulary), f"loss {state.settings.loss}")
    built = BuildFacts(state.lines, state.tally, state.survey, tuple(_notes(state)))
    return report_page(built, job.renderer.encoder, job.title or job.paths.output.name, " · ".join(told))


def say_what_they_are(sources: Sequence[Source], errors: Console) -> None:
    """Print what each input was found to be; inputs of one kind that follow each other are told together."""
    for kind, group in groupby(sources, key=str):
        first, *more = group
        others = f" and {len(more):,} more" if more else ""
        errors.print(f"isc: {named(first.name)}{others}: {kind}", soft_wrap=True)


def rows_from(sources: Sequence[Source], state: State) -> Iterator[Batch]:
    """Yield the rows of all inputs from where a build stands."""
    size = batch_bytes(state.settings.pack)
    if state.file < len(sources):
        yield from read_batches(sources[state.file], state.file, state.file_lines + 1, state.place, size=size)
    for file in range(state.file + 1, len(sources)):
        yield from read_batches(sources[file], file, size=size)


class Output(Protocol):
    """What takes the rows of a build: `state` counts them."""

    state: State

    @property
    def can_go_on(self) -> bool:
        """Return whether another build can go on from the last note."""

    def write(self, built: Built, *, keep_rejected: bool = True) -> None:
        """Take the rows of a batch, and with `keep_rejected` its rejected lines."""

    def note(self, *, failed: bool = False) -> None:
        """Make sure of what was taken; `failed` where the input could not be read on."""


def written(job: Job, sources: Sequence[Source], output: Output) -> bool:
    """Build all rows: write the good ones, report the bad ones. Return whether the end was reached."""
    known = all(source.size for source in sources)
    starts = list(accumulate((source.size for source in sources), initial=0))
    strict = job.manner.strict
    try:
        with _progress(job.errors) as progress:
            task = progress.add_task("", total=starts[-1] if known else None, samples=0)
            groups = rows_from(sources, output.state)
            with closing(built(groups, job.renderer, job.settings, strict=strict, pool=job.pool)) as results:
                for result in results:
                    report_rejected(job, result.rejected, output.state.tally.rejected)
                    output.write(result, keep_rejected=not strict)
                    if strict and result.rejected:
                        output.note()
                        return False
                    read = starts[result.file] + result.read
                    progress.update(task, completed=read, samples=output.state.tally.samples)
    except (KeyboardInterrupt, WorkerError, InputError) as error:
        output.note(failed=isinstance(error, InputError))
        again = "; --resume goes on from there" if output.can_go_on else ""
        job.errors.print(f"isc: stopped after line {output.state.lines:,}{again}")
        raise
    return True


def _cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _progress(errors: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[samples]:,} samples"),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


def report_rejected(job: Job, lines: Sequence[Rejected], before: int) -> None:
    """Print the first rejected lines: thousands would hide everything else."""
    for position, rejected in enumerate(lines, before + 1):
        if position <= _REPORTED_LINES:
            job.errors.print(f"{job.paths.place(rejected.file, rejected.line)}: {rejected.reason}", soft_wrap=True)
        elif position == _REPORTED_LINES + 1:
            where = (
                f"{job.paths.rejects} will have all of them" if job.paths.keeps_rejects else "--rejects FILE keeps all"
            )
            job.errors.print(f"isc: more lines are rejected; {where}")


def _notes(state: State) -> Iterator[str]:
    """Yield notes on messages that the table does not show: untrained by a flag, not rendered, trained unprompted."""
    tally = state.tally
    if tally.flagged:
        counts = ", ".join(f"{key} {count:,}" for key, count in sorted(tally.flagged.items()))
        yield f"left untrained by a flag of the data (messages): {counts}"
    if tally.unrendered:
        counts = ", ".join(f"{role} {count:,}" for role, count in sorted(tally.unrendered.items()))
        yield f"not rendered, since the format drops them (messages): {counts}; --strict refuses them"
    if tally.unprompted:
        count = f"{tally.unprompted:,}"
        yield f"trained behind a prompt that these options never give (turns): {count}; --strict refuses them"
    for name in state.settings.keep:
        if not tally.kept.get(name):
            yield f"no row has the field {name!r} that --keep names{did_you_mean(name, tally.fields)}"
    if tally.lost.samples:
        yield _lost(state)
    if tally.nulls:
        counts = ", ".join(f"{place} {count:,}" for place, count in sorted(tally.nulls.items()))
        dropped = (
            "dropped"
            if state.settings.drop_null
            else "rendered as null; Arrow pads rows so, and --drop-null leaves them out"
        )
        yield f"keys that are null: {counts}, {dropped}"


def _lost(state: State) -> str:
    """Describe what shortening lost."""
    lost, settings = state.tally.lost, state.settings
    what = f"{lost.samples:,} samples of more than {settings.max_tokens or settings.pack:,} tokens"
    if settings.too_long == "split":
        return f"split (--too-long split): {what}"
    counts = f"{lost.messages:,} messages and {lost.tokens:,} tokens are lost, {lost.trained:,} of them trained on"
    return f"cut (--too-long {settings.too_long}): {what}; {counts}"


def _files(paths: BuildPaths, state: State) -> Iterator[str]:
    """Yield a line for each file of the output: its rows."""
    rows = state.tally.written
    for part in sorted(state.outputs) if paths.parts else ():
        yield f"{paths.part(part)}: {rows.get(part, 0):,} rows"
    for name, _ in state.settings.split:
        if not any(part.split("-")[0] == name for part in state.outputs):
            yield f"no conversation belongs to the split {name}"
    if state.settings.pack:
        tokens = sum(role.tokens for role in state.tally.roles.values())
        count = sum(rows.values())
        full = 100 * tokens / (count * state.settings.pack)
        yield f"packed into {count:,} rows of {state.settings.pack:,} tokens, {full:.1f} % full"


def print_summary(job: Job, state: State, console: Console) -> Exit:
    """Print the result of a build, its input, and the tokens that are trained on.

    Returns:
        The exit code of the build.
    """
    tally, paths = state.tally, job.paths
    if not state.complete:
        resumed = f"; correct it and pass --resume to go on behind line {state.lines:,}"
        job.errors.print(f"isc: --strict: stopped at a bad line{'' if paths.is_streamed else resumed}", soft_wrap=True)
        return Exit.REJECTED
    if tally.rejected:
        lines = "1 line was" if tally.rejected == 1 else f"{tally.rejected:,} lines were"
        job.errors.print(
            f"isc: {lines} rejected{f'; see {paths.rejects}' if paths.keeps_rejects else ''}", soft_wrap=True
        )
    if not tally.samples:
        hint = "is there one conversation a line?" if state.lines else "it is empty"
        job.errors.print(f"isc: no line of {paths.named} became a sample: {hint}", soft_wrap=True)
        return Exit.FAILED
    counted = f"{tally.samples:,} samples from {state.lines:,} lines, loss {state.settings.loss}"
    if state.settings.date:
        counted += f", the date told {state.settings.date}"
    console.print(f"{'standard output' if paths.is_streamed else paths.output}: {counted}", soft_wrap=True)
    for line in _files(paths, state):
        console.print(line, soft_wrap=True)
    console.print(tally_table(tally))
    for line in _notes(state):
        console.print(line, soft_wrap=True)
    if state.settings.vocabulary == EMBEDDED:
        console.print(EMBEDDED_NOTICE)
    return Exit.REJECTED if tally.rejected else Exit.OK
