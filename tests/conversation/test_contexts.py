"""Samples in which each turn stands behind the prompt it was sampled behind: the law, and conversations by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from msgspec import structs

import growing
import isc
from cases import CASES, Case
from golden_conversations import TOOLS, assistant, call, tool, user
from isc import testing
from isc.encoding.encoders import embedded
from isc.testing import Conversation

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cases
def test_each_turn_is_trained_on_once_behind_the_prompt_it_answered(case: Case) -> None:
    renderer = case.renderer(testing.adversarial_encoder(case.family.specials))

    @given(testing.conversations(case.shape()))
    @settings(max_examples=max(1, settings().max_examples // 2))
    def check(conversation: Conversation) -> None:
        testing.contexts(renderer, conversation)

    check()


TOLD: list[dict[str, Any]] = [
    user("time?"),
    assistant("", call("now", {}, "1"), reasoning="ask"),
    tool("12:00", "1"),
    assistant("Noon.", reasoning="told"),
    user("sure?"),
    assistant("Yes.", reasoning="again"),
]


def trained(renderer: isc.Renderer, samples: Sequence[isc.TrainingSample]) -> list[list[str]]:
    """What each sample trains on, as texts."""
    return [
        [renderer.encoder.decode_bytes(sample.token_ids[start:end]).decode() for start, end in sample.loss_spans]
        for sample in samples
    ]


def text(renderer: isc.Renderer, sample: isc.TrainingSample) -> str:
    return renderer.encoder.decode_bytes(sample.token_ids).decode()


def small_renderer(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(embedded(family.specials), family)


FIRST = '<think>\nask\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>'
SECOND = "<think>\ntold\n</think>\n\nNoon.<|im_end|>"
THIRD = "<think>\nagain\n</think>\n\nYes.<|im_end|>"


def test_qwen3_has_a_sample_for_each_query_and_loses_no_reasoning(small: isc.Renderer) -> None:
    samples = isc.build_training_samples(small, TOLD, TOOLS)
    assert trained(small, samples) == [[FIRST, SECOND], [THIRD]]
    assert "told" not in text(small, samples[1])
    assert "\nNoon.<|im_end|>" in text(small, samples[1])


def test_one_sample_alone_would_lose_it(small: isc.Renderer) -> None:
    (whole,) = trained(small, [isc.build_training_sample(small, TOLD, TOOLS)])
    assert "".join(whole).count("<think>") == 1


def test_retention_of_all_reasoning_is_one_sample(small: isc.Renderer) -> None:
    renderer = structs.replace(small, thinking_retention="all")
    (sample,) = isc.build_training_samples(renderer, TOLD, TOOLS)
    assert trained(renderer, [sample]) == [[FIRST, SECOND, THIRD]]


def test_a_format_that_keeps_history_gives_the_sample_of_build_training_sample() -> None:
    renderer = small_renderer(isc.Qwen3(variant="instruct_2507"))
    assert isc.build_training_samples(renderer, TOLD, TOOLS) == (isc.build_training_sample(renderer, TOLD, TOOLS),)


def test_the_model_s_own_template_gives_the_same_samples(reference: Path, qwen3: isc.Renderer) -> None:
    source = (reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja").read_text(encoding="utf-8")
    stops = ("<|im_end|>", "<|endoftext|>")
    traced = isc.create_renderer(
        qwen3.encoder, isc.template.TracedTemplate(source, specials=isc.Qwen3().specials, stop_tokens=stops)
    )
    ours = isc.build_training_samples(qwen3, TOLD, TOOLS)
    theirs = isc.build_training_samples(traced, TOLD, TOOLS)
    assert [(sample.token_ids, sample.loss_spans) for sample in theirs] == [
        (sample.token_ids, sample.loss_spans) for sample in ours
    ]


def test_a_close_that_the_next_role_writes_is_trained_on_in_every_sample() -> None:
    renderer = small_renderer(isc.Glm45())
    first, second = trained(renderer, isc.build_training_samples(renderer, TOLD, TOOLS))
    assert [said[-len(stop) :] for said, stop in zip(first, ("<|observation|>", "<|user|>"), strict=True)] == [
        "<|observation|>",
        "<|user|>",
    ]
    assert second[-1].endswith("Yes.")
    stopped = isc.build_training_samples(renderer, TOLD, TOOLS, ensure_final_stop=True)
    assert trained(renderer, stopped)[-1][-1].endswith("Yes.<|user|>")


def test_bodies_of_other_roles_are_trained_on_once(small: isc.Renderer) -> None:
    samples = isc.build_training_samples(small, [*TOLD, user("bye")], TOOLS, content_sft_roles={"user", "tool"})
    said = "|".join(chain.from_iterable(trained(small, samples)))
    assert [said.count(body) for body in ("time?", "12:00", "sure?", "bye")] == [1, 1, 1, 1]
    assert len(samples) == 3, "the last question rewrites the answer before it"


def test_what_is_not_trained_on_makes_no_sample(small: isc.Renderer) -> None:
    only_last = isc.build_training_samples(small, TOLD, TOOLS, message_loss_mask=[0, 0, 0, 0, 0, 1])
    assert trained(small, only_last) == [[THIRD]]
    flagged = [*TOLD[:3], {**TOLD[3], "weight": 0}, *TOLD[4:]]
    assert trained(small, isc.build_training_samples(small, flagged, TOOLS)) == [[FIRST], [THIRD]]
    assert isc.build_training_samples(small, [user("hi")]) == ()
    with pytest.raises(isc.NothingToTrainError, match="conversation of user"):
        isc.build_training_samples(small, [user("hi")], require_trainable=True)


def test_a_turn_that_the_options_would_not_have_asked_for_is_named() -> None:
    renderer = small_renderer(isc.Qwen3(enable_thinking=False))
    with pytest.warns(isc.UnpromptedTurnWarning, match="assistant messages 1, 3, 5: .*enable_thinking"):
        isc.build_training_samples(renderer, TOLD, TOOLS)
    plain = [user("hi"), assistant("yo"), user("and?"), assistant("so")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = isc.build_training_samples(renderer, plain)
    assert trained(renderer, samples) == [["yo<|im_end|>"], ["so<|im_end|>"]]
    assert all(text(renderer, sample).count("<think>\n\n</think>\n\n") == 1 for sample in samples)


def test_a_turn_that_nobody_asked_for_is_trained_on_and_named(small: isc.Renderer) -> None:
    with pytest.warns(isc.UnpromptedTurnWarning, match="assistant message 0: "):
        samples = isc.build_training_samples(small, [assistant("hello"), user("hi"), assistant("yo")])
    assert "".join(chain.from_iterable(trained(small, samples))).count("hello") == 1


def test_a_long_cycle_of_calls_grows_with_its_length(small: isc.Renderer) -> None:
    def samples(count: int) -> Callable[[], object]:
        cycle = [assistant("", call("now", {}, "1"), reasoning="?"), tool("12:00", "1")]
        chat = [user("time?"), *cycle * count, assistant("Noon.", reasoning="!")]
        return lambda: isc.build_training_samples(small, chat, TOOLS)

    assert growing.ratio(samples(100), samples(400)) <= growing.RATIO
