"""The generation prompt that would have been given before each assistant turn (law 4).

Where the template's syntax proves that the prompt is the same after any messages, it is read off one short render.
Else it is read off placeholder conversations: the last messages before, with next to nothing in them. Where what
messages say may matter to the prompt, the placeholders say it too. Nothing here remembers a verdict: what is kept is
a pure function of the template and the placeholder. `sampling` holds each prompt to the conversation at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from isc.errors import TemplateError
from isc.traced.format import Dicts, Format, text_of, untraced_of, written_of
from isc.traced.rendering import Written, compiled

_MOST_KEPT = 6
_LONGEST_KEPT = 1 << 12  # characters of messages that are kept with what the template asks after them
USER: Final[Mapping[str, Any]] = {"role": "user", "content": "x"}
"""The user of trial conversations."""
LONE_USER: Final[Dicts] = (USER,)
"""What a prompt is read off where it is the same after anything, or where the template refuses what came before."""
_TURN: Mapping[str, Any] = {"role": "assistant", "content": "x"}


class Prompt(Struct, frozen=True):
    """The text of a prompt after the last turn. Its first `closing` characters stand there in any case."""

    text: str
    closing: int = 0


class Expected(Struct, frozen=True):
    """Messages that the same prompt is expected before; `proven` where the template's syntax says so."""

    prompt: Prompt | None
    indices: tuple[int, ...]
    proven: bool = False


def expected_prompts(
    chosen: Format, messages: Dicts, tools: Dicts | None, indices: Sequence[int]
) -> Sequence[Expected]:
    """Group these messages, in ascending order, by the prompt expected before each; one past the last is allowed."""
    if not indices:
        return []
    listed = json.dumps(tools)
    tail = compiled(chosen.source).tail
    if tail.independent:
        prompt = _independent(chosen, listed) or _asked_for(chosen, messages, tools)
        if not tail.looks_ahead or (prompt is not None and prompt.text):
            return [Expected(prompt, tuple(indices), proven=True)]
    groups: dict[str, list[int]] = {}
    for index, placeholder in _placeholders(messages, indices):
        groups.setdefault(placeholder, []).append(index)
    expected = [
        Expected(_prompt_after_placeholder(chosen, text, listed), tuple(group), proven=tail.by_role)
        for text, group in groups.items()
    ]
    if not tail.heeds_content or tail.by_role:
        return expected
    return [part for group in expected for part in _by_what_is_said(chosen, messages, tools, group)]


def _by_what_is_said(chosen: Format, messages: Dicts, tools: Dicts | None, group: Expected) -> Iterator[Expected]:
    """Split a group whose prompts may depend on the last messages' content.

    Each prompt is rendered after these messages.
    """
    same: list[int] = []
    listed, prompt = json.dumps(tools), "" if group.prompt is None else group.prompt.text
    for index, kept in _recent_places(messages, group.indices):
        recent = [messages[place] for place in kept] or LONE_USER
        if prompt and _asks_with(chosen, recent, listed, prompt):
            same.append(index)
        else:
            yield Expected(_prompt_after(chosen, recent, _TURN, tools), (index,))
    if same:
        yield Expected(group.prompt, tuple(same))


def _asks_with(chosen: Format, messages: Dicts, tools: str, prompt: str) -> bool:
    """Return whether the template asks for a turn after these messages with this prompt."""
    said = json.dumps(messages)
    if len(said) <= _LONGEST_KEPT:
        return _asks_with_after(chosen, said, tools, prompt)
    return _ends_with(_asked(chosen, messages, json.loads(tools)), prompt)


@lru_cache(maxsize=512)
def _asks_with_after(chosen: Format, messages: str, tools: str, prompt: str) -> bool:
    """Return the same for short messages, given as JSON. Keeps the last 512."""
    return _ends_with(_asked(chosen, json.loads(messages), json.loads(tools)), prompt)


def _ends_with(asked: str | None, prompt: str) -> bool:
    return asked is not None and asked.endswith(prompt)


def _asked(chosen: Format, messages: Dicts, tools: Dicts | None) -> str | None:
    try:
        return text_of(chosen, messages, tools, add_generation_prompt=True)
    except TemplateError:
        return None


def text_before(chosen: Format, messages: Dicts, tools: Dicts | None, index: int) -> str | None:
    """Return the whole prompt that a sampler would have been given for message `index`. None: it cannot be rendered."""
    return _asked(chosen, messages[:index], tools)


@lru_cache(maxsize=64)
def _independent(chosen: Format, tools: str) -> Prompt | None:
    """Return the prompt of a template that gives the same after any messages. Keeps the last 64."""
    return _asked_for(chosen, LONE_USER, json.loads(tools))


