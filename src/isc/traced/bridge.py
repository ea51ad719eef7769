"""A bridge for a template: its segments are read off renders, and granted only when they are proven.

The sampled turn is read back and rendered again. Where the template then writes exactly the sampled text, the rest
is the extension: proven on the turn at hand. A turn that cannot be read back is replaced by placeholder turns, which
differ in everything the extension must not depend on. The conversation before is replaced by short placeholder
conversations. Where these disagree, those count that the prompt can be a render of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from isc._later import Later
from isc.conversation.bridge import (
    Extension,
    Refusal,
    ending,
    reasons,
    sampled_turn,
)
from isc.encoding.base import Encoder
from isc.encoding.fold import unfold
from isc.errors import TemplateError
from isc.traced.arguments import with_arguments_as_taken
from isc.traced.conversation import conversation
from isc.traced.format import Dicts, text_of, written_of
from isc.traced.limits import one_limit
from isc.traced.origins import Kind
from isc.traced.ownership import finder
from isc.traced.placeholders import placed
from isc.traced.sampled_turns import Closing
from isc.traced.values import chat_messages, plain_data
from isc.types import UNOWNED, Chat, Json, ParsedResponse, Segment, ThinkingRetention, ToolMessage

if TYPE_CHECKING:
    from isc.traced.template import TracedTemplate
else:
    TracedTemplate = Later

_Message: TypeAlias = Mapping[str, Json]
_CONTEXTS: Sequence[Dicts] = (
    ({"role": "user", "content": "x"},),
    ({"role": "user", "content": "y"}, {"role": "assistant", "content": "z"}, {"role": "user", "content": "x y"}),
    ({"role": "system", "content": "s"}, {"role": "user", "content": "z"}),
)
_CALL: Json = {"id": "iscid0000", "type": "function", "function": {"name": "isc_earlier", "arguments": "{}"}}
_CYCLE: Dicts = (
    {"role": "user", "content": "x"},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "content": "w", "tool_call_id": "iscid0000", "name": "isc_earlier"},
)
_THINKING: Mapping[str, Json] = {"thinking": "isc thought", "reasoning_content": "isc thought"}
_REASONED: Dicts = (_CYCLE[0], {**_CYCLE[1], **_THINKING}, _CYCLE[2])
_NEXT: Dicts = ({"role": "assistant", "content": "z"}, {"role": "user", "content": "x y"})
_CALLING: Sequence[Dicts] = (_CYCLE, _REASONED, (*_CYCLE, *_NEXT), (*_REASONED, {**_NEXT[0], **_THINKING}, _NEXT[1]))
"""Contexts of which a prompt can only be one where there are tools."""
_SHOWN: Dicts = ({"role": "user", "content": [{"type": "image", "image": "x"}, {"type": "text", "text": "x"}]},)
_SAID = ("isc says", "more")
_THOUGHT = "isc thinks"
_INVENTED = "isc_called_"
_SAID_BY_MESSAGES = frozenset((Kind.BODY, Kind.NAME, Kind.DATA))
_REWRITES = Refusal(
    "rewrites_history",
    "with the new messages the template renders the sampled turn, or what was before it, differently; render the "
    'conversation, or keep what was sampled with thinking_retention="all"',
)
_DEPENDS = Refusal(
    "depends_on_history",
    "what the template renders for the new messages depends on the turns before; render the conversation",
)
_NOTHING_TAKEN = Refusal(
    "depends_on_history",
    "the template shows the new messages behind no placeholder conversation; render the conversation",
)


class _Completion(Struct, frozen=True):
    """The sampled turn, as far as it is known.

    `text` is what was sampled and what closes reasoning that it left open; `stop` the stop token it ended with, `last`
    the special. `reasoned` is None where nothing is known of reasoning.
    """

    text: str
    parsed: ParsedResponse
    reasoned: bool | None
    stop: str | None
    last: str | None

    @property
    def said(self) -> str:
        """Return the text without its last special."""
        return self.text.removesuffix(self.last or "")


class _Request(Struct, frozen=True):
    """A request for a bridge: the new messages as dicts, the tools, the sampled turn."""

    template: TracedTemplate
    given: Chat
    new: Dicts
    tools: Dicts | None
    sampled: _Completion
    keep: bool
    add_generation_prompt: bool

    @property
    def results(self) -> list[ToolMessage]:
        """Return the tool results among the new messages."""
        return [message for message in self.given.messages if isinstance(message, ToolMessage)]


_Outcome: TypeAlias = list[Segment] | Refusal | None
"""What follows the sampled turn after one context, or why nothing does; None where the template takes no trial."""


def plan_bridge_by_rendering(
    template: TracedTemplate,
    encoder: Encoder,
    retention: ThinkingRetention | None,
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    given: Chat,
    *,
    add_generation_prompt: bool = True,
) -> Extension | Refusal:
    """Decide on an extension of a template's conversation; `conversation.bridge.plan` for templates.

    Args:
        template: The format.
        encoder: Text to ids.
        retention: `"all"` grants what the template would take back by dropping earlier reasoning, `"tool_cycle"`
            refuses user messages; None grants what is proven to rewrite nothing.
        prompt_ids: The prompt of the last turn.
        completion_ids: What was sampled for it.
        given: What came since, and the tools.
        add_generation_prompt: Whether the extension ends with what asks the model for its turn.

    Raises:
        ConversationError: A new message cannot be rendered.
    """
    with one_limit(len(given.messages)):
        return _planned(template, encoder, retention, prompt_ids, completion_ids, given, add_generation_prompt)


def _planned(
    template: TracedTemplate,
    encoder: Encoder,
    retention: ThinkingRetention | None,
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    given: Chat,
    add_generation_prompt: bool,
) -> Extension | Refusal:
    start = ending(template, encoder, retention or "all", prompt_ids, completion_ids, given)
    if isinstance(start, Refusal):
        return start
    closing = "".join(segment.text for segment in start.closing)
    sampled = _completion(template, encoder, prompt_ids, completion_ids, start.stop, closing)
    tools: Dicts | None = [plain_data(tool.schema) for tool in given.tools] or None
    request = _Request(template, given, chat_messages(given), tools, sampled, retention != "all", add_generation_prompt)
    following = _agreed(request, encoder, prompt_ids)
    if isinstance(following, Refusal):
        return following
    return Extension((*start.closing, *placed(following, start.chat, template.specials)), start.chat)


def _completion(
    template: TracedTemplate,
    encoder: Encoder,
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    stop: str | None,
    closing: str,
) -> _Completion:
    """Read the sampled turn from its ids."""
    markers = template.reasoning
    reasoned = None if markers is None else reasons(template, encoder, prompt_ids, completion_ids)
    segments = sampled_turn(template, encoder, prompt_ids, completion_ids)
    text = "".join(segment.text for segment in segments.segments)
    ends = segments.segments[-1] if segments.segments and not closing else None
    last = ends.text if ends is not None and ends.kind == "special" else None
    return _Completion(text + closing, template.parse(segments, ()), reasoned, stop, last)


def _agreed(request: _Request, encoder: Encoder, prompt_ids: Sequence[int]) -> list[Segment] | Refusal:
    """Return the segments after the sampled turn.

    They must be the same after every context that the prompt can come from.
    """
    contexts = list(_CONTEXTS)
    if request.given.images_before(len(request.given.messages)):
        contexts.append(_SHOWN)
    if request.tools:
        contexts += [with_arguments_as_taken(request.template.format, context) for context in _CALLING]
    outcomes = [(context, _outcome(request, context)) for context in contexts]
    outcomes = [(context, outcome) for context, outcome in outcomes if outcome is not None]
    if not outcomes:
        return _NOTHING_TAKEN
    if any(outcome != outcomes[0][1] for _, outcome in outcomes):
        prompt = unfold(prompt_ids, encoder).segments
        outcomes = _possible(request, outcomes, prompt) or outcomes
    refusal = next((outcome for _, outcome in outcomes if isinstance(outcome, Refusal)), None)
    if refusal is not None:
        return refusal
    followings = [outcome for _, outcome in outcomes if isinstance(outcome, list)]
    agreed = followings[0] if all(outcome == followings[0] for outcome in followings) else _DEPENDS
    invented = isinstance(agreed, list) and any(_INVENTED in piece.text and not piece.body for piece in agreed)
    return _DEPENDS if invented else agreed


def _possible(
    request: _Request, outcomes: Sequence[tuple[Dicts, _Outcome]], prompt: Sequence[Segment]
) -> list[tuple[Dicts, _Outcome]]:
    """Return the outcomes of contexts that the prompt can be a render of.

    Where there is none, leave out only contexts with calls that the prompt does not show.
    """
    specials = [segment.text for segment in prompt if segment.kind == "special"]
    text = "".join(segment.text for segment in prompt)
    alike: list[tuple[Dicts, _Outcome]] = []
    holding: list[tuple[Dicts, _Outcome]] = []
    for context, outcome in outcomes:
        wording, shown = _wording(request, context)
        if shown == specials and _holds_in_order(text, wording):
            alike.append((context, outcome))
        if not any("tool_calls" in message for message in context) or all(part in text for part in wording[1:]):
            holding.append((context, outcome))
    return alike or holding


def _wording(request: _Request, context: Dicts) -> tuple[list[str], list[str]]:
    """Return what a template writes around the content of messages, and the specials in that."""
    written = written_of(request.template.format, context, request.tools, add_generation_prompt=True)
    wording, position = [""], 0
    for length, origin, _ in written.runs:
        if origin.kind in _SAID_BY_MESSAGES:
            wording.append("")
        else:
            wording[-1] += written.text[position : position + length]
        position += length
    find = finder(request.template.format.specials)
    return wording, [piece for part in wording for piece, special, _ in find(part, (len(part),)) if special]


def _holds_in_order(text: str, parts: Sequence[str]) -> bool:
    """Return whether a text begins with the first part, ends with the last, and holds the others between, in order."""
    if len(parts) == 1:
        return text == parts[0]
    position, end = len(parts[0]), len(text) - len(parts[-1])
    if not text.startswith(parts[0]) or not text.endswith(parts[-1]):
        return False
    for part in parts[1:-1]:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return position <= end


def _outcome(request: _Request, context: Dicts) -> _Outcome:
    """Return the segments after the sampled turn for one context.

    Turns as read are tried first, then placeholder turns.
    """
    try:
        asked = text_of(request.template.format, context, request.tools, add_generation_prompt=True)
    except TemplateError:
        return None
    for turn in _as_read(request, _said_in(context), _close_written(request, context)):
        try:
            following = _behind_turn_as_read(request, context, turn, asked)
        except TemplateError:
            continue
        if following is not None:
            return following
    return _behind_turns_like_it(request, context, asked)


def _behind_turns_like_it(request: _Request, context: Dicts, asked: str) -> _Outcome:
    """Return the segments after placeholder turns, if they are the same for all of these turns."""
    said = _said_in(context)
    agreed: list[Segment] | None = None
    for turn in _like_it(request, said, silent=_says_nothing(request, context, asked)):
        try:
            following = _behind_turn_like_it(request, context, turn, asked)
        except TemplateError:
            continue
        if isinstance(following, Refusal):
            return following
        if agreed is not None and following is not None and following != agreed:
            return _DEPENDS
        agreed = agreed if following is None else following
    return agreed


def _said_in(context: Dicts) -> str:
    """Return what a placeholder turn says. Not the same after every context, so that it shows where it matters."""
    return _SAID[context[-1]["content"] == "x y"]


def _says_nothing(request: _Request, context: Dicts, asked: str) -> bool | None:
    """Return whether the sampled turn has no content beside its calls, or None where that cannot be told."""
    sampled = request.sampled
    if sampled.parsed.tool_calls:
        return not sampled.parsed.content.strip()
    for calls in _likely_calls(request, ""):
        turn = {"role": "assistant", "content": "", "tool_calls": calls}
        try:
            alone = text_of(request.template.format, [*context, turn], request.tools, add_generation_prompt=False)
        except TemplateError:
            continue
        place = min((alone.find(name, len(asked)) for name in _names(calls)), default=-1)
        if alone.startswith(asked) and place > len(asked):
            return sampled.text.startswith(alone[len(asked) : place])
    return None


def _close_written(request: _Request, context: Dicts) -> str:
    """Return the text between a turn's content and the sampled stop, as the template writes it."""
    try:
        segments = _with_new(request, context, {"role": "assistant", "content": _THOUGHT})
    except TemplateError:
        return ""
    said = "".join(segment.text for segment in segments if segment.message == len(context) and segment.body)
    return said.rpartition(_THOUGHT)[2].removesuffix(request.sampled.stop or "")


