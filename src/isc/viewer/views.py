"""What is shown of a render, a sample or an episode: sequences of tokens with all that is known of each token."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from isc.conversation.rollout import Episode, Rerender, Rollout, SampledTokens
from isc.conversation.training import TrainingSample, TrajectoryStep
from isc.errors import OptionError, shown
from isc.rendered import RenderedTokens
from isc.types import Span

Viewable: TypeAlias = RenderedTokens | TrainingSample | TrajectoryStep | Rollout
"""What can be shown; `SampledTokens` and `Episode` are training samples."""


class View(Struct, frozen=True):
    """One sequence of tokens to show.

    Attributes:
        title: What it is called where there are several.
        rendered: Ids and attribution.
        trained: Spans of tokens that are trained on; None where training is not known of.
        logprobs: The log-probability of each token, None for tokens without; None where no token has one.
        notes: What is to be known of it before one looks at it.
    """

    title: str
    rendered: RenderedTokens
    trained: tuple[Span, ...] | None = None
    logprobs: tuple[float | None, ...] | None = None
    notes: tuple[str, ...] = ()


def views_of(value: Viewable) -> tuple[View, ...]:
    """Return the sequences of a value: one, and for an episode also each that it gave up.

    Args:
        value: The value; a rollout is shown as the episode that it would end as now.

    Raises:
        OptionError: The value is none that can be shown.
    """
    if isinstance(value, Rollout):
        value = value.finish()
    if isinstance(value, Episode):
        points = (point for point in value.rerenders if point.lost)
        return (_sampled(value, "Episode", _rerender_notes(value)), *map(_abandoned, points))
    if isinstance(value, SampledTokens):
        return (_sampled(value, "Sampled tokens"),)
    if isinstance(value, TrainingSample):
        return (View("Sample", value.rendered, value.loss_spans),)
    if isinstance(value, TrajectoryStep):
        return (View("Step", value.rendered, _completion_spans(value)),)
    if isinstance(value, RenderedTokens):
        return (View("Render", value),)
    raise OptionError(f"only renders, samples, episodes and rollouts can be shown, not {shown(value)}")


def _sampled(sample: SampledTokens, title: str, notes: tuple[str, ...] = ()) -> View:
    known = sample.logprobs if any(logprob is not None for logprob in sample.logprobs) else None
    return View(title, sample.rendered, sample.loss_spans, known, notes)


def _rerender_notes(episode: Episode) -> tuple[str, ...]:
    return tuple(
        f"Rendered afresh after completion {point.turn} ({point.reason}): {point.detail}. "
        f"{point.lost:,} sampled tokens are not in this sequence."
        for point in episode.rerenders
    )


def _abandoned(point: Rerender) -> View:
    note = f"What stood before the conversation was rendered afresh ({point.reason}): its tokens are trained on here."
    return _sampled(point.abandoned, f"Before completion {point.turn + 1}", (note,))


def _completion_spans(step: TrajectoryStep) -> tuple[Span, ...]:
    """Return the spans of a step's completion that the model sampled."""
    rendered = step.rendered
    sampled = (span for run, span in rendered.spans() if rendered.is_sampled(run))
    return tuple((max(start, step.prompt_length), end) for start, end in sampled if end > step.prompt_length)
