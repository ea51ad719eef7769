"""The commands of `isc`: what they are called, what they read and print. What they compute is computed elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import msgspec
from cyclopts import App, CycloptsError, Parameter

import isc
from isc._options import did_you_mean
from isc.build import arrow, cluster
from isc.build.compression import Compression, split_name
from isc.build.conversations import Conversation, InputError, documents
from isc.build.conversations import tools as decoded_tools
from isc.build.forms import conversation
from isc.build.recognition import recognized
from isc.build.samples import ENDINGS, SampleFormat, Settings, columns, parse_loss, parts_pattern
from isc.build.saved import is_of_samples
from isc.build.sources import STDIN, expanded, named, opened, read_batches
from isc.cli import Exit
from isc.cli import show as shown
from isc.cli.arguments import File, Format, Look, Manner, Output, PageFile, Samples, Whole, console
from isc.cli.coverage import COLUMNS, known_coverage, rows_of
from isc.cli.files import NO_FILE, BuildPaths, default_rejects, refuse_existing, whole_file
from isc.cli.formats import EMBEDDED, EMBEDDED_NOTICE, choose, dated, described, entries, identity
from isc.cli.pages import sample_of, sample_page, write_html
from isc.cli.parts import begun_day, ended_in_parts, paths_of
from isc.cli.piping import check_stream, ended_in_stream
from isc.cli.running import Job, ended, recorded_date, sample_format, started, worker_count
from isc.cli.saved import print_tokens, saved_sample, show_saved
from isc.conversation.renderer import Renderer
from isc.conversation.training import TrainingSample
from isc.encoding.encoders import EngineName
from isc.errors import EncoderError, Error, OptionError
from isc.loading import template_digest, vocabulary_digest
from isc.viewer.texts import token_texts

_HELP = """\
Chat messages to the exact token ids a model reads, with the owner of every token.

Exit codes: 0 all done; 1 some conversations were rejected; 2 wrong usage, or nothing could be done; 130 interrupted.

For example:

