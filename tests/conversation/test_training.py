"""Training samples and trajectory steps: what is trained on, under every option."""

from __future__ import annotations

import pytest

import isc
from cases import CASES, Case
from golden_conversations import TOOLS, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.qwen3 import Qwen3

CHAT = [
    system("be brief"),
    user("time?"),
    assistant("", call("now", {}, "1"), reasoning="ask"),
    tool("12:00\n", "1"),
    assistant("Noon.", reasoning="told"),
]


def trained(renderer: isc.Renderer, sample: isc.TrainingSample) -> list[str]:
    """The trained stretches as text."""
    return [renderer.encoder.decode_bytes(sample.token_ids[start:end]).decode() for start, end in sample.loss_spans]


FIRST = '<think>\nask\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>'
SECOND = "<think>\ntold\n</think>\n\nNoon.<|im_end|>"


def test_default_trains_on_what_the_model_samples(small: isc.Renderer) -> None:
    assert trained(small, isc.build_training_sample(small, CHAT, TOOLS)) == [FIRST, SECOND]


def test_tool_bodies_are_trained_on_without_their_wrap(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(small, CHAT, TOOLS, content_sft_roles={"tool"})
    texts = trained(small, sample)
    assert texts[0] == FIRST
    assert texts[1].startswith("12:00\n")
    assert "tool_response" not in texts[1]
    assert texts[2] == SECOND


def test_role_to_mask_may_be_a_predicate_on_messages(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(small, CHAT, role_to_mask=lambda message: message.content == "Noon.")
    assert trained(small, sample) == [SECOND]


def test_role_to_mask_may_be_a_mapping(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(small, CHAT, role_to_mask={"user": True})
    assert trained(small, sample) == ["time?"]


def test_message_loss_mask_overrides_everything(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(
        small, CHAT, content_sft_roles={"tool"}, message_loss_mask=[True, True, False, False, 1]
    )
    assert trained(small, sample) == [SECOND]


def test_mask_is_as_long_as_the_ids_and_agrees_with_the_spans(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(small, CHAT)
    assert len(sample.loss_mask) == len(sample.token_ids)
    assert sum(sample.loss_mask) == sample.trainable_tokens
    assert sample.loss_mask == sample.rendered.sampled_mask


def test_nothing_to_train_on_is_reported(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(small, [user("a")])
    assert sample.trainable_tokens == 0
    with pytest.raises(isc.NothingToTrainError, match="user"):
        isc.build_training_sample(small, [user("a")], require_trainable=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"message_loss_mask": [True]}, "1 values for 5 messages"),
        ({"content_sft_roles": {"tols"}}, "'tols' is no role"),
        ({"content_sft_roles": "tool"}, "not the string 'tool'"),
        ({"role_to_mask": {"bot": True}}, "'bot' is no role"),
    ],
)
def test_bad_options_are_refused_by_name(small: isc.Renderer, options: dict[str, object], problem: str) -> None:
    with pytest.raises(isc.OptionError, match=problem):
        isc.build_training_sample(small, CHAT, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_final_stop_is_there_already_where_the_format_closes_its_turns(small: isc.Renderer) -> None:
    assert isc.build_training_sample(small, CHAT, ensure_final_stop=True) == isc.build_training_sample(small, CHAT)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_last_token_that_is_trained_on_is_a_stop_where_that_is_asked_for(case: Case) -> None:
    """Hy3 leaves a last answer open, GLM leaves the close to the next turn: a model so trained would not stop."""
    renderer = case.renderer(embedded(case.family.specials))
    stops = {renderer.encoder.specials.get(text) for text in case.family.stop_tokens}
    for last in (assistant("Hello!"), assistant("", call("now", {}, "abcdefgh1"))):
        try:
            plain = isc.build_training_sample(renderer, [user("Hi"), last])
        except isc.ConversationError:
            continue  # calls, or an answer that says nothing
        closed = isc.build_training_sample(renderer, [user("Hi"), last], ensure_final_stop=True)
        assert closed.token_ids[: len(plain.token_ids)] == plain.token_ids
        trained_on = [token_id for token_id, kept in zip(closed.token_ids, closed.loss_mask, strict=True) if kept]
        assert trained_on[-1] in stops
        assert len(closed.token_ids) - len(plain.token_ids) <= 1


def test_trajectory_step_is_what_the_sampler_saw(small: isc.Renderer) -> None:
    step = isc.build_trajectory_step(small, CHAT[:2], CHAT[2:], TOOLS)
    assert step.prompt_ids == small.render_ids(CHAT[:2], TOOLS, True)
    texts = "".join(
        small.encoder.decode_bytes((k,)).decode("utf-8", "replace") if drawn else "\0"
        for k, drawn in zip(step.completion_ids, step.completion_mask, strict=True)
    )
    assert [text for text in texts.split("\0") if text] == [FIRST, SECOND]
    assert step.prompt_mask == (False,) * len(step.prompt_ids)


def test_trajectory_step_holds_where_a_full_render_would_not() -> None:
    """Without thinking the template drops the empty think block that the prompt of an earlier turn had."""
    renderer = isc.create_renderer(embedded(Qwen3().specials), Qwen3(enable_thinking=False))
    turns = [assistant("", call("now", {}, "1")), tool("12:00", "1"), assistant("Noon.")]
    step = isc.build_trajectory_step(renderer, CHAT[:2], turns, TOOLS)
    full = renderer.render_ids([*CHAT[:2], *turns], TOOLS)
    assert full[: len(step.prompt_ids)] != step.prompt_ids
    text = renderer.encoder.decode_bytes(step.rendered.token_ids).decode()
    assert text.count("<think>\n\n</think>\n\n") == 2


def test_trajectory_that_the_format_rewrites_is_refused(small: isc.Renderer) -> None:
    turns = [assistant("a", reasoning="r"), user("and?"), assistant("b")]
    with pytest.raises(isc.TrajectoryError, match="drops earlier reasoning"):
        isc.build_trajectory_step(small, [user("x")], turns)


def test_trajectory_must_start_with_an_assistant_turn(small: isc.Renderer) -> None:
    with pytest.raises(isc.TrajectoryError, match=r"completion_messages\[0\]"):
        isc.build_trajectory_step(small, [user("x")], [user("y")])


def test_trajectory_may_end_with_a_tool_result(small: isc.Renderer) -> None:
    step = isc.build_trajectory_step(small, CHAT[:2], CHAT[2:4], TOOLS)
    assert small.encoder.decode_bytes(step.completion_ids).decode().endswith("</tool_response><|im_end|>\n")
