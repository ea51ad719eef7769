"""What takes n of something takes about four times as long for 4n: render, convert, parse, bridge, episodes.

Every family, and every other value of its options that are true or false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import pytest

import isc
from growing import (
    RATIO,
    SHAPES,
    SIZE,
    TURNS,
    Shape,
    answered,
    bridging,
    converting,
    grown,
    parsing,
    parts,
    ratio,
    renderer_of,
    rendering,
    rolling,
    stepping,
    turns,
)
from isc.conversation.sampled_parts import parts_alone
from isc.formats.base import Family
from isc.formats.catalogue import list_families
from isc.types import BodySpecials
from spelled_ids import ids_of


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list_families())
def test_rendering_grows_with_what_is_rendered(name: str, shape: Shape) -> None:
    work = rendering(renderer_of(name), shape)
    if work is None:
        pytest.skip("the format has no such conversation")
    assert grown(work) <= RATIO


def other_options() -> Iterator[Family]:
    """Each family with one option that is true or false the other way round."""
    for make in list_families().values():
        family = make()
        for option, value in msgspec.structs.asdict(family).items():
            if isinstance(value, bool):
                try:
                    yield family.with_options({option: not value})
                except isc.OptionError:
                    continue


@pytest.mark.parametrize("family", list(other_options()), ids=repr)
def test_rendering_grows_with_what_is_rendered_whatever_the_options(family: Family) -> None:
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family)
    works = (rendering(renderer, shape) for shape in SHAPES if shape.__name__ in ("asked_again", "turns"))
    assert max(grown(work) for work in works if work is not None) <= RATIO


@pytest.mark.parametrize("name", list_families())
def test_refusing_and_parsing_specials_of_bodies_grows_with_the_text(name: str) -> None:
    renderer = renderer_of(name)
    few, many = parts(SIZE)[0], parts(4 * SIZE)[0]
    policies: tuple[BodySpecials, ...] = ("parse", "reject")
    for policy in policies:
        small, large = (partial(renderer.render, messages, body_specials=policy) for messages in (few, many))
        assert ratio(small, large) <= RATIO


SPELLED = {
    "calls with other white space": lambda count: '<tool_call>{"name": "f",  "arguments": {"x":1}}</tool_call>' * count,
    "one word again and again": lambda count: f"<think>{'word ' * 40 * count}\n\n\n</think>{'word ' * 40 * count}\n ",
}


@pytest.mark.parametrize("text", SPELLED.values(), ids=SPELLED.keys())
def test_parts_of_what_was_sampled_grow_with_it(text: Callable[[int], str]) -> None:
    """What the format would have spelled otherwise, so that nothing is equal to what it prints."""
    renderer = renderer_of("qwen3")
    sampled = (ids_of(renderer, f"so{text(count)}<|im_end|>") for count in (SIZE, 4 * SIZE))
    small, large = (partial(parts_alone, renderer, (), ids, None) for ids in sampled)
    assert ratio(small, large) <= RATIO


@pytest.mark.parametrize("name", list_families())
def test_a_bridge_grows_with_its_new_messages(name: str) -> None:
    work = bridging(renderer_of(name))
    if work is None:
        pytest.skip("its bridges have one new message each")
    assert grown(work) <= RATIO


@pytest.mark.parametrize("name", list_families())
def test_reading_grows_with_the_ids(name: str) -> None:
    assert max(map(grown, parsing(renderer_of(name)))) <= RATIO


@pytest.mark.parametrize("name", list_families())
def test_trajectories_and_episodes_grow_with_their_turns(name: str) -> None:
    """A turn costs what it adds: the history is copied as a whole, and not walked."""
    works = [work for work in (stepping(renderer_of(name)), rolling(renderer_of(name))) if work is not None]
    if not works:
        pytest.skip("the format has no such episodes")
    assert max(grown(work, TURNS) for work in works) <= RATIO


@pytest.mark.parametrize("shape", [*SHAPES, answered])
def test_converting_grows_with_what_is_converted(shape: Shape) -> None:
    assert grown(converting(shape)) <= RATIO


def test_what_is_known_of_a_chat_is_right_of_its_beginnings() -> None:
    """They share it, so that a turn does not look through all turns before."""
    messages, _ = turns(8)
    chat = isc.convert.chat(
        [*messages, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    )
    for end in range(len(chat.messages) + 1):
        earlier, alone = chat.before(end), isc.types.Chat(chat.messages[:end], chat.tools)
        assert earlier == alone
        assert (earlier.user_indices, earlier.last_answer) == (alone.user_indices, alone.last_answer)
        assert earlier.before(end // 2).last_answer == chat.before(end // 2).last_answer
        assert earlier.images_before(end) == alone.images_before(end)
