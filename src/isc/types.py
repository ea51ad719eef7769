"""The records callers pass in and families work on: messages, tools, chats, segments, parsed responses.

All are frozen; a message is one of six Structs tagged by its role, and a `None` value is a missing key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from msgspec import Struct

from isc._brief import Brief, Displayed

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
else:  # msgspec resolves annotations at run time and knows no recursive alias
    Json = Any

Arguments: TypeAlias = str | Mapping[str, Json]
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool", "latest_reminder"]
Span: TypeAlias = tuple[int, int]
BodyPart: TypeAlias = Literal[
    "reasoning", "content", "tool_name", "tool_arguments", "tool_call", "tool_result", "media", "marker", "close"
]
"""The part of a message's body that text is of; `docs/parts.md` says what each holds (law 10)."""
WRITTEN_PARTS: frozenset[BodyPart | None] = frozenset(("tool_call", "marker", "close"))
"""The parts that a format writes around what a message says."""
Owner: TypeAlias = tuple[int, bool, BodyPart | None]
BodySpecials: TypeAlias = Literal["text", "parse", "reject"]
ThinkingRetention: TypeAlias = Literal["tool_cycle", "all"]
SamplingCuts: TypeAlias = Literal["all", "none"]
InvalidArguments: TypeAlias = Literal["raise", "raw"]

_Found = TypeVar("_Found")

UNOWNED = -1


