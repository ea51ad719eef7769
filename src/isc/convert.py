"""The edge: OpenAI dicts become frozen records once, checked, with the path of whatever is wrong.

After this nothing has to be checked again: text is valid Unicode, arguments are JSON objects, roles and ids are known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, get_args

from msgspec import UNSET, Struct
from msgspec.structs import asdict

from isc.errors import ConversationError
from isc.types import (
    AssistantMessage,
    Chat,
    Content,
    DeveloperMessage,
    MediaPart,
    Message,
    Part,
    Role,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Messages: TypeAlias = "Iterable[Message | Mapping[str, Any]]"
Tools: TypeAlias = "Iterable[ToolSpec | Mapping[str, Any]] | None"
_Found = TypeVar("_Found")

_PLAIN: dict[str, type[SystemMessage] | type[DeveloperMessage] | type[UserMessage]] = {
    "system": SystemMessage,
    "developer": DeveloperMessage,
    "user": UserMessage,
}
_COMMON = frozenset(("role", "content", "name"))
_ASSISTANT = _COMMON | {"reasoning_content", "reasoning", "tool_calls"}
_TOOL = _COMMON | {"tool_call_id"}
_MEDIA = {"image": "image", "image_url": "image", "video": "video", "video_url": "video", "audio": "audio"}


def chat(messages: Messages, tools: Tools = None, *, complete: bool = True) -> Chat:
    """Messages and tools as one checked `Chat`.

    Args:
        messages: Message records or OpenAI dicts, in order; at least one.
        tools: Tool specs, wrapped in `{"type": "function", "function": ...}` or bare.
        complete: Whether the conversation starts here; when it goes on from elsewhere (a bridge), tool results may
            answer calls that are not in it.

    Returns:
        The frozen chat.

    Raises:
        ConversationError: Something cannot be rendered; `path` says where, e.g. `messages[3].tool_calls[0]`.

    >>> chat([{"role": "user", "content": "hi"}]).messages[0].content
    'hi'
    """
    if isinstance(messages, (str, bytes, Mapping)):
        raise ConversationError("messages", "must be a list of messages", messages)
    found = tuple(_message(value, f"messages[{index}]") for index, value in enumerate(messages))
    if not found:
        raise ConversationError("messages", "an empty conversation cannot be rendered; pass at least one message")
    if complete:
        _check_tool_results(found)
    return Chat(found, tool_specs(tools))


def tool_specs(tools: Tools) -> tuple[ToolSpec, ...]:
    """Tool specs as records, a bare function wrapped."""
    if tools is None:
        return ()
    if isinstance(tools, (str, bytes, Mapping)):
        raise ConversationError("tools", "must be a list of tools", tools)
    return tuple(_tool(value, f"tools[{index}]") for index, value in enumerate(tools))


def tool_names(messages: Sequence[Message]) -> tuple[str | None, ...]:
    """For each message, the name of the tool whose result it is: by call id, else by its own name, else None."""
    names: dict[str, str] = {}
    found: list[str | None] = []
    for message in messages:
        if isinstance(message, AssistantMessage):
            names.update((call.id, call.name) for call in message.tool_calls if call.id is not None)
        if isinstance(message, ToolMessage):
            found.append(names.get(message.tool_call_id or "", message.name))
        else:
            found.append(None)
    return tuple(found)


def _check_tool_results(messages: Sequence[Message]) -> None:
    """Every tool result that names a call names one that was made before."""
    known: set[str] = set()
    for index, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            known.update(call.id for call in message.tool_calls if call.id is not None)
        elif isinstance(message, ToolMessage) and message.tool_call_id not in (None, *known):
            problem = f"answers no call of an earlier assistant message; known ids: {sorted(known) or 'none'}"
            raise ConversationError(f"messages[{index}].tool_call_id", problem, message.tool_call_id)


def _message(value: Any, path: str) -> Message:
    if isinstance(value, Struct):
        if not isinstance(value, (SystemMessage, DeveloperMessage, UserMessage, AssistantMessage, ToolMessage)):
            raise ConversationError(path, "must be a message", value)
        value = {"role": value.__struct_config__.tag, **asdict(value), **value.extra}
        value.pop("extra")
    if not isinstance(value, Mapping):
        raise ConversationError(path, "must be a message: a dict with 'role' and 'content'", value)
    role = value.get("role")
    content = value.get("content")
    if content is not None:
        content = _text(content, path, "content") if isinstance(content, str) else _parts(content, f"{path}.content")
    name = _optional(value, "name", path)
    if role == "assistant":
        reasoning = _optional(value, "reasoning_content", path)
        if reasoning is None:
            reasoning = _optional(value, "reasoning", path)
        return AssistantMessage(content, name, _extra(value, _ASSISTANT, path), reasoning, _tool_calls(value, path))
    if role == "tool":
        return ToolMessage(content, name, _extra(value, _TOOL, path), _optional(value, "tool_call_id", path))
    if isinstance(role, str) and role in _PLAIN:
        return _PLAIN[role](content, name, _extra(value, _COMMON, path))
    raise ConversationError(f"{path}.role", f"must be one of {', '.join(get_args(Role))}", _given(role))


def _extra(value: Mapping[str, Any], known: frozenset[str], path: str) -> Mapping[str, Any]:
    """Keys that isc itself does not use, for templates that do."""
    if value.keys() <= known:
        return {}
    return {
        key: json_value(item, f"{path}.{key}") for key, item in value.items() if key not in known and item is not None
    }


def _text(value: str, path: str, key: str) -> str:
    """A text that has a UTF-8 form."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            place = error.start
            problem = f"holds a lone surrogate at character {place}; replace it (it has no UTF-8 form)"
            raise ConversationError(f"{path}.{key}", problem, value[max(0, place - 10) : place + 10]) from None
    return value


