"""The input of a template: the caller's data rebuilt from plain JSON types, its texts and numbers traced.

Containers are plain dicts and lists, as templates and JSON expect; where each comes from is kept by identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from isc.traced.origins import BODY, DATA, TOOLS, Kind, Origin, of_message
from isc.traced.strings import Traced, whole
from isc.types import AssistantMessage, BodyPart, Chat, MediaPart, Message, TextPart, ToolMessage

_REASONING: Final = ("reasoning_content", "thinking", "reasoning")
_REASONING_KEYS: Final = frozenset(_REASONING)
_METADATA: Final = frozenset(("name", "tool_call_id"))
_KNOWN: Final = frozenset((
    "role", "content", "name", "tool_call_id", "tool_calls", "reasoning_content", "thinking", "reasoning", "type",
    "text", "image", "image_url", "video", "video_url", "audio", "audio_url", "input_audio", "function", "arguments",
    "id", "index",
))  # fmt: skip

_TEXTS: Final = _KNOWN - _METADATA - {"role"}
"""Keys of a message under which a text is what it says."""


class TracedInt(int):
    """A number of a message's arguments."""

    _origin: Origin


class TracedFloat(float):
    """A number of a message's arguments."""

    _origin: Origin


class TracedBool(int):
    """True or false of a message's arguments; `bool` cannot be derived from."""

    _origin: Origin

    def __repr__(self) -> str:
        return repr(bool(self))

    __str__ = __repr__


class TracedNone:
    """None of a message's arguments."""

    _origin: Origin

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, TracedNone)

    def __hash__(self) -> int:
        return hash(None)

    def __repr__(self) -> str:
        return "None"


Scalar: TypeAlias = TracedInt | TracedFloat | TracedBool | TracedNone
SCALARS: Final = (TracedInt, TracedFloat, TracedBool, TracedNone)


def scalar(value: int | float | None, origin: Origin) -> Scalar:
    """Return a number, truth value or None with its origin."""
    value_with_origin: Scalar
    if value is None:
        value_with_origin = TracedNone()
    elif isinstance(value, bool):
        value_with_origin = TracedBool(value)
    else:
        value_with_origin = TracedInt(value) if isinstance(value, int) else TracedFloat(value)
    value_with_origin._origin = origin
    return value_with_origin


