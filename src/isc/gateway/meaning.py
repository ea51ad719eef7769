"""What a message means, as a digest: the same however an agent writes the message again, and other for any other.

Left out of a digest is what agents drop or rewrite: reasoning, ids of calls (a result names its call by the number that
the call has in the conversation), the order of keys and the spelling of numbers in arguments, the split of a content
into parts, white space at the ends of a text, keys that the format does not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TypeAlias

import msgspec
from msgspec import Struct

from isc._json import decode_json, json_text
from isc.types import ROLES, Arguments, AssistantMessage, Content, Json, Message, TextPart, ToolMessage, ToolSpec

ReadsKey: TypeAlias = Callable[[str], bool]
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

_BYTES = 16
_EXACT = 2**53  # beyond it, whoever reads numbers as floats writes other digits
_OPENER, _CLOSER = "<think>", "</think>"
_encoded = msgspec.msgpack.Encoder(order="deterministic").encode


class Said(Struct, frozen=True):
    """What an assistant's message says: its content without the reasoning, the reasoning, stripped at the ends."""

    content: str
    reasoning: str


def nothing_read(_key: str) -> bool:
    """Return False: the format reads no further key of messages."""
    return False


def opening_digest(tools: Sequence[ToolSpec]) -> bytes:
    """Return the digest that a conversation with these tools begins with. Their order does not matter.

    >>> search, now = ToolSpec({"function": {"name": "search"}}), ToolSpec({"function": {"name": "now"}})
    >>> opening_digest([search, now]) == opening_digest([now, search])
    True
    """
    return _digest(b"", sorted(_encoded(_plain(tool.schema)) for tool in tools))


def digests(
    messages: Iterable[Message], tools: Sequence[ToolSpec] = (), reads_key: ReadsKey = nothing_read
) -> Iterator[bytes]:
    """Yield the digest of the conversation up to and with each message. Every message is read once.

    Args:
        messages: The conversation from its beginning.
        tools: Its tools.
        reads_key: Whether the format reads a key of a message that isc itself does not.

    >>> from isc import AssistantMessage, UserMessage
    >>> first = [UserMessage("hi"), AssistantMessage(" Hello", reasoning_content="A greeting.")]
    >>> again = [UserMessage((TextPart("hi"),)), AssistantMessage("Hello")]
    >>> list(digests(first)) == list(digests(again))
    True
    """
    digest, numbers = opening_digest(tools), dict[str, int]()
    count = 0
    for message in messages:
        digest = after_message(digest, message, numbers, reads_key)
        yield digest
        for call in message.tool_calls if isinstance(message, AssistantMessage) else ():
            count += 1
            if call.id is not None:
                numbers[call.id] = count


def after_message(
    digest: bytes, message: Message, numbers: dict[str, int] | None = None, reads_key: ReadsKey = nothing_read
) -> bytes:
    """Return the digest of a conversation that a message is added to.

    Args:
        digest: That of the conversation before.
        message: The message.
        numbers: The numbers of the calls before, by their ids; only a tool's result needs them.
        reads_key: See `digests`.
    """
    extra = {key: _plain(item) for key, item in message.extra.items() if reads_key(key)}
    return _digest(digest, [ROLES[type(message)], _meaning(message, numbers or {}), extra])


def _digest(before: bytes, value: object) -> bytes:
    return blake2b(before + _encoded(value), digest_size=_BYTES).digest()


def _meaning(message: Message, numbers: dict[str, int]) -> Plain:
    """Return what a message means as plain data, as its role has it."""
    if isinstance(message, AssistantMessage):
        calls: list[Plain] = [[call.name, same_arguments(call.arguments)] for call in message.tool_calls]
        media = _content(message.content) if _has_media(message.content) else said(message).content
        return [media, calls, message.name]
    if isinstance(message, ToolMessage):
        identity = message.tool_call_id
        answers: Plain = [message.name] if identity is None else numbers.get(identity, identity)
        return [_content(message.content), answers]
    return [_content(message.content), message.name]


def said(message: AssistantMessage) -> Said:
    """Return what an assistant's message says. Reasoning at the start of its content, in its marks, is reasoning.

    >>> from isc import AssistantMessage
    >>> said(AssistantMessage("<think>Hm.</think>Yes")) == said(AssistantMessage("Yes ", reasoning_content="Hm."))
    True
    """
    text, reasoning = text_of(message.content).strip(), (message.reasoning_content or "").strip()
    if not reasoning and text.startswith(_OPENER) and _CLOSER in text:
        thought, _, text = text[len(_OPENER) :].partition(_CLOSER)
        reasoning, text = thought.strip(), text.strip()
    return Said(text, reasoning)


def text_of(content: Content) -> str:
    """Return the text of a content, its parts put together; media have none."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content or () if isinstance(part, TextPart))


def _has_media(content: Content) -> bool:
    return isinstance(content, tuple) and not all(isinstance(part, TextPart) for part in content)


def _content(content: Content) -> Plain:
    """Return a content as its text, or where it has media as texts and media in their order."""
    if not isinstance(content, tuple) or not _has_media(content):
        return text_of(content).strip()
    pieces: list[Plain] = []
    for part in content:
        if not isinstance(part, TextPart):
            pieces.append([part.modality, _plain(part.raw)])
        elif text := part.text.strip():
            pieces.append(text)
    return pieces


def same_arguments(arguments: Arguments) -> Plain:
    """Return arguments as plain data, equal for all spellings of them. A text that is no JSON object stays text.

    >>> same_arguments('{"b": 1.0, "a": 1e2}') == same_arguments({"a": 100, "b": 1})
    True
    >>> same_arguments('{"a": "1"}') == same_arguments('{"a": 1}')
    False
    """
    if not isinstance(arguments, str):
        return _plain(arguments)
    try:
        value = decode_json(arguments)
    except ValueError:
        return arguments.strip()
    return _plain(value) if isinstance(value, dict) else arguments.strip()


def _plain(value: Json) -> Plain:
    """Return JSON data with every number in its one spelling. What is nested too deeply is its text."""
    try:
        return _with_numbers(value)
    except RecursionError:
        return json_text(value)


def _with_numbers(value: Json) -> Plain:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, Sequence):
        return [_with_numbers(item) for item in value]
    return {key: _with_numbers(item) for key, item in value.items()}


def _number(value: float) -> int | float | str:
    """Return a number as whoever reads numbers as floats has it: whole numbers as integers, zero without a sign."""
    try:
        number = float(value)
    except OverflowError:
        return str(value)
    whole = number.is_integer()
    return int(number) if whole and abs(number) <= _EXACT else number
