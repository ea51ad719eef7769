"""A render as text for people: every token with its end marked, body in brackets, whatever is invisible made visible.

Nothing is told by colour alone: the same characters go to a terminal and to a pipe, styles come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import TypeAlias

from rich.cells import chop_cells
from rich.table import Table
from rich.text import Text

from isc._parts import PARTS
from isc.build.samples import NOBODY, Tally
from isc.cli.formats import FamilyEntry
from isc.rendered import RenderedTokens, Run
from isc.types import UNOWNED, Span
from isc.viewer.media import MediaItem, media_items
from isc.viewer.texts import (
    CLOSE,
    END,
    NEWLINE,
    NO_BASE,
    NOTE_CLOSE,
    NOTE_OPEN,
    OPEN,
    RETURN,
    SPACE,
    TAB,
    visible,
)

_COLOURS = {
    "system": "magenta",
    "developer": "bright_magenta",
    "user": "green",
    "assistant": "cyan",
    "tool": "yellow",
    "latest_reminder": "magenta",
}
_INDENT = "  "
_PART = len("scaffold") + 2
_NAMED_PART = max(map(len, PARTS)) + 2
"""Cells of the column of parts; where parts of bodies are told."""


def _style(rendered: RenderedTokens, run: Run) -> str:
    colour = _COLOURS.get(rendered.role(run) or "", "default")
    return f"bold underline {colour}" if run.body else f"dim {colour}"


class _Token:
    """One token to lay out: its text, how it is marked off, and its style."""

    __slots__ = ("after", "before", "style", "text")

    def __init__(self, before: str, text: str, after: str, style: str) -> None:
        self.before = before
        self.text = text
        self.after = after
        self.style = style

    def pieces(self) -> Iterator[Text]:
        """Yield the token in pieces that end where its text breaks a line."""
        *broken, last = self.text.split(NEWLINE)
        texts = [line + NEWLINE for line in broken] + ([last] if last or not broken else [])
        for position, text in enumerate(texts):
            piece = Text().append(self.before if position == 0 else "", "dim").append(text, self.style)
            if position == len(texts) - 1:
                piece.append(self.after, "dim")
            yield piece


def _tokens(
    rendered: RenderedTokens, texts: Sequence[str], runs: Iterable[tuple[Run, Span]], media: Mapping[int, MediaItem]
) -> Iterator[_Token]:
    """Yield the tokens of some runs. The tokens of one image are shown as one."""
    for run, (start, end) in runs:
        style = _style(rendered, run)
        position = start
        while position < end:
            item = media.get(position)
            length, text = (item.length, _media_note(item, texts[position])) if item else (1, texts[position])
            before = f"{run.part or ''}{OPEN}" if run.body and position == start else ""
            position += length
            yield _Token(before, text, CLOSE if run.body and position == end else END, style)


def _media_note(item: MediaItem, text: str) -> str:
    """Describe a media item in place of its tokens."""
    named = "".join(map(visible, item.name))
    return f"{text}{NOTE_OPEN}x{item.length}: {item.modality} {item.number} {named}{NOTE_CLOSE}"


def _filled(pieces: Iterable[Text], width: int) -> Iterator[Text]:
    """Yield lines of at most `width` cells, broken between tokens where that is possible."""
    line = Text()
    for piece in pieces:
        if line and line.cell_len + piece.cell_len > width:
            yield line
            line = Text()
        *full, rest = _chopped(piece, width)
        yield from full
        line.append_text(rest)
        if NEWLINE in piece.plain[-2:]:
            yield line
            line = Text()
    if line:
        yield line


def _chopped(piece: Text, width: int) -> list[Text]:
    if piece.cell_len <= width:
        return [piece]
    lengths = accumulate(map(len, chop_cells(piece.plain, width)))
    return list(piece.divide(list(lengths)[:-1]))


Titles: TypeAlias = tuple[str, str]
"""What stands in the place of owners where they are not known: for body, and for all else."""


def conversation_lines(
    rendered: RenderedTokens, texts: Sequence[str], width: int, titles: Titles | None = None
) -> Iterator[Text]:
    """Yield the conversation as text, message by message, each under a heading that names its owner.

    Args:
        rendered: Ids and attribution.
        texts: What each token says (`token_texts`).
        width: Cells in a line.
        titles: In the place of owners.
    """
    seen: set[int] = set()
    media = media_items(rendered)
    for message, group in groupby(rendered.spans(), key=lambda item: item[0].message):
        runs = list(group)
        title = titles[not runs[0][0].body] if titles else _title(rendered, runs, again=message in seen)
        yield _heading(rendered, runs, width, title)
        seen.add(message)
        pieces = (piece for token in _tokens(rendered, texts, runs, media) for piece in token.pieces())
        for line in _filled(pieces, width - len(_INDENT)):
            yield Text(_INDENT).append_text(line)


def _title(rendered: RenderedTokens, runs: Sequence[tuple[Run, Span]], *, again: bool) -> str:
    run, (start, _) = runs[0]
    end = runs[-1][1][1]
    role = rendered.role(run)
    if role is None:
        title = "opening" if start == 0 else "generation prompt" if end == len(rendered) else "added by the format"
        return f"{NOBODY}'s: {title}"
    tool = rendered.message_tool_names[run.message]
    return f"{run.message} {role}{f' ({tool})' if tool else ''}{', continued' if again else ''}"


def _heading(rendered: RenderedTokens, runs: Sequence[tuple[Run, Span]], width: int, title: str) -> Text:
    run, (start, _) = runs[0]
    end = runs[-1][1][1]
    role = rendered.role(run)
    body = sum(end - start for run, (start, end) in runs if run.body)
    count = f" {end - start} tokens, {body} body"
    style = f"bold {_COLOURS.get(role or '', 'default')}"
    heading = Text().append("── ", "dim").append(f"{_shortened(title, width - len(count) - 8)} ", style)
    heading.append("─" * max(2, width - heading.cell_len - len(count)), "dim")
    return heading.append(count, "dim")


def _shortened(text: str, width: int) -> str:
    lines = chop_cells(text, max(8, width))
    return text if len(lines) == 1 else f"{lines[0][:-1]}…"


def id_lines(
    rendered: RenderedTokens, texts: Sequence[str], width: int, titles: Titles | None = None
) -> Iterator[Text]:
    """Yield one line a token: position, id, message, role, its part, or scaffold, body or sampled, and its text."""
    cells = _NAMED_PART if any(run.part for run in rendered.runs) else _PART
    yield Text(f"{'token':>7} {'id':>7} {'message':>7}  {'role':<10}{'part':<{cells}}text", style="bold")
    media = media_items(rendered)
    for run, (start, end) in rendered.spans():
        role = titles[not run.body] if titles else rendered.role(run) or NOBODY
        part = run.part or ("sampled" if rendered.is_sampled(run) else "body" if run.body else "scaffold")
        owner = "-" if run.message == UNOWNED else run.message
        style = _style(rendered, run)
        for position in range(start, end):
            head = f"{position:>7} {rendered.token_ids[position]:>7} {owner:>7}  {role:<10}{part:<{cells}}"
            said = _media_note(media[position], texts[position]) if position in media else texts[position]
            text = f"{OPEN}{said}{CLOSE}" if run.body else said
            first, *rest = chop_cells(text, width - len(head))
            yield Text(head).append(first, style)
            yield from (Text(" " * len(head)).append(line, style) for line in rest)


def legend() -> Text:
    """Explain the marks, in lines of fewer than 80 cells."""
    bracketed = Text(f"{OPEN}body{CLOSE}", "bold underline")
    escaped = f"{NOTE_OPEN}U+200B{NOTE_CLOSE}"
    rows = (
        (bracketed, "what a message says; of an assistant message, what the model samples"),
        (Text("scaffold", "dim"), "what the format adds: all that is not in brackets"),
        (Text(END), f"ends a token     {SPACE} space   {NEWLINE} newline   {TAB} tab   {RETURN} carriage return"),
        (Text(f"{NOTE_OPEN}E2 80{NOTE_CLOSE}"), "bytes of a character that is spread over tokens"),
        (Text(escaped), "a character that cannot be seen, or that is one of these marks"),
        (Text(NO_BASE), "carries an accent or vowel sign that its token begins with"),
    )
    lines = (Text().append_text(mark).append(" " * (10 - mark.cell_len)).append(meaning) for mark, meaning in rows)
    return Text("\n").join(lines)


def counts(rendered: RenderedTokens) -> Table:
    """Tabulate the tokens per role: scaffold, body, and the part of the body that the model samples."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("role")
    for name in ("messages", "tokens", "scaffold", "body", "sampled"):
        table.add_column(name, justify="right")
    roles = dict.fromkeys(rendered.message_roles)
    rows = {role: [rendered.message_roles.count(role), 0, 0, 0, 0] for role in roles}
    for run in rendered.runs:
        row = rows.setdefault(rendered.role(run) or NOBODY, [0, 0, 0, 0, 0])
        row[1] += run.length
        row[3 if run.body else 2] += run.length
        row[4] += run.length * rendered.is_sampled(run)
    _add_rows(table, rows)
    return table


