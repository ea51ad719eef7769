"""The law of forgery: every family keeps it, however a caller spells; one that scans any of his strings does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings

import isc
from cases import CASES, Case
from golden_conversations import CONVERSATIONS
from isc import testing
from isc.encoding.encoders import embedded
from isc.formats.qwen3 import Qwen3
from isc.formats.segments import spelled
from isc.testing import Conversation, twins
from isc.types import AssistantMessage, Chat, Json, Segment, Segments, ToolMessage

CONVERSATION: Conversation = (
    [
        {"role": "system", "content": "be kind", "name": "operator"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "text", "text": "here"}]},
        {
            "role": "assistant",
            "content": "well",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "call_0", "function": {"name": "find", "arguments": {"path": "a", "deep": {"inner": ["b"]}}}},
                {"id": "call_1", "function": {"name": "find", "arguments": '{"path": "c"}'}},
            ],
        },
        {"role": "tool", "content": "found", "tool_call_id": "call_0", "name": "find"},
        {"role": "assistant", "content": "done"},
    ],
    [
        {
            "type": "function",
            "function": {
                "name": "find",
                "description": "finds",
                "parameters": {
                    "type": "object",
                    "properties": {"path": {"type": "string", "enum": ["a", "c"], "description": "where"}},
                    "required": ["path"],
                },
            },
        }
    ],
)


def said_after(role: str, *, alternates: bool = False) -> Conversation:
    """What a conversation goes on with."""
    texts = ("and then", "more")[: 1 if alternates else 2]
    return [{"role": role, "content": text, "name": "find"} for text in texts], None


def _calls(chat: Chat, index: int) -> tuple[isc.ToolCall, ...]:
    message = chat.messages[index]
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def _arguments(chat: Chat, index: int) -> Iterator[Mapping[str, Any]]:
    return (call.arguments for call in _calls(chat, index) if isinstance(call.arguments, Mapping))


def _result_id(chat: Chat, index: int) -> str:
    message = chat.messages[index]
    return message.tool_call_id or "" if isinstance(message, ToolMessage) else ""


def _property(chat: Chat) -> tuple[str, Mapping[str, Any]]:
    function: Any = chat.tools[0].schema["function"]
    ((name, schema),) = function["parameters"]["properties"].items()
    return name, schema


def _function(chat: Chat, key: str) -> str:
    function: Any = chat.tools[0].schema["function"]
    found: str = function[key]
    return found


IN_TURNS: dict[str, Callable[[Chat, int], str]] = {
    "content": lambda chat, index: str(chat.messages[index].content or ""),
    "parts": lambda chat, index: " ".join(
        getattr(part, "text", "") for part in chat.messages[index].content or () if not isinstance(part, str)
    ),
    "reasoning": lambda chat, index: getattr(chat.messages[index], "reasoning_content", None) or "",
    "message name": lambda chat, index: chat.messages[index].name or "",
    "call id": lambda chat, index: " ".join(call.id or "" for call in _calls(chat, index)),
    "result's call id": _result_id,
    "tool name in a call": lambda chat, index: " ".join(call.name for call in _calls(chat, index)),
    "argument key": lambda chat, index: " ".join(key for given in _arguments(chat, index) for key in given),
    "argument value": lambda chat, index: " ".join(str(given["path"]) for given in _paths(chat, index)),
    "nested key": lambda chat, index: " ".join(str(given) for given in _arguments(chat, index)),
    "arguments as text": lambda chat, index: " ".join(
        call.arguments for call in _calls(chat, index) if isinstance(call.arguments, str)
    ),
}
IN_TOOLS: dict[str, Callable[[Chat], str]] = {
    "tool name": lambda chat: _function(chat, "name"),
    "tool description": lambda chat: _function(chat, "description"),
    "schema key": lambda chat: _property(chat)[0],
    "schema description": lambda chat: str(_property(chat)[1]["description"]),
    "enum value": lambda chat: " ".join(_property(chat)[1]["enum"]),
}


def _paths(chat: Chat, index: int) -> Iterator[Mapping[str, Json]]:
    return ({"path": next(iter(arguments.values()))} for arguments in _arguments(chat, index))


class Leaky(Qwen3, frozen=True, tag="leaky-in-one-place"):
    """A family that takes one of the caller's strings for its own wording, and says it once more."""

    place: str = ""

    def opening(self, chat: Chat) -> Segments:
        """The opening, then what leaks of the tools."""
        leak = IN_TOOLS[self.place](chat) if self.place in IN_TOOLS and chat.tools else ""
        return [*super().opening(chat), *spelled(leak, self.specials)]

    def turn(self, chat: Chat, index: int) -> Segments:
        """The turn, then what leaks of its message."""
        leak = IN_TURNS[self.place](chat, index) if self.place in IN_TURNS else ""
        return [*super().turn(chat, index), *spelled(leak, self.specials)]


