"""`RenderedTokens` that somebody forged: refused when it is decoded, and when it is constructed."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import isc
from isc import AttributionError, MultiModalData, PlaceholderRange, RenderedTokens, Run
from isc.rendered import LARGEST_ID, Array

GOOD = RenderedTokens((5, 6, LARGEST_ID), (Run(1, -1, False), Run(2, 0, True)), ("user",), (None,))
NUMBERS: list[object] = [
    -1,
    LARGEST_ID + 1,
    1 << 32,
    (1 << 32) + 5,
    1 << 63,
    1 << 64,
    10**30,
    -(10**30),
    1.0,
    1.5,
    "1",
    None,
]
NOT_JSON_NUMBERS: list[object] = [float("nan"), float("inf"), b"1", 1j, []]


def decoders() -> list[Callable[[Any], RenderedTokens]]:
    """From what a file or a socket holds to a value."""
    return [
        lambda value: msgspec.json.decode(json.dumps(value), type=RenderedTokens),
        lambda value: msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=RenderedTokens),
        lambda value: msgspec.convert(value, RenderedTokens),
    ]


def changed(**parts: object) -> dict[str, Any]:
    """The fields of a good value, some of them others."""
    return {**json.loads(msgspec.json.encode(GOOD)), **parts}


def refused_by_all(value: object) -> None:
    for decode in decoders():
        with pytest.raises((msgspec.ValidationError, msgspec.DecodeError, OverflowError)):
            decode(value)


def test_the_good_one_is_taken_by_all() -> None:
    assert [decode(changed()) for decode in decoders()] == [GOOD] * 3
    for again in (pickle.loads(pickle.dumps(GOOD)), copy.deepcopy(GOOD), GOOD + RenderedTokens((), ())):
        assert again == GOOD


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_an_id_that_no_vocabulary_has(number: object) -> None:
    for ids in ([number, 6, 7], [5, 6, number]):
        refused_by_all(changed(token_ids=ids))
    construct: Any = RenderedTokens
    for bad in (number, *NOT_JSON_NUMBERS):
        with pytest.raises(AttributionError, match=r"token_ids\[1\] must be a whole number from 0 to 2147483647"):
            construct((5, bad), GOOD.runs[1:], ("user",), (None,))
        with pytest.raises(AttributionError):
            construct.from_columns([5, bad], [0, 0], [True, True], ["user"])


@pytest.mark.parametrize("number", [*NUMBERS, 0], ids=repr)
def test_a_run_of_no_length(number: object) -> None:
    refused_by_all(changed(runs=[[1, -1, False], [number, 0, True]]))
    construct: Any = Run
    for bad in (number, *NOT_JSON_NUMBERS, 2.0, True):
        with pytest.raises(AttributionError):
            RenderedTokens(GOOD.token_ids, (Run(1, -1, False), construct(bad, 0, True)), ("user",), (None,))


@pytest.mark.parametrize("owner", [-2, 1, 0.0, "0", None, 1 << 64], ids=repr)
def test_an_owner_that_does_not_exist(owner: object) -> None:
    refused_by_all(changed(runs=[[1, -1, False], [2, owner, True]]))
    construct: Any = Run
    with pytest.raises(AttributionError):
        RenderedTokens(GOOD.token_ids, (Run(1, -1, False), construct(2, owner, True)), ("user",), (None,))


@pytest.mark.parametrize("body", [1, 0, "yes", None])
def test_a_flag_that_is_none(body: object) -> None:
    refused_by_all(changed(runs=[[1, -1, False], [2, 0, body]]))
    construct: Any = Run
    with pytest.raises(AttributionError):
        RenderedTokens(GOOD.token_ids, (Run(1, -1, False), construct(2, 0, body)), ("user",), (None,))


@pytest.mark.parametrize("role", ["", "User", "root", "user ", "assistant\n", "x" * 10_000, 7, None, []])
def test_a_role_that_nobody_has(role: object) -> None:
    refused_by_all(changed(message_roles=[role]))
    construct: Any = RenderedTokens
    with pytest.raises(
        AttributionError, match="message_roles are of assistant, developer, latest_reminder, system, tool, user"
    ):
        construct(GOOD.token_ids, GOOD.runs, (role,), (None,))


def test_parts_of_another_kind() -> None:
    construct: Any = RenderedTokens
    for ids, runs, roles, names in (
        ([5, 6, 7], GOOD.runs, ("user",), (None,)),
        (GOOD.token_ids, GOOD.runs, ["user"], (None,)),
        (GOOD.token_ids, GOOD.runs, ("user",), (7,)),
        (GOOD.token_ids, ((3, 0, True),), ("user",), (None,)),
    ):
        with pytest.raises(AttributionError):
            construct(ids, runs, roles, names)


ARRAYS: list[tuple[str, list[object], int]] = [
    ("<U1000000000", [1], 0), ("|V1000000000", [0], 0), ("|S99999999", [0], 0), ("O", [1], 8), ("|O8", [1], 8),
    ("<f4,<f4", [1], 8), ("(2,)<f4", [1], 8), ("<f4" * 1000, [1], 4), ("<f99", [1], 99), ("<m8[s]", [1], 8),
    ("", [0], 0),
    ("<f4", [1 << 62, 4], 0), ("<f4", [-1], 4), ("<f4", [2], 4), ("<f4", [0] * 200, 0), ("<f4", [1 << 80, 0], 0),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "shape", "length"), ARRAYS)
def test_an_array_that_is_wider_than_its_bytes(dtype: str, shape: list[object], length: int) -> None:
    construct: Any = Array
    with pytest.raises(AttributionError):
        construct(dtype, tuple(shape), bytes(length))
    media = {"hashes": {"image": ["9f"]}, "placeholders": {"image": [[0, 1]]}}
    item = {"dtype": dtype, "shape": shape, "data": bytes(length)}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(
            changed(multi_modal_data={**media, "items": {"image": [{"pixel_values": item}]}}), RenderedTokens
        )


@pytest.mark.parametrize("place", [(-1, 1), (0, 0), (0, 4), (1 << 70, 1), (0, 1 << 70), (0.0, 1), (0, 1.0), ("0", 1)])
def test_placeholders_that_stand_nowhere(place: tuple[Any, Any]) -> None:
    refused_by_all(changed(multi_modal_data={"hashes": {"image": ["9f"]}, "placeholders": {"image": [list(place)]}}))
    data = MultiModalData({"image": ("9f",)}, {"image": (PlaceholderRange(*place),)})
    with pytest.raises(AttributionError):
        RenderedTokens(GOOD.token_ids, GOOD.runs, ("user",), (None,), data)


@pytest.mark.parametrize("bad", [-1, 1 << 31, pytest.param(1.5, id="a float")])
def test_a_completion_that_no_engine_sampled_does_not_get_into_a_render(small: isc.Renderer, bad: int) -> None:
    prompt = small.render([{"role": "user", "content": "hi"}], add_generation_prompt=True)
    completion = (*next(iter(small.encoder.encode_batch(["ok"]))), bad)
    with pytest.raises((AttributionError, isc.OptionError), match="whole number"):
        small.extend(prompt, completion, [])
    new = [{"role": "tool", "content": "x"}]
    with pytest.raises((AttributionError, isc.OptionError), match="whole number"):
        small.bridge_to_next_turn(prompt.token_ids, completion, new)