```
isc show examples/tools.json --family qwen3
isc build examples/conversations.jsonl --family qwen3 -o samples.jsonl
isc families
```
"""

app = App(
    name="isc",
    help=_HELP,
    help_format="markdown",
    version=isc.__version__,
    default_parameter=Parameter(negative=(), show_default=False),
)

_EVERYWHERE = ("--help", "--version")
"""Options that every command has."""
_NO_FORMAT = Format()
_NO_PAGE = PageFile()
_ANY_MANNER = Manner()
_ANY_LOOK = Look()
_ANY_SAMPLES = Samples()


@app.command
def show(
    file: File,
    /,
    *,
    format: Format = _NO_FORMAT,
    tools: Path | None = None,
    line: Whole | None = None,
    look: Look = _ANY_LOOK,
    generation_prompt: bool = False,
    session: str | None = None,
    page: PageFile = _NO_PAGE,
) -> int:
    """Show a conversation as tokens: whose they are, what is body or scaffold, and what is trained on.

    A row of a build is shown as tokens again: whose they are where it has the columns of `--columns attribution`, else
    what of them is trained on. Its vocabulary is the one that the samples name.

    For example:

    ```
    isc show examples/chat.json --family qwen3
    isc show examples/conversations.jsonl --line 2 --ids --family qwen3 | head
    cat examples/chat.json | isc show - --family qwen3 --generation-prompt
    isc show examples/reasoning.json --family qwen3 --option enable_thinking=false
    isc show examples/tools.json --family qwen3 --parts
    isc show examples/tools.json --family qwen3 --html tools.html
    ```

    and `--session` with a gateway's record shows what was sampled in a session.

    Args:
        file: JSON, {"messages": [...], "tools": [...]} or a list of messages; or any file that `isc build` reads or
            writes. `-` is standard input.
        format: Chat format and vocabulary.
        tools: JSON file of tools to offer, instead of those in FILE.
        line: Which line of a file with one conversation a line. By default the first that holds one.
        look: How tokens are shown.
        generation_prompt: End with what asks the model for its turn.
        session: A session of FILE, a record that `isc serve` wrote: all its samples, with their log-probabilities.
        page: A page of HTML instead.
    """
    if file != STDIN and is_of_samples(Path(file)):
        show_saved(saved_sample(Path(file), line, format), page, look)
        return Exit.OK
    if session is not None:
        return _recorded(Path(file), session, _chosen(format, "tokenizers")[0], format.model, page, look)
    place, read = _offering(_conversation(file, line), tools)
    renderer, vocabulary = _chosen(format, "tokenizers")  # so little is encoded that the fast one is not worth loading
    if page.html is not None:
        return _write_shown(renderer, vocabulary, read, page, generation_prompt, file, place)
    with _at(place):
        sample = sample_of(renderer, read, parse_loss(page.loss), generation_prompt)
    heading = f"{place} as {described(renderer.family)}, loss {parse_loss(page.loss)}"
    _print_shown(
        heading, EMBEDDED_NOTICE if vocabulary == EMBEDDED else f"ids are of {vocabulary}", sample, renderer, look
    )
    return Exit.OK


def _print_shown(heading: str, note: str, sample: TrainingSample, renderer: Renderer, look: Look) -> None:
    """Print a conversation as the tokens of a sample."""
    rendered = sample.rendered if look.parts else shown.without_parts(sample.rendered)
    marked = shown.shown_of(rendered, token_texts(rendered.token_ids, renderer.encoder), sample.loss_spans)
    output = console()
    output.print(heading, style="bold", soft_wrap=True)
    output.print(note)
    output.print("", shown.counts(rendered, marked.trained, output.width), sep="\n")
    print_tokens(output, marked, look, explained=False)


def _recorded(record: Path, session: str, renderer: Renderer, model: str | None, page: PageFile, look: Look) -> int:
    """Show a session of a record. Only this needs the gateway."""
    from isc.cli.sessions import show_session

    return show_session(record, session, renderer, model, page, look)


def _offering(placed: tuple[str, Conversation], tools: Path | None) -> tuple[str, Conversation]:
    """Return a conversation, after its place, with the tools of another file where one is given."""
    if tools is None:
        return placed
    with opened(str(tools)) as stream, _at(str(tools)):
        return placed[0], msgspec.structs.replace(placed[1], tools=decoded_tools(stream.read()))


def _write_shown(
    renderer: Renderer,
    vocabulary: str,
    read: Conversation,
    asked: PageFile,
    generation_prompt: bool,
    source: str,
    place: str,
) -> int:
    """Write the page of a conversation where it is asked for, and say so."""
    loss = parse_loss(asked.loss)
    with _at(place):
        sample = sample_of(renderer, read, loss, generation_prompt)
    page = sample_page(sample, renderer, loss, place, vocabulary)
    if write_html(page, asked.html, overwrite=asked.overwrite, source=source):
        console().print(f"{asked.html}: {len(sample.rendered):,} tokens of {place}", soft_wrap=True)
    return Exit.OK


def _chosen(format: Format, engine: EngineName | None = None) -> tuple[Renderer, str]:
    """Return the renderer that the arguments choose, and the name of its vocabulary."""
    told = (format.family, format.model, format.option, format.images_from)
    return choose(*told, template=format.template, engine=engine)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Put the place of a conversation into its errors. An error of the vocabulary gets none: it has no place."""
    try:
        yield
    except EncoderError:
        raise
    except Error as error:
        raise InputError(f"{place}: {error}") from error


