"""Training samples in which each assistant turn stands behind the very prompt that it was sampled behind.

A format that drops earlier reasoning renders a turn otherwise once the conversation has gone on. A deployed engine
never saw that text when it sampled the turn. So a conversation becomes one sample for each stretch of turns that extend
each other, and each turn is trained on in one of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from isc._parts import PartsByRole
from isc.conversation import bridge
from isc.conversation.bridge import Spoken
from isc.conversation.renderer import Renderer
from isc.conversation.training import (
    RoleToMask,
    TrainingSample,
    WantedParts,
    chosen,
    chosen_parts,
    close_by_next,
    loss_spans,
    nothing_to_train,
    prompt_after,
    saying_parts,
    spoken_turn,
    with_close,
    with_final_stop,
)
from isc.convert import Messages, Tools
from isc.errors import ConversationError, TemplateError, UnpromptedTurnWarning
from isc.rendered import RenderedTokens
from isc.types import Chat


class Contexts(Struct, frozen=True):
    """The samples of a conversation.

    Attributes:
        samples: Each with the turns that are trained on in it.
        unprompted: The trained assistant messages that no engine with these options could have sampled: their turn does
            not begin with the generation prompt.
    """

    samples: tuple[TrainingSample, ...]
    unprompted: tuple[int, ...] = ()


class _Stretch(Struct, frozen=True):
    """Turns that stand in one render: its last message, the render, and turns that its prompts would not give."""

    last: int
    rendered: RenderedTokens
    unprompted: tuple[int, ...] = ()


def build_training_samples(
    renderer: Renderer,
    messages: Messages,
    tools: Tools = None,
    role_to_mask: RoleToMask | None = None,
    content_sft_roles: Collection[str] | None = None,
    message_loss_mask: Sequence[bool | int] | None = None,
    ensure_final_stop: bool = False,
    *,
    require_trainable: bool = False,
    parts: PartsByRole | None = None,
) -> tuple[TrainingSample, ...]:
    """Build the fewest samples in which every trained assistant turn stands once, behind the prompt that it answered.

    A format that keeps history gives one sample. A format that drops earlier reasoning gives one for each stretch of
    turns that extend each other, e.g. one for each user query in Qwen3, and no reasoning is lost: each turn has its own
    where it was sampled. A body that `content_sft_roles` asks for is trained on once too.

    With `thinking_retention="all"` earlier reasoning is kept as a bridge keeps it, so there is one sample.

    Args:
        renderer: Format and vocabulary.
        messages: Message records or OpenAI dicts.
        tools: Tool specs, wrapped or bare.
        role_to_mask: Which messages are trained on; None trains on every assistant message.
        content_sft_roles: Roles whose body is trained on besides, e.g. `{"tool"}`.
        message_loss_mask: One truth value a message; a message marked false is not trained on whatever else says so.
        ensure_final_stop: Add the stop token that a last assistant turn of this format is left without. A turn that a
            message follows has its stop in any case.
        require_trainable: Raise where nothing would be trained on.
        parts: By role, the parts of bodies that alone are trained on; see `build_training_sample`.

    Returns:
        The samples, in the order of their turns; none where nothing is trained on.

    Raises:
        OptionError: `message_loss_mask` is not as long as `messages`, or a role or a part does not exist.
        NothingToTrainError: No token is trained on, under `require_trainable`.
        ConversationError: Something cannot be rendered.

    Warns:
        UnpromptedTurnWarning: A turn does not begin with the generation prompt of these options, e.g. one with
            reasoning under `enable_thinking=False`.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> answer = {"role": "assistant", "reasoning_content": "Hm.", "content": "Yes."}
    >>> chat = [{"role": "user", "content": "Is it?"}, answer, {"role": "user", "content": "Sure?"}, answer]
    >>> len(isc.build_training_samples(renderer, chat))
    2
    """
    wanted = chosen_parts(parts, role_to_mask, content_sft_roles)
    chat, trained = chosen(renderer, messages, tools, role_to_mask, content_sft_roles, message_loss_mask)
    contexts = training_contexts(renderer, chat, trained, ensure_final_stop=ensure_final_stop, parts=wanted)
    if require_trainable and not contexts.samples:
        raise nothing_to_train(chat)
    if contexts.unprompted:
        warnings.warn(unprompted_text(contexts.unprompted), UnpromptedTurnWarning, stacklevel=2)
    return contexts.samples


def unprompted_text(indices: Sequence[int]) -> str:
    """Return a text that names turns without the generation prompt at their head, and says what to do."""
    several = "s" if len(indices) > 1 else ""
    return (
        f"assistant message{several} {', '.join(map(str, indices))}: the turn does not begin with the generation "
        "prompt of these options, so no engine sampled it there; choose the options the turn was sampled with "
        "(e.g. enable_thinking), or leave it out with message_loss_mask"
    )


def training_contexts(
    renderer: Renderer,
    chat: Chat,
    trained: Collection[int],
    *,
    ensure_final_stop: bool = False,
    parts: WantedParts | None = None,
) -> Contexts:
    """Return the samples of a checked chat; see `build_training_samples`.

    Args:
        renderer: Format and vocabulary.
        chat: The conversation.
        trained: The messages whose body is trained on.
        ensure_final_stop: Whether a last assistant turn is given its stop.
        parts: By role, the parts of bodies that alone are trained on.
    """
    renderer = saying_parts(renderer, parts)
    samples: list[TrainingSample] = []
    unprompted: list[int] = []
    first = 0
    for stretch in _stretches(renderer, chat, trained):
        rendered = stretch.rendered
        if ensure_final_stop and stretch.last == len(chat.messages) - 1:
            rendered = with_final_stop(renderer, chat, rendered)
        spans = loss_spans(rendered, frozenset(index for index in trained if first <= index <= stretch.last), parts)
        if spans:
            samples.append(TrainingSample(rendered, spans))
            unprompted += [index for index in stretch.unprompted if index in trained]
        first = stretch.last + 1
    return Contexts(tuple(samples), tuple(unprompted))


def _stretches(renderer: Renderer, chat: Chat, trained: Collection[int]) -> list[_Stretch]:
    """Return the stretches of a chat. The last has what follows the last answer, where it extends that answer."""
    stretches: list[_Stretch] = []
    for answers, said in _grown(renderer, chat):
        first = stretches[-1].last + 1 if stretches else 0
        if any(first <= index <= answers[-1] for index in trained):
            stretches += _checked(renderer, chat, answers, said)
    end = len(chat.messages) - 1
    if stretches and stretches[-1].last == end:
        return stretches
    if stretches and not any(index > stretches[-1].last for index in trained):
        return stretches
    whole = renderer.render_chat(chat)
    if stretches and _begins(whole, stretches[-1].rendered):
        return [*stretches[:-1], _Stretch(end, whole, stretches[-1].unprompted)]
    return [*stretches, _Stretch(end, whole, () if stretches else _answers(chat))]


def _answers(chat: Chat) -> tuple[int, ...]:
    return tuple([index for index, role in enumerate(chat.roles) if role == "assistant"])


def _grown(renderer: Renderer, chat: Chat) -> Iterator[tuple[list[int], RenderedTokens]]:
    """Yield assistant messages that extend each other, with the ids that stand after the last of them.

    A prompt is extended as an engine's client would extend it. Where it refuses to, the prompt is rendered.
    """
    answers: list[int] = []
    said: RenderedTokens | None = None
    last: tuple[RenderedTokens, Spoken] | None = None
    for index in _answers(chat):
        prompt = _extended(renderer, chat, answers[-1], last, index) if last is not None else None
        if prompt is None:
            prompt = _prompt(renderer, chat, index)
            if said is not None and not _begins(prompt, said):
                yield answers, said
                answers = []
        answers.append(index)
        if prompt is None:
            last, said = None, _answered(renderer, chat, index)
        else:
            last = prompt, spoken_turn(renderer, chat, index, prompt.token_ids)
            said = bridge.continued(prompt, last[1].token_ids, None, last[1].parts)
    if said is not None:
        yield answers, said


def _extended(
    renderer: Renderer, chat: Chat, answer: int, last: tuple[RenderedTokens, Spoken], index: int
) -> RenderedTokens | None:
    """Return the prompt of an answer as an extension of the answer before, or None where there is none."""
    following = chat.messages[answer + 1 : index]
    longer = prompt_after(renderer, *last, following, chat.tools) if following else None
    return longer if isinstance(longer, RenderedTokens) else None


def _prompt(renderer: Renderer, chat: Chat, index: int) -> RenderedTokens | None:
    """Return the prompt that an answer follows, or None where no conversation of this format ends before it."""
    if index == 0:
        return None
    try:
        return renderer.render_chat(chat.before(index), add_generation_prompt=True)
    except (ConversationError, TemplateError):
        return None


def _checked(renderer: Renderer, chat: Chat, answers: Sequence[int], said: RenderedTokens) -> Iterator[_Stretch]:
    """Yield the stretches of these answers: one, where a render of all holds the ids that they were grown to.

    Else the answers are compared one by one. With `thinking_retention="all"` the grown ids are what an engine reads.
    """
    rendered = _answered(renderer, chat, answers[-1])
    if rendered is not None and _begins(rendered, said):  # a separator may follow
        unprompted = tuple(index for index in answers[:1] if _prompt(renderer, chat, index) is None)
        yield _Stretch(answers[-1], rendered, unprompted)
    elif renderer.thinking_retention == "all" and len(answers) > 1:
        yield _Stretch(answers[-1], said)
    else:
        yield from _compared(renderer, chat, answers)


def _compared(renderer: Renderer, chat: Chat, answers: Sequence[int]) -> Iterator[_Stretch]:
    """Yield the stretches of these answers, each compared with the render of the next."""
    renders = [_answered(renderer, chat, index) for index in answers]
    unprompted: list[int] = []
    for place, (index, render) in enumerate(zip(answers, renders, strict=True)):
        if not _is_prompted(_prompt(renderer, chat, index), index, render):
            unprompted.append(index)
        if render is not None and not any(_begins(longer, render) for longer in renders[place + 1 : place + 2]):
            yield _Stretch(index, render, tuple(unprompted))
            unprompted = []


def _answered(renderer: Renderer, chat: Chat, index: int) -> RenderedTokens | None:
    """Return the render up to an answer, with the stop that the next message shows.

    None where the format renders no conversation that ends there, e.g. one without a query.
    """
    try:
        rendered = renderer.render_chat(chat.before(index + 1))
    except (ConversationError, TemplateError):
        return None
    return with_close(renderer, rendered, close_by_next(renderer.family, chat, index))


def _is_prompted(prompt: RenderedTokens | None, index: int, rendered: RenderedTokens | None) -> bool:
    """Return whether what a render samples for an answer begins where the answer's prompt ends."""
    if prompt is None or rendered is None:
        return False
    start = next((span[0] for run, span in rendered.spans() if run.message == index and run.body), len(rendered))
    return start == len(prompt) and _begins(rendered, prompt)


def _begins(longer: RenderedTokens | None, shorter: RenderedTokens) -> bool:
    return longer is not None and longer.token_ids[: len(shorter)] == shorter.token_ids
