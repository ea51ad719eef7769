"""A bridge for a template: what follows the sampled turn is read off renders of stand-in conversations.

It is granted only when it is proven for this call: whatever came before, and whatever the sampled turn said, the
template leaves the sampled turn as it is and adds the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

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
from isc.errors import TemplateError
from isc.traced.conversation import conversation
from isc.traced.format import Dicts, text_of
from isc.traced.placeholders import placed
from isc.traced.values import chat_messages, plain_data
from isc.types import UNOWNED, Chat, Json, ParsedToolCall, Segment, ThinkingRetention, ToolMessage

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
_SHOWN: Dicts = ({"role": "user", "content": [{"type": "image", "image": "x"}, {"type": "text", "text": "x"}]},)
_SAID = ("isc says", "more")


class _Completion(Struct, frozen=True):
    """What is known of the sampled turn: whether it reasoned (None: unknown), its calls, the special it stopped at."""

    reasoned: bool | None
    calls: tuple[ParsedToolCall, ...]
    stop: str | None


class _Case(Struct, frozen=True):
    """A stand-in conversation with a stand-in for the sampled turn."""

    context: Dicts
    turn: _Message


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
    start = ending(template, encoder, retention or "all", prompt_ids, completion_ids, given)
    if isinstance(start, Refusal):
        return start
    sampled = _completion(template, encoder, prompt_ids, completion_ids, start.stop)
    found = _proven(template, given, sampled, keep=retention != "all", add_generation_prompt=add_generation_prompt)
    if isinstance(found, Refusal):
        return found
    return Extension((*start.closing, *placed(found, start.chat)), start.chat)


def _completion(
    template: TracedTemplate,
    encoder: Encoder,
    prompt_ids: Sequence[int],
    completion_ids: Sequence[int],
    stop: str | None,
) -> _Completion:
    """What the sampled ids tell."""
    markers = template.reasoning
    reasoned = None if markers is None else reasons(template, encoder, prompt_ids, completion_ids)
    parsed = template.parse(sampled_turn(template, encoder, prompt_ids, completion_ids), ())
    return _Completion(reasoned, tuple(call for call in parsed.tool_calls if call.status == "ok"), stop)


def _proven(
    template: TracedTemplate, given: Chat, sampled: _Completion, *, keep: bool, add_generation_prompt: bool
) -> list[Segment] | Refusal:
    """What follows the sampled turn, if it is the same in every case."""
    tools: Dicts | None = [plain_data(tool.schema) for tool in given.tools] or None
    agreed: list[Segment] | None = None
    for case in _cases(given, sampled):
        try:
            if keep and not _kept(template, case, given, tools):
                detail = (
                    "with the new messages the template renders the sampled turn, or what was before it, differently; "
                    'render the conversation, or keep what was sampled with thinking_retention="all"'
                )
                return Refusal("rewrites_history", detail)
            found = _after_turn(template, case, given, tools, sampled, add_generation_prompt=add_generation_prompt)
        except TemplateError:
            continue
        if isinstance(found, Refusal):
            return found
        if agreed is not None and found != agreed:
            detail = (
                "what the template renders for the new messages depends on the turns before; render the conversation"
            )
            return Refusal("depends_on_history", detail)
        agreed = found
    if agreed is None:
        return Refusal("depends_on_history", "the template renders the new messages after no stand-in conversation")
    return agreed


def _cases(given: Chat, sampled: _Completion) -> Iterator[_Case]:
    """Stand-in conversations that differ in everything the new messages' text must not depend on."""
    results = [message for message in given.messages if isinstance(message, ToolMessage)]
    thoughts = {True: ("isc thinks",), False: (None,), None: (None, "isc thinks")}[sampled.reasoned]
    shapes: list[Json] = [{}, "{}"] if results and not sampled.calls else [{}]
    contexts = (*_CONTEXTS, _SHOWN) if given.images_before(len(given.messages)) else _CONTEXTS
    for number, context in enumerate(contexts):
        for thought in thoughts:
            for arguments in shapes:
                turn: dict[str, Json] = {"role": "assistant", "content": _SAID[number % len(_SAID)]}
                if thought is not None:
                    turn |= {"thinking": thought, "reasoning_content": thought}
                if results:
                    turn["tool_calls"] = list(_calls(results, sampled, arguments, number))
                yield _Case(context, turn)


def _calls(
    results: Sequence[ToolMessage], sampled: _Completion, arguments: object, number: int
) -> Iterator[dict[str, Json]]:
    """The calls that tool results answer: as they were sampled, where they could be read."""
    known = sampled.calls if len(sampled.calls) == len(results) else ()
    for place, result in enumerate(results):
        name = known[place].name if known else result.name or f"f{number}"
        given = known[place].arguments if known else arguments
        function = {"name": name, "arguments": plain_data(given)}
        yield {"id": result.tool_call_id or f"call{place:05d}", "type": "function", "function": function}


def _kept(template: TracedTemplate, case: _Case, given: Chat, tools: Dicts | None) -> bool:
    """Whether the text up to the sampled turn's close stays as it was sampled when the new messages come."""
    chosen = template.format
    asked = text_of(chosen, case.context, tools, add_generation_prompt=True)
    before = text_of(chosen, [*case.context, case.turn], tools, add_generation_prompt=False)
    full = text_of(chosen, [*case.context, case.turn, *_new(given)], tools, add_generation_prompt=False)
    closers = [before.rfind(text) for text in template.stop_tokens if text in before[len(asked) :]]
    sampled = before[: max(closers)] if closers else before
    return full.startswith(asked) and full.startswith(sampled)


def _new(given: Chat) -> list[dict[str, Json]]:
    return chat_messages(given)


def _after_turn(
    template: TracedTemplate,
    case: _Case,
    given: Chat,
    tools: Dicts | None,
    sampled: _Completion,
    *,
    add_generation_prompt: bool,
) -> list[Segment] | Refusal:
    """What follows what was sampled, as far as it was not sampled itself."""
    messages = [*case.context, case.turn, *_new(given)]
    turn = len(case.context)
    segments = conversation(
        template.format, template.closing, messages, tools, add_generation_prompt=add_generation_prompt
    )
    start = _end_of_turn(segments, turn, template.closing.closers, by_next=template.closing.by_next)
    marker = segments[start].text if start < len(segments) and segments[start].kind == "special" else None
    if sampled.stop is not None and sampled.stop == marker:
        start += 1
    elif template.closing.by_next and sampled.stop not in (None, template.format.eos_token):
        detail = f"the model closed its turn with {sampled.stop}, but the new messages need {marker or 'another close'}"
        return Refusal("wrong_turn_close", detail)
    return [_renumbered(segment, turn) for segment in segments[start:]]


def _end_of_turn(segments: Sequence[Segment], turn: int, closers: frozenset[str], *, by_next: bool) -> int:
    """Where what closes a turn stands, or where the turn ends."""
    body = [place for place, segment in enumerate(segments) if segment.message == turn and segment.body]
    if not body:
        return len(segments)
    last = body[-1]
    closes = segments[last].kind == "special" and (by_next or segments[last].text in closers)
    return last if closes else last + 1


def _renumbered(segment: Segment, turn: int) -> Segment:
    """A segment as the extension's, whose turn 0 is the sampled one; what closes that is not sampled here."""
    message = segment.message - turn if segment.message >= turn else UNOWNED
    return Segment(segment.text, segment.kind, segment.body and message > 0, message)