def _as_read(request: _Request, unseen: str, close: str) -> Iterator[_Message]:
    """Yield the sampled turn as it was read back, then as content only. No result is left without its call.

    A turn in which no call was read may have had one that the template does not show, and one that says nothing may
    have said what it does not show (`unseen`): some templates fail without that.
    """
    parsed, said = request.sampled.parsed, request.sampled.said
    calls = [call for call in parsed.tool_calls if call.status == "ok"]
    if len(calls) < len(parsed.tool_calls) or (request.results and calls and len(calls) != len(request.results)):
        return
    reasoned: dict[str, Json] = {}
    if parsed.reasoning_content is not None:
        reasoned = {"thinking": parsed.reasoning_content, "reasoning_content": parsed.reasoning_content}
    if close and parsed.content.endswith(close):
        yield {"role": "assistant", "content": parsed.content.removesuffix(close), **reasoned}
        if not request.sampled.stop:
            return
    turn: dict[str, Json] = {"role": "assistant", "content": parsed.content, **reasoned}
    if request.results and not calls:
        if len(request.results) == 1:
            yield from ({**turn, "tool_calls": likely} for likely in _likely_calls(request, unseen))
        return
    if calls:
        turn["tool_calls"] = list(_calls(request, [(call.name, call.arguments) for call in calls]))
    yield turn
    if not calls:
        yield {"role": "assistant", "content": said}
    elif not parsed.content:
        yield {**turn, "content": unseen}


