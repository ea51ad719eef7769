"""Kimi K3: messages of `<|open|>tag<|sep|>` elements, a think element in every answer, history keeps its reasoning.

Follows FORMAT.md of `moonshotai/Kimi-K3`, which ships a Python encoder and no template; its examples come out byte
for byte. `<|end_of_msg|>` closes every message. Tools are declared as sorted, compact JSON in a message before all
else, a system message with the key `tools` declares more of them later. Results in a row stand in the order of the
calls if each names one by its id; a result is named after its call, else by itself, else after the call of its place.

An image is a block of `<|media_begin|>` to `<|media_end|>` with one placeholder, headed by the width and height of the
image in pixels, before any scaling. FORMAT.md says only that there is a block. How it is spelled is taken from vLLM's
documentation and from code of vLLM and others that quote the processor which the model ships; isc has not seen that
itself. Engines put as many placeholders there as the image takes, which `isc.media.KimiImages` counts.

Deviations: `developer` messages are refused, which the encoder leaves out; so are content beside the `tools` of a
system message, and `tools` of another; videos, and images but in what users and tools say, are refused. The messages
that the encoder adds for `tool_choice` and `response_format` are left out. A tag is encoded as one text, where the
encoder encodes its attributes apart: ids can differ where a name begins or ends with a mark of punctuation.

A port by llama.cpp is a second witness (sha256 f0c33f4b63ef8403). It renders the same but for this, where the encoder
is right as FORMAT.md has it: it sorts keys of tools without regard to case; and it names a result by its place where
another in the row names no call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

from isc._json import decode_json
from isc.errors import ConversationError
from isc.formats import _kimi as kimi
from isc.formats.base import Family
from isc.formats.reading import element_calls as elements
from isc.formats.reading.following import Follows
from isc.formats.reading.scanners import until
from isc.formats.segments import (
    argument_text,
    body,
    content_pieces,
    content_text,
    owned,
    scaffold,
    special,
    text_content,
    unsupported_role,
)
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Ended,
    Json,
    ParsedResponse,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

ThinkingEffort: TypeAlias = Literal["low", "high", "max"]

_END: Final = "<|end_of_msg|>"
_TOOLS: Final = "tools"
_CLOSE_MESSAGE: Final = (*elements.closing("message", "marker"), special(_END))
_DECLARED: Final = "# Tools\nHere are the available tools, described in JSONSchema.\n\n```json\n"
_DECLARED_LATER: Final = (
    "## New Tools Available\nThe system dynamically extends the toolset via lazy-loading.\nYou have access to all "
    "existing and extended tools.\nHere are the specs for the extended tools.\n\n```json\n"
)
_EFFORT: Final = (
    "`thinking_effort` guides on how much to think in your thinking channel (not including the response channel), "
    "supported values include `low`, `medium`, `high`, and `max`.\nNow the system is invoked with `thinking_effort={}`."
)
_TYPES: Final[Mapping[type, str]] = {
    bool: "boolean", type(None): "null", int: "number", float: "number", str: "string", list: "array", tuple: "array",
}  # fmt: skip


class KimiK3(Family, frozen=True, tag_field="family", tag="kimi-k3"):
    """The Kimi K3 models.

    Args:
        thinking: False leaves think elements out, of history too.
        thinking_effort: How hard the model is told to think, while it does; None says nothing. The model's own
            `apply_chat_template` says `max` where nobody asks.

    Raises:
        OptionError: An option has another type or value.
        ConversationError: From `turn`, for a result without a name and what the encoder would leave out.

    >>> KimiK3().keeps_history, KimiK3(thinking_effort=None).stop_tokens
    (True, ('<|end_of_msg|>', '[EOS]'))
    """

    thinking: bool = True
    thinking_effort: ThinkingEffort | None = "max"

    specials: ClassVar[tuple[str, ...]] = (_END, "[EOS]", *elements.MARKS, *kimi.MEDIA)
    placeholders_per_image: ClassVar[int] = 1
    ships_template: ClassVar[bool] = False
    turn_close: ClassVar[str] = _END
    stop_tokens: ClassVar[tuple[str, ...]] = (_END, "[EOS]")
    turn_start: ClassVar[str] = elements.OPEN
    tells_ending: ClassVar[bool] = True
    one_prompt: ClassVar[bool] = True
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[None] = None  # told by `ended`: it is an element, not a pair of marks

    def reads_key(self, key: str) -> bool:
        """Return whether the format reads a key of a message besides those that every format reads."""
        return key == _TOOLS

    def opening(self, chat: Chat) -> Segments:
        """Return nothing: a leading system message has a turn like any other."""
        return ()

    def preamble(self, chat: Chat) -> Iterator[Segment]:
        """Yield the declaration of the tools and how hard the model is to think, in messages of their own."""
        if chat.tools:
            yield from _system("tool-declare", f"{_DECLARED}{kimi.tools_json(chat)}\n```")
        if self.thinking and self.thinking_effort is not None:
            yield from _system("thinking-effort", _EFFORT.format(self.thinking_effort))

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message."""
        message = chat.messages[index]
        if isinstance(message, DeveloperMessage):
            raise unsupported_role(chat, index, "kimi-k3", "use role 'system'")
        if message.extra.get(_TOOLS):
            return _declared_later(chat, index)
        if isinstance(message, ToolMessage):
            return _result(chat, index)
        attributes = {"role": ROLES[type(message)], **({"name": message.name} if message.name else {})}
        head = elements.opening("message", attributes)
        if isinstance(message, AssistantMessage):
            return (*head, *self._answer(chat, index, message), *_CLOSE_MESSAGE)
        said = _shown(chat, index) if isinstance(message, UserMessage) else text_content(chat, index)
        return (*head, *said, *_CLOSE_MESSAGE)

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        if self.thinking:
            thought = message.reasoning_content or ""
            yield from (
                *elements.opening("think"),
                body(thought if thought.strip() else "", "reasoning"),
                *elements.closing("think", "marker"),
            )
        yield from elements.opening("response")
        yield body(content_text(chat, index))
        yield from elements.closing("response", "marker")
        if message.tool_calls:
            yield from elements.opening("tools")
            for place, call in enumerate(message.tool_calls, 1):
                yield from _call(call, place)
            yield from elements.closing("tools")

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the head of an answer with its think element opened, or its response."""
        channel = "think" if self.thinking else "response"
        return (*elements.opening("message", {"role": "assistant"}), *elements.opening(channel))

    def ended(self, sampled: Sampled) -> Ended:
        """Return what completes a turn, and its calls, which name their results."""
        return elements.ended(sampled, _END)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; nothing is trimmed."""
        return elements.read(until(sampled, self.stop_tokens), tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return elements.follows(self.stop_tokens)


def _system(kind: str, text: str) -> tuple[Segment, ...]:
    """Return a message that the format adds."""
    return (*elements.opening("message", {"role": "system", "type": kind}), scaffold(text), *_CLOSE_MESSAGE)


def _shown(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield what a user or a tool says and shows, each image with its size in pixels."""
    for piece in content_pieces(chat, index):
        if isinstance(piece, str):
            yield body(piece)
        else:
            yield from kimi.media_block(f"image {piece.width}x{piece.height}", piece)


def _declared_later(chat: Chat, index: int) -> tuple[Segment, ...]:
    """Return the declaration of the tools of a system message."""
    message = chat.messages[index]
    path = f"messages[{index}].{_TOOLS}"
    if not isinstance(message, SystemMessage):
        raise ConversationError(path, "tools are declared by system messages only")
    if content_text(chat, index):
        raise ConversationError(f"messages[{index}].content", "is left out beside tools; say it in another message")
    tools = message.extra[_TOOLS]
    if not isinstance(tools, (list, tuple)):
        raise ConversationError(path, "must be a list of tools", tools)
    schemas = tuple(ToolSpec(tool) for tool in tools if isinstance(tool, Mapping))
    if len(schemas) < len(tools):
        raise ConversationError(path, "must be a list of tools", tools)
    return _system("tool-declare", f"{_DECLARED_LATER}{kimi.tools_json(Chat((), schemas))}\n```")


def _call(call: ToolCall, place: int) -> Iterator[Segment]:
    """Yield a call, an element for each argument; a text that is no JSON object is one of its own."""
    yield from elements.opening("call", {"tool": call.name, "index": str(place)}, {"tool": "tool_name"})
    arguments: Json = call.arguments
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = decode_json(arguments)
    if isinstance(arguments, Mapping):
        for key, value in arguments.items():
            attributes = {"key": f"{key}", "type": _TYPES.get(type(value), "object")}
            yield from elements.opening("argument", attributes, {"key": "tool_arguments"})
            yield body(argument_text(value), "tool_arguments")
            yield from elements.closing("argument")
    else:
        yield from elements.opening("json", {"type": "object"})
        yield from (body(str(call.arguments), "tool_arguments"), *elements.closing("json"))
    yield from elements.closing("call")


class _Result(NamedTuple):
    """What stands in a result's place: the message that is shown there, its name, its number."""

    shown: int
    name: str | None
    number: int


def _result(chat: Chat, index: int) -> list[Segment]:
    """Return the result that stands in the place of message `index`."""
    caller = chat.assistant_before(index)
    shown, name, number = chat.once(f"kimi_k3_results_{caller}", partial(_placed, caller=caller))[index]
    if name is None:
        problem = "is the result of no call: none of the last turn's answers to it, and it has no 'name'"
        raise ConversationError(f"messages[{shown}]", problem)
    attributes = {"role": "tool", "tool": name, "index": str(number)}
    said = (*elements.opening("message", attributes), *_shown(chat, shown), *_CLOSE_MESSAGE)
    return owned(shown, said)


def _placed(chat: Chat, caller: int) -> dict[int, _Result]:
    """Return what stands in the place of each result between an answer (-1: the start) and the next."""
    turn = chat.messages[caller] if caller >= 0 else None
    calls = turn.tool_calls if isinstance(turn, AssistantMessage) else ()
    after = range(caller + 1, len(chat.messages))
    end = next((k for k in after if isinstance(chat.messages[k], AssistantMessage)), len(chat.messages))
    placed: dict[int, _Result] = {}
    start = caller + 1
    for index in range(caller + 1, end + 1):
        if index < end and isinstance(chat.messages[index], ToolMessage):
            continue
        for place, shown in zip(range(start, index), _in_order(chat, range(start, index), calls), strict=True):
            number = len(placed) + 1
            placed[place] = _Result(shown, _name(chat, shown, calls, number), number)
        start = index + 1
    return placed


def _in_order(chat: Chat, run: range, calls: Sequence[ToolCall]) -> Sequence[int]:
    """Return results in a row in the order of their calls, if every one has its call."""
    order: dict[str | None, int] = {
        call.id: place for place, call in reversed(list(enumerate(calls))) if call.id is not None
    }
    answered = {index: order.get(chat.answered_call(index)) for index in run}
    return run if None in answered.values() else sorted(run, key=lambda index: answered[index] or 0)


def _name(chat: Chat, index: int, calls: Sequence[ToolCall], number: int) -> str | None:
    """Return the name of a result: of the call it answers, its own, or of the call of its number."""
    identity = chat.answered_call(index)
    named = next((call.name for call in calls if identity is not None and call.id == identity), None)
    own = named or chat.messages[index].name
    return own or (calls[number - 1].name if number <= len(calls) else None)


FAMILY: Final = KimiK3

MODELS: Final = {"moonshotai/Kimi-K3": KimiK3()}

TEMPLATES: Final[dict[str, Family]] = {}
