"""Loss masks and samples for training, computed run by run from a render's attribution."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Self, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from isc._brief import Displayed
from isc._parts import PartsByRole, selected_by_role
from isc._runs import merge
from isc.conversation import bridge
from isc.conversation.bridge import Refusal, Spoken, WholeFormat
from isc.conversation.columns import IGNORED, Column, ColumnSet, SampleArrays, arrays_of, columns_of, labels_of
from isc.conversation.flags import read_flags
from isc.conversation.prefill import spoken
from isc.conversation.renderer import Renderer
from isc.convert import Messages, Tools
from isc.encoding.fold import fold
from isc.errors import NothingToTrainError, OptionError, TemplateError, TrajectoryError
from isc.formats._turns import cut_turn
from isc.formats.base import Family, frame_in
from isc.formats.segments import closing
from isc.rendered import RenderedTokens
from isc.types import (
    ROLES,
    AssistantMessage,
    BodyPart,
    Chat,
    Message,
    Segment,
    Span,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

WantedParts: TypeAlias = Mapping[str, frozenset[BodyPart]]
"""By role, the parts of bodies that are trained on, with all that lies within them."""

RoleToMask: TypeAlias = Callable[[Message], bool] | Mapping[str, bool]
"""Which messages are trained on: a predicate on messages, or a truth value a role (roles left out: no)."""


class TrainingSample(Displayed, Struct, frozen=True, dict=True):
    """A conversation to train on.

    Attributes:
        rendered: Ids and attribution.
        loss_spans: Half-open token spans that are trained on, in order, not touching.
    """

    rendered: RenderedTokens
    loss_spans: tuple[Span, ...]

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what is told of a sample: its tokens, and how many of them are trained on."""
        return [("tokens", len(self.rendered)), ("trained", self.trainable_tokens)]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Return the ids the model reads."""
        return self.rendered.token_ids

    @cached_property
    def loss_mask(self) -> tuple[bool, ...]:
        """Return for each token whether it is trained on."""
        mask = [False] * len(self.rendered)
        for start, end in self.loss_spans:
            mask[start:end] = [True] * (end - start)
        return tuple(mask)

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """Return the ids, with `IGNORED` for every token that is not trained on. Trainers read them as `labels`."""
        return labels_of(self)

    def columns(self, which: ColumnSet = "labels", ignore_index: int = IGNORED) -> dict[str, Column]:
        """Return the sample as the columns that a trainer reads; see `isc.conversation.columns.columns_of`.

        >>> import isc
        >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
        >>> sample = isc.build_training_sample(renderer, [{"role": "assistant", "content": "hi"}])
        >>> list(sample.columns("trl"))
        ['input_ids', 'completion_mask', 'assistant_masks', 'length']
        """
        return columns_of(self, which, ignore_index)

    def to_numpy(self) -> SampleArrays:
        """Return ids, labels and loss mask as numpy arrays, built span by span. Needs numpy."""
        return arrays_of(self)

    @property
    def trainable_tokens(self) -> int:
        """Count the tokens that are trained on."""
        return sum(end - start for start, end in self.loss_spans)

    def only(self, parts: Collection[BodyPart]) -> Self:
        """Return the same sample, of which these parts alone are trained on: what it trains on already, and is of them.

        Args:
            parts: Parts of bodies, see `docs/parts.md`. `tool_call` is the whole call.

        Raises:
            OptionError: There is no such part, or the sample was not asked for parts.

        >>> import isc
        >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3(), parts=True)
        >>> sample = isc.build_training_sample(renderer, [{"role": "assistant", "content": "hello"}])
        >>> sample.only({"close"}).trainable_tokens
        1
        """
        mask = self.rendered.mask_for(parts=parts)
        spans: list[Span] = []
        for start, end in self.loss_spans:
            for length, is_wanted in merge((1, wanted) for wanted in mask[start:end]):
                if is_wanted:
                    spans.append((start, start + length))
                start += length  # noqa: PLW2901 - along the span
        return replace(self, loss_spans=tuple(spans))


class TrajectoryStep(Displayed, Struct, frozen=True, dict=True):
    """A prompt and what followed it, as the sampler saw it: `rendered` holds both, `prompt_length` says where."""

    rendered: RenderedTokens
    prompt_length: int

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what is told of a step: how many tokens its prompt and its completion have."""
        return [("prompt", self.prompt_length), ("completion", len(self.rendered) - self.prompt_length)]

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """Return the prompt, generation prompt included."""
        return self.rendered.token_ids[: self.prompt_length]

    @property
    def completion_ids(self) -> tuple[int, ...]:
        """Return everything after the prompt."""
        return self.rendered.token_ids[self.prompt_length :]

    @property
    def prompt_mask(self) -> tuple[bool, ...]:
        """Return all False: a prompt is not trained on."""
        return (False,) * self.prompt_length

    @cached_property
    def completion_mask(self) -> tuple[bool, ...]:
        """Return for each token of the completion whether the model sampled it."""
        return self.rendered.sampled_mask[self.prompt_length :]


