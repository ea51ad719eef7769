"""MiniMax-M2: `]~b]` turns closed by `[e~[`, a default identity, XML calls in a block, reasoning after the last query.

Follows `MiniMaxAI/MiniMax-M2` (template sha256 55beae30a60db5ce), `MiniMax-M2.5` (2acb65a5f306d728) and `MiniMax-M2.7`
(e604aa54631c68cc), which differ in the default identity; M2.1's is theirs with its own name. `<invoke>`, `<parameter>`
and `<response>` are text, glued to what they wrap. As the template does, isc refuses a tool result where the last
assistant turn made no call. Deviations: arguments given as JSON text are rendered as what the text says, where the
template fails; content None is no content, where the template prints "None" or fails; a system message that is not the
first, a `developer` message and other parts than text are refused, where the template drops them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from isc.errors import ConversationError
from isc.formats._chatml import split_inline_reasoning
from isc.formats._glm import last_user_index
from isc.formats._minimax import BEGIN, CLOSE, NEWLINE, ROLE, TURNS, check_result, ended, tool_list
from isc.formats.base import Family
from isc.formats.reading.grammars import Grammar, read_parts
from isc.formats.reading.invoke_calls import INVOKE_CALLS, invokes
from isc.formats.reading.scanners import until
from isc.formats.segments import (
    body,
    content_text,
    content_texts,
    scaffold,
    special,
    spelled,
    unsupported_role,
)
from isc.types import (
    AssistantMessage,
    Chat,
    Ended,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

_SPECIALS: Final = (*TURNS, "<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>")
_THINK, _END_THINK, _CALLS, _END_CALLS = map(special, _SPECIALS[len(TURNS) :])
_END_REASONING: Final = (NEWLINE, _END_THINK, scaffold("\n\n"))

_TOOLS_TAIL: Final = spelled(
    "</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n\n<minimax:tool_call>\n"
    '<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n'
    '<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>',
    _SPECIALS,
)
_FACTS: Final = {"current_date": "\nCurrent date: ", "current_location": "\nCurrent location: "}


class MiniMaxM2(Family, frozen=True, tag_field="family", tag="minimax-m2"):
    """The MiniMax-M2 models.

    A system message may have `current_date` and `current_location`, texts that are told after its content.

    Args:
        model_identity: What the system turn says where no system message does.

    Raises:
        ConversationError: From `turn`, for a result without a call and for a role without a turn.

    >>> from isc.formats.catalogue import family_for
    >>> family_for("MiniMaxAI/MiniMax-M2.5").model_identity
    'You are a helpful assistant. Your name is MiniMax-M2.5 and is built by MiniMax.'
    """

    model_identity: str = "You are a helpful assistant."

    specials: ClassVar[tuple[str, ...]] = _SPECIALS
    turn_close: ClassVar[str] = CLOSE.text
    grammar: ClassVar[Grammar] = INVOKE_CALLS
    one_prompt: ClassVar[bool] = True
    tells_ending: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = (
        *("<invoke", "</invoke>", "<parameter", "</parameter>", "<tools>", "</tools>", "<response>", "</response>"),
    )
    stop_tokens: ClassVar[tuple[str, ...]] = (CLOSE.text,)
    argument_keys: ClassVar[str] = r'(?s:(?!.*">).*)'  # else a name cannot be told from the end of its tag
    # NFC composes the end of a tag with U+0338; a line that begins as a parameter may be one whose value lacks its end
    argument_texts: ClassVar[str] = r'(?s:(?!\u0338|.*\n<parameter name=").*)'
    reasoning: ClassVar[Reasoning] = Reasoning(_THINK.text, _END_THINK.text, _END_REASONING, (_CALLS.text,))

    @property
    def keeps_history(self) -> bool:
        """Return False: a new user message drops the reasoning before it."""
        return False

    def reads_key(self, key: str) -> bool:
        """Return whether the format reads a key of a message besides those that every format reads."""
        return key in _FACTS

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the system turn, which is always there: the system message's text or the identity, then the tools."""
        first = chat.messages[0]
        asks = isinstance(first, SystemMessage)
        yield from (BEGIN, ROLE, scaffold("system\n"))
        yield body(content_text(chat, 0)) if asks and first.content else scaffold(self.model_identity)
        for key, wording in _FACTS.items():
            fact = first.extra.get(key) if asks else None
            if fact:
                if not isinstance(fact, str):
                    raise ConversationError(f"messages[0].{key}", "must be a string", fact)
                yield scaffold(wording)
                yield body(fact)
        if chat.tools:
            yield from tool_list(chat)
            yield from _TOOLS_TAIL
        yield from (CLOSE, NEWLINE)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. Results in a row share a turn. A leading system message belongs to the opening."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return _answer(chat, index, message)
        if isinstance(message, ToolMessage):
            return _responses(chat, index)
        if isinstance(message, UserMessage):
            return (ROLE, scaffold("user\n"), body(content_text(chat, index)), CLOSE, NEWLINE)
        if index == 0 and isinstance(message, SystemMessage):
            return ()
        raise unsupported_role(chat, index, "minimax-m2", "a system message must be the first, there is no developer")

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of an assistant turn with its think block opened."""
        return (ROLE, scaffold("ai\n"), _THINK, NEWLINE)

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended, and whether it calls."""
        return ended(sampled, self.parse(sampled, ()), self.reasoning)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        parts = read_parts(until(sampled, self.stop_tokens), self.reasoning, self.grammar, tools=tools)
        content, thought = parts.pieces[0], parts.thought
        if thought is not None:
            thought = thought if sampled.reasoning_open else thought.removeprefix("\n")
            thought = thought.removesuffix("\n") if parts.complete else thought
            content = content.removeprefix("\n\n") if content.startswith("\n\n") else content.lstrip("\n")
        content = content.removesuffix("\n") if parts.calls else content
        return ParsedResponse(content + parts.rest, thought, parts.calls, parts.complete)


