"""Views as one page of HTML that holds all it needs, style, script and tokens, and asks the network for nothing.

Nothing of a conversation is markup: it stands in the page as JSON in ASCII without `<`, `>` and `&`, and the script
puts it into the document as text. The page's policy lets only its own style and script run, by their digests.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

from msgspec import Struct, to_builtins

from isc.rendered import Decoder, Run
from isc.viewer.media import media_items
from isc.viewer.texts import completed_characters, visible
from isc.viewer.views import View

_SCRIPTS = ("page.js", "viewer.js", "report.js", "start.js")
GENERATOR = '<meta name="generator" content="isc">'
"""Stands at the head of every page of isc."""
_FRAME = '<iframe title="Tokens" sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'
_FRAME_STYLE = "width: 100%; height: 36rem; border: 1px solid #8a8f99; border-radius: 8px"
_MARKUP = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})


class Page(str):
    """A page of HTML. A notebook shows it as the page that it is, in a frame of its own."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return _FRAME.format(style=_FRAME_STYLE, page=escape(self))


class Tokens(Struct, frozen=True):
    """One view as the page's script reads it: runs are length, owner, 1 for body, and the part where one is known."""

    title: str
    notes: tuple[str, ...]
    messages: tuple[tuple[str, str | None], ...]
    runs: tuple[tuple[int | str, ...], ...]
    ids: tuple[int, ...]
    trained: tuple[tuple[int, int], ...] | None
    logprobs: tuple[float | None, ...] | None
    media: dict[int, tuple[int, str]]
    completed: dict[int, str]


class Contents(Struct, frozen=True):
    """All that a page shows: `texts` has the text of each id, with surrogates for bytes that are no characters."""

    title: str
    subtitle: str
    sequences: tuple[Tokens, ...]
    texts: dict[int, str]
    specials: tuple[int, ...]
    report: Struct | None = None


def page_of(
    views: Sequence[View], decoder: Decoder | None, title: str, subtitle: str = "", report: Struct | None = None
) -> Page:
    """Return a page that shows sequences of tokens, or a report whose samples they are.

    Args:
        views: The sequences; a page without a report begins with the first.
        decoder: What tells the text of ids; None shows ids alone.
        title: What the page is called.
        subtitle: A line on where the tokens come from.
        report: What the script of the report reads; see `isc.viewer.report`.
    """
    used = sorted({token_id for view in views for token_id in view.rendered.token_ids})
    pieces = {token_id: decoder.decode_bytes((token_id,)) for token_id in used} if decoder else {}
    specials = frozenset(decoder.specials.values()) if decoder else frozenset()
    contents = Contents(
        title,
        subtitle,
        tuple(_tokens(view, pieces) for view in views),
        {token_id: piece.decode("utf-8", "surrogateescape") for token_id, piece in pieces.items()},
        tuple(token_id for token_id in used if token_id in specials),
        report,
    )
    return Page(_filled(contents))


def _tokens(view: View, pieces: Mapping[int, bytes]) -> Tokens:
    rendered, logprobs = view.rendered, view.logprobs
    by_token = [pieces.get(token_id, b"") for token_id in rendered.token_ids]
    return Tokens(
        view.title,
        view.notes,
        tuple(zip(rendered.message_roles, rendered.message_tool_names, strict=True)),
        tuple(map(_run, rendered.runs)),
        rendered.token_ids,
        view.trained,
        None if logprobs is None else tuple(None if value is None else round(value, 4) for value in logprobs),
        {at: (item.length, f"{item.modality} {item.number} {item.name}") for at, item in media_items(rendered).items()},
        {at: visible(character) for at, character in completed_characters(by_token).items()},
    )


def _run(run: Run) -> tuple[int | str, ...]:
    told = (run.length, run.message, int(run.body))
    return told if run.part is None else (*told, run.part)


def _filled(contents: Contents) -> str:
    """Return the page's template with its style, its script and the contents."""
    style, script = _asset("page.css"), "".join(map(_asset, _SCRIPTS))
    rules = {"style-src": _digest(style), "script-src": _digest(script), "base-uri": "'none'", "form-action": "'none'"}
    policy = "; ".join(["default-src 'none'", *(f"{name} {allowed}" for name, allowed in rules.items())])
    return Template(_asset("page.html")).substitute(
        policy=policy, title=escape(_printable(contents.title)), style=style, script=script, data=_json(contents)
    )


def _json(contents: Contents) -> str:
    """Return JSON that means nothing else to a reader of HTML: in ASCII, with no character that markup is made of."""
    return json.dumps(to_builtins(contents, str_keys=True), separators=(",", ":")).translate(_MARKUP)


def _printable(text: Iterable[str]) -> str:
    return "".join(character for character in text if character.isprintable())


@cache
def _asset(name: str) -> str:
    return (files("isc.viewer") / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return what a policy knows an inline style or script by."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