def build_training_sample(
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
) -> TrainingSample:
    """Render a conversation and choose the tokens to train on.

    What the model samples is trained on in the assistant messages that `role_to_mask` picks; of the roles in
    `content_sft_roles` the body is trained on, never the scaffold around it. A message that a flag of its own marks as
    untrained (`weight: 0`, `train: false`, see `isc.conversation.flags.FLAGS`) is not trained on whatever else says so.

    Args:
        renderer: Format and vocabulary.
        messages: Message records or OpenAI dicts.
        tools: Tool specs, wrapped or bare.
        role_to_mask: Which messages are trained on; None trains on every assistant message. A message of another role
            that it picks is trained on by its body.
        content_sft_roles: Roles whose body is trained on besides, e.g. `{"tool"}`.
        message_loss_mask: One truth value a message; a message marked false is not trained on whatever else says so.
        ensure_final_stop: Add the stop token that a last assistant turn of this format is left without.
        require_trainable: Raise where nothing would be trained on.
        parts: By role, the parts of bodies that alone are trained on, e.g. `{"assistant": {"content", "close"}}`; see
            `docs/parts.md`. `tool_call` is the whole call. A role that is left out is trained on by its whole body.

    Raises:
        OptionError: `message_loss_mask` is not as long as `messages`, a role or a part does not exist, or `parts` names
            a role that nothing else asks to train on.
        NothingToTrainError: No token is trained on, under `require_trainable`.
        ConversationError: Something cannot be rendered.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    >>> sample = isc.build_training_sample(renderer, chat)
    >>> sample.trainable_tokens == sum(sample.loss_mask)
    True
    """
    wanted = chosen_parts(parts, role_to_mask, content_sft_roles)
    chat, trained = chosen(renderer, messages, tools, role_to_mask, content_sft_roles, message_loss_mask)
    renderer = saying_parts(renderer, wanted)
    rendered = renderer.render_chat(chat)
    if ensure_final_stop:
        rendered = with_final_stop(renderer, chat, rendered)
    sample = TrainingSample(rendered, loss_spans(rendered, trained, wanted))
    if require_trainable and not sample.loss_spans:
        raise nothing_to_train(chat)
    return sample


def chosen_parts(
    parts: PartsByRole | None, role_to_mask: RoleToMask | None, content_sft_roles: Collection[str] | None
) -> WantedParts | None:
    """Return the parts that are trained on by role, checked; None where all of every body is.

    Raises:
        OptionError: A role or a part does not exist, or a role is named that nothing asks to train on.
    """
    if parts is None:
        return None
    wanted = selected_by_role(parts)
    if role_to_mask is None or isinstance(role_to_mask, Mapping):
        masked = {"assistant": True} if role_to_mask is None else role_to_mask
        idle = [role for role in wanted if not masked.get(role) and role not in (content_sft_roles or ())]
        if idle:
            raise OptionError(f"parts: no {idle[0]} message is trained on; name the role in content_sft_roles too")
    return wanted


