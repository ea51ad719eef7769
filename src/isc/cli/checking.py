"""`isc check`: whether a model's template and its masks can be trusted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from isc.build.conversations import InputError, documents
from isc.build.forms import conversation
from isc.build.sources import named, opened
from isc.cli import Exit
from isc.cli.arguments import File, Whole, console
from isc.cli.commands import app
from isc.cli.formats import family_value, with_options
from isc.errors import OptionError
from isc.testing.conformance import CheckReport, Named, Outcome, built_in, check_model

_GLOSSARY = "pass: holds; fail: does not; info: no failure, but notable; skipped: not tried"
_STYLES = {"pass": "green", "fail": "bold red", "info": "yellow", "skipped": "dim"}


@app.command
def check(
    model: File,
    files: tuple[File, ...] = (),
    /,
    *,
    family: str | None = None,
    option: tuple[str, ...] = (),
    template: str | None = None,
    without_tools: bool = False,
    only_files: bool = False,
    built_in_count: Whole = 40,
    json: bool = False,
) -> int:
    """Check a model: its text, ids and attribution against its own chat template, and every law.

    Without --family, a known model is checked as its family, and any other by its own template, traced.
    A check says `pass`; `fail`; `info`, which is no failure but must be known, such as appends that rewrite history; or
    `skipped`, with the reason.

    Exit codes: 0 everything holds; 1 something fails, or a line of FILES holds no conversation; 2 the model cannot be
    loaded.

    For example:

    ```
    isc check Qwen/Qwen3-8B
    isc check path/to/my-finetune examples/tools.json
    isc check path/to/my-finetune my-data.jsonl --only-files
    isc check path/to/my-finetune --family qwen3 --option enable_thinking=false --json
    ```

    Args:
        model: Hub id, or directory with the tokenizer's files and the chat template.
        files: Conversations to try besides the built-in ones, JSON or JSON Lines.
        family: Chat format to hold to the model's template, see `isc families`.
        option: A template option, NAME=VALUE, of the family or of the model's own template. Can be repeated.
        template: Which of the model's own chat templates to check, by its name. By default tool_use where there are
            tools, and default elsewhere.
        without_tools: The model is not used with tools: try no tools, calls and results.
        only_files: Try the conversations in FILES alone, no built-in ones and none of planted words.
        built_in_count: How many built-in conversations to try.
        json: For programs: the report as JSON.
    """
    if only_files and not files:
        raise OptionError("isc check --only-files: name the files")
    unread: list[str] = []
    report = check_model(
        model,
        family_value(family),
        lambda shape: (*_given(files, unread), *built_in(shape, 0 if only_files else built_in_count)),
        lambda format: with_options(format, option),
        template=template,
        tools=not without_tools,
        planted=not only_files,
    )
    return _told(report, unread, as_json=json)


def _told(report: CheckReport, unread: Sequence[str], *, as_json: bool) -> Exit:
    """Print a report, and the lines of files that hold no conversation."""
    for problem in unread:
        console(errors=True).print(problem, soft_wrap=True)
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _print(report)
    return Exit.OK if report.holds and not unread else Exit.REJECTED


def _given(files: Sequence[str], unread: list[str]) -> Iterator[Named]:
    """Yield the conversations in files. A line that holds none is added to `unread`, with its place and the reason."""
    for source in files:
        with opened(source) as stream:
            for number, document in documents(stream, by_line=Path(source).suffix == ".jsonl"):
                place = f"{named(source)}:{number}"
                try:
                    read = conversation(document)
                except InputError as error:
                    unread.append(f"{place}: {error}")
                    continue
                yield place, (read.messages, read.tools)


def _print(report: CheckReport) -> None:
    output = console()
    table = Table(title=f"{report.family}", title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("check", overflow="fold")
    table.add_column("", overflow="fold")
    table.add_column("tried", justify="right")
    table.add_column("found", justify="right")
    for outcome in report.outcomes:
        status = Text(outcome.status, _STYLES[outcome.status])
        table.add_row(outcome.check, status, str(outcome.tried or "-"), str(outcome.found or "-"))
    output.print(table)
    output.print(_GLOSSARY)
    for outcome in report.outcomes:
        for line in _lines(outcome):
            output.print(line, soft_wrap=False)
    failed = [outcome.check for outcome in report.outcomes if outcome.status == "fail"]
    output.print(f"{len(failed)} checks fail: {', '.join(failed)}" if failed else "everything holds")


def _lines(outcome: Outcome) -> Iterator[str]:
    """Yield the findings of a check, a heading first."""
    if outcome.status == "pass":
        return
    yield f"\n{outcome.check} ({outcome.status})"
    for finding in outcome.findings:
        yield f"  {finding.conversation + ': ' if finding.conversation else ''}{finding.detail}"
    if outcome.found > len(outcome.findings):
        yield f"  and {outcome.found - len(outcome.findings)} more"
