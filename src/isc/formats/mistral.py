"""Mistral: users speak between `[INST]` and `[/INST]`, answers end with `</s>`, a call begins with `[TOOL_CALLS]`.

Follows `mistralai/Mistral-7B-Instruct-v0.3` (v3, template sha256 e16746b40344d6c5),
`mistralai/Mistral-Nemo-Instruct-2407` (v3-tekken, e4676cb56dffea77), `mistralai/Mistral-Small-3.2-24B-Instruct-2506`
(v11, 5b8f31f111986965), `mistralai/Ministral-3-14B-Reasoning-2512` (v13, 39f03c383413f531) and Unsloth's template of
`mistralai/Devstral-Small-2507` (devstral, 039a4710e2aabaa7); the 3B and 8B of Ministral 3 are inferred. v3 says a
system message inside the user's turn that ends the conversation; as in its template, the message is not there where an
answer or a result ends it. The others have a system turn, with a default. Up to v11 tools stand before the last user's
turn, and before every equal one. So a bridge to a new user's turn shows tools once more, and leaves the system's words
where they were. Up to v11 the ids of calls are text of the turn, and a turn that calls says nothing else: its template
drops the content, so isc refuses it. Reasoning is said in v13; the templates of the others drop it. Users and
assistants take turns, but for Unsloth's. The ids are those of mistral-common, which differs from v3's template: it says
a system message in the last user's turn whatever follows, quotes results that are no JSON, shows tools once, and it has
no default system message. Users show images in v11 and v13, in rows of `[IMG]` as transformers' processor of these
models writes them, each row ended by `[IMG_BREAK]`, the last by `[IMG_END]`; all of these are placeholders, and body.
As in its template, v13 says an image before the text beside it if a message holds just these two; mistral-common does
so in every version, and with several texts before one image.

Deviations: a call without an id has its number in the conversation, nine digits, and a result without one has the id of
the call at its place, where the templates up to v11 fail; arguments given as JSON text are rendered up to v11 as what
the text says, where the template quotes the text once more; content None is no content, where the templates fail or
print "None"; all texts of content given as a list are said, where some templates take the first; reasoning_content is
said like thinking parts before the content; an answer that says nothing is closed, where the template of v13 fails; a
name is said as it is, where that template escapes HTML in it if arguments are an object; an empty list of tools, or of
calls, is none; isc refuses ids up to v11 that are not nine letters, digits, `_` or `-`, where the templates count the
characters alone; isc refuses results that follow no call, as mistral-common does where it serves, and turns before the
first user's, which some templates take; other parts than text are refused, but for those images, which v11's template
shows of assistants too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

from msgspec.structs import replace

from isc._json import json_text
from isc.errors import ConversationError, OptionError
from isc.formats._dates import today
from isc.formats._mistral_prompts import DEVSTRAL_2507, MINISTRAL_3_REASONING, SMALL_3_2
from isc.formats.base import Family
from isc.formats.reading.coded import IDENTITY
from isc.formats.reading.grammars import Grammar, read_parts
from isc.formats.reading.json_calls import JsonCalls
from isc.formats.reading.scanners import until
from isc.formats.segments import (
    ROW_ENDS,
    arguments_text,
    arguments_written,
    body,
    content_pieces,
    content_text,
    is_special,
    placeholder_rows,
    scaffold,
    special,
    spelled,
    unsupported_role,
)
from isc.types import (
    AssistantMessage,
    Chat,
    Ended,
    MediaPart,
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

Variant: TypeAlias = Literal["v3", "v3-tekken", "v11", "v13", "devstral"]

_V3: Final = (
    "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
)  # fmt: skip
_LATER: Final = ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[ARGS]")
_PLACEHOLDER: Final = "[IMG]"
_IMAGES: Final = (_PLACEHOLDER, *ROW_ENDS[_PLACEHOLDER])
_SPECIALS: Final[dict[Variant, tuple[str, ...]]] = {
    "v3": _V3,
    "v3-tekken": _V3,
    "v11": (*_V3, *_LATER, "[CALL_ID]", "[TOOL_CONTENT]", *_IMAGES),
    "v13": (*_V3, *_LATER, "[THINK]", "[/THINK]", *_IMAGES),
    "devstral": (*_V3, *_LATER),
}
_BOS, _EOS, _INST, _END_INST, _TOOLS, _END_TOOLS, _RESULT, _END_RESULT, _CALLS = map(special, _V3)
_SYSTEM, _END_SYSTEM, _ARGUMENTS = map(special, _LATER)
_CALL_ID, _CONTENT, _THINK, _END_THINK = map(special, ("[CALL_ID]", "[TOOL_CONTENT]", "[THINK]", "[/THINK]"))
_LISTED: Final = JsonCalls(_CALLS.text, "", (_CALLS.text,), id_key="id")
_NAMED: Final = JsonCalls(_CALLS.text, "", (_CALLS.text, _ARGUMENTS.text), _ARGUMENTS.text)
_NAMED_WITH_ID: Final = JsonCalls(
    _CALLS.text,
    "",
    (_CALLS.text, _CALL_ID.text, _ARGUMENTS.text),
    f"{_CALL_ID.text}{IDENTITY}{_ARGUMENTS.text}",
)
_GRAMMARS: Final[dict[Variant, JsonCalls]] = {
    "v3": _LISTED,
    "v3-tekken": _LISTED,
    "v11": _NAMED_WITH_ID,
    "v13": _NAMED,
    "devstral": _NAMED,
}
_REASONING: Final = Reasoning(_THINK.text, _END_THINK.text, (_END_THINK,), (_CALLS.text,))
_PAIR: Final = 2
_ID: Final = re.compile(r"[A-Za-z0-9_-]{9}")


class Mistral(Family, frozen=True, tag_field="family", tag="mistral"):
    """The instruction-tuned models of Mistral AI.

    Args:
        variant: Which version of the format: that of 7B v0.3, of Nemo, of Small 3.2, of Ministral 3 Reasoning, or
            Unsloth's template of Devstral.
        current_date: The day that the default system message of v11 names, YYYY-MM-DD; None is the present day.

    Raises:
        OptionError: `current_date` for a version that names no day.
        ConversationError: From `opening` and `turn`, for what the format cannot say: see the module.

    >>> Mistral().shape.alternates, Mistral().shape.calls_alone, Mistral(variant="v13").keeps_history
    (True, True, True)
    """

    variant: Variant = "v3-tekken"
    current_date: str | None = None

    turn_close: ClassVar[str] = _EOS.text
    one_prompt: ClassVar[bool] = True
    tells_ending: ClassVar[bool] = True
    stop_tokens: ClassVar[tuple[str, ...]] = (_EOS.text,)

    def check_options(self) -> None:
        """Refuse a day for a version that names none."""
        if self.current_date is not None and self.variant != "v11":
            problem = f"mistral: {self.variant!r} names no current_date; drop it, or take variant 'v11'"
            raise OptionError(problem)

    @property
    def specials(self) -> tuple[str, ...]:
        """Return the specials of this version."""
        return _SPECIALS[self.variant]

    @property
    def keeps_history(self) -> bool:
        """Return whether tools and system message stay where they are, which they do from v13 on."""
        return self.variant in ("v13", "devstral")

    @property
    def reasoning(self) -> Reasoning | None:
        """Return how reasoning is bracketed, in v13."""
        return _REASONING if self.variant == "v13" else None

    def opening(self, chat: Chat) -> Iterator[Segment]:
        """Yield BOS, the system turn but in v3, and tools from v13 on."""
        first = int(isinstance(chat.messages[0], SystemMessage))
        if self.variant != "devstral" and chat.role(first) != "user":
            path = f"messages[{first}].role" if chat.role(first) else "messages"
            raise ConversationError(path, "mistral's conversations begin with a user's turn", chat.role(first))
        yield _BOS
        if self._is_v3:
            return
        yield _SYSTEM
        if first:
            yield body(content_text(chat, 0))
        else:
            yield from spelled(self._default_system(), self.specials)
        yield _END_SYSTEM
        if chat.tools and self.keeps_history:
            yield from (_TOOLS, scaffold(json_text([tool.schema for tool in chat.tools])), _END_TOOLS)

    @property
    def _is_v3(self) -> bool:
        return self.variant in ("v3", "v3-tekken")

    def _default_system(self) -> str:
        if self.variant == "v11":
            return SMALL_3_2.replace("{today}", self.current_date or today("%Y-%m-%d"))
        return DEVSTRAL_2507 if self.variant == "devstral" else MINISTRAL_3_REASONING

    def turn(self, chat: Chat, index: int) -> Segments:
        """Yield one message. A leading system message belongs to the opening, that of v3 to the last user's turn."""
        message = chat.messages[index]
        if isinstance(message, SystemMessage) and not index:
            return ()
        if isinstance(message, ToolMessage):
            return self._result(chat, index, message)
        if isinstance(message, UserMessage):
            self._check_order(chat, index)
            return (*self._tools_before(chat, index), _INST, *self._system_in(chat, index), *self._said(chat, index),
                    _END_INST)  # fmt: skip
        if isinstance(message, AssistantMessage):
            return self._answer(chat, index, message)
        if not isinstance(message, SystemMessage) or self.variant not in ("v11", "devstral"):
            raise unsupported_role(chat, index, "mistral", "say it in the first message, a system message")
        self._check_order(chat, index)
        return (_SYSTEM, body(content_text(chat, index)), _END_SYSTEM)

    def _check_order(self, chat: Chat, index: int) -> None:
        """Refuse a turn of a user, or of an assistant who calls nothing, that does not alternate."""
        if self.variant == "devstral":
            return
        spoke, is_user = chat.running("mistral_places", _places)[index].user_spoke, chat.role(index) == "user"
        is_first = index == int(isinstance(chat.messages[0], SystemMessage))
        if spoke == is_user or (spoke is None and is_user and not is_first):
            problem = "mistral's users and assistants take turns; put what is said in a row into one message"
            raise ConversationError(f"messages[{index}].role", problem, chat.role(index))

    def _tools_before(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield the tools where they stand before this user's turn."""
        if not chat.tools or self.keeps_history or not _is_as_the_last(chat, index):
            return
        yield _TOOLS
        if self._is_v3:
            yield scaffold(f"{self._space}[{', '.join(map(_declared, chat.tools))}]")
        else:
            yield scaffold(json_text([tool.schema for tool in chat.tools]))
        yield _END_TOOLS

    @property
    def _space(self) -> str:
        """Return what stands after a special where the vocabulary begins texts with a space."""
        return " " if self.variant == "v3" else ""

    def _system_in(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield what precedes the words of a user: in v3 a system message, if they are the last of the conversation."""
        yield scaffold(self._space)
        if self._is_v3 and index == len(chat.messages) - 1 and isinstance(chat.messages[0], SystemMessage):
            yield Segment(content_text(chat, 0), "text", True, 0)
            yield scaffold("\n\n")

    def _said(self, chat: Chat, index: int) -> Iterator[Segment]:
        """Yield what a user says and, in the versions of models that see, shows."""
        if _PLACEHOLDER not in self.specials:
            yield body(content_text(chat, index))
            return
        pieces = content_pieces(chat, index)
        for position, piece in enumerate(pieces):
            if not isinstance(piece, str) and not piece.row:
                problem = "has no rows, which mistral tells apart: its renderer needs isc.media.PixtralImages"
                raise ConversationError(f"messages[{index}].content[{position}]", problem)
        if self.variant == "v13" and len(pieces) == _PAIR:  # `sort(attribute='type')`
            pieces.sort(key=lambda piece: isinstance(piece, str))
        for piece in pieces:
            if isinstance(piece, str):
                yield body(piece)
            else:
                yield from placeholder_rows(_PLACEHOLDER, piece)

    def _answer(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield an assistant's turn."""
        content = content_text(chat, index)
        if not message.tool_calls:
            self._check_order(chat, index)
        elif content and not self.keeps_history:
            problem = "mistral says nothing in a turn that calls, up to v11; give it a turn of its own or leave it out"
            raise ConversationError(f"messages[{index}].content", problem, message.content)
        if self.variant == "v13" and message.reasoning_content:
            yield from (_THINK, body(message.reasoning_content, "reasoning"), _END_THINK)
        if self.variant == "v3" and not message.tool_calls:
            content = content.strip()
            yield scaffold(self._space)
        yield body(content)
        yield from self._calls(chat, index, message)
        yield _EOS

    def _calls(self, chat: Chat, index: int, message: AssistantMessage) -> Iterator[Segment]:
        """Yield the calls of a turn: one list in v3, one after another later."""
        if self.keeps_history:
            for call in message.tool_calls:
                arguments = arguments_text(call) or self._no_arguments
                yield from (_CALLS, body(call.name, "tool_name"), _ARGUMENTS, body(arguments, "tool_arguments"))
            return
        ids = chat.running("mistral_places", _places)[index].ids
        for position, identity in enumerate(ids):
            _check_id(identity, f"messages[{index}].tool_calls[{position}].id")
        named = list(zip(message.tool_calls, ids, strict=True))
        if self._is_v3 and named:
            yield from (_CALLS, scaffold(f"{self._space}["))
            for position, (call, identity) in enumerate(named):
                yield scaffold(", " if position else "")
                yield from _listed(call, identity)
            yield scaffold("]")
            return
        for call, identity in named:
            yield from (_CALLS, body(call.name, "tool_name"), _CALL_ID, body(identity, "tool_name"))
            yield from (_ARGUMENTS, body(arguments_written(call), "tool_arguments"))

    @property
    def _no_arguments(self) -> str:
        return "{}" if self.variant == "v13" else ""

    def _result(self, chat: Chat, index: int, message: ToolMessage) -> Iterator[Segment]:
        """Yield a tool's result, up to v11 with the id of its call."""
        place = chat.running("mistral_places", _places)[index]
        if self.variant != "devstral" and not place.ids:
            problem = "is the result of no call: the message before it is no assistant message that calls"
            raise ConversationError(f"messages[{index}].role", problem, "tool")
        yield _RESULT
        if self.keeps_history:
            yield from (body(content_text(chat, index)), _END_RESULT)
            return
        identity = message.tool_call_id
        if identity is None and place.results < len(place.ids):
            identity = place.ids[place.results]
        _check_id(identity, f"messages[{index}].tool_call_id")
        text = body(content_text(chat, index))
        if self._is_v3:
            yield from (scaffold(f'{self._space}{{"content": '), text, scaffold(f', "call_id": "{identity}"}}'))
        else:
            yield from (scaffold(f"{identity}"), _CONTENT, text)
        yield _END_RESULT

    def generation_prompt(self, chat: Chat) -> Segments:
        """Yield nothing: what follows a user's words or a result is an answer."""
        return ()

    @property
    def day(self) -> str | None:
        """Return the day that the default system message names."""
        return self.current_date

    def dated(self, day: str) -> Mistral:
        """Return the format with a day, unless it has one or never names any."""
        return self if self.variant != "v11" or self.current_date else replace(self, current_date=day)

    def ended(self, sampled: Sampled) -> Ended:
        """Return how a completion ended, and with which calls: results may leave out their ids."""
        parsed = self.parse(sampled, ())
        closing = () if self.reasoning is None or parsed.reasoning_complete else self.reasoning.closing
        if not (sampled.segments and is_special(sampled.segments[-1], _EOS.text)):
            closing = (*closing, _EOS)
        calls = tuple(ToolCall(call.name or "unknown", {}, call.id) for call in parsed.tool_calls)
        return Ended(closing, not parsed.reasoning_complete, AssistantMessage("", tool_calls=calls))

    @property
    def grammar(self) -> Grammar:
        """Return the spelling of calls of the version."""
        return _GRAMMARS[self.variant]

    def parse(self, sampled: Sampled, tools: tuple[ToolSpec, ...]) -> ParsedResponse:
        """Read a sampled turn back."""
        turn = until(sampled, self.stop_tokens)
        parts = read_parts(turn, self.reasoning, self.grammar, tools=tools)
        content = "".join(parts.pieces)
        content = content.strip() if self.variant == "v3" else content
        return ParsedResponse(content, parts.thought, parts.calls, parts.complete)


class _Place(NamedTuple):
    """What stands before a message.

    `user_spoke`: whether it was a user who spoke last, None before anybody did. `ids`: those of the calls that a turn
    makes, or a result may answer. `results`: how many of these were given before.
    """

    user_spoke: bool | None
    ids: tuple[str, ...] = ()
    results: int = 0


def _places(chat: Chat) -> list[_Place]:
    places: list[_Place] = []
    user_spoke: bool | None = None
    ids: tuple[str, ...] = ()
    results = calls = 0
    for index, message in enumerate(chat.messages):
        if isinstance(message, ToolMessage):
            places.append(_Place(user_spoke, ids, results))
            results += 1
            continue
        called = message.tool_calls if isinstance(message, AssistantMessage) else ()
        ids, results = tuple(call.id or f"{calls + k:09d}" for k, call in enumerate(called)), 0
        places.append(_Place(user_spoke, ids))
        calls += len(called)
        if not called and (index or not isinstance(message, SystemMessage)):
            user_spoke = isinstance(message, UserMessage)
    return places


def _check_id(identity: str | None, path: str) -> None:
    """Refuse an id of a call that the format cannot say."""
    if identity is None:
        raise ConversationError(path, "is missing, and no call is at the place of this result: give the call's id")
    if _ID.fullmatch(identity) is None:
        problem = (
            "must be nine letters, digits, '_' or '-' in mistral's format up to v11: rename the call and its result"
        )
        raise ConversationError(path, problem, identity)


def _is_as_the_last(chat: Chat, index: int) -> bool:
    """Return whether a user's message is the last one, or equal to it, as the templates compare."""
    last = chat.user_indices[-1]
    if index == last:
        return True
    contents = (_compared(chat, index), _compared(chat, last))
    return contents[0] == contents[1] and _said_besides(chat, index) == _said_besides(chat, last)


def _compared(chat: Chat, index: int) -> object:
    """Return the content of a message as templates compare it: images by how they were given."""
    parts = chat.messages[index].content
    if isinstance(parts, tuple) and any(isinstance(part, MediaPart) for part in parts):
        return [part.raw if isinstance(part, MediaPart) else part for part in parts]
    return content_text(chat, index)


def _said_besides(chat: Chat, index: int) -> object:
    message = chat.messages[index]
    return message.name, message.extra


def _listed(call: ToolCall, identity: str) -> Iterator[Segment]:
    """Yield a call as an item of the list of v3."""
    yield from (scaffold('{"name": '), body(json_text(call.name), "tool_name"))
    yield from (scaffold(', "arguments": '), body(arguments_written(call), "tool_arguments"))
    yield from (scaffold(', "id": "'), body(identity, "tool_name"), scaffold('"}'))


def _declared(tool: ToolSpec) -> str:
    """Return a tool as v3 shows it, texts as they are."""
    fields = (
        f'"{key}": ' + (f'"{value}"' if isinstance(value, str) else json_text(value))
        for key, value in tool.function.items()
        if key != "return"
    )
    return f'{{"type": "function", "function": {{{", ".join(fields)}}}}}'


FAMILY: Final = Mistral

MODELS: Final = {
    "mistralai/Mistral-7B-Instruct-v0.3": Mistral(variant="v3"),
    "mistralai/Mistral-Nemo-Instruct-2407": Mistral(),
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506": Mistral(variant="v11"),
    "mistralai/Ministral-3-14B-Reasoning-2512": Mistral(variant="v13"),
    # inferred: the same release
    **{f"mistralai/Ministral-3-{size}-Reasoning-2512": Mistral(variant="v13") for size in ("3B", "8B")},
    # inferred: the model ships no template that is at hand; it is an edit of this
    "mistralai/Devstral-Small-2507": Mistral(variant="devstral"),
    "unsloth/Devstral-Small-2507": Mistral(variant="devstral"),
}

TEMPLATES: Final = {
    "e16746b40344d6c5": Mistral(variant="v3"),
    "e4676cb56dffea77": Mistral(),
    "5b8f31f111986965": Mistral(variant="v11"),
    "39f03c383413f531": Mistral(variant="v13"),
    "039a4710e2aabaa7": Mistral(variant="devstral"),
}