def untraced(value: object) -> object:
    """Return a value as plain JSON types."""
    if isinstance(value, TracedBool):
        return bool(value)
    if isinstance(value, TracedNone):
        return None
    if isinstance(value, Traced):
        return str.__str__(value)
    if isinstance(value, dict):
        return {untraced(key): untraced(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [untraced(item) for item in value]
    return value


class Container(NamedTuple):
    """A container of the caller's: where it comes from, and its untraced original."""

    value: object
    origin: Origin
    original: object


def plain_data(value: Any) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Rebuild a value from plain JSON types, as `apply_chat_template` does. Anything else becomes its type's name."""
    kind = type(value)
    if kind is str or value is None or kind in (int, float, bool):
        return value
    if kind is dict:
        return {plain_data(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {plain_data(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return f"<{type(value).__name__}>"


def template_messages(messages: Sequence[Message | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the dicts that `apply_chat_template` hands to a template: dicts as they are, records spelled out."""
    return [
        _with_reasoning(dict(message) if _is_flat(message) else plain_data(_as_mapping(message)))
        for message in messages
    ]


def _is_flat(message: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a message is a dict of plain texts, as most are.

    Its copy holds nothing that a caller could change.
    """
    if type(message) is not dict:
        return False
    for key, value in message.items():  # noqa: SIM110 - a generator would take longer than the loop itself
        if type(key) is not str or type(value) is not str:
            return False
    return True


def _as_mapping(message: Message | Mapping[str, Any]) -> Mapping[str, Any]:
    return message if isinstance(message, Mapping) else _as_dict(message)


def chat_messages(chat: Chat, *, null_content: bool = False) -> list[dict[str, Any]]:
    """Return the messages of a chat. Content that is None is left out, or null."""
    dicts = template_messages(chat.messages)
    if null_content:
        for position, message in enumerate(dicts):
            if "content" not in message:
                dicts[position] = {"role": message["role"], "content": None, **message}
    return dicts


def _as_dict(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.__struct_config__.tag}
    if message.content is not None:
        content = message.content
        fields["content"] = content if isinstance(content, str) else [_part(part) for part in content]
    if message.name is not None:
        fields["name"] = message.name
    if isinstance(message, AssistantMessage):
        if message.reasoning_content is not None:
            fields["reasoning_content"] = message.reasoning_content
        if message.tool_calls:
            fields["tool_calls"] = [
                {
                    **({"id": call.id} if call.id is not None else {}),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
    elif isinstance(message, ToolMessage) and message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return {**fields, **message.extra}


def _part(part: TextPart | MediaPart) -> Mapping[str, Any]:
    return {"type": "text", "text": part.text} if isinstance(part, TextPart) else part.raw


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Put reasoning under the names that templates read."""
    if _REASONING_KEYS.isdisjoint(message):
        return message
    reasoning = next((message[key] for key in _REASONING if message.get(key) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


class Inputs:
    """The variables of one render and, by identity, what their containers are and whose."""

    def __init__(self) -> None:
        self.containers: dict[int, Container] = {}
        self.owners: dict[int, int] = {}
        self._alive: list[object] = []

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
        """Trace the messages."""
        return [self._message(index, message) for index, message in enumerate(messages)]

    def tools(self, tools: Sequence[object] | str | None) -> object:
        """Trace tool schemas, or the text that a tokenizer made of them."""
        return None if tools is None else self.data(tools, TOOLS)

    def data(self, value: object, origin: Origin = DATA, *, scalars: bool = False) -> object:
        """Trace any JSON value as caller data of one origin."""
        if type(value) is str:
            return whole(value, origin)
        if type(value) is dict:
            items_by_key = {whole(key, origin): self.data(item, origin, scalars=scalars) for key, item in value.items()}
            return self._kept(items_by_key, origin, value)
        if type(value) in (list, tuple):
            items = [self.data(item, origin, scalars=scalars) for item in value]  # type: ignore[attr-defined]
            return self._kept(items if type(value) is list else tuple(items), origin, value)
        if scalars and (value is None or isinstance(value, (int, float))):
            return scalar(value, origin)
        return value

    def _kept(self, value: object, origin: Origin, original: object) -> object:
        self.containers[id(value)] = Container(value, origin, original)
        if origin.kind is Kind.BODY:
            self.owners[id(value)] = origin.message
        return value

    def _message(self, index: int, message: Mapping[str, Any]) -> dict[str, object]:
        said: BodyPart = "tool_result" if message.get("role") == "tool" else "content"
        body = of_message(BODY, index, said)
        thought = of_message(BODY, index, "reasoning")
        fields: dict[str, object] = {}
        new_text = str.__new__  # `traced`, without a call: most of what a message holds comes by here
        for key, value in message.items():
            if key == "role":
                fields[key] = value
            elif type(value) is str and key in _TEXTS:
                fields[key] = text = new_text(Traced, value)
                text._runs = ((len(value), thought if key in _REASONING_KEYS else body, None),) if value else ()
            elif key in _METADATA:
                fields[key] = self.data(value)
            elif key == "content" and isinstance(value, list):
                fields[key] = self._kept([self._content_part(part, body) for part in value], body, value)
            elif key == "tool_calls" and isinstance(value, list):
                calls = of_message(BODY, index, "tool_call")
                fields[key] = self._kept([self._call(call, calls) for call in value], calls, value)
            else:
                fields[key if key in _KNOWN else whole(key, body)] = self.data(value, body)
        self.owners[id(fields)] = index
        self._alive.append(fields)
        return fields

    def _content_part(self, part: object, body: Origin) -> object:
        if not isinstance(part, dict):
            return self.data(part, body)
        if part.get("type") == "thinking":
            body = of_message(BODY, body.message, "reasoning")
        fields = {key if key in _KNOWN else whole(key, body): self.data(item, body) for key, item in part.items()}
        if "type" in part:
            fields["type"] = part["type"]
        return self._kept(fields, body, part)

    def _call(self, call: object, body: Origin) -> object:
        if not isinstance(call, dict):
            return self.data(call, body)
        name = of_message(Kind.NAME, body.message, "tool_name")
        arguments = of_message(BODY, body.message, "tool_arguments")
        fields: dict[str, object] = {}
        for key, value in call.items():
            if key == "function":
                fields[key] = self._call(value, body)
            elif key == "type" and value == "function":
                fields[key] = value
            elif key in ("name", "id"):
                fields[key] = self.data(value, name)
            elif key == "arguments":
                fields[key] = self.data(value, arguments, scalars=True)
            else:
                fields[key if key in _KNOWN else whole(key, body)] = self.data(value, body, scalars=True)
        return self._kept(fields, body, call)
