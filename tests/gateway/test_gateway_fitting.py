"""Messages of agents in formats that lack a turn for them: Codex speaks as a developer, twice, to any model."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from gateway_sessions import user, with_turn
from isc.encoding.encoders import embedded
from isc.formats.catalogue import list_families
from isc.gateway import Session, step

AS_CODEX: list[dict[str, Any]] = [
    {"role": "developer", "content": [{"type": "text", "text": "Rules of the house."}]},
    {"role": "developer", "content": "Rules of the user."},
    user("Where we are."),
    user("Do it."),
]


@pytest.mark.parametrize("name", list_families())
def test_every_family_takes_what_codex_sends(name: str) -> None:
    family = list_families()[name]()
    renderer = isc.create_renderer(embedded(family.specials), family)
    prompt = step(Session("a"), renderer, AS_CODEX).prompt
    text = renderer.encoder.decode_bytes(prompt.token_ids).decode()
    places = [text.index(said) for said in ("Rules of the house.", "Rules of the user.", "Where we are.", "Do it.")]
    assert places == sorted(places)


def test_a_developer_is_the_system_of_a_format_without_one() -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen35().specials), isc.Qwen35())
    prompt = step(Session("a"), renderer, AS_CODEX)
    as_told = [{"role": "system", "content": "Rules of the house.\n\nRules of the user."}, *AS_CODEX[2:]]
    assert prompt.prompt.token_ids == renderer.render(as_told, add_generation_prompt=True).token_ids
    assert [type(message).__name__ for message in prompt.messages] == ["SystemMessage", "UserMessage", "UserMessage"]


def test_what_was_fitted_is_found_again() -> None:
    session = with_turn(Session("a"), AS_CODEX, "Done.<|im_end|>", tools=None)
    again = [*AS_CODEX, {"role": "assistant", "content": "Done."}, user("And?")]
    renderer = isc.Renderer(isc.Qwen3(), embedded(isc.Qwen3().specials), "all")
    assert step(session, renderer, again).origin.continued == "extended"


def test_a_later_developer_is_refused_where_only_the_first_may_speak() -> None:
    renderer = isc.create_renderer(embedded(isc.Qwen35().specials), isc.Qwen35())
    with pytest.raises(isc.ConversationError, match="system"):
        step(Session("a"), renderer, [user("hi"), {"role": "developer", "content": "Be brief."}, user("?")])
