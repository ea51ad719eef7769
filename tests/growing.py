"""Work on n of something and on 4n of it: how much longer that takes, for every family (`test_growth`, `make bench`).

Ratios of processor time are compared, not times; the better of a few attempts counts, since others use the machine too.
"""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeAlias

import isc
from isc import convert
from isc.conversation.rollout import Rollout
from isc.formats.catalogue import list_families

SIZE = int(os.environ.get("ISC_GROWTH", "200"))
TURNS = min(SIZE, 200)
"""For what copies its ids each turn as one block, since they are immutable: with thousands of turns that shows."""
RATIO = 5.0
ATTEMPTS = 8
SHORTEST = 0.004  # seconds: what is done sooner is repeated, so that the clock and the caches do not count

Messages: TypeAlias = list[dict[str, Any]]
Tool: TypeAlias = Mapping[str, Any]
Shape: TypeAlias = Callable[[int], tuple[Messages, list[Tool]]]
Work: TypeAlias = Callable[[int], object]
USER: dict[str, Any] = {"role": "user", "content": "hi"}
RESULT: dict[str, Any] = {"role": "tool", "content": "ok", "tool_call_id": "call00000", "name": "f"}
CALL: dict[str, Any] = {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": {"x": "y"}}}
CALLING: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [CALL]}


def tool(number: int) -> Tool:
    """A tool of its own name."""
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    return {"type": "function", "function": {"name": f"f{number}", "description": "d", "parameters": schema}}


