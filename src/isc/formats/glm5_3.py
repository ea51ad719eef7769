"""GLM-5.3: GLM-5.2's turns, always thinking, results in the order of the calls that they answer.

Follows `zai-org/GLM-5.3` as put together from a server's copy, without its branches for `tool_reference` (template
sha256 51150c55d8b62f71): the revision that the model ships may differ. Images, videos and sounds of users, tools and
system messages are told by a reminder that the model cannot see them. Where all calls of a turn and all results after
it have ids, results stand in the order of the calls; each is owned by the message that gives it. A bridge does not know
the ids of calls that were sampled, and renders results in the order in which they are given. Deviations: those of
`glm4_5` on arguments as JSON text, content None and `developer` messages; a result that answers none of those calls is
refused, where the template drops it, and so are two calls of one id, whose results it renders twice; other parts than
text in an answer are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count, takewhile
from typing import ClassVar, Final, Literal, TypeAlias

from isc.errors import ConversationError
from isc.formats import _glm as glm
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.types import (
    AssistantMessage,
    Chat,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segments,
    ToolCall,
    ToolMessage,
    ToolSpec,
)

Effort: TypeAlias = Literal["max", "high", "low"]


class Glm53(Family, frozen=True, tag_field="family", tag="glm-5.3"):
    """The GLM-5.3 text models.

    Args:
        clear_thinking: False keeps the reasoning of earlier turns, which a user message drops otherwise.
        reasoning_effort: What the first turn says.

    Raises:
        ConversationError: From `turn`, for results that cannot be put in the order of the calls.

    >>> Glm53(reasoning_effort="low").keeps_history
    False
    """

    clear_thinking: bool = True
    reasoning_effort: Effort = "max"

    specials: ClassVar[tuple[str, ...]] = glm.SPECIALS
    turn_close: ClassVar[None] = None  # the next role's marker closes a turn
    stop_tokens: ClassVar[tuple[str, ...]] = glm.STOP_TOKENS
    reasoning: ClassVar[Reasoning] = glm.REASONING

    @property
    def keeps_history(self) -> bool:
        """Return whether reasoning is not cleared."""
        return not self.clear_thinking

    def opening(self, chat: Chat) -> Segments:
        """Yield the beginning of every text, and what a turn of its own says of the effort."""
        return glm.opening_with_effort(chat, self.reasoning_effort)

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools in a system turn of their own."""
        return glm.effort_and_tools(chat, self.reasoning_effort)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message, or of results in a row the one that the order of the calls puts here."""
        message = chat.messages[index]
        if isinstance(message, AssistantMessage):
            return glm.blocked_answer(chat, index, message, clears=self.clear_thinking)
        if isinstance(message, ToolMessage):
            return glm.observation(chat, index, _shown_at(chat, index))
        return glm.plain_turn(chat, index, "glm-5.3", glm.ONE_LINE, glm.content_or_reminder)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return the assistant's marker and an open think block."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        return glm.generation_prompt(chat, index, glm.THINK)

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        return glm.parse(sampled, tools, glm.ONE_LINE)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return glm.FOLLOWS


def _shown_at(chat: Chat, index: int) -> int:
    """Return the message whose result stands at the place of tool result `index`."""
    caller = chat.running("callers", _callers)[index]
    return index if caller < 0 else chat.once(f"results_of_{caller}", partial(_results_of, caller=caller))[index]


def _callers(chat: Chat) -> list[int]:
    """Return for each message the turn with calls before it, -1 where more than results stand between."""
    callers = [-1]
    for index, message in enumerate(chat.messages):
        calls = isinstance(message, AssistantMessage) and message.tool_calls
        callers.append(callers[-1] if isinstance(message, ToolMessage) else index if calls else -1)
    return callers


def _results_of(chat: Chat, *, caller: int) -> Mapping[int, int]:
    """Return for each place of a tool result after a turn the message whose result stands there."""
    message = chat.messages[caller]
    made = message.tool_calls if isinstance(message, AssistantMessage) else ()
    results = list(takewhile(lambda place: chat.role(place) == "tool", count(caller + 1)))
    return dict(zip(results, _in_order_of_calls(chat, caller, made, results), strict=True))


def _in_order_of_calls(chat: Chat, turn: int, made: Sequence[ToolCall], results: Sequence[int]) -> Sequence[int]:
    """Return the results after a turn in the order of its calls. Where one has no id, the order stays."""
    calls = {call.id: place for place, call in enumerate(made)}
    answered = {index: chat.answered_call(index) for index in results}
    if not (results and all(calls) and all(answered.values())):
        return results
    if len(calls) < len(made):
        problem = "calls of one turn share an id, and the template renders their results twice; give each its own"
        raise ConversationError(f"messages[{turn}].tool_calls", problem)
    for index, identity in answered.items():
        if identity not in calls:
            problem = "answers no call of the turn before it, and the template drops such a result"
            raise ConversationError(f"messages[{index}].tool_call_id", problem, identity)
    return sorted(results, key=lambda index: calls[answered[index]])


FAMILY: Final = Glm53

MODELS: Final = {f"zai-org/GLM-5.3{kind}": Glm53() for kind in ("", "-BF16")}

TEMPLATES: Final = {"51150c55d8b62f71": Glm53()}