def saying_parts(renderer: Renderer, parts: WantedParts | None) -> Renderer:
    """Return a renderer that says parts where some are wanted."""
    return renderer if parts is None or renderer.parts else replace(renderer, parts=True)


def chosen(
    renderer: Renderer,
    messages: Messages,
    tools: Tools,
    role_to_mask: RoleToMask | None,
    content_sft_roles: Collection[str] | None,
    message_loss_mask: Sequence[bool | int] | None,
) -> tuple[Chat, frozenset[int]]:
    """Return the checked chat, and which of its messages are trained on; see `build_training_sample`."""
    flagged = read_flags(tuple(messages))
    chat = renderer.chat(flagged.messages, tools)
    trained = _trained_messages(chat, role_to_mask, content_sft_roles or (), message_loss_mask)
    return chat, trained - flagged.untrained


def nothing_to_train(chat: Chat) -> NothingToTrainError:
    """Return the error for a conversation in which nothing is trained on."""
    roles = ", ".join(dict.fromkeys(map(str, chat.roles)))
    return NothingToTrainError(f"no token would be trained on in this conversation of {roles}; check the loss options")


def _trained_messages(
    chat: Chat,
    role_to_mask: RoleToMask | None,
    content_sft_roles: Collection[str],
    message_loss_mask: Sequence[bool | int] | None,
) -> frozenset[int]:
    """Return the messages whose body is trained on. An assistant message's body is its sampled text."""
    _check_roles(content_sft_roles, "content_sft_roles")
    if isinstance(role_to_mask, Mapping):
        _check_roles(role_to_mask, "role_to_mask")
    if message_loss_mask is not None and len(message_loss_mask) != len(chat.messages):
        counts = f"{len(message_loss_mask)} values for {len(chat.messages)} messages"
        raise OptionError(f"message_loss_mask has {counts}; give one a message")
    return frozenset(
        index
        for index, message in enumerate(chat.messages)
        if (message_loss_mask is None or message_loss_mask[index])
        and (chat.role(index) in content_sft_roles or _picked(message, str(chat.role(index)), role_to_mask))
    )


def _picked(message: Message, role: str, role_to_mask: RoleToMask | None) -> bool:
    if role_to_mask is None:
        return isinstance(message, AssistantMessage)
    return bool(role_to_mask.get(role, False) if isinstance(role_to_mask, Mapping) else role_to_mask(message))


def _check_roles(roles: Collection[str], name: str) -> None:
    if isinstance(roles, str):
        raise OptionError(f"{name} must be a set of roles, not the string {roles!r}")
    unknown = [role for role in roles if role not in ROLES.values()]
    if unknown:
        raise OptionError(f"{name}: {unknown[0]!r} is no role; roles are {', '.join(ROLES.values())}")


def loss_spans(
    rendered: RenderedTokens, trained: Collection[int], parts: WantedParts | None = None
) -> tuple[Span, ...]:
    """Return the spans of the bodies of these messages, of a role in `parts` those of its parts. Spans join."""
    spans: list[Span] = []
    by_role = parts or {}
    for run, (start, end) in rendered.spans():
        if run.body and run.message in trained:
            wanted = by_role.get(rendered.message_roles[run.message])
            if wanted is not None and run.part not in wanted:
                continue
            touches = spans and spans[-1][1] == start
            spans.append((spans.pop()[0] if touches else start, end))
    return tuple(spans)