def _calls(request: _Request, calls: Sequence[tuple[str | None, object]]) -> Iterator[dict[str, Json]]:
    """Yield calls with the ids that the new results answer to: those of its name, else those that are left."""
    left = list(request.results)
    answers = [_answer(left, name) for name, _ in calls]
    for place, (name, arguments) in enumerate(calls):
        result = answers[place] or (left.pop(0) if left else None)
        identity = result.tool_call_id if result is not None else None
        function: dict[str, Json] = {"name": name, "arguments": plain_data(arguments)}
        yield {"id": identity or f"isc{place:06d}", "type": "function", "function": function}


def _answer(results: list[ToolMessage], name: str | None) -> ToolMessage | None:
    """Take the first result of a function's name out of results, if one tells a name."""
    place = next((place for place, result in enumerate(results) if result.name and result.name == name), None)
    return None if place is None else results.pop(place)


def _behind_turn_as_read(
    request: _Request, context: Dicts, turn: _Message, asked: str
) -> list[Segment] | Refusal | None:
    """Return the segments after the very text that was sampled, or None where the template does not write that text."""
    chosen, sampled = request.template.format, request.sampled
    segments = _with_new(request, context, turn)
    full = "".join(segment.text for segment in segments)
    if full.startswith(asked + sampled.text):
        following = _from(segments, len(asked) + len(sampled.text), len(context), whole=True)
        doubled = sampled.stop is None and _begins_with(following, sampled.last)
        return None if doubled else following
    alone = text_of(chosen, [*context, turn], request.tools, add_generation_prompt=False)
    if alone.startswith(asked + sampled.text):
        return _REWRITES if request.keep else None
    if sampled.stop is None or not full.startswith(asked + sampled.said):
        return None
    following = _from(segments, len(asked) + len(sampled.said), len(context), whole=True)
    if not isinstance(following, list) or not following or following[0].kind != "special":
        return following if isinstance(following, Refusal) else None
    return _after_stop(request, following)