def _optional(value: Mapping[str, Any], key: str, path: str) -> str | None:
    found = value.get(key)
    if found is None:
        return None
    if not isinstance(found, str):
        raise ConversationError(f"{path}.{key}", "must be a string", found)
    return _text(found, path, key)


def _required(value: Mapping[str, Any], key: str, path: str) -> str:
    found = _optional(value, key, path)
    if not found:
        raise ConversationError(f"{path}.{key}", "is missing or empty; it must be a non-empty string", found)
    return found


def _parts(value: Any, path: str) -> Content:
    if not isinstance(value, (list, tuple)):
        raise ConversationError(path, "must be a string, a list of parts or None", value)
    return tuple(_part(part, f"{path}[{index}]") for index, part in enumerate(value))


def _part(value: Any, path: str) -> Part:
    if isinstance(value, TextPart):
        return TextPart(_text(value.text, path, "text"))
    if isinstance(value, MediaPart):
        return value
    if isinstance(value, str):
        return TextPart(_text(value, path, "text"))
    if not isinstance(value, Mapping):
        raise ConversationError(path, "must be a part: a dict with 'type'", value)
    kind = value.get("type", "text" if "text" in value else None)
    if kind == "text":
        text = value.get("text")
        if not isinstance(text, str):
            raise ConversationError(f"{path}.text", "must be a string", text)
        return TextPart(_text(text, path, "text"))
    if kind in _MEDIA:
        return MediaPart(_MEDIA[kind], dict(value))
    raise ConversationError(f"{path}.type", f"must be text or one of {', '.join(_MEDIA)}", kind)


def _tool_calls(value: Mapping[str, Any], path: str) -> tuple[ToolCall, ...]:
    calls = value.get("tool_calls")
    if not calls:
        return ()
    if not isinstance(calls, (list, tuple)):
        raise ConversationError(f"{path}.tool_calls", "must be a list of tool calls", calls)
    return tuple(_tool_call(call, f"{path}.tool_calls[{index}]") for index, call in enumerate(calls))


def _tool_call(value: Any, path: str) -> ToolCall:
    if isinstance(value, ToolCall):
        value = {"id": value.id, "name": value.name, "arguments": value.arguments}
    if not isinstance(value, Mapping):
        raise ConversationError(path, "must be a tool call: a dict with 'function'", value)
    function = value.get("function", value)
    place = path if function is value else f"{path}.function"
    if not isinstance(function, Mapping):
        raise ConversationError(place, "must be an object with 'name' and 'arguments'", function)
    name = _required(function, "name", place)
    return ToolCall(name, _arguments(function.get("arguments"), f"{place}.arguments"), _optional(value, "id", path))


def _arguments(value: Any, path: str) -> str | Mapping[str, Any]:
    if isinstance(value, str):
        _text(value, path.removesuffix(".arguments"), "arguments")
        parsed = _guarded(lambda: json.loads(value, parse_constant=_refuse_constant), value, path)
        if not isinstance(parsed, dict):
            raise ConversationError(path, "must be the JSON text of an object", value)
        return value
    if not isinstance(value, Mapping):
        raise ConversationError(
            path, "must be an object or the JSON text of one ({} for no arguments)", UNSET if value is None else value
        )
    json_value(value, path)
    return value


def _tool(value: Any, path: str) -> ToolSpec:
    schema = value.schema if isinstance(value, ToolSpec) else value
    if not isinstance(schema, Mapping):
        raise ConversationError(path, "must be a tool: a dict with 'function', or with 'name' and 'parameters'", value)
    if "function" not in schema and "name" in schema:
        bare = {key: item for key, item in schema.items() if key != "type"}
        schema = {"type": "function", "function": bare}
    function = schema.get("function")
    if not isinstance(function, Mapping):
        raise ConversationError(f"{path}.function", "must be an object with 'name'", function)
    _required(function, "name", f"{path}.function")
    json_value(schema, path)
    return ToolSpec(schema)


def json_value(value: Any, path: str) -> Any:
    """The value, if it has a JSON form that UTF-8 can hold; otherwise an error at the innermost path."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        _locate(value, path, 0)
        raise ConversationError(path, f"has no JSON form: {error}", value) from None
    return value


_DEEPEST_PATH = 64


def _locate(value: Any, path: str, depth: int) -> None:
    """Raise for the innermost item that has no JSON form, if one is found."""
    children: Iterable[tuple[str, Any]] = ()
    if depth > _DEEPEST_PATH:
        raise ConversationError(path, "is nested too deeply to be JSON")
    if isinstance(value, Mapping):
        children = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, str):
        _text(value, *path.rpartition(".")[::2])
    else:
        _guarded(lambda: json.dumps(value, allow_nan=False), value, path)
    for place, item in children:
        _locate(item, place, depth + 1)


def _given(value: object) -> object:
    """The value as an error shows it: also where it is None, or missing."""
    return UNSET if value is None else value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _guarded(work: Callable[[], _Found], value: object, path: str) -> _Found:
    try:
        return work()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConversationError(path, f"is not JSON: {error}", value) from None
