"""The edge: OpenAI dicts become frozen records once, checked, with the path of whatever is wrong.

After this nothing has to be checked again: text is valid Unicode, arguments are JSON objects, roles and ids are known.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar, get_args

from msgspec import UNSET, Struct, to_builtins
from msgspec.structs import asdict, replace

from isc._json import json_object_text, json_value, utf_8_text
from isc._options import checked
from isc.errors import ConversationError, UnreadKeyWarning
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Content,
    DeveloperMessage,
    InvalidArguments,
    MediaPart,
    Message,
    Part,
    ReminderMessage,
    Role,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Messages: TypeAlias = Iterable[Message | Mapping[str, Any]]
Tools: TypeAlias = Iterable[ToolSpec | Mapping[str, Any]] | None
_Converted = TypeVar("_Converted")

_PLAIN: dict[str, type[SystemMessage] | type[DeveloperMessage] | type[UserMessage] | type[ReminderMessage]] = {
    "system": SystemMessage,
    "developer": DeveloperMessage,
    "user": UserMessage,
    "latest_reminder": ReminderMessage,
}
_SAYING = {**_PLAIN, "assistant": AssistantMessage}
"""Roles whose messages may say nothing but a content."""
_COMMON = frozenset(("role", "content", "name"))
_ASSISTANT = _COMMON | {"reasoning_content", "reasoning", "tool_calls"}
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of parts that are text, and the key that holds it."""
_PARAMETERS = ("input_schema", "inputSchema")
"""What others call the parameters of a tool: Anthropic, the Model Context Protocol."""
_SAYS_NOTHING = frozenset(
    (
        *("id", "uuid", "type", "status", "object", "model", "created", "created_at", "timestamp", "date", "usage"),
        *("finish_reason", "stop_reason", "logprobs", "annotations", "metadata", "cache_control", "source", "label"),
    )
)
"""Keys that are about a message and never what it says: an empty message may have them."""
_TOOL = _COMMON | {"tool_call_id"}
_PLAIN_TYPES = frozenset((str, int, bool, type(None)))
_NO_ARGUMENTS = frozenset(("", "null"))
_PLAIN_BITS = 64  # longer integers may have too many digits to be written
_MEDIA = {"image": "image", "image_url": "image", "video": "video", "video_url": "video", "audio": "audio"}


def chat(
    messages: Messages,
    tools: Tools = None,
    *,
    complete: bool = True,
    name: str = "messages",
    invalid_arguments: InvalidArguments = "raise",
    reads_key: Callable[[str], bool] | None = None,
    extra_roles: Sequence[Role] = (),
) -> Chat:
    """Convert messages and tools into one checked `Chat`.

    Args:
        messages: Message records or OpenAI dicts, in order; at least one.
        tools: Tool specs, wrapped in `{"type": "function", "function": ...}` or bare.
        complete: Whether the conversation starts here; when it goes on from elsewhere (a bridge), tool results may
            answer calls that are not in it.
        name: What the messages are called in the paths of errors.
        invalid_arguments: What becomes of a call's arguments that are text but not the JSON text of an object:
            `"raise"` refuses them, `"raw"` keeps the text.
        reads_key: Whether the format reads a key of a message that isc itself does not; None for none.
        extra_roles: Roles that the format has turns for and most formats do not: `latest_reminder`.

    Returns:
        The frozen chat; nothing that the caller changes later reaches it. `unread_keys` counts the keys of messages
        that nothing reads, which an `UnreadKeyWarning` tells.

    Raises:
        OptionError: `invalid_arguments` is neither.
        ConversationError: Something cannot be rendered; `path` says where, e.g. `messages[3].tool_calls[0]`.

    >>> chat([{"role": "user", "content": "hi"}]).messages[0].content
    'hi'
    """
    if not _is_list(messages):
        raise ConversationError(name, "must be a list of messages", _given(messages))
    if invalid_arguments != "raise":
        checked("invalid_arguments", invalid_arguments, InvalidArguments)
    records = _each(messages, name, partial(_message, raw=True) if invalid_arguments == "raw" else _message)
    if not records:
        raise ConversationError(name, "an empty conversation cannot be rendered; pass at least one message")
    if complete:
        _check_tool_results(records)
    _check_roles(records, name, extra_roles)
    return Chat(records, tool_specs(tools), unread_keys=_unread_keys(records, name, reads_key))


