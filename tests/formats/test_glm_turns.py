"""GLM closes a turn by the next role's marker: whose it is, what is sampled, and what a bridge makes of it."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import Message, assistant, call, system, tool, user
from isc.conversation.bridge import Refusal
from isc.encoding.encoders import embedded
from isc.formats.glm4_5 import Glm45
from isc.formats.glm5 import Glm5
from isc.formats.glm5_1 import Glm51

FAMILIES: tuple[isc.Family, ...] = (Glm45(), Glm5(), Glm5(clear_thinking=False), Glm51())
families = pytest.mark.parametrize("family", FAMILIES, ids=repr)
CALL = assistant("", call("now", {}), reasoning="r")


def renderer_of(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(embedded(family.specials), family)


def spelled(renderer: isc.Renderer, token_ids: Any) -> str:  # noqa: ANN401 - ids of any kind
    return renderer.encoder.decode_bytes(list(token_ids)).decode()


def sampled_text(renderer: isc.Renderer, rendered: isc.RenderedTokens) -> str:
    chosen = zip(rendered.token_ids, rendered.sampled_mask, strict=True)
    return spelled(renderer, [token_id for token_id, drawn in chosen if drawn])


MARKERS: list[tuple[Message, str]] = [
    (user("c"), "<|user|>"),
    (tool("c"), "<|observation|>"),
    ({**tool(""), "content": ["c", "d"]}, "<|observation|>"),
    (system("c"), "<|system|>"),
    (assistant("c"), "<|assistant|>"),
]


@families
@pytest.mark.parametrize(("following", "marker"), MARKERS)
def test_the_next_marker_belongs_to_the_turn_it_closes_and_is_sampled(
    family: isc.Family, following: Message, marker: str
) -> None:
    renderer = renderer_of(family)
    rendered = renderer.render([user("a"), assistant("b"), following, user("d")])
    _, end = rendered.message_token_spans()[1][0]
    assert rendered.token_ids[end - 1] == renderer.encoder.specials[marker]
    assert rendered.is_content[end - 1]
    assert rendered.sampled_mask[end - 1]
    assert rendered.message_indices[end] == 2
    assert sampled_text(renderer, rendered).count(marker) == 1


@families
def test_no_other_turn_is_closed_by_a_marker(family: isc.Family) -> None:
    renderer = renderer_of(family)
    rendered = renderer.render([user("a"), user("b"), tool("c"), system("d"), assistant("e")], None, True)
    text = sampled_text(renderer, rendered)
    assert text.endswith("e<|assistant|>")
    assert not any(marker in text for marker in ("<|user|>", "<|observation|>", "<|system|>"))


@families
def test_attribution_of_a_prompt_is_that_of_the_conversation_it_leads_to(family: isc.Family) -> None:
    renderer = renderer_of(family)
    asked = [user("a"), assistant("b", reasoning="r")]
    prompt = renderer.render(asked, None, True)
    full = renderer.render([*asked, assistant("c", reasoning="r")])
    kept = renderer.render(asked)
    length = len(kept) + 1
    assert prompt.token_ids[:length] == full.token_ids[:length]
    assert prompt.sampled_mask[:length] == full.sampled_mask[:length]
    assert prompt.sampled_mask[length:] == (False,) * (len(prompt) - length)


def turn_ids(renderer: isc.Renderer, stop: str | None, answer: Message) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A prompt, and what is sampled for it up to and including a stop token."""
    prompt = renderer.render([user("a")], None, True)
    step = isc.build_trajectory_step(renderer, [user("a")], [answer])
    assert step.prompt_ids == prompt.token_ids
    return prompt.token_ids, (*step.completion_ids, *([renderer.encoder.specials[stop]] if stop else []))


@families
@pytest.mark.parametrize("stop", [None, "<|observation|>", "<|endoftext|>"])
def test_a_bridge_gives_the_marker_once(family: isc.Family, stop: str | None) -> None:
    renderer = renderer_of(family)
    prompt, completion = turn_ids(renderer, stop, CALL)
    bridged = renderer.bridge_to_next_turn(prompt, completion, [tool("12:00")])
    fresh = renderer.render([user("a"), CALL, tool("12:00")], None, True)
    assert bridged is not None
    assert bridged.token_ids[: len(prompt + completion)] == prompt + completion
    expected = spelled(renderer, fresh.token_ids)
    if stop == "<|endoftext|>":
        expected = expected.replace("<|observation|>", "<|endoftext|><|observation|>")
    assert spelled(renderer, bridged.token_ids) == expected
    assert not any(bridged.sampled_mask)


@families
@pytest.mark.parametrize("stop", [None, "<|observation|>", "<|endoftext|>"])
def test_extending_marks_as_sampled_what_was_sampled(family: isc.Family, stop: str | None) -> None:
    renderer = renderer_of(family)
    _, completion = turn_ids(renderer, stop, CALL)
    extended = renderer.extend(renderer.render([user("a")], None, True), completion, [tool("12:00")])
    assert extended is not None
    assert sampled_text(renderer, extended) == spelled(renderer, completion)
    close = extended.token_ids.index(renderer.encoder.specials["<|observation|>"])
    assert extended.message_indices[close] == 1
    assert extended.is_content[close] is (stop == "<|observation|>")


