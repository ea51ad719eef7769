"""A render as text for people: every token with its end marked, body in brackets, whatever is invisible made visible.

Nothing is told by colour alone: the same characters go to a terminal and to a pipe, styles come on top. What is trained
on stands out from what is merely said: its tokens have heavy ends, bold and underlined in a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import TypeAlias

from msgspec import Struct
from rich.cells import chop_cells
from rich.table import Table
from rich.text import Text

from isc._parts import PARTS
from isc.build.samples import NOBODY, Tally
from isc.cli.formats import FamilyEntry
from isc.rendered import RenderedTokens, Run, put_together
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
    TRAINED_END,
    visible,
)

COLOURS = {
    "system": "color(98)",
    "developer": "color(133)",
    "user": "color(28)",
    "assistant": "color(31)",
    "tool": "color(130)",
    "latest_reminder": "color(98)",
}
"""Colours of roles, as legible on black as on white: the brightest and the darkest ones are neither."""
_INDENT = "  "
_NARROW = 64
"""Cells of a screen below which less is put side by side."""
_LEAST_TEXT = 8
"""Cells that the text of a token has at least."""
_PART = len("scaffold") + 2
_NAMED_PART = max(map(len, PARTS)) + 2
"""Cells of the column of parts; where parts of bodies are told."""


def _style(rendered: RenderedTokens, run: Run, *, trained: bool) -> str:
    colour = COLOURS.get(rendered.role(run) or "", "default")
    if trained:
        return f"bold underline {colour}"
    return colour if run.body else "dim"


def trained_mask(rendered: RenderedTokens, spans: Sequence[Span] | None) -> Sequence[bool]:
    """Return for each token whether it is trained on; where that is not known, whether the model samples it."""
    if spans is None:
        return rendered.sampled_mask
    mask = [False] * len(rendered)
    for start, end in spans:
        mask[start:end] = [True] * (end - start)
    return mask


def without_parts(rendered: RenderedTokens) -> RenderedTokens:
    """Return a render that does not tell the parts of its bodies."""
    runs = tuple(Run(run.length, run.message, run.body) for run in rendered.runs)
    return put_together(
        *(rendered.token_ids, runs, rendered.message_roles, rendered.message_tool_names, rendered.multi_modal_data),
        decoder=rendered.decoder,
    )


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


class Shown(Struct, frozen=True):
    """What is shown of a render: what each token says, and whether it is trained on."""

    rendered: RenderedTokens
    texts: Sequence[str]
    trained: Sequence[bool]
    media: Mapping[int, MediaItem]


def shown_of(rendered: RenderedTokens, texts: Sequence[str], spans: Sequence[Span] | None = None) -> Shown:
    """Return what is shown of a render.

    Args:
        rendered: Ids and attribution.
        texts: What each token says (`token_texts`).
        spans: The tokens that are trained on; None takes those that the model samples.
    """
    return Shown(rendered, texts, trained_mask(rendered, spans), media_items(rendered))


def _tokens(shown: Shown, runs: Iterable[tuple[Run, Span]]) -> Iterator[_Token]:
    """Yield the tokens of some runs. The tokens of one image are shown as one."""
    for run, (start, end) in runs:
        position = start
        while position < end:
            trained, text = shown.trained[position], shown.texts[position]
            item = shown.media.get(position)
            length, text = (item.length, _media_note(item, text)) if item else (1, text)
            before = f"{run.part or ''}{OPEN}" if run.body and position == start else ""
            position += length
            after = (TRAINED_END if trained else END) + (CLOSE if run.body and position == end else "")
            yield _Token(before, text, after, _style(shown.rendered, run, trained=trained))


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


def conversation_lines(shown: Shown, width: int, titles: Titles | None = None) -> Iterator[Text]:
    """Yield the conversation as text, message by message, each under a heading that names its owner.

    Args:
        shown: What is shown.
        width: Cells in a line.
        titles: In the place of owners.
    """
    rendered = shown.rendered
    seen: set[int] = set()
    for message, group in groupby(rendered.spans(), key=lambda item: item[0].message):
        runs = list(group)
        title = titles[not runs[0][0].body] if titles else _title(rendered, runs, again=message in seen)
        yield _heading(rendered, runs, width, title)
        seen.add(message)
        pieces = (piece for token in _tokens(shown, runs) for piece in token.pieces())
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
    style = f"bold {COLOURS.get(role or '', 'default')}"
    heading = Text().append("── ", "dim").append(f"{_shortened(title, width - len(count) - 8)} ", style)
    heading.append("─" * max(2, width - heading.cell_len - len(count)), "dim")
    return heading.append(count, "dim")


def _shortened(text: str, width: int) -> str:
    lines = chop_cells(text, max(8, width))
    return text if len(lines) == 1 else f"{lines[0][:-1]}…"


def id_lines(shown: Shown, width: int, titles: Titles | None = None) -> Iterator[Text]:
    """Yield one line a token: position, id, message, role, what of it the token is, and its text.

    A narrow screen gets no role: the message tells it.
    """
    rendered = shown.rendered
    cells = _NAMED_PART if any(run.part for run in rendered.runs) else _PART
    narrow = width < _NARROW
    layout = "{:>5} {:>6} {:>3} {:.0}{:<8}" if narrow else f"{{:>7}} {{:>7}} {{:>7}}  {{:<10}}{{:<{cells}}}"
    yield Text(f"{layout.format('token', 'id', 'of' if narrow else 'message', 'role', 'part')} text", style="bold")
    for run, (start, end) in rendered.spans():
        role = titles[not run.body] if titles else rendered.role(run) or NOBODY
        owner = "-" if run.message == UNOWNED else run.message
        for position in range(start, end):
            trained = shown.trained[position]
            part = run.part or _what(rendered, run, trained=trained)
            head = layout.format(position, rendered.token_ids[position], owner, role, part[:8] if narrow else part)
            text = _marked(shown, run, position)
            first, *rest = chop_cells(text, max(_LEAST_TEXT, width - len(head) - 1)) or [""]
            style = _style(rendered, run, trained=trained)
            yield Text(f"{head} ").append(first, style)
            yield from (Text(" " * (len(head) + 1)).append(line, style) for line in rest)


def _what(rendered: RenderedTokens, run: Run, *, trained: bool) -> str:
    if trained:
        return "trained"
    return "sampled" if rendered.is_sampled(run) else "body" if run.body else "scaffold"


def _marked(shown: Shown, run: Run, position: int) -> str:
    """Return what a token says, body in brackets, with a heavy end where it is trained on."""
    said = shown.texts[position]
    said = _media_note(shown.media[position], said) if position in shown.media else said
    said = said + TRAINED_END if shown.trained[position] else said
    return f"{OPEN}{said}{CLOSE}" if run.body else said


def key() -> Text:
    """Return the least that has to be known of the marks, in a line of 80 cells."""
    marks = Text().append(f"{OPEN}body{CLOSE}").append(" scaffold", "dim").append(f"  {END} ends a token, ")
    marks.append(f"{TRAINED_END} one that is trained on", "bold")
    return marks.append("  (--legend: all marks)")


def legend() -> Table:
    """Explain the marks."""
    escaped = f"{NOTE_OPEN}U+200B{NOTE_CLOSE}"
    rows = (
        (Text(f"{OPEN}body{CLOSE}"), "what a message says; of an assistant's, what the model samples"),
        (Text("scaffold", "dim"), "what the format adds: all that is not in brackets"),
        (
            Text(TRAINED_END, "bold"),
            "ends a token that is trained on, as --loss says; bold and underlined in a terminal",
        ),
        (Text(END), "ends any other token"),
        (Text(SPACE), f"a space; {NEWLINE} newline, {TAB} tab, {RETURN} carriage return"),
        (Text(f"{NOTE_OPEN}E2 80{NOTE_CLOSE}"), "bytes of a character that is spread over tokens"),
        (Text(escaped), "a character that cannot be seen, or that is one of these marks"),
        (Text(NO_BASE), "carries an accent or vowel sign that its token begins with"),
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for mark, meaning in rows:
        table.add_row(mark, meaning)
    return table


def counts(rendered: RenderedTokens, trained: Sequence[bool], width: int) -> Table:
    """Tabulate the tokens per role: scaffold, body, and what is trained on. A narrow screen gets a line a count."""
    names = ("messages", "tokens", "scaffold", "body", "trained")
    roles = dict.fromkeys(rendered.message_roles)
    rows = {role: [rendered.message_roles.count(role), 0, 0, 0, 0] for role in roles}
    for run, (start, end) in rendered.spans():
        row = rows.setdefault(rendered.role(run) or NOBODY, [0, 0, 0, 0, 0])
        row[1] += run.length
        row[3 if run.body else 2] += run.length
        row[4] += sum(trained[start:end])
    return _narrow_table(names, rows) if width < _NARROW else _table(names, rows)


def tally_table(tally: Tally) -> Table:
    """Tabulate the tokens per role of many samples, and how many of them are trained on."""
    rows = {role: [counted.tokens, counted.body, counted.trained] for role, counted in tally.roles.items()}
    return _table(("tokens", "body", "trained on"), rows)


def columns_of(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of words as lines, each column as wide as its longest word. They are never wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()


def _table(names: Sequence[str], rows: Mapping[str, Sequence[int]]) -> Table:
    """Make a table of a row for each role, in the order of the roles, and their total."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("role")
    for name in names:
        table.add_column(name, justify="right")
    for role in _ordered(rows):
        table.add_row(_role_text(role), *map(_number, rows[role]))
    table.add_row("total", *(_number(sum(column)) for column in zip(*rows.values(), strict=True)), style="bold")
    return table


def _narrow_table(names: Sequence[str], rows: Mapping[str, Sequence[int]]) -> Table:
    """Make a table of two columns: each role, and its counts in words."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for role in _ordered(rows):
        counted = ", ".join(f"{count:,} {name}" for name, count in zip(names, rows[role], strict=True) if count)
        table.add_row(_role_text(role), counted)
    return table


def _ordered(roles: Iterable[str]) -> list[str]:
    return sorted(roles, key=[*COLOURS, NOBODY].index)


def _role_text(role: str) -> Text:
    return Text(role, style=f"bold {COLOURS.get(role, 'default')}")


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
