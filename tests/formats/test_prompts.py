"""The generation prompt before a turn, which families say without a copy of the chat up to there."""

from __future__ import annotations

import pytest

import isc
from isc import convert
from isc.formats.base import name_of
from isc.formats.catalogue import list_families
from isc.types import Chat

FAMILIES = [kind() for kind in list_families().values()]
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: name_of(type(family)))
CALL = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": {"x": "y"}}}
CHAT = convert.chat(
    [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "r"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "42"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
)


@families
def test_the_prompt_before_a_turn_is_that_of_the_chat_up_to_there(family: isc.Family) -> None:
    for index in range(1, len(CHAT.messages) + 1):
        expected = list(family.generation_prompt(CHAT.before(index)))
        assert list(family.prompt_before(CHAT, index)) == expected
        if family.one_prompt:
            assert list(family.generation_prompt(CHAT)) == expected


@families
def test_a_render_copies_no_chat(family: isc.Family, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    chat = convert.chat([asked, said, asked, said])

    def refuse(chat: Chat, index: int) -> Chat:
        raise AssertionError(f"the first {index} of {len(chat.messages)} messages are copied")

    monkeypatch.setattr(Chat, "before", refuse)
    assert sum(s.message == 3 and s.body for s in family.conversation(chat)) > 0