def _asked_for(chosen: Format, messages: Dicts, tools: Dicts | None) -> Prompt | None:
    """Return the prompt that a template with an independent tail writes after these messages."""
    try:
        asked = untraced_of(chosen, messages, tools, add_generation_prompt=True)
        silent = untraced_of(chosen, messages, tools, add_generation_prompt=False)
    except TemplateError:
        return None
    prompt, closing = asked.text[asked.tail :], silent.text[silent.tail :]
    return Prompt(prompt, len(closing) if prompt.startswith(closing) else 0)


def exact_prompt(chosen: Format, messages: Dicts, tools: Dicts | None, index: int) -> Prompt:
    """Render everything before message `index` for its prompt. Where that fails, render a lone user message."""
    turn = messages[index] if index < len(messages) else _TURN
    prompt = _prompt_after(chosen, messages[:index], turn, tools) or _prompt_after(chosen, LONE_USER, _TURN, tools)
    return Prompt("") if prompt is None else prompt


@lru_cache(maxsize=512)
def _prompt_after_placeholder(chosen: Format, placeholder: str, tools: str) -> Prompt | None:
    """Return the prompt after placeholders for messages, given as JSON. Keeps the last 512."""
    return _prompt_after(chosen, json.loads(placeholder), _TURN, json.loads(tools))


def _prompt_after(chosen: Format, before: Dicts, turn: Mapping[str, Any], tools: Dicts | None) -> Prompt | None:
    """Return the text that the template adds after messages when it is asked for a turn."""
    before = before or LONE_USER
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
    """Return the text before the last message's turn, or None where that message has none."""
    try:
        written = written_of(chosen, messages, tools, add_generation_prompt=False)
    except TemplateError:
        return None
    start = start_of_turn(written, len(messages) - 1)
    return None if start is None else written.text[:start]


def start_of_turn(written: Written, message: int) -> int | None:
    """Return the character at which a message's turn starts."""
    position = 0
    for length, _, place in written.runs:
        if place is not None and place.message == message:
            return position
        position += length
    return None


def _placeholders(messages: Dicts, indices: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield each of these messages with placeholders for the earlier messages that matter, as JSON."""
    shapes = [_shape(message) for message in messages]
    written: dict[tuple[object, ...], str] = {}
    for index, kept in _recent_places(messages, indices):
        key = tuple(shapes[place] for place in kept)
        if key not in written:
            numbers: dict[object, str] = {}
            written[key] = json.dumps([_short(messages[place], numbers) for place in kept])
        yield index, written[key]


def _recent_places(messages: Dicts, indices: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each of these messages with the positions of the earlier ones that matter, from the last user's on."""
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
    """Return the properties of a message that its placeholder keeps."""
    content = message.get("content")
    calls = message.get("tool_calls")
    if type(content) is str and not calls:
        return (message.get("role"), str, bool(content), (), (), tuple(message))
    parts: tuple[str, ...] = ()
    if isinstance(content, list):
        parts = tuple(str(part.get("type")) if isinstance(part, dict) else "" for part in content)
    kinds = tuple(type((call.get("function") or call).get("arguments")) for call in calls) if calls else ()
    return (message.get("role"), type(content), bool(content), parts, kinds, tuple(message))


def _short(message: Mapping[str, Any], numbers: dict[object, str]) -> dict[str, Any]:
    """Return a message without its content. `numbers` gives the ids of calls to their results."""
    shortened = dict(message)
    for key in ("reasoning_content", "thinking", "reasoning", "content", "name"):
        shortened.update({key: "x"} if isinstance(shortened.get(key), str) and shortened[key] else {})
    if isinstance(shortened.get("content"), list):
        shortened["content"] = [_short_part(part) for part in shortened["content"]]
    if shortened.get("tool_calls"):
        shortened["tool_calls"] = [_short_call(call, numbers) for call in shortened["tool_calls"]]
    if shortened.get("tool_call_id"):
        shortened["tool_call_id"] = numbers.setdefault(shortened["tool_call_id"], f"call{len(numbers):05d}")
    return shortened


def _short_part(part: object) -> object:
    if not isinstance(part, dict):
        return "x"
    return {key: "x" if isinstance(value, str) and key != "type" else value for key, value in part.items()}


def _short_call(call: Mapping[str, Any], numbers: dict[object, str]) -> dict[str, Any]:
    shortened = dict(call)
    if shortened.get("id"):
        shortened["id"] = numbers.setdefault(shortened["id"], f"call{len(numbers):05d}")
    if isinstance(shortened.get("function"), Mapping):
        return {**shortened, "function": _short_call(shortened["function"], numbers)}
    return {**shortened, "name": "x", "arguments": "{}" if isinstance(shortened.get("arguments"), str) else {}}
