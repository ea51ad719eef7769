"""The parts of ids that a model sampled (law 10), by what the turn is read as.

The turn that was read is written as the format writes it, and its ids are compared with those that were sampled. Ids
that the two have in common are of the same part. What the model wrote otherwise (white space in JSON, another order) is
of the part that stands in its place, else of the part before it. A call that cannot be read is `tool_call` as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

from msgspec.structs import replace

from isc._runs import merge, shared
from isc.conversation.bridge import PartLengths
from isc.conversation.renderer import Renderer
from isc.conversation.training import spoken_turn
from isc.errors import ConversationError, TemplateError
from isc.rendered import RenderedTokens, Run, put_together
from isc.types import AssistantMessage, BodyPart, Chat, ParsedResponse

_READ: Final = frozenset(("ok", "unknown_tool"))


def completion_parts(
    renderer: Renderer, chat: Chat, said: AssistantMessage, completion_ids: Sequence[int], response: ParsedResponse
) -> PartLengths:
    """Return how many ids of a completion in a row are of which part.

    Args:
        renderer: The format.
        chat: The conversation that the completion answers.
        said: The completion as a message, with what the prompt gave of it.
        completion_ids: What was sampled.
        response: What it was read as.
    """
    printed = _printed(renderer, chat, said)
    parts = _compared([part for _, part in printed], [token_id for token_id, _ in printed], completion_ids)
    for call in response.tool_calls:
        if call.status not in _READ:
            start, end = call.token_span
            parts[start:end] = ["tool_call"] * (end - start)
    closes = {renderer.encoder.specials.get(text) for text in renderer.family.stop_tokens}
    if completion_ids and completion_ids[-1] in closes:
        parts[-1] = "close"
    return tuple(merge((1, part) for part in parts))


def _printed(renderer: Renderer, chat: Chat, said: AssistantMessage) -> list[tuple[int, BodyPart]]:
    """Return the ids that the format writes for a message, each with its part. None where it cannot write it."""
    # an id that the format makes of the name is made again: the model said the name alone
    calls = tuple(replace(call, id=None) if call.id and call.name in call.id else call for call in said.tool_calls)
    longer = replace(chat, messages=(*chat.messages, replace(said, tool_calls=calls)))
    try:
        spoken = spoken_turn(replace(renderer, parts=True), longer, len(chat.messages), ())
    except (ConversationError, TemplateError):
        return []
    parts = (part for length, part in spoken.parts for _ in range(length))
    return list(zip(spoken.token_ids, parts, strict=True))


def _compared(parts: Sequence[BodyPart], printed: Sequence[int], sampled: Sequence[int]) -> list[BodyPart]:
    """Return a part for each sampled id, from the ids that the format prints."""
    same = shared(printed, sampled)
    told: list[BodyPart] = list(parts[:same])
    if same == len(sampled):
        return told
    matcher = SequenceMatcher(None, printed[same:], sampled[same:], autojunk=False)
    for _, first, end, start, after in matcher.get_opcodes():
        told += _in_place(parts[same + first : same + end], after - start, told[-1] if told else "content")
    return told


def _in_place(parts: Sequence[BodyPart], count: int, before: BodyPart) -> Iterator[BodyPart]:
    """Yield a part for each of `count` ids that stand in the place of these: theirs in order, the last for the rest."""
    for number in range(count):
        before = parts[number] if number < len(parts) else before
        yield before


def with_parts_at(rendered: RenderedTokens, start: int, parts: PartLengths) -> RenderedTokens:
    """Return a render whose body run at this token says its parts."""
    runs: list[Run] = []
    position = 0
    for run in rendered.runs:
        if position == start and run.body and run.part is None:
            runs += [Run(length, run.message, True, part) for length, part in parts]
        else:
            runs.append(run)
        position += run.length
    tables = (rendered.message_roles, rendered.message_tool_names, rendered.multi_modal_data)
    return put_together(rendered.token_ids, tuple(runs), *tables)
