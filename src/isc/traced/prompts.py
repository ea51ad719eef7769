"""The generation prompt that would have been given before each assistant turn (law 4).

Where the template's syntax proves that the prompt is the same after any messages, it is read off one short render.
Else it is rendered for stand-ins, the last messages before with next to nothing in them, which are held to the real
thing once for each shape that messages take; where one fails, everything before is rendered. Where what messages say
may matter to the prompt, stand-ins say it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from isc.errors import TemplateError
from isc.traced.format import Dicts, Format, text_of, untraced_of, written_of
from isc.traced.rendering import Written, compiled

_MOST_KEPT = 6
USER: Dicts = ({"role": "user", "content": "x"},)
"""What a prompt is read off where it is the same after anything, or where the template refuses what came before."""
_TURN: Mapping[str, Any] = {"role": "assistant", "content": "x"}


class Prompt(Struct, frozen=True):
    """What a sampler's prompt holds after the last turn; its first `closing` characters stand there in any case."""

    text: str
    closing: int = 0


class _Case:
    """The prompt after a stand-in, and whether it was found to hold for the messages it stands for."""

    __slots__ = ("holds", "prompt")

    def __init__(self, prompt: Prompt | None) -> None:
        self.prompt = prompt
        self.holds: bool | None = None


def prompts_before(
    chosen: Format, messages: Dicts, tools: Dicts | None, indices: Sequence[int]
) -> Mapping[int, Prompt]:
    """The prompt before each of these messages, in ascending order; one past the last is allowed."""
    if not indices:
        return {}
    listed = json.dumps(tools)
    tail = compiled(chosen.source).tail
    if tail.independent:
        same = _independent(chosen, listed) or exact_prompt(chosen, messages, tools, indices[-1])
        return dict.fromkeys(indices, same)
    if tail.heeds_content:
        return _by_recent_messages(chosen, messages, tools, indices)
    found: dict[int, Prompt] = {}
    for index, stand_in in reversed(list(_stand_ins(messages, indices))):
        case = _case(chosen, stand_in, listed)
        if case.holds is None:
            case.holds = case.prompt == exact_prompt(chosen, messages, tools, index)
        known = case.prompt if case.holds else None
        found[index] = known or exact_prompt(chosen, messages, tools, index)
    return found


def _by_recent_messages(
    chosen: Format, messages: Dicts, tools: Dicts | None, indices: Sequence[int]
) -> Mapping[int, Prompt]:
    """The prompts after the last messages as they are, held to the real thing at the end of the conversation."""
    found: dict[int, Prompt] = {}
    for index, kept in _recent_places(messages, indices):
        prompt = _prompt_after(chosen, [messages[place] for place in kept], _TURN, tools)
        found[index] = prompt or exact_prompt(chosen, messages, tools, index)
    if found[indices[-1]] == exact_prompt(chosen, messages, tools, indices[-1]):
        return found
    return {index: exact_prompt(chosen, messages, tools, index) for index in indices}


@lru_cache(maxsize=64)
def _independent(chosen: Format, tools: str) -> Prompt | None:
    """The prompt of a template that gives the same after any messages; the last 64 are kept."""
    listed = json.loads(tools)
    try:
        asked = untraced_of(chosen, USER, listed, add_generation_prompt=True)
        silent = untraced_of(chosen, USER, listed, add_generation_prompt=False)
    except TemplateError:
        return None
    return Prompt(asked.text[asked.tail :], len(silent.text) - silent.tail)


def exact_prompt(chosen: Format, messages: Dicts, tools: Dicts | None, index: int) -> Prompt:
    """The prompt before message `index`, by rendering everything before it; after a user's message where that fails."""
    turn = messages[index] if index < len(messages) else _TURN
    found = _prompt_after(chosen, messages[:index], turn, tools) or _prompt_after(chosen, USER, _TURN, tools)
    return Prompt("") if found is None else found


@lru_cache(maxsize=512)
def _case(chosen: Format, stand_in: str, tools: str) -> _Case:
    """The prompt after stand-ins for messages, given as JSON; the last 512 are kept."""
    return _Case(_prompt_after(chosen, json.loads(stand_in), _TURN, json.loads(tools)))