class TextPart(Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of a message's content that is text."""

    text: str


class MediaPart(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="media"):
    """A piece of a message's content that is not text, as the caller gave it; then what was found out about it.

    `hash` is of its content, `reference` the path or URL it was given by, `width` and `height` its pixels,
    `placeholders` the number of tokens that stand for it; a caller who knows hash and size can give them. `row` is how
    many of these stand in a row, in formats that end each row with a token of its own; 0 in all others.
    """

    modality: str
    raw: Mapping[str, Json]
    hash: str | None = None
    reference: str | None = None
    width: int = 0
    height: int = 0
    placeholders: int = 0
    row: int = 0


Part: TypeAlias = TextPart | MediaPart
Content: TypeAlias = str | tuple[Part, ...] | None


class ToolCall(Struct, frozen=True, omit_defaults=True, gc=False):
    """One call of an assistant turn; `arguments` is an object, or the JSON text of one, rendered as it stands."""

    name: str
    arguments: str | Mapping[str, Json]
    id: str | None = None


class _Message(Struct, frozen=True, tag_field="role", omit_defaults=True, gc=False):
    content: Content = None
    name: str | None = None
    extra: Mapping[str, Json] = {}


class SystemMessage(_Message, frozen=True, gc=False, tag="system"):
    """What the deployment tells the model."""


class DeveloperMessage(_Message, frozen=True, gc=False, tag="developer"):
    """What the application's developer tells the model, in formats that tell that apart from system."""


class ReminderMessage(_Message, frozen=True, gc=False, tag="latest_reminder"):
    """What the deployment reminds the model of before a user speaks, in formats that have a turn for that."""


class UserMessage(_Message, frozen=True, gc=False, tag="user"):
    """What the user says."""


class AssistantMessage(_Message, frozen=True, gc=False, tag="assistant"):
    """What the model said: content, reasoning and tool calls, in the order its format gives them."""

    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


class ToolMessage(_Message, frozen=True, gc=False, tag="tool"):
    """What a tool returned; `tool_call_id` names the call it answers."""

    tool_call_id: str | None = None


Message: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | ReminderMessage

ROLES: dict[type[Struct], Role] = {
    SystemMessage: "system",
    DeveloperMessage: "developer",
    UserMessage: "user",
    AssistantMessage: "assistant",
    ToolMessage: "tool",
    ReminderMessage: "latest_reminder",
}


class ToolSpec(Struct, frozen=True):
    """A tool offered to the model: the whole `{"type": "function", "function": {...}}` object, keys in their order."""

    schema: Mapping[str, Json]

    @property
    def function(self) -> Mapping[str, Json]:
        """Return the object under `function`: name, description, parameters."""
        function = self.schema["function"]
        return function if isinstance(function, Mapping) else {}

    @property
    def name(self) -> str:
        """Return the tool's name."""
        return str(self.function["name"])

    @property
    def parameters(self) -> Mapping[str, Json]:
        """Return the JSON schema of the arguments; empty where none was given."""
        parameters = self.function.get("parameters")
        return parameters if isinstance(parameters, Mapping) else {}


class Chat(Struct, frozen=True, dict=True):
    """A checked conversation: what `isc.convert.chat` makes of a caller's messages and tools.

    `earlier_images` were in the turns that a bridge goes on from, for formats that number them.
    `unread_keys` counts the keys of messages that neither isc nor the format reads.
    `add_generation_prompt`: whether a generation prompt follows, for formats that then render the last turn as history.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    add_generation_prompt: bool = False
    earlier_images: int = 0
    unread_keys: tuple[tuple[str, int], ...] = ()

    @property
    def roles(self) -> tuple[Role, ...]:
        """Return the role of each message."""
        return tuple([ROLES[type(message)] for message in self.messages])

    def once(self, name: str, find: Callable[[Chat], _Found]) -> _Found:
        """Return what was found out about this chat under a name, searched for once: a turn must not look at all."""
        # not a cached_property, which would take a lock each time
        known = self.__dict__
        if name not in known:
            known[name] = find(self)
        kept: _Found = known[name]
        return kept

    def running(self, name: str, find: Callable[[Chat], Sequence[_Found]]) -> Sequence[_Found]:
        """Return what was found out under a name about each message, searched for once.

        Item k depends on no message after k, so that the chats `before` this one share the answer.
        """
        whole: Chat = self.__dict__.get("whole", self)
        return whole.once(name, find)

    @property
    def user_indices(self) -> tuple[int, ...]:
        """Return the indices of the user messages, searched for once."""
        return self.once("user_indices", _user_indices)

    @property
    def last_answer(self) -> int:
        """Return the index of the last assistant message without a call, searched for once; -1 where there is none."""
        return self.running("last_answers", _last_answers)[len(self.messages)]

    def assistant_before(self, index: int) -> int:
        """Return the index of the last assistant message before message `index`; -1 where there is none."""
        return self.running("assistants_before", _assistants_before)[index]

    def answered_call(self, index: int) -> str | None:
        """Return the id of the call that result `index` answers; None where it names none, or is no result."""
        message = self.messages[index]
        return message.tool_call_id if isinstance(message, ToolMessage) else None

    def role(self, index: int) -> Role | None:
        """Return the role of message `index`; None where there is no such message."""
        return ROLES[type(self.messages[index])] if 0 <= index < len(self.messages) else None

    def before(self, index: int) -> Chat:
        """Return the chat up to message `index`, which is left out."""
        earlier = Chat(self.messages[:index], self.tools, earlier_images=self.earlier_images)
        earlier.__dict__["whole"] = self.__dict__.get("whole", self)  # a chat of every turn: what is known goes along
        return earlier

    def images_before(self, index: int) -> int:
        """Return the number of images before message `index`. All messages are counted once."""
        return self.running("image_counts", _image_counts)[index]


def _user_indices(chat: Chat) -> tuple[int, ...]:
    whole: Chat | None = chat.__dict__.get("whole")
    if whole is not None:
        return whole.user_indices[: bisect_left(whole.user_indices, len(chat.messages))]
    return tuple([index for index, message in enumerate(chat.messages) if type(message) is UserMessage])


def _last_answers(chat: Chat) -> list[int]:
    answers = [-1]
    for index, message in enumerate(chat.messages):
        answers.append(index if type(message) is AssistantMessage and not message.tool_calls else answers[-1])
    return answers


def _assistants_before(chat: Chat) -> list[int]:
    before = [-1]
    for index, message in enumerate(chat.messages):
        before.append(index if isinstance(message, AssistantMessage) else before[-1])
    return before


def _image_counts(chat: Chat) -> tuple[int, ...]:
    return tuple(accumulate(map(_image_count, chat.messages), initial=chat.earlier_images))


def _image_count(message: Message) -> int:
    parts = message.content if isinstance(message.content, tuple) else ()
    return sum(isinstance(part, MediaPart) and part.modality == "image" for part in parts)


class Segment(Struct, frozen=True, gc=False):
    """One piece of a prompt: plain text, or one special token by its spelling; `message` -1 is nobody's.

    A special that stands for a media item is repeated `repeat` times and names the item in `media`. `part` says of what
    part of its message's body it is; a stream that was not asked for parts has few of them.
    """

    text: str
    kind: Literal["text", "special"] = "text"
    body: bool = False
    message: int = UNOWNED
    repeat: int = 1
    media: MediaPart | None = None
    part: BodyPart | None = None


Segments: TypeAlias = Iterable[Segment]


CallStatus: TypeAlias = Literal[
    "ok", "invalid_json", "unclosed_block", "missing_name", "malformed_structure", "unknown_tool"
]


class ParsedToolCall(Brief, Struct, frozen=True):
    """One attempted call: `raw` is its text between the markers, `token_span` its tokens, markers included."""

    raw: str
    name: str | None
    arguments: Mapping[str, Json] | None
    token_span: Span
    status: CallStatus
    id: str | None = None


class ParsedResponse(Displayed, Struct, frozen=True):
    """A sampled turn read back. `reasoning_content` is None where no reasoning was opened."""

    content: str
    reasoning_content: str | None = None
    tool_calls: tuple[ParsedToolCall, ...] = ()
    reasoning_complete: bool = True


class Sampled(Brief, Struct, frozen=True):
    """Sampled ids as segments, the mirror of a render; `starts[k]` is the first token of segment k, then the end.

    `reasoning_open`: the prompt ended inside open reasoning. `prompted`: what it held of the turn, from a `turn_start`.
    `token_bytes` gives the bytes of the token at a position, for scanners that look inside texts (`isc.text_markers`).
    Where these have cut a text into segments that share a token, `ends[k]` is the token after the last of segment k.
    """

    segments: tuple[Segment, ...]
    starts: tuple[int, ...]
    reasoning_open: bool = False
    prompted: tuple[Segment, ...] = ()
    token_bytes: Callable[[int], bytes] | None = None
    ends: tuple[int, ...] = ()

    def span(self, first: int, after: int) -> Span:
        """Return the span of tokens that segments `first` to `after` touch, at least one; `after` is excluded.

        >>> Sampled((Segment("a"), Segment("b")), (0, 2, 3)).span(0, 2)
        (0, 3)
        """
        return self.starts[first], self.ends[after - 1] if self.ends else self.starts[after]


class Ended(Struct, frozen=True):
    """How a completion ended.

    `closing`: the segments that complete it. `reasoning_open`: whether it stopped inside reasoning. `message`: a
    placeholder for the sampled turn, in whose place new turns are rendered after it.
    """

    closing: tuple[Segment, ...] = ()
    reasoning_open: bool = False
    message: AssistantMessage = AssistantMessage("")


class Reasoning(Struct, frozen=True):
    """How a format brackets reasoning: `opener` and `closer` are specials, `closing` what ends it when it was cut off.

    `enders` are further specials that end reasoning that was not closed (a tool-call opener). `label` is text that some
    formats write after the opener and that is no thought.
    """

    opener: str
    closer: str
    closing: tuple[Segment, ...]
    enders: tuple[str, ...] = ()
    label: str = ""


class LostPiece(Struct, frozen=True):
    """Text whose origin an operation lost track of: scaffold, and never searched for specials."""

    text: str
    operation: str


class Report(Struct, frozen=True):
    """What isc found out about a template, and where it knows nothing.

    `reasoning` and `tool_calls` name known grammars, None where parsing gives content only. `lost` lists the pieces of
    a conversation whose origin is unknown.
    """

    turn_close: str | None
    stop_tokens: tuple[str, ...]
    reasoning: str | None
    tool_calls: str | None
    keeps_history: bool
    lost: tuple[LostPiece, ...] = ()
