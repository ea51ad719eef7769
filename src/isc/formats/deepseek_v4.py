"""DeepSeek-V4: DSML calls, results inside the user's turn, thinking or not, tasks, reminders.

Follows FORMAT.md of `deepseek-ai/DeepSeek-V4`, which ships a Python encoder and no template; all of its examples
come out byte for byte. A result is said by the user: results in a row and what a user says after them share one
turn, and results stand in the order of the calls they answer. A message of a user, or a developer, is followed by
`<｜Assistant｜>` and `<think>` or `</think>`, which is the generation prompt: rendered where it is asked for, and
where an answer or a reminder follows, else not, where the encoder ends every text with it. Without tools, earlier
reasoning is dropped when thinking; with tools anywhere all of it is kept. Messages may have the encoder's own
keys: `tools`, `response_format`, `task`, `wo_eos`. A bridge cannot know the ids of sampled calls: give it results
in the order of the calls.

Deviations: tools of a chat whose first message is no system or developer message stand in a system message without
content, where the encoder shows none of a user's; arguments that are objects are written as their JSON text is, where
the encoder fails; content None is no content, where it prints "None" or fails; parts of a user's content are joined,
where it fails, and so are developer messages that say nothing; a part of a result that is no text is refused, where it
prints "[Unsupported image]"; isc refuses what the encoder leaves out in silence: a developer message before the last
user's while it drops reasoning, a task of a message that no answer follows or that shares another's turn, and keys that
a message of that role cannot show.

Two ports by llama.cpp are a second witness (sha256 f8b442fab67e75b3, and 8b6f730567ea3e0a for Flash-0731). They
render the same but for this, where the encoder is right as FORMAT.md has it: they put all system messages first,
joined by blank lines; they begin the tools block without a blank line where there is no system message; they leave
results in the order they were given; they keep all reasoning once a result stands in the conversation; they head
every assistant's turn with `<｜Assistant｜>`, an answer after an answer too, and write no reasoning there without
`<think>`; they take a developer's message for more of the user's, know no reminder and no task, and end with a
generation prompt after any message.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from typing import ClassVar, Final, Literal, TypeAlias

from isc.errors import ConversationError, OptionError
from isc.formats import _deepseek as deepseek
from isc.formats import _dsml as dsml
from isc.formats._shape import Shape, asked
from isc.formats.base import Family
from isc.formats.reading.dsml_calls import DSML, KEYS, TEXTS, DsmlCalls
from isc.formats.reading.following import Follows
from isc.formats.reading.scanners import until
from isc.formats.segments import body, content_text, content_texts, owned, scaffold, special
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    ParsedResponse,
    Reasoning,
    ReminderMessage,
    Role,
    Sampled,
    Segment,
    Segments,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Variant: TypeAlias = Literal["v4", "flash-0731"]
ReasoningEffort: TypeAlias = Literal["low", "high", "max"]

_REMINDER: Final = "<｜latest_reminder｜>"
_TASKS: Final = {name: f"<｜{name}｜>" for name in ("action", "query", "authority", "domain", "title", "read_url")}
_CALLS: Final = DsmlCalls("tool_calls")
_APART: Final = scaffold("\n\n")
_TOOLS: Final = (
    dsml.tags(
        "## Tools\n\nYou have access to a set of tools to help answer the user's question. You can invoke tools by "
        'writing a "<~tool_calls>" block like the following:\n\n<~tool_calls>\n<~invoke name="$TOOL_NAME">\n'
        '<~parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</~parameter>\n...\n</~invoke>\n'
        '<~invoke name="$TOOL_NAME2">\n...\n</~invoke>\n</~tool_calls>\n\nString parameters should be specified as is '
        'and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON '
        'format and set `string="false"`.\n\nIf thinking_mode is enabled (triggered by <think>), you MUST output your '
        "complete reasoning inside <think>...</think> BEFORE any tool calls or final response.\n\nOtherwise, output "
        "directly after </think> with tool calls or final response.\n\n### Available Tool Schemas\n\n"
    ),
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n",
)
_THOROUGH: Final = (
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\nYou MUST be very thorough in your thinking and "
    "comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all "
    "potential paths, edge cases, and adversarial scenarios.\nExplicitly write out your entire deliberation process, "
    "documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no "
    "assumption is left unchecked.\n\n"
)
_RELENTLESS: Final = (
    "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\nYou MUST reason with the utmost "
    "depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the problem into its most "
    "fundamental components, trace every causal chain to its root, and resolve the underlying cause rather than any "
    "surface symptom.\nDo not stop reasoning until you have independently verified the solution from multiple angles "
    "and are certain that no assumption remains unchecked and no error remains undiscovered.\n\n"
)
_EFFORTS: Final = {"v4": {"max": _THOROUGH}, "flash-0731": {"high": _THOROUGH, "max": _RELENTLESS}}


class DeepSeekV4(Family, frozen=True, tag_field="family", tag="deepseek-v4"):
    """DeepSeek-V4 and V4-Flash.

    Args:
        thinking: Whether the model thinks before it answers: the generation prompt opens reasoning or closes it.
        drop_thinking: False keeps all reasoning, also where no tools are offered.
        reasoning_effort: How hard the model is told to think, in words before all else; only when thinking. None is the
            variant's default, which says nothing.
        variant: Whose words for the effort: the release's (`high` and `max`), or V4-Flash-0731's (`low` too).

    Raises:
        OptionError: An option has another type or value, or the variant knows no such effort.
        ConversationError: From `turn`, for what the encoder would leave out.

    >>> DeepSeekV4(thinking=True).reasoning.opener, DeepSeekV4().keeps_history
    ('<think>', True)
    """

    thinking: bool = False
    drop_thinking: bool = True
    reasoning_effort: ReasoningEffort | None = None
    variant: Variant = "v4"

    specials: ClassVar[tuple[str, ...]] = (
        *deepseek.TURNS, deepseek.THINK, deepseek.END_THINK, DSML, _REMINDER, *_TASKS.values()
    )  # fmt: skip
    extra_roles: ClassVar[tuple[Role, ...]] = ("latest_reminder",)
    ships_template: ClassVar[bool] = False
    turn_close: ClassVar[str] = deepseek.EOS
    stop_tokens: ClassVar[tuple[str, ...]] = (deepseek.EOS,)
    text_markers: ClassVar[tuple[str, ...]] = ("<tool_result>", "</tool_result>")
    argument_keys: ClassVar[str] = KEYS
    argument_texts: ClassVar[str] = TEXTS

    def check_options(self) -> None:
        """Refuse an effort that this variant does not know."""
        if self.variant == "v4" and self.reasoning_effort == "low":
            raise OptionError(
                "deepseek-v4: the release knows reasoning_effort 'high' and 'max'; 'flash-0731' has 'low'"
            )

    @property
    def keeps_history(self) -> bool:
        """Return whether no reasoning is ever dropped, with tools or without."""
        return not self._drops

    def keeps_reasoning(self, chat: Chat) -> bool:
        """Return whether no reasoning of this chat is dropped: with tools none is."""
        return not self._drops or dsml.offers_tools(chat)

    @property
    def _drops(self) -> bool:
        return self.thinking and self.drop_thinking

    @property
    def reasoning(self) -> Reasoning | None:
        """Return think blocks, where the prompt opens one."""
        return dsml.REASONING if self.thinking else None

    @property
    def shape(self) -> Shape:
        """Describe what conversations may look like. A developer message that a later message drops is refused."""
        shape = asked(self)
        return dsml.without_developer(shape) if self._drops else shape

    def reads_key(self, key: str) -> bool:
        """Return whether the format reads a key of a message besides those that every format reads."""
        return key in dsml.HOLDS or key in ("task", "wo_eos")

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield BOS and how hard the model is to think."""
        yield special(deepseek.BOS)
        if self.thinking and self.reasoning_effort is not None:
            yield scaffold(_EFFORTS[self.variant].get(self.reasoning_effort, ""))

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools of a chat without a leading system or developer message."""
        return dsml.nobodys_tools(chat, _TOOLS, _CALLS.marks)

    def turn(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield one message, with the generation prompt where a reminder follows it."""
        message = chat.messages[index]
        if message.extra:
            dsml.check_keys(chat, index)
            _check_task(chat, index)
        if isinstance(message, AssistantMessage):
            yield from self._answer(chat, index, message)
        elif isinstance(message, (UserMessage, ToolMessage)):
            yield from _said_by_user(chat, index)
        elif isinstance(message, ReminderMessage):
            yield from (special(_REMINDER), body(content_text(chat, index)))
        else:
            yield from self._told(chat, index)
        if chat.role(index + 1) == "latest_reminder":
            yield from self._asks(chat, index)

    def _told(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield what a system or developer message says and holds."""
        if isinstance(chat.messages[index], DeveloperMessage):
            if not self.keeps_reasoning(chat) and index < dsml.last_user(chat, results=True):
                raise dsml.dropped_developer(index, "deepseek-v4")
            yield special(deepseek.USER)
        yield body(content_text(chat, index))
        yield from dsml.held(chat, index, _TOOLS, _CALLS.marks)

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        if index:
            yield from self._asks(chat, index - 1)
        answers_task = bool(index) and _task(chat, index - 1) is not None
        shown = self.keeps_reasoning(chat) or index > dsml.last_user(chat, results=True)
        if self.thinking and shown and not answers_task:
            yield from dsml.thought(message)
        yield body(content_text(chat, index))
        if message.tool_calls:
            yield from _CALLS.said(message.tool_calls)
        if not message.extra.get("wo_eos"):
            yield special(deepseek.EOS)

    def _asks(self, chat: Chat, index: int, *, last: bool = False) -> tuple[Segment, ...]:
        """Return what asks the model for an answer after message `index`; `last`: as if no more messages came."""
        task = _task(chat, index)
        if task is None and chat.role(index) not in ("user", "developer", "tool"):
            return ()
        if task is not None and task != "action":
            return (special(_TASKS[task]),)
        opens = last or task is not None or self.keeps_reasoning(chat) or index >= dsml.last_user(chat, results=True)
        think = deepseek.THINK if self.thinking and opens else deepseek.END_THINK
        asks = (special(deepseek.ASSISTANT), special(think))
        return asks if task is None else (*asks, special(_TASKS[task]))

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return what asks for an answer to a user, a developer or a tool, or for that of a task; else nothing."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        return self._asks(chat, index - 1, last=True) if index else ()

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; nothing is trimmed."""
        return _CALLS.read(until(sampled, self.stop_tokens), self.reasoning, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return _CALLS.follows(self.stop_tokens, self.reasoning)


def _first(chat: Chat, index: int) -> int:
    """Return the first message of the turn that a message shares: users and results in a row are merged."""
    return chat.running("deepseek_v4_firsts", _firsts)[index]


def _firsts(chat: Chat) -> list[int]:
    first: list[int] = []
    for index in range(len(chat.messages)):
        first.append(first[-1] if index and _shares_turn(chat, index, first[-1]) else index)
    return first


def _shown(chat: Chat, index: int) -> int:
    """Return the result that stands in the place of a message: those of a turn are in the order of the calls before."""
    first = _first(chat, index)
    caller = chat.running("deepseek_v4_callers", _callers)[first]
    if caller < 0 or not isinstance(chat.messages[index], ToolMessage):
        return index
    return chat.once(f"deepseek_v4_results_{first}", partial(_in_order, first=first, caller=caller))[index]


def _callers(chat: Chat) -> list[int]:
    """Return for each message the last one before it that calls with ids, or -1."""
    callers = [-1]
    for index, message in enumerate(chat.messages):
        calls = message.tool_calls if isinstance(message, AssistantMessage) else ()
        callers.append(index if calls else callers[-1])
    return callers


def _in_order(chat: Chat, first: int, caller: int) -> dict[int, int]:
    """Return the result that stands in each result's place of a turn; one of no known call is with the first."""
    calling = chat.messages[caller]
    calls = calling.tool_calls if isinstance(calling, AssistantMessage) else ()
    order: dict[str | None, int] = {call.id: place for place, call in enumerate(calls) if call.id}
    turn = takewhile(lambda index: _first(chat, index) == first, range(first, len(chat.messages)))
    results = [index for index in turn if isinstance(chat.messages[index], ToolMessage)]
    return dict(zip(results, sorted(results, key=lambda index: order.get(chat.answered_call(index), 0)), strict=True))


def _shares_turn(chat: Chat, index: int, first: int) -> bool:
    """Return whether a message goes on with the turn before it, which began at `first`."""
    both = all(isinstance(chat.messages[k], (UserMessage, ToolMessage)) for k in (index - 1, index))
    return both and (isinstance(chat.messages[index], ToolMessage) or chat.messages[first].extra.get("task") is None)


def _said_by_user(chat: Chat, index: int) -> list[Segment]:
    """Return what a user says, or a result: the first of a turn after the user's marker, the others apart."""
    shown = _shown(chat, index)
    said = [special(deepseek.USER) if _first(chat, index) == index else _APART]
    if isinstance(chat.messages[index], UserMessage):
        return [*said, body(content_text(chat, index))]
    said.append(scaffold("<tool_result>"))
    for position, text in enumerate(content_texts(chat, shown)):
        said += (_APART, body(text)) if position else (body(text),)
    return owned(shown, [*said, scaffold("</tool_result>")])


def _task(chat: Chat, index: int) -> str | None:
    """Return the task that the turn of message `index` ends with."""
    task = chat.messages[_first(chat, index)].extra.get("task")
    return str(task) if task is not None else None


def _check_task(chat: Chat, index: int) -> None:
    """Refuse a task that is none, or that the encoder would leave out."""
    task = chat.messages[index].extra.get("task")
    if task is None:
        return
    path = f"messages[{index}].task"
    if not isinstance(task, str) or task not in _TASKS:
        raise ConversationError(path, f"must be one of {', '.join(_TASKS)}", task)
    if isinstance(chat.messages[index], ToolMessage) or _first(chat, index) != index:
        raise ConversationError(path, "is lost in a turn that a result or another user message began", task)
    after = next((k for k in range(index, len(chat.messages)) if _first(chat, k) != index), len(chat.messages))
    if chat.role(after) not in ("assistant", "latest_reminder", None):
        raise ConversationError(path, f"is asked of an answer; here a {chat.role(after)} message follows", task)


FAMILY: Final = DeepSeekV4

MODELS: Final = {
    "deepseek-ai/DeepSeek-V4": DeepSeekV4(),
    "deepseek-ai/DeepSeek-V4-Flash": DeepSeekV4(),
    "deepseek-ai/DeepSeek-V4-Flash-0731": DeepSeekV4(variant="flash-0731"),
}

TEMPLATES: Final[dict[str, Family]] = {}
