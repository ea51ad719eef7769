"""Extension: previous ids, unchanged, then what closes the completion, the new turns and a generation prompt.

`plan` says whether a conversation can go on without rewriting an id, and with which segments, or why not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import chain, takewhile
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from isc import convert
from isc._brief import Brief
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.encoding.fold import fold, unfold
from isc.errors import ConversationError, HistoryError, TemplateError
from isc.formats._parts import with_parts
from isc.formats.base import Family
from isc.formats.reading.scanners import past_head, reasoning_start
from isc.formats.segments import IMAGE_TOKENS, is_special, owned
from isc.rendered import MultiModalData, RenderedTokens, Run, check_ids, followed, ids_of, put_together
from isc.types import (
    UNOWNED,
    AssistantMessage,
    BodyPart,
    BodySpecials,
    Chat,
    Ended,
    Report,
    Sampled,
    Segment,
    ThinkingRetention,
    UserMessage,
)

RefusalReason: TypeAlias = Literal[
    "no_prompt",
    "no_new_messages",
    "assistant_message",
    "reasoning_stopped",
    "retention",
    "wrong_turn_close",
    "rewrites_history",
    "depends_on_history",
    "turn_already_closed",
    "unknown_turn",
]
_CLOSE_WITHIN = 8  # last tokens of a prompt in which the close of a turn is looked for
_OPENER_WITHIN = 24  # sampled tokens in which an initial reasoning opener is looked for


class Refusal(Struct, frozen=True):
    """Why a conversation cannot be extended: a closed set of reasons, and what was found."""

    reason: RefusalReason
    detail: str


class Appended(Brief, Struct, frozen=True):
    """A stream of ids with what was appended to it.

    Attributes:
        token_ids: All ids; they begin with those that were given.
        added_from: How many were given.
        sampled_from: The position where the last turn's completion began.
    """

    token_ids: tuple[int, ...]
    added_from: int
    sampled_from: int

    @property
    def added(self) -> tuple[int, ...]:
        """Return the ids that were added."""
        return self.token_ids[self.added_from :]


class Extension(Brief, Struct, frozen=True):
    """The segments after the previous ids.

    Owner 0 is the turn that was sampled, `chat.messages[k]` is owner k from 1 on. `after` is the last of the
    previous ids, as a special or a text, where the vocabulary encodes by it.
    """

    segments: tuple[Segment, ...]
    chat: Chat
    after: Segment | None = None

    def tail(
        self, encoder: Encoder, first_owner: int, body_specials: BodySpecials, *, parts: bool = False
    ) -> RenderedTokens:
        """Return the added ids, with the sampled turn as message `first_owner` (-1: nobody's)."""
        roles = [""] * (first_owner + 1) + [str(self.chat.role(k)) for k in range(1, len(self.chat.messages))]
        names = [None] * (first_owner + 1) + list(convert.tool_names(self.chat.messages))[1:]
        segments = with_parts(self.segments, self.chat.roles) if parts else self.segments
        shifted = (s if s.message == UNOWNED else replace(s, message=s.message + first_owner) for s in segments)
        return fold(shifted, encoder, roles, names, body_specials, after=self.after, parts=parts)


def last_segment(encoder: Encoder, token_ids: Sequence[int]) -> Segment | None:
    """Return the last of these ids as a segment for vocabularies that encode the next text by it, else None."""
    if not len(token_ids) or (encoder.prefix is None and not encoder.strips):
        return None
    return unfold(token_ids[-1:], encoder).segments[0]


class Ending(Struct, frozen=True):
    """The end of a completion: the stop it ended with, the segments that close what it left open, the new chat.

    `chat` is a placeholder for the sampled turn, then the new messages.
    """

    chat: Chat
    stop: str | None
    closing: tuple[Segment, ...]


class WholeFormat(Family, frozen=True):
    """A format that is rendered as a whole, not put together turn by turn: it plans its own bridges.

    Its properties are inferred, not written down; `report` lists them.
    """

    @abstractmethod
    def plan_bridge(
        self,
        encoder: Encoder,
        retention: ThinkingRetention | None,
        prompt_ids: Sequence[int],
        completion_ids: Sequence[int],
        given: Chat,
        *,
        add_generation_prompt: bool = True,
    ) -> Extension | Refusal:
        """Decide on an extension; see `Renderer.plan_bridge`."""

    @abstractmethod
    def report(self, messages: Messages | None = None, tools: Tools = None) -> Report:
        """Report how the format was inferred, and the texts of a conversation whose origin was lost."""


def ending(
    family: Family,
    encoder: Encoder,
    retention: ThinkingRetention,
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    given: Chat,
) -> Ending | Refusal:
    """Check that a bridge is possible and work out how the completion ended."""
    check_ids(tuple(completion_ids))
    if not prompt_ids:
        return Refusal("no_prompt", "previous_prompt_ids is empty: there is nothing to extend; render the conversation")
    if not completion_ids and _is_closed(family, encoder, prompt_ids):
        detail = (
            "there is no completion and the prompt ends with the close of a turn, which would be closed again: pass "
            "what was sampled as previous_completion_ids, or the whole stream to renderer.append"
        )
        return Refusal("turn_already_closed", detail)
    if not given.messages:
        return Refusal("no_new_messages", "new_messages is empty: there is nothing to extend with")
    refusal = _refused_messages(given, retention) or _unknown_images(given, encoder, prompt_ids)
    if refusal is not None:
        return refusal
    stops = {encoder.specials.get(text): text for text in family.stop_tokens}
    stop = stops.get(completion_ids[-1]) if completion_ids else None
    turn = _ended(family, encoder, prompt_ids, completion_ids)
    if turn.reasoning_open and stop is not None:
        detail = "a stop token was sampled inside open reasoning; no turn of this format looks like that"
        return Refusal("reasoning_stopped", detail)
    return Ending(replace(given, messages=(turn.message, *given.messages)), stop, tuple(owned(0, turn.closing)))


def _is_closed(family: Family, encoder: Encoder, prompt_ids: Sequence[int]) -> bool:
    """Return whether a prompt ends with the close of a turn and no more than white space after it."""
    segments = unfold(prompt_ids[-_CLOSE_WITHIN:], encoder).segments
    said = [segment for segment in segments if segment.kind == "special" or segment.text.strip()]
    return bool(said) and is_special(said[-1], *family.stop_tokens, family.turn_close or "")


def last_prompt_end(family: Family, encoder: Encoder, ids: tuple[int, ...], given: Chat) -> int | Refusal:
    """Find the end of the last generation prompt in a stream: the position its last turn was sampled from."""
    prompt = fold([Segment(s.text, s.kind) for s in family.generation_prompt(given)], encoder).token_ids
    start = _last_place(ids, prompt) if prompt else -1
    if start < 0:
        detail = "no generation prompt of this format is in these ids: say where the last turn began with sampled_from"
        return Refusal("unknown_turn", detail)
    end = start + len(prompt)
    if family.turn_start is None and prompt[0] in ids[end:]:
        detail = "another turn begins after the last generation prompt: say where the last turn began with sampled_from"
        return Refusal("unknown_turn", detail)
    return end


def _last_place(ids: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """Return the last position of a sequence in ids, or -1."""
    place = len(ids)
    while True:
        place = next((k for k in range(place - 1, -1, -1) if ids[k] == wanted[0]), -1)
        if place < 0 or ids[place : place + len(wanted)] == wanted:
            return place


def turn_end(family: Family, encoder: Encoder, ids: tuple[int, ...], start: int) -> int:
    """Return the end of a turn that was sampled from a position: after its stop, else the end of the ids."""
    stops = {encoder.specials.get(text) for text in family.stop_tokens}
    return next((k + 1 for k in range(start, len(ids)) if ids[k] in stops), len(ids))


def appended(ids: tuple[int, ...], end: int, tail: RenderedTokens, sampled_from: int) -> Appended | Refusal:
    """Append a tail to a stream whose last turn ends at a position.

    The stream may hold part of the turn's close already.
    """
    held = ids[end:]
    closing = tail.runs[0].length if tail.runs and tail.runs[0].message == 0 else 0
    if len(held) > closing or tail.token_ids[: len(held)] != held:
        detail = "the stream goes on after the close of its last turn: say where the last turn began with sampled_from"
        return Refusal("turn_already_closed", detail)
    return Appended(ids + tail.token_ids[len(held) :], len(ids), sampled_from)


def without_literal_openers(family: Family, encoder: Encoder, prompt: RenderedTokens) -> tuple[int, ...]:
    """Return a prompt's ids. Drop openers of reasoning that callers' messages spelled, where one stands last.

    Ids alone cannot tell such an opener from one that the format left open; attribution can.
    """
    markers, ids = family.reasoning, prompt.token_ids
    if markers is None or not prompt_leaves_reasoning_open(family, encoder, ids):
        return ids
    opener, end = encoder.specials[markers.opener], len(ids)
    kept: list[Sequence[int]] = []
    for run in reversed(prompt.runs):
        part = ids[end - run.length : end]
        spelled = run.body and prompt.role(run) != "assistant"
        kept.append([token_id for token_id in part if token_id != opener] if spelled else part)
        end -= run.length
        if not spelled and opener in part:
            break
    return ids[:end] + tuple(chain.from_iterable(reversed(kept)))


def _ended(family: Family, encoder: Encoder, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> Ended:
    """Return how a completion ended, by the format itself or by its reasoning markers."""
    if family.tells_ending:
        return family.ended(sampled_turn(family, encoder, prompt_ids, completion_ids))
    markers = family.reasoning
    if markers is None or not reasoning_open(family, encoder, prompt_ids, completion_ids):
        return Ended()
    return Ended(markers.closing, reasoning_open=True)


def sampled_turn(family: Family, encoder: Encoder, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> Sampled:
    """Decode sampled ids to segments past the turn's own head, with the prompt's part of the turn.

    A reasoning opener sampled right after the prompt's is taken for the one that counts.
    """
    markers = family.reasoning
    turn = past_head(unfold(completion_ids, encoder), partial(turn_head, family))
    is_open = prompt_leaves_reasoning_open(family, encoder, prompt_ids)
    if markers is not None and is_open and reasoning_start(turn.segments, markers.opener) is None:
        turn = replace(turn, reasoning_open=True)
    start = encoder.specials.get(family.turn_start or "")
    held = next((k for k in range(1, len(prompt_ids) + 1) if prompt_ids[-k] == start), 0) if start is not None else 0
    if not held:
        return turn
    return replace(turn, prompted=unfold(prompt_ids[-held:], encoder).segments)


def plan(
    family: Family,
    encoder: Encoder,
    retention: ThinkingRetention | None,
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    given: Chat,
    *,
    add_generation_prompt: bool = True,
) -> Extension | Refusal:
    """Decide on an extension; see `Renderer.plan_bridge`."""
    if isinstance(family, WholeFormat):
        request = (encoder, retention, prompt_ids, completion_ids, given)
        return family.plan_bridge(*request, add_generation_prompt=add_generation_prompt)
    policy = retention or ("all" if family.keeps_reasoning(given) else "tool_cycle")
    completion_end = ending(family, encoder, policy, prompt_ids, completion_ids, given)
    if isinstance(completion_end, Refusal):
        return completion_end
    try:
        sealed = _sealed(family, completion_end, add_generation_prompt)
    except HistoryError as error:
        return Refusal("depends_on_history", str(error))
    return sealed if isinstance(sealed, Refusal) else Extension((*completion_end.closing, *sealed), completion_end.chat)


def _new_turn(family: Family, chat: Chat, index: int) -> list[Segment]:
    """Return a new message's turn. An error names the message as the caller counts it."""
    try:
        return owned(index, family.turn(chat, index))
    except ConversationError as error:
        path = error.path.replace(f"messages[{index}]", f"new_messages[{index - 1}]", 1)
        raise type(error)(path, error.problem, error.value) from None


def _refused_messages(given: Chat, retention: ThinkingRetention) -> Refusal | None:
    for index, message in enumerate(given.messages):
        if isinstance(message, AssistantMessage):
            detail = f"new_messages[{index}] is an assistant turn: it was not sampled here; render the conversation"
            return Refusal("assistant_message", detail)
        if isinstance(message, UserMessage) and retention == "tool_cycle":
            detail = (
                f"new_messages[{index}] is a user turn, after which this format drops earlier reasoning; render the "
                'conversation, or keep reasoning with thinking_retention="all"'
            )
            return Refusal("retention", detail)
    return None


def _unknown_images(given: Chat, encoder: Encoder, prompt_ids: Sequence[int]) -> Refusal | None:
    """Refuse new images after a prompt with images of which no media are known: numbers and ranges would be wrong."""
    if given.earlier_images or not given.images_before(len(given.messages)):
        return None
    if not any(encoder.specials.get(text) in prompt_ids for text in IMAGE_TOKENS):
        return None
    detail = (
        "the prompt shows images: pass its previous_multi_modal_data, which new images are numbered and placed after"
    )
    return Refusal("depends_on_history", detail)


def _sealed(family: Family, completion_end: Ending, add_generation_prompt: bool) -> list[Segment] | Refusal:
    """Return the missing part of the sampled turn's close, then the new turns."""
    chat = completion_end.chat
    turns: list[Segment] = []
    for k in range(1, len(chat.messages)):
        turn = _new_turn(family, chat, k)
        if not turn and chat.role(k) == "system":
            detail = f"new_messages[{k - 1}] is a system message, said in the opening here; render the conversation"
            return Refusal("rewrites_history", detail)
        turns += turn
    if add_generation_prompt:
        turns.extend(family.generation_prompt(chat))
    if family.tells_ending:  # what was open is closed
        return turns
    if family.turn_close is None:
        return _without_sampled_marker(family, turns, completion_end.stop)
    placeholder = owned(0, family.turn(chat, 0))
    closes = [k for k, segment in enumerate(placeholder) if is_special(segment, family.turn_close)]
    start = closes[-1] + 1 if completion_end.stop == family.turn_close else closes[-1]
    return [*_unsampled(placeholder[start:]), *turns]


def _without_sampled_marker(family: Family, turns: list[Segment], stop: str | None) -> list[Segment] | Refusal:
    """Return turns whose first marker closes the sampled turn, without that marker if it was sampled.

    The first stop token of such a format ends a conversation and closes no turn.
    """
    if stop in (None, family.stop_tokens[0]):
        return _unsampled(turns)
    marker = turns[0].text if turns and turns[0].message == 0 else None
    if stop == marker:
        return turns[1:]
    detail = f"the model closed its turn with {stop}, but the new messages need {marker or 'another close'}"
    return Refusal("wrong_turn_close", detail)


def _unsampled(segments: Sequence[Segment]) -> list[Segment]:
    """Mark a close in the model's place as no body of the sampled turn."""
    return [Segment(s.text, s.kind, s.body and s.message != 0, s.message) for s in segments]


def reasoning_open(family: Family, encoder: Encoder, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> bool:
    """Return whether the completion ends inside reasoning that it or the prompt opened, as `parse` reads it."""
    markers = family.reasoning
    if markers is None or not reasons(family, encoder, prompt_ids, completion_ids):
        return False
    closer, stops = encoder.specials.get(markers.closer), [encoder.specials.get(text) for text in family.stop_tokens]
    if closer in completion_ids:  # most completions: no need to read them
        thought = completion_ids[: completion_ids.index(closer)]
        return any(stop in thought for stop in stops)
    return not family.parse(sampled_turn(family, encoder, prompt_ids, completion_ids), ()).reasoning_complete


def reasons(family: Family, encoder: Encoder, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> bool:
    """Return whether reasoning was opened, by the prompt or at the start of the completion."""
    markers = family.reasoning
    if markers is None:
        return False
    start = sampled_turn(family, encoder, prompt_ids, completion_ids[:_OPENER_WITHIN])
    return start.reasoning_open or reasoning_start(start.segments, markers.opener) is not None


def turn_head(family: Family) -> tuple[Segment, ...]:
    """Return the head of an assistant turn in a prompt, up to the part that prefills reasoning."""
    try:
        prompt = tuple(family.turn_opening())
    except TemplateError:
        return ()
    markers = family.reasoning
    if markers is None:
        return prompt
    prefilled = (k for k, segment in enumerate(prompt) if is_special(segment, markers.opener, markers.closer))
    return prompt[: next(prefilled, len(prompt))]


def prompt_leaves_reasoning_open(family: Family, encoder: Encoder, prompt_ids: Sequence[int]) -> bool:
    """Return whether the last special of a prompt is a reasoning opener at the start of a turn.

    An opener after what the turn says already is text of it, as one is that is sampled there.
    """
    markers, special_ids = family.reasoning, set(encoder.specials.values())
    places = (k for k in range(len(prompt_ids) - 1, -1, -1) if prompt_ids[k] in special_ids)
    place = next(places, None)
    if markers is None or place is None or prompt_ids[place] != encoder.specials.get(markers.opener):
        return False
    before = next(places, -1)
    said = encoder.decode_bytes(tuple(prompt_ids[before + 1 : place])).decode("utf-8", "replace").strip()
    head = turn_head(family)
    spoken = head[-1].text.strip() if head and head[-1].kind == "text" else ""
    if said:
        return not head or (bool(spoken) and said.endswith(spoken))
    return before < 0 or prompt_ids[before] != encoder.specials.get(markers.closer)


def after(
    prompt_ids: tuple[int, ...], completion_ids: tuple[int, ...], media: MultiModalData | None, tail: RenderedTokens
) -> RenderedTokens:
    """Return a bridge: previous ids as nobody's scaffold, then the tail. The prompt is copied once."""
    length = len(prompt_ids) + len(completion_ids)
    runs = (Run(length, UNOWNED, False), *tail.runs)
    ids = prompt_ids + (completion_ids + tail.token_ids)
    all_media = followed(media, length, tail.multi_modal_data)
    return put_together(ids, runs, tail.message_roles, tail.message_tool_names, all_media, decoder=tail.decoder)


def ends_open(prompt: RenderedTokens) -> bool:
    """Return whether a prompt ends with an assistant message that is left open: one of which nothing is sampled."""
    last = len(prompt.message_roles) - 1
    if last < 0 or prompt.message_roles[last] != "assistant" or not prompt.runs or prompt.runs[-1].message != last:
        return False
    return not any(run.body for run in takewhile(lambda run: run.message == last, reversed(prompt.runs)))


PartLengths: TypeAlias = tuple[tuple[int, BodyPart], ...]
"""How many ids of a turn in a row are of which part; none where nobody asked for parts."""


class Spoken(NamedTuple):
    """The ids of a sampled turn, and their parts."""

    token_ids: tuple[int, ...]
    parts: PartLengths = ()


def continued(
    previous: RenderedTokens, completion_ids: Sequence[int], tail: RenderedTokens | None, parts: PartLengths = ()
) -> RenderedTokens:
    """Return a render with its attribution, then a completion as a sampled assistant message, then the tail.

    Where the render ends with a message that is left open, the completion is of that message. `parts` are those of the
    completion, where they are known.
    """
    goes_on = ends_open(previous)
    owner = len(previous.message_roles) - goes_on
    completion = ids_of(completion_ids, "completion_ids")
    check_ids(completion)
    runs: tuple[Run, ...] = tuple(Run(length, owner, True, part) for length, part in parts)
    if completion and not runs:
        runs = (Run(len(completion), owner, True),)
    roles, names = previous.message_roles, previous.message_tool_names
    if not goes_on:
        roles, names = (*roles, "assistant"), (*names, None)
    media = previous.multi_modal_data
    if tail is None:
        return put_together(previous.token_ids + completion, previous.runs + runs, roles, names, media, after=previous)
    return put_together(
        previous.token_ids + (completion + tail.token_ids),
        previous.runs + runs + tail.runs,
        roles + tail.message_roles[owner + 1 :],
        names + tail.message_tool_names[owner + 1 :],
        followed(media, len(previous) + len(completion), tail.multi_modal_data),
        after=previous,
    )
