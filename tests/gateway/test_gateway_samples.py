"""Sessions as samples: branches share what they share once; what was sampled keeps ids and probabilities."""

from __future__ import annotations

import msgspec

from gateway_sessions import CALL, QWEN, SEARCH, user, with_turn
from isc.gateway import BranchSample, Piece, Prompted, SampledSpan, Sampling, Session, Turn, answered, samples, step
from isc.types import AssistantMessage

ASKED = [user("Find cats")]
YES = [*ASKED, {"role": "assistant", "content": "Yes."}]


def test_turns_that_extend_each_other_are_one_sample() -> None:
    session = with_turn(Session("a"), ASKED, "Yes.<|im_end|>")
    session = with_turn(session, [*YES, user("Sure?")], "Sure.<|im_end|>")
    (sample,) = samples(session)
    assert sample.token_ids == session.sequence(1)
    assert sample.trainable_tokens == sum(len(turn.completion_ids) for turn in session.turns)
    assert [span.turn for span in sample.spans] == [0, 1]
    assert sample.rendered.sampled_mask == sample.loss_mask
    assert [value is not None for value in sample.logprobs] == list(sample.loss_mask)
    assert [message.content for message in sample.messages] == ["Find cats", "Yes.", "Sure?", "Sure."]


def test_what_branches_share_is_trained_on_once() -> None:
    session = with_turn(Session("a"), ASKED, "Yes.<|im_end|>")
    session = with_turn(session, [*YES, user("Sure?")], "Sure.<|im_end|>")
    session = with_turn(session, [*YES, user("Why?")], "Because there are cats.<|im_end|>")
    first, second = samples(session)
    assert [span.turn for span in first.spans] == [1]
    assert [span.turn for span in second.spans] == [0, 2]
    start, end = session.spans(1)[0]
    assert first.logprobs[start:end] == session.turns[0].logprobs  # told, but not trained on here
    assert samples(session, [1]) == (first,)


def test_a_turn_that_a_render_holds_by_its_ids_is_taken_along() -> None:
    """An agent that tells an answer as its own is rendered anew; where ids come out the same they are the same."""
    session = with_turn(Session("a"), ASKED, "Yes.<|im_end|>")
    twice = [*YES, user("Sure?"), {"role": "assistant", "content": "I said."}, user("Why?")]
    session = with_turn(session, twice, "Because.<|im_end|>")
    assert session.turns[1].base is None
    (sample,) = samples(session)
    assert [span.turn for span in sample.spans] == [0, 1]


def test_the_same_ids_sampled_twice_are_two_samples() -> None:
    session = with_turn(with_turn(Session("a"), ASKED, "Yes.<|im_end|>"), ASKED, "Yes.<|im_end|>")
    assert [sample.branch for sample in samples(session)] == [0, 1]


def test_who_sampled_what_is_told() -> None:
    prompted = step(Session("a"), QWEN, ASKED, SEARCH)
    pieces = (Piece(2, "v1", "http://one"), Piece(1, "v2", "http://two"))
    turn = answered(prompted, Sampling((5, 6, 7), (-1.0, None, -2.0), AssistantMessage("x"), "length", pieces), "t")
    (sample,) = samples(Session("a").after(turn))
    start = len(prompted.prompt)
    assert sample.spans == (
        SampledSpan(start, start + 2, 0, "v1", "http://one"),
        SampledSpan(start + 2, start + 3, 0, "v2", "http://two"),
    )


def test_records_go_through_msgpack_and_json() -> None:
    session = with_turn(Session("a"), ASKED, f"<think>Cats.</think>{CALL}<|im_end|>")
    for turn in session.turns:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(turn), type=Turn) == turn
    assert Session.of("a", session.turns) == session
    (sample,) = samples(session)
    assert msgspec.json.decode(msgspec.json.encode(sample), type=BranchSample) == sample
    prompted = step(session, QWEN, ASKED, SEARCH)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(prompted), type=Prompted) == prompted
