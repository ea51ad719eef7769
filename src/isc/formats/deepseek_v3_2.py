"""DeepSeek-V3.2: DSML calls, tool results between tags after the turn that calls, thinking or not as the prompt says.

Follows FORMAT.md of `deepseek-ai/DeepSeek-V3.2`, which ships a Python encoder and no template; all of its examples
come out byte for byte. A user or a developer is answered after `<｜Assistant｜>` and `<think>` or `</think>`, the
last of a turn's results is answered after a blank line and one of these: that is the generation prompt, rendered
where it is asked for and wherever any message follows, where the encoder also ends a conversation with it. Results
stand in the order they are given. Earlier reasoning is dropped when thinking. `｜DSML｜` is a token where the
vocabulary has it, else text. Messages may have the encoder's own keys `tools` and `response_format`.

The tools block has blank lines between its paragraphs, as the outputs that the model ships with its encoder have them,
and the ports of llama.cpp and mlx-lm. The copy of the encoder in SGLang, from which FORMAT.md has the block, lost them:
`variant="sglang"` is that.

Deviations: tools of a chat whose first message is no system or developer message stand in a system message without
content, where the encoder shows none of a user's; arguments that are no object are one parameter `arguments`, a turn
after the last user's may have neither reasoning nor calls when thinking, a developer may say nothing, and parts of a
content are joined, where the encoder fails; content None is no content, where it prints "None"; isc refuses a developer
message before the last user's while reasoning is dropped, which the encoder leaves out in silence, and keys that a
message of that role cannot show. As the encoder does, isc refuses a result that follows no call, and more results than
calls.

A port by llama.cpp is a second witness (sha256 53b9683b3653cec3). It renders the same but for this, where the
encoder is right as FORMAT.md has it: it puts all system messages first, joined by blank lines, and begins the
tools block without a blank line where there are none; it writes a call without parameters without their empty
line; it leaves `<｜Assistant｜>` and its tag out after a user whom no assistant follows; it reads a run of results
from the last turn that calls, wherever they stand; after an assistant's turn it writes no reasoning in the next;
it leaves out a developer's message and a response format; and without thinking it asks with `<think></think>`,
where history has `</think>` alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec.structs import replace

from isc.errors import OptionError
from isc.formats import _deepseek as deepseek
from isc.formats import _dsml as dsml
from isc.formats._shape import Shape, asked
from isc.formats.base import Family
from isc.formats.reading.dsml_calls import DSML, KEYS, TEXTS, DsmlCalls
from isc.formats.reading.following import Follows
from isc.formats.reading.scanners import until
from isc.formats.segments import body, content_text, is_special, scaffold, special, unsupported_role
from isc.types import (
    AssistantMessage,
    Chat,
    DeveloperMessage,
    Ended,
    ParsedResponse,
    Reasoning,
    Sampled,
    Segment,
    Segments,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

Variant: TypeAlias = Literal["shipped", "sglang"]

_TOOLS: Final = dsml.tags(
    "## Tools\n\nYou have access to a set of tools you can use to answer the user's question.\n"
    'You can invoke functions by writing a "<~function_calls>" block like the following as part of your reply to the '
    'user:\n<~function_calls>\n<~invoke name="$FUNCTION_NAME">\n'
    '<~parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</~parameter>\n...\n</~invoke>\n'
    '<~invoke name="$FUNCTION_NAME2">\n...\n</~invoke>\n</~function_calls>\n\n'
    "String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects "
    'should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for '
    "other types (numbers, booleans, arrays, objects).\n\n"
    "If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking "
    "block. Here is an example:\n\n<~function_calls>\n...\n</~function_calls>\n\n"
    "<function_results>\n...\n</function_results>\n\n<think>...thinking about results</think>\n\n"
    "Here are the functions available in JSONSchema format:\n<functions>\n"
)
_WORDING: Final = {"shipped": _TOOLS, "sglang": _TOOLS.replace("\n\n", "\n")}
_TOOLS_END: Final = "\n</functions>\n"


class DeepSeekV32(Family, frozen=True, tag_field="family", tag="deepseek-v3.2"):
    """DeepSeek-V3.2.

    Args:
        thinking: Whether the model thinks before it answers: the generation prompt opens reasoning or closes it.
        drop_thinking: False keeps developer messages before the last user's. It keeps no more reasoning.
        variant: Whose tools block: the one the model's encoder ships, or that of its copy in SGLang.
        tokens: Which of the format's tags are tokens, of which there is one; a renderer finds out itself.

    Raises:
        OptionError: An option has another type or value.
        ConversationError: From `turn`, for what the encoder refuses or would leave out.

    >>> DeepSeekV32(thinking=True).reasoning.opener
    '<think>'
    """

    thinking: bool = False
    drop_thinking: bool = True
    variant: Variant = "shipped"
    tokens: tuple[str, ...] = ()

    ships_template: ClassVar[bool] = False
    turn_close: ClassVar[str] = deepseek.EOS
    stop_tokens: ClassVar[tuple[str, ...]] = (deepseek.EOS,)
    tells_ending: ClassVar[bool] = True
    text_markers: ClassVar[tuple[str, ...]] = (
        *("<function_results>", "</function_results>", "<result>", "</result>", "<functions>", "</functions>"),
        *(f"<{DSML}", f"</{DSML}"),
    )
    argument_keys: ClassVar[str] = KEYS
    argument_texts: ClassVar[str] = TEXTS

    def check_options(self) -> None:
        """Refuse tokens that the format does not spell."""
        unknown = [token for token in self.tokens if token != DSML]
        if unknown:
            raise OptionError(f"deepseek-v3.2: {unknown[0]!r} is not {DSML!r}")

    def for_vocabulary(self, specials: Collection[str]) -> DeepSeekV32:
        """Return the same options, adapted to whether the vocabulary has the token of DSML."""
        return replace(self, tokens=(DSML,) if DSML in specials else ())

    @property
    def specials(self) -> tuple[str, ...]:
        """Return the markers of turns and of reasoning, and the token of DSML where there is one."""
        return (*deepseek.TURNS, deepseek.THINK, deepseek.END_THINK, *self.tokens)

    @property
    def keeps_history(self) -> bool:
        """Return whether no reasoning is dropped because there is none."""
        return not self.thinking

    @property
    def reasoning(self) -> Reasoning | None:
        """Return think blocks, where the prompt opens one."""
        return dsml.REASONING if self.thinking else None

    @property
    def shape(self) -> Shape:
        """Describe what conversations may look like. A developer message that a later message drops is refused."""
        shape = asked(self)
        return dsml.without_developer(shape) if self._drops else shape

    @property
    def _drops(self) -> bool:
        return self.thinking and self.drop_thinking

    @property
    def _calls(self) -> DsmlCalls:
        return DsmlCalls("function_calls", marks=self.tokens)

    @property
    def _wording(self) -> tuple[str, str]:
        return _WORDING[self.variant], _TOOLS_END

    def reads_key(self, key: str) -> bool:
        """Return whether the format reads a key of a message besides those that every format reads."""
        return key in dsml.HOLDS

    def opening(self, chat: Chat) -> Segments:
        """Return BOS."""
        return (special(deepseek.BOS),)

    def preamble(self, chat: Chat) -> Segments:
        """Yield the tools of a chat without a leading system or developer message."""
        return dsml.nobodys_tools(chat, self._wording, self.tokens)

    def turn(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield one message, with what asks for an answer where another message follows."""
        message = chat.messages[index]
        if message.extra:
            dsml.check_keys(chat, index)
        if isinstance(message, AssistantMessage):
            yield from self._answer(chat, index, message)
            return
        if isinstance(message, ToolMessage):
            yield from _result(chat, index)
        elif isinstance(message, UserMessage):
            yield from (special(deepseek.USER), body(content_text(chat, index)))
        elif isinstance(message, DeveloperMessage):
            yield from self._developer(chat, index)
        else:
            yield body(content_text(chat, index))
            yield from dsml.held(chat, index, self._wording, self.tokens)
        if chat.role(index + 1) not in ("assistant", None):
            yield from self._asks(chat, index)

    def _developer(self, chat: Chat, index: int) -> Iterator[Segment]:
        if self._drops and index < dsml.last_user(chat, results=False):
            raise dsml.dropped_developer(index, "deepseek-v3.2")
        yield special(deepseek.USER)
        yield from dsml.held(chat, index, self._wording, self.tokens)
        yield scaffold("\n\n# The user's message is: ")
        yield body(content_text(chat, index))

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        if index:
            yield from self._asks(chat, index - 1)
        if self.thinking and index > dsml.last_user(chat, results=False):
            yield from dsml.thought(message)
        yield body(content_text(chat, index))
        if message.tool_calls:
            yield from self._calls.said(message.tool_calls)
        yield special(deepseek.EOS)

    def _asks(self, chat: Chat, index: int, *, last: bool = False) -> tuple[Segment, ...]:
        """Return what asks the model for an answer after message `index`; `last`: as if no more messages came."""
        opens = self.thinking and (last or index >= dsml.last_user(chat, results=False))
        think = special(deepseek.THINK if opens else deepseek.END_THINK)
        if chat.role(index) in ("user", "developer"):
            return special(deepseek.ASSISTANT), think
        closed = chat.role(index) == "tool" and _place(chat, index) == len(_caller(chat, index))
        return (scaffold("\n\n"), think) if closed else ()

    def generation_prompt(self, chat: Chat) -> Segments:
        """Return what asks for an answer to a user, a developer or the last of a turn's results; else nothing."""
        return self.prompt_before(chat, len(chat.messages))

    def prompt_before(self, chat: Chat, index: int) -> Segments:
        """Return the same before turn `index`."""
        return self._asks(chat, index - 1, last=True) if index else ()

    def ended(self, sampled: Sampled) -> Ended:
        """Return what completes a turn, and its calls: the last of their results closes the tag around them."""
        response = self.parse(sampled, ())
        stopped = bool(sampled.segments) and is_special(sampled.segments[-1], deepseek.EOS)
        closing = () if response.reasoning_complete else dsml.REASONING.closing
        calls = tuple(ToolCall(call.name or "?", {}) for call in response.tool_calls)
        eos = () if stopped else (special(deepseek.EOS),)
        return Ended((*closing, *eos), not response.reasoning_complete, AssistantMessage("", tool_calls=calls))

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back; nothing is trimmed."""
        return self._calls.read(until(sampled, self.stop_tokens), self.reasoning, tools)

    def follows(self, tools: tuple[ToolSpec, ...]) -> Follows:
        """Return what tells how a turn goes on while it is sampled."""
        del tools
        return self._calls.follows(self.stop_tokens, self.reasoning)


def _result(chat: Chat, index: int) -> Iterator[Segment]:
    """Yield a tool's result between tags. The first of a turn's results opens a tag around them, the last closes it."""
    place, calls = _place(chat, index), len(_caller(chat, index))
    if place > calls:
        instead = "a result stands after a turn that makes a call, or after its other results, one for each call"
        raise unsupported_role(chat, index, "deepseek-v3.2", instead)
    if place == 1:
        yield scaffold("\n\n<function_results>")
    yield from (scaffold("\n<result>"), body(content_text(chat, index)), scaffold("</result>"))
    if place == calls:
        yield scaffold("\n</function_results>")


def _place(chat: Chat, index: int) -> int:
    """Return how many results in a row end with this one."""
    return chat.running("deepseek_v3_2_places", _places)[index]


def _places(chat: Chat) -> tuple[int, ...]:
    places: list[int] = []
    for message in chat.messages:
        places.append((places[-1] if places else 0) + 1 if isinstance(message, ToolMessage) else 0)
    return tuple(places)


def _caller(chat: Chat, index: int) -> tuple[ToolCall, ...]:
    """Return the calls of the turn before a row of results."""
    before = index - _place(chat, index)
    return deepseek.calls_of(chat, before) if before >= 0 else ()


FAMILY: Final = DeepSeekV32

MODELS: Final = {"deepseek-ai/DeepSeek-V3.2": DeepSeekV32()}

TEMPLATES: Final[dict[str, Family]] = {}