def _conversation(source: str, line: int | None) -> tuple[str, Conversation]:
    """Read the conversation on a line, or the first, and return it after its place."""
    if Path(source).suffix in (".parquet", ".arrow", ".gz", ".zst"):
        return _in_row(source, line or 1)
    with opened(source) as stream:
        number = 0
        for number, document in documents(stream, by_line=_is_by_line(source)):
            if line in (None, number):
                place = named(source) if line is None else f"{named(source)}:{line}"
                with _at(place):
                    return place, conversation(document)
    if line is None:
        raise InputError(f"{named(source)} is empty")
    raise InputError(f"{named(source)} has no conversation on line {line}; the last one is on line {number}")


def _in_row(source: str, number: int) -> tuple[str, Conversation]:
    """Read the conversation in a row of a table, or of a file that is packed."""
    count = 0
    for batch in read_batches(recognized(source)):
        count += len(batch.ends)
        if number <= count:
            with _at(f"{source}:{number}"):
                return f"{source}:{number}", conversation(batch.rows()[number - batch.first], batch.form)
    raise InputError(f"{source} has no conversation on line {number}; the last one is on line {count}")


def _is_by_line(source: str) -> bool:
    return Path(source).suffix in (".jsonl", ".ndjson")


@app.command
def render(
    *files: File,
    format: Format = _NO_FORMAT,
    output: Output | None = None,
    generation_prompt: bool = False,
    overwrite: bool = False,
) -> int:
    """Render conversations: for each one line of JSON, an `isc.RenderedTokens`.

    A conversation that cannot be rendered is reported and left out.

    For example:

    ```
    isc render examples/chat.json --family qwen3
    isc render examples/*.json --family qwen3 -o rendered.jsonl
    ```

    Args:
        files: JSON or JSON Lines, as for `isc show`. `-` is standard input.
        format: Chat format and vocabulary.
        output: File to write. By default, and for `-`, standard output.
        generation_prompt: End with what asks the model for its turn.
        overwrite: Replace the output if it exists.
    """
    if not files:
        raise OptionError("isc render: name a file, or - for standard input")
    output = None if str(output) == STDIN else output
    refuse_existing([output] if output else [], overwrite=overwrite)
    renderer, vocabulary = _chosen(format)
    errors = console(errors=True)
    rendered = rejected = 0
    target = whole_file(output, overwrite=overwrite, sources=files) if output else nullcontext(sys.stdout.buffer)
    with target as stream:
        for line in _rendered(files, renderer, generation_prompt):
            if isinstance(line, Error):
                rejected += 1
                errors.print(str(line), soft_wrap=True)
            else:
                rendered += 1
                stream.write(line)
        if rejected and not rendered:
            raise InputError("nothing was rendered: every conversation was refused")
        stream.flush()
    if vocabulary == EMBEDDED:
        errors.print(f"isc: {EMBEDDED_NOTICE}", soft_wrap=True)
    return Exit.REJECTED if rejected else Exit.OK


def _rendered(files: Sequence[str], renderer: Renderer, generation_prompt: bool) -> Iterator[bytes | Error]:
    """Yield each conversation as a line of JSON, or the error that refuses it."""
    for source in files:
        with opened(source) as stream:
            for number, document in documents(stream, by_line=_is_by_line(source)):
                try:
                    with _at(f"{named(source)}:{number}"):
                        read = conversation(document)
                        rendered = renderer.render(read.messages, read.tools, generation_prompt)
                    yield msgspec.json.encode(rendered) + b"\n"
                except InputError as error:
                    yield error


