"""The parts of ids that a model sampled (law 10), by what the turn is read as.

Where a call stands is said by the reading, and so is what is reasoning and content. Inside of a call, and of what
stands between, the turn that was read is written as the format writes it, and its ids are compared with those that were
sampled: what the two have in common is of the same part; what the model wrote otherwise (white space in JSON, another
order) is of the part that stands in its place, else of the part before it. A call that cannot be read is `tool_call` as
a whole.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Final

from msgspec.structs import replace

from isc._json import decode_json, json_text
from isc._runs import merge, shared
from isc.conversation.bridge import PartLengths
from isc.conversation.renderer import Renderer
from isc.conversation.rollout import assistant_message
from isc.conversation.training import spoken_turn
from isc.convert import Tools, tool_specs
from isc.encoding.base import Encoder
from isc.errors import ConversationError, TemplateError
from isc.formats.reading.json_values import value_at
from isc.rendered import RenderedTokens, Run, put_together
from isc.types import AssistantMessage, BodyPart, Chat, Json, ParsedResponse, ParsedToolCall, Span, UserMessage

_READ: Final = frozenset(("ok", "unknown_tool"))
_MOST_PLACES: Final = 64
_MOST_COMPARED: Final = 1_000_000
"""Pairs of ids. What is reasoning and content is found by its text, however long it is."""
_MOST_BRACES: Final = 4  # of a call's object, and of what stands before its arguments in it


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
    ids, known = [token_id for token_id, _ in printed], [part for _, part in printed]
    if shared(ids, completion_ids) == len(completion_ids):
        parts = known[: len(completion_ids)]
    else:
        spans = tuple(call.token_span for call in response.tool_calls if call.status in _READ)
        places = _call_spans(renderer, ids, chat.tools) if spans else ()
        parts = _by_regions((known, ids), completion_ids, places, spans)
        _tell_texts(parts, completion_ids, renderer.encoder, response)
    for call in response.tool_calls:
        if call.status not in _READ:
            start, end = call.token_span
            parts[start:end] = ["tool_call"] * (end - start)
    closes = {renderer.encoder.specials.get(text) for text in renderer.family.stop_tokens}
    if completion_ids and completion_ids[-1] in closes:
        parts[-1] = "close"
    return tuple(merge((1, part) for part in parts))


def parts_alone(
    renderer: Renderer, prompt_ids: Sequence[int], completion_ids: Sequence[int], tools: Tools
) -> PartLengths:
    """Return the parts of a completion of which only the prompt's ids are known: as if a short question were answered.

    Args:
        renderer: The format.
        prompt_ids: What it was sampled from.
        completion_ids: What was sampled.
        tools: The tools offered.
    """
    response = renderer.parse_response(completion_ids, tools, prompt_ids)
    said = assistant_message(renderer.encoder, completion_ids, response)
    chat = Chat((UserMessage("?"),), tool_specs(tools))
    return completion_parts(renderer, chat, said, completion_ids, response)


def _call_spans(renderer: Renderer, ids: Sequence[int], tools: Tools) -> tuple[Span, ...]:
    """Return where the calls of a printed turn stand."""
    return tuple(call.token_span for call in renderer.parse_response(ids, tools).tool_calls)


def _by_regions(
    known: tuple[Sequence[BodyPart], Sequence[int]],
    sampled: Sequence[int],
    places: Sequence[Span],
    spans: Sequence[Span],
) -> list[BodyPart]:
    """Return a part for each sampled id: each call is compared with that call, what is between with what is there.

    Args:
        known: The parts of the ids that the format prints, and these ids.
        sampled: What was sampled.
        places: Where calls stand among the printed ids.
        spans: Where the same calls stand among the sampled ones.
    """
    parts, printed = known
    told: list[BodyPart] = []
    here = there = 0
    if len(places) != len(spans):  # the format prints other calls: all is compared at once
        places = spans = ()
    edges = [edge for pair in zip(places, spans, strict=True) for edge in zip(*pair, strict=True)]
    for place, end in (*edges, (len(printed), len(sampled))):
        place, end = max(place, here), max(end, there)  # noqa: PLW2901 - calls may share a token
        told += _compared(parts[here:place], printed[here:place], sampled[there:end], told[-1] if told else "content")
        here, there = place, end
    return told


def _tell_texts(parts: list[BodyPart], ids: Sequence[int], encoder: Encoder, response: ParsedResponse) -> None:
    """Make reasoning and content of the ids that hold them, where they stand in one piece outside of calls."""
    names = {token_id: text.encode() for text, token_id in encoder.specials.items()}
    pieces = [names[token_id] if token_id in names else encoder.decode_bytes((token_id,)) for token_id in ids]
    ends = [0, *accumulate(map(len, pieces))]
    data = b"".join(pieces)
    for call in response.tool_calls:
        if call.status in _READ and call.arguments is not None:
            _tell_call(parts, data, ends, call)
    is_free = _outside_of_calls(len(ids), response)
    position = 0
    fields: tuple[tuple[BodyPart, str | None], ...] = (
        ("reasoning", response.reasoning_content),
        ("content", response.content),
    )
    for part, text in fields:
        likely = [free and told == part for free, told in zip(is_free, parts, strict=True)]
        found = _place_of((text or "").encode(), data, position, ends, likely)
        if found is None:
            continue
        first, last = bisect_right(ends, found[0]) - 1, bisect_left(ends, found[1])
        if not all(is_free[first:last]):
            continue
        for token, free in enumerate(is_free):
            if first <= token < last:
                parts[token], is_free[token] = part, False
            elif free and parts[token] == part:
                parts[token] = "marker"
        position = found[1]


def _outside_of_calls(count: int, response: ParsedResponse) -> list[bool]:
    """Return for each of so many ids whether it is of no call."""
    is_free = [True] * count
    for call in response.tool_calls:
        start, end = call.token_span
        is_free[start:end] = [False] * (end - start)
    return is_free


def _tell_call(parts: list[BodyPart], data: bytes, ends: Sequence[int], call: ParsedToolCall) -> None:
    """Make arguments of the ids that hold a call's arguments as JSON, and its name of those that hold that, if any do.

    A format that spells arguments one by one has them in the order in which they are read: there comparing tells them.
    """
    first, last = call.token_span
    said = data[ends[first] : ends[last]]
    place = _json_place(said.decode("utf-8", "replace"), call.arguments)
    if place is None:
        return
    start, end = (ends[first] + _byte_at(said, edge) for edge in place)
    span = bisect_right(ends, start) - 1, bisect_left(ends, end)
    named = data.find((call.name or "").encode(), ends[first], start)
    named = named if named >= 0 else data.find((call.name or "").encode(), end, ends[last])
    for token in range(first, last):
        is_name = call.name and named >= 0 and ends[token] < named + len(call.name.encode()) and ends[token + 1] > named
        inside = span[0] <= token < span[1]
        parts[token] = "tool_arguments" if inside else "tool_name" if is_name else "tool_call"


def _byte_at(said: bytes, character: int) -> int:
    """Return the byte at which a character starts of bytes that may hold halves of characters, each read as one."""
    return bisect_right(range(len(said) + 1), character, key=lambda end: len(said[:end].decode("utf-8", "replace"))) - 1


def _json_place(text: str, arguments: Mapping[str, Json] | None) -> Span | None:
    """Return where the JSON of arguments stands in a call, the first that is that of these."""
    place, plain = text.find("{"), decode_json(json_text(arguments))
    for _ in range(_MOST_BRACES):
        if place < 0:
            return None
        value = value_at(text, place)
        if value.state == "whole" and value.value == plain:
            return place, value.end
        place = text.find("{", place + 1)
    return None


def _place_of(text: bytes, data: bytes, position: int, ends: Sequence[int], likely: Sequence[bool]) -> Span | None:
    """Return where a text stands behind a position: of several places the one with most tokens that are likely."""
    places: list[tuple[int, int]] = []
    start = data.find(text, position) if text else -1
    while start >= 0 and len(places) < _MOST_PLACES:
        first, last = bisect_right(ends, start) - 1, bisect_left(ends, start + len(text))
        places.append((sum(likely[first:last]), -start))
        start = data.find(text, start + 1)
    if not places:
        return None
    best = -max(places)[1]
    return best, best + len(text)


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


def _compared(
    parts: Sequence[BodyPart], printed: Sequence[int], sampled: Sequence[int], before: BodyPart
) -> list[BodyPart]:
    """Return a part for each sampled id, from the ids that the format prints. `before` is the part before them."""
    same = shared(printed, sampled)
    told: list[BodyPart] = list(parts[:same])
    if same == len(sampled):
        return told
    alike = shared(printed[same:][::-1], sampled[same:][::-1])
    printed, sampled = printed[same : len(printed) - alike], sampled[same : len(sampled) - alike]
    for first, end, size in _pairs(printed, sampled):
        told += _in_place(parts[same + first : same + end], size, told[-1] if told else before)
    return [*told, *parts[len(parts) - alike :]]


def _pairs(printed: Sequence[int], sampled: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the stretches of the printed ids, and how many sampled ids stand for each.

    Comparing takes time by the product of the lengths where ids are repeated, so long ones are one stretch.
    """
    if len(printed) * len(sampled) > _MOST_COMPARED:
        yield 0, len(printed), len(sampled)
        return
    for _, first, end, start, after in SequenceMatcher(None, printed, sampled, autojunk=False).get_opcodes():
        yield first, end, after - start


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