def tally_table(tally: Tally) -> Table:
    """Tabulate the tokens per role of many samples, and how many of them are trained on."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("role")
    for name in ("tokens", "body", "trained on"):
        table.add_column(name, justify="right")
    _add_rows(table, {role: [counted.tokens, counted.body, counted.trained] for role, counted in tally.roles.items()})
    return table


def columns_of(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of words as lines, each column as wide as its longest word. They are never wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()


def _add_rows(table: Table, rows: Mapping[str, Sequence[int]]) -> None:
    """Add a row for each role, in the order of the roles, and their total."""
    order = [*_COLOURS, NOBODY]
    for role in sorted(rows, key=order.index):
        table.add_row(Text(role, style=f"bold {_COLOURS.get(role, 'default')}"), *map(_number, rows[role]))
    table.add_row("total", *(_number(sum(column)) for column in zip(*rows.values(), strict=True)), style="bold")


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def family_lines(entry: FamilyEntry, width: int) -> Iterator[Text]:
    """Yield the lines of a family: its options with values and defaults, then its models by their options."""
    yield Text(entry.name, "bold").append(f"  {entry.summary}", "default")
    for option in entry.options:
        yield Text(f"{_INDENT}{option.name} = {option.values}").append(f"  (default {option.default_word})", "dim")
    for changed, models in entry.models_by_options().items():
        yield Text(f"{_INDENT}models{f' with {changed}' if changed else ''}:")
        words = [Text(f"{model}, ") for model in models[:-1]] + [Text(models[-1])]
        for line in _filled(words, width - 2 * len(_INDENT)):
            line.rstrip()
            yield Text(2 * _INDENT).append_text(line)