@app.command
def build(
    *files: File,
    output: Output,
    format: Format = _NO_FORMAT,
    samples: Samples = _ANY_SAMPLES,
    rejects: Path | None = None,
    report: Path | None = None,
    manner: Manner = _ANY_MANNER,
) -> int:
    r"""Build training samples: conversations in, `input_ids` and `labels` out, in the same order.

    A message with `weight: 0`, `train: false`, `training: false`, `trainable: false`, `loss: false` or
    `step_loss_mask: 0` is not trained on; the summary counts them.

    A bad line is reported, written to the rejects file with its number and the reason, and does not stop the others.
    With --engine ray it is built in parts on a cluster, which loses nothing with a node that dies; see docs/stages.md.

    The output has its name when it is complete; until then it is OUT.partial, and --resume goes on with it.

    Exit codes: 0 all done; 1 some lines were rejected; 2 wrong usage, or no sample was built; 130 interrupted.

    For example:

    ```
    isc build examples/conversations.jsonl --family qwen3 -o samples.jsonl
    isc build examples/conversations.jsonl --family qwen3 --overwrite \
        --loss assistant+tool-bodies --columns attribution -o samples.parquet
    isc build examples/conversations.jsonl --family qwen3 -o - | head -1
    isc build examples/conversations.jsonl --family qwen3 --turns each \
        --keep id,source -o turns.parquet
    isc build examples/conversations.jsonl --family qwen3 --overwrite \
        -o samples.jsonl --report report.html
    ```

    Args:
        files: Files of conversations, or patterns in quotes: .jsonl, .json, .parquet, .arrow, each also .gz or .zst;
            `hf://OWNER/NAME?split=train`, where datasets is installed; `-` is standard input.
        output: File to write; its name ends in .jsonl, .jsonl.gz, .jsonl.zst or .parquet; `-` is standard output, as
            JSON Lines. With --engine ray a directory.
        format: Chat format and vocabulary.
        samples: What a training sample is.
        rejects: File for rejected lines. By default OUT.rejects.jsonl beside the output, with --engine ray a file
            beside each part.
        report: Write a page for a browser beside it: lengths, what is trained on by role, why lines were rejected, and
            samples to look at, the longest and the least trained among them.
        manner: How the build is run.
    """
    if str(output) == STDIN:
        return _build_to_stdout(expanded(files), output, format, samples, rejects, report, manner)
    if manner.engine == "ray":
        return _build_in_parts(expanded(files), output, format, samples, rejects, report, manner)
    settings = _asked_for(samples, *sample_format(output))
    rejects = rejects or default_rejects(output)
    paths = BuildPaths(expanded(files), output, rejects, report, parts_pattern(settings))
    paths.check_distinct()
    with started(worker_count(paths, manner), format.model) as pool:
        day = samples.date or recorded_date(paths, manner)
        renderer, settings = _described(settings, format, day, None if pool is None else "later")
        settings = msgspec.structs.replace(settings, surveyed=report is not None)
        return ended(Job(paths, renderer, settings, manner, console(errors=True), pool), console())


def _build_to_stdout(
    files: tuple[str, ...],
    output: Path,
    format: Format,
    samples: Samples,
    rejects: Path | None,
    report: Path | None,
    manner: Manner,
) -> int:
    """Build samples onto standard output; nothing else is written there."""
    settings = _asked_for(samples, *sample_format(output))
    check_stream(settings, manner, report)
    paths = BuildPaths(files, output, rejects or NO_FILE)
    with started(worker_count(paths, manner), format.model) as pool:
        renderer, settings = _described(settings, format, samples.date, None if pool is None else "later")
        return ended_in_stream(Job(paths, renderer, settings, manner, console(errors=True), pool), sys.stdout.buffer)


def _build_in_parts(
    files: tuple[str, ...],
    output: Path,
    format: Format,
    samples: Samples,
    rejects: Path | None,
    report: Path | None,
    manner: Manner,
) -> int:
    """Build samples on a Ray cluster. The driver builds no engine."""
    cluster.require()
    arrow.require()
    if split_name(output)[1] in ENDINGS:
        raise OptionError(f"-o {output}: with --engine ray it is a directory; its files are Parquet")
    settings = _asked_for(samples, "parquet")
    splits = parts_pattern(settings)
    if settings.shards or settings.shard_size:
        parts = "--engine ray writes a file for every 16 MB of input, which are its shards"
        raise OptionError(f"{parts}: leave --shards and --shard-size out")
    paths = paths_of(files, output, rejects, report, splits)
    renderer, settings = _described(settings, format, samples.date or begun_day(output, manner), "later")
    settings = msgspec.structs.replace(settings, surveyed=report is not None)
    job = Job(paths, renderer, settings, manner, console(errors=True), title=output.name)
    return ended_in_parts(job, partial(cluster.built_parts, workers=manner.workers), console())


