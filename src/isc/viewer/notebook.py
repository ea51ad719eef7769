"""What a notebook shows of a value: HTML without a script, in the notebook's own colours, not too long to look through.

A page (`isc.viewer.html`) shows all of it; this is a first look that every notebook can print, store and send on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby

from isc.conversation.renderer import Renderer
from isc.rendered import Decoder, Run
from isc.types import UNOWNED, ParsedResponse, Span
from isc.viewer.media import media_items
from isc.viewer.texts import NEWLINE, SPACE, legible, token_texts, visible
from isc.viewer.views import View, views_of

MOST_TOKENS = 2000
"""How many tokens of a value are shown."""

_COLOURS = {
    "system": "#7c5cd6",
    "developer": "#b0479c",
    "user": "#0f8a63",
    "assistant": "#2667d9",
    "tool": "#a8690a",
    "latest_reminder": "#7c5cd6",
}
_STYLE = """
.isc{font-family:system-ui,sans-serif;font-size:13px;line-height:1.5;text-align:left}
.isc table{border-collapse:collapse}
.isc th{text-align:left;font-weight:500;opacity:.75;vertical-align:top;padding:2px 16px 2px 0}
.isc td{text-align:left;padding:2px 0;white-space:pre-wrap;overflow-wrap:anywhere}
.isc .m{margin:0 0 8px;border-left:3px solid var(--c,#888);padding:0 0 0 10px}
.isc .h{font-weight:600}.isc .h small{font-weight:400;opacity:.75;margin-left:8px}
.isc .k{font:12.5px/1.9 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.isc .t{padding:1px 0;border-right:1px solid color-mix(in srgb,currentColor 12%,transparent)}
.isc .s{opacity:.7}
.isc .b{background:color-mix(in srgb,var(--c,#888) 14%,transparent)}
.isc .l{border-bottom:3px solid var(--c,#888)}
"""


def html_of(value: object) -> str:
    """Return a value as HTML.

    Args:
        value: A renderer, a parsed response, or whatever `isc.viewer.html` shows.

    Raises:
        OptionError: The value is none that can be shown.
    """
    match value:
        case Renderer():
            return _framed([_table(_renderer_facts(value))])
        case ParsedResponse():
            return _framed([_table(_response_facts(value))])
        case _:
            return _framed(_view_pieces(views_of(value)))  # type: ignore[arg-type]


def _framed(pieces: Iterable[str]) -> str:
    return f'<div class="isc"><style>{_STYLE}</style>{"".join(pieces)}</div>'


def _table(facts: Iterable[tuple[str, str]]) -> str:
    rows = (f'<tr><th scope="row">{escape(name)}</th><td>{text}</td></tr>' for name, text in facts)
    return f"<table>{''.join(rows)}</table>"


def _renderer_facts(renderer: Renderer) -> Iterator[tuple[str, str]]:
    for name, value in renderer.__rich_repr__():
        yield name.replace("_", " "), _text(repr(value))
    yield "stops", _text(", ".join(renderer.family.stop_tokens))
    stable = "stay as they are when turns are added" if renderer.is_prefix_stable else "may change when turns are added"
    yield "earlier turns", stable


def _response_facts(response: ParsedResponse) -> Iterator[tuple[str, str]]:
    if response.reasoning_content is not None:
        yield "reasoning" if response.reasoning_complete else "reasoning, cut off", _text(response.reasoning_content)
    yield "content", _text(response.content)
    for call in response.tool_calls:
        yield f"call, {call.status}", _text(f"{call.name or ''} {call.raw}".strip())


def _text(text: str, most: int = 20 * MOST_TOKENS) -> str:
    """Return a text as HTML: what cannot be seen by its code point, and no more of it than can be read."""
    return escape(legible(text[:most])) + (f" … {len(text) - most:,} more characters" if len(text) > most else "")


def _view_pieces(views: Sequence[View]) -> Iterator[str]:
    """Yield the first of some sequences: a line on it, its notes, and its messages up to so many tokens."""
    view = views[0]
    rendered = view.rendered
    facts = [f"{view.title}: {len(rendered):,} tokens"]
    if view.trained is not None:
        facts.append(f"{sum(end - start for start, end in view.trained):,} trained on (on a thick line)")
    if len(views) > 1:
        facts.append(f"{len(views) - 1} earlier sequences that were given up")
    yield f'<p class="h">{escape(", ".join(facts))}</p>'
    yield from (f"<p>{_text(note)}</p>" for note in view.notes)
    shown = 0
    for owner, runs in groupby(rendered.spans(), key=lambda item: item[0].message):
        if shown >= MOST_TOKENS:
            break
        pairs = list(runs)
        yield _message(view, owner, pairs)
        shown = pairs[-1][1][1]
    if len(rendered) > MOST_TOKENS:
        more = f"{len(rendered) - MOST_TOKENS:,} more tokens"
        yield f"<p>{more}: <code>isc.viewer.html(...)</code> shows all of them.</p>"


def _message(view: View, owner: int, runs: Sequence[tuple[Run, Span]]) -> str:
    """Return one message: a heading that names its owner, and its tokens."""
    rendered = view.rendered
    role = "nobody" if owner == UNOWNED else rendered.message_roles[owner]
    tool = None if owner == UNOWNED else rendered.message_tool_names[owner]
    title = role if owner == UNOWNED else f"{owner} {role}{f' ({tool})' if tool else ''}"
    count = f"{sum(run.length for run, _ in runs):,} tokens"
    tokens = "".join(_tokens(view, runs, title))
    colour = _COLOURS.get(role, "#888")
    heading = f'<div class="h">{_text(title)}<small>{count}</small></div>'
    return f'<div class="m" style="--c:{colour}">{heading}<div class="k">{tokens}</div></div>'


def _tokens(view: View, runs: Sequence[tuple[Run, Span]], owner: str) -> Iterator[str]:
    """Yield the tokens of a message up to `MOST_TOKENS`, those of one image as one."""
    rendered = view.rendered
    start, end = runs[0][1][0], min(runs[-1][1][1], MOST_TOKENS)
    texts = _texts(rendered.token_ids[start:end], rendered.decoder)
    trained = _positions(view.trained or (), start, end)
    media = media_items(rendered)
    for run, (first, after) in runs:
        position = first
        while position < min(after, MOST_TOKENS):
            item = media.get(position)
            text = f"{texts[position - start]} × {item.length}: {item.modality}" if item else texts[position - start]
            yield _token(rendered.token_ids[position], text, run, position, owner, position in trained)
            position += item.length if item else 1


def _token(token_id: int, text: str, run: Run, position: int, owner: str, trained: bool) -> str:
    kind = f"body{f', {run.part}' if run.part else ''}" if run.body else "scaffold"
    told = f"token {position}, id {token_id}, {owner}, {kind}{', trained on' if trained else ''}"
    classes = f"t {'b' if run.body else 's'}{' l' if trained else ''}"
    return f'<span class="{classes}" title="{escape("".join(map(_visible_word, told)))}">{escape(text)}</span>'


def _visible_word(character: str) -> str:
    """Return a character of a title: a space as it is, what cannot be seen by its code point."""
    return character if character == " " else visible(character)


def _texts(token_ids: Sequence[int], decoder: Decoder | None) -> list[str]:
    """Return the text of each token; its id where nothing tells the text."""
    if decoder is None:
        return [f"{token_id} " for token_id in token_ids]
    return [text.replace(SPACE, " ").replace(NEWLINE, f"{NEWLINE}\n") for text in token_texts(token_ids, decoder)]


def _positions(spans: Iterable[Span], start: int, end: int) -> frozenset[int]:
    """Return the positions between start and end that lie within a span."""
    return frozenset(at for first, after in spans for at in range(max(first, start), min(after, end)))
