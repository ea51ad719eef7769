"""Sessions of a gateway's record, shown: every sample of a session, in the terminal or on a page."""

from __future__ import annotations

from pathlib import Path

from isc.cli import Exit
from isc.cli.arguments import Look, PageFile, console
from isc.cli.formats import EMBEDDED, described
from isc.cli.pages import write_html
from isc.cli.saved import print_tokens
from isc.cli.show import shown_of
from isc.conversation.renderer import Renderer
from isc.errors import OptionError
from isc.gateway.reports import RewardedSample, session_samples
from isc.gateway.store import RecordedSession, model_of, read_all
from isc.loading import vocabulary_digest
from isc.viewer.page import page_of
from isc.viewer.texts import token_texts
from isc.viewer.views import View


def show_session(record: Path, name: str, renderer: Renderer, model: str | None, page: PageFile, asked: Look) -> Exit:
    """Show the samples of a session.

    Args:
        record: The file that the gateway wrote.
        name: The session.
        renderer: Format and vocabulary of the model that was served.
        model: The model's name or directory; None for the embedded vocabulary.
        page: Whether and where a page is asked for.
        asked: How tokens are shown in the terminal.

    Raises:
        RecordError: The file is no record.
        OptionError: There is no such session, it has no sample, or its ids are of another vocabulary.
    """
    views = session_views(_session(record, name))
    _check_vocabulary(record, model)
    if not views:
        raise OptionError(f"--session {name}: no answer of it reached its agent")
    output = console()
    if page.html is not None:
        content = page_of(views, renderer.encoder, name, f"{described(renderer.family)} · {record.name}")
        if write_html(content, page.html, overwrite=page.overwrite, source=str(record)):
            output.print(f"{page.html}: {len(views):,} samples of {name}", soft_wrap=True)
        return Exit.OK
    for number, view in enumerate(views):
        output.print(f"{name}, {view.title[0].lower()}{view.title[1:]}", style="bold")
        for note in view.notes:
            output.print(note, soft_wrap=True)
        texts = token_texts(view.rendered.token_ids, renderer.encoder)
        print_tokens(output, shown_of(view.rendered, texts, view.trained), asked, explained=number > 0)
    return Exit.OK


def session_views(recorded: RecordedSession) -> tuple[View, ...]:
    """Return each sample of a session as a sequence to show."""
    return tuple(map(_view, session_samples(recorded).samples))


def _view(rewarded: RewardedSample) -> View:
    sample = rewarded.sample
    turns = len({span.turn for span in sample.spans})
    notes = [f"Sampled turns: {turns}. Trained on: {sample.trainable_tokens:,} of {len(sample.rendered):,} tokens."]
    if rewarded.reward is not None:
        notes.append(f"Reward {rewarded.reward:g}.")
    weights = sorted({span.weight_version for span in sample.spans if span.weight_version is not None})
    if weights:
        notes.append(f"Sampled by weights {', '.join(weights)}.")
    return View(f"Up to turn {sample.branch}", sample.rendered, sample.loss_spans, sample.logprobs, tuple(notes))


def _session(record: Path, name: str) -> RecordedSession:
    recorded = read_all(record)
    session = next((one for one in recorded if one.name == name), None)
    if session is None:
        names = ", ".join(one.name for one in recorded[:8]) or "none at all"
        more = f" and {len(recorded) - 8} more" if len(recorded) > 8 else ""
        raise OptionError(f"--session {name}: {record} has no such session; it has {names}{more}")
    return session


def _check_vocabulary(record: Path, model: str | None) -> None:
    """Raise unless the ids of a record are of this vocabulary, whose digest ends what the record tells of its model."""
    told = model_of(record).split()
    digest = EMBEDDED if model is None else vocabulary_digest(model)
    if told and told[-1] != digest:
        raise OptionError(f"{record} has the ids of another vocabulary; give the --model that was served")
