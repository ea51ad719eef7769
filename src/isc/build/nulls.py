"""Keys that are null in arguments and tools: Arrow gives every row the keys of all rows, and null for the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from isc.build.conversations import Conversation


def null_keys(read: Conversation) -> dict[str, int]:
    """Count the keys that are null inside arguments of calls, and inside tools.

    Arguments that are a text were written so by somebody, and are left as they are.

    >>> null_keys(Conversation([], [{"name": "f", "parameters": {"enum": None}}]))
    {'tools': 1}
    """
    arguments = sum(_count(call.get("arguments")) for message in read.messages for call in _calls(message))
    counts = {"arguments": arguments, "tools": _count(read.tools)}
    return {name: count for name, count in counts.items() if count}


def without_nulls(read: Conversation) -> Conversation:
    """Return a conversation without the keys that `null_keys` counts.

    >>> without_nulls(Conversation([], [{"name": "f", "parameters": {"enum": None}}])).tools
    [{'name': 'f', 'parameters': {}}]
    """
    messages = [_called_without(message) for message in read.messages]
    return msgspec.structs.replace(read, messages=messages, tools=_without(read.tools))


def _calls(message: object) -> Iterator[Mapping[str, Any]]:
    """Yield what holds the name and the arguments of each call."""
    if not isinstance(message, Mapping):
        return
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, Mapping):
            function = call.get("function")
            yield function if isinstance(function, Mapping) else call
    if isinstance(message.get("function_call"), Mapping):
        yield message["function_call"]


def _count(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(1 if item is None else _count(item) for item in value.values())
    return sum(map(_count, value)) if isinstance(value, list) else 0


def _without(value: Any) -> Any:  # noqa: ANN401 - what was read of a file
    if isinstance(value, Mapping):
        return {key: _without(item) for key, item in value.items() if item is not None}
    return list(map(_without, value)) if isinstance(value, list) else value


def _called_without(message: Any) -> Any:  # noqa: ANN401 - what was read of a file
    if not any(_count(call.get("arguments")) for call in _calls(message)):
        return message
    changed = dict(message)
    if isinstance(changed.get("tool_calls"), list):
        changed["tool_calls"] = [_call_without(call) for call in changed["tool_calls"]]
    if isinstance(changed.get("function_call"), Mapping):
        changed["function_call"] = _call_without(changed["function_call"])
    return changed


def _call_without(call: Any) -> Any:  # noqa: ANN401 - what was read of a file
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _call_without(call["function"])}
    return {**call, "arguments": _without(call["arguments"])} if "arguments" in call else call