def tool_specs(tools: Tools) -> tuple[ToolSpec, ...]:
    """Convert tool specs into records. A bare function is wrapped."""
    if tools is None:
        return ()
    if not _is_list(tools):
        raise ConversationError("tools", "must be a list of tools", tools)
    return _each(tools, "tools", _tool)


def _is_list(values: object) -> bool:
    """Return whether a value can hold many items: any iterable but texts and single objects."""
    plain = isinstance(values, (list, tuple))
    return plain or (isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)))


def _each(values: Iterable[Any], path: str, convert: Callable[[Any], _Converted]) -> tuple[_Converted, ...]:
    """Convert every value. The path of an error is completed here, so that no path is built where nothing is wrong."""
    converted: list[_Converted] = []
    try:
        converted.extend(map(convert, values))
    except ConversationError as error:
        raise error.within(f"{path}[{len(converted)}]") from None
    return tuple(converted)


def tool_names(messages: Sequence[Message]) -> tuple[str | None, ...]:
    """Return the tool name of each message that is a result: by call id, else its own name. None for other messages."""
    if ToolMessage not in set(map(type, messages)):
        return (None,) * len(messages)
    names: dict[str | None, str] = {}
    by_message: list[str | None] = []
    for message in messages:
        if type(message) is ToolMessage:
            by_message.append(names.get(message.tool_call_id or "", message.name))
            continue
        if type(message) is AssistantMessage:
            for call in message.tool_calls:
                names[call.id] = call.name
        by_message.append(None)
    return tuple(by_message)


def _check_tool_results(messages: Sequence[Message]) -> None:
    """Check that every tool result that names a call names an earlier one."""
    if ToolMessage not in set(map(type, messages)):
        return
    known: set[str | None] = {None}
    for index, message in enumerate(messages):
        if type(message) is AssistantMessage:
            for call in message.tool_calls:
                known.add(call.id)
        elif type(message) is ToolMessage and message.tool_call_id not in known:
            ids = sorted(identity for identity in known if identity is not None)
            problem = f"answers no call of an earlier assistant message; known ids: {ids or 'none'}"
            raise ConversationError(f"messages[{index}].tool_call_id", problem, message.tool_call_id)


def _check_roles(messages: Sequence[Message], name: str, extra: Sequence[Role]) -> None:
    """Refuse a message of a role that only some formats have a turn for."""
    if ReminderMessage not in set(map(type, messages)) or "latest_reminder" in extra:
        return
    index = next(index for index, message in enumerate(messages) if type(message) is ReminderMessage)
    raise _no_role("latest_reminder", extra).within(f"{name}[{index}]")


def _no_role(role: object, extra: Sequence[Role] = ()) -> ConversationError:
    known = [known for known in get_args(Role) if known != "latest_reminder" or known in extra]
    return ConversationError("role", f"must be one of {', '.join(known)}", role)


def _message(value: Any, *, raw: bool = False) -> Message:
    if not isinstance(value, dict):
        value = _message_fields(value)
    role = value.get("role")
    content = value.get("content")
    if len(value) == 2 and _is_simple(role, content):
        return _SAYING[role](content)
    if role == "assistant" and isinstance(content, (list, tuple)):
        value = _with_thoughts(value, content)
        content = value["content"]
    if not isinstance(content, str):
        content = None if content is None else _parts(content)
    elif not content.isascii():  # what is plain needs no look, and most messages are
        content = utf_8_text(content, "content")
    name = _optional(value, "name")
    if role == "assistant":
        return _assistant(value, content, name, raw=raw)
    if role == "function":  # what "tool" was called before there were ids
        return ToolMessage(content, name, _extra(value, _COMMON))
    if role == "tool":
        return ToolMessage(content, name, _extra(value, _TOOL), _optional(value, "tool_call_id"))
    if isinstance(role, str) and role in _PLAIN:
        return _PLAIN[role](content, name, _extra(value, _COMMON))
    raise _no_role(_given(role))


def _is_simple(role: Any, content: Any) -> bool:
    """Return whether a message that has nothing else needs no further look, as most do not."""
    return type(content) is str and type(role) is str and role in _SAYING and content.isascii()


