"""Samples of which parts of bodies alone are trained on, against texts written down by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import pytest

import isc
from isc.encoding.encoders import VocabularyEncoder, from_tokenizer_json
from isc.errors import OptionError
from isc.types import BodyPart
from tokenizer_files import byte_level, with_added_tokens

CALL = {"type": "function", "function": {"name": "now", "arguments": {"zone": "UTC"}}}
CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "Time?"},
    {"role": "assistant", "reasoning_content": "Ask.", "content": "Let me see.", "tool_calls": [CALL]},
    {"role": "tool", "content": "12:00"},
    {"role": "assistant", "reasoning_content": "Noon, then.", "content": "It is noon."},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "reasoning_content": "Yes I am.", "content": "Yes."},
]
Parts = Mapping[str, Collection[BodyPart]]


def bytewise(specials: Sequence[str]) -> VocabularyEncoder:
    """A vocabulary with a token for each byte and none for more: no token is of two parts."""
    document = byte_level()
    document["model"]["merges"] = []
    return from_tokenizer_json(msgspec.json.encode(with_added_tokens(document, specials)), engine="tokenizers")


def renderer_of(family: isc.Family) -> isc.Renderer:
    return isc.create_renderer(bytewise(family.specials), family)


def trained(renderer: isc.Renderer, sample: isc.TrainingSample) -> list[str]:
    decode = renderer.encoder.decode_bytes
    return [decode(sample.token_ids[start:end]).decode() for start, end in sample.loss_spans]


@pytest.mark.parametrize(
    ("parts", "texts"),
    [
        ({"assistant": {"content"}}, ["Let me see.", "It is noon.", "Yes."]),
        ({"assistant": {"content", "close"}}, ["Let me see.", "<|im_end|>", "It is noon.<|im_end|>", "Yes.<|im_end|>"]),
        ({"assistant": {"tool_arguments"}}, ['{"zone": "UTC"}']),
        ({"assistant": ["tool_call"]}, ['<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call>']),
        ({"assistant": ("reasoning",)}, ["Yes I am."]),
        ({"assistant": {"tool_name"}, "tool": {"tool_result"}}, ["now", "12:00"]),
        ({"tool": {"content"}, "assistant": {"tool_name"}}, ["now"]),
        ({"assistant": set()}, ["12:00"]),
    ],
)
def test_only_these_parts_are_trained_on(parts: Parts, texts: list[str]) -> None:
    renderer = renderer_of(isc.Qwen3())
    more = {"tool"} if "12:00" in texts or "tool" in parts else None
    sample = isc.build_training_sample(renderer, CHAT, content_sft_roles=more, parts=parts)
    assert trained(renderer, sample) == texts
    assert sample.token_ids == renderer.render_ids(CHAT)


def test_each_turn_has_its_parts_where_it_was_sampled() -> None:
    renderer = renderer_of(isc.Qwen3())
    samples = isc.build_training_samples(renderer, CHAT, parts={"assistant": {"reasoning", "close"}})
    assert [trained(renderer, sample) for sample in samples] == [
        ["Ask.", "<|im_end|>", "Noon, then.", "<|im_end|>"],
        ["Yes I am.", "<|im_end|>"],
    ]


def test_parts_are_kept_where_turns_are_grown_as_an_engine_reads_them() -> None:
    kept = isc.create_renderer(bytewise(isc.Qwen3().specials), isc.Qwen3(), thinking_retention="all")
    (sample,) = isc.build_training_samples(kept, CHAT, parts={"assistant": {"reasoning"}})
    assert trained(kept, sample) == ["Ask.", "Noon, then.", "Yes I am."]
    assert sample.rendered.has_parts


def test_the_close_that_is_added_is_a_close() -> None:
    renderer = renderer_of(isc.Glm45())
    chosen: Parts = {"assistant": {"close"}}
    sample = isc.build_training_sample(renderer, CHAT[:4], ensure_final_stop=True, parts=chosen)
    assert trained(renderer, sample) == ["<|observation|>", "<|user|>"]
    assert trained(renderer, isc.build_training_sample(renderer, CHAT[:4], parts=chosen)) == ["<|observation|>"]


def test_a_trajectory_step_keeps_parts() -> None:
    renderer = renderer_of(isc.Qwen3())
    asked = isc.create_renderer(renderer.encoder, renderer.family, parts=True)
    step, plain = (isc.build_trajectory_step(one, CHAT[:1], CHAT[1:4]) for one in (asked, renderer))
    assert step.rendered.token_ids == plain.rendered.token_ids
    assert step.rendered.has_parts
    spans = step.rendered.part_spans()["reasoning"]
    assert [renderer.encoder.decode_bytes(step.rendered.token_ids[slice(*span)]) for span in spans] == [
        b"Ask.",
        b"Noon, then.",
    ]


def test_a_sample_is_narrowed_after_it_was_made() -> None:
    renderer = isc.create_renderer(bytewise(isc.Qwen3().specials), isc.Qwen3(), parts=True)
    whole = isc.build_training_sample(renderer, CHAT, role_to_mask=lambda message: "noon" in str(message.content))
    assert trained(renderer, whole.only({"content"})) == ["It is noon."]
    assert trained(renderer, whole.only({"content"}).only({"close"})) == []
    with pytest.raises(OptionError, match="parts=True"):
        isc.build_training_sample(renderer_of(isc.Qwen3()), CHAT).only({"content"})


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"assistant": {"cntent"}}, "'cntent' is no part of a body; parts are reasoning"),
        ({"assistant": "content"}, "must be a set of parts"),
        ({"robot": {"content"}}, "'robot' is no role"),
        ({"tool": {"tool_result"}}, "no tool message is trained on"),
        (["content"], "the parts of each role"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(parts: Any, problem: str) -> None:  # noqa: ANN401 - what a caller may err in
    for build in (isc.build_training_sample, isc.build_training_samples):
        with pytest.raises(OptionError, match=problem):
            build(renderer_of(isc.Qwen3()), CHAT, parts=parts)
