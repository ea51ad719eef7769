"""The forms in which rows of files hold a conversation: one table says which keys each has, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from isc.build.conversations import Conversation, InputError, decoded, listed
from isc.conversation.flags import FLAGS
from isc.errors import shown

Form: TypeAlias = Literal["messages", "prompt-completion", "sharegpt", "alpaca"]
"""How a row holds a conversation; `docs/build.md` describes each."""

InputRow: TypeAlias = bytes | Mapping[str, Any] | list[Any]
"""A row of a file: JSON, or its value."""

_MASKS = frozenset((*FLAGS, "message_loss_mask"))
_SPEAKERS: Final[Mapping[str, str]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "developer": "developer",
    "observation": "tool",
    "tool": "tool",
    "function_response": "tool",
}
"""Who speaks in ShareGPT's files, and the role it is. `function_call` is an assistant that calls."""


def conversation(row: InputRow, form: Form = "messages") -> Conversation:
    r"""Read the conversation in one row.

    Args:
        row: UTF-8 JSON, or the value of it. A bare list of messages is a row too.
        form: How the row holds its conversation.

    Returns:
        What `Renderer.render` and `build_training_sample` take.

    Raises:
        InputError: Not JSON, or not of that form.

    >>> conversation(b'[{"role": "user", "content": "hi"}]').messages[0]["content"]
    'hi'
    >>> conversation({"instruction": "Add.", "input": "1 2", "output": "3"}, "alpaca").messages[0]["content"]
    'Add.\n1 2'
    """
    value = decoded(row) if isinstance(row, bytes) else row
    if isinstance(value, list):
        if value and isinstance(value[0], Mapping) and form_of(value[0]):
            raise InputError("this is a list of conversations; write one a line instead (jq -c '.[]')")
        value = {KEYS[form][0]: value}
    if not isinstance(value, Mapping) or any(key not in value for key in KEYS[form]):
        raise InputError(f"{_SHAPES[form]} (got {shown(value)}{_other(value)})")
    messages, prompt = _READERS[form](value)
    fields = {name: field for name, field in value.items() if name not in _READ[form]}
    untrained = frozenset(range(prompt))
    return Conversation(_with_row_flags(messages, value), listed(value, "tools"), fields, untrained)


def form_of(row: object) -> Form | None:
    """Return the form that a row's keys tell, or None where they tell none.

    >>> form_of({"conversations": [], "id": 1}), form_of({"text": "hi"}), form_of([{"role": "user"}])
    ('sharegpt', None, 'messages')
    """
    if isinstance(row, list):
        first = row[0] if row and isinstance(row[0], Mapping) else {}
        return "messages" if "role" in first else "sharegpt" if "from" in first else None
    if not isinstance(row, Mapping):
        return None
    return next((form for form, keys in KEYS.items() if all(key in row for key in keys)), None)


def unknown_form(rows: Sequence[object]) -> str:
    """Return what is wrong with rows of no known form: their keys, and what to give."""
    keys = dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row)
    found = f"rows have {', '.join(map(str, keys))}" if keys else f"a row is {shown(rows[0])}"
    return f"{found}: that is no conversation. {'; '.join(_SHAPES.values())}. Rename the columns, or pass --format"


def _other(value: object) -> str:
    form = form_of(value)
    return f"; that is the form {form}: pass --format {form}, or keep such rows in a file of their own" if form else ""


def _with_row_flags(messages: list[Any], row: Mapping[str, Any]) -> list[Any]:
    """Return messages with the flags that their row has for each of them.

    Raises:
        InputError: A flag says no of a whole row, or is a list of another length: no message holds that.
    """
    for key in _MASKS & row.keys():
        value = row[key]
        if isinstance(value, list) and len(value) == len(messages) and "messages" in row:
            name = key if key in FLAGS else "loss"
            pairs = zip(messages, value, strict=True)
            messages = [{**message, name: flag} if isinstance(message, Mapping) else message for message, flag in pairs]
        elif isinstance(value, list) or (isinstance(value, (bool, int, float)) and not value):
            problem = "leave the row out, or give messages with the flag on those that are not trained on"
            raise InputError(f"{key} = {shown(value)} stands at the row, where no message holds it: {problem}")
    return messages


def _messages(row: Mapping[str, Any]) -> tuple[list[Any], int]:
    return listed(row, "messages") or [], 0


