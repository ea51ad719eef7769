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

from isc.traced.format import Dicts, Format, text_of, untraced_of, written_of
from isc.traced.limits import TemplateError
from isc.traced.rendering import Written, compiled

_MOST_KEPT = 6
_USER: Dicts = ({"role": "user", "content": "x"},)
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
    if compiled(chosen.source).tail.independent:
        same = _independent(chosen, listed) or exact_prompt(chosen, messages, tools, indices[-1])
        return dict.fromkeys(indices, same)
    found: dict[int, Prompt] = {}
    whole = compiled(chosen.source).tail.heeds_content
    for index, stand_in in reversed(list(_stand_ins(messages, indices, whole=whole))):
        case = _case(chosen, stand_in, listed)
        if case.holds is None:
            case.holds = case.prompt == exact_prompt(chosen, messages, tools, index)
        known = case.prompt if case.holds else None
        found[index] = known or exact_prompt(chosen, messages, tools, index)
    return found


@lru_cache(maxsize=64)
def _independent(chosen: Format, tools: str) -> Prompt | None:
    """The prompt of a template that gives the same after any messages; the last 64 are kept."""
    listed = json.loads(tools)
    try:
        asked = untraced_of(chosen, _USER, listed, add_generation_prompt=True)
        silent = untraced_of(chosen, _USER, listed, add_generation_prompt=False)
    except TemplateError:
        return None
    return Prompt(asked.text[asked.tail :], len(silent.text) - silent.tail)


def exact_prompt(chosen: Format, messages: Dicts, tools: Dicts | None, index: int) -> Prompt:
    """The prompt before message `index`, by rendering everything before it."""
    turn = messages[index] if index < len(messages) else _TURN
    found = _prompt_after(chosen, messages[:index], turn, tools)
    return Prompt("") if found is None else found


@lru_cache(maxsize=512)
def _case(chosen: Format, stand_in: str, tools: str) -> _Case:
    """The prompt after stand-ins for messages, given as JSON; the last 512 are kept."""
    return _Case(_prompt_after(chosen, json.loads(stand_in), _TURN, json.loads(tools)))


def _prompt_after(chosen: Format, before: Dicts, turn: Mapping[str, Any], tools: Dicts | None) -> Prompt | None:
    """What the template adds after messages when it is asked for a turn."""
    before = before or _USER
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


def _stand_ins(messages: Dicts, indices: Sequence[int], *, whole: bool) -> Iterator[tuple[int, str]]:
    """For each of these messages, stand-ins for those before it that matter: from the last user message on."""
    shapes: list[object] = [place if whole else _shape(message) for place, message in enumerate(messages)]
    written: dict[tuple[object, ...], str] = {}
    first = [0] if messages and messages[0].get("role") == "system" else []
    user = 0
    position = 0
    for index in indices:
        while position < index:
            user = position if messages[position].get("role") == "user" else user
            position += 1
        kept = [*first, *(place for place in _recent(user, index) if place not in first)]
        key = tuple(shapes[place] for place in kept)
        if key not in written:
            written[key] = json.dumps([messages[place] if whole else _short(messages[place]) for place in kept])
        yield index, written[key]


def _recent(user: int, index: int) -> Sequence[int]:
    if index - user <= _MOST_KEPT:
        return range(user, index)
    return [user, *range(index - _MOST_KEPT + 1, index)]


def _shape(message: Mapping[str, Any]) -> tuple[object, ...]:
    """What of a message its stand-in keeps."""
    content = message.get("content")
    calls = message.get("tool_calls")
    parts = (
        tuple(str(part.get("type")) for part in content if isinstance(part, dict)) if isinstance(content, list) else ()
    )
    kinds = tuple(type((call.get("function") or call).get("arguments")) for call in calls) if calls else ()
    return (message.get("role"), type(content), bool(content), parts, kinds, tuple(message))


def _short(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without what it says."""
    found = dict(message)
    for key in ("reasoning_content", "thinking", "reasoning"):
        if found.get(key):
            found[key] = "x"
    content = found.get("content")
    if isinstance(content, str) and content:
        found["content"] = "x"
    elif isinstance(content, list):
        found["content"] = [
            {**part, "text": "x"} if isinstance(part, dict) and "text" in part else part for part in content
        ]
    if found.get("tool_calls"):
        found["tool_calls"] = [_short_call(call) for call in found["tool_calls"]]
    return found


def _short_call(call: Mapping[str, Any]) -> dict[str, Any]:
    if "function" in call:
        return {**call, "function": _short_call(call["function"])}
    return {**call, "arguments": "{}" if isinstance(call.get("arguments"), str) else {}}
