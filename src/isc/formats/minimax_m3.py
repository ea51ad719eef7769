"""MiniMax-M3: MiniMax's turns, a developer turn for what the caller tells, calls as elements in elements.

Follows `MiniMaxAI/MiniMax-M3` (template sha256 11421244f6755349). A system turn with the model's identity and its
thinking mode is always there; a leading system or developer message stands with the tools in a developer turn behind
it. All reasoning is kept, as it stands; a turn without it begins with `</mm:think>`. As the template does, isc refuses
a tool result where the last assistant turn made no call. An image is placeholders between two marks, which are the
processor's in transformers.

An argument is an element named by its key, what it holds is elements again or text; each tag stands behind the control
token `]<]minimax[>[`. So `null` is left out of objects, as the template does, and `[]`, `{}`, `""` and a null in a list
look alike: an element that holds nothing is read as what its schema in `tools` allows, without one as an empty text.
Likewise a text such as `7` is read as a number unless its schema says string, and an object whose only key is `item`
as a list unless its schema says object. A key with `>` in it, or `/` in front, is not told from its tag.

Inferred, since no tokenizer was at hand: the tags themselves (`<tool_call>`, `<invoke name="f">`) are text.
Deviations: arguments given as JSON text are rendered as what the text says, where the template fails; a tool's result
without content is an empty one, where the template fails; a system or developer message that is not the first is
refused, where the template drops it; the role `root`, which would replace the identity, is refused like any other that
isc does not know; an image of type `image_url` is shown, where the template drops it; videos, and images but in what
users and tools say, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec.structs import replace

from isc._json import json_text
from isc.formats._chatml import split_inline_reasoning
from isc.formats._minimax import BEGIN, CLOSE, NEWLINE, ROLE, TURNS, check_result, ended, tool_list
from isc.formats.base import Family
from isc.formats.reading.following import Follows, followed
from isc.formats.reading.grammars import read_parts
from isc.formats.reading.nested_calls import ITEM, NestedCalls
from isc.formats.reading.scanners import until
from isc.formats.segments import (
    PROCESSOR_MARKS,
    arguments_object,
    body,
    content_pieces,
    content_text,
    placeholder,
    scaffold,
    special,
    spelled,
    unsupported_role,
)
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Ended,
    Json,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

ThinkingMode: TypeAlias = Literal["adaptive", "enabled", "disabled"]

_SPECIALS: Final = (*TURNS, "<mm:think>", "</mm:think>", "]<]minimax[>[")
_PLACEHOLDER: Final = "]<]image[>["
_IMAGE, _END_IMAGE = map(special, PROCESSOR_MARKS[_PLACEHOLDER])
_THINK, _END_THINK, _MARK = map(special, _SPECIALS[len(TURNS) :])
_CALLS: Final = NestedCalls(_MARK.text, "tool_call", "invoke", _SPECIALS)

_IDENTITY: Final = (
    "Your model version is MiniMax-M3, developed by MiniMax. Knowledge cutoff: January 2026. Founded in early 2022, "
    "MiniMax is a global AI foundation model company committed to advancing the frontiers of AI towards AGI."
)
_THINKING: Final = (
    "\n\n<thinking_instructions>\nYou have a thinking capability that allows you to reason step by step before "
    "responding. When thinking is enabled, wrap your reasoning in <mm:think></mm:think> tags before your response. "
    "When thinking is disabled, begin your response directly after the </mm:think> prefix. When thinking is adaptive, "
    "decide on your own whether to think for the current turn.\nCurrent thinking mode: "
)
_MODES: Final[Mapping[ThinkingMode, str]] = {
    "adaptive": "adaptive. You are encouraged to think for complex decision-making, multi-step reasoning, or when "
    "analyzing function/tool results.",
    "enabled": "enabled. You MUST think step by step before every response, including after receiving function/tool "
    "results.",
    "disabled": "disabled. Do not output any thinking process.",
}
_SYSTEM: Final = {
    mode: spelled(f"system\n{_IDENTITY}{_THINKING}{told}\n</thinking_instructions>", _SPECIALS)
    for mode, told in _MODES.items()
}
_PROMPTS: Final[Mapping[ThinkingMode, tuple[Segment, ...]]] = {
    "adaptive": (ROLE, scaffold("ai\n")),
    "enabled": (ROLE, scaffold("ai\n"), _THINK),
    "disabled": (ROLE, scaffold("ai\n"), _END_THINK),
}
_HOW_TO_CALL: Final = spelled(
    "</tools>\n\nTo call tools, wrap all invocations in a single @<tool_call>@</tool_call> block. Parameter values "
    "containing nested objects or arrays are recursively expanded into XML elements. Example:\n\n@<tool_call>\n"
    '@<invoke name="tool-name-1">@<param-1>value-1@</param-1>@<param-2>@<item>@<key-a>val-a@</key-a>@<key-b>val-b'
    '@</key-b>@</item>@</param-2>@</invoke>\n@<invoke name="tool-name-2">@<param-1>value-1@</param-1>@</invoke>\n'
    "@</tool_call>".replace("@", _MARK.text),
    _SPECIALS,
)


class MiniMaxM3(Family, frozen=True, tag_field="family", tag="minimax-m3"):
    """The MiniMax-M3 models.

    Args:
        model_identity: What the developer turn says where no system or developer message does.
        thinking_mode: What the system turn says of thinking; `"enabled"` and `"disabled"` also open the next turn so.

    Raises:
        ConversationError: From `turn`, for a result without a call and for a role without a turn.

    >>> MiniMaxM3(thinking_mode="disabled").turn_close
    '[e~['
    """

    model_identity: str = "You are a helpful assistant."
    thinking_mode: ThinkingMode = "adaptive"

    specials: ClassVar[tuple[str, ...]] = (*_SPECIALS, _PLACEHOLDER, *PROCESSOR_MARKS[_PLACEHOLDER])
    turn_close: ClassVar[str] = CLOSE.text
    stop_tokens: ClassVar[tuple[str, ...]] = (CLOSE.text,)
    tells_ending: ClassVar[bool] = True
    one_prompt: ClassVar[bool] = True
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[Reasoning] = Reasoning(_THINK.text, _END_THINK.text, (_END_THINK,), _CALLS.enders)
    text_markers: ClassVar[tuple[str, ...]] = (
        *("<tools>", "</tools>", "<response>", "</response>"),
        *("<thinking_instructions>", "</thinking_instructions>"),
    )
    # NFC composes the ends of a tag with U+0338
    argument_keys: ClassVar[str] = rf"(?!/|\u0338|(?:{ITEM}|{_CALLS.block}|{_CALLS.call})\Z)[^>]*"
    argument_texts: ClassVar[str] = r"(?s:(?!\u0338).*)"
    tells_kinds: ClassVar[bool] = False

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the system turn, then the developer turn unless a developer message has it."""
        yield from (BEGIN, ROLE, *_SYSTEM[self.thinking_mode], CLOSE, NEWLINE)
        if not isinstance(chat.messages[0], DeveloperMessage):
            yield from self._developer(chat)

    def _developer(self, chat: Chat) -> Iterator[Segment]:
        """Yield the developer turn: what a leading message says, or the identity, then the tools."""
        first = chat.messages[0]
        tells = isinstance(first, (SystemMessage, DeveloperMessage)) and first.content
        yield from (ROLE, scaffold("developer\n"))
        yield body(content_text(chat, 0)) if tells else scaffold(self.model_identity)
        if chat.tools:
            yield from tool_list(chat)
            yield from _HOW_TO_CALL
        yield from (CLOSE, NEWLINE)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a turn. A leading system message belongs to the opening."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return _answer(chat, index, message)
        if isinstance(message, ToolMessage):
            return _result(chat, index)
        if isinstance(message, UserMessage):
            return (ROLE, scaffold("user\n"), *_shown(chat, index), CLOSE, NEWLINE)
        if index == 0 and isinstance(message, (SystemMessage, DeveloperMessage)):
            return () if isinstance(message, SystemMessage) else self._developer(chat)
        raise unsupported_role(chat, index, "minimax-m3", "a system or developer message must be the first")

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn. Unless thinking is adaptive, it says whether there is a thought."""
        return _PROMPTS[self.thinking_mode]

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended, and whether it calls: no result stands after a turn that does not."""
        return ended(sampled, self.parse(sampled, ()), self.reasoning)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; pass `tools`, or what is empty and texts that are JSON are not told apart."""
        parts = read_parts(until(sampled, self.stop_tokens), self.reasoning, _CALLS, tools=tools)
        return ParsedResponse(parts.content, parts.thought, parts.calls, parts.complete)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled: of the control tokens only one begins calls."""
        del tools
        return replace(followed(self.stop_tokens, _CALLS, self.reasoning), marks=_CALLS.enders)