def _described(
    settings: Settings, format: Format, day: str | None, engine: EngineName | None
) -> tuple[Renderer, Settings]:
    """Return the renderer that the arguments choose, and the settings with what they say of it."""
    renderer, vocabulary = _chosen(format, engine)
    renderer, day = dated(renderer, day)
    settings = msgspec.structs.replace(
        settings,
        images=renderer.images is not None,
        family=identity(renderer.family),
        vocabulary=vocabulary,
        vocabulary_digest=vocabulary_digest(format.model) if format.model else EMBEDDED,
        date=day,
        described=described(renderer.family),
        template_digest=template_digest(format.model) if format.model else "",
        images_from=str(format.images_from.resolve()) if format.images_from else "",
    )
    columns(settings)  # refuses a clash of names before any work
    return renderer, settings


def _asked_for(samples: Samples, form: SampleFormat, compression: Compression = "") -> Settings:
    """Return what the options say of samples, with nothing of the renderer yet."""
    return Settings(
        parse_loss(samples.loss),
        form,
        compression,
        samples.columns,
        keep=tuple(filter(None, samples.keep.split(","))),
        turns=samples.turns,
        ensure_final_stop=samples.ensure_final_stop,
        max_tokens=samples.max_tokens,
        too_long=samples.too_long,
        pack=samples.pack,
        split=samples.shares,
        shards=samples.shards,
        shard_size=samples.shard_bytes,
        form=samples.format,
        drop_null=samples.drop_null,
        version=isc.__version__,
    )


@app.command
def families(*, models: bool = False, json: bool = False) -> int:
    """List the chat formats, their options and the models they serve; or what is proven for each model.

    For example:

    ```
    isc families
    isc families --models
    isc families --json
    ```

    Args:
        models: One model a line, and what its text, ids, attribution, bridges and readings rest on; docs/coverage.md
            explains the words.
        json: For programs: a JSON list.
    """
    if models:
        return _models(json)
    listed = entries()
    if json:
        print(msgspec.json.encode(listed).decode())
        return Exit.OK
    output = console()
    for entry in listed:
        for line in shown.family_lines(entry, output.width):
            output.print(line)
    return Exit.OK


def _models(as_json: bool) -> int:
    known = known_coverage()
    if as_json:
        print(msgspec.json.encode([dict(zip(COLUMNS, row, strict=True)) for row in rows_of(known)]).decode())
        return Exit.OK
    output = console()
    for line in shown.columns_of([COLUMNS, *rows_of(known)]):
        output.print(line, soft_wrap=True)
    return Exit.OK


def _check_options(arguments: Sequence[str]) -> None:
    """Refuse an option that its command does not have. A command of any number of files would take it for one."""
    command = next((word for word in arguments[:1] if word in app and not word.startswith("-")), "")
    known = {"--", *_EVERYWHERE}
    if command:
        known |= {name for argument in app[command].assemble_argument_collection() for name in argument.names}
    for word in arguments if command else arguments[:1]:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in known:
            problem = f"There is no option {name}{did_you_mean(name, sorted(known), quoted=False)}"
            raise OptionError(f"{problem} ({' '.join(filter(None, ('isc', command, '--help')))})")


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name.

    Returns:
        Its exit code.

    Raises:
        OptionError: There is no such command, or its arguments are wrong.
    """
    _check_options(arguments)
    try:
        command, bound, _ = app.parse_args(list(arguments), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        named = f" {arguments[0]}" if arguments and arguments[0] in app else ""
        raise OptionError(f"{error} (isc{named} --help)") from None
    code = command(*bound.args, **bound.kwargs)
    return code if isinstance(code, int) else Exit.OK
