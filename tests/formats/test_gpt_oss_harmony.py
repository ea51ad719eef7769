"""gpt-oss against `openai-harmony`: the same ids where it and the template agree, and the same reading of completions.

They differ where instructions stand without tools (the template adds a blank line), in tool results (the template makes
JSON strings of them), in tools with defaults, nested objects or descriptions of several lines, and in analysis of a
call that was answered, while another call is under way (the template drops it): all that follows the template.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_harmony import (
    Author,
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    Message,
    RenderConversationConfig,
    Role,
    SystemContent,
    ToolDescription,
    load_harmony_encoding,
)

import isc
from golden_conversations import assistant, call, system, tool, user
from isc.encoding.encoders import VocabularyEncoder
from isc.formats.gpt_oss import GptOss
from references import write_harmony_ranks

_DAY = "2025-08-05"
_SEARCH: dict[str, Any] = {
    "name": "search",
    "description": "Search the web.",
    "parameters": {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to search for"},
            "limit": {"type": "integer"},
            "order": {"type": "string", "enum": ["new", "old"]},
            "sites": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["query"],
    },
}


@pytest.fixture(scope="session")
def harmony(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarmonyEncoding]:
    """The package's own encoding, its ranks written down from the reference tokenizer: it checks their sha256."""
    place = tmp_path_factory.mktemp("ranks")
    write_harmony_ranks(reference, place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TIKTOKEN_ENCODINGS_BASE", str(place))
        yield load_harmony_encoding("HarmonyGptOss")


@pytest.fixture
def renderer(real_encoder: Callable[[str], VocabularyEncoder]) -> isc.Renderer:
    return isc.create_renderer(real_encoder("gpt-oss"), GptOss(conversation_start_date=_DAY))


@pytest.fixture
def keeping(real_encoder: Callable[[str], VocabularyEncoder]) -> isc.Renderer:
    """All analysis kept."""
    family = GptOss(conversation_start_date=_DAY, auto_drop_analysis=False)
    return isc.create_renderer(real_encoder("gpt-oss"), family)


def _head(instructions: str = "", *, tools: bool = False) -> list[Message]:
    preamble = SystemContent.new().with_conversation_start_date(_DAY)
    head = [Message.from_role_and_content(Role.SYSTEM, preamble)]
    developer = DeveloperContent.new()
    if instructions:
        developer = developer.with_instructions(instructions)
    if tools:
        described = (_SEARCH["name"], _SEARCH["description"], _SEARCH["parameters"])
        developer = developer.with_function_tools([ToolDescription.new(*described)])
    return [*head, Message.from_role_and_content(Role.DEVELOPER, developer)] if instructions or tools else head


def _user(text: str) -> Message:
    return Message.from_role_and_content(Role.USER, text)


def _said(channel: str, text: str) -> Message:
    return Message.from_role_and_content(Role.ASSISTANT, text).with_channel(channel)


def _call(arguments: str) -> Message:
    return _said("commentary", arguments).with_recipient("functions.search").with_content_type("json")


def _result(text: str) -> Message:
    """A result as the template spells it: a JSON string."""
    author = Author.new(Role.TOOL, "functions.search")
    message = Message.from_author_and_content(author, json.dumps(text, ensure_ascii=False))
    return message.with_channel("commentary").with_recipient("assistant")


ARGUMENTS = {"query": "naïve 漢字", "limit": 3}
AS_TEXT = '{"query":"cats"}'
OURS: dict[str, list[dict[str, Any]]] = {
    "answer": [user("2+2?"), assistant("4", reasoning="Add.")],
    "history": [user("a"), assistant("b", reasoning="r"), user("  c\n"), assistant("d")],
    "call": [system("Be!"), user("cats"), assistant("", call("search", ARGUMENTS), reasoning="Look."), tool("[]")],
    "text": [user("cats"), assistant(None, call("search", AS_TEXT)), tool('"none"\n'), assistant("No.")],
    "preamble": [user("cats"), assistant("Looking.", call("search", AS_TEXT), reasoning="Look."), tool("")],
    "cycle": [
        user("cats"),
        assistant("", call("search", AS_TEXT), reasoning="Look."),
        tool("x"),
        assistant("No.", reasoning="Done."),
        user("dogs"),
        assistant("", call("search", AS_TEXT), reasoning="Again."),
    ],
}  # fmt: skip
THEIRS: dict[str, list[Message]] = {
    "answer": [*_head(), _user("2+2?"), _said("analysis", "Add."), _said("final", "4")],
    "history": [*_head(), _user("a"), _said("analysis", "r"), _said("final", "b"), _user("  c\n"), _said("final", "d")],
    "call": [
        *_head("Be!", tools=True),
        _user("cats"),
        _said("analysis", "Look."),
        _call(json.dumps(ARGUMENTS, ensure_ascii=False)),
        _result("[]"),
    ],
    "text": [*_head(tools=True), _user("cats"), _call(AS_TEXT), _result('"none"\n'), _said("final", "No.")],
    "preamble": [
        *_head(tools=True),
        _user("cats"),
        _said("analysis", "Look."),
        _said("commentary", "Looking."),
        _call(AS_TEXT),
        _result(""),
    ],
    "cycle": [
        *_head(tools=True),
        _user("cats"),
        _said("analysis", "Look."),
        _call(AS_TEXT),
        _result("x"),
        _said("analysis", "Done."),
        _said("final", "No."),
        _user("dogs"),
        _said("analysis", "Again."),
        _call(AS_TEXT),
    ],
}


def _tools(name: str) -> list[dict[str, Any]] | None:
    return None if name in ("answer", "history") else [_SEARCH]


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"cycle"}))
def test_the_next_prompt_has_the_same_ids(renderer: isc.Renderer, harmony: HarmonyEncoding, name: str) -> None:
    theirs = harmony.render_conversation_for_completion(Conversation.from_messages(THEIRS[name]), Role.ASSISTANT)
    assert renderer.render_ids(OURS[name], _tools(name), True) == tuple(theirs)