@families
@pytest.mark.parametrize(
    ("stop", "new", "needed"),
    [
        ("<|user|>", [tool("x")], "<|observation|>"),
        ("<|observation|>", [system("x"), tool("y")], "<|system|>"),
        ("<|observation|>", [user("x")], "<|user|>"),
    ],
)
def test_another_marker_than_the_sampled_one_is_refused(
    family: isc.Family, stop: str, new: list[Message], needed: str
) -> None:
    renderer = isc.Renderer(family, renderer_of(family).encoder, thinking_retention="all")
    prompt, completion = turn_ids(renderer, stop, CALL)
    plan = renderer.plan_bridge(prompt, completion, new)
    assert isinstance(plan, Refusal)
    assert plan.reason == "wrong_turn_close"
    assert stop in plan.detail
    assert needed in plan.detail
    assert renderer.bridge_to_next_turn(prompt, completion, new) is None


@families
def test_a_user_message_asks_for_a_fresh_render_where_reasoning_is_dropped(family: isc.Family) -> None:
    renderer = renderer_of(family)
    prompt, completion = turn_ids(renderer, "<|user|>", assistant("b", reasoning="r"))
    plan = renderer.plan_bridge(prompt, completion, [user("c")])
    assert isinstance(plan, Refusal) is not family.keeps_history
    kept = isc.Renderer(family, renderer.encoder, thinking_retention="all")
    bridged = kept.bridge_to_next_turn(prompt, completion, [user("c")])
    assert bridged is not None
    assert spelled(kept, bridged.token_ids).count("<|user|>") == 2


@families
def test_reasoning_that_was_cut_off_is_closed_before_the_marker(family: isc.Family) -> None:
    renderer = renderer_of(family)
    prompt, completion = turn_ids(renderer, None, assistant("", reasoning="thoughts"))
    close = renderer.encoder.specials["</think>"]
    cut = completion[: completion.index(close)]
    bridged = renderer.bridge_to_next_turn(prompt, cut, [tool("x")])
    assert bridged is not None
    assert "thoughts</think><|observation|>" in spelled(renderer, bridged.token_ids)
    stopped = renderer.plan_bridge(prompt, (*cut, renderer.encoder.specials["<|user|>"]), [tool("x")])
    assert isinstance(stopped, Refusal)
    assert stopped.reason == "reasoning_stopped"


def test_a_prompt_that_was_answered_by_nothing_goes_on() -> None:
    renderer = renderer_of(Glm5())
    prompt = renderer.render([user("a")], None, True).token_ids
    bridged = renderer.bridge_to_next_turn(prompt, (), [tool("x")])
    assert bridged is not None
    assert spelled(renderer, bridged.token_ids).endswith(
        "<think></think><|observation|><tool_response>x</tool_response><|assistant|><think>"
    )


@families
@pytest.mark.parametrize(("answer", "stop"), [(CALL, "<|observation|>"), (assistant("b"), "<|user|>")])
def test_the_final_stop_is_the_marker_that_would_follow(family: isc.Family, answer: Message, stop: str) -> None:
    renderer = renderer_of(family)
    plain = isc.build_training_sample(renderer, [user("a"), answer])
    closed = isc.build_training_sample(renderer, [user("a"), answer], ensure_final_stop=True)
    assert closed.token_ids == (*plain.token_ids, renderer.encoder.specials[stop])
    assert closed.loss_mask == (*plain.loss_mask, True)
    assert closed.rendered.message_indices[-1] == 1
    asked = isc.build_training_sample(renderer, [user("a")], ensure_final_stop=True)
    assert asked.trainable_tokens == 0
    assert asked.rendered == renderer.render([user("a")])


@families
def test_a_rollout_samples_the_markers_that_close_its_turns(family: isc.Family) -> None:
    renderer = renderer_of(family)
    rollout = [CALL, tool("1"), tool("2"), assistant("b", reasoning="s")]
    step = isc.build_trajectory_step(renderer, [user("a")], rollout)
    fresh = renderer.render([user("a"), *rollout])
    assert step.rendered.token_ids == fresh.token_ids
    assert step.rendered.sampled_mask == fresh.sampled_mask
    assert sampled_text(renderer, step.rendered).count("<|observation|>") == 1


@families
def test_a_rollout_of_two_answers_in_a_row_is_refused(family: isc.Family) -> None:
    with pytest.raises(isc.TrajectoryError, match=r"completion_messages\[1\] follows an assistant turn"):
        isc.build_trajectory_step(renderer_of(family), [user("a")], [assistant("b"), assistant("c")])


@families
def test_sampling_stops_at_the_end_of_text_and_where_a_user_or_a_tool_speaks(family: isc.Family) -> None:
    renderer = renderer_of(family)
    stops = ("<|endoftext|>", "<|user|>", "<|observation|>")
    assert renderer.get_stop_token_ids() == tuple(renderer.encoder.specials[stop] for stop in stops)
    assert family.turn_close is None
