"""The entry point `isc`: errors become one line, and every way to end has its exit code.

Light on purpose: worker processes import this module again, and it must say so where rich and cyclopts are missing.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from typing import TextIO

from isc.errors import Error, LoadError, TracedTemplateNotice, UnknownModelError


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    REJECTED = 1
    FAILED = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_STARTED_OFTEN = frozenset(("build", "families", "render", "show"))
"""Commands that wait for no other command's imports: those of a server and of the laws take a tenth of their start."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows `isc`; None takes the process's own.

    Returns:
        The exit code, an `Exit`.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] == "build":
        start_workers_ahead(given)
    try:
        from isc.cli import commands

        if not given or given[0] not in _STARTED_OFTEN:
            import isc.cli.checking
            import isc.cli.decoding
            import isc.cli.serving  # noqa: F401 - their commands are there once they are imported
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("cyclopts", "rich"):
            raise
        _complain(f'the command line needs {missing}: pip install "isc[cli]"')
        return Exit.FAILED
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        return _guarded(commands.run, given)


def start_workers_ahead(arguments: Sequence[str]) -> None:
    """Start what forks the workers of a build before the command is read: the vocabulary is loaded meanwhile.

    It is a guess, which costs little where it is wrong: workers load another vocabulary themselves, and a server that
    nobody asks anything ends with this process.
    """
    given = {}
    for argument, following in zip(arguments, (*arguments[1:], ""), strict=True):
        name, joined, value = argument.partition("=")
        given[name] = value if joined else following
    model, workers = given.get("--model"), given.get("--workers", "1")
    if model and workers not in ("", "1") and given.get("--engine") != "ray":
        from isc.build import preloaded

        if preloaded.start_method() == "forkserver":
            preloaded.start_server(partial(preloaded.load, model))


def _guarded(run: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read has what it wanted; a later flush of standard output must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except KeyboardInterrupt:
        _complain("interrupted")
        return Exit.INTERRUPTED
    except (UnknownModelError, LoadError) as error:  # what is unknown, where it was looked for, what to give instead
        _complain(*str(error).splitlines())
        return Exit.FAILED
    except Error as error:
        _complain(str(error))
        return Exit.FAILED
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Exit.FAILED
    return code


def _complain(*lines: str) -> None:
    """Print an error: a line, or two more under it."""
    print("isc:", "\n     ".join(" ".join(line.split()) for line in lines[:3]), file=sys.stderr)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _complain(str(message) if issubclass(category, TracedTemplateNotice) else f"warning: {message}")
