"""Conversations of one shape: every string a caller gives rewritten, whatever makes it a conversation kept.

Roles, types, JSON Schema keywords, blank strings, numbers and media stay. Equal strings become equal strings: a result
still answers its call, and a required argument is still one of the properties.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from zlib import crc32

from msgspec import Struct

from isc.formats.segments import specials_pattern

Conversation: TypeAlias = tuple[list[dict[str, Any]], list[dict[str, Any]] | None]
"""Messages and tools, as OpenAI dicts."""

Write: TypeAlias = Callable[[str], str]
"""What a caller's string becomes; blank ones are never asked for."""

_TOOL_KEYWORDS = "type function name description parameters strict properties required enum const default examples"
_SCHEMA_KEYWORDS = (
    "items prefixItems additionalProperties patternProperties propertyNames anyOf oneOf allOf not if then else "
    "$ref $defs definitions title format pattern minimum maximum minLength maxLength minItems maxItems nullable"
)
_KEYWORDS = frozenset((*_TOOL_KEYWORDS.split(), *_SCHEMA_KEYWORDS.split()))
_KEPT = frozenset(("type", "$ref", "$defs", "definitions"))
_NAMED = frozenset(("properties", "patternProperties"))
_VALUES = frozenset(("enum", "const", "default", "examples"))


def spelling(specials: Sequence[str], also: Sequence[str] = ()) -> Write:
    """Return a function that spells two specials in a string: one of `specials`, and one of either list.

    The string decides which.

    Half of the strings begin with a special. All end with a word: some templates leave out what a text ends with
    already (`/nothink`). Without specials a string stays as it is.

    >>> spelling(("<s>",))("hi")
    '<s>hi<s> b'
    """
    every = (*specials, *also)

    def write(text: str) -> str:
        if not specials:
            return text
        number = crc32(text.encode())
        first, second = specials[number // 2 % len(specials)], every[number // 7 % len(every)]
        return f"a {first}{text}{second} b" if number % 2 else f"{first}{text}{second} b"

    return write


def plain(specials: Sequence[str]) -> Write:
    """Return a function that puts a plain word in the place of every special in a string, a word of its own for each.

    >>> plain(("<s>", "</s>"))("<s>hi</s>")
    'word0hiword1'
    """
    pattern = specials_pattern(tuple(specials))
    words = {text: f"word{number}" for number, text in enumerate(specials)}
    return lambda text: pattern.sub(lambda match: words[match.group()], text)


class Writers(Struct, frozen=True):
    """What becomes of a caller's strings: of most, of an assistant's content, and of the ids of calls."""

    text: Write
    answer: Write
    identity: Write


def rewritten(conversation: Conversation, write: Write | Writers) -> Conversation:
    """Return the conversation with every string of its caller rewritten."""
    writers = write if isinstance(write, Writers) else Writers(write, write, write)
    messages, tools = conversation
    return (
        [_message(message, writers) for message in messages],
        None if tools is None else [_schema(tool, writers.text) for tool in tools],
    )


def _message(message: Mapping[str, Any], writers: Writers) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in message.items():
        if key == "content":
            fields[key] = _content(value, writers.answer if message.get("role") == "assistant" else writers.text)
        elif key == "tool_calls" and value is not None:
            fields[key] = [_call(call, writers) for call in value]
        elif key == "tool_call_id":
            fields[key] = _value(value, writers.identity)
        else:
            fields[key] = value if key == "role" else _value(value, writers.text)
    return fields


def _content(content: Any, write: Write) -> Any:  # noqa: ANN401 - a text, parts or None
    if not isinstance(content, list):
        return _value(content, write)
    return [{**part, "text": _value(part["text"], write)} if "text" in part else part for part in content]


def _call(call: Mapping[str, Any], writers: Writers) -> dict[str, Any]:
    identity = {"id": _value(call["id"], writers.identity)} if "id" in call else {}
    function = call.get("function", call)
    named = {**function, "name": _value(function.get("name"), writers.text), **_arguments(function, writers.text)}
    return {**call, "function": named, **identity} if "function" in call else {**named, **identity}


def _arguments(function: Mapping[str, Any], write: Write) -> dict[str, Any]:
    """Rewrite the arguments of a call. JSON text stays JSON text."""
    if "arguments" not in function:
        return {}
    arguments = function["arguments"]
    if isinstance(arguments, str):
        read = json.loads(arguments)
        written = _value(read, write)
        return {"arguments": arguments if written == read else json.dumps(written, ensure_ascii=arguments.isascii())}
    return {"arguments": _value(arguments, write)}


def _value(value: Any, write: Write) -> Any:  # noqa: ANN401 - any JSON value
    """Rewrite every string and key of a JSON value."""
    if isinstance(value, str):
        return write(value) if value.strip() else value
    if isinstance(value, list | tuple):
        return [_value(item, write) for item in value]
    if isinstance(value, Mapping):
        return {_value(key, write): _value(item, write) for key, item in value.items()}
    return value


def _schema(schema: Any, write: Write) -> Any:  # noqa: ANN401 - a tool's spec, or any part of one
    """Rewrite a tool's spec or a JSON Schema. Its keywords are kept, since only the rest is the caller's."""
    if isinstance(schema, list):
        return [_schema(item, write) for item in schema]
    if not isinstance(schema, Mapping):
        return _value(schema, write)
    fields: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _KEPT and not isinstance(value, Mapping):
            fields[key] = value
        elif key in _NAMED and isinstance(value, Mapping):
            fields[key] = {_value(name, write): _schema(item, write) for name, item in value.items()}
        else:
            written = key if key in _KEYWORDS else _value(key, write)
            fields[written] = _value(value, write) if key in _VALUES else _schema(value, write)
    return fields
