"""gpt-oss as `openai-harmony` encodes it, which callers of `renderers` expect and vLLM serves by.

The model's chat template, which `isc.GptOss` follows, says otherwise: its prompt leaves the channel to the model,
tool results are JSON strings, tools are declared in another TypeScript. Here the prompt opens the analysis channel, a
message may call several tools, and every `system` message but the first is a developer turn.

A result is that of its `name`, and of `functions.unknown` where it has none, as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from msgspec import structs

from isc.compat.typescript import namespace
from isc.formats import _harmony as harmony
from isc.formats._dates import today
from isc.formats.base import Family
from isc.formats.gpt_oss import ReasoningEffort
from isc.formats.reading import harmony as reading
from isc.formats.segments import arguments_text, body, content_text, is_special, scaffold, special
from isc.types import (
    AssistantMessage,
    Chat,
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

_IDENTITY: Final = "You are ChatGPT, a large language model trained by OpenAI."
_CUTOFF: Final = "2024-06"
_CHANNELS: Final = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
_CHANNEL_OF_TOOLS: Final = "\nCalls to these tools must go to the commentary channel: 'functions'."
_INSTRUCTIONS: Final = "# Instructions\n\n"
_ANALYSIS: Final = (special(harmony.CHANNEL), scaffold("analysis"), special(harmony.MESSAGE))
_PROMPT: Final = (*harmony.PROMPT, *_ANALYSIS)
"""What asks the model for its turn; each segment is one token."""


class HarmonyEncoded(Family, frozen=True, tag_field="family", tag="gpt-oss-harmony"):
    """The gpt-oss models, by `openai-harmony`. The fields are those of `GptOssRendererConfig`.

    >>> HarmonyEncoded().stop_tokens
    ('<|return|>', '<|call|>', '<|endoftext|>')
    """

    reasoning_effort: ReasoningEffort = "medium"
    conversation_start_date: str | None = None
    use_system_prompt: bool = True
    knowledge_cutoff: str | None = None
    model_identity: str | None = None
    auto_drop_analysis: bool = True

    specials: ClassVar[tuple[str, ...]] = harmony.SPECIALS
    turn_close: ClassVar[str] = harmony.RETURN
    one_prompt: ClassVar[bool] = True
    turn_start: ClassVar[str] = harmony.START
    tells_ending: ClassVar[bool] = True
    stop_tokens: ClassVar[tuple[str, ...]] = harmony.STOP_TOKENS
    keeps_history: ClassVar[bool] = False  # an earlier answer ends with another special, and drops its analysis
    reasoning: ClassVar[None] = None  # a channel, not a pair of marks

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield the system turn, then the developer turn of the first system message, wherever it is, and of tools."""
        if self.use_system_prompt:
            yield from harmony.message("system", scaffold(self._preamble(chat)))
        first = chat.once("first_system", _first_system)
        if first >= 0 or chat.tools:
            text = content_text(chat, first) if first >= 0 else ""
            said = (scaffold(_INSTRUCTIONS), Segment(text, body=True, message=first)) if text else ()
            between = (scaffold("\n\n"),) if said and chat.tools else ()
            tools = (scaffold(f"# Tools\n\n{namespace(chat.tools)}"),) if chat.tools else ()
            yield from harmony.message("developer", *said, *between, *tools)

    def _preamble(self, chat: Chat) -> str:
        identity = _IDENTITY if self.model_identity is None else self.model_identity
        cutoff = _CUTOFF if self.knowledge_cutoff is None else self.knowledge_cutoff
        date = self.conversation_start_date or today("%Y-%m-%d")
        facts = f"{identity}\nKnowledge cutoff: {cutoff}\nCurrent date: {date}\n\n"
        channels = f"{_CHANNELS}{_CHANNEL_OF_TOOLS if chat.tools else ''}"
        return f"{facts}Reasoning: {self.reasoning_effort}\n\n{channels}"

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message of the conversation as one or several of Harmony's."""
        message, text = chat.messages[index], content_text(chat, index)
        if isinstance(message, AssistantMessage):
            return self._spoken(chat, index, message)
        if isinstance(message, UserMessage):
            return harmony.message("user", body(text))
        if isinstance(message, ToolMessage):
            return harmony.returned((message.name or "unknown").removeprefix(harmony.FUNCTIONS), body(text))
        if index == chat.once("first_system", _first_system):
            return ()
        return harmony.message("developer", scaffold(_INSTRUCTIONS), body(text))

    def _spoken(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield the model's messages: reasoning of a call that is not answered yet, content, calls."""
        text = content_text(chat, index)
        kept = bool(message.tool_calls) and index > chat.once("last_said", _last_said)
        reasoning = message.reasoning_content if kept or not self.auto_drop_analysis else None
        last = index == len(chat.messages) - 1 and not chat.add_generation_prompt and not message.tool_calls
        close = harmony.LAST if last else harmony.ANSWERED
        final = bool(text) or not (reasoning or message.tool_calls)
        if reasoning:
            thought = body(reasoning, "reasoning")
            yield from harmony.said("analysis", thought, special(harmony.END) if final else close)
        if final:
            yield from harmony.said("final", body(text), close)
        for call in message.tool_calls:
            recipient = (
                scaffold(f" to={harmony.FUNCTIONS}"),
                body(call.name.removeprefix(harmony.FUNCTIONS), "tool_name"),
            )
            head = (*harmony.PROMPT, *recipient, special(harmony.CHANNEL), scaffold("commentary"))
            yield from (
                *head,
                special(harmony.MESSAGE),
                body(arguments_text(call), "tool_arguments"),
                special(harmony.CALL),
            )

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of a message of the analysis channel."""
        return _PROMPT

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back, from within the channel that the prompt opened."""
        read = reading.parse(_with_head(sampled), tools)
        return structs.replace(read, reasoning_complete=True) if _hands_over(sampled) else read

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended. A call ends analysis, too, as there."""
        end = reading.ended(_with_head(sampled))
        return structs.replace(end, reasoning_open=False) if _hands_over(sampled) else end

    @property
    def day(self) -> str | None:
        """Return the date in the system turn."""
        return self.conversation_start_date

    def dated(self, day: str) -> HarmonyEncoded:
        """Return the format with a day, unless it has one."""
        return self if self.conversation_start_date else structs.replace(self, conversation_start_date=day)


def _hands_over(sampled: Sampled) -> bool:
    """Return whether a completion ended with the special that ends a call."""
    return bool(sampled.segments) and is_special(sampled.segments[-1], harmony.CALL)


def _with_head(sampled: Sampled) -> Sampled:
    """Put the head back with which a model began a message of its own: it was skipped as one that the prompt gave."""
    skipped = sampled.starts[0] if sampled.starts else 0
    if skipped != len(_PROMPT):
        return sampled
    return structs.replace(
        sampled, segments=(*_PROMPT, *sampled.segments), starts=(*range(skipped), *sampled.starts), ends=()
    )


def _first_system(chat: Chat) -> int:
    """Return the index of the first system message, -1 where there is none."""
    return next((k for k, message in enumerate(chat.messages) if isinstance(message, SystemMessage)), -1)


def _last_said(chat: Chat) -> int:
    """Return the index of the last answer that is not empty, -1 where there is none."""
    answers = (k for k, m in enumerate(chat.messages) if isinstance(m, AssistantMessage) and not m.tool_calls)
    return max((k for k in answers if content_text(chat, k)), default=-1)