def _assistant(value: Mapping[str, Any], content: Content, name: str | None, *, raw: bool) -> AssistantMessage:
    """Convert an assistant's message. Its content may stand under keys that others use, which stay in `extra` too."""
    if value.keys() <= _COMMON:  # most say nothing else
        return AssistantMessage(content, name)
    calls, reasoning = value.get("tool_calls"), _reasoning(value)
    called = _tool_calls(calls, raw=raw) if calls else ()
    if not calls and value.get("function_call"):
        called = (_function_call(value["function_call"], raw=raw),)
    if not content:
        content = _optional(value, "refusal") or content
    extra = _extra(value, _ASSISTANT)
    if value.get("reasoning") not in (None, "", reasoning):
        extra = {**extra, "reasoning": value["reasoning"]}
    return AssistantMessage(content, name, extra, reasoning, called)


def _reasoning(value: Mapping[str, Any]) -> str | None:
    """Return an assistant's reasoning, under the first of its names."""
    reasoning: str | None = None
    for key in _REASONING:
        if reasoning is None and key in value:
            reasoning = _optional(value, key)
    return _details_text(value.get("reasoning_details")) if reasoning is None else reasoning


def _details_text(details: Any) -> str | None:
    """Return the texts of reasoning details, or None where there are none."""
    if not isinstance(details, (list, tuple)):
        return None
    items = [item.get("text") for item in details if isinstance(item, Mapping)]
    texts = [utf_8_text(text, "reasoning_details") for text in items if isinstance(text, str)]
    return "".join(texts) if texts else None


def _function_call(value: Any, *, raw: bool) -> ToolCall:
    try:
        return _tool_call(value, raw=raw)
    except ConversationError as error:
        raise error.within("function_call") from None


def _with_thoughts(value: Mapping[str, Any], content: Sequence[Any]) -> Mapping[str, Any]:
    """Return an assistant's message with its thinking parts as reasoning."""
    parts = [_fields(part) or part for part in content]
    thoughts = [part for part in parts if isinstance(part, Mapping) and part.get("type") == "thinking"]
    if not thoughts:
        return value
    thought = "".join(map(_thought, thoughts))
    if value.get("reasoning_content") not in (None, "", thought):
        raise ConversationError("content", "has thinking parts, and reasoning_content says something else", thought)
    return {**value, "reasoning_content": thought, "content": [part for part in parts if part not in thoughts] or None}


def _thought(part: Mapping[str, Any]) -> str:
    thinking = part.get("thinking")
    if isinstance(thinking, (list, tuple)):  # Mistral's: a list of text parts
        return "".join(
            piece.text for piece in _each(thinking, "content.thinking", _part) if isinstance(piece, TextPart)
        )
    if not isinstance(thinking, str):
        raise ConversationError("content.thinking", "must be a string", _given(thinking))
    return utf_8_text(thinking, "content.thinking")


def _unread_keys(
    messages: Sequence[Message], name: str, reads_key: Callable[[str], bool] | None
) -> tuple[tuple[str, int], ...]:
    """Count the keys with a value that nothing reads, and warn once. Refuse an empty message with such a key."""
    counts: dict[str, int] = {}
    for index, message in [(index, message) for index, message in enumerate(messages) if message.extra]:
        unread = [key for key, item in message.extra.items() if _is_unread(message, key, item, reads_key)]
        words = [
            key for key in unread if key not in _SAYS_NOTHING and isinstance(message.extra[key], (str, list, dict))
        ]
        if words and _is_empty(message):
            keys = ", ".join(map(repr, words))
            problem = f"says nothing under a key that is read, but has {keys}; give its text as 'content'"
            raise ConversationError(f"{name}[{index}]", problem, message.extra[words[0]])
        counts.update((key, counts.get(key, 0) + 1) for key in unread)
    if counts:
        keys = ", ".join(map(repr, sorted(counts)))
        warnings.warn(f"{name} have keys that nothing reads: {keys}", UnreadKeyWarning, stacklevel=3)
    return tuple(counts.items())


def _is_unread(message: Message, key: str, item: Any, reads_key: Callable[[str], bool] | None) -> bool:
    """Return whether a key has a value that neither the format nor a synonym reads."""
    if item in ("", [], {}) or (reads_key is not None and reads_key(key)):
        return False
    if not isinstance(message, AssistantMessage):
        return True
    if key == "thinking":
        return bool(item != message.reasoning_content)
    if key == "reasoning_details":
        return _details_text(item) not in (None, message.reasoning_content)
    if key == "function_call":
        return [call.name for call in message.tool_calls] != [item.get("name") if isinstance(item, dict) else None]
    return key != "refusal" or bool(item != message.content)


