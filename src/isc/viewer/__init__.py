"""Tokens to look at: a page of HTML for a render, a sample or an episode, and what a notebook shows of a value."""

from __future__ import annotations

from isc.conversation.renderer import Renderer
from isc.encoding.base import Encoder
from isc.viewer.page import Page, page_of
from isc.viewer.views import Viewable, views_of

__all__ = ["Page", "Viewable", "html"]


def html(value: Viewable, renderer: Renderer | Encoder | None = None, *, title: str = "", subtitle: str = "") -> Page:
    """Return a page of HTML that shows every token: its text, its owner, its part and whether it is trained on.

    The page is one file that asks the network for nothing. A notebook shows it in a frame; to keep it, write it:
    `Path("out.html").write_text(isc.viewer.html(sample), encoding="utf-8")`.

    Args:
        value: A `RenderedTokens`, `TrainingSample`, `TrajectoryStep`, `Rollout`, `SampledTokens` or `Episode`.
        renderer: What tells the text of the ids, a renderer or its encoder. None asks what the ids were made with; a
            value that was read from a file does not know that, and is shown by its ids.
        title: What the page is called; by default what is shown.
        subtitle: A line on where the tokens come from.

    Raises:
        OptionError: The value is none that can be shown.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> page = html(renderer.render([{"role": "user", "content": "hi"}]), title="A chat")
    >>> page.startswith("<!doctype html>"), "<title>A chat</title>" in page
    (True, True)
    """
    views = views_of(value)
    decoder = renderer.encoder if isinstance(renderer, Renderer) else renderer or views[0].rendered.decoder
    return page_of(views, decoder, title or views[0].title, subtitle)
