"""What takes n of something takes about four times as long for 4n: every family, render, convert, parse and bridge.

Ratios of processor time are compared, not times; the better of a few attempts counts, since others use the machine too.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import pytest

import isc
from isc import convert
from isc.formats.catalogue import list_families
from isc.types import BodySpecials

SIZE = int(os.environ.get("ISC_GROWTH", "200"))
RATIO = 5.0
ATTEMPTS = 6
SHORTEST = 0.004  # seconds: what is done sooner is repeated, so that the clock and the caches do not count

Messages = list[dict[str, Any]]
Tool = Mapping[str, Any]
CALL = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": {"x": "y"}}}


def tool(number: int) -> Tool:
    """A tool of its own name."""
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    return {"type": "function", "function": {"name": f"f{number}", "description": "d", "parameters": schema}}


def turns(count: int) -> tuple[Messages, list[Tool]]:
    pair: Messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    return pair * (count // 2), []


def cycles(count: int) -> tuple[Messages, list[Tool]]:
    """A call a turn, each answered."""
    cycle: Messages = [
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "ok", "tool_call_id": "functions.f:0", "name": "f"},
    ]
    return [{"role": "user", "content": "hi"}, *cycle * (count // 2)], [tool(0)]


def tools(count: int) -> tuple[Messages, list[Tool]]:
    return [{"role": "user", "content": "hi"}], [tool(number) for number in range(count)]


def parts(count: int) -> tuple[Messages, list[Tool]]:
    return [{"role": "user", "content": [{"type": "text", "text": "words of it "}] * 8 * count}], []


def spelled(count: int) -> tuple[Messages, list[Tool]]:
    """Texts that look like the format's own markers."""
    text = "<|im_start|>user </think><tool_call> " * 2 * count
    return [{"role": "user", "content": text}, {"role": "assistant", "content": text}], []


SHAPES: list[Callable[[int], tuple[Messages, list[Tool]]]] = [turns, cycles, tools, parts, spelled]


def spent(work: Callable[[], object]) -> float:
    """Processor seconds of one run, several runs where one is short."""
    runs = 0
    start = time.process_time()
    while (taken := time.process_time() - start) < SHORTEST or not runs:
        work()
        runs += 1
    return taken / runs


def ratio(small: Callable[[], object], large: Callable[[], object]) -> float:
    """How much longer the large one takes, at the best of a few attempts."""
    small(), large()
    found: list[float] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(ATTEMPTS):
            found.append(spent(large) / spent(small))
            if found[-1] <= RATIO:
                break
    finally:
        gc.enable()
    return min(found)


@cache
def renderer_of(name: str) -> isc.Renderer:
    family = list_families()[name]()
    return isc.create_renderer(isc.encoders.embedded(family.specials), family)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list_families())
def test_rendering_grows_with_what_is_rendered(name: str, shape: Callable[[int], tuple[Messages, list[Tool]]]) -> None:
    renderer = renderer_of(name)
    (few, few_tools), (many, many_tools) = shape(SIZE), shape(4 * SIZE)
    try:
        renderer.render(few, few_tools)
    except isc.ConversationError:
        pytest.skip("the format has no such conversation")
    grown = ratio(lambda: renderer.render(few, few_tools), lambda: renderer.render(many, many_tools))
    assert grown <= RATIO


@pytest.mark.parametrize("name", list_families())
def test_refusing_and_parsing_specials_of_bodies_grows_with_the_text(name: str) -> None:
    renderer = renderer_of(name)
    few, many = parts(SIZE)[0], parts(4 * SIZE)[0]
    policies: tuple[BodySpecials, ...] = ("parse", "reject")
    for policy in policies:
        small, large = (partial(renderer.render, messages, body_specials=policy) for messages in (few, many))
        assert ratio(small, large) <= RATIO


@pytest.mark.parametrize("name", list_families())
def test_a_bridge_grows_with_its_new_messages(name: str) -> None:
    renderer = renderer_of(name)
    prompt = renderer.render([{"role": "user", "content": "hi"}], add_generation_prompt=True).token_ids
    completion = (*next(iter(renderer.encoder.encode_batch(["yo"]))),)
    if "tool" not in renderer.family.shape.roles:
        pytest.skip("its bridges have one new message each")
    if renderer.family.shape.results_at_once:
        asked = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
        called = renderer.render([{"role": "user", "content": "hi"}, asked])
        completion = tuple(k for k, drawn in zip(called.token_ids, called.sampled_mask, strict=True) if drawn)
    results: Messages = [{"role": "tool", "content": "ok", "name": "f"}]
    extended = renderer.plan_bridge(prompt, completion, results)
    if isinstance(extended, isc.Refusal):
        pytest.skip(extended.detail)
    grown = ratio(
        lambda: renderer.bridge_to_next_turn(prompt, completion, results * SIZE),
        lambda: renderer.bridge_to_next_turn(prompt, completion, results * 4 * SIZE),
    )
    assert grown <= RATIO


@pytest.mark.parametrize("name", list_families())
def test_reading_grows_with_the_ids(name: str) -> None:
    """A sampler that has gone wrong: one special over and over, and all of them in turn."""
    renderer = renderer_of(name)
    word = tuple(next(iter(renderer.encoder.encode_batch([" word"]))))
    specials = list(renderer.encoder.specials.values())
    mixed = tuple(token_id for special in specials[:16] for token_id in (special, *word))
    for ids in ((specials[0],) * 8, mixed):
        small, large = (partial(renderer.parse_response, ids * count) for count in (SIZE // 4, SIZE))
        assert ratio(small, large) <= RATIO, ids


def answered(count: int) -> Messages:
    """One turn of many calls, and a result for each."""
    calls = [{**CALL, "id": f"call-{number}"} for number in range(count)]
    results = [{"role": "tool", "content": "ok", "tool_call_id": call["id"]} for call in calls]
    return [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": calls}, *results]


@pytest.mark.parametrize("shape", [*SHAPES, lambda count: (answered(2 * count), [])])
def test_converting_grows_with_what_is_converted(shape: Callable[[int], tuple[Messages, list[Tool]]]) -> None:
    few, many = shape(2 * SIZE), shape(8 * SIZE)
    assert ratio(lambda: convert.chat(*few), lambda: convert.chat(*many)) <= RATIO
