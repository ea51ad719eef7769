"""Gemma 3: users and model take turns strictly, the system's words stand before the first user's, there are no tools.

Follows `google/gemma-3-4b-it` (template sha256 7de1c58e208eda46). Deviations: all texts of a system message given as a
list are said, where the template takes the first; content None is no content, where the template raises. isc refuses
what the template drops in silence or renders as a turn that the model was not trained on: tools and calls, a system
message that no user message follows, roles `developer` and `tool` and a system message that is not the first; and
images, which the template knows. Reasoning is dropped, as the template drops it.
"""

from __future__ import annotations

from typing import ClassVar, Final

from isc.errors import ConversationError
from isc.formats.base import Family
from isc.formats.reading.following import Follows
from isc.formats.reading.scanners import spelling, until
from isc.formats.segments import body, content_text, content_texts, scaffold, special, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    ParsedResponse,
    Sampled,
    Segment,
    Segments,
    SystemMessage,
    ToolSpec,
    UserMessage,
)

_BOS: Final = special("<bos>")
_START: Final = special("<start_of_turn>")
_END: Final = special("<end_of_turn>")
_NEWLINE: Final = scaffold("\n")
_NAMES: Final = {UserMessage: "user", AssistantMessage: "model"}


class Gemma3(Family, frozen=True, tag_field="family", tag="gemma-3"):
    """The Gemma 3 instruction-tuned models, text only.

    Raises:
        ConversationError: From `opening` and `turn`, for what the format cannot say: see the module.

    >>> Gemma3().shape.alternates
    True
    """

    specials: ClassVar[tuple[str, ...]] = (_BOS.text, "<eos>", _START.text, _END.text)
    turn_close: ClassVar[str] = _END.text
    one_prompt: ClassVar[bool] = True
    # generation_config.json of google/gemma-3-4b-it: 1, 106
    stop_tokens: ClassVar[tuple[str, ...]] = (_END.text, "<eos>")
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[None] = None

    def opening(self, chat: Chat) -> Segments:
        """Yield BOS. A system message belongs to the first user's turn."""
        if chat.tools:
            problem = "gemma-3's template shows the model no tools; say what they are in a message"
            raise ConversationError("tools", problem, [tool.name for tool in chat.tools])
        first = int(isinstance(chat.messages[0], SystemMessage))
        if chat.role(first) != "user":
            path = f"messages[{first}].role" if chat.role(first) else "messages"
            raise ConversationError(path, "gemma-3's conversations begin with a user's turn", chat.role(first))
        return (_BOS,)

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message, its texts trimmed. A leading system message belongs to the user's turn that follows it."""
        message = chat.messages[index]
        if index == 0 and isinstance(message, SystemMessage):
            return ()
        name = _NAMES.get(type(message))
        if name is None:
            raise unsupported_role(chat, index, "gemma-3", "say it in a user's message")
        if chat.role(index) == chat.role(index - 1):
            problem = "gemma-3's users and assistants take turns; put what is said in a row into one message"
            raise ConversationError(f"messages[{index}].role", problem, chat.role(index))
        if isinstance(message, AssistantMessage) and message.tool_calls:
            problem = "gemma-3's template drops calls; say them in the content"
            raise ConversationError(f"messages[{index}].tool_calls", problem, message.tool_calls[0].name)
        said = body("".join(text.strip() for text in content_texts(chat, index)))
        return (_START, scaffold(f"{name}\n"), *_system_before(chat, index), said, _END, _NEWLINE)

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield the head of a model's turn."""
        return (_START, scaffold("model\n"))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back: all of it is content."""
        return ParsedResponse(spelling(until(sampled, self.stop_tokens).segments))

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return Follows(self.stop_tokens)


def _system_before(chat: Chat, index: int) -> tuple[Segment, ...]:
    """Return the text of a leading system message unchanged, for the turn after it."""
    if index != 1 or chat.role(0) != "system":
        return ()
    return (Segment(content_text(chat, 0), "text", True, 0), scaffold("\n\n"))


FAMILY: Final = Gemma3

MODELS: Final = {f"google/gemma-3-{size}-it": Gemma3() for size in ("270m", "1b", "4b", "12b", "27b")}

TEMPLATES: Final = {"7de1c58e208eda46": Gemma3()}