def turns(count: int) -> tuple[Messages, list[Tool]]:
    pair: Messages = [USER, {"role": "assistant", "content": "yo"}]
    return pair * (count // 2), []


def cycles(count: int) -> tuple[Messages, list[Tool]]:
    """A call a turn, each answered."""
    return [USER, *[CALLING, RESULT] * (count // 2)], [tool(0)]


def asked_again(count: int) -> tuple[Messages, list[Tool]]:
    """The same, between many questions, and one at the end."""
    cycle: Messages = [USER, CALLING, RESULT, CALLING, RESULT, {"role": "assistant", "content": "yo"}]
    return [*cycle * (count // 6), USER], [tool(0)]


def tools(count: int) -> tuple[Messages, list[Tool]]:
    return [USER], [tool(number) for number in range(count)]


def parts(count: int) -> tuple[Messages, list[Tool]]:
    return [{"role": "user", "content": [{"type": "text", "text": "words of it "}] * 8 * count}], []


def spelled(count: int) -> tuple[Messages, list[Tool]]:
    """Texts that look like the format's own markers."""
    text = "<|im_start|>user </think><tool_call> " * 2 * count
    return [{"role": "user", "content": text}, {"role": "assistant", "content": text}], []


SHAPES: list[Shape] = [turns, cycles, asked_again, tools, parts, spelled]


def spent(work: Callable[[], object]) -> float:
    """Processor seconds of one run, several runs where one is short.

    What the system spends on memory that a process gets and gives back is not counted: it grows by leaps.
    """
    runs = 0
    start = _own_seconds()
    while (taken := _own_seconds() - start) < SHORTEST or not runs:
        work()
        runs += 1
    return taken / runs


def _own_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def ratio(small: Callable[[], object], large: Callable[[], object], enough: float = RATIO) -> float:
    """How much longer the large one takes, at the best of a few attempts: the first that is `enough` ends them."""
    small()
    found: list[float] = []
    gc.disable()
    try:
        for attempt in range(ATTEMPTS):
            large()  # the caches are cold after a sleep
            found.append(spent(large) / spent(small))
            if found[-1] <= enough:
                break
            time.sleep(0.05 * 2**attempt)  # a neighbour that empties the caches is busy for seconds, not for an attempt
    finally:
        gc.enable()
    return min(found)


@cache
def renderer_of(name: str) -> isc.Renderer:
    family = list_families()[name]()
    return isc.create_renderer(isc.encoders.embedded(family.specials), family)


def rendering(renderer: isc.Renderer, shape: Shape) -> Work | None:
    """Render so many; None where the format has no such conversation."""
    made = cache(shape)
    try:
        renderer.render(*made(SIZE))
    except isc.ConversationError:
        return None
    return lambda count: renderer.render(*made(count))


def parsing(renderer: isc.Renderer) -> list[Work]:
    """Read a sampler that has gone wrong: one special over and over, and all of them in turn."""
    word = tuple(next(iter(renderer.encoder.encode_batch([" word"]))))
    specials = list(renderer.encoder.specials.values())
    mixed = tuple(token_id for special in specials[:16] for token_id in (special, *word))
    streams = ((specials[0],) * 8, mixed)
    return [lambda count, ids=ids: renderer.parse_response(ids * (count // 4)) for ids in streams]  # type: ignore[misc]


def bridging(renderer: isc.Renderer) -> Work | None:
    """Bridge to so many results at once; None where bridges have one new message each."""
    if "tool" not in renderer.family.shape.roles:
        return None
    prompt = renderer.render([USER], add_generation_prompt=True).token_ids
    said = (*next(iter(renderer.encoder.encode_batch(["yo"]))),)
    for completion in (_called(renderer), said) if renderer.family.shape.results_at_once else (said, _called(renderer)):
        if _is_bridged(renderer, prompt, completion):
            return partial(_bridge, renderer, prompt, completion)
    return None


def _bridge(renderer: isc.Renderer, prompt: tuple[int, ...], completion: tuple[int, ...], count: int) -> object:
    return renderer.bridge_to_next_turn(prompt, completion, [RESULT] * count)


def _is_bridged(renderer: isc.Renderer, prompt: tuple[int, ...], completion: tuple[int, ...]) -> bool:
    """Return whether two results are granted: some formats want a call before them, some one call for each."""
    try:
        return not isinstance(renderer.plan_bridge(prompt, completion, [RESULT] * 2), isc.Refusal)
    except isc.ConversationError:
        return False


def _called(renderer: isc.Renderer) -> tuple[int, ...]:
    """What was sampled of a turn that calls."""
    return isc.build_trajectory_step(renderer, [USER], [CALLING]).completion_ids


def stepping(renderer: isc.Renderer) -> Work | None:
    """Build a trajectory of so many turns; None where the format has no such conversation."""
    offered = [tool(0)] if renderer.family.shape.offers_tools else []

    def build(count: int) -> object:
        return isc.build_trajectory_step(renderer, [USER], [CALLING, RESULT] * (count // 5), offered)

    try:
        build(10)
    except (isc.ConversationError, isc.TrajectoryError):
        return None
    return build


def rolling(renderer: isc.Renderer) -> Work | None:
    """Play an episode of so many turns; None where each has to be rendered afresh."""
    if "tool" not in renderer.family.shape.roles:
        return None
    answer = _called(renderer)

    def play(count: int) -> Rollout:
        rollout = Rollout.start(renderer, [USER])
        for _ in range(count // 5):
            rollout = rollout.after_completion(answer, [-1.0] * len(answer)).after_messages([RESULT])
        return rollout

    return None if play(10).rerenders else play


def converting(shape: Shape) -> Work:
    """Convert so many."""
    made = cache(shape)
    return lambda count: convert.chat(*made(2 * count))


def answered(count: int) -> tuple[Messages, list[Tool]]:
    """One turn of many calls, and a result for each."""
    calls = [{**CALL, "id": f"call{number:05d}"} for number in range(2 * count)]
    results = [{"role": "tool", "content": "ok", "tool_call_id": call["id"]} for call in calls]
    return [USER, {"role": "assistant", "content": "", "tool_calls": calls}, *results], []


def grown(work: Work, size: int = SIZE) -> float:
    """Return how much longer four times as many take.

    Where that is too much, four times as many again are tried: data that outgrows a cache of the machine does so once,
    and what grows faster than it should does at every size.
    """
    found = ratio(lambda: work(size), lambda: work(4 * size))
    return found if found <= RATIO else min(found, ratio(lambda: work(4 * size), lambda: work(16 * size)))