def _answer(chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
    """Yield an assistant's turn, with its reasoning where no user message follows."""
    thought, content = message.reasoning_content, content_text(chat, index)
    if thought is None and _END_THINK.text in content:
        thought, content = split_inline_reasoning(content)
        content = content.rstrip("\n")
    yield from (ROLE, scaffold("ai\n"))
    if thought and index > last_user_index(chat):
        yield from (_THINK, NEWLINE, body(thought, "reasoning"), *_END_REASONING)
    yield body(content)
    if message.tool_calls:
        yield from (NEWLINE, _CALLS, *invokes(message.tool_calls), _END_CALLS)
    yield from (CLOSE, NEWLINE)


def _responses(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield a tool result. A list has a response for each item and then ends on a line of its own."""
    check_result(chat, index, "minimax-m2")
    content = chat.messages[index].content
    if chat.role(index - 1) != "tool":
        yield from (ROLE, scaffold("tool"))
    for text in content_texts(chat, index) if content is not None else [""]:
        yield from (scaffold("\n<response>"), body(text))
        yield scaffold("\n</response>" if isinstance(content, tuple) else "</response>")
    if chat.role(index + 1) != "tool":
        yield from (CLOSE, NEWLINE)


FAMILY: Final = MiniMaxM2


def _named(version: str) -> MiniMaxM2:
    return MiniMaxM2(f"You are a helpful assistant. Your name is MiniMax-{version} and is built by MiniMax.")


MODELS: Final = {
    "MiniMaxAI/MiniMax-M2": MiniMaxM2(),
    **{f"MiniMaxAI/MiniMax-{version}": _named(version) for version in ("M2.1", "M2.5", "M2.7")},
}

TEMPLATES: Final = {
    "55beae30a60db5ce": MiniMaxM2(),
    "2acb65a5f306d728": _named("M2.5"),
    "e604aa54631c68cc": _named("M2.7"),
}