def _shown(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield what a user or a tool says and shows, each image between the marks of the model's processor."""
    for piece in content_pieces(chat, index):
        if isinstance(piece, str):
            yield body(piece)
        else:
            yield from (_IMAGE, placeholder(_PLACEHOLDER, piece), _END_IMAGE)


def _answer(chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
    """Yield an assistant's turn: its thought or that there is none, its content, its calls."""
    thought, content = message.reasoning_content, content_text(chat, index)
    if thought is None and _END_THINK.text in content:
        thought, content = split_inline_reasoning(content, _THINK.text, _END_THINK.text)
        content = content.rstrip("\n")
    yield from (ROLE, scaffold("ai\n"))
    yield from (_THINK, body(thought, "reasoning"), _END_THINK) if thought else (_END_THINK,)
    yield body(content)
    if message.tool_calls:
        yield from (_MARK, scaffold(f"<{_CALLS.block}>\n"))
        for call in message.tool_calls:
            yield from _call(call)
        yield from (_MARK, scaffold(f"</{_CALLS.block}>"))
    yield from (CLOSE, NEWLINE)


def _call(call: ToolCall) -> Iterator[Segment]:
    """Yield a call on a line of its own."""
    yield from (_MARK, scaffold(f'<{_CALLS.call} name="'), body(call.name, "tool_name"), scaffold('">'))
    yield from _held(arguments_object(call))
    yield from (_MARK, scaffold(f"</{_CALLS.call}>\n"))


def _held(value: Json) -> Iterator[Segment]:
    """Yield what an element holds: an element for each key that is not null, or for each item, or a text."""
    elements: list[tuple[Segment, Json]]
    if isinstance(value, Mapping):
        elements = [(body(key, "tool_arguments"), held) for key, held in value.items() if held is not None]
    elif isinstance(value, (list, tuple)):
        elements = [(scaffold(ITEM), held) for held in value]
    else:
        text = "" if value is None else json_text(value) if isinstance(value, bool) else str(value)
        yield body(text, "tool_arguments")
        return
    for name, held in elements:
        yield from (_MARK, scaffold("<"), name, scaffold(">"), *_held(held))
        yield from (_MARK, scaffold("</"), name, scaffold(">"))


def _result(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield a tool's result."""
    check_result(chat, index, "minimax-m3")
    if chat.role(index - 1) != "tool":
        yield from (ROLE, scaffold("tool"))
    yield from (scaffold("\n<response>"), *_shown(chat, index), scaffold("</response>"))
    if chat.role(index + 1) != "tool":
        yield from (CLOSE, NEWLINE)


FAMILY: Final = MiniMaxM3

MODELS: Final = {"MiniMaxAI/MiniMax-M3": MiniMaxM3()}

TEMPLATES: Final = {"11421244f6755349": MiniMaxM3()}
