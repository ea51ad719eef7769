"""Gemma 4: results inside the model's turn, calls and schemas with a quote token of their own, thoughts in a channel.

Follows `google/gemma-4-31B-it` (template sha256 85a08664d16d8f3b; 43b2c64fbd2b556f of 2026-05; 2dfbfc7d538912f4, the
first) and `google/gemma-4-E2B-it` (781d10940fbc44be). A call ends with `<|tool_response>`, which is sampled; its
results follow in the same turn, and the answer to them without a header. What a calling turn says stands after its
calls, and where results follow after those: it is body of that turn still. Reasoning is kept in turns that call after
the last user message only. The empty thought that the prompt of the larger models holds is not in history. The first
template knows no results: they are turns of a role `tool`, and calls end as answers do.

Deviations: arguments given as JSON text are rendered as what the text says, where the template puts the text between
braces; content None is no content, where the template prints "None" of a system's and a tool's; the texts of a leading
system message given as a list are trimmed and joined, where the templates before 2026-05 print the list; a result
without a name that answers no call of its turn has the name of the earlier call with its id, else of the call at its
place, else `unknown`, where the template fails; a schema that is no object counts as an empty one, where the template
of 2026-05 fails; images are shown as the model's processor shows them, between `<|image>` and `<image|>`. As the
template does, isc drops from content what stands between channel marks. isc refuses results that no calling turn stands
before, which the template drops in silence, and audio, videos and images but in what users and systems say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

from msgspec.structs import replace

from isc.errors import ConversationError
from isc.formats._gemma4_declarations import QUOTE, Revision, declaration, in_order, value
from isc.formats.base import Family
from isc.formats.reading.following import Follows, followed
from isc.formats.reading.gemma_calls import GemmaCalls
from isc.formats.reading.grammars import read_turn
from isc.formats.reading.scanners import reasoning, until
from isc.formats.segments import (
    PROCESSOR_MARKS,
    arguments_object,
    body,
    content_pieces,
    content_text,
    content_texts,
    is_special,
    placeholder,
    scaffold,
    special,
)
from isc.types import (
    ROLES,
    AssistantMessage,
    Chat,
    Ended,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    ToolCall,
    ToolMessage,
    ToolSpec,
)

Variant: TypeAlias = Literal["31b", "31b-2026-05", "31b-initial", "e2b"]

_SPECIALS: Final = (
    "<bos>", "<eos>", "<|turn>", "<turn|>", "<|think|>", "<|channel>", "<channel|>", "<|tool>", "<tool|>",
    "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", QUOTE.text, "<|image>", "<|image|>",
    "<image|>",
)  # fmt: skip
_BOS, _EOS, _TURN, _END, _THINK, _CHANNEL, _END_CHANNEL, _TOOL, _END_TOOL = map(special, _SPECIALS[:9])
_CALL, _END_CALL, _RESPONSE, _END_RESPONSE = map(special, _SPECIALS[9:13])
_PLACEHOLDER: Final = "<|image|>"
_IMAGE, _END_IMAGE = map(special, PROCESSOR_MARKS[_PLACEHOLDER])
_NEWLINE: Final = scaffold("\n")
_CLOSE: Final = (_END, _NEWLINE)
_LABEL: Final = "thought\n"
_NO_THOUGHT: Final = (_CHANNEL, scaffold(_LABEL), _END_CHANNEL)
_CALLS: Final = GemmaCalls(_CALL.text, _END_CALL.text, QUOTE.text, (_CALL.text, _END_CALL.text, QUOTE.text))
_REVISIONS: Final[dict[Variant, Revision]] = {"31b-2026-05": "2026-05", "31b-initial": "initial"}


class Gemma4(Family, frozen=True, tag_field="family", tag="gemma-4"):
    """The Gemma 4 instruction-tuned models.

    Args:
        variant: Which template: that of the larger models, of 2026-05 or the first one, or that of the E2B model, whose
            prompt never holds an empty thought.
        enable_thinking: True asks for thoughts, in the system turn.

    Raises:
        ConversationError: From `turn`, for a result that follows no call.

    >>> Gemma4(variant="e2b").keeps_history
    False
    """

    variant: Variant = "31b"
    enable_thinking: bool = False

    specials: ClassVar[tuple[str, ...]] = _SPECIALS
    turn_close: ClassVar[str] = _END.text
    # generation_config.json of google/gemma-4-31B-it: 1, 106, 50
    stop_tokens: ClassVar[tuple[str, ...]] = (_END.text, _RESPONSE.text, _EOS.text)
    keeps_history: ClassVar[bool] = False
    tells_ending: ClassVar[bool] = True
    reasoning: ClassVar[Reasoning] = Reasoning(
        _CHANNEL.text, _END_CHANNEL.text, (_NEWLINE, _END_CHANNEL), (_CALL.text,), _LABEL
    )
    sorts_arguments: ClassVar[bool] = True
    argument_keys: ClassVar[str] = r"(?s:(?!\s)[^:{}\[\],]+)"

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield BOS, and the system turn where there is a system message, where there are tools or thoughts."""
        yield _BOS
        first = chat.role(0)
        if first == "system" or (first != "developer" and (chat.tools or self.enable_thinking)):
            yield from self._system(chat)

    def _system(self, chat: Chat) -> Iterator[Segment]:
        """Yield the turn that holds what a leading system or developer message says, and the tools."""
        yield from _head("system")
        if self.enable_thinking:
            yield _THINK
            yield scaffold("" if self.variant == "31b-initial" else "\n")
        if chat.role(0) in ("system", "developer"):
            yield body(self._leading_text(chat))
        for tool in chat.tools:
            yield _TOOL
            yield from declaration(tool, _REVISIONS.get(self.variant, "current"))
            yield _END_TOOL
        yield from _CLOSE

    def _leading_text(self, chat: Chat) -> str:
        apart = " " if self.variant == "31b-2026-05" and isinstance(chat.messages[0].content, tuple) else ""
        return "".join(text.strip() + apart for text in content_texts(chat, 0))

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message, its texts trimmed. A leading system message belongs to the opening.

        The last of results in a row is followed by what the calling turn says besides.
        """
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return self._answer(chat, index, message)
        if isinstance(message, ToolMessage) and self.variant != "31b-initial":
            return self._result(chat, index)
        role = ROLES[type(message)]
        if not index and role in ("system", "developer"):
            return () if role == "system" else self._system(chat)
        return (*_head(role), *self._shown(chat, index), *_CLOSE)

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield an assistant's turn. After another one's it has no header."""
        calls, first = message.tool_calls, self.variant == "31b-initial"
        if first or chat.role(_speaker_before(chat, index)) != "assistant":
            yield from _head("model")
        if calls and message.reasoning_content and not first and index > _last_user(chat):
            yield from (*_NO_THOUGHT[:-1], body(message.reasoning_content, "reasoning"), _NEWLINE, _END_CHANNEL)
        for call in calls:
            yield from _call(call)
        if first or not calls:
            yield from (body(_said(chat, index)), *_CLOSE)
        elif chat.role(index + 1) != "tool":
            yield from (body(_said(chat, index)), _RESPONSE)
        else:
            yield _RESPONSE

    def _result(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield a tool's result. The call before it has opened the first of results in a row."""
        answers = chat.running("gemma_4_results", _results)[index]
        if answers is None:
            problem = "is the result of no call: the message before it is no assistant message that calls"
            raise ConversationError(f"messages[{index}]", problem)
        if chat.role(index - 1) == "tool":
            yield _RESPONSE
        text = body(content_text(chat, index))
        yield from (scaffold(f"response:{answers.name}{{value:"), QUOTE, text, QUOTE, scaffold("}"), _END_RESPONSE)
        if chat.role(index + 1) != "tool":
            yield from self._said_besides(chat, answers.caller)

    def _said_besides(self, chat: Chat, caller: int) -> Iterator[Segment]:
        """Yield what a calling turn says besides, and its close, after the results of its calls."""
        said = _said(chat, caller)
        if said if self.variant == "31b-2026-05" else chat.messages[caller].content:
            yield Segment(said, "text", True, caller, part="content")
            yield Segment(_END.text, "special", True, caller, part="close")
            yield Segment("\n", "text", False, caller)

    def _shown(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield the content of a message, each text trimmed, each image between its markers."""
        apart = scaffold("\n\n" if self.variant == "31b-initial" else "")
        for piece in content_pieces(chat, index):
            if isinstance(piece, str):
                yield body(piece.strip())
            else:
                yield from (apart, _IMAGE, placeholder(_PLACEHOLDER, piece), _END_IMAGE, apart)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of a model's turn, with an empty thought where there is to be none.

        A turn that calls goes on without a prompt.
        """
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        speaker = _speaker_before(chat, index)
        message = chat.messages[speaker] if speaker >= 0 else None
        if self.variant != "31b-initial" and isinstance(message, AssistantMessage) and message.tool_calls:
            return ()
        return (*_head("model"), *(() if self.enable_thinking or self.variant == "e2b" else _NO_THOUGHT))

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended. A call is closed by what opens its result, anything else as a turn."""
        parsed = self.parse(sampled, ())
        last = sampled.segments[-1] if sampled.segments else _NEWLINE
        if not parsed.reasoning_complete:
            return Ended((*self.reasoning.closing, *_CLOSE), reasoning_open=True)
        if parsed.tool_calls and self.variant != "31b-initial":
            # no result has the id "", so that each has the name of the call at its place
            calls = tuple(ToolCall(call.name or "unknown", {}, "") for call in parsed.tool_calls)
            closing = () if is_special(last, _RESPONSE.text) else (_RESPONSE,)
            return Ended(closing, message=AssistantMessage("", tool_calls=calls))
        return Ended((_NEWLINE,) if is_special(last, _END.text) else _CLOSE)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        turn = until(sampled, self.stop_tokens)
        position, (thought, complete) = reasoning(turn, 0, self.reasoning)
        if thought is not None and not turn.reasoning_open:
            thought = "" if _LABEL.startswith(thought) else thought.removeprefix(_LABEL)
        if thought is not None and complete:
            thought = thought.removesuffix("\n")
        rest = replace(
            turn, segments=turn.segments[position:], starts=turn.starts[position:], ends=turn.ends[position:]
        )
        said = read_turn(rest, None, _CALLS, tools=tools)
        return ParsedResponse(said.content.strip(), thought, said.tool_calls, complete)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return followed(self.stop_tokens, _CALLS, replace(self.reasoning, label=_LABEL))


class _Result(NamedTuple):
    """The calling turn that a result answers, and the name of the function."""

    caller: int
    name: str


def _results(chat: Chat) -> tuple[_Result | None, ...]:
    """Return for each message what it is the result of. None where it is no result, or one of no call."""
    results: list[_Result | None] = []
    earlier: dict[str | None, str] = {}
    calls: tuple[ToolCall, ...] = ()
    own: dict[str | None, str] = {}
    caller = -1
    for index, message in enumerate(chat.messages):
        if not isinstance(message, ToolMessage):
            calls, caller = message.tool_calls if isinstance(message, AssistantMessage) else (), index
            own = {call.id: call.name for call in calls}
            earlier |= {identity: name for identity, name in own.items() if identity is not None}
            results.append(None)
        elif not calls:
            results.append(None)
        elif message.tool_call_id in own or message.name is not None:  # calls without ids have results without ids
            results.append(_Result(caller, own.get(message.tool_call_id, message.name or "")))
        else:
            place = index - caller - 1
            at_place = calls[place].name if place < len(calls) else "unknown"
            results.append(_Result(caller, earlier.get(message.tool_call_id, at_place)))
    return tuple(results)


def _speaker_before(chat: Chat, index: int) -> int:
    """Return the index of the last message before this one that is no tool's result, or -1."""
    index -= 1
    while index >= 0 and type(chat.messages[index]) is ToolMessage:
        index -= 1
    return index


def _last_user(chat: Chat) -> int:
    return chat.user_indices[-1] if chat.user_indices else -1


def _head(role: str) -> tuple[Segment, ...]:
    return _TURN, scaffold(f"{role}\n")


def _call(call: ToolCall) -> Iterator[Segment]:
    """Yield a call, its arguments in order."""
    yield _CALL
    yield from (scaffold("call:"), body(call.name, "tool_name"), scaffold("{"))
    for position, (key, argument) in enumerate(in_order(arguments_object(call))):
        yield from (scaffold("," if position else ""), _of_arguments(key), scaffold(":"))
        yield from value(argument, say=_of_arguments)
    yield scaffold("}")
    yield _END_CALL


def _of_arguments(text: str) -> Segment:
    return body(text, "tool_arguments")


def _said(chat: Chat, index: int) -> str:
    """Return the content of an assistant's turn, each text trimmed and without what stands in channels."""
    return "".join(_outside_channels(text).strip() for text in content_texts(chat, index))


def _outside_channels(text: str) -> str:
    return "".join(piece.partition(_CHANNEL.text)[0] for piece in text.split(_END_CHANNEL.text))


FAMILY: Final = Gemma4

MODELS: Final = {
    "google/gemma-4-31B-it": Gemma4(),
    # inferred: its model card has the empty thought of the larger models
    "google/gemma-4-26B-A4B-it": Gemma4(),
    "google/gemma-4-E2B-it": Gemma4(variant="e2b"),
    # inferred: its model card says that it has none, like E2B
    "google/gemma-4-E4B-it": Gemma4(variant="e2b"),
}

TEMPLATES: Final = {
    "85a08664d16d8f3b": Gemma4(),
    "43b2c64fbd2b556f": Gemma4(variant="31b-2026-05"),
    "2dfbfc7d538912f4": Gemma4(variant="31b-initial"),
    "781d10940fbc44be": Gemma4(variant="e2b"),
}