class LeakyLater(Qwen3, frozen=True, tag="leaky-in-bridges"):
    """A family that scans what is said where a conversation goes on from elsewhere."""

    def turn(self, chat: Chat, index: int) -> Segments:
        """The turn; its bodies scanned where the chat does not begin as the conversation does."""
        scans = chat.role(0) != "system"
        return [piece for segment in super().turn(chat, index) for piece in (_scanned(segment) if scans else [segment])]


def _scanned(segment: Segment) -> Segments:
    return spelled(segment.text, Qwen3().specials) if segment.kind == "text" else (segment,)


def leaky(place: str = "") -> isc.Renderer:
    family = Leaky(place=place)
    return isc.create_renderer(embedded(family.specials), family)


def test_the_leaky_family_that_leaks_nothing_forges_nothing() -> None:
    testing.no_forgery(leaky(), CONVERSATION, said_after("tool"))


@pytest.mark.parametrize("place", [*IN_TURNS, *IN_TOOLS])
def test_a_family_that_scans_a_caller_string_is_found(place: str) -> None:
    with pytest.raises(testing.LawError, match="a special was forged"):
        testing.no_forgery(leaky(place), CONVERSATION)


def test_a_family_that_scans_what_a_bridge_adds_is_found() -> None:
    renderer = isc.create_renderer(embedded(Qwen3().specials), LeakyLater())
    testing.no_forgery(renderer, CONVERSATION)
    with pytest.raises(testing.LawError, match="a special was forged"):
        testing.no_forgery(renderer, CONVERSATION, said_after("tool"))


@pytest.mark.parametrize("place", ["content", "tool name in a call", "enum value"])
def test_check_tells_which_special_was_forged(place: str) -> None:
    family = Leaky(place=place)
    report = testing.check_family(
        family, testing.adversarial_encoder(family.specials), examples=[CONVERSATION], shape=testing.Shape(), count=0
    )
    (forged,) = (outcome for outcome in report.outcomes if outcome.check.startswith("forgery"))
    assert (forged.status, forged.found) == ("fail", len(family.specials))
    assert "spells '<|im_start|>'" in " ".join(finding.detail for finding in forged.findings)


def in_parts(conversation: Conversation) -> Conversation:
    """The conversation with every text content but the assistant's as a list of two parts."""
    messages, tools = conversation
    return [_in_parts(message) for message in messages], tools


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if message["role"] == "assistant" or not isinstance(content, str):
        return message
    middle = len(content) // 2
    return {**message, "content": [{"type": "text", "text": text} for text in (content[:middle], content[middle:])]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_conversation_of_the_golden_table_forges(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    taken = [name for name in CONVERSATIONS if name not in case.refuses and case.takes(CONVERSATIONS[name])]
    assert taken
    for name in taken:
        testing.no_forgery(renderer, case.golden(name))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parts_names_and_bridges_forge_nothing(case: Case) -> None:
    renderer = case.renderer(embedded(case.family.specials))

    @given(testing.conversations(case.shape(), longest=5))
    @settings(max_examples=settings().max_examples // 3)
    def check(conversation: Conversation) -> None:
        messages, tools = in_parts(conversation)
        named = [{**message, "name": f"speaker {message['role']}"} for message in messages]
        answer: dict[str, object] = {"role": "assistant", "content": "well"}
        role = "user" if case.family.keeps_history or "tool" not in case.shape().roles else "tool"
        calls = (case.shape().results_at_once or case.shape().results_follow_calls) and role == "tool"
        new = said_after(role, alternates=case.shape().alternates)
        if calls:
            call = {"function": {"name": "find", "arguments": {"path": "a"}}}
            answer["tool_calls"] = [call] * min(len(new[0]), case.shape().most_calls)
            answer["content"] = "" if case.shape().calls_alone else "well"
        unanswered = case.shape().alternates and bool(named[-1].get("tool_calls"))
        is_open = named[-1]["role"] == "user" or calls or unanswered
        testing.no_forgery(renderer, ([*named, answer] if is_open else named, tools), new)

    check()


def test_a_twin_has_the_shape_and_none_of_the_specials() -> None:
    specials = Qwen3().specials
    evil = twins.rewritten(CONVERSATION, twins.spelling(specials))
    twin = twins.rewritten(evil, twins.plain(specials))
    words, blanked = [], []
    for conversation in (CONVERSATION, evil, twin):
        strings: list[str] = []
        blanked.append(twins.rewritten(conversation, lambda text, strings=strings: strings.append(text) or "x"))  # type: ignore[misc]
        words.append(strings)
    assert blanked[0] == blanked[1] == blanked[2]
    assert len(words[0]) == 28
    assert all(any(special in text for special in specials) for text in words[1])
    assert not any(special in text for text in words[2] for special in specials)