def _prompt_completion(row: Mapping[str, Any]) -> tuple[list[Any], int]:
    """Read a prompt and what was answered. Only the completion is trained on, so the prompt's messages are counted."""
    prompt = _said(row, "prompt", "user")
    return [*prompt, *_said(row, "completion", "assistant")], len(prompt)


def _said(row: Mapping[str, Any], key: str, role: str) -> list[Any]:
    """Return the messages under a key, or the one that a text is."""
    value = row[key]
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list):
        raise InputError(f"{key} must be a text or a list of messages (got {shown(value)})")
    return value


def _sharegpt(row: Mapping[str, Any]) -> tuple[list[Any], int]:
    turns = listed(row, "conversations") or []
    messages = [_turn(turn, f"conversations[{index}]") for index, turn in enumerate(turns)]
    return [*_system(row, messages), *messages], 0


def _turn(turn: object, place: str) -> object:
    """Return a turn as a message. One that has a role is a message already."""
    if not isinstance(turn, Mapping) or "from" not in turn:
        if isinstance(turn, Mapping) and "role" in turn:
            return turn
        raise InputError(f'{place} must be {{"from": ..., "value": ...}} (got {shown(turn)})')
    speaker, value = turn["from"], turn.get("value")
    rest = {key: item for key, item in turn.items() if key not in ("from", "value")}
    if speaker == "function_call":
        return {**rest, "role": "assistant", "content": None, "tool_calls": _calls(value, f"{place}.value")}
    role = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise InputError(f"{place}.from must be one of {', '.join(_SPEAKERS)}, function_call (got {shown(speaker)})")
    return {**rest, "role": role, "content": value}


def _calls(value: object, place: str) -> list[dict[str, Any]]:
    """Return the calls that a text or a value of `name` and `arguments` tells."""
    try:
        said = decoded(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else value
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    calls: list[Any] = said if isinstance(said, list) else [said]
    for call in calls:
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
            raise InputError(f'{place} must be {{"name": ..., "arguments": ...}} or a list of them (got {shown(said)})')
    functions = [{"name": call["name"], "arguments": call.get("arguments")} for call in calls]
    return [{"type": "function", "function": function} for function in functions]


def _system(row: Mapping[str, Any], messages: Sequence[object] = ()) -> list[Any]:
    """Return the system message that a row has beside its turns, as a list of one or none."""
    system = row.get("system")
    if system in (None, ""):
        return []
    if messages and isinstance(messages[0], Mapping) and messages[0].get("role") == "system":
        raise InputError("system stands at the row and in the first turn; keep one of them")
    return [{"role": "system", "content": system}]


def _alpaca(row: Mapping[str, Any]) -> tuple[list[Any], int]:
    """Read an instruction and its output, after the turns that `history` has as pairs."""
    messages = _system(row)
    for index, pair in enumerate(listed(row, "history") or []):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise InputError(f"history[{index}] must be [instruction, output] (got {shown(pair)})")
        messages += _exchange(*pair)
    asked = "\n".join(_text(row, key) for key in ("instruction", "input") if row.get(key))
    return [*messages, *_exchange(asked, _text(row, "output"))], 0


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise InputError(f"{key} must be a text (got {shown(value)})")
    return value


def _exchange(asked: object, said: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


KEYS: Final[Mapping[Form, tuple[str, ...]]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt-completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
}
"""The keys that a row of each form has, in the order in which they are looked for."""

_READ: Final[Mapping[Form, frozenset[str]]] = {
    "messages": frozenset(("messages", "tools")),
    "sharegpt": frozenset(("conversations", "tools", "system")),
    "prompt-completion": frozenset(("prompt", "completion", "tools")),
    "alpaca": frozenset(("instruction", "input", "output", "history", "system", "tools")),
}

_SHAPES: Final[Mapping[Form, str]] = {
    "messages": 'a conversation is {"messages": [...], "tools": [...]} or a bare list of messages',
    "sharegpt": 'of ShareGPT, {"conversations": [{"from": ..., "value": ...}]}',
    "prompt-completion": 'a prompt is {"prompt": ..., "completion": ...}',
    "alpaca": 'of Alpaca, {"instruction": ..., "input": ..., "output": ...}',
}

_READERS: Final[Mapping[Form, Callable[[Mapping[str, Any]], tuple[list[Any], int]]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "prompt-completion": _prompt_completion,
    "alpaca": _alpaca,
}
