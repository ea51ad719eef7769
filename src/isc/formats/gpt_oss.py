"""gpt-oss: Harmony, turns of several messages in channels, tools as TypeScript, reasoning dropped once it is answered.

Follows `openai/gpt-oss-20b` (template sha256 a4c9919cbbd4acdd) and, where that says nothing, `openai-harmony`.
The system turn is the format's own; a leading `system` or `developer` message is what the developer turn says. Only the
last answer ends with `<|return|>`, earlier ones with `<|end|>`, a call with `<|call|>`; a bridge leaves a sampled
`<|return|>` where it stands. Content of a turn that calls is analysis, as the template has it, unless it has reasoning
too: then content is a message of the commentary channel before the call, where the template raises.

Deviations: arguments given as JSON text stand as they are, where the template makes a JSON string of them; content and
reasoning may spell channel marks, which stay text, where the template raises; a tool without a description has an empty
one; a result that follows no call takes its own `name`. Calls always say `json`. isc refuses what the template drops in
silence: a second call in one message, a `system` or `developer` message that is not the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec import structs

from isc._json import json_text
from isc.errors import ConversationError
from isc.formats import _harmony as harmony
from isc.formats._dates import today
from isc.formats._harmony_builtin import TOOLS, BuiltinTool
from isc.formats._harmony_typescript import namespace
from isc.formats.base import Family
from isc.formats.reading import harmony as reading
from isc.formats.reading.following import Follows
from isc.formats.segments import arguments_text, body, content_text, scaffold, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Ended,
    ParsedResponse,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

ReasoningEffort: TypeAlias = Literal["low", "medium", "high"]

_CHANNELS: Final = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
_CHANNEL_OF_TOOLS: Final = "\nCalls to these tools must go to the commentary channel: 'functions'."


class GptOss(Family, frozen=True, tag_field="family", tag="gpt-oss"):
    """The gpt-oss models.

    Args:
        reasoning_effort: How much the model is to reason.
        model_identity: The first line of the system turn.
        builtin_tools: Tools that the model was trained with, described in the system turn; only those given count, in
            the order of the format. Results of their calls have no turn in the template, and none here.
        conversation_start_date: The date in the system turn, `YYYY-MM-DD`; None is today.
        auto_drop_analysis: False keeps the reasoning of all turns, as `openai-harmony` does when told so; a bridge
            still needs `thinking_retention="all"` to go on with a user message.

    Raises:
        OptionError: An option has another type or value.
        ConversationError: From `turn`, for a second call in one message, a result of no call, a role without a turn.

    >>> GptOss(reasoning_effort="high").stop_tokens
    ('<|return|>', '<|call|>', '<|endoftext|>')
    """

    reasoning_effort: ReasoningEffort = "medium"
    model_identity: str = "You are ChatGPT, a large language model trained by OpenAI."
    builtin_tools: tuple[BuiltinTool, ...] = ()
    conversation_start_date: str | None = None
    auto_drop_analysis: bool = True

    specials: ClassVar[tuple[str, ...]] = harmony.SPECIALS
    turn_close: ClassVar[str] = harmony.RETURN
    one_prompt: ClassVar[bool] = True
    turn_start: ClassVar[str] = harmony.START
    tells_ending: ClassVar[bool] = True
    stop_tokens: ClassVar[tuple[str, ...]] = harmony.STOP_TOKENS
    reasoning: ClassVar[None] = None  # told by `ended`: it is a channel, not a pair of marks

    @property
    def keeps_history(self) -> bool:
        """Return False: an earlier answer ends with `<|end|>` instead of `<|return|>`, and drops its analysis."""
        return False

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the system turn, then the developer turn of a leading system message, or of tools alone."""
        yield from harmony.message("system", scaffold(self._preamble(chat)))
        if not isinstance(chat.messages[0], DeveloperMessage):
            yield from _developer(chat, content_text(chat, 0) if isinstance(chat.messages[0], SystemMessage) else "")

    def _preamble(self, chat: Chat) -> str:
        date = self.conversation_start_date or today("%Y-%m-%d")
        builtin = "".join(text for name, text in TOOLS.items() if name in self.builtin_tools)
        facts = f"{self.model_identity}\nKnowledge cutoff: 2024-06\nCurrent date: {date}\n\n"
        effort = f"Reasoning: {self.reasoning_effort}\n\n"
        tools = f"# Tools\n\n{builtin}" if builtin else ""
        return f"{facts}{effort}{tools}{_CHANNELS}{_CHANNEL_OF_TOOLS if chat.tools else ''}"

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message of the conversation as one or several of Harmony's."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._call(chat, index, message) if message.tool_calls else self._answer(chat, index, message)
        if isinstance(message, ToolMessage):
            text = content_text(chat, index)
            told = body(json_text(text)) if text else scaffold('""')  # nothing was said between these quotes
            return harmony.returned(_function(chat, index, message), told)
        if isinstance(message, UserMessage):
            return harmony.message("user", body(content_text(chat, index)))
        if index:
            raise unsupported_role(chat, index, "gpt-oss", "a system or developer message must be the first")
        return _developer(chat, content_text(chat, index)) if isinstance(message, DeveloperMessage) else ()

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield an answer, with its reasoning where it is the last."""
        last = index == len(chat.messages) - 1 and not chat.add_generation_prompt
        if message.reasoning_content is not None and (last or not self.auto_drop_analysis):
            yield from harmony.said("analysis", body(message.reasoning_content, "reasoning"))
        close = harmony.LAST if last else harmony.ANSWERED
        yield from harmony.said("final", body(content_text(chat, index)), close)

    def _call(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield a call, with the reasoning before it until the call is answered."""
        if len(message.tool_calls) > 1:
            problem = "gpt-oss makes one call a turn; give each an assistant message of its own, followed by its result"
            raise ConversationError(f"messages[{index}].tool_calls[1]", problem, message.tool_calls[1].name)
        content, reasoning = content_text(chat, index), message.reasoning_content
        analysis = body(reasoning, "reasoning") if reasoning else body(content)
        if analysis.text and not (self.auto_drop_analysis and index < chat.last_answer):
            yield from harmony.said("analysis", analysis)
        if reasoning and content:
            yield from harmony.said("commentary", body(content))
        call = message.tool_calls[0]
        yield from harmony.called(call.name, arguments_text(call))

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of the model's first message. Its channel is sampled."""
        return harmony.PROMPT

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; a message without a recipient that is not analysis is content, in any channel."""
        return reading.parse(sampled, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return reading.FOLLOWS

    @property
    def day(self) -> str | None:
        """Return the date in the system turn."""
        return self.conversation_start_date

    def dated(self, day: str) -> GptOss:
        """Return the format with a day, unless it has one."""
        return self if self.conversation_start_date else structs.replace(self, conversation_start_date=day)

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended: in a header, in a text, or after a message."""
        return reading.ended(sampled)


def _developer(chat: Chat, instructions: str) -> Iterator[Segment]:
    """Yield the developer turn: the caller's system message, then tools. Yield nothing where there is neither."""
    said = (scaffold("# Instructions\n\n"), body(instructions), scaffold("\n\n")) if instructions else ()
    tools = (scaffold(f"# Tools\n\n{namespace('functions', chat.tools)}"),) if chat.tools else ()
    if said or tools:
        yield from harmony.message("developer", *said, *tools)


def _function(chat: Chat, index: int, result: ToolMessage) -> str:
    """Return the function of result message `index`.

    The call before it names the function, else the result itself does.
    """
    caller = chat.assistant_before(index)
    turn = chat.messages[caller] if caller >= 0 else None
    name = turn.tool_calls[0].name if isinstance(turn, AssistantMessage) and turn.tool_calls else result.name
    if not name:
        problem = "is the result of no call: no assistant message with a call comes before it, and it has no 'name'"
        raise ConversationError(f"messages[{index}]", problem)
    return name


FAMILY: Final = GptOss

MODELS: Final = {f"openai/gpt-oss-{size}": GptOss() for size in ("20b", "120b")}

TEMPLATES: Final = {"a4c9919cbbd4acdd": GptOss()}
