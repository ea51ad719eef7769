"""Qwen with thinking switched off: what was sampled stays the beginning of every later render."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from isc.compat import create_renderer
from isc.compat.configs import Qwen3RendererConfig, Qwen35RendererConfig, Qwen36RendererConfig
from isc.encoding.encoders import embedded

SYSTEM = {"role": "system", "content": "S"}
QUERY, MORE = {"role": "user", "content": "Q"}, {"role": "user", "content": "More"}
CALL = {"type": "function", "function": {"name": "now", "arguments": {}}}
BLOCK = "<think>\n\n</think>\n\n"
CONFIGS: dict[str, tuple[Any, isc.Family]] = {
    "qwen3": (Qwen3RendererConfig, isc.Qwen3(enable_thinking=False)),
    "qwen3.5": (Qwen35RendererConfig, isc.Qwen35(enable_thinking=False)),
    "qwen3.6": (Qwen36RendererConfig, isc.Qwen36(enable_thinking=False)),
}


@pytest.fixture(params=list(CONFIGS.values()), ids=list(CONFIGS))
def made(request: pytest.FixtureRequest) -> tuple[Any, isc.Renderer]:
    """The renderer of compat, and isc's own of the same format."""
    config, family = request.param
    encoder = embedded(family.specials)
    return create_renderer(encoder, config(enable_thinking=False)), isc.create_renderer(encoder, family)


def test_a_prompt_is_the_beginning_of_every_later_one(made: tuple[Any, isc.Renderer]) -> None:
    renderer, _ = made
    turns: list[list[dict[str, Any]]] = [
        [SYSTEM, QUERY],
        [{"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "12"}],
        [{"role": "assistant", "content": "Noon."}, MORE],
        [{"role": "assistant", "content": "Well."}, MORE],
    ]
    messages: list[dict[str, Any]] = []
    before: list[int] = []
    for turn in turns:
        messages += turn
        ids = renderer.render_ids(messages, add_generation_prompt=True)
        assert ids[: len(before)] == before
        before = ids


ANSWERS: dict[str, dict[str, Any]] = {
    "content": {"content": "Noon."},
    "line breaks before the content": {"content": "\n\nNoon.", "reasoning_content": ""},
    "a call alone": {"content": "", "tool_calls": [CALL]},
    "a call after line breaks": {"content": "\n\n", "tool_calls": [CALL]},
    "a call after content": {"content": "\n Noon.", "tool_calls": [CALL]},
    "nothing": {"content": ""},
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_turn_is_later_what_it_was_as_the_last(made: tuple[Any, isc.Renderer], answer: dict[str, Any]) -> None:
    """The template prints the block of the last turn itself; what it makes of the turn there is the oracle."""
    renderer, strict = made
    messages: list[dict[str, Any]] = [QUERY, {"role": "assistant", **answer}]
    last = strict.encoder.decode_bytes(strict.render_ids(messages))
    assert BLOCK in last.decode()
    assert strict.encoder.decode_bytes(renderer.render_ids(messages)) == last
    assert strict.encoder.decode_bytes(renderer.render_ids([*messages, MORE])).startswith(last)


def test_reasoning_that_is_white_space_is_none_where_the_template_trims_it(made: tuple[Any, isc.Renderer]) -> None:
    renderer, strict = made
    answer = {"role": "assistant", "content": "Noon.", "reasoning_content": " \n "}
    last = strict.encoder.decode_bytes(strict.render_ids([QUERY, answer]))
    later = strict.encoder.decode_bytes(renderer.render_ids([QUERY, answer, MORE]))
    assert later.startswith(last) is (BLOCK in last.decode())


def test_a_bridge_at_a_query_is_what_a_fresh_render_gives(made: tuple[Any, isc.Renderer]) -> None:
    renderer, strict = made
    prompt = renderer.render_ids([QUERY], add_generation_prompt=True)
    completion = [*next(iter(strict.encoder.encode_batch(["Noon."]))), renderer.get_stop_token_ids()[0]]
    bridge = renderer.bridge_to_next_turn(prompt, completion, [MORE])
    fresh = [QUERY, {"role": "assistant", "content": "Noon."}, MORE]
    assert bridge.token_ids == renderer.render_ids(fresh, add_generation_prompt=True)
    assert renderer.effective_thinking_retention == "all"
    assert strict.bridge_to_next_turn(prompt, completion, [MORE]) is None


def test_reasoning_in_the_content_is_its_block(made: tuple[Any, isc.Renderer]) -> None:
    """The templates take what stands before `</think>` for reasoning."""
    renderer, strict = made
    messages = [QUERY, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nNoon."}]
    kept, expected = (side.render_ids(messages) for side in (renderer, strict))
    assert strict.encoder.decode_bytes(kept) == strict.encoder.decode_bytes(expected)


def test_the_block_is_scaffold_and_a_turn_with_reasoning_the_templates(made: tuple[Any, isc.Renderer]) -> None:
    renderer, strict = made
    messages = [QUERY, {"role": "assistant", "content": "Noon."}, MORE]
    rendered = renderer.render(messages)
    turn = [k for k, owner in enumerate(rendered.message_indices) if owner == 1]
    texts = {
        sampled: strict.encoder.decode_bytes(
            [rendered.token_ids[k] for k in turn if rendered.sampled_mask[k] is sampled]
        ).decode()
        for sampled in (True, False)
    }
    assert BLOCK in texts[False]
    assert texts[True] == "Noon.<|im_end|>"
    thought = [QUERY, {"role": "assistant", "content": "Noon.", "reasoning_content": "hm"}, MORE]
    kept, expected = (side.render_ids(thought, add_generation_prompt=True) for side in (renderer, strict))
    assert strict.encoder.decode_bytes(kept) == strict.encoder.decode_bytes(expected)