@pytest.mark.parametrize("name", OURS)
def test_a_kept_conversation_has_the_same_ids(keeping: isc.Renderer, harmony: HarmonyEncoding, name: str) -> None:
    config = RenderConversationConfig(auto_drop_analysis=False)
    theirs = harmony.render_conversation_for_training(Conversation.from_messages(THEIRS[name]), config)
    assert keeping.render_ids(OURS[name], _tools(name)) == tuple(theirs)


@pytest.mark.parametrize("name", ["history", "text"])
def test_a_conversation_to_train_on_has_the_same_ids(
    renderer: isc.Renderer, harmony: HarmonyEncoding, name: str
) -> None:
    theirs = harmony.render_conversation_for_training(Conversation.from_messages(THEIRS[name]))
    assert renderer.render_ids(OURS[name], _tools(name)) == tuple(theirs)


def test_where_sampling_stops(renderer: isc.Renderer, harmony: HarmonyEncoding) -> None:
    assert set(harmony.stop_tokens_for_assistant_actions()) < set(renderer.get_stop_token_ids())


@pytest.mark.parametrize("name", ["answer", "preamble"])
def test_a_sampled_turn_is_read_alike(keeping: isc.Renderer, harmony: HarmonyEncoding, name: str) -> None:
    turn = OURS[name][:2]
    prompt = keeping.render_ids(turn[:1], _tools(name), True)
    sampled = keeping.render_ids(turn, _tools(name))[len(prompt) :]
    parsed = keeping.parse_response(sampled, _tools(name))
    theirs = harmony.parse_messages_from_completion_tokens(list(sampled), Role.ASSISTANT)
    calls = [("commentary", f"functions.{found.name}", found.raw) for found in parsed.tool_calls]
    channel = "commentary" if calls else "final"
    wanted = [("analysis", None, parsed.reasoning_content), (channel, None, parsed.content), *calls]
    assert [(message.channel, message.recipient, message.content[0].text) for message in theirs] == wanted
