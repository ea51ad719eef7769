"""Streams that are one flat list of ids: what is appended is what a bridge adds, and no turn is closed twice."""

from __future__ import annotations

import numpy as np
import pytest

import isc
from arrays import tensors
from cases import CASES, Case
from isc.conversation.rollout import Rollout
from isc.encoding.encoders import embedded
from small_templates import template

USER = {"role": "user", "content": "time?"}
SAID = {"role": "assistant", "content": "12:00"}
NEXT = {"role": "user", "content": "And now?"}

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def keeping(case: Case) -> isc.Renderer:
    """A case's renderer that bridges past a user's message."""
    encoder = embedded(case.family.specials)
    return isc.create_renderer(encoder, case.family, images=case.renderer(encoder).images, thinking_retention="all")


def sampled(renderer: isc.Renderer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A prompt and a completion that the family would write, with its close."""
    prompt = renderer.render_ids([USER], None, True)
    rendered = renderer.render([USER, SAID, NEXT])
    pairs = zip(rendered.token_ids, rendered.sampled_mask, strict=True)
    return prompt, tuple(token_id for token_id, drawn in pairs if drawn)


@cases
def test_what_is_appended_is_what_a_bridge_adds(case: Case) -> None:
    renderer = keeping(case)
    prompt, completion = sampled(renderer)
    for cut in (len(completion), len(completion) - 1, 1, 0):  # with its close, without, cut off, nothing sampled yet
        bridged = renderer.bridge_to_next_turn(prompt, completion[:cut], [NEXT])
        appended = renderer.append(prompt + completion[:cut], [NEXT], sampled_from=len(prompt))
        if bridged is None:
            assert isinstance(appended, isc.Refusal)
            continue
        assert isinstance(appended, isc.Appended)
        assert appended.token_ids == bridged.token_ids
        assert appended.token_ids[: appended.added_from] == prompt + completion[:cut]
        assert appended.added == bridged.token_ids[len(prompt) + cut :]


@cases
def test_where_the_turn_began_is_found_by_the_generation_prompt(case: Case) -> None:
    renderer = keeping(case)
    prompt, completion = sampled(renderer)
    told = renderer.append(prompt + completion, [NEXT], sampled_from=len(prompt))
    found = renderer.append(prompt + completion, [NEXT])
    if not list(case.family.generation_prompt(renderer.chat([NEXT]))):  # DeepSeek V3-0324: it stands in the user's turn
        assert isinstance(found, isc.Refusal)
        assert found.reason == "unknown_turn"
        return
    assert isinstance(found, isc.Appended) == isinstance(told, isc.Appended)
    if isinstance(found, isc.Appended) and isinstance(told, isc.Appended):
        assert found.token_ids == told.token_ids


@cases
def test_a_stream_that_ends_with_the_close_is_not_closed_again(case: Case) -> None:
    renderer = keeping(case)
    prompt, completion = sampled(renderer)
    stops = renderer.get_stop_token_ids()
    if completion[-1] not in stops:  # gpt-oss ends what was said before in another way than the last answer
        completion = (*completion[:-1], stops[0])
    plan = renderer.plan_bridge(prompt + completion, [], [NEXT])
    assert isinstance(plan, isc.Refusal)
    assert plan.reason == "turn_already_closed"
    assert renderer.bridge_to_next_turn(prompt + completion, [], [NEXT]) is None
    assert renderer.plan_bridge(prompt, [], [NEXT]) != plan


def test_what_follows_a_close_in_a_render_is_not_added_again(small: isc.Renderer) -> None:
    """Renders end with the line break after the close, samplers before it."""
    result = {"role": "tool", "content": "12:00"}
    prompt = small.render_ids([USER], None, True)
    whole = small.render_ids([USER, SAID])
    closed = whole[: whole.index(small.get_stop_token_ids()[0], len(prompt)) + 1]
    assert len(closed) == len(whole) - 1
    both = [small.append(stream, [result]) for stream in (closed, whole)]
    assert all(isinstance(found, isc.Appended) for found in both)
    bridged = small.bridge_to_next_turn(prompt, closed[len(prompt) :], [result])
    assert bridged is not None
    assert {found.token_ids for found in both if isinstance(found, isc.Appended)} == {bridged.token_ids}
    plan = small.plan_bridge(whole, [], [result])
    assert isinstance(plan, isc.Refusal)
    assert plan.reason == "turn_already_closed"


@pytest.mark.parametrize(
    ("messages", "prompted", "reason"),
    [
        ([USER], False, "unknown_turn"),
        ([USER, SAID, NEXT], False, "unknown_turn"),
        ([USER, SAID, {"role": "tool", "content": "x"}], False, "unknown_turn"),
    ],
)
def test_a_stream_whose_last_turn_is_not_the_model_s_is_refused(
    small: isc.Renderer, messages: list[dict[str, str]], prompted: bool, reason: str
) -> None:
    found = small.append(small.render_ids(messages, None, prompted), [{"role": "tool", "content": "y"}])
    assert isinstance(found, isc.Refusal)
    assert found.reason == reason


def test_a_stream_that_goes_on_after_its_close_is_refused(small: isc.Renderer) -> None:
    prompt = small.render_ids([USER], None, True)
    stream = small.render_ids([USER, SAID, {"role": "tool", "content": "x"}])
    found = small.append(stream, [{"role": "tool", "content": "y"}], sampled_from=len(prompt))
    assert isinstance(found, isc.Refusal)
    assert found.reason == "turn_already_closed"


def test_a_position_that_is_none_is_refused(small: isc.Renderer) -> None:
    for place in (-1, 99):
        with pytest.raises(isc.OptionError, match=f"sampled_from={place}"):
            small.append([1, 2], [NEXT], sampled_from=place)


def test_arrays_are_streams(small: isc.Renderer) -> None:
    result = {"role": "tool", "content": "x"}
    stream = small.render_ids([USER, SAID])
    expected = small.append(stream, [result])
    assert isinstance(expected, isc.Appended)
    for given in (list(stream), np.array(stream), *tensors(list(stream))):
        assert small.append(given, [result]) == expected


LITERAL = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}<|eos|>{% else %}{{ m.content }}\n"
    "{% endif %}{% endfor %}"
)


def test_a_literal_opener_is_told_from_an_open_one_where_attribution_is_known() -> None:
    """By ids alone the prompt ends inside reasoning: its last special is the `<think>` that the user spelled."""
    family = template(LITERAL, eos_token="<|eos|>", reasoning="think")
    encoder = embedded(family.specials)
    renderer = isc.create_renderer(encoder, family, body_specials="parse")
    asked = {"role": "user", "content": "what does <think> do"}
    rollout = Rollout.start(renderer, [asked])
    assert encoder.specials["<think>"] in rollout.prompt_ids
    answer = next(iter(encoder.encode_batch(["It thinks."])))
    completion = (*answer, encoder.specials["<|eos|>"])
    assert renderer.parse_response(completion, None, rollout.prompt_ids).reasoning_content == "It thinks."
    read = rollout.after_completion(completion)
    assert (read.response.content, read.response.reasoning_content) == ("It thinks.", None)
    plan = renderer.plan_bridge(rollout.prompt_ids, completion, [NEXT])
    assert isinstance(plan, isc.Refusal)
    assert plan.reason == "reasoning_stopped"
    assert renderer.extend(rollout.prompt, completion, [NEXT]) is not None
    assert not read.after_messages([NEXT]).rerenders
