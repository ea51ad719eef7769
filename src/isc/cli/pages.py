"""Pages of HTML that commands write."""

from __future__ import annotations

import sys
from pathlib import Path

from isc.build.conversations import Conversation
from isc.build.samples import Loss, untrained_in, with_scaffold
from isc.build.sources import STDIN
from isc.cli.files import whole_file
from isc.cli.formats import EMBEDDED, described
from isc.conversation.renderer import Renderer
from isc.conversation.training import RoleToMask, TrainingSample, chosen, chosen_parts, loss_spans
from isc.viewer import html
from isc.viewer.page import Page


def sample_of(renderer: Renderer, read: Conversation, loss: Loss, generation_prompt: bool) -> TrainingSample:
    """Return a conversation as the sample that a build with this loss makes of it, though nothing be trained on.

    Raises:
        ConversationError: Something cannot be rendered.
    """
    role_to_mask: RoleToMask | None = None if loss.assistant else {}
    wanted = chosen_parts(loss.by_role, role_to_mask, loss.body_roles)
    chat, trained = chosen(renderer, read.messages, read.tools, role_to_mask, loss.body_roles, None)
    rendered = renderer.render_chat(chat, add_generation_prompt=generation_prompt, parts=True)
    sample = TrainingSample(rendered, loss_spans(rendered, trained, wanted))
    return with_scaffold(sample, untrained_in(read)) if loss.whole else sample


def sample_page(sample: TrainingSample, renderer: Renderer, loss: Loss, place: str, vocabulary: str) -> Page:
    """Return the page of a conversation.

    Args:
        sample: The conversation, with what is trained on.
        renderer: Its format and vocabulary.
        loss: What is trained on.
        place: The conversation's place, as the page names it.
        vocabulary: The vocabulary's name.
    """
    subtitle = f"{described(renderer.family)} · {vocabulary_words(vocabulary)} · loss {loss}"
    return html(sample, renderer, title=place, subtitle=subtitle)


def vocabulary_words(vocabulary: str) -> str:
    """Return how a page names a vocabulary."""
    return "embedded vocabulary" if vocabulary == EMBEDDED else vocabulary


def write_html(page: Page, target: Path | None, *, overwrite: bool, source: str) -> bool:
    """Write a page to a file, or to standard output for `-`. Return whether it is a file.

    Raises:
        OptionError: It exists already, and is not to be overwritten, or is the source.
    """
    content = page.encode()
    if target is None or str(target) == STDIN:
        sys.stdout.buffer.write(content)
        return False
    with whole_file(target, overwrite=overwrite, sources=(source,)) as stream:
        stream.write(content)
    return True


def write_report(target: Path, page: Page) -> None:
    """Write the report of a build, in the place of an earlier one: whether it may be replaced was asked before."""
    with whole_file(target, overwrite=True) as stream:
        stream.write(page.encode())
