"""`isc build ... -o -`: samples on standard output as they are built; all that is said goes to standard error.

What was written cannot be taken back, so nothing is kept to go on from: such a build is complete or is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from isc.build.recognition import recognized
from isc.build.samples import Built, Settings
from isc.cli import Exit
from isc.cli.arguments import Manner
from isc.cli.files import State, reject_line, whole_file
from isc.cli.running import Job, print_summary, say_what_they_are, written
from isc.errors import OptionError


def check_stream(settings: Settings, manner: Manner, report: Path | None) -> None:
    """Refuse what one stream of rows cannot be.

    Raises:
        OptionError: Parts, a report or going on with an earlier build are asked for; names the option.
    """
    asked = {
        "--split": settings.split,
        "--shards": settings.shards,
        "--shard-size": settings.shard_size,
        "--report": report,
        "--resume": manner.resume,
        "--engine ray": manner.engine == "ray",
    }
    refused = next((option for option, value in asked.items() if value), None)
    if refused is not None:
        raise OptionError(f"-o -: {refused} needs a file to write; name one")


class StreamOutput:
    """Rows on a stream, and rejected lines in a file where one is named."""

    def __init__(self, settings: Settings, sources: Sequence[str], stream: BinaryIO, rejects: BinaryIO | None) -> None:
        self.state = State(settings)
        self.can_go_on = False
        self._sources = sources
        self._stream = stream
        self._rejects = rejects

    def write(self, built: Built, *, keep_rejected: bool = True) -> None:
        """Write the rows of a batch, and with `keep_rejected` its rejected lines."""
        self._stream.write(built.rows)
        if self._rejects is not None and keep_rejected:
            self._rejects.writelines(reject_line(rejected, self._sources) for rejected in built.rejected)
        self.state = replace(self.state, lines=self.state.lines + built.lines, tally=self.state.tally + built.tally)

    def note(self, *, failed: bool = False) -> None:
        """Write out what is held."""
        self._stream.flush()


def ended_in_stream(job: Job, stream: BinaryIO) -> Exit:
    """Build samples to a stream, and say on standard error what was built.

    Args:
        job: What to build.
        stream: What the rows are written to.

    Raises:
        InputError: The input cannot be read.
        OptionError: The file of rejects exists already.
        BrokenPipeError: Nobody reads on.
    """
    sources = tuple(recognized(name, job.settings.form) for name in job.paths.sources)
    say_what_they_are(sources, job.errors)
    with ExitStack() as files:
        target = whole_file(job.paths.rejects, overwrite=job.manner.overwrite, sources=job.paths.sources)
        kept = files.enter_context(target) if job.paths.keeps_rejects else None
        output = StreamOutput(job.settings, job.paths.sources, stream, kept)
        ended = written(job, sources, output)
        output.note()
    return print_summary(job, replace(output.state, complete=ended), job.errors)