def _begins_with(following: _Outcome, special: str | None) -> bool:
    return isinstance(following, list) and bool(following) and following[0].text == special


def _with_new(request: _Request, context: Dicts, turn: _Message) -> list[Segment]:
    """Return a context, a turn and the new messages as segments."""
    template = request.template
    messages = [*context, turn, *request.new]
    return conversation(
        template.format,
        template.closing,
        messages,
        request.tools,
        add_generation_prompt=request.add_generation_prompt,
    )


def _from(segments: Sequence[Segment], position: int, turn: int, *, whole: bool = False) -> _Outcome:
    """Return the segments from a character on, renumbered.

    None: a new message has text before that character, or the turn says more behind it that should have been `whole`.
    What an earlier message says there depends on that message.
    """
    rest: list[Segment] = []
    for segment in segments:
        if position >= len(segment.text):
            position -= len(segment.text)
            if segment.message > turn:
                return None
            continue
        cut = Segment(segment.text[position:], segment.kind, segment.body, segment.message) if position else segment
        position = 0
        if whole and cut.message == turn and cut.body and cut.kind == "text" and not cut.text.isspace():
            return None
        if cut.message < turn and cut.body and cut.kind == "text":
            return _DEPENDS
        rest.append(_renumbered(cut, turn))
    return rest


def _renumbered(segment: Segment, turn: int) -> Segment:
    """Renumber a segment for an extension, in which the sampled turn is 0. A close of that turn is not sampled here."""
    message = segment.message - turn if segment.message >= turn else UNOWNED
    return Segment(segment.text, segment.kind, segment.body and message > 0, message)


def _after_stop(request: _Request, following: list[Segment]) -> list[Segment] | Refusal:
    """Drop a stop that was sampled from the segments after it.

    Refuse another close where turns have none of their own.
    """
    template, sampled = request.template, request.sampled
    marker = following[0].text if following and following[0].kind == "special" else None
    if marker is not None and marker == sampled.last:
        return following[1:]
    if template.closing.by_next and sampled.stop not in (None, template.format.eos_token):
        detail = f"the model closed its turn with {sampled.stop}, but the new messages need {marker or 'another close'}"
        return Refusal("wrong_turn_close", detail)
    return following


