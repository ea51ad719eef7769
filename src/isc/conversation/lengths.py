"""Samples of at most so many tokens: what is done with a longer one, and what that loses.

Turns are left out whole, and the rest is rendered anew, so that it reads as a conversation that was never longer. Only
`"truncate-right"` cuts inside a turn.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from isc._options import checked
from isc._runs import cut_at
from isc.conversation.contexts import Contexts
from isc.conversation.renderer import Renderer
from isc.conversation.training import RoleToMask, TrainingSample, build_training_sample
from isc.convert import Messages, Tools
from isc.errors import OptionError, TooLongError
from isc.rendered import RenderedTokens
from isc.types import Span

TooLong: TypeAlias = Literal["reject", "truncate-left-turns", "truncate-right", "split"]
"""What becomes of a sample of too many tokens."""

Turns: TypeAlias = Literal["together", "each"]
"""Whether a conversation is one sample, or one for each stretch of turns that extend each other."""

Build: TypeAlias = Callable[[Sequence[int], Collection[int]], Contexts]
"""Builds the samples of those messages of a conversation that have the first indices, and trains on none of the second.
It gives no sample where nothing is trained on."""


class Lost(Struct, frozen=True):
    """What shortening lost.

    Attributes:
        samples: Samples that were too long, and were shortened or split.
        messages: Messages that are in no sample any more.
        tokens: Tokens by which samples became shorter.
        trained: Tokens among them that were trained on.
    """

    samples: int = 0
    messages: int = 0
    tokens: int = 0
    trained: int = 0

    def __add__(self, other: Lost) -> Lost:
        return Lost(
            self.samples + other.samples,
            self.messages + other.messages,
            self.tokens + other.tokens,
            self.trained + other.trained,
        )


class Fitted(Struct, frozen=True):
    """Samples that are not too long, and what was lost for it.

    Attributes:
        samples: The samples.
        lost: What is in none of them.
    """

    samples: tuple[TrainingSample, ...] = ()
    lost: Lost = Lost()

    def __add__(self, other: Fitted) -> Fitted:
        return Fitted(self.samples + other.samples, self.lost + other.lost)


def fit_training_samples(
    renderer: Renderer,
    messages: Messages,
    tools: Tools = None,
    role_to_mask: RoleToMask | None = None,
    content_sft_roles: Collection[str] | None = None,
    message_loss_mask: Sequence[bool | int] | None = None,
    *,
    ensure_final_stop: bool = False,
    max_tokens: int,
    too_long: TooLong = "reject",
) -> Fitted:
    """Build training samples of at most `max_tokens` tokens.

    Args:
        renderer: Format and vocabulary.
        messages: Message records or OpenAI dicts.
        tools: Tool specs, wrapped or bare.
        role_to_mask: See `isc.build_training_sample`.
        content_sft_roles: See there.
        message_loss_mask: See there.
        ensure_final_stop: See there.
        max_tokens: The most tokens of a sample.
        too_long: What becomes of a longer one.

            - `"reject"`: an error.
            - `"truncate-left-turns"`: the first exchanges are left out, as few as will do. What stands before the first
              user message, such as a system message, stays. An exchange is a user message and all that follows it.
            - `"truncate-right"`: the tokens behind the last that fits are cut off, wherever that is.
            - `"split"`: exchanges that follow each other become samples of their own, as few as will do, each behind
              what stands before the first user message.

    Returns:
        The samples, and what is in none of them.

    Raises:
        TooLongError: A sample is too long, and cannot be shortened so: one exchange by itself has too many tokens, or
            nothing that is trained on is left.
        OptionError: `message_loss_mask` is not as long as `messages`, or a role or a way does not exist.
        ConversationError: Something cannot be rendered.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> chat = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}] * 3
    >>> fitted = isc.fit_training_samples(renderer, chat, max_tokens=40, too_long="truncate-left-turns")
    >>> fitted.samples[0].rendered.message_roles, fitted.lost.messages
    (('user', 'assistant', 'user', 'assistant'), 2)
    """
    checked("too_long", too_long, TooLong, "fit_training_samples")
    if max_tokens < 1:
        raise OptionError(f"max_tokens must be at least 1 (got {max_tokens})")
    said = tuple(messages)
    mask = tuple(message_loss_mask) if message_loss_mask is not None else None
    if mask is not None and len(mask) != len(said):
        raise OptionError(f"message_loss_mask has {len(mask)} values for {len(said)} messages; give one a message")

    def build(indices: Sequence[int], untrained: Collection[int]) -> Contexts:
        trained = [index not in untrained and (mask is None or mask[index]) for index in indices]
        chosen = (renderer, [said[index] for index in indices], tools, role_to_mask, content_sft_roles, trained)
        sample = build_training_sample(*chosen, ensure_final_stop)
        return Contexts((sample,) if sample.loss_spans else ())

    return fitted(build(range(len(said)), ()), build, max_tokens, too_long)


def fitted(contexts: Contexts, build: Build, max_tokens: int, too_long: TooLong) -> Fitted:
    """Return samples of which none is too long; see `fit_training_samples`.

    Args:
        contexts: The samples as they are.
        build: Builds those of some of the messages.
        max_tokens: The most tokens of a sample.
        too_long: What becomes of a longer one.
    """
    return sum((_fitted_one(sample, build, max_tokens, too_long) for sample in contexts.samples), Fitted())


def _fitted_one(sample: TrainingSample, build: Build, max_tokens: int, too_long: TooLong) -> Fitted:
    count = len(sample.token_ids)
    if count <= max_tokens:
        return Fitted((sample,))
    try:
        if too_long == "truncate-right":
            return _cut_right(sample, max_tokens)
        if too_long == "truncate-left-turns":
            return _cut_left(sample, build, max_tokens)
        if too_long == "split":
            return _split(sample, build, max_tokens)
    except TooLongError as error:
        raise TooLongError(f"{count} tokens, more than max_tokens = {max_tokens}; {too_long}: {error}") from None
    raise TooLongError(f"{count} tokens, more than max_tokens = {max_tokens}")


def _cut_right(sample: TrainingSample, max_tokens: int) -> Fitted:
    data = sample.rendered.multi_modal_data
    if data is not None and data.hashes:
        raise TooLongError("a sample with images is not cut")
    shorter = beginning(sample, max_tokens)
    if not shorter.loss_spans:
        raise TooLongError("nothing that is trained on is left")
    before, after = ({run.message for run in one.rendered.runs if run.message >= 0} for one in (sample, shorter))
    return Fitted((shorter,), _lost(sample, (shorter,), len(before - after)))


def beginning(sample: TrainingSample, count: int) -> TrainingSample:
    """Return the first tokens of a sample, without what processors made of its images."""
    rendered = sample.rendered
    runs = next(cut_at(((run.length, run) for run in rendered.runs), (min(count, len(rendered)),)))
    shorter = RenderedTokens(
        rendered.token_ids[:count],
        tuple(replace(run, length=length) for length, run in runs),
        rendered.message_roles,
        rendered.message_tool_names,
    )
    spans: tuple[Span, ...] = tuple((start, min(end, count)) for start, end in sample.loss_spans if start < count)
    return TrainingSample(shorter, spans)


def _cut_left(sample: TrainingSample, build: Build, max_tokens: int) -> Fitted:
    head, starts, untrained = _exchanges(sample)
    end = len(sample.rendered.message_roles)

    def behind(start: int) -> Contexts:
        return build((*range(head), *range(start, end)), untrained)

    fewest = bisect_left(starts, True, 1, key=lambda start: _fits(behind(start), max_tokens))
    if fewest >= len(starts):
        raise TooLongError("the last exchange by itself has too many")
    samples = behind(starts[fewest]).samples
    if not samples:
        raise TooLongError("nothing that is trained on is left")
    return Fitted(samples, _lost(sample, samples, starts[fewest] - head))


def _split(sample: TrainingSample, build: Build, max_tokens: int) -> Fitted:
    head, starts, untrained = _exchanges(sample)
    bounds = (*starts, len(sample.rendered.message_roles))
    samples: list[TrainingSample] = []
    first = 0

    def between(start: int, end: int) -> Contexts:
        again = range(head) if start else ()  # what stands before all pieces is trained on in the first
        return build((*range(head), *range(bounds[start], bounds[end])), untrained.union(again))

    def too_long_from(start: int, end: int) -> bool:
        return not _fits(between(start, end), max_tokens)

    while first < len(starts):
        ends = range(first + 1, len(bounds))
        count = bisect_left(ends, True, key=partial(too_long_from, first))
        if not count:
            raise TooLongError(f"the exchange that begins at messages[{bounds[first]}] by itself has too many")
        samples += between(first, first + count).samples
        first += count
    if not samples:
        raise TooLongError("nothing that is trained on is left")
    return Fitted(tuple(samples), Lost(samples=1))


def _exchanges(sample: TrainingSample) -> tuple[int, list[int], frozenset[int]]:
    """Return how many messages stand before the first exchange, where exchanges begin, and which are not trained on."""
    rendered = sample.rendered
    roles = rendered.message_roles
    starts = [index for index, role in enumerate(roles) if role == "user"]
    head = next((index for index, role in enumerate(roles) if role not in ("system", "developer")), 0)
    mask = sample.loss_mask
    trained = {run.message for run, (start, end) in rendered.spans() if run.body and any(mask[start:end])}
    later = [start for start in starts if start > head]
    return head, [head, *later], frozenset(range(len(roles))) - trained


def _fits(contexts: Contexts, max_tokens: int) -> bool:
    return all(len(sample.token_ids) <= max_tokens for sample in contexts.samples)


def _lost(sample: TrainingSample, shorter: Sequence[TrainingSample], messages: int) -> Lost:
    tokens = len(sample.token_ids) - sum(len(one.token_ids) for one in shorter)
    trained = sample.trainable_tokens - sum(one.trainable_tokens for one in shorter)
    return Lost(1, messages, max(tokens, 0), max(trained, 0))