def with_final_stop(renderer: Renderer, chat: Chat, rendered: RenderedTokens) -> RenderedTokens:
    """Add the close of the last assistant turn, where the format leaves it to the next turn or its last turn open."""
    last = len(chat.messages) - 1
    message = chat.messages[last]
    family = renderer.family
    if not isinstance(message, AssistantMessage):
        return rendered
    if family.turn_close is not None and not isinstance(family, WholeFormat):
        return with_close(renderer, rendered, _own_close(renderer, rendered, family.turn_close))
    call = message.tool_calls[0] if message.tool_calls else None
    following = ToolMessage("x", tool_call_id=call.id, name=call.name) if call else UserMessage("x")
    longer = Chat((*chat.messages, following), chat.tools)
    close = _found_close(family, chat, longer) if isinstance(family, WholeFormat) else closing(family, longer, last + 1)
    return with_close(renderer, rendered, close)


def _own_close(renderer: Renderer, rendered: RenderedTokens, turn_close: str) -> list[Segment]:
    """Return a format's own close where the last message lacks it: one that is last of all may be left open."""
    last = len(rendered.message_roles) - 1
    end = max((end for run, (_, end) in rendered.spans() if run.message == last and run.body), default=0)
    closes = {renderer.encoder.specials.get(text) for text in (turn_close, *renderer.family.stop_tokens)}
    return [] if end and rendered.token_ids[end - 1] in closes else [Segment(turn_close, "special", True, last)]


def with_close(renderer: Renderer, rendered: RenderedTokens, close: Sequence[Segment]) -> RenderedTokens:
    """Return a render with the segments that close its last turn."""
    if not close:
        return rendered
    roles, names, parts = rendered.message_roles, rendered.message_tool_names, renderer.parts
    return rendered + fold(_as_close(close, parts=parts), renderer.encoder, roles, names, parts=parts)


def _as_close(close: Sequence[Segment], *, parts: bool) -> Sequence[Segment]:
    """Return what closes a turn, with its part where parts are asked for."""
    return [replace(segment, part="close" if segment.body else None) for segment in close] if parts else close


def _found_close(family: WholeFormat, chat: Chat, longer: Chat) -> list[Segment]:
    """Return the close that a following message brings for the last turn, or nothing where the turn has a stop.

    Raises:
        OptionError: Nothing that follows closes the turn with a stop.
    """
    last = len(chat.messages) - 1
    if _closed(family, _said(family, chat, last)):
        return []
    try:
        said = _said(family, longer, last)
    except TemplateError:
        said = []
    if _closed(family, said):
        return [said[-1]]
    raise OptionError(
        f"ensure_final_stop: the template ends the turn of message {last} with none of {family.stop_tokens}, whatever "
        "follows; name the stop with stop_tokens, or leave ensure_final_stop out"
    )


def _said(family: WholeFormat, chat: Chat, index: int, *, parts: bool = False) -> list[Segment]:
    whole = spoken(family, chat, parts=parts)
    return [segment for segment in whole if segment.message == index and segment.body]


def _closed(family: WholeFormat, said: Sequence[Segment]) -> bool:
    return bool(said) and said[-1].kind == "special" and said[-1].text in family.stop_tokens


def build_trajectory_step(
    renderer: Renderer, prompt_messages: Messages, completion_messages: Messages, tools: Tools = None
) -> TrajectoryStep:
    """Turn a rollout that is kept as messages into the ids its sampler saw: each turn after the prompt it answered.

    Args:
        renderer: Format and vocabulary.
        prompt_messages: The conversation before the rollout.
        completion_messages: Assistant turns and what came between them, first an assistant turn.
        tools: Tool specs, wrapped or bare.

    Raises:
        TrajectoryError: The format rewrites earlier turns somewhere in the rollout, so no one sequence of ids holds it.
        ConversationError: Something cannot be rendered.
    """
    prompt = list(prompt_messages)
    chat = renderer.chat([*prompt, *completion_messages], tools)
    rendered = renderer.render_chat(Chat(chat.messages[: len(prompt)], chat.tools), add_generation_prompt=True)
    length = len(rendered)
    position = len(prompt)
    while position < len(chat.messages):
        if chat.role(position) != "assistant":
            raise TrajectoryError(f"completion_messages[{position - len(prompt)}]: an assistant turn must come here")
        end = next(
            (k for k in range(position + 1, len(chat.messages)) if chat.role(k) == "assistant"), len(chat.messages)
        )
        turn = spoken_turn(renderer, chat, position, rendered.token_ids)
        following = chat.messages[position + 1 : end]
        if not following and end < len(chat.messages):
            raise TrajectoryError(f"completion_messages[{end - len(prompt)}] follows an assistant turn unprompted")
        if following:
            rendered = _extended(renderer, rendered, turn, following, chat.tools, goes_on=end < len(chat.messages))
        else:
            rendered = bridge.continued(rendered, turn.token_ids, None, turn.parts)
        position = end
    return TrajectoryStep(rendered, length)


