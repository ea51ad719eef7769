"""The laws of the gateway's library on random sessions: histories written again, edits, samples."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from isc.encoding.encoders import embedded
from isc.gateway import New, Node, Session, match, samples
from isc.testing import agents
from isc.testing.gateway import edits, rematching, sampled_once

RENDERERS = {
    "Qwen3": isc.Renderer(isc.Qwen3(), embedded(isc.Qwen3().specials)),
    "Qwen3, all kept": isc.Renderer(isc.Qwen3(), embedded(isc.Qwen3().specials), "all"),
}
pytestmark = pytest.mark.filterwarnings("ignore::isc.errors.UnreadKeyWarning")

SOURCES = st.randoms(use_true_random=False)


@pytest.mark.parametrize("name", RENDERERS)
@given(source=SOURCES, turns=st.integers(1, 6))
def test_laws(name: str, source: random.Random, turns: int) -> None:
    session = agents.grown(RENDERERS[name], source, turns)
    rematching(session, source)
    edits(session, source)
    sampled_once(session)


def test_random_sessions_are_worth_the_name() -> None:
    source = random.Random(0)
    sessions = [agents.grown(RENDERERS["Qwen3, all kept"], source, 9) for _ in range(30)]
    origins = [turn.origin for session in sessions for turn in session.turns]
    assert {origin.reason for origin in origins} >= {"", "first", "other_history", "other_conversation"}
    assert sum(origin.continued == "extended" for origin in origins) > 80
    known = [
        match(s, agents.resent(agents.history(s, t.number), source), s.tools(t.number))
        for s in sessions
        for t in s.turns
    ]
    assert sum(isinstance(found, Node) for found in known) > 200
    assert "ambiguous" in {found.reason for found in known if isinstance(found, New)}
    assert sum(len(samples(session)) for session in sessions) < sum(len(session.turns) for session in sessions)
    calls = [call for session in sessions for turn in session.turns for call in turn.said.tool_calls]
    assert len(calls) > 50


def test_a_law_that_is_broken_is_told() -> None:
    session = agents.grown(RENDERERS["Qwen3"], random.Random(3), 4)
    lost = Session(session.name, session.turns, {}, session.places, session.issued)
    with pytest.raises(isc.testing.LawError, match="is not known"):
        rematching(lost, random.Random(0))
