"""`isc show` of a file of samples: what a row of a build says, and what of it is trained on."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from rich.console import Console

from isc.build.metadata import Metadata, read_metadata
from isc.build.saved import sample_of_row, saved_row, tells_owners
from isc.cli import show as shown
from isc.cli.arguments import Format, Look, PageFile, console
from isc.cli.formats import EMBEDDED, choose
from isc.cli.pages import write_html
from isc.cli.show import Shown, Titles
from isc.conversation.renderer import Renderer
from isc.conversation.training import TrainingSample
from isc.errors import OptionError
from isc.formats.catalogue import list_families
from isc.loading import vocabulary_digest
from isc.viewer import html
from isc.viewer.texts import token_texts


class SavedSample(Struct, frozen=True):
    """A sample of a file, and what tells its text."""

    place: str
    sample: TrainingSample
    lengths: tuple[int, ...]
    owned: bool
    renderer: Renderer
    made_of: str


def saved_sample(path: Path, line: int | None, format: Format) -> SavedSample:
    """Read a sample, and load the vocabulary that its file names, or that is given.

    Args:
        path: A file of samples.
        line: The number of the row; None takes the first.
        format: The format and vocabulary that are given.

    Raises:
        InputError: There is no such row, or it lacks columns.
        OptionError: The vocabulary that is given is another than that of the samples; or none is given and the file
            names none.
    """
    number = line or 1
    row = saved_row(path, number)
    sample = sample_of_row(row)
    metadata = read_metadata(path)
    if metadata is not None:
        format = _with_vocabulary(format, metadata)
    renderer, vocabulary = choose(format.family, format.model, format.option, None, template=format.template)
    if metadata is not None and format.model and vocabulary_digest(format.model) != metadata.vocabulary_digest:
        raise OptionError(f"{path}: its ids are of {metadata.model}, and {vocabulary} is another vocabulary")
    made_of = f"made by isc {metadata.isc}, {metadata.family}, loss {metadata.loss}; " if metadata else ""
    lengths = tuple(row.get("seq_lengths") or ())
    return SavedSample(
        f"{path}:{number}", sample, lengths, tells_owners(row), renderer, f"{made_of}ids are of {vocabulary}"
    )


def _with_vocabulary(format: Format, metadata: Metadata) -> Format:
    """Return the format that is given, or that of the metadata where none is."""
    if format.family or format.model:
        return format
    name = metadata.family.partition(" ")[0]
    model = None if metadata.model == EMBEDDED else metadata.model
    return Format(family=name if name in list_families() else None, model=model)


def show_saved(saved: SavedSample, page: PageFile, asked: Look) -> None:
    """Print a sample, or write its page."""
    sample, rendered = saved.sample, saved.sample.rendered
    if page.html is not None:
        content = html(sample, saved.renderer, title=saved.place, subtitle=saved.made_of)
        if write_html(content, page.html, overwrite=page.overwrite, source=saved.place.rpartition(":")[0]):
            console().print(f"{page.html}: {len(rendered):,} tokens of {saved.place}", soft_wrap=True)
        return
    output = console()
    output.print(saved.place, style="bold")
    output.print(saved.made_of, soft_wrap=True)
    output.print(f"{sample.trainable_tokens:,} of {len(rendered):,} tokens are trained on")
    if saved.lengths:
        output.print(f"packed of {len(saved.lengths)} samples of {', '.join(map(str, saved.lengths))} tokens")
    if not saved.owned:
        told = "its columns do not tell whose tokens are; --columns attribution does"
        output.print(f"in brackets is what is trained on: {told}", soft_wrap=True)
    texts = token_texts(rendered.token_ids, saved.renderer.encoder)
    marked = shown.shown_of(rendered, texts, sample.loss_spans)
    if saved.owned:
        output.print(shown.counts(rendered, marked.trained, output.width))
    titles = None if saved.owned else ("trained", "context")
    print_tokens(output, marked, asked, titles, explained=False)


def print_tokens(
    output: Console, marked: Shown, asked: Look, titles: Titles | None = None, *, explained: bool = True
) -> None:
    """Print the tokens by message or one a line, before them what the marks mean, unless that was `explained`."""
    output.print()
    if not explained:
        output.print(shown.legend() if asked.legend else shown.key(), "", sep="\n")
    for text in (shown.id_lines if asked.ids else shown.conversation_lines)(marked, output.width, titles):
        output.print(text, soft_wrap=True)