def _is_empty(message: Message) -> bool:
    """Return whether a message has no content, reasoning or calls."""
    if isinstance(message, AssistantMessage) and (message.tool_calls or message.reasoning_content):
        return False
    return all(part == TextPart("") for part in message.content or ())  # of a text, no character is


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Return a mapping, or the dump of an SDK's object, or None for anything else."""
    if type(value) is dict or isinstance(value, Mapping):
        return value
    dump = None if isinstance(value, type) else getattr(value, "model_dump", None)
    dumped = dump() if callable(dump) else None
    return dumped if isinstance(dumped, Mapping) else None


def _no_mapping(problem: str, value: Any) -> ConversationError:
    """Return the error for a value that is no mapping. The error for an object of some package has a hint."""
    plain = value is None or isinstance(value, (str, bytes, int, float, list, tuple, set, Struct))
    hint = "" if plain else f"; an object of {type(value).__module__} is read by its model_dump(), or pass its dict"
    return ConversationError("", problem + hint, value)


def _message_fields(value: Any) -> Mapping[str, Any]:
    """Return a message record, or another mapping, as keys and values."""
    fields = _fields(value)
    if fields is not None:
        return fields
    if isinstance(value, Struct) and type(value) in ROLES:
        fields = asdict(value)
        return {**fields.pop("extra"), **fields, "role": ROLES[type(value)]}
    raise _no_mapping("must be a message: a dict with 'role' and 'content'", value)


def _extra(value: Mapping[str, Any], used: frozenset[str]) -> Mapping[str, Any]:
    """Return the keys that isc itself does not use, for templates that do."""
    if value.keys() <= used:
        return {}
    return {
        key: _copied(json_value(item, str(key))) for key, item in value.items() if key not in used and item is not None
    }


def _optional(value: Mapping[str, Any], key: str) -> str | None:
    text = value.get(key)
    if text is None:
        return None
    if not isinstance(text, str):
        raise ConversationError(key, "must be a string", text)
    return text if text.isascii() else utf_8_text(text, key)


def _required(value: Mapping[str, Any], key: str) -> str:
    text = _optional(value, key)
    if not text:
        raise ConversationError(key, "is missing or empty; it must be a non-empty string", _given(text))
    return text


def _parts(value: Any) -> Content:
    if not isinstance(value, (list, tuple)):
        raise ConversationError("content", "must be a string, a list of parts or None", value)
    return _each(value, "content", _part)


def _part(value: Any) -> Part:
    if isinstance(value, str):
        return TextPart(utf_8_text(value, ""))
    if isinstance(value, TextPart):
        return TextPart(utf_8_text(value.text, "text"))
    if isinstance(value, MediaPart):
        if not isinstance(value.raw, Mapping):
            raise ConversationError("raw", "must be the part as it was given, a dict", _given(value.raw))
        return replace(value, raw=_own_part(value.raw))
    fields = _fields(value)
    if fields is None:
        raise _no_mapping("must be a part: a dict with 'type'", value)
    value = fields
    kind = value.get("type", "text" if "text" in value else None)
    if isinstance(kind, str) and kind in _TEXTS:
        key = _TEXTS[kind]
        text = value.get(key)
        if not isinstance(text, str):
            raise ConversationError(key, "must be a string", _given(text))
        return TextPart(utf_8_text(text, key))
    if isinstance(kind, str) and kind in _MEDIA:
        return _media(_MEDIA[kind], value)
    raise ConversationError("type", f"must be text or one of {', '.join(_MEDIA)}", _given(kind))


def _media(modality: str, value: Mapping[str, Any]) -> MediaPart:
    """Convert a media part. A part with a hash and a size in pixels need not be read."""
    if any(value.get(key) is None for key in ("hash", "width", "height")):
        return MediaPart(modality, _own_part(value))
    width, height = value["width"], value["height"]
    for key, size in (("width", width), ("height", height)):
        if type(size) is not int or size <= 0:
            raise ConversationError(key, "must be a positive number of pixels", size)
    return MediaPart(modality, _own_part(value), _required(value, "hash"), _optional(value, "reference"), width, height)