def _like_it(request: _Request, said: str, *, silent: bool | None) -> Iterator[_Message]:
    """Yield placeholders for the sampled turn. They differ in everything that is not known of that turn."""
    sampled = request.sampled
    read = sampled.parsed.reasoning_content
    thoughts: Sequence[str | None] = {True: (read or _THOUGHT,), False: (None,), None: (None, _THOUGHT)}[
        sampled.reasoned
    ]
    if sampled.reasoned and read == "":
        thoughts = ("",)
    for thought in thoughts:
        reasoned: dict[str, Json] = {} if thought is None else {"thinking": thought, "reasoning_content": thought}
        if not request.results:
            yield {"role": "assistant", "content": said, **reasoned}
            continue
        for content in {None: (said, ""), True: ("",), False: (said,)}[silent]:
            for calls in _likely_calls(request, said):
                yield {"role": "assistant", "content": content, **reasoned, "tool_calls": calls}


def _likely_calls(request: _Request, said: str) -> Iterator[list[dict[str, Json]]]:
    """Yield the calls that tool results answer: as they were sampled, where they could be read."""
    results = request.results
    read = [(call.name, call.arguments) for call in request.sampled.parsed.tool_calls if call.status == "ok"]
    if len(read) == len(results):
        yield list(_calls(request, read))
        return
    left = list(results)
    for name, _ in read:
        if _answer(left, name) is None and left:
            left.pop(0)
    names = [result.name or f"{_INVENTED}{len(said)}" for result in left]
    forms: tuple[Json, ...] = ({}, "{}")
    for arguments in forms:
        for order in (names, names[::-1]) if len(set(names)) > 1 else (names,):
            yield list(_calls(request, [*read, *((name, arguments) for name in order)]))


def _behind_turn_like_it(request: _Request, context: Dicts, turn: _Message, asked: str) -> _Outcome:
    """Return the segments after a placeholder turn, or None where a new message is shown before the turn's end."""
    if request.keep and not _kept(request, context, turn, asked):
        return _REWRITES
    segments = _with_new(request, context, turn)
    start = _end_of_turn(segments, len(context), request.template.closing)
    following = _from(segments, sum(len(segment.text) for segment in segments[:start]), len(context))
    return _after_stop(request, following) if isinstance(following, list) else following


def _kept(request: _Request, context: Dicts, turn: _Message, asked: str) -> bool:
    """Return whether the text up to the sampled turn's close stays as it was sampled when the new messages come."""
    template = request.template
    before = text_of(template.format, [*context, turn], request.tools, add_generation_prompt=False)
    full = text_of(template.format, [*context, turn, *request.new], request.tools, add_generation_prompt=False)
    if not full.startswith(asked):
        return False
    closers = [before.rfind(text) for text in template.stop_tokens if text in before[len(asked) :]]
    sampled = before[: max(closers)] if closers else before
    return full.startswith(sampled) or _kept_as_sampled(request, turn, sampled[len(asked) :], full[len(asked) :])


def _names(calls: Any) -> list[str]:  # noqa: ANN401 - calls of a placeholder, as a template takes them
    """Return the names of the called functions."""
    return [str(call["function"]["name"]) for call in calls or ()]


def _kept_as_sampled(request: _Request, turn: _Message, alone: str, full: str) -> bool:
    """Return whether the turn in history begins as the sampled one did, though a last turn begins otherwise."""
    texts = [text for text in (turn.get("reasoning_content"), turn["content"], *_names(turn.get("tool_calls"))) if text]
    said = [text for text in texts if isinstance(text, str)]
    starts = [[text.find(word) for word in said if word in text] for text in (alone, full)]
    if not all(starts):
        return False
    lead_alone, lead_full = alone[: min(starts[0])], full[: min(starts[1])]
    text = request.sampled.text
    if not text.startswith(lead_full) or (len(lead_alone) > len(lead_full) and text.startswith(lead_alone)):
        return False
    return full[len(lead_full) :].startswith(alone[len(lead_alone) :])


def _end_of_turn(segments: Sequence[Segment], turn: int, closing: Closing) -> int:
    """Return the position of a turn's close, or the turn's end."""
    body = [place for place, segment in enumerate(segments) if segment.message == turn and segment.body]
    if not body:
        return len(segments)
    last = body[-1]
    closers = closing.closers.union(closing.stop_tokens)
    closes = segments[last].kind == "special" and (closing.by_next or segments[last].text in closers)
    return last if closes else last + 1