def _prompt_after(chosen: Format, before: Dicts, turn: Mapping[str, Any], tools: Dicts | None) -> Prompt | None:
    """What the template adds after messages when it is asked for a turn."""
    before = before or USER
    try:
        asked = text_of(chosen, before, tools, add_generation_prompt=True)
        silent = text_of(chosen, before, tools, add_generation_prompt=False)
    except TemplateError:
        return None
    head = _start_of(chosen, [*before, turn], tools)
    if head is not None and asked.startswith(head):
        closing = len(silent) - len(head) if silent.startswith(head) and asked.startswith(silent) else 0
        return Prompt(asked[len(head) :], closing)
    return Prompt(asked[len(silent) :]) if asked.startswith(silent) else None


def _start_of(chosen: Format, messages: Dicts, tools: Dicts | None) -> str | None:
    """The text before the last message's turn; None where it has none."""
    try:
        written = written_of(chosen, messages, tools, add_generation_prompt=False)
    except TemplateError:
        return None
    start = start_of_turn(written, len(messages) - 1)
    return None if start is None else written.text[:start]


def start_of_turn(written: Written, message: int) -> int | None:
    """The character at which a message's turn starts."""
    position = 0
    for length, _, place in written.runs:
        if place is not None and place.message == message:
            return position
        position += length
    return None


def _stand_ins(messages: Dicts, indices: Sequence[int]) -> Iterator[tuple[int, str]]:
    """For each of these messages, stand-ins for those before it that matter, as JSON."""
    shapes = [_shape(message) for message in messages]
    written: dict[tuple[object, ...], str] = {}
    for index, kept in _recent_places(messages, indices):
        key = tuple(shapes[place] for place in kept)
        if key not in written:
            numbers: dict[object, str] = {}
            written[key] = json.dumps([_short(messages[place], numbers) for place in kept])
        yield index, written[key]


def _recent_places(messages: Dicts, indices: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """For each of these messages, where those before it stand that matter: from the last user message on."""
    first = [0] if messages and messages[0].get("role") == "system" else []
    user = 0
    position = 0
    for index in indices:
        while position < index:
            user = position if messages[position].get("role") == "user" else user
            position += 1
        few = index - user <= _MOST_KEPT
        recent = range(user, index) if few else [user, *range(index - _MOST_KEPT + 1, index)]
        yield index, [*first, *(place for place in recent if place not in first)]


def _shape(message: Mapping[str, Any]) -> tuple[object, ...]:
    """What of a message its stand-in keeps."""
    content = message.get("content")
    calls = message.get("tool_calls")
    parts: tuple[str, ...] = ()
    if isinstance(content, list):
        parts = tuple(str(part.get("type")) if isinstance(part, dict) else "" for part in content)
    kinds = tuple(type((call.get("function") or call).get("arguments")) for call in calls) if calls else ()
    return (message.get("role"), type(content), bool(content), parts, kinds, tuple(message))


def _short(message: Mapping[str, Any], numbers: dict[object, str]) -> dict[str, Any]:
    """A message without what it says; `numbers` gives the ids of calls to their results."""
    found = dict(message)
    for key in ("reasoning_content", "thinking", "reasoning", "content", "name"):
        found.update({key: "x"} if isinstance(found.get(key), str) and found[key] else {})
    if isinstance(found.get("content"), list):
        found["content"] = [_short_part(part) for part in found["content"]]
    if found.get("tool_calls"):
        found["tool_calls"] = [_short_call(call, numbers) for call in found["tool_calls"]]
    if found.get("tool_call_id"):
        found["tool_call_id"] = numbers.setdefault(found["tool_call_id"], f"call{len(numbers):05d}")
    return found


def _short_part(part: object) -> object:
    if not isinstance(part, dict):
        return "x"
    return {key: "x" if isinstance(value, str) and key != "type" else value for key, value in part.items()}


def _short_call(call: Mapping[str, Any], numbers: dict[object, str]) -> dict[str, Any]:
    found = dict(call)
    if found.get("id"):
        found["id"] = numbers.setdefault(found["id"], f"call{len(numbers):05d}")
    if isinstance(found.get("function"), Mapping):
        return {**found, "function": _short_call(found["function"], numbers)}
    return {**found, "name": "x", "arguments": "{}" if isinstance(found.get("arguments"), str) else {}}