def _own_part(value: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a media part as far as parts are nested. The items inside may be images, which are not copied."""
    return {key: dict(item) if isinstance(item, Mapping) else item for key, item in value.items()}


def _tool_calls(calls: Any, *, raw: bool) -> tuple[ToolCall, ...]:
    if not isinstance(calls, (list, tuple)):
        raise ConversationError("tool_calls", "must be a list of tool calls", calls)
    return _each(calls, "tool_calls", partial(_tool_call, raw=True) if raw else _tool_call)


def _tool_call(value: Any, *, raw: bool = False) -> ToolCall:
    if isinstance(value, ToolCall):
        value = {"id": value.id, "name": value.name, "arguments": value.arguments}
    fields = _fields(value)
    if fields is None:
        raise _no_mapping("must be a tool call: a dict with 'function'", value)
    value = fields
    identity = _optional(value, "id")
    function = _fields(value.get("function", value))
    if function is None:
        function = value["function"]
    if type(function) is not dict and not isinstance(function, Mapping):
        raise ConversationError("function", "must be an object with 'name' and 'arguments'", _given(function))
    try:
        return ToolCall(_required(function, "name"), _arguments(function.get("arguments"), raw=raw), identity)
    except ConversationError as error:
        raise (error if function is value else error.within("function")) from None


def _arguments(value: Any, *, raw: bool) -> str | Mapping[str, Any]:
    """Return arguments as text or as a new object. Nothing, an empty text and null are no arguments."""
    if type(value) is dict and _is_plain(value):
        return dict(value)
    if value is None or (isinstance(value, str) and value.strip() in _NO_ARGUMENTS):
        return {}
    if isinstance(value, str):
        return utf_8_text(value, "arguments") if raw else _object_text(value)
    if not isinstance(value, Mapping):
        problem = "must be an object or the JSON text of one ({} for no arguments)"
        raise ConversationError("arguments", problem, _given(value))
    return dict(value) if _is_plain(value) else _copied(json_value(value, "arguments"))


def _object_text(value: str) -> str:
    """Refuse a text that is not the JSON text of an object, and return the text."""
    hint = '; invalid_arguments="raw" keeps such a text as it stands'
    try:
        read = json_object_text(value, "arguments")
    except ConversationError as error:
        raise ConversationError(error.path, error.problem + hint, error.value) from None
    if not isinstance(read, dict):
        raise ConversationError("arguments", f"must be the JSON text of an object{hint}", value)
    return value


def _copied(value: Any) -> Any:
    """Copy JSON data, so that later changes of the caller's objects do not reach the copy."""
    return to_builtins(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Turn a value of a subclass, such as a text that carries its origin, into one of the class that JSON knows."""
    return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))


def _is_plain(value: Mapping[Any, Any]) -> bool:
    """Return whether an object is so simple that it is JSON without a trial."""
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            return False
        if type(item) not in _PLAIN_TYPES or (type(item) is str and not item.isascii()):
            return False
        if type(item) is int and item.bit_length() > _PLAIN_BITS:
            return False
    return True


def _tool(value: Any) -> ToolSpec:
    schema = value.schema if isinstance(value, ToolSpec) else value
    if not isinstance(schema, Mapping):
        schema = {key: item for key, item in (_fields(value) or {}).items() if item is not None}
    if not schema and not isinstance(value, Mapping):
        raise _no_mapping("must be a tool: a dict with 'function', or with 'name' and 'parameters'", value)
    bare = "function" not in schema and "name" in schema
    function = schema if bare else schema.get("function")
    if not isinstance(function, Mapping):
        raise ConversationError("function", "must be an object with 'name'", _given(function))
    try:
        _required(function, "name")
    except ConversationError as error:
        raise (error if bare else error.within("function")) from None
    copy = _copied(json_value(schema, ""))
    if bare:
        return ToolSpec({"type": "function", "function": _named_parameters(copy, left_out="type")})
    return ToolSpec({**copy, "function": _named_parameters(copy["function"])})


def _named_parameters(function: Mapping[str, Any], left_out: str = "") -> dict[str, Any]:
    """Return a function whose parameters are named `parameters`."""
    synonym = next((key for key in _PARAMETERS if key in function and "parameters" not in function), None)
    return {("parameters" if key == synonym else key): item for key, item in function.items() if key != left_out}


def _given(value: object) -> object:
    """Return the value as an error shows it, also where the value is None or missing."""
    return UNSET if value is None else value
