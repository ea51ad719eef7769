"""Parts of what a model sampled: those of the printed turn where it is that, and what a person says where it is not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

import isc
from cases import CASES, Case
from isc import testing
from isc.conversation.rollout import Episode, Rollout
from isc.encoding.fold import fold
from isc.errors import ConversationError
from isc.formats.segments import spelled
from spelled_ids import ids_of

ASKED = {"role": "user", "content": "Time?"}
CALL = {"type": "function", "function": {"name": "now", "arguments": {"zone": "UTC"}}}
RESULT = {"role": "tool", "content": "12:00", "name": "now"}


def qwen3() -> isc.Renderer:
    return isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3(), parts=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_turn_as_the_format_prints_it_has_the_parts_of_a_render(case: Case) -> None:
    family, shape = case.family, case.shape()
    renderer = isc.create_renderer(testing.adversarial_encoder(family.specials), family, parts=True)
    said: dict[str, Any] = {"role": "assistant", "content": "" if shape.calls_alone else "Let me see."}
    said["reasoning_content"] = "Where is a clock?"
    called = [{**said, "tool_calls": [CALL]}, RESULT] if shape.tools else []
    turns = [*called, {"role": "assistant", "content": "It is noon.", "reasoning_content": "Noon."}]
    try:
        step = isc.build_trajectory_step(renderer, [ASKED], turns)
    except (isc.TrajectoryError, ConversationError):
        pytest.skip("the format rewrites this trajectory")
    rollout = Rollout.start(renderer, [ASKED])
    first = len(rollout.prompt_ids)
    assert step.prompt_length == first
    end = next((k for k in range(first, len(step.rendered)) if not step.rendered.sampled_mask[k]), len(step.rendered))
    rollout = rollout.after_completion(step.rendered.token_ids[first:end])
    thought = b"".join(
        renderer.encoder.decode_bytes(step.rendered.token_ids[start:after])
        for run, (start, after) in step.rendered.spans()
        if run.part == "reasoning" and start < end
    )
    if (rollout.response.reasoning_content or "").strip() != thought.decode().strip():
        pytest.skip("no prompt with these options asks for such a turn, so that it is read as another")
    runs = rollout.finish().rendered.runs
    expected = [run for run, (start, _) in step.rendered.spans() if first <= start < end]
    assert [(run.length, run.part) for run in runs if run.message == 1] == [(run.length, run.part) for run in expected]


def after(renderer: isc.Renderer, text: str) -> Rollout:
    """The rollout of a question whose answer is this text, its specials read as such."""
    ids = fold(spelled(text, renderer.family.specials), renderer.encoder).token_ids
    return Rollout.start(renderer, [ASKED]).after_completion(ids, [-1.0] * len(ids))


def told(renderer: isc.Renderer, episode: Episode, message: int) -> list[tuple[str, str | None]]:
    decode = renderer.encoder.decode_bytes
    spans = [(run, span) for run, span in episode.rendered.spans() if run.message == message and run.body]
    return [(decode(episode.token_ids[start:end]).decode(), run.part) for run, (start, end) in spans]


def test_a_call_without_white_space_has_its_parts() -> None:
    renderer = qwen3()
    text = '<think>\nAsk.\n</think>\n\n<tool_call>\n{"name":"now","arguments":{"zone":"UTC"}}\n</tool_call><|im_end|>'
    episode = after(renderer, text).finish()
    parts = told(renderer, episode, 1)
    assert "".join(said for said, _ in parts) == text
    assert parts[0] == ("<think>\n", "marker")
    assert parts[1][0].startswith("Ask.")
    assert parts[1][1] == "reasoning"
    assert parts[-1] == ("<|im_end|>", "close")
    arguments = "".join(said for said, part in parts if part == "tool_arguments")
    assert "zone" in arguments
    assert "UTC" in arguments
    assert not {"content", None} & {part for _, part in parts}


def test_a_call_that_cannot_be_read_takes_nothing_from_what_stands_around_it() -> None:
    renderer = qwen3()
    broken = '<tool_call>\n{"name": "now", oops}\n</tool_call>'
    call = '{"arguments":{"zone":"UTC"},"name":"now"}'
    text = f"<think>Ask.</think>Let me.{broken}\n<tool_call>{call}</tool_call><|im_end|>"
    parts = told(renderer, after(renderer, text).finish(), 1)
    assert parts[:4] == [("<think>", "marker"), ("Ask.", "reasoning"), ("</think>", "marker"), ("Let me.", "content")]
    said = {part: "".join(words for words, other in parts if other == part) for _, part in parts}
    assert broken in said["tool_call"]
    assert "now" in said["tool_name"]
    assert "zone" in said["tool_arguments"]
    assert parts[-1] == ("<|im_end|>", "close")


def oddly_spelled(source: random.Random, turn: Sequence[int], words: Sequence[Sequence[int]]) -> list[int]:
    """A turn in which a few words stand where none did, or in the place of others."""
    ids = list(turn)
    for place in source.choices(range(len(ids)), k=3):
        ids[place : place + source.choice((0, 0, 1))] = source.choice(words)
    return ids


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_however_a_turn_is_spelled_its_reasoning_and_content_are_told_exactly(case: Case) -> None:
    """White space and words come in anywhere: what is read as a field is a token of it, and nothing else is."""
    family, shape, source = case.family, case.shape(), random.Random(17)
    if getattr(family, "render_assistant_messages_raw", False):
        pytest.skip("its content is read raw, so that it holds the reasoning")
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family, parts=True)
    said: dict[str, Any] = {"role": "assistant", "content": "" if shape.calls_alone else "Let me see."}
    said["reasoning_content"] = "Where is a clock?"
    answer = {**said, "tool_calls": [CALL]} if shape.tools else said
    try:
        step = isc.build_trajectory_step(renderer, [ASKED], [answer])
    except (isc.TrajectoryError, ConversationError):
        pytest.skip("the format has no such turn")
    prompt = renderer.render([ASKED], add_generation_prompt=True)
    turn = step.rendered.token_ids[len(prompt) :]
    words = [ids for text in (" ", "\n", "x", "{") for ids in renderer.encoder.encode_batch([text])]
    for _ in range(8):
        ids = oddly_spelled(source, turn, words)
        read, extended = renderer.parse_response(ids, None, prompt.token_ids), renderer.extend(prompt, ids)
        assert extended is not None
        runs = [(run, span) for run, span in extended.spans() if run.message == 1]
        assert all(run.part is not None for run, _ in runs)
        # content that holds reasoning is, as the format prints it, reasoning
        content = None if "</think>" in read.content else read.content
        for part, text in (("reasoning", read.reasoning_content), ("content", content)):
            spans = [span for run, span in runs if run.part == part]
            if text and renderer.encoder.decode_bytes(ids).count(text.encode()) == 1:
                ((start, end),) = spans
                assert text.encode() in renderer.encoder.decode_bytes(extended.token_ids[start:end])
                assert renderer.encoder.decode_bytes(extended.token_ids[start + 1 : end - 1]) in text.encode()


def test_half_a_character_before_the_arguments_does_not_move_them() -> None:
    """It is read as one character, which takes more bytes than the half has."""
    renderer = qwen3()
    half = next(iter(renderer.encoder.encode_batch(["漢"])))[:1]
    assert renderer.encoder.decode_bytes(half) == "漢".encode()[:1]
    before, behind = '<tool_call>\n{"name": "nöw漢漢', '", "arguments":{"zone":"UTC"}}\n</tool_call><|im_end|>'
    ids = (*ids_of(renderer, before), *half, *ids_of(renderer, behind))
    episode = Rollout.start(renderer, [ASKED]).after_completion(ids).finish()
    decode = renderer.encoder.decode_bytes
    spans = [span for run, span in episode.rendered.spans() if run.part == "tool_arguments"]
    said = b"".join(decode(episode.token_ids[start:end]) for start, end in spans)
    assert b'{"zone":"UTC"}' in said
    assert b"arguments" not in said
    assert said.strip(b":") in (b'{"zone":"UTC"}', b'{"zone":"UTC"}}')


def test_an_extended_prompt_says_the_parts_of_its_completion() -> None:
    renderer = qwen3()
    rollout = after(renderer, "<think>\nAsk.\n</think>\n\nNo.<|im_end|>")
    assert rollout.completion is not None
    new = [{"role": "tool", "content": "12:00"}]
    extended = renderer.extend(rollout.prompt, rollout.completion.token_ids, new)
    assert extended is not None
    expected = [run for run in rollout.finish().rendered.runs if run.message == 1]
    assert [run for run in extended.runs if run.message == 1 and run.body] == expected
    plain = isc.create_renderer(renderer.encoder, renderer.family).extend(
        rollout.prompt, rollout.completion.token_ids, new
    )
    assert plain is not None
    assert plain.token_ids == extended.token_ids


def test_a_call_that_cannot_be_read_is_a_call() -> None:
    renderer = qwen3()
    parts = told(renderer, after(renderer, 'Wait.<tool_call>\n{"name": "now", oops').finish(), 1)
    assert parts == [("Wait.", "content"), ('<tool_call>\n{"name": "now", oops', "tool_call")]


def test_reasoning_that_is_cut_off_is_reasoning() -> None:
    renderer = qwen3()
    parts = told(renderer, after(renderer, "<think>\nLet me think of").finish(), 1)
    assert parts == [("<think>\n", "marker"), ("Let me think of", "reasoning")]


def test_an_episode_is_trained_on_parts_of_all_its_turns() -> None:
    renderer = qwen3()
    rollout = after(renderer, '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>')
    rollout = rollout.after_messages([{"role": "tool", "content": "12:00"}])
    (ids,) = renderer.encoder.encode_batch(["It is noon."])
    episode = rollout.after_completion([*ids, *renderer.get_stop_token_ids()[:1]]).finish()
    assert episode.rendered.has_parts
    whole = [renderer.encoder.decode_bytes(episode.token_ids[start:end]) for start, end in episode.loss_spans]
    kept = episode.only({"content"})
    assert isinstance(kept, Episode)
    assert [renderer.encoder.decode_bytes(kept.token_ids[start:end]) for start, end in kept.loss_spans] == [
        b"It is noon."
    ]
    assert b"tool_call" in whole[0]
    assert kept.logprobs == episode.logprobs
    assert told(renderer, episode, 2) == [("12:00", "tool_result")]


def test_ids_and_owners_do_not_depend_on_parts() -> None:
    renderer = qwen3()
    plain = isc.create_renderer(renderer.encoder, renderer.family)
    text = "<think>\nAsk.\n</think>\n\nNo.<|im_end|>"
    asked, unasked = (after(one, text).finish().rendered for one in (renderer, plain))
    assert asked.token_ids == unasked.token_ids
    assert asked.is_content == unasked.is_content
    assert not unasked.has_parts