def sampled_ids(renderer: Renderer, chat: Chat, index: int, prompt_ids: Sequence[int]) -> tuple[int, ...]:
    """Return the ids that the model would have sampled for message `index` after a prompt, its close included."""
    return spoken_turn(renderer, chat, index, prompt_ids).token_ids


def spoken_turn(renderer: Renderer, chat: Chat, index: int, prompt_ids: Sequence[int]) -> Spoken:
    """Return the same ids with their parts, if the renderer says parts."""
    family, roles, parts = renderer.family, [""] * index + ["assistant"], renderer.parts
    if isinstance(family, WholeFormat):
        said = _said(family, chat.before(index + 1), index, parts=parts)
    else:
        turn = family.turn(chat.before(index + 1), index)
        cut = cut_turn(turn, family.prompt_before(chat, index), family.turn_close, index)
        segments = cut.with_parts(roles, frame_in(family)) if parts else cut.owned()
        said = [segment for segment in segments if segment.body and segment.message == index]
    said += _as_close(close_by_next(family, chat, index), parts=parts)
    before = bridge.last_segment(renderer.encoder, prompt_ids)
    folded = fold(said, renderer.encoder, roles, None, renderer.body_specials, after=before, parts=parts)
    return Spoken(folded.token_ids, tuple((run.length, run.part) for run in folded.runs if run.part is not None))


def close_by_next(family: Family, chat: Chat, index: int) -> list[Segment]:
    """Return the part of message `index` that is written with the next message: the stop of its turn, or nothing."""
    if index + 1 >= len(chat.messages):
        return []
    longer = chat.before(index + 2)
    if not isinstance(family, WholeFormat):
        return [segment for segment in closing(family, longer, index + 1) if segment.body]
    if _closed(family, _said(family, chat.before(index + 1), index)):
        return []
    said = _said(family, longer, index)
    return said[-1:] if _closed(family, said) else []


def _extended(
    renderer: Renderer,
    rendered: RenderedTokens,
    turn: Spoken,
    following: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    goes_on: bool,
) -> RenderedTokens:
    extended = prompt_after(renderer, rendered, turn, following, tools, add_generation_prompt=goes_on)
    if isinstance(extended, Refusal):
        place = len(rendered.message_roles)
        raise TrajectoryError(f"the turns after message {place} do not extend it: {extended.detail}")
    return extended


def prompt_after(
    renderer: Renderer,
    prompt: RenderedTokens,
    turn: Spoken,
    following: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    add_generation_prompt: bool = True,
) -> RenderedTokens | Refusal:
    """Return what stands before the next turn: prompt, sampled turn and the messages that follow, or why it cannot."""
    request = (prompt.token_ids, turn.token_ids, following, [tool.schema for tool in tools], prompt.multi_modal_data)
    plan = renderer.plan_bridge(*request, add_generation_prompt=add_generation_prompt)
    if isinstance(plan, Refusal):
        return plan
    tail = renderer.tail(plan, len(prompt.message_roles))
    return bridge.continued(prompt, turn.token_ids, tail, turn.parts)
